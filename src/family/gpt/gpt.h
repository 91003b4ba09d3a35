// The parts of GPT's table that models built on it take over.
#ifndef ANEMONE_FAMILY_GPT_GPT_H_
#define ANEMONE_FAMILY_GPT_GPT_H_

#include <string_view>
#include <vector>

#include "family/family.h"

namespace anemone {

std::vector<Symbol> GptDeclared();
std::vector<CanonicalRow> GptCanonical();
// With these rows of other modules inside that of the word embedding, and with layers that predict several tokens.
Dialect GptMcore(std::vector<StoredRow> in_word_embeddings = {}, bool has_mtp = false);
Dialect GptLegacy(std::vector<StoredRow> in_word_embeddings = {});
// A dialect for each way in which transformers' classes spell a decoder (gpt_hf.cc).
std::vector<Dialect> GptHuggingFace();
// What such a model has beside its weights: a tokenizer, and how a text begins and ends (gpt_files.cc).
Status CompleteGpt(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                   Checkpoint* result);
// The same for any model of text; `hf_class`: the source's class of transformers; empty: it is NeMo's.
Status CompleteLanguageModel(const Checkpoint& source, std::string_view hf_class, ConfigLanguage language,
                             const TranslateOptions& options, Checkpoint* result);
Status ReadGptSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                      ModelSymbols* symbols);
// The config and the symbols of the result, and in which of GPT's dialects a model is written (gpt_target.cc).
Result<Target> GptTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                         const TranslateOptions& options, const ModelSymbols& symbols);
Result<const Dialect*> ChooseGptDialect(const Checkpoint& source, const TranslateOptions& options,
                                        ConfigLanguage language);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_GPT_GPT_H_
