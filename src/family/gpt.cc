// GPT as NeMo and Megatron store it: a decoder of pre-norm blocks, Megatron-core and legacy.
//
// Facts: Megatron-LM core_v0.9.0 megatron/core/models/gpt; NeMo v2.0.0 language_model.py, transformer.py, mlp.py and
// scripts/checkpoint_converters/convert_gpt_nemo_to_mcore.py; files that NeMo wrote (tests/golden).
#include <fmt/format.h>

#include "family/families.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

std::vector<C> Canonical() {
  return {
      {"token_embedding.weight", "vocab, width", "", ""},
      {"position_embedding.weight", "positions, width", "learned_absolute", ""},
      {"layers.{i}.norm1.weight", "width", "", ""},
      {"layers.{i}.norm1.bias", "width", "norm_bias", ""},
      {"layers.{i}.attn.qkv.weight", "qkv_rows, width", "", ""},
      {"layers.{i}.attn.qkv.bias", "qkv_rows", "qkv_bias", ""},
      {"layers.{i}.attn.q_norm.weight", "head_dim", "qk_norm", ""},
      {"layers.{i}.attn.k_norm.weight", "head_dim", "qk_norm", ""},
      {"layers.{i}.attn.out.weight", "width, heads*head_dim", "", ""},
      {"layers.{i}.attn.out.bias", "width", "bias", ""},
      {"layers.{i}.norm2.weight", "width", "", ""},
      {"layers.{i}.norm2.bias", "width", "norm_bias", ""},
      {"layers.{i}.mlp.up.weight", "up_rows, width", "", ""},
      {"layers.{i}.mlp.up.bias", "up_rows", "bias", ""},
      {"layers.{i}.mlp.down.weight", "width, ffn", "", ""},
      {"layers.{i}.mlp.down.bias", "width", "bias", ""},
      {"final_norm.weight", "width", "", ""},
      {"final_norm.bias", "width", "norm_bias", ""},
      {"output.weight", "vocab, width", "!tied", ""},
  };
}

R ExtraState(std::string name, std::string_view when = "") {
  return {.name = std::move(name), .op = Op::kExtraState, .stage = Stage::kLayer, .when = std::string(when)};
}

R Frequencies(std::string name) {
  return {.name = std::move(name), .op = Op::kDrop, .why = "rotary frequencies are computed, not learned"};
}

Dialect Mcore() {
  constexpr Stage L = Stage::kLayer;
  const std::string read_only(kReadOnly);
  return {
      "mcore",
      "NeMo GPT, Megatron-core",
      {"model.", "model.module.", "module.", ""},
      ForTower(
          "",
          std::vector<R>{
              {.name = "embedding.word_embeddings.weight",
               .canonical = "token_embedding.weight",
               .op = Op::kPadVocab,
               .split = Split::kVocab,
               .stage = Stage::kFirst},
              {.name = "embedding.position_embeddings.weight",
               .canonical = "position_embedding.weight",
               .stage = Stage::kFirst},
              Frequencies("rotary_pos_emb.inv_freq"),
              {.name = "{P}.input_layernorm.weight", .canonical = "{C}.norm1.weight", .stage = L, .when = read_only},
              {.name = "{P}.input_layernorm.bias", .canonical = "{C}.norm1.bias", .stage = L, .when = read_only},
              ExtraState("{P}.self_attention.core_attention._extra_state", kReadOnly),
              ExtraState("{P}.self_attention.core_attention.fused_attention._extra_state", kReadOnly),
              {.name = "{P}.self_attention.linear_proj.weight",
               .canonical = "{C}.attn.out.weight",
               .split = Split::kRows,
               .stage = L},
              {.name = "{P}.self_attention.linear_proj.bias", .canonical = "{C}.attn.out.bias", .stage = L},
              ExtraState("{P}.self_attention.linear_proj._extra_state"),
              {.name = "{P}.self_attention.linear_qkv.layer_norm_weight", .canonical = "{C}.norm1.weight", .stage = L},
              {.name = "{P}.self_attention.linear_qkv.layer_norm_bias", .canonical = "{C}.norm1.bias", .stage = L},
              {.name = "{P}.self_attention.linear_qkv.weight",
               .canonical = "{C}.attn.qkv.weight",
               .op = Op::kInterleave,
               .split = Split::kColumns,
               .stage = L},
              {.name = "{P}.self_attention.linear_qkv.bias",
               .canonical = "{C}.attn.qkv.bias",
               .op = Op::kInterleave,
               .split = Split::kColumns,
               .stage = L},
              ExtraState("{P}.self_attention.linear_qkv._extra_state"),
              {.name = "{P}.self_attention.q_layernorm.weight", .canonical = "{C}.attn.q_norm.weight", .stage = L},
              ExtraState("{P}.self_attention.q_layernorm._extra_state", kReadOnly),
              {.name = "{P}.self_attention.k_layernorm.weight", .canonical = "{C}.attn.k_norm.weight", .stage = L},
              ExtraState("{P}.self_attention.k_layernorm._extra_state", kReadOnly),
              {.name = "{P}.pre_mlp_layernorm.weight", .canonical = "{C}.norm2.weight", .stage = L, .when = read_only},
              {.name = "{P}.pre_mlp_layernorm.bias", .canonical = "{C}.norm2.bias", .stage = L, .when = read_only},
              {.name = "{P}.mlp.linear_fc1.layer_norm_weight", .canonical = "{C}.norm2.weight", .stage = L},
              {.name = "{P}.mlp.linear_fc1.layer_norm_bias", .canonical = "{C}.norm2.bias", .stage = L},
              {.name = "{P}.mlp.linear_fc1.weight", .canonical = "{C}.mlp.up.weight", .split = Split::kGlu, .stage = L},
              {.name = "{P}.mlp.linear_fc1.bias", .canonical = "{C}.mlp.up.bias", .split = Split::kGlu, .stage = L},
              ExtraState("{P}.mlp.linear_fc1._extra_state"),
              {.name = "{P}.mlp.linear_fc2.weight",
               .canonical = "{C}.mlp.down.weight",
               .split = Split::kRows,
               .stage = L},
              {.name = "{P}.mlp.linear_fc2.bias", .canonical = "{C}.mlp.down.bias", .stage = L},
              ExtraState("{P}.mlp.linear_fc2._extra_state"),
              {.name = "decoder.final_layernorm.weight", .canonical = "final_norm.weight", .stage = Stage::kLast},
              {.name = "decoder.final_layernorm.bias", .canonical = "final_norm.bias", .stage = Stage::kLast},
              ExtraState("decoder.final_layernorm._extra_state", kReadOnly),
              {.name = "output_layer.weight",
               .canonical = "output.weight",
               .op = Op::kPadVocab,
               .split = Split::kVocab,
               .stage = Stage::kLast,
               .only = "!tied"},
              {.name = "output_layer.weight",
               .canonical = "token_embedding.weight",
               .op = Op::kPadVocab,
               .split = Split::kVocab,
               .stage = Stage::kTiedCopy,
               .only = "tied"},
              ExtraState("output_layer._extra_state", kReadOnly),
          },
          {{"{P}", "decoder.layers.{i}"}, {"{C}", "layers.{i}"}}),
      true};
}

Dialect Legacy() {
  constexpr Stage L = Stage::kLayer;
  return {
      "legacy",
      "NeMo GPT, legacy Megatron",
      {"model.", "model.module.", "module.", ""},
      ForTower("",
               std::vector<R>{
                   {.name = "language_model.embedding.word_embeddings.weight",
                    .canonical = "token_embedding.weight",
                    .op = Op::kPadVocab,
                    .split = Split::kVocab,
                    .stage = Stage::kFirst},
                   {.name = "language_model.embedding.position_embeddings.weight",
                    .canonical = "position_embedding.weight",
                    .stage = Stage::kFirst},
                   Frequencies("language_model.rotary_pos_emb.inv_freq"),
                   {.name = "{P}.input_layernorm.weight", .canonical = "{C}.norm1.weight", .stage = L},
                   {.name = "{P}.input_layernorm.bias", .canonical = "{C}.norm1.bias", .stage = L},
                   {.name = "{P}.self_attention.query_key_value.weight",
                    .canonical = "{C}.attn.qkv.weight",
                    .op = Op::kMegatronQkv,
                    .split = Split::kQkv,
                    .stage = L},
                   {.name = "{P}.self_attention.query_key_value.bias",
                    .canonical = "{C}.attn.qkv.bias",
                    .op = Op::kMegatronQkv,
                    .split = Split::kQkv,
                    .stage = L},
                   ExtraState("{P}.self_attention.query_key_value._extra_state"),
                   {.name = "{P}.self_attention.q_layernorm.weight", .canonical = "{C}.attn.q_norm.weight", .stage = L},
                   {.name = "{P}.self_attention.k_layernorm.weight", .canonical = "{C}.attn.k_norm.weight", .stage = L},
                   {.name = "{P}.self_attention.dense.weight",
                    .canonical = "{C}.attn.out.weight",
                    .split = Split::kRows,
                    .stage = L},
                   {.name = "{P}.self_attention.dense.bias", .canonical = "{C}.attn.out.bias", .stage = L},
                   ExtraState("{P}.self_attention.dense._extra_state"),
                   {.name = "{P}.post_attention_layernorm.weight", .canonical = "{C}.norm2.weight", .stage = L},
                   {.name = "{P}.post_attention_layernorm.bias", .canonical = "{C}.norm2.bias", .stage = L},
                   // A gated MLP keeps gate and up as two matrices, but for the `fast-` activations.
                   {.name = "{P}.mlp.dense_h_to_4h{,_2}.weight",
                    .canonical = "{C}.mlp.up.weight",
                    .op = Op::kStack,
                    .split = Split::kColumns,
                    .stage = L,
                    .only = "two_matrices"},
                   {.name = "{P}.mlp.dense_h_to_4h{,_2}.bias",
                    .canonical = "{C}.mlp.up.bias",
                    .op = Op::kStack,
                    .split = Split::kColumns,
                    .stage = L,
                    .only = "two_matrices"},
                   {.name = "{P}.mlp.dense_h_to_4h.weight",
                    .canonical = "{C}.mlp.up.weight",
                    .split = Split::kGlu,
                    .stage = L,
                    .only = "!two_matrices"},
                   {.name = "{P}.mlp.dense_h_to_4h.bias",
                    .canonical = "{C}.mlp.up.bias",
                    .split = Split::kGlu,
                    .stage = L,
                    .only = "!two_matrices"},
                   ExtraState("{P}.mlp.dense_h_to_4h._extra_state"),
                   ExtraState("{P}.mlp.dense_h_to_4h_2._extra_state", kReadOnly),
                   {.name = "{P}.mlp.dense_4h_to_h.weight",
                    .canonical = "{C}.mlp.down.weight",
                    .split = Split::kRows,
                    .stage = L},
                   {.name = "{P}.mlp.dense_4h_to_h.bias", .canonical = "{C}.mlp.down.bias", .stage = L},
                   ExtraState("{P}.mlp.dense_4h_to_h._extra_state"),
                   {.name = "language_model.encoder.final_layernorm.weight",
                    .canonical = "final_norm.weight",
                    .stage = Stage::kLast},
                   {.name = "language_model.encoder.final_layernorm.bias",
                    .canonical = "final_norm.bias",
                    .stage = Stage::kLast},
                   {.name = "language_model.output_layer.weight",
                    .canonical = "output.weight",
                    .op = Op::kPadVocab,
                    .split = Split::kVocab,
                    .stage = Stage::kLast},
                   ExtraState("language_model.output_layer._extra_state", kReadOnly),
                   {.name = "word_embeddings.weight",
                    .canonical = "token_embedding.weight",
                    .op = Op::kPadVocab,
                    .split = Split::kVocab,
                    .stage = Stage::kTiedCopy,
                    .when = "tied",
                    .only = "!virtual"},
                   {.name = "word_embeddings_for_head.weight",
                    .canonical = "token_embedding.weight",
                    .op = Op::kPadVocab,
                    .split = Split::kVocab,
                    .stage = Stage::kTiedCopy,
                    .when = "tied",
                    .only = "virtual"},
               },
               {{"{P}", "language_model.encoder.layers.{i}"}, {"{C}", "layers.{i}"}}),
      true};
}

// ---- sizes ----

const ConfigNode& ModelNode(const Config& config) {
  const ConfigNode* cfg = config.root().Get("cfg");
  return cfg != nullptr && cfg->is_map() ? *cfg : config.root();
}

std::string TextOf(const ConfigNode& node, std::string_view key, std::string_view fallback) {
  const ConfigNode* child = node.Get(key);
  return child == nullptr ? std::string(fallback) : child->AsString().value_or(std::string(fallback));
}

Result<Dims> GptDims(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options) {
  if (!checkpoint.config && !options.hparams)
    return NotFound("expected a config beside the weights, found none", "pass NeMo's YAML with --hparams");
  const Config& config = checkpoint.config ? *checkpoint.config : *options.hparams;
  const ConfigNode& model = ModelNode(config);
  Status status;
  const auto size = [&](std::string_view key, std::optional<uint64_t> fallback) -> uint64_t {
    const ConfigNode* node = model.Get(key);
    if (node == nullptr || node->is_null()) {
      if (!fallback && status.ok()) status = Corrupt(fmt::format("{}: expected a number, found nothing", key));
      return fallback.value_or(1);
    }
    const auto value = node->AsInt();
    if ((!value || *value < 1) && status.ok())
      status = Corrupt(fmt::format("{}: expected a number above 0, found {}", key, node->ScalarText()));
    return value && *value > 0 ? static_cast<uint64_t>(*value) : 1;
  };
  const auto flag = [&](std::string_view key, bool fallback) {
    const ConfigNode* node = model.Get(key);
    return node == nullptr ? fallback : node->AsBool().value_or(fallback);
  };
  Dims dims;
  const uint64_t width = size("hidden_size", std::nullopt), heads = size("num_attention_heads", std::nullopt);
  const uint64_t groups = size("num_query_groups", heads), head_dim = size("kv_channels", width / heads);
  const uint64_t ffn = size("ffn_hidden_size", 4 * width);
  const std::string activation = TextOf(model, "activation", "gelu");
  const bool glu = activation.ends_with("glu"), fast = activation.starts_with("fast-");
  dims.Set("layers", size("num_layers", std::nullopt));
  dims.Set("width", width);
  dims.Set("heads", heads);
  dims.Set("groups", groups);
  dims.Set("head_dim", head_dim);
  dims.Set("qkv_rows", (heads + 2 * groups) * head_dim);
  dims.Set("ffn", ffn);
  dims.Set("glu", glu);
  dims.Set("two_matrices", glu && !fast);
  dims.Set("up_rows", glu ? 2 * ffn : ffn);
  const bool bias = flag("bias", true);
  dims.Set("bias", bias);
  dims.Set("qkv_bias", bias || flag("qkv_bias", false));
  dims.Set("norm_bias", TextOf(model, "normalization", "layernorm") != "rmsnorm");
  dims.Set("qk_norm", flag("qk_layernorm", false));
  dims.Set("learned_absolute", TextOf(model, "position_embedding_type", "learned_absolute") == "learned_absolute");
  dims.Set("positions", size("max_position_embeddings", size("encoder_seq_length", 1)));
  dims.Set("tied", flag("share_embeddings_and_output_weights", true));
  dims.Set("qkv_stacked", flag("megatron_legacy", false));
  const uint64_t rows = StoredVocabRows(checkpoint, dialect, "token_embedding.weight");
  dims.Set("vocab", rows);
  dims.Set("padded_vocab", rows);
  if (const ConfigNode* experts = model.Get("num_moe_experts"); experts != nullptr && !experts->is_null())
    status = Unsupported("num_moe_experts: a mixture of experts is not carried");
  if (!status.ok()) return status.In(checkpoint.config ? checkpoint.config_name : options.hparams_name);
  return dims;
}

Result<Target> GptTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                         const TranslateOptions& options) {
  ANEMONE_ASSIGN(const Dims dims, GptDims(source, from, options));
  Target target{dims, options.hparams ? options.hparams : source.config, source.config_name};
  if (target.config && &from != &to) {
    const bool mcore = to.name == "mcore";
    target.config->root()["mcore_gpt"] = ConfigNode::Bool(mcore);
    if (mcore) target.config->root()["transformer_engine"] = ConfigNode::Bool(true);
  }
  return target;
}

}  // namespace

const Family& GptFamily() {
  static const Family family = {
      .name = "gpt",
      .title = "GPT",
      .canonical = Canonical(),
      .dialects = {Mcore(), Legacy()},
      .refusals = {{"mlp.experts.", "a mixture of experts"}, {"mlp.router.", "a mixture of experts"}},
      .tower_order = {},
      .has_virtual_stages = true,
      .dims = GptDims,
      .target = GptTarget};
  return family;
}

}  // namespace anemone
