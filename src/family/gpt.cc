// GPT as NeMo and Megatron store it: a decoder of pre-norm blocks, Megatron-core and legacy.
//
// Facts: Megatron-LM core_v0.9.0 megatron/core/models/gpt; NeMo v2.0.0 language_model.py, transformer.py, mlp.py and
// scripts/checkpoint_converters/convert_gpt_nemo_to_mcore.py; files that NeMo wrote (tests/golden).
#include <fmt/format.h>

#include <optional>

#include "family/families.h"
#include "family/gpt.h"
#include "family/hf_config.h"
#include "family/megatron_layer.h"
#include "family/model_words.h"
#include "family/nemo_gpt_config.h"
#include "tensor/same.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr LayerParts kParts = {.gated = true, .qk_norm = true, .experts = true, .other_norms = true};

}  // namespace

std::vector<Symbol> GptDeclared() {
  return Join<Symbol>({
      LayerSymbols("", kParts),
      {
          Symbol::Size("vocab", "tokens"),
          Symbol::Size("padded_vocab", "rows of the stored embedding"),
          Symbol::Size("positions", "of a sequence"),
          Symbol::Flag("learned_absolute", "positions have an embedding"),
          Symbol::Flag("tied", "the output layer is the embedding"),
          Symbol::Flag("zero_centered", "norms store their weights less one"),
      },
  });
}

std::vector<C> GptCanonical() {
  std::vector<C> rows = Join<C>({
      {
          {"token_embedding.weight", "vocab, width", "", ""},
          {"position_embedding.weight", "positions, width", "learned_absolute", ""},
      },
      CanonicalLayer("", kParts),
      {
          {"final_norm.weight", "width", "", ""},
          {"final_norm.bias", "width", "norm_bias", ""},
          {.name = "output.weight", .shape = "vocab, width", .when = "!tied", .equal_to = "token_embedding.weight"},
      },
  });
  for (C& row : rows) {
    if (row.name.find("norm") != std::string::npos && row.name.ends_with(".weight")) row.centered = "zero_centered";
  }
  return rows;
}

namespace {

R Frequencies(std::string name) {
  return {.name = std::move(name), .role = Role::kDrop, .why = "rotary frequencies are computed, not learned"};
}

std::vector<R> Embedding(const std::string& name, std::vector<R> in_word_embeddings) {
  return Join<R>({
      {VocabTable(name + ".word_embeddings.weight", "token_embedding.weight", Stage::kFirst)},
      std::move(in_word_embeddings),
      {{.name = name + ".position_embeddings.weight",
        .canonical = "position_embedding.weight",
        .stage = Stage::kFirst}},
  });
}

std::vector<R> FinalNorm(const std::string& name) {
  return {
      {.name = name + ".weight", .canonical = "final_norm.weight", .stage = Stage::kLast},
      {.name = name + ".bias", .canonical = "final_norm.bias", .stage = Stage::kLast},
  };
}

// The last stage's copy of the embedding, in models where `only` holds.
R TiedCopy(std::string name, std::string_view only) {
  R row = VocabTable(std::move(name), "token_embedding.weight", Stage::kTiedCopy);
  row.when = "tied";
  row.only = only;
  return row;
}

}  // namespace

Dialect GptMcore(std::vector<StoredRow> in_word_embeddings) {
  R output = VocabTable("output_layer.weight", "output.weight", Stage::kLast);
  output.only = "!tied";
  return {"mcore",
          "NeMo GPT, Megatron-core",
          {"model.", "model.module.", "module.", ""},
          Join<R>({
              Embedding("embedding", std::move(in_word_embeddings)),
              {Frequencies("rotary_pos_emb.inv_freq")},
              McoreLayer("", "decoder.layers.{i}", kParts),
              FinalNorm("decoder.final_layernorm"),
              {
                  ExtraState("decoder.final_layernorm._extra_state", kReadOnly, Stage::kLast),
                  output,
                  TiedCopy("output_layer.weight", "tied"),
                  ExtraState("output_layer._extra_state", kReadOnly, Stage::kLast),
              },
          }),
          true};
}

Dialect GptLegacy(std::vector<StoredRow> in_word_embeddings) {
  Dialect dialect{"legacy",
                  "NeMo GPT, legacy Megatron",
                  {"model.", "model.module.", "module.", ""},
                  Join<R>({
                      Embedding("language_model.embedding", std::move(in_word_embeddings)),
                      {Frequencies("language_model.rotary_pos_emb.inv_freq")},
                      LegacyLayer("", "language_model.encoder.layers.{i}", kParts),
                      FinalNorm("language_model.encoder.final_layernorm"),
                      {
                          VocabTable("language_model.output_layer.weight", "output.weight", Stage::kLast),
                          ExtraState("language_model.output_layer._extra_state", kReadOnly, Stage::kLast),
                          TiedCopy("word_embeddings.weight", "!virtual"),
                          TiedCopy("word_embeddings_for_head.weight", "virtual"),
                      },
                  }),
                  true};
  dialect.never = "experts, post_norms";
  return dialect;
}

// ---- sizes ----

namespace {

// What of a mixture of experts is not carried, and which of its forms the model has: the one that is stored, or else
// the one that its config makes.
Status SetExpertSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const ConfigNode& model,
                        ModelSymbols* symbols) {
  bool side_by_side = false, te = false;
  ANEMONE_ASSIGN(const bool has_experts, symbols->Holds("experts"));
  if (has_experts) {
    if (dialect.name == "legacy")
      return Unsupported("num_moe_experts: expected experts in a Megatron-core model, found a legacy one");
    ANEMONE_ASSIGN(const bool extended, FlagOf(model, "moe_extended_tp", false));
    if (extended)
      return Unsupported("moe_extended_tp: experts divided over expert ranks as over tensor ranks are not carried");
    ANEMONE_ASSIGN(const uint64_t tp, SizeOf(model, "tensor_model_parallel_size", 1));
    ANEMONE_ASSIGN(const uint64_t expert_tp, SizeOf(model, "expert_tensor_parallel_size", tp));
    if (expert_tp != tp) {
      return Unsupported(
          fmt::format("expert_tensor_parallel_size: expected that of the other layers, {}, found {}", tp, expert_tp));
    }
    ANEMONE_ASSIGN(const bool grouped, FlagOf(model, "moe_grouped_gemm", false));
    side_by_side = HasName(checkpoint, ".mlp.experts.weight1");
    te = !side_by_side && (HasName(checkpoint, ".mlp.experts.linear_fc1.weight") ||
                           (grouped && !HasName(checkpoint, ".local_experts.")));
  }
  symbols->Set("side_by_side_experts", side_by_side);
  symbols->Set("te_experts", te);
  symbols->Set("each_expert", has_experts && !side_by_side && !te);
  return {};
}

// Which norms there are and where they stand: by the config's words, or by what is stored.
Status SetNormSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const ConfigNode& model,
                      ModelSymbols* symbols) {
  const ConfigNode* custom = model.Get("mcore_customization_config");
  const auto says = [&](std::string_view key) -> Result<bool> {
    return custom != nullptr && custom->is_map() ? FlagOf(*custom, key, false) : Result<bool>(false);
  };
  ANEMONE_ASSIGN(const std::string name, TextOf(model, "name", ""));
  ANEMONE_ASSIGN(const bool is_parallel, says("parallel_attention"));
  ANEMONE_ASSIGN(const bool is_new, says("new_decoder_architecture"));
  ANEMONE_ASSIGN(const bool has_experts, symbols->Holds("experts"));
  // NeMo v2.0.0 falcon_decoder_layer.py: the newer architecture has one more, the oldest a norm behind its attention.
  const bool is_falcon = name == "megatron_falcon_gpt";
  const bool apart = is_falcon || (dialect.name == "mcore" && HasName(checkpoint, "decoder.layers.0.input_layernorm."));
  symbols->Set("norms_apart", apart);
  symbols->Set("second_norm_apart", apart || has_experts);
  symbols->Set("single_norm", is_falcon && is_parallel && !is_new);
  symbols->Set("post_norms", name == "megatron_gemma2" || HasName(checkpoint, ".linear_proj.post_layernorm."));
  return {};
}

Status SetSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const ConfigNode& model,
                  ModelSymbols* symbols) {
  ANEMONE_TRY(SetLayerSymbols(model, "", kParts, symbols));
  ANEMONE_ASSIGN(const std::string positions_are, TextOf(model, "position_embedding_type", "learned_absolute"));
  symbols->Set("learned_absolute", positions_are == "learned_absolute");
  ANEMONE_ASSIGN(const uint64_t sequence, SizeOf(model, "encoder_seq_length", 1));
  ANEMONE_ASSIGN(const uint64_t positions, SizeOf(model, "max_position_embeddings", sequence));
  symbols->Set("positions", positions);
  ANEMONE_ASSIGN(const bool tied, FlagOf(model, "share_embeddings_and_output_weights", true));
  symbols->Set("tied", tied);
  ANEMONE_ASSIGN(const std::string norm, TextOf(model, "normalization", "layernorm"));
  ANEMONE_ASSIGN(const bool centered, FlagOf(model, "layernorm_zero_centered_gamma", norm == "layernorm1p"));
  symbols->Set("zero_centered", centered);
  ANEMONE_TRY(SetExpertSymbols(checkpoint, dialect, model, symbols));
  return SetNormSymbols(checkpoint, dialect, model, symbols);
}

}  // namespace

namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

DType DTypeOf(const Checkpoint& checkpoint) {
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    if (item.tensor() != nullptr && item.tensor()->shape().size() == 2) return item.tensor()->dtype();
  }
  return DType::kF32;
}

// A config.json that came along inside a .nemo or a NeMo 2 folder.
std::optional<Config> KeptConfig(const Checkpoint& source) {
  for (const char* name : {"config.json", "context/config.json"}) {
    const Artifact* kept = source.FindArtifact(name);
    if (kept == nullptr) continue;
    const Result<std::string> text = kept->content.ReadAll(kMaxConfigBytes);
    Result<Config> config = text.ok() ? Config::ParseJson(*text, name) : Result<Config>(text.status());
    if (config.ok()) return *std::move(config);
  }
  return std::nullopt;
}

// The stored tensor that is a canonical one as it stands; nullptr: none.
const Tensor* FindStored(const Checkpoint& checkpoint, const Dialect& dialect, std::string_view canonical) {
  const NameMatcher names(dialect);
  const std::string prefix = names.BestPrefix(checkpoint.weights()).prefix;
  for (size_t r = 0; r < dialect.rows.size(); ++r) {
    if (dialect.rows[r].canonical != canonical || dialect.rows[r].role != Role::kTensor) continue;
    const StateDict::Item* item = checkpoint.weights().Find(prefix + names.pattern(r).Fill(0, 0));
    if (item != nullptr && item->tensor() != nullptr) return item->tensor();
  }
  return nullptr;
}

// NeMo's converters give models whose class ties the output layer to the embedding one of its own.
Result<bool> IsCopyOfEmbedding(const Checkpoint& source, const Dialect& dialect) {
  const Tensor* output = FindStored(source, dialect, "output.weight");
  const Tensor* embedding = FindStored(source, dialect, "token_embedding.weight");
  if (output == nullptr || embedding == nullptr || output->shape() != embedding->shape()) return false;
  return SameBytes(*output, *embedding);
}

bool TiesByDefault(const HfArchitecture& architecture) {
  return WordAt(ParseWord(architecture.silent), "tie_word_embeddings").AsBool().value_or(false);
}

// The class that NeMo's model is written as.
Result<const HfArchitecture*> ArchitectureFor(const Checkpoint& source) {
  std::string name;
  ANEMONE_ASSIGN(const Config* config, SizesConfig(source, {}, &name));
  if (const std::optional<Config> kept = KeptConfig(source)) {
    const HfArchitecture* architecture = FindHfArchitecture(kept->root());
    // As long as it computes the same; whether it ties its output layer is for the weights to say.
    ConfigNode model = ModelNode(*config);
    const ConfigNode* says = kept->root().Get("tie_word_embeddings");
    if (architecture != nullptr) {
      model["share_embeddings_and_output_weights"] =
          says != nullptr ? *says : ConfigNode::Bool(TiesByDefault(*architecture));
      if (HfOfNemo1(model, {.architecture = architecture, .kept = &kept->root()}, nullptr).ok()) return architecture;
    }
  }
  const Result<const HfArchitecture*> told = HfArchitectureOf(ModelNode(*config));
  return told.ok() ? told : told.status().In(name);
}

// From NeMo's config. What came along is the config again, as long as it is of a class that computes the same.
Result<Target> ToHuggingFace(const Checkpoint& source, const Dialect& from, const Dialect& to,
                             const TranslateOptions& options, const ModelSymbols& symbols) {
  Target target{symbols, {}, "config.json"};
  std::string name;
  ANEMONE_ASSIGN(const Config* config, SizesConfig(source, options, &name));
  const ConfigNode& model = ModelNode(*config);
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  HfRequest request{.vocab_rows = rows, .dtype = DTypeOf(source)};
  const std::optional<Config> kept = KeptConfig(source);
  std::optional<ConfigNode> json;
  if (kept && FindHfArchitecture(kept->root()) != nullptr) {
    request.architecture = FindHfArchitecture(kept->root());
    request.kept = &kept->root();
    // The class may tie what NeMo's converters keep apart; TiedAs finds whether both are the same.
    ConfigNode as_kept = model;
    const ConfigNode* says = kept->root().Get("tie_word_embeddings");
    const bool ties = says != nullptr ? says->AsBool().value_or(false) : TiesByDefault(*request.architecture);
    as_kept["share_embeddings_and_output_weights"] = ConfigNode::Bool(ties);
    Result<ConfigNode> same = HfOfNemo1(as_kept, request, &target.notes);
    if (same.ok()) {
      json = *std::move(same);
      target.symbols.Set("tied", ties ? 1 : 0);
    } else {
      target.notes.push_back("config.json that came along is of another model now; a new one is made");
    }
  }
  if (!json) {
    request.kept = nullptr;
    ANEMONE_ASSIGN(request.architecture, HfArchitectureOf(model));
    ConfigNode as_class = model;
    ANEMONE_ASSIGN(const bool tied, symbols.Holds("tied"));
    ANEMONE_ASSIGN(const bool is_copy, !tied && TiesByDefault(*request.architecture) ? IsCopyOfEmbedding(source, from)
                                                                                     : Result<bool>(false));
    if (is_copy) {
      as_class["share_embeddings_and_output_weights"] = ConfigNode::Bool(true);
      target.symbols.Set("tied", 1);
    }
    // [NeMo v2.0.0 convert_gemma_hf_to_nemo.py stores 1 + w.]
    ANEMONE_ASSIGN(const bool centered, symbols.Holds("zero_centered"));
    const std::string type(request.architecture->model_type);
    if (type == "gemma" && !centered) {
      as_class["layernorm_zero_centered_gamma"] = ConfigNode::Bool(true);
      target.symbols.Set("zero_centered", 1);
    }
    Result<ConfigNode> made = HfOfNemo1(as_class, request, &target.notes);
    if (!made.ok()) return made.status().In(name);
    json = *std::move(made);
  }
  if (const std::string_view dialect = DialectOfHf(*json); dialect != to.name) {
    return InvalidArgument(
        fmt::format("expected the dialect of {}, {}, found {}", request.architecture->name, dialect, to.name));
  }
  target.config = Config(*std::move(json));
  return target;
}

Result<Target> FromHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  Target target{symbols, {}, "model_config.yaml"};
  if (!source.config) {
    target.config = options.hparams;
    target.config_name = options.hparams_name;
    return target;
  }
  Result<ConfigNode> model = Nemo1OfHf(source.config->root(), &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  const HfArchitecture& architecture = *FindHfArchitecture(source.config->root());
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  ANEMONE_ASSIGN(const bool tied, symbols.Holds("tied"));
  const NemoGptRequest request{.vocab_rows = rows,
                               .fixes_rows = architecture.fixes_rows,
                               .has_tied_output = tied && !architecture.unties,
                               .dtype = DTypeOf(source)};
  target.symbols.Set("tied", request.has_tied_output ? 1 : 0);
  target.config = Config(NemoGptConfig(*model, request));
  if (!options.hparams) return target;
  ANEMONE_ASSIGN(const ConfigNode derived, WordsOf(target.config->root(), nullptr));
  ANEMONE_ASSIGN(const ConfigNode given, WordsOf(ModelNode(*options.hparams), nullptr));
  if (const std::vector<std::string> lines = DifferingWords(derived, given); !lines.empty()) {
    return Corrupt(
               fmt::format("expected the model of {}, found others: {}", source.config_name, fmt::join(lines, "; ")))
        .In(options.hparams_name);
  }
  target.config = options.hparams;
  target.config_name = options.hparams_name;
  return target;
}

}  // namespace

Status ReadGptSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                      ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, &name));
  ConfigNode model = ModelNode(*config);
  if (!dialect.is_megatron && IsHfDecoderConfig(config->root())) {
    Result<ConfigNode> words = Nemo1OfHf(config->root(), nullptr);
    if (!words.ok()) return words.status().In(name);
    model = *std::move(words);
  }
  ANEMONE_TRY(SetSymbols(checkpoint, dialect, model, symbols).In(name));
  ANEMONE_ASSIGN(const uint64_t rows, StoredVocabRows(checkpoint, dialect, "token_embedding.weight"));
  symbols->Set("vocab", rows);
  symbols->Set("padded_vocab", rows);
  return {};
}

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

namespace {

// A config.json of a class that no table has.
std::string ForeignDecoder(const Config& config) {
  const ConfigNode& root = config.root();
  if (root.Get("model_type") == nullptr && root.Get("architectures") == nullptr) return {};
  if (FindHfArchitecture(root) != nullptr) return {};
  const ConfigNode& names = WordAt(root, "architectures");
  return names.is_list() && !names.list.empty() ? names.list.front().ScalarText()
                                                : WordAt(root, "model_type").ScalarText();
}

// GPT-2 and GPTBigCode have the same names, and weights of other shapes.
std::string_view DialectOfConfig(const Config& config) { return DialectOfHf(config.root()); }

// The spelling of the class that came along or that NeMo's config tells; of NeMo's, Megatron-core's.
Result<const Dialect*> ChooseDialect(const Checkpoint& source, const ModelSymbols&, ConfigLanguage language) {
  if (language != ConfigLanguage::kHuggingFace) return GptFamily().FindDialect("mcore");
  ANEMONE_ASSIGN(const HfArchitecture* architecture, ArchitectureFor(source));
  std::string_view dialect = architecture->dialect;
  if (architecture->model_type == "falcon") {
    std::string name;
    ANEMONE_ASSIGN(const Config* config, SizesConfig(source, {}, &name));
    const ConfigNode& is_new = WordAt(ModelNode(*config), "mcore_customization_config.new_decoder_architecture");
    if (!is_new.AsBool().value_or(false)) dialect = "hf_falcon_old";
  }
  return GptFamily().FindDialect(dialect);
}

}  // namespace

const Family& GptFamily() {
  static const Family family = {.name = "gpt",
                                .title = "GPT",
                                .symbols = GptDeclared(),
                                .canonical = GptCanonical(),
                                .dialects = Join<Dialect>({{GptMcore(), GptLegacy()}, GptHuggingFace()}),
                                .refusals = {{"mlp.shared_experts.", "experts that all tokens share"}},
                                .tower_order = {},
                                .has_virtual_stages = true,
                                .read_symbols = ReadGptSymbols,
                                .target = GptTarget,
                                .foreign = ForeignDecoder,
                                .dialect_of = DialectOfConfig,
                                .choose_dialect = ChooseDialect,
                                .complete = CompleteGpt};
  return family;
}

}  // namespace anemone
