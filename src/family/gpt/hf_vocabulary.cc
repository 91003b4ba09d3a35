// Facts: NeMo v2.0.0 megatron_base_model.py (_build_vocab, _vocab_size_with_padding), megatron_gpt_model.py
// (override_vocab_size).
#include "family/gpt/hf_vocabulary.h"

#include <fmt/format.h>

#include <utility>

#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/megatron_config.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_config.h"

namespace anemone {
namespace {

constexpr int64_t kDivisor = 128;  // NeMo's default

uint64_t NumberAt(const ConfigNode& map, std::string_view key, int64_t silent) {
  const int64_t value = WordAt(map, key).AsInt().value_or(silent);
  constexpr int64_t kMost = int64_t{1} << 31;
  return value > 0 && value < kMost ? static_cast<uint64_t>(value) : 0;
}

// What NeMo rounds the tokenizer's number up to; 0: it does not.
uint64_t MultipleOf(const ConfigNode& model) {
  if (!WordAt(model, "override_vocab_size").is_null()) return 0;
  return NumberAt(model, "make_vocab_size_divisible_by", kDivisor) * NumberAt(model, "tensor_model_parallel_size", 1);
}

}  // namespace

ConfigNode NemoTokenizerOf(const Checkpoint& source) {
  if (!source.config) return {};
  if (IsMegatronConfig(source.config->root())) {
    const Result<ConfigNode> words = Nemo1OfMegatron(source.config->root(), nullptr);
    return words.ok() ? WordAt(*words, "tokenizer") : ConfigNode();
  }
  if (!IsNemo2Config(source.config->root())) return WordAt(ModelNode(*source.config), "tokenizer");
  const Result<ConfigNode> config = ToNemo1Config(source.config->root());
  return config.ok() ? WordAt(*config, "tokenizer") : ConfigNode();
}

std::optional<VocabularyEvidence> RowsIn(const std::optional<Config>& config_json, std::string_view key) {
  const auto rows = config_json ? WordAt(config_json->root(), key).AsInt() : std::nullopt;
  return rows && *rows > 0 ? std::optional(VocabularyEvidence{static_cast<uint64_t>(*rows), "config.json"})
                           : std::nullopt;
}

Status CheckRows(const ConfigNode& config_json, uint64_t rows, std::string_view key) {
  const ConfigNode& said = WordAt(config_json, key);
  if (rows == 0 || said.is_null() || said.AsInt() == static_cast<int64_t>(rows)) return {};
  return Corrupt(fmt::format("{}: expected {}, the rows of the embedding, found {}", key, rows, ShownQuoted(said)),
                 "transformers does not load such a folder; the number of rows is the right one");
}

Result<VocabularyChoice> ChooseHfVocabulary(const Checkpoint& source, uint64_t stored, const TranslateOptions& options,
                                            std::optional<VocabularyEvidence> config) {
  const ConfigNode tokenizer = NemoTokenizerOf(source);
  VocabularyFacts facts{.stored = stored, .config = std::move(config)};
  ANEMONE_ASSIGN(facts.tokenizer, CountTokenizer(tokenizer.is_map() ? &tokenizer : nullptr, source.artifacts));
  if (options.vocab_rows) facts.asked = VocabularyEvidence{*options.vocab_rows, "vocab_size"};
  if (source.config && !IsNemo2Config(source.config->root())) facts.multiple = MultipleOf(ModelNode(*source.config));
  return ChooseVocabulary(facts);
}

}  // namespace anemone
