// What a decoder becomes in another dialect: its config and its symbols.
#include <fmt/format.h>

#include <optional>

#include "base/rounding.h"
#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/gpt/hf_vocabulary.h"
#include "family/gpt/mtp.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/hf_config.h"
#include "family/words/kept_config.h"
#include "family/words/model_words.h"
#include "family/words/nemo_gpt_config.h"
#include "tensor/same.h"

namespace anemone {
namespace {

constexpr const char* kTied = "share_embeddings_and_output_weights";

// NeMo's converters give models whose class ties the output layer to the embedding one of its own.
Result<bool> IsCopyOfEmbedding(const Checkpoint& source, const Dialect& dialect) {
  const NameMatcher names(dialect);
  const Tensor* output = FindStored(source.weights(), names, "output.weight");
  const Tensor* embedding = FindStored(source.weights(), names, "token_embedding.weight");
  if (output == nullptr || embedding == nullptr || output->shape() != embedding->shape()) return false;
  return SameBytes(*output, *embedding);
}

bool TiesByDefault(const HfArchitecture& architecture) {
  return WordAt(ParseWord(architecture.silent), "tie_word_embeddings").AsBool().value_or(false);
}

bool HasKnownClass(const ConfigNode& root) { return FindHfArchitecture(root) != nullptr; }

// NeMo's config as a class of transformers has it.
struct HfModel {
  const HfArchitecture* architecture = nullptr;
  ConfigNode json;
  std::vector<std::string> notes = {};
  uint64_t vocab_rows = 0;
  bool leaves_mtp = false;
};

// Whether the class ties the output layer: as it says, unless NeMo's converters gave the layer a copy of the embedding
// that training has changed since. The weights in the dialect `from`; null: they are not looked at.
Result<bool> Ties(const Checkpoint& source, const Dialect* from, const ConfigNode& model, bool says) {
  const bool tied = WordAt(model, kTied).AsBool().value_or(true);
  if (tied || !says || from == nullptr) return says;
  return IsCopyOfEmbedding(source, *from);
}

// By the config that came along, changed where the model is.
Result<HfModel> AsItCame(const Checkpoint& source, const Dialect* from, ConfigNode model, const Config& kept,
                         HfRequest request) {
  request.architecture = FindHfArchitecture(kept.root());
  request.kept = &kept.root();
  request.dtype = DTypeBy(kept.root(), source);
  const ConfigNode& own = WordAt(kept.root(), "tie_word_embeddings");
  ANEMONE_ASSIGN(const bool ties,
                 Ties(source, from, model, own.AsBool().value_or(TiesByDefault(*request.architecture))));
  model[kTied] = ConfigNode::Bool(ties);
  HfModel result{request.architecture, {}};
  ANEMONE_ASSIGN(result.json, HfOfNemo1(model, request, &result.notes));
  return result;
}

// By what NeMo's config alone tells.
Result<HfModel> MadeAnew(const Checkpoint& source, const Dialect* from, ConfigNode model, HfRequest request) {
  if (request.architecture == nullptr) {
    ANEMONE_ASSIGN(request.architecture, HfArchitectureOf(model));
  }
  if (!WordAt(model, kTied).AsBool().value_or(true) && from != nullptr) {
    ANEMONE_ASSIGN(const bool ties, Ties(source, from, model, TiesByDefault(*request.architecture)));
    model[kTied] = ConfigNode::Bool(ties);
  }
  // [NeMo v2.0.0 convert_gemma_hf_to_nemo.py stores 1 + w; CenteredAs takes the 1 away.]
  if (request.architecture->model_type == "gemma") model["layernorm_zero_centered_gamma"] = ConfigNode::Bool(true);
  HfModel result{request.architecture, {}};
  ANEMONE_ASSIGN(result.json, HfOfNemo1(model, request, &result.notes));
  return result;
}

// `stored`: rows of the vocabulary; 0: nobody asks. The weights in the dialect `from`; null: they are not looked at.
Result<HfModel> HfModelOf(const Checkpoint& source, const ConfigNode& model, const std::string& name,
                          const Dialect* from, uint64_t stored, const TranslateOptions& options) {
  HfRequest request{.dtype = DTypeOf(source)};
  if (!options.architecture.empty()) {
    ANEMONE_ASSIGN(request.architecture, HfArchitectureNamed(options.architecture));
  }
  VocabularyChoice rows{stored, ""};
  const auto finish = [&](HfModel made) {
    if (!rows.note.empty()) made.notes.push_back(rows.note);
    made.vocab_rows = rows.rows;
    return made;
  };
  ANEMONE_ASSIGN(const std::optional<Config> kept, KeptHfConfig(source, HasKnownClass));
  const bool is_asked_class =
      kept && (request.architecture == nullptr || request.architecture == FindHfArchitecture(kept->root()));
  if (is_asked_class) {
    if (stored > 0) {
      const std::string_view key = HfKeyOf(*FindHfArchitecture(kept->root()), "vocab_size");
      ANEMONE_ASSIGN(rows, ChooseHfVocabulary(source, stored, options, RowsIn(kept, key)));
    }
    request.vocab_rows = rows.rows;
    Result<HfModel> same = AsItCame(source, from, model, *kept, request);
    if (same.ok()) return finish(*std::move(same));
  }
  if (stored > 0) {
    ANEMONE_ASSIGN(rows, ChooseHfVocabulary(source, stored, options, {}));
  }
  request.vocab_rows = rows.rows;
  Result<HfModel> made = MadeAnew(source, from, model, request);
  if (!made.ok()) return made.status().In(name);
  if (is_asked_class) made->notes.push_back("config.json that came along is of another model now; a new one is made");
  return finish(*std::move(made));
}

// The same by the source's config. A class without layers that predict several tokens has the model without them, if
// one asks for it.
Result<HfModel> HfModelOf(const Checkpoint& source, const Dialect* from, uint64_t stored,
                          const TranslateOptions& options) {
  std::string name;
  ANEMONE_ASSIGN(const Config* config, SizesConfig(source, {}, &name));
  const ConfigNode& model = ModelNode(*config);
  Result<HfModel> whole = HfModelOf(source, model, name, from, stored, options);
  const int64_t layers = MtpLayersOf(model);
  if (whole.ok() || layers == 0) return whole;
  ConfigNode less = model;
  less.Erase("mtp_num_layers");
  Result<HfModel> without = HfModelOf(source, less, name, from, stored, options);
  if (!without.ok()) return whole;
  if (options.strict)
    return Status(whole.status()).Use("strict", "false", "leave the layers that predict several tokens out");
  without->leaves_mtp = true;
  without->notes.push_back(fmt::format("left out {} layers that predict several tokens, which {} has not", layers,
                                       without->architecture->name));
  return without;
}

Result<Target> ToHuggingFace(const Checkpoint& source, const Dialect& from, const Dialect& to,
                             const TranslateOptions& options, const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  ANEMONE_ASSIGN(HfModel model, HfModelOf(source, &from, rows, options));
  if (const std::string_view dialect = DialectOfHf(model.json); dialect != to.name) {
    return InvalidArgument(
        fmt::format("expected the dialect of {}, {}, found {}", model.architecture->name, dialect, to.name));
  }
  Target target{symbols, {}, "config.json", std::move(model.notes)};
  target.symbols.Set("vocab", model.vocab_rows);
  if (model.leaves_mtp) target.symbols.Set(kMtpLayers, 0);
  ANEMONE_ASSIGN(const ConfigNode own, Nemo1OfHf(model.json, nullptr));
  ANEMONE_ASSIGN(const ConfigNode words, WordsOf(own, nullptr));
  for (const auto& [symbol, word] : {std::pair{"tied", kTied}, {"zero_centered", "layernorm_zero_centered_gamma"}}) {
    target.symbols.Set(symbol, WordAt(words, word).AsBool().value_or(false) ? 1 : 0);
  }
  target.config = Config(std::move(model.json));
  return target;
}

// Whether NeMo 1, which counts the tokenizer's tokens, makes as many rows of them. A SentencePiece model is all that it
// loads where there is one.
Result<bool> RoundsTo(const Checkpoint& source, uint64_t rows) {
  std::optional<uint64_t> tokens;
  if (const Artifact* pieces = source.FindArtifact("tokenizer.model")) {
    ANEMONE_ASSIGN(tokens, CountTokensIn(pieces->content, pieces->name));
  }
  ANEMONE_ASSIGN(const std::optional<VocabularyEvidence> all, CountTokenizer(nullptr, source.artifacts));
  if (!tokens && all) tokens = all->rows;
  return !tokens || RoundUp(*tokens, VocabularyDivisor(rows)) == rows;
}

// NeMo 1's config of a model of Hugging Face's. One that is given must be of the same model.
Result<Target> FromHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  Target target{symbols, options.hparams, options.hparams_name};
  if (!source.config) return target;
  Result<ConfigNode> model = Nemo1OfHf(source.config->root(), &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  LeaveAbsentMtp(source, &*model);
  const HfArchitecture& architecture = *FindHfArchitecture(source.config->root());
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  ANEMONE_ASSIGN(const bool tied, symbols.Holds("tied"));
  ANEMONE_ASSIGN(const bool rounds, RoundsTo(source, rows));
  const NemoGptRequest request{.vocab_rows = rows,
                               .fixes_rows = architecture.fixes_rows || !rounds,
                               .has_tied_output = tied && !architecture.unties,
                               .dtype = DTypeOf(source)};
  target.symbols.Set("tied", request.has_tied_output ? 1 : 0);
  const ConfigNode derived = NemoGptConfig(*model, request);
  if (!options.hparams) {
    target.config = Config(derived);
    target.config_name = "model_config.yaml";
    return target;
  }
  ANEMONE_ASSIGN(const ConfigNode own, WordsOf(derived, nullptr));
  ANEMONE_ASSIGN(const ConfigNode given, WordsOf(ModelNode(*options.hparams), nullptr));
  const std::vector<std::string> lines = DifferingWords(own, given);
  if (lines.empty()) return target;
  return Corrupt(fmt::format("expected the model of {}, found others: {}", source.config_name, fmt::join(lines, "; ")))
      .In(options.hparams_name);
}

}  // namespace

Result<Target> GptTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                         const TranslateOptions& options, const ModelSymbols& symbols) {
  if (from.is_megatron && !to.is_megatron) return ToHuggingFace(source, from, to, options, symbols);
  if (!from.is_megatron && to.is_megatron) return FromHuggingFace(source, options, symbols);
  if (!from.is_megatron && &from != &to)
    return Unsupported(fmt::format("expected the spelling of its own class, {}, found {} asked", from.name, to.name));
  Target target{symbols, options.hparams ? options.hparams : source.config, source.config_name};
  if (target.config && &from != &to) {
    const bool mcore = to.name == "mcore";
    target.config->root()["mcore_gpt"] = ConfigNode::Bool(mcore);
    if (mcore) target.config->root()["transformer_engine"] = ConfigNode::Bool(true);
  }
  return target;
}

// The spelling of the class that came along or that NeMo's config tells; of NeMo's, Megatron-core's.
Result<const Dialect*> ChooseGptDialect(const Checkpoint& source, const TranslateOptions& options,
                                        ConfigLanguage language) {
  const Family& family = GptFamily();
  if (language != ConfigLanguage::kHuggingFace) return family.FindDialect("mcore");
  ANEMONE_ASSIGN(const HfModel model, HfModelOf(source, nullptr, 0, options));
  return family.FindDialect(DialectOfHf(model.json));
}

}  // namespace anemone
