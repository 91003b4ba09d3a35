// GPT as NeMo and Megatron store it: a decoder of pre-norm blocks, Megatron-core and legacy.
//
// Facts: Megatron-LM core_v0.9.0 megatron/core/models/gpt; NeMo v2.0.0 language_model.py, transformer.py, mlp.py and
// scripts/checkpoint_converters/convert_gpt_nemo_to_mcore.py; files that NeMo wrote (tests/golden).
#include <fmt/format.h>

#include <algorithm>

#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/gpt/hf_vocabulary.h"
#include "family/gpt/mtp.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/hf_config.h"
#include "family/words/megatron_config.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr LayerParts kParts = {.gated = true, .qk_norm = true, .experts = true, .latent = true, .other_norms = true};

std::vector<C> WithCentered(std::vector<C> rows) {
  for (C& row : rows) {
    if (row.name.find("norm") != std::string::npos && row.name.ends_with(".weight")) row.centered = "zero_centered";
  }
  return rows;
}

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
  return WithCentered(std::move(rows));
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

Dialect GptMcore(std::vector<StoredRow> in_word_embeddings, bool has_mtp) {
  R output = VocabTable("output_layer.weight", "output.weight", Stage::kLast);
  output.only = "!tied";
  R tied = TiedCopy("output_layer.weight", "tied");
  std::vector<R> beside_mtp;
  if (has_mtp) {
    // The layers' stage has the embedding, and no copy of it in the output layer
    // [core_v0.16.1 gpt_model.py, shared_embedding_or_output_weight].
    tied.when = fmt::format("tied & !{}", kMtpLayers);
    beside_mtp = {VocabTable("embedding.word_embeddings.weight", "token_embedding.weight", Stage::kTiedCopy)};
    beside_mtp.front().when = kMtpLayers;
  }
  return {"mcore",
          "NeMo GPT, Megatron-core",
          {"model.", "model.module.", "module.", ""},
          Join<R>({
              Embedding("embedding", std::move(in_word_embeddings)),
              std::move(beside_mtp),
              {Frequencies("rotary_pos_emb.inv_freq")},
              McoreLayer("", "decoder.layers.{i}", kParts),
              FinalNorm("decoder.final_layernorm"),
              {StateRow("decoder.final_layernorm._extra_state", kReadOnly, Stage::kLast)},
              has_mtp ? McoreMtp(kParts) : std::vector<R>(),
              {
                  output,
                  tied,
                  StateRow("output_layer._extra_state", kReadOnly, Stage::kLast),
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
                          StateRow("language_model.output_layer._extra_state", kReadOnly, Stage::kLast),
                          TiedCopy("word_embeddings.weight", "!virtual"),
                          TiedCopy("word_embeddings_for_head.weight", "virtual"),
                      },
                  }),
                  true};
  dialect.never = "experts, mla, post_norms";
  return dialect;
}

namespace {

// Megatron-LM's own before Megatron-core, and beside it up to core 0.15 (--use-legacy-models).
Dialect GptMegatronLm() {
  LayerParts parts = kParts;
  parts.short_norms = true;
  Dialect dialect = GptLegacy();
  dialect.name = "megatron-lm";
  dialect.title = "Megatron-LM, legacy models";
  dialect.rows = Join<R>({
      Embedding("language_model.embedding", {}),
      {Frequencies("language_model.rotary_pos_emb.inv_freq")},
      LegacyLayer("", "language_model.encoder.layers.{i}", parts),
      FinalNorm("language_model.encoder.final_norm"),
      {
          VocabTable("language_model.output_layer.weight", "output.weight", Stage::kLast),
          StateRow("language_model.output_layer._extra_state", kReadOnly, Stage::kLast),
          TiedCopy("word_embeddings_for_head.weight", ""),
      },
  });
  dialect.is_read_only = true;
  return dialect;
}

}  // namespace

// ---- sizes ----

namespace {

// What of a mixture of experts is not carried, and which of its forms the model has: the one that is stored, or else
// the one that its config makes.
Status SetExpertSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const ConfigNode& model,
                        ModelSymbols* symbols) {
  bool side_by_side = false, te = false;
  ANEMONE_ASSIGN(const bool has_experts, symbols->Holds("experts"));
  if (has_experts) {
    if (dialect.is_megatron && !IsMegatronCore(dialect))
      return Unsupported("num_moe_experts: expected experts in a Megatron-core model, found a legacy one");
    ANEMONE_ASSIGN(const bool extended, FlagOf(model, "moe_extended_tp", false));
    if (extended)
      return Unsupported("moe_extended_tp: experts divided over expert ranks as over tensor ranks are not supported");
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
  // NeMo v2.0.0 falcon_decoder_layer.py: the newer architecture has one more, the oldest a norm behind its attention.
  const bool is_falcon = name == "megatron_falcon_gpt";
  const bool apart = is_falcon || (IsMegatronCore(dialect) && HasName(checkpoint, "decoder.layers.0.input_layernorm."));
  ANEMONE_ASSIGN(const bool is_latent, symbols->Holds("mla"));
  symbols->Set("norms_apart", apart || is_latent);
  ANEMONE_ASSIGN(const uint64_t layers, symbols->Get("layers"));
  ANEMONE_ASSIGN(std::vector<bool> second_apart, ExpertLayers(model, layers));
  const bool all_apart = is_latent ? !second_apart.empty() && !second_apart.front() &&
                                         HasName(checkpoint, "decoder.layers.0.pre_mlp_layernorm.")
                                   : apart;
  if (all_apart) second_apart.assign(second_apart.size(), true);
  symbols->SetLayers("second_norm_apart", std::move(second_apart));
  symbols->Set("single_norm", is_falcon && is_parallel && !is_new);
  symbols->Set("second_norm_is_attentions", is_falcon && !is_parallel && !is_new);
  symbols->Set("post_norms",
               name == "megatron_gemma2" || name == kGemma3Name || HasName(checkpoint, ".linear_proj.post_layernorm."));
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
  ANEMONE_TRY(SetNormSymbols(checkpoint, dialect, model, symbols));
  return symbols->Declares(kMtpLayers) ? SetMtpSymbols(model, kParts, symbols) : Status();
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
    LeaveAbsentMtp(checkpoint, &model);
  }
  if (IsMegatronConfig(config->root())) {
    Result<ConfigNode> words = Nemo1OfMegatron(config->root(), nullptr);
    if (!words.ok()) return words.status().In(name);
    model = *std::move(words);
  }
  ANEMONE_TRY(SetSymbols(checkpoint, dialect, model, symbols).In(name));
  ANEMONE_ASSIGN(const uint64_t rows, StoredVocabRows(checkpoint, dialect, "token_embedding.weight"));
  if (const HfArchitecture* architecture = dialect.is_megatron ? nullptr : FindHfArchitecture(config->root()))
    ANEMONE_TRY(CheckRows(config->root(), rows, HfKeyOf(*architecture, "vocab_size")).In(name));
  symbols->Set("vocab", rows);
  symbols->Set("padded_vocab", rows);
  return {};
}

namespace {

// A config.json of a class that no table has.
std::string ForeignDecoder(const Config& config) {
  const ConfigNode& root = config.root();
  return FindHfArchitecture(root) != nullptr ? "" : ClassNamedIn(root);
}

// GPT-2 and GPTBigCode have the same names, and weights of other shapes.
std::string_view DialectOfConfig(const Config& config) { return DialectOfHf(config.root()); }

std::vector<Dialect> Dialects() {
  const Dialect mcore = GptMcore({}, /*has_mtp=*/true);
  std::vector<Dialect> dialects = Join<Dialect>({{mcore, GptLegacy(), GptMegatronLm()}, GptHuggingFace()});
  const auto is_mtp = [](const R& row) { return row.tower == "mtp"; };
  for (Dialect& dialect : dialects) {
    if (std::ranges::none_of(dialect.rows, is_mtp)) dialect.never += fmt::format(", {}", kMtpLayers);
  }
  return dialects;
}

}  // namespace

const Family& GptFamily() {
  static const Family family = {
      .name = "gpt",
      .title = "GPT",
      .symbols = Join<Symbol>({GptDeclared(), MtpSymbols(kParts)}),
      .canonical = Join<C>({GptCanonical(), WithCentered(MtpCanonical(kParts))}),
      .dialects = Dialects(),
      .refusals = {{"weight_scale_inv", "weights in FP8 with a scale for each block, to be made BF16 first"}},
      .tower_order = {},
      .last_stage_towers = {"mtp"},
      .has_virtual_stages = true,
      .read_symbols = ReadGptSymbols,
      .target = GptTarget,
      .foreign = ForeignDecoder,
      .dialect_of = DialectOfConfig,
      .choose_dialect = ChooseGptDialect,
      .complete = CompleteGpt};
  return family;
}

}  // namespace anemone
