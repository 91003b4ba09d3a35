// Facts: Megatron-LM core_v0.9.0 megatron/core/transformer; NeMo v2.0.0 transformer.py, attention.py, mlp.py; files
// that NeMo wrote (tests/golden).
#include "family/megatron/megatron_layer.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "family/megatron/megatron_transforms.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

R InLayer(std::string name, std::string canonical, Split split = Split::kReplicated,
          const Transform& transform = kSame) {
  return {.name = std::move(name),
          .canonical = std::move(canonical),
          .transform = &transform,
          .split = split,
          .stage = Stage::kLayer};
}

R When(std::string_view condition, R row) {
  row.when = condition;
  return row;
}
template <typename Row>
std::vector<Row> If(bool holds, std::vector<Row> rows) {
  return holds ? std::move(rows) : std::vector<Row>();
}

std::vector<R> When(std::string_view condition, std::vector<R> rows) {
  for (R& row : rows) row.when = condition;
  return rows;
}
std::vector<R> Only(std::string_view condition, std::vector<R> rows) {
  for (R& row : rows) row.only = condition;
  return rows;
}

// A bias is divided as its weight's rows are; behind a sum over the ranks each of them has all of it.
Split SplitOfBias(Split weight) { return weight == Split::kRows ? Split::kReplicated : weight; }

// A linear layer's weight and bias.
std::vector<R> Linear(std::string_view name, std::string_view canonical, Split split,
                      const Transform& transform = kSame) {
  return {InLayer(fmt::format("{{P}}.{}.weight", name), fmt::format("{{C}}.{}.weight", canonical), split, transform),
          InLayer(fmt::format("{{P}}.{}.bias", name), fmt::format("{{C}}.{}.bias", canonical), SplitOfBias(split),
                  transform)};
}
// A norm's, which stand under `name` with "weight" and "bias" behind it.
std::vector<R> Norm(std::string_view name, std::string_view canonical) {
  return {InLayer(fmt::format("{{P}}.{}weight", name), fmt::format("{{C}}.{}.weight", canonical)),
          InLayer(fmt::format("{{P}}.{}bias", name), fmt::format("{{C}}.{}.bias", canonical))};
}
std::vector<R> PostNorm(std::string_view name, std::string_view canonical) {
  return {InLayer(fmt::format("{{P}}.{}.post_layernorm.weight", name),
                  fmt::format("{{C}}.{}.post_norm.weight", canonical))};
}
std::vector<R> State(std::string_view name, std::string_view when = "") {
  return {StateRow(fmt::format("{{P}}.{}._extra_state", name), when)};
}

// The same in canonical words, bias where `bias` holds.
std::vector<C> Linear(std::string_view name, std::string_view rows, std::string_view columns,
                      std::string_view when = "", std::string_view bias = "{T}.bias") {
  const std::string and_when = when.empty() ? "" : fmt::format(" & {}", when);
  return {
      {fmt::format("{{T}}.layers.{{i}}.{}.weight", name), fmt::format("{}, {}", rows, columns), std::string(when), ""},
      {fmt::format("{{T}}.layers.{{i}}.{}.bias", name), std::string(rows), fmt::format("{}{}", bias, and_when), ""}};
}
std::vector<C> CanonicalNorm(std::string_view name, std::string_view when = "") {
  const std::string and_when = when.empty() ? "" : fmt::format(" & {}", when);
  return {
      {fmt::format("{{T}}.layers.{{i}}.{}.weight", name), "{T}.width", std::string(when), ""},
      {fmt::format("{{T}}.layers.{{i}}.{}.bias", name), "{T}.width", fmt::format("{{T}}.norm_bias{}", and_when), ""}};
}
// A norm behind a sum over the ranks, which has a weight alone [NeMo v2.0.0 gemma2_modules.py].
std::vector<C> PostNorm(std::string_view name) {
  return {{fmt::format("{{T}}.layers.{{i}}.{}.post_norm.weight", name), "{T}.width", "{T}.post_norms", ""}};
}

// A mixture of experts in the three forms that Megatron-core keeps it in: an MLP an expert; Transformer Engine's
// grouped linear layers, with a weight an expert; all experts of a rank in one matrix, for CUTLASS' grouped products
// [core_v0.9.0 megatron/core/transformer/moe/experts.py: SequentialMLP, TEGroupedMLP, GroupedMLP].
std::vector<R> McoreExperts() {
  using enum Split;
  constexpr std::string_view kEach = "{T}.each_expert & {T}.moe_layer", kTe = "{T}.te_experts & {T}.moe_layer",
                             kOne = "{T}.side_by_side_experts & {T}.moe_layer";
  std::vector<R> rows = {InLayer("{P}.mlp.router.weight", "{C}.router.weight"),
                         InLayer("{P}.mlp.router.expert_bias", "{C}.router.score_bias")};
  for (const auto& [module, part, split] :
       {std::tuple("linear_fc1", "{C}.experts.up", kGlu), {"linear_fc2", "{C}.experts.down", kRows}}) {
    const std::string each = fmt::format("{{P}}.mlp.experts.local_experts.{{e}}.{}", module);
    const std::string grouped = fmt::format("{{P}}.mlp.experts.{}", module);
    const std::string weight = std::string(part) + ".weight", bias = std::string(part) + ".bias";
    const Split bias_split = SplitOfBias(split);
    rows.push_back(When(kEach, InLayer(each + ".weight", weight, split, kStack)));
    rows.push_back(When(kEach, InLayer(each + ".bias", bias, bias_split, kStack)));
    rows.push_back(StateRow(each + "._extra_state", kEach));
    rows.push_back(When(kTe, InLayer(grouped + ".weight{e}", weight, split, kStack)));
    rows.push_back(When(kTe, InLayer(grouped + ".bias{e}", bias, bias_split, kStack)));
    rows.push_back(StateRow(grouped + "._extra_state", kReadOnly));
  }
  R up = InLayer("{P}.mlp.experts.weight1", "{C}.experts.up.weight", kExpertColumns, kGroupedGemm);
  up.shape = "{T}.width, {T}.experts*{T}.expert_up_rows";
  R down = InLayer("{P}.mlp.experts.weight2", "{C}.experts.down.weight", kExpertRows, kGroupedGemm);
  down.shape = "{T}.experts*{T}.expert_ffn, {T}.width";
  rows.push_back(When(kOne, up));
  rows.push_back(When(kOne, down));
  for (const auto& [module, part, split] :
       {std::tuple("linear_fc1", "{C}.shared.up.weight", kGlu), {"linear_fc2", "{C}.shared.down.weight", kRows}}) {
    rows.push_back(InLayer(fmt::format("{{P}}.mlp.shared_experts.{}.weight", module), part, split));
    rows.push_back(
        StateRow(fmt::format("{{P}}.mlp.shared_experts.{}._extra_state", module), "{T}.moe_layer & {T}.shared_ffn"));
  }
  return rows;
}

// Megatron-core without Transformer Engine keeps the latents' norms apart [core_v0.11.0 gpt_layer_specs.py].
std::vector<R> McoreLatent() {
  using enum Split;
  constexpr std::string_view kQuery = "{T}.mla & !{T}.q_lora", kTwoSteps = "{T}.mla & {T}.q_lora", kAny = "{T}.mla";
  const auto norm = [](std::string_view module, std::string canonical) {
    return InLayer(fmt::format("{{P}}.self_attention.{}", module), std::move(canonical));
  };
  const auto linear = [](std::string_view module, std::string canonical, Split split, std::string_view when) {
    return std::vector<R>{InLayer(fmt::format("{{P}}.self_attention.{}.weight", module), std::move(canonical), split),
                          StateRow(fmt::format("{{P}}.self_attention.{}._extra_state", module), when)};
  };
  return Join<R>({
      linear("linear_q_proj", "{C}.attn.q.weight", kColumns, kQuery),
      linear("linear_q_down_proj", "{C}.attn.q_a.weight", kReplicated, kTwoSteps),
      {norm("linear_q_up_proj.layer_norm_weight", "{C}.attn.q_a_norm.weight")},
      linear("linear_q_up_proj", "{C}.attn.q_b.weight", kColumns, kTwoSteps),
      linear("linear_kv_down_proj", "{C}.attn.kv_a.weight", kReplicated, kAny),
      {norm("linear_kv_up_proj.layer_norm_weight", "{C}.attn.kv_a_norm.weight")},
      linear("linear_kv_up_proj", "{C}.attn.kv_b.weight", kColumns, kAny),
      Only(kAny, When(kReadOnly, std::vector<R>{norm("q_layernorm.weight", "{C}.attn.q_a_norm.weight"),
                                                norm("kv_layernorm.weight", "{C}.attn.kv_a_norm.weight")})),
      State("self_attention.kv_layernorm", kReadOnly),
  });
}

Words LayerWords(std::string_view name) { return {{"{P}", std::string(name)}, {"{C}", "{T}.layers.{i}"}}; }

}  // namespace

StoredRow StateRow(std::string name, std::string_view when, Stage stage) {
  return {.name = std::move(name), .role = Role::kExtraState, .stage = stage, .when = std::string(when)};
}

StoredRow VocabTable(std::string name, std::string canonical, Stage stage) {
  return {.name = std::move(name),
          .canonical = std::move(canonical),
          .transform = &kPadVocab,
          .split = Split::kVocab,
          .stage = stage};
}

std::vector<Symbol> LayerSymbols(std::string_view tower, const LayerParts& parts) {
  using S = Symbol;
  return ForTower(
      tower,
      Join<S>({
          {
              S::Size("{T}.layers", "layers"),
              S::Size("{T}.width", "of a token's vector"),
              S::Size("{T}.heads", "of attention"),
              S::Size("{T}.groups", "of queries that share a key and a value"),
              S::Size("{T}.head_dim", "of a head's vector"),
              S::Size("{T}.qkv_rows", "of queries, keys and values together"),
              S::Size("{T}.ffn", "of the MLP's inner vector"),
              S::Size("{T}.up_rows", "of gate and up together, or of up alone"),
              S::Flag("{T}.bias", "linear layers have one"),
              S::Flag("{T}.qkv_bias", "the layer of queries, keys and values has one"),
              S::Flag("{T}.norm_bias", "norms have one"),
          },
          If<S>(parts.legacy, {S::Flag("{T}.qkv_stacked", "megatron_legacy: all queries, all keys, all values")}),
          If<S>(parts.gated, {S::Flag("{T}.glu", "the MLP is gated")}),
          If<S>(parts.gated && parts.legacy, {S::Flag("{T}.two_matrices", "legacy Megatron keeps gate and up apart")}),
          If<S>(parts.qk_norm, {S::Flag("{T}.qk_norm", "queries and keys have norms")}),
          If<S>(parts.other_norms,
                {
                    S::Flag("{T}.norms_apart", "norms stand before the linear layers they belong to"),
                    S::LayerFlag("{T}.second_norm_apart", "the MLP's does"),
                    S::Flag("{T}.second_norm_is_attentions", "the MLP's is called a norm behind attention"),
                    S::Flag("{T}.single_norm", "attention and MLP share one"),
                    S::Flag("{T}.post_norms", "what attention and MLP add has norms"),
                }),
          If<S>(parts.experts,
                {
                    S::Size("{T}.experts", "in the MLP's place; 0: an MLP"),
                    S::LayerFlag("{T}.moe_layer", "experts in the MLP's place"),
                    S::Size("{T}.shared_ffn", "of the inner vector of the expert that all tokens share; 0: none"),
                    S::Size("{T}.shared_up_rows", "of its gate and up"),
                    S::Flag("{T}.score_bias", "experts are chosen by scores with a bias"),
                    S::Size("{T}.expert_ffn", "of an expert's inner vector"),
                    S::Size("{T}.expert_up_rows", "of an expert's gate and up"),
                    S::Flag("{T}.each_expert", "experts are stored as an MLP each"),
                    S::Flag("{T}.te_experts", "as Transformer Engine's grouped layers"),
                    S::Flag("{T}.side_by_side_experts", "all of a rank's in one matrix"),
                }),
          If<S>(parts.latent,
                {
                    S::Flag("{T}.mla", "keys and values are computed from a latent vector"),
                    S::Flag("{T}.q_lora", "queries are, too"),
                    S::Size("{T}.q_rank", "of the latent vector of queries"),
                    S::Size("{T}.kv_rank", "of that of keys and values"),
                    S::Size("{T}.nope_dim", "of a head's query and key, without what is rotated"),
                    S::Size("{T}.rope_dim", "of what is rotated"),
                    S::Size("{T}.value_dim", "of a head's value"),
                    S::Size("{T}.attn_columns", "of the values of all heads"),
                }),
      }));
}

namespace {

// Multi-latent attention [core_v0.11.0 megatron/core/transformer/multi_latent_attention.py].
std::vector<C> CanonicalLatent() {
  constexpr const char *kQuery = "{T}.mla & !{T}.q_lora", *kTwoSteps = "{T}.mla & {T}.q_lora", *kAny = "{T}.mla";
  constexpr const char* kQueryRows = "{T}.heads*({T}.nope_dim+{T}.rope_dim)";
  const auto row = [](const char* name, std::string shape, const char* when) {
    return C{fmt::format("{{T}}.layers.{{i}}.attn.{}.weight", name), std::move(shape), when, ""};
  };
  return {row("q", fmt::format("{}, {{T}}.width", kQueryRows), kQuery),
          row("q_a", "{T}.q_rank, {T}.width", kTwoSteps),
          row("q_a_norm", "{T}.q_rank", kTwoSteps),
          row("q_b", fmt::format("{}, {{T}}.q_rank", kQueryRows), kTwoSteps),
          row("kv_a", "{T}.kv_rank+{T}.rope_dim, {T}.width", kAny),
          row("kv_a_norm", "{T}.kv_rank", kAny),
          row("kv_b", "{T}.heads*({T}.nope_dim+{T}.value_dim), {T}.kv_rank", kAny)};
}

std::vector<C> CanonicalExperts() {
  constexpr const char *kLayers = "{T}.experts & {T}.moe_layer",
                       *kShared = "{T}.experts & {T}.moe_layer & {T}.shared_ffn";
  return Join<C>({
      {{"{T}.layers.{i}.router.weight", "{T}.experts, {T}.width", kLayers, ""},
       {"{T}.layers.{i}.router.score_bias", "{T}.experts", "{T}.experts & {T}.moe_layer & {T}.score_bias", ""}},
      Linear("experts.up", "{T}.experts*{T}.expert_up_rows", "{T}.width", kLayers),
      Linear("experts.down", "{T}.experts*{T}.width", "{T}.expert_ffn", kLayers),
      {{"{T}.layers.{i}.shared.up.weight", "{T}.shared_up_rows, {T}.width", kShared, ""},
       {"{T}.layers.{i}.shared.down.weight", "{T}.width, {T}.shared_ffn", kShared, ""}},
  });
}

}  // namespace

std::vector<CanonicalRow> CanonicalLayer(std::string_view tower, const LayerParts& parts) {
  const std::string_view dense = parts.experts ? "!{T}.moe_layer" : "", heads = "{T}.heads*{T}.head_dim";
  const std::string_view second_norm = parts.other_norms ? "!{T}.single_norm" : "";
  return ForTower(tower,
                  Join<C>({
                      CanonicalNorm("norm1"),
                      Linear("attn.qkv", "{T}.qkv_rows", "{T}.width", parts.latent ? "!{T}.mla" : "", "{T}.qkv_bias"),
                      If<C>(parts.latent, CanonicalLatent()),
                      If<C>(parts.qk_norm,
                            {
                                {"{T}.layers.{i}.attn.q_norm.weight", "{T}.head_dim", "{T}.qk_norm", ""},
                                {"{T}.layers.{i}.attn.k_norm.weight", "{T}.head_dim", "{T}.qk_norm", ""},
                            }),
                      Linear("attn.out", "{T}.width", parts.latent ? "{T}.attn_columns" : heads),
                      If<C>(parts.other_norms, PostNorm("attn")),
                      CanonicalNorm("norm2", second_norm),
                      If<C>(parts.cross_attention, Join<C>({
                                                       Linear("cross.q", heads, "{T}.width"),
                                                       Linear("cross.kv", "2*{T}.heads*{T}.head_dim", "encoder.width"),
                                                       Linear("cross.out", "{T}.width", heads),
                                                       CanonicalNorm("norm3"),
                                                   })),
                      Linear("mlp.up", "{T}.up_rows", "{T}.width", dense),
                      Linear("mlp.down", "{T}.width", "{T}.ffn", dense),
                      If<C>(parts.other_norms, PostNorm("mlp")),
                      If<C>(parts.experts, CanonicalExperts()),
                  }));
}

std::vector<StoredRow> McoreLayer(std::string_view tower, std::string_view name, const LayerParts& parts) {
  using enum Split;
  const Split up = parts.gated ? kGlu : kColumns;
  const std::string_view dense = parts.experts ? "!{T}.moe_layer" : "", plain = parts.latent ? "!{T}.mla" : "";
  const std::string_view first_apart = parts.other_norms ? "{T}.norms_apart" : kReadOnly;
  const std::string_view first_fused = parts.other_norms ? "!{T}.norms_apart" : "";
  const std::string_view second_apart =
      parts.other_norms ? "{T}.second_norm_apart & !{T}.second_norm_is_attentions" : kReadOnly;
  const std::string_view second_fused = parts.other_norms ? "!{T}.second_norm_apart" : "";
  return ForTower(
      tower,
      Join<R>({
          // Megatron-core without Transformer Engine (the "local" layer spec) keeps the norms apart, as NeMo's Falcon
          // does [NeMo v2.0.0 falcon/falcon_spec.py].
          When(first_apart, Norm("input_layernorm.", "norm1")),
          State("input_layernorm", kReadOnly),
          State("self_attention.core_attention", kReadOnly),
          State("self_attention.core_attention.fused_attention", kReadOnly),
          Linear("self_attention.linear_proj", "attn.out", kRows),
          State("self_attention.linear_proj"),
          If<R>(parts.other_norms, PostNorm("self_attention.linear_proj", "attn")),
          State("self_attention.linear_proj.post_layernorm", kReadOnly),
          When(first_fused, Norm("self_attention.linear_qkv.layer_norm_", "norm1")),
          Linear("self_attention.linear_qkv", "attn.qkv", kColumns, kInterleave),
          State("self_attention.linear_qkv", plain),
          If<R>(parts.latent, McoreLatent()),
          If<R>(parts.qk_norm,
                Join<R>({
                    Only(plain, {InLayer("{P}.self_attention.q_layernorm.weight", "{C}.attn.q_norm.weight")}),
                    State("self_attention.q_layernorm", kReadOnly),
                    Only(plain, {InLayer("{P}.self_attention.k_layernorm.weight", "{C}.attn.k_norm.weight")}),
                    State("self_attention.k_layernorm", kReadOnly),
                })),
          // So does a layer with experts.
          When(second_apart, Norm("pre_mlp_layernorm.", "norm2")),
          State("pre_mlp_layernorm", kReadOnly),
          // Or so, in Falcon's oldest layers [NeMo v2.0.0 falcon/falcon_decoder_layer.py].
          If<R>(parts.other_norms, When("{T}.second_norm_is_attentions", Norm("post_self_attn_layernorm.", "norm2"))),
          When(second_fused, Norm("mlp.linear_fc1.layer_norm_", "norm2")),
          When(dense, Join<R>({
                          Linear("mlp.linear_fc1", "mlp.up", up),
                          State("mlp.linear_fc1"),
                          Linear("mlp.linear_fc2", "mlp.down", kRows),
                          State("mlp.linear_fc2"),
                      })),
          If<R>(parts.other_norms, PostNorm("mlp.linear_fc2", "mlp")),
          State("mlp.linear_fc2.post_layernorm", kReadOnly),
          If<R>(parts.experts, McoreExperts()),
      }),
      LayerWords(name));
}

std::vector<StoredRow> LegacyLayer(std::string_view tower, std::string_view name, const LayerParts& parts) {
  using enum Split;
  // A gated MLP keeps gate and up as two matrices, but for the `fast-` activations.
  const std::string_view one = parts.gated ? "!{T}.two_matrices" : "", two = "{T}.two_matrices";
  const std::string_view norm = parts.short_norms ? "norm." : "layernorm.";
  return ForTower(tower,
                  Join<R>({
                      Norm(fmt::format("input_{}", norm), "norm1"),
                      Linear("self_attention.query_key_value", "attn.qkv", kQkv, kMegatronQkv),
                      State("self_attention.query_key_value"),
                      If<R>(parts.qk_norm,
                            {
                                InLayer("{P}.self_attention.q_layernorm.weight", "{C}.attn.q_norm.weight"),
                                InLayer("{P}.self_attention.k_layernorm.weight", "{C}.attn.k_norm.weight"),
                            }),
                      Linear("self_attention.dense", "attn.out", kRows),
                      State("self_attention.dense"),
                      Norm(fmt::format("post_attention_{}", norm), "norm2"),
                      If<R>(parts.cross_attention, Join<R>({
                                                       Linear("inter_attention.query", "cross.q", kColumns),
                                                       State("inter_attention.query"),
                                                       Linear("inter_attention.key_value", "cross.kv", kKeyValue),
                                                       State("inter_attention.key_value"),
                                                       Linear("inter_attention.dense", "cross.out", kRows),
                                                       State("inter_attention.dense"),
                                                       Norm("post_inter_attention_layernorm.", "norm3"),
                                                   })),
                      If<R>(parts.gated, Only(two, Linear("mlp.dense_h_to_4h{,_2}", "mlp.up", kColumns, kStack))),
                      Only(one, Linear("mlp.dense_h_to_4h", "mlp.up", parts.gated ? kGlu : kColumns)),
                      State("mlp.dense_h_to_4h"),
                      If<R>(parts.gated, State("mlp.dense_h_to_4h_2", kReadOnly)),
                      Linear("mlp.dense_4h_to_h", "mlp.down", kRows),
                      State("mlp.dense_4h_to_h"),
                  }),
                  LayerWords(name));
}

const ConfigNode& ModelNode(const Config& config) {
  const ConfigNode* cfg = config.root().Get("cfg");
  return cfg != nullptr && cfg->is_map() ? *cfg : config.root();
}

Result<bool> FlagOf(const ConfigNode& node, std::string_view key, bool fallback) {
  const ConfigNode* child = node.Get(key);
  if (child == nullptr || child->is_null()) return fallback;
  if (const auto flag = child->AsBool()) return *flag;
  const auto number = child->AsInt();
  if (number && (*number == 0 || *number == 1)) return *number == 1;
  return Corrupt(fmt::format("{}: expected true or false, found {}", key, child->ScalarText()));
}

Result<std::string> TextOf(const ConfigNode& node, std::string_view key, std::string_view fallback) {
  const ConfigNode* child = node.Get(key);
  if (child == nullptr || child->is_null()) return std::string(fallback);
  if (auto text = child->AsString()) return *std::move(text);
  return Corrupt(fmt::format("{}: expected a text, found {}", key, child->ScalarText()));
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

Result<std::vector<bool>> ExpertLayers(const ConfigNode& model, uint64_t layers) {
  constexpr uint64_t kMost = 100'000;
  if (layers > kMost) return LimitExceeded(fmt::format("expected at most {} layers, found {}", kMost, layers));
  const auto is_set = [](const ConfigNode* node) { return node != nullptr && !node->is_null(); };
  const bool has_experts = is_set(model.Get("num_moe_experts"));
  std::vector<bool> which(layers, has_experts);
  if (!has_experts || !is_set(model.Get("moe_layer_freq"))) return which;
  const ConfigNode& freq = *model.Get("moe_layer_freq");
  const auto period = freq.AsInt();
  if (period && *period > 0) {
    for (size_t i = 0; i < which.size(); ++i) which[i] = static_cast<int64_t>(i) % *period == 0;
    return which;
  }
  if (!freq.is_list() || freq.list.size() != layers)
    return Corrupt(fmt::format("moe_layer_freq: expected a number, or 0 or 1 for each of {} layers, found {}", layers,
                               freq.is_list() ? fmt::format("a list of {}", freq.list.size()) : freq.ScalarText()));
  for (size_t i = 0; i < which.size(); ++i) {
    const auto has = freq.list[i].AsInt();
    if (has != 0 && has != 1) return Corrupt("moe_layer_freq: expected 0 or 1 for each layer, found something else");
    which[i] = has == 1;
  }
  return which;
}

namespace {

// 0 where it is not there.
Result<uint64_t> SizeOr0(const ConfigNode& node, std::string_view key) {
  const ConfigNode* child = node.Get(key);
  const bool is_none = child == nullptr || child->is_null() || child->AsInt() == 0;
  return is_none ? Result<uint64_t>(0) : SizeOf(node, key);
}

Status SetLatentSymbols(const ConfigNode& config, std::string_view tower, ModelSymbols* symbols) {
  const auto set = [&](std::string_view key, uint64_t value) { symbols->Set(InTower(tower, key), value); };
  ANEMONE_ASSIGN(const bool is_latent, FlagOf(config, "multi_latent_attention", false));
  set("mla", is_latent);
  for (const auto& [symbol, key] : {std::pair{"kv_rank", "kv_lora_rank"},
                                    {"nope_dim", "qk_head_dim"},
                                    {"rope_dim", "qk_pos_emb_head_dim"},
                                    {"value_dim", "v_head_dim"}}) {
    ANEMONE_ASSIGN(const uint64_t size, is_latent ? SizeOf(config, key) : Result<uint64_t>(0));
    set(symbol, size);
  }
  ANEMONE_ASSIGN(const uint64_t q_rank, SizeOr0(config, "q_lora_rank"));
  set("q_rank", is_latent ? q_rank : 0);
  set("q_lora", is_latent && q_rank > 0 ? 1 : 0);
  const std::string_view columns = is_latent ? "{T}.heads*{T}.value_dim" : "{T}.heads*{T}.head_dim";
  ANEMONE_ASSIGN(const uint64_t attn_columns, symbols->Compute(TowerText(tower, std::string(columns))));
  set("attn_columns", attn_columns);
  return {};
}

// Those of a mixture of experts; its layers' sizes are set already.
Status SetExpertSymbols(const ConfigNode& config, std::string_view tower, bool glu, ModelSymbols* symbols) {
  const auto set = [&](std::string_view key, uint64_t value) { symbols->Set(InTower(tower, key), value); };
  const auto compute = [&](std::string_view text) { return symbols->Compute(TowerText(tower, std::string(text))); };
  ANEMONE_ASSIGN(const uint64_t layers, symbols->Get(InTower(tower, "layers")));
  ANEMONE_ASSIGN(const uint64_t ffn, symbols->Get(InTower(tower, "ffn")));
  const ConfigNode* node = config.Get("num_moe_experts");
  const bool has_experts = node != nullptr && !node->is_null();
  ANEMONE_ASSIGN(const uint64_t experts, has_experts ? SizeOf(config, "num_moe_experts") : Result<uint64_t>(0));
  ANEMONE_ASSIGN(const uint64_t expert_ffn,
                 has_experts ? SizeOf(config, "moe_ffn_hidden_size", ffn) : Result<uint64_t>(ffn));
  set("experts", experts);
  set("expert_ffn", expert_ffn);
  ANEMONE_ASSIGN(const uint64_t expert_up_rows, compute(glu ? "2*{T}.expert_ffn" : "{T}.expert_ffn"));
  set("expert_up_rows", expert_up_rows);
  ANEMONE_ASSIGN(const uint64_t shared_ffn, SizeOr0(config, "moe_shared_expert_intermediate_size"));
  set("shared_ffn", has_experts ? shared_ffn : 0);
  ANEMONE_ASSIGN(const uint64_t shared_up_rows, compute(glu ? "2*{T}.shared_ffn" : "{T}.shared_ffn"));
  set("shared_up_rows", shared_up_rows);
  ANEMONE_ASSIGN(const bool score_bias, FlagOf(config, "moe_router_enable_expert_bias", false));
  set("score_bias", has_experts && score_bias);
  ANEMONE_ASSIGN(std::vector<bool> moe_layers, ExpertLayers(config, layers));
  symbols->SetLayers(InTower(tower, "moe_layer"), std::move(moe_layers));
  return {};
}

}  // namespace

Status SetLayerSymbols(const ConfigNode& config, std::string_view tower, const LayerParts& parts,
                       ModelSymbols* symbols) {
  const auto set = [&](std::string_view key, uint64_t value) { symbols->Set(InTower(tower, key), value); };
  // A sum or product of what is set already.
  const auto compute = [&](std::string_view text) { return symbols->Compute(TowerText(tower, std::string(text))); };
  ANEMONE_ASSIGN(const uint64_t layers, SizeOf(config, "num_layers"));
  ANEMONE_ASSIGN(const uint64_t width, SizeOf(config, "hidden_size"));
  ANEMONE_ASSIGN(const uint64_t heads, SizeOf(config, "num_attention_heads"));
  ANEMONE_ASSIGN(const uint64_t groups, SizeOf(config, "num_query_groups", heads));
  ANEMONE_ASSIGN(const uint64_t head_dim, SizeOf(config, "kv_channels", width / heads));
  set("layers", layers);
  set("width", width);
  set("heads", heads);
  set("groups", groups);
  set("head_dim", head_dim);
  ANEMONE_ASSIGN(const uint64_t qkv_rows, compute("({T}.heads+2*{T}.groups)*{T}.head_dim"));
  set("qkv_rows", qkv_rows);
  ANEMONE_ASSIGN(const uint64_t default_ffn, compute("4*{T}.width"));
  ANEMONE_ASSIGN(const uint64_t ffn, SizeOf(config, "ffn_hidden_size", default_ffn));
  set("ffn", ffn);
  ANEMONE_ASSIGN(const std::string activation, TextOf(config, "activation", "gelu"));
  const bool glu = activation.ends_with("glu");
  ANEMONE_ASSIGN(const uint64_t up_rows, compute(parts.gated && glu ? "2*{T}.ffn" : "{T}.ffn"));
  set("up_rows", up_rows);
  ANEMONE_ASSIGN(const bool bias, FlagOf(config, "bias", true));
  ANEMONE_ASSIGN(const bool qkv_bias, FlagOf(config, "qkv_bias", false));
  ANEMONE_ASSIGN(const std::string normalization, TextOf(config, "normalization", "layernorm"));
  set("bias", bias);
  set("qkv_bias", bias || qkv_bias);
  set("norm_bias", normalization != "rmsnorm");
  if (parts.legacy) {
    ANEMONE_ASSIGN(const bool qkv_stacked, FlagOf(config, "megatron_legacy", false));
    set("qkv_stacked", qkv_stacked);
  }
  if (parts.gated) {
    set("glu", glu);
    if (parts.legacy) set("two_matrices", glu && !activation.starts_with("fast-"));
  }
  if (parts.latent) ANEMONE_TRY(SetLatentSymbols(config, tower, symbols));
  if (parts.qk_norm) {
    ANEMONE_ASSIGN(const bool qk_norm, FlagOf(config, "qk_layernorm", false));
    ANEMONE_ASSIGN(const bool is_latent, parts.latent ? symbols->Holds(InTower(tower, "mla")) : Result<bool>(false));
    set("qk_norm", qk_norm && !is_latent);  // a latent's norms are always there
  }
  return parts.experts ? SetExpertSymbols(config, tower, glu, symbols) : Status();
}

}  // namespace anemone
