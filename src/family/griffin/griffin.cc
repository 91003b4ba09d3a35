// Griffin: recurrent layers, and attention to a window in every third. NeMo 1's MegatronGriffinModel and transformers'
// RecurrentGemma.
//
// Facts: NeMo v2.0.0 megatron/griffin/{griffin_model,griffin_block,griffin_layer_spec,recurrent_module}.py,
// convert_griffin_hf_to_nemo.py, convert_griffin_nemo_to_hf.py; transformers 5.24 modeling_recurrent_gemma.py. NeMo's
// convolution and gates are as wide as the whole model on each rank, so it can be built on one rank alone.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "config/nodes.h"
#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/gpt/hf_vocabulary.h"
#include "family/griffin/griffin_config.h"
#include "family/megatron/megatron_layer.h"
#include "family/megatron/rows.h"
#include "family/words/kept_config.h"
#include "family/words/model_words.h"
#include "tensor/same.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr std::string_view kRecurrent = "recurrent", kAttention = "attention";

std::vector<Symbol> Declared() {
  return {
      Symbol::Size("layers", "of both kinds"),
      Symbol::Size("width", "of the hidden vector, and of what a recurrent layer computes in"),
      Symbol::Size("ffn", "of the MLP's inner vector"),
      Symbol::Size("heads", "of attention; blocks of a recurrent layer's gates"),
      Symbol::Size("groups", "heads of keys and values"),
      Symbol::Size("head_dim", "of attention's heads, and of a gate's blocks"),
      Symbol::Size("vocab", "tokens"),
      Symbol::Flag("qkv_bias", "queries, keys and values have one"),
      Symbol::LayerFlag(kRecurrent, "a layer is recurrent"),
      Symbol::LayerFlag(kAttention, "a layer is attention"),
  };
}

std::vector<C> Canonical() {
  const auto row = [](std::string_view name, std::string_view shape, std::string_view when = "") {
    return C{.name = fmt::format("layers.{{i}}.{}", name), .shape = std::string(shape), .when = std::string(when)};
  };
  C qkv_bias = row("attn.qkv.bias", "(heads+2*groups)*head_dim", kAttention);
  qkv_bias.made = 0;
  qkv_bias.why = "NeMo's queries, keys and values have a bias";
  return {
      {"token_embedding.weight", "vocab, width", "", ""},
      row("norm.weight", "width"),
      row("recurrent.in.weight", "2*width, width", kRecurrent),
      row("recurrent.in.bias", "2*width", kRecurrent),
      row("recurrent.conv.weight", "width, 1, 4", kRecurrent),
      row("recurrent.conv.bias", "width", kRecurrent),
      row("recurrent.decay", "width", kRecurrent),
      row("recurrent.input_gate.weight", "heads, head_dim, head_dim", kRecurrent),
      row("recurrent.input_gate.bias", "heads, head_dim", kRecurrent),
      row("recurrent.decay_gate.weight", "heads, head_dim, head_dim", kRecurrent),
      row("recurrent.decay_gate.bias", "heads, head_dim", kRecurrent),
      row("recurrent.out.weight", "width, width", kRecurrent),
      row("recurrent.out.bias", "width", kRecurrent),
      row("attn.qkv.weight", "(heads+2*groups)*head_dim, width", kAttention),
      std::move(qkv_bias),
      row("attn.out.weight", "width, heads*head_dim", kAttention),
      row("attn.out.bias", "width", kAttention),
      row("mlp.norm.weight", "width"),
      row("mlp.up.weight", "2*ffn, width"),
      row("mlp.up.bias", "2*ffn"),
      row("mlp.down.weight", "width, ffn"),
      row("mlp.down.bias", "width"),
      {"final_norm.weight", "width", "", ""},
  };
}

// ---- NeMo ----

R InLayer(std::string_view layer, std::string_view name, std::string_view canonical, std::string_view when = "") {
  R row = PlainRow(fmt::format("{}.{}", layer, name), fmt::format("layers.{{i}}.{}", canonical), Stage::kEvery);
  row.when = when;
  return row;
}

// The norm before a layer is in the linear layer behind it.
std::vector<R> McoreLayers() {
  constexpr std::string_view kLayer = "decoder.layers.{i}";
  const auto row = [&](std::string_view name, std::string_view canonical, std::string_view when = "") {
    return InLayer(kLayer, name, canonical, when);
  };
  const auto state = [&](std::string_view module, std::string_view when) {
    return StateRow(fmt::format("{}.{}._extra_state", kLayer, module), when, Stage::kEvery);
  };
  const auto interleaved = [](R of) {
    of.transform = &kInterleave;
    return of;
  };
  return {
      row("recurrent_layer.linear_in.layer_norm_weight", "norm.weight", kRecurrent),
      row("recurrent_layer.linear_in.weight", "recurrent.in.weight", kRecurrent),
      row("recurrent_layer.linear_in.bias", "recurrent.in.bias", kRecurrent),
      state("recurrent_layer.linear_in", kRecurrent),
      row("recurrent_layer.linear_out.weight", "recurrent.out.weight", kRecurrent),
      row("recurrent_layer.linear_out.bias", "recurrent.out.bias", kRecurrent),
      state("recurrent_layer.linear_out", kRecurrent),
      row("recurrent_layer.conv_1d.conv_1d.weight", "recurrent.conv.weight", kRecurrent),
      row("recurrent_layer.conv_1d.conv_1d.bias", "recurrent.conv.bias", kRecurrent),
      row("recurrent_layer.rg_lru.a_param", "recurrent.decay", kRecurrent),
      row("recurrent_layer.rg_lru.input_gate.w", "recurrent.input_gate.weight", kRecurrent),
      row("recurrent_layer.rg_lru.input_gate.b", "recurrent.input_gate.bias", kRecurrent),
      row("recurrent_layer.rg_lru.a_gate.w", "recurrent.decay_gate.weight", kRecurrent),
      row("recurrent_layer.rg_lru.a_gate.b", "recurrent.decay_gate.bias", kRecurrent),
      row("self_attention.linear_proj.weight", "attn.out.weight", kAttention),
      row("self_attention.linear_proj.bias", "attn.out.bias", kAttention),
      state("self_attention.linear_proj", kAttention),
      row("self_attention.linear_qkv.layer_norm_weight", "norm.weight", kAttention),
      interleaved(row("self_attention.linear_qkv.weight", "attn.qkv.weight", kAttention)),
      interleaved(row("self_attention.linear_qkv.bias", "attn.qkv.bias", kAttention)),
      state("self_attention.linear_qkv", kAttention),
      state("self_attention.core_attention", kReadOnly),
      state("self_attention.core_attention.fused_attention", kReadOnly),
      row("mlp.linear_fc1.layer_norm_weight", "mlp.norm.weight"),
      row("mlp.linear_fc1.weight", "mlp.up.weight"),
      row("mlp.linear_fc1.bias", "mlp.up.bias"),
      state("mlp.linear_fc1", ""),
      row("mlp.linear_fc2.weight", "mlp.down.weight"),
      row("mlp.linear_fc2.bias", "mlp.down.bias"),
      state("mlp.linear_fc2", ""),
  };
}

Dialect Mcore() {
  return {.name = "mcore",
          .title = "NeMo MegatronGriffinModel",
          .prefixes = {"model.", "model.module.", "module.", ""},
          .rows = Join<R>({
              {PlainRow("embedding.word_embeddings.weight", "token_embedding.weight", Stage::kEvery),
               R{.name = "rotary_pos_emb.inv_freq",
                 .role = Role::kDrop,
                 .why = "rotary frequencies are computed, not learned"}},
              McoreLayers(),
              {PlainRow("decoder.final_layernorm.weight", "final_norm.weight", Stage::kEvery),
               StateRow("decoder.final_layernorm._extra_state", kReadOnly, Stage::kEvery),
               StateRow("output_layer._extra_state", kReadOnly, Stage::kEvery)},
          }),
          .is_megatron = true};
}

// ---- transformers ----

std::vector<R> HfLayers() {
  const auto row = [](std::string_view name, std::string_view canonical) {
    return InLayer("model.layers.{i}", name, canonical);
  };
  const auto stacked = [&](std::string_view name, std::string_view canonical, std::string_view parts = "",
                           std::string_view only = "") {
    R of = row(name, canonical);
    of.transform = &kStack;
    of.parts = parts;
    of.only = only;
    return of;
  };
  constexpr std::string_view kQkv = "heads*head_dim | groups*head_dim | groups*head_dim";
  return {
      row("temporal_pre_norm.weight", "norm.weight"),
      stacked("temporal_block.{q,k,v}_proj.weight", "attn.qkv.weight", kQkv),
      stacked("temporal_block.{q,k,v}_proj.bias", "attn.qkv.bias", kQkv, "qkv_bias"),
      row("temporal_block.o_proj.weight", "attn.out.weight"),
      row("temporal_block.o_proj.bias", "attn.out.bias"),
      stacked("temporal_block.linear_{x,y}.weight", "recurrent.in.weight"),
      stacked("temporal_block.linear_{x,y}.bias", "recurrent.in.bias"),
      row("temporal_block.linear_out.weight", "recurrent.out.weight"),
      row("temporal_block.linear_out.bias", "recurrent.out.bias"),
      row("temporal_block.conv_1d.weight", "recurrent.conv.weight"),
      row("temporal_block.conv_1d.bias", "recurrent.conv.bias"),
      row("temporal_block.rg_lru.recurrent_param", "recurrent.decay"),
      row("temporal_block.rg_lru.input_gate_weight", "recurrent.input_gate.weight"),
      row("temporal_block.rg_lru.input_gate_bias", "recurrent.input_gate.bias"),
      row("temporal_block.rg_lru.recurrent_gate_weight", "recurrent.decay_gate.weight"),
      row("temporal_block.rg_lru.recurrent_gate_bias", "recurrent.decay_gate.bias"),
      row("channel_pre_norm.weight", "mlp.norm.weight"),
      stacked("mlp_block.{gate,up}_proj.weight", "mlp.up.weight"),
      stacked("mlp_block.{gate,up}_proj.bias", "mlp.up.bias"),
      row("mlp_block.down_proj.weight", "mlp.down.weight"),
      row("mlp_block.down_proj.bias", "mlp.down.bias"),
  };
}

Dialect HuggingFace() {
  return {.name = "hf",
          .title = "Hugging Face transformers, RecurrentGemmaForCausalLM",
          .prefixes = {""},
          .rows = Join<R>({
              {PlainRow("model.embed_tokens.weight", "token_embedding.weight", Stage::kEvery)},
              HfLayers(),
              {PlainRow("model.final_norm.weight", "final_norm.weight", Stage::kEvery),
               CopyOf("lm_head.weight", "token_embedding.weight"),
               R{.name = "model.normalizer", .role = Role::kDrop, .why = "the scale of embeddings follows from width"}},
          }),
          .omitted = {{"model.", ""}},  // of RecurrentGemmaModel, which NeMo's exporter writes
          .language = ConfigLanguage::kHuggingFace};
}

// ---- sizes ----

// NeMo's config of the checkpoint, whatever it is stored as.
Result<ConfigNode> NemoModel(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name) {
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, name));
  if (!IsGriffinJson(config->root())) return ModelNode(*config);
  Result<ConfigNode> model = NemoGriffinConfig(config->root(), DType::kF32);
  if (!model.ok()) return model.status().In(*name);
  return model;
}

Status SetGriffinSymbols(const ConfigNode& model, ModelSymbols* symbols) {
  ANEMONE_ASSIGN(const uint64_t layers, SizeOf(model, "num_layers"));
  ANEMONE_ASSIGN(const uint64_t width, SizeOf(model, "hidden_size"));
  ANEMONE_ASSIGN(const uint64_t heads, SizeOf(model, "num_attention_heads"));
  ANEMONE_ASSIGN(const uint64_t groups, SizeOf(model, "num_query_groups", heads));
  ANEMONE_ASSIGN(const uint64_t ffn, SizeOf(model, "ffn_hidden_size"));
  if (width % heads != 0)
    return Corrupt(fmt::format("num_attention_heads: expected a divisor of hidden_size {}, found {}", width, heads));
  if (heads % groups != 0)
    return Corrupt(fmt::format("num_query_groups: expected a divisor of {} heads, found {}", heads, groups));
  symbols->Set("layers", layers);
  symbols->Set("width", width);
  symbols->Set("heads", heads);
  symbols->Set("groups", groups);
  symbols->Set("head_dim", width / heads);
  symbols->Set("ffn", ffn);
  constexpr uint64_t kMostLayers = 100'000;
  if (layers > kMostLayers)
    return LimitExceeded(fmt::format("num_layers: expected at most {}, found {}", kMostLayers, layers));
  std::vector<bool> attends, recurs;
  for (uint64_t i = 0; i < layers; ++i) {
    attends.push_back(GriffinAttends(i));
    recurs.push_back(!GriffinAttends(i));
  }
  symbols->SetLayers(kAttention, std::move(attends));
  symbols->SetLayers(kRecurrent, std::move(recurs));
  return {};
}

// NeMo builds the table by this key, whatever its tokenizer counts.
Status CheckNemoRows(const ConfigNode& model, uint64_t rows) {
  ANEMONE_ASSIGN(const uint64_t said, SizeOf(model, "vocab_size", 256'000));
  if (rows == 0 || said == rows) return {};
  return Corrupt(fmt::format("vocab_size: expected {}, the rows of the embedding, found {}", rows, said));
}

Status ReadGriffinSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                          ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, NemoModel(checkpoint, options, &name));
  ANEMONE_TRY(SetGriffinSymbols(model, symbols).In(name));
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, &name));
  ANEMONE_ASSIGN(const uint64_t rows, StoredVocabRows(checkpoint, dialect, "token_embedding.weight"));
  const bool is_json = IsGriffinJson(config->root());
  ANEMONE_TRY((is_json ? CheckRows(config->root(), rows) : CheckNemoRows(model, rows)).In(name));
  symbols->Set("vocab", rows);
  ANEMONE_ASSIGN(const bool has_bias, FlagOf(config->root(), "attention_bias", false));
  symbols->Set("qkv_bias", is_json ? has_bias : true);
  return {};
}

// ---- the result ----

Result<bool> HasNonzeroQkvBias(const Checkpoint& source) {
  for (const StateDict::Item& item : source.weights().items()) {
    if (!item.name.ends_with("self_attention.linear_qkv.bias") || item.tensor() == nullptr) continue;
    ANEMONE_ASSIGN(const bool is_zero, IsZero(*item.tensor()));
    if (!is_zero) return true;
  }
  return false;
}

Result<Target> ToHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, NemoModel(source, {}, &name));
  ANEMONE_ASSIGN(const uint64_t stored, symbols.Get("vocab"));
  ANEMONE_ASSIGN(const std::optional<Config> kept, KeptHfConfig(source, IsGriffinJson));
  std::optional<VocabularyEvidence> evidence = RowsIn(kept);
  if (!evidence) evidence = VocabularyEvidence{stored, "vocab_size"};
  ANEMONE_ASSIGN(VocabularyChoice rows, ChooseHfVocabulary(source, stored, options, evidence));
  ANEMONE_ASSIGN(const bool qkv_bias, HasNonzeroQkvBias(source));
  HfGriffinRequest request{.qkv_bias = qkv_bias, .rows = rows.rows, .dtype = DTypeOf(source)};
  if (kept) {
    request.kept = &kept->root();
    request.dtype = DTypeBy(kept->root(), source);
  }
  Result<ConfigNode> json = HfGriffinConfig(model, request);
  if (!json.ok()) return json.status().In(name);
  ANEMONE_ASSIGN(const bool says_bias, FlagOf(*json, "attention_bias", false));
  Target target{symbols, Config(*std::move(json)), "config.json", {}};
  target.symbols.Set("vocab", rows.rows);
  target.symbols.Set("qkv_bias", says_bias);
  if (!rows.note.empty()) target.notes.push_back(std::move(rows.note));
  return target;
}

Result<Target> FromHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  Target target{symbols, options.hparams, options.hparams_name};
  target.symbols.Set("qkv_bias", 1);
  if (options.hparams || !source.config) return target;
  Result<ConfigNode> model = NemoGriffinConfig(source.config->root(), DTypeOf(source), &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  (*model)["vocab_size"] = SizeNode(rows);
  target.config = Config(*std::move(model));
  target.config_name = "model_config.yaml";
  return target;
}

Result<Target> GriffinTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                             const TranslateOptions& options, const ModelSymbols& symbols) {
  if (from.is_megatron && !to.is_megatron) return ToHuggingFace(source, options, symbols);
  if (!from.is_megatron && to.is_megatron) return FromHuggingFace(source, options, symbols);
  return Target{symbols, options.hparams ? options.hparams : source.config, source.config_name};
}

Status CompleteGriffin(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                       Checkpoint* result) {
  const bool from_hf = source.config && IsGriffinJson(source.config->root());
  return CompleteLanguageModel(source, from_hf ? kRecurrentGemmaClass : "", language, options, result);
}

// A config.json of another class, whose tensors are called alike.
std::string ForeignGriffin(const Config& config) {
  const ConfigNode& root = config.root();
  return IsGriffinJson(root) ? "" : ClassNamedIn(root);
}

}  // namespace

const Family& GriffinFamily() {
  static const Family family = {.name = "griffin",
                                .title = "Griffin",
                                .symbols = Declared(),
                                .canonical = Canonical(),
                                .dialects = {Mcore(), HuggingFace()},
                                .refusals = {},
                                .has_ranks = false,
                                .read_symbols = ReadGriffinSymbols,
                                .target = GriffinTarget,
                                .foreign = ForeignGriffin,
                                .complete = CompleteGriffin};
  return family;
}

}  // namespace anemone
