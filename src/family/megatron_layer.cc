// Facts: Megatron-LM core_v0.9.0 megatron/core/transformer; NeMo v2.0.0 transformer.py, attention.py, mlp.py; files
// that NeMo wrote (tests/golden).
#include "family/megatron_layer.h"

#include <optional>
#include <tuple>
#include <utility>

#include <fmt/format.h>

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

R InLayer(std::string name, std::string canonical, Split split = Split::kReplicated, Op op = Op::kSame) {
  return {.name = std::move(name), .canonical = std::move(canonical), .op = op, .split = split, .stage = Stage::kLayer};
}

R When(std::string_view condition, R row) {
  row.when = condition;
  return row;
}
R ReadOnly(std::string name, std::string canonical) {
  return When(kReadOnly, InLayer(std::move(name), std::move(canonical)));
}

R Only(std::string condition, R row) {
  row.only = std::move(condition);
  return row;
}

template <typename Row>
std::vector<Row> If(bool holds, std::vector<Row> rows) {
  return holds ? std::move(rows) : std::vector<Row>();
}

// A mixture of experts in the three forms that Megatron-core keeps it in: an MLP an expert; Transformer Engine's
// grouped linear layers, with a weight an expert; all experts of a rank in one matrix, for CUTLASS' grouped products
// [core_v0.9.0 megatron/core/transformer/moe/experts.py: SequentialMLP, TEGroupedMLP, GroupedMLP].
std::vector<R> McoreExperts() {
  using enum Split;
  constexpr std::string_view kEach = "{T}.each_expert", kTe = "{T}.te_experts", kOne = "{T}.side_by_side_experts";
  std::vector<R> rows = {InLayer("{P}.mlp.router.weight", "{C}.router.weight")};
  for (const auto& [module, part, split] :
       {std::tuple("linear_fc1", "{C}.experts.up", kGlu), {"linear_fc2", "{C}.experts.down", kRows}}) {
    const std::string each = fmt::format("{{P}}.mlp.experts.local_experts.{{e}}.{}", module);
    const std::string grouped = fmt::format("{{P}}.mlp.experts.{}", module);
    const std::string weight = std::string(part) + ".weight", bias = std::string(part) + ".bias";
    const Split bias_split = split == kRows ? kReplicated : split;
    rows.push_back(When(kEach, InLayer(each + ".weight", weight, split, Op::kStack)));
    rows.push_back(When(kEach, InLayer(each + ".bias", bias, bias_split, Op::kStack)));
    rows.push_back(ExtraState(each + "._extra_state", kEach));
    rows.push_back(When(kTe, InLayer(grouped + ".weight{e}", weight, split, Op::kStack)));
    rows.push_back(When(kTe, InLayer(grouped + ".bias{e}", bias, bias_split, Op::kStack)));
    rows.push_back(ExtraState(grouped + "._extra_state", kReadOnly));
  }
  R up = InLayer("{P}.mlp.experts.weight1", "{C}.experts.up.weight", kExpertColumns, Op::kSideBySide);
  up.shape = "{T}.width, {T}.experts*{T}.expert_up_rows";
  R down = InLayer("{P}.mlp.experts.weight2", "{C}.experts.down.weight", kExpertRows, Op::kSideBySide);
  down.shape = "{T}.experts*{T}.expert_ffn, {T}.width";
  rows.push_back(When(kOne, up));
  rows.push_back(When(kOne, down));
  return rows;
}

Words LayerWords(std::string_view name) { return {{"{P}", std::string(name)}, {"{C}", "{T}.layers.{i}"}}; }

}  // namespace

StoredRow ExtraState(std::string name, std::string_view when) {
  return {.name = std::move(name), .op = Op::kExtraState, .stage = Stage::kLayer, .when = std::string(when)};
}

StoredRow VocabTable(std::string name, std::string canonical, Stage stage) {
  return {.name = std::move(name),
          .canonical = std::move(canonical),
          .op = Op::kPadVocab,
          .split = Split::kVocab,
          .stage = stage};
}

std::vector<CanonicalRow> CanonicalLayer(std::string_view tower, const LayerParts& parts) {
  const std::string dense = parts.experts ? "!{T}.experts" : "", and_dense = parts.experts ? " & !{T}.experts" : "";
  return ForTower(
      tower,
      Join<C>({
          {
              {"{T}.layers.{i}.norm1.weight", "{T}.width", "", ""},
              {"{T}.layers.{i}.norm1.bias", "{T}.width", "{T}.norm_bias", ""},
              {"{T}.layers.{i}.attn.qkv.weight", "{T}.qkv_rows, {T}.width", "", ""},
              {"{T}.layers.{i}.attn.qkv.bias", "{T}.qkv_rows", "{T}.qkv_bias", ""},
          },
          If<C>(parts.qk_norm,
                {
                    {"{T}.layers.{i}.attn.q_norm.weight", "{T}.head_dim", "{T}.qk_norm", ""},
                    {"{T}.layers.{i}.attn.k_norm.weight", "{T}.head_dim", "{T}.qk_norm", ""},
                }),
          {
              {"{T}.layers.{i}.attn.out.weight", "{T}.width, {T}.heads*{T}.head_dim", "", ""},
              {"{T}.layers.{i}.attn.out.bias", "{T}.width", "{T}.bias", ""},
              {"{T}.layers.{i}.norm2.weight", "{T}.width", "", ""},
              {"{T}.layers.{i}.norm2.bias", "{T}.width", "{T}.norm_bias", ""},
          },
          If<C>(parts.cross_attention,
                {
                    {"{T}.layers.{i}.cross.q.weight", "{T}.heads*{T}.head_dim, {T}.width", "", ""},
                    {"{T}.layers.{i}.cross.q.bias", "{T}.heads*{T}.head_dim", "{T}.bias", ""},
                    {"{T}.layers.{i}.cross.kv.weight", "2*{T}.heads*{T}.head_dim, encoder.width", "", ""},
                    {"{T}.layers.{i}.cross.kv.bias", "2*{T}.heads*{T}.head_dim", "{T}.bias", ""},
                    {"{T}.layers.{i}.cross.out.weight", "{T}.width, {T}.heads*{T}.head_dim", "", ""},
                    {"{T}.layers.{i}.cross.out.bias", "{T}.width", "{T}.bias", ""},
                    {"{T}.layers.{i}.norm3.weight", "{T}.width", "", ""},
                    {"{T}.layers.{i}.norm3.bias", "{T}.width", "{T}.norm_bias", ""},
                }),
          {
              {"{T}.layers.{i}.mlp.up.weight", "{T}.up_rows, {T}.width", dense, ""},
              {"{T}.layers.{i}.mlp.up.bias", "{T}.up_rows", "{T}.bias" + and_dense, ""},
              {"{T}.layers.{i}.mlp.down.weight", "{T}.width, {T}.ffn", dense, ""},
              {"{T}.layers.{i}.mlp.down.bias", "{T}.width", "{T}.bias" + and_dense, ""},
          },
          If<C>(
              parts.experts,
              {
                  {"{T}.layers.{i}.router.weight", "{T}.experts, {T}.width", "{T}.experts", ""},
                  {"{T}.layers.{i}.experts.up.weight", "{T}.experts*{T}.expert_up_rows, {T}.width", "{T}.experts", ""},
                  {"{T}.layers.{i}.experts.up.bias", "{T}.experts*{T}.expert_up_rows", "{T}.bias & {T}.experts", ""},
                  {"{T}.layers.{i}.experts.down.weight", "{T}.experts*{T}.width, {T}.expert_ffn", "{T}.experts", ""},
                  {"{T}.layers.{i}.experts.down.bias", "{T}.experts*{T}.width", "{T}.bias & {T}.experts", ""},
              }),
      }));
}

std::vector<StoredRow> McoreLayer(std::string_view tower, std::string_view name, const LayerParts& parts) {
  using enum Split;
  const Split up = parts.gated ? kGlu : kColumns;
  const std::string dense = parts.experts ? "!{T}.experts" : "";
  const std::string apart = parts.experts ? "{T}.experts" : std::string(kReadOnly);
  return ForTower(
      tower,
      Join<R>({
          {
              // Megatron-core without Transformer Engine (the "local" layer spec) keeps the norms apart.
              ReadOnly("{P}.input_layernorm.weight", "{C}.norm1.weight"),
              ReadOnly("{P}.input_layernorm.bias", "{C}.norm1.bias"),
              ExtraState("{P}.self_attention.core_attention._extra_state", kReadOnly),
              ExtraState("{P}.self_attention.core_attention.fused_attention._extra_state", kReadOnly),
              InLayer("{P}.self_attention.linear_proj.weight", "{C}.attn.out.weight", kRows),
              InLayer("{P}.self_attention.linear_proj.bias", "{C}.attn.out.bias"),
              ExtraState("{P}.self_attention.linear_proj._extra_state"),
              InLayer("{P}.self_attention.linear_qkv.layer_norm_weight", "{C}.norm1.weight"),
              InLayer("{P}.self_attention.linear_qkv.layer_norm_bias", "{C}.norm1.bias"),
              InLayer("{P}.self_attention.linear_qkv.weight", "{C}.attn.qkv.weight", kColumns, Op::kInterleave),
              InLayer("{P}.self_attention.linear_qkv.bias", "{C}.attn.qkv.bias", kColumns, Op::kInterleave),
              ExtraState("{P}.self_attention.linear_qkv._extra_state"),
          },
          If<R>(parts.qk_norm,
                {
                    InLayer("{P}.self_attention.q_layernorm.weight", "{C}.attn.q_norm.weight"),
                    ExtraState("{P}.self_attention.q_layernorm._extra_state", kReadOnly),
                    InLayer("{P}.self_attention.k_layernorm.weight", "{C}.attn.k_norm.weight"),
                    ExtraState("{P}.self_attention.k_layernorm._extra_state", kReadOnly),
                }),
          {
              // So does a layer with experts.
              When(apart, InLayer("{P}.pre_mlp_layernorm.weight", "{C}.norm2.weight")),
              When(apart, InLayer("{P}.pre_mlp_layernorm.bias", "{C}.norm2.bias")),
              When(dense, InLayer("{P}.mlp.linear_fc1.layer_norm_weight", "{C}.norm2.weight")),
              When(dense, InLayer("{P}.mlp.linear_fc1.layer_norm_bias", "{C}.norm2.bias")),
              When(dense, InLayer("{P}.mlp.linear_fc1.weight", "{C}.mlp.up.weight", up)),
              When(dense, InLayer("{P}.mlp.linear_fc1.bias", "{C}.mlp.up.bias", up)),
              ExtraState("{P}.mlp.linear_fc1._extra_state", dense),
              When(dense, InLayer("{P}.mlp.linear_fc2.weight", "{C}.mlp.down.weight", kRows)),
              When(dense, InLayer("{P}.mlp.linear_fc2.bias", "{C}.mlp.down.bias")),
              ExtraState("{P}.mlp.linear_fc2._extra_state", dense),
          },
          If<R>(parts.experts, McoreExperts()),
      }),
      LayerWords(name));
}

std::vector<StoredRow> LegacyLayer(std::string_view tower, std::string_view name, const LayerParts& parts) {
  using enum Split;
  // A gated MLP keeps gate and up as two matrices, but for the `fast-` activations.
  const std::string one = parts.gated ? "!{T}.two_matrices" : "", two = "{T}.two_matrices";
  const Split up = parts.gated ? kGlu : kColumns;
  return ForTower(
      tower,
      Join<R>({
          {
              InLayer("{P}.input_layernorm.weight", "{C}.norm1.weight"),
              InLayer("{P}.input_layernorm.bias", "{C}.norm1.bias"),
              InLayer("{P}.self_attention.query_key_value.weight", "{C}.attn.qkv.weight", kQkv, Op::kMegatronQkv),
              InLayer("{P}.self_attention.query_key_value.bias", "{C}.attn.qkv.bias", kQkv, Op::kMegatronQkv),
              ExtraState("{P}.self_attention.query_key_value._extra_state"),
          },
          If<R>(parts.qk_norm,
                {
                    InLayer("{P}.self_attention.q_layernorm.weight", "{C}.attn.q_norm.weight"),
                    InLayer("{P}.self_attention.k_layernorm.weight", "{C}.attn.k_norm.weight"),
                }),
          {
              InLayer("{P}.self_attention.dense.weight", "{C}.attn.out.weight", kRows),
              InLayer("{P}.self_attention.dense.bias", "{C}.attn.out.bias"),
              ExtraState("{P}.self_attention.dense._extra_state"),
              InLayer("{P}.post_attention_layernorm.weight", "{C}.norm2.weight"),
              InLayer("{P}.post_attention_layernorm.bias", "{C}.norm2.bias"),
          },
          If<R>(parts.cross_attention,
                {
                    InLayer("{P}.inter_attention.query.weight", "{C}.cross.q.weight", kColumns),
                    InLayer("{P}.inter_attention.query.bias", "{C}.cross.q.bias", kColumns),
                    ExtraState("{P}.inter_attention.query._extra_state"),
                    InLayer("{P}.inter_attention.key_value.weight", "{C}.cross.kv.weight", kKeyValue),
                    InLayer("{P}.inter_attention.key_value.bias", "{C}.cross.kv.bias", kKeyValue),
                    ExtraState("{P}.inter_attention.key_value._extra_state"),
                    InLayer("{P}.inter_attention.dense.weight", "{C}.cross.out.weight", kRows),
                    InLayer("{P}.inter_attention.dense.bias", "{C}.cross.out.bias"),
                    ExtraState("{P}.inter_attention.dense._extra_state"),
                    InLayer("{P}.post_inter_attention_layernorm.weight", "{C}.norm3.weight"),
                    InLayer("{P}.post_inter_attention_layernorm.bias", "{C}.norm3.bias"),
                }),
          If<R>(parts.gated,
                {
                    Only(two, InLayer("{P}.mlp.dense_h_to_4h{,_2}.weight", "{C}.mlp.up.weight", kColumns, Op::kStack)),
                    Only(two, InLayer("{P}.mlp.dense_h_to_4h{,_2}.bias", "{C}.mlp.up.bias", kColumns, Op::kStack)),
                }),
          {
              Only(one, InLayer("{P}.mlp.dense_h_to_4h.weight", "{C}.mlp.up.weight", up)),
              Only(one, InLayer("{P}.mlp.dense_h_to_4h.bias", "{C}.mlp.up.bias", up)),
              ExtraState("{P}.mlp.dense_h_to_4h._extra_state"),
          },
          If<R>(parts.gated, {ExtraState("{P}.mlp.dense_h_to_4h_2._extra_state", kReadOnly)}),
          {
              InLayer("{P}.mlp.dense_4h_to_h.weight", "{C}.mlp.down.weight", kRows),
              InLayer("{P}.mlp.dense_4h_to_h.bias", "{C}.mlp.down.bias"),
              ExtraState("{P}.mlp.dense_4h_to_h._extra_state"),
          },
      }),
      LayerWords(name));
}

const ConfigNode& ModelNode(const Config& config) {
  const ConfigNode* cfg = config.root().Get("cfg");
  return cfg != nullptr && cfg->is_map() ? *cfg : config.root();
}

bool FlagOf(const ConfigNode& node, std::string_view key, bool fallback) {
  const ConfigNode* child = node.Get(key);
  return child == nullptr ? fallback : child->AsBool().value_or(fallback);
}

std::string TextOf(const ConfigNode& node, std::string_view key, std::string_view fallback) {
  const ConfigNode* child = node.Get(key);
  return child == nullptr ? std::string(fallback) : child->AsString().value_or(std::string(fallback));
}

Result<uint64_t> SizeOf(const ConfigNode& node, std::string_view key, std::optional<uint64_t> fallback) {
  const ConfigNode* child = node.Get(key);
  if (child == nullptr || child->is_null()) {
    if (fallback) return *fallback;
    return Corrupt(fmt::format("{}: expected a number, found nothing", key));
  }
  const auto value = child->AsInt();
  if (!value || *value < 1)
    return Corrupt(fmt::format("{}: expected a number above 0, found {}", key, child->ScalarText()));
  return static_cast<uint64_t>(*value);
}

Status SetLayerDims(const ConfigNode& config, std::string_view tower, Dims* dims) {
  const auto set = [&](std::string_view key, uint64_t value) {
    dims->Set(tower.empty() ? std::string(key) : fmt::format("{}.{}", tower, key), value);
  };
  ANEMONE_ASSIGN(const uint64_t layers, SizeOf(config, "num_layers"));
  ANEMONE_ASSIGN(const uint64_t width, SizeOf(config, "hidden_size"));
  ANEMONE_ASSIGN(const uint64_t heads, SizeOf(config, "num_attention_heads"));
  ANEMONE_ASSIGN(const uint64_t groups, SizeOf(config, "num_query_groups", heads));
  ANEMONE_ASSIGN(const uint64_t head_dim, SizeOf(config, "kv_channels", width / heads));
  ANEMONE_ASSIGN(const uint64_t ffn, SizeOf(config, "ffn_hidden_size", 4 * width));
  uint64_t experts = 0, expert_ffn = ffn;
  set("layers", layers);
  set("width", width);
  set("heads", heads);
  set("groups", groups);
  set("head_dim", head_dim);
  set("qkv_rows", (heads + 2 * groups) * head_dim);
  set("ffn", ffn);
  if (const ConfigNode* node = config.Get("num_moe_experts"); node != nullptr && !node->is_null()) {
    ANEMONE_ASSIGN(experts, SizeOf(config, "num_moe_experts"));
    ANEMONE_ASSIGN(expert_ffn, SizeOf(config, "moe_ffn_hidden_size", ffn));
  }
  const std::string activation = TextOf(config, "activation", "gelu");
  const bool glu = activation.ends_with("glu"), bias = FlagOf(config, "bias", true);
  set("glu", glu);
  set("two_matrices", glu && !activation.starts_with("fast-"));
  set("up_rows", glu ? 2 * ffn : ffn);
  set("experts", experts);
  set("expert_ffn", expert_ffn);
  set("expert_up_rows", glu ? 2 * expert_ffn : expert_ffn);
  set("bias", bias);
  set("qkv_bias", bias || FlagOf(config, "qkv_bias", false));
  set("norm_bias", TextOf(config, "normalization", "layernorm") != "rmsnorm");
  set("qk_norm", FlagOf(config, "qk_layernorm", false));
  set("qkv_stacked", FlagOf(config, "megatron_legacy", false));
  return {};
}

}  // namespace anemone
