// Facts: NeMo v2.0.0 parallel_adapters.py (ParallelLinearAdapter, LoraUnfusedKQVAdapter, LoraUnfusedHto4HAdapter),
// peft_config.py (LoraPEFTConfig), scripts/nlp_language_modeling/merge_lora_weights/merge.py (layers of stages);
// NeMo v2.5.0rc0 nemo/collections/llm/peft/lora.py, canonical_lora.py; peft 0.21 tuners/lora/layer.py, config.py,
// utils/other.py (get_pattern_key), utils/save_and_load.py.
#include "adapter/adapter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <utility>

#include "config/nodes.h"
#include "family/families.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_config.h"

namespace anemone {
namespace {

// The pieces of one matrix, one a tensor rank.
struct Pieces {
  std::vector<Tensor> in, out;
};
using Gathered = std::map<std::string, Pieces>;
struct Names {
  Gathered megatron, hf;
  Adapter::Bases bases;
};

// "head" and "tail" around a separator; nullopt without it.
std::optional<std::pair<std::string_view, std::string_view>> Around(std::string_view text, std::string_view separator) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return std::nullopt;
  return std::pair{text.substr(0, at), text.substr(at + separator.size())};
}

constexpr std::string_view kPeftKind = "peft_type", kLora = "LORA";
constexpr const char* kMergedByPeft = "peft's merge_and_unload() makes a whole model of base and adapter: convert that";
constexpr const char* kMergedWithBiases =
    "peft's merge_and_unload() makes a whole model of both where the adapted layers of the base have biases, and "
    "refuses others: peft alone runs those";
constexpr const char* kNotMerged = "peft alone runs it: it is no change of the base's weights that could be merged";

Status NotCarried(const std::string& name, const std::string& hint = "") {
  return Unsupported(fmt::format("{}: expected a matrix of a LoRA, found another kind of adapter", name), hint);
}

// ---- NeMo's names ----

constexpr std::string_view kInWeight = ".linear_in.weight", kOutWeight = ".linear_out.weight";
constexpr std::string_view kNemo1 = ".adapter_layer.", kNemo2 = ".adapter";

// The parts of a fused layer that NeMo 2's CanonicalLoRA adapts.
constexpr std::pair<std::string_view, std::string_view> kCanonicalParts[] = {
    {"self_attention.linear_qkv.adapter.adapter_q", "self_attn.q_proj"},
    {"self_attention.linear_qkv.adapter.adapter_k", "self_attn.k_proj"},
    {"self_attention.linear_qkv.adapter.adapter_v", "self_attn.v_proj"},
    {"mlp.linear_fc1.adapter.adapter_gate", "mlp.gate_proj"},
    {"mlp.linear_fc1.adapter.adapter_up", "mlp.up_proj"}};

// The number of the layer in "model.decoder.layers.7.mlp".
std::string_view LayerIn(std::string_view module) {
  const auto around = Around(module, ".layers.");
  return around ? around->second.substr(0, around->second.find('.')) : std::string_view();
}

std::string InLlama(std::string_view module, std::string_view part) {
  return fmt::format("model.layers.{}.{}.weight", LayerIn(module), part);
}

// NeMo 2's CanonicalLoRA adds queries, keys and values one after the other to a layer that has them group by group
// [canonical_lora.py, LoRALinearSplitQKV]. With one group both orders are the same.
Status CheckOrder(std::string_view module, const ConfigNode& config) {
  if (module.find("linear_qkv") == std::string_view::npos) return {};
  const auto groups = WordAt(config, "config.num_query_groups").AsInt();
  if (groups.value_or(WordAt(config, "config.num_attention_heads").AsInt().value_or(0)) == 1) return {};
  return Unsupported(
      fmt::format("{}: expected a LoRA of the whole layer, found one of its parts", module),
      "NeMo 2's CanonicalLoRA adds them to other rows than the parts' names say, where there are several query groups");
}

// One name of NeMo's, 1 or 2: where its matrix goes.
Status PlaceNemo(const std::string& name, const Tensor& tensor, const ConfigNode& config, Names* names) {
  const bool is_in = name.ends_with(kInWeight);
  if (!is_in && !name.ends_with(kOutWeight)) return NotCarried(name);
  const auto module = std::string_view(name).substr(0, name.size() - (is_in ? kInWeight : kOutWeight).size());
  const auto put = [&](Gathered& modules, const std::string& weight) {
    Pieces& pieces = modules[weight];
    (is_in ? pieces.in : pieces.out).push_back(tensor);
    return Status();
  };
  if (module.ends_with(kNemo2))
    return put(names->megatron, fmt::format("{}.weight", module.substr(0, module.size() - kNemo2.size())));
  for (const auto& [part, hf] : kCanonicalParts) {
    if (!module.ends_with(part)) continue;
    ANEMONE_TRY(CheckOrder(module, config));
    return put(names->hf, InLlama(module, hf));
  }
  const auto around = Around(module, kNemo1);
  const auto* found = std::ranges::find(kNemoAdapters, around ? around->second : "", &NemoAdapter::name);
  if (found == kNemoAdapters.end()) return NotCarried(name);
  if (!found->hf.empty()) return put(names->hf, InLlama(module, found->hf));
  const bool is_legacy = around->first.find("language_model.") != std::string_view::npos;
  return put(names->megatron, fmt::format("{}.{}.weight", around->first, is_legacy ? found->legacy : found->mcore));
}

// A stage of NeMo 1 numbers its layers from 0.
Result<std::string> OnStage(const std::string& name, int stage, const Checkpoint& checkpoint) {
  if (stage == 0) return name;
  const auto layers = WordAt(checkpoint.config->root(), "num_layers").AsInt();
  if (!layers || *layers % checkpoint.layout.pp != 0) {
    return Corrupt(fmt::format("num_layers: expected a multiple of {} stages", checkpoint.layout.pp))
        .In(checkpoint.config_name);
  }
  const std::string_view number = LayerIn(name);
  uint64_t layer = 0;
  if (number.empty() || std::from_chars(number.data(), number.data() + number.size(), layer).ec != std::errc())
    return Corrupt(fmt::format("{}: expected the number of a layer, found none", name));
  const auto at = static_cast<size_t>(number.data() - name.data());
  const uint64_t first = static_cast<uint64_t>(*layers / checkpoint.layout.pp) * static_cast<uint64_t>(stage);
  return fmt::format("{}{}{}", name.substr(0, at), first + layer, name.substr(at + number.size()));
}

// ---- PEFT's names ----

// How PEFT ends the names of a module's two matrices; those of an embedding are transposed and the other way round.
struct PeftEnds {
  std::string_view in, out;
  bool is_embedding;
};
constexpr PeftEnds kPeftEnds[] = {{".lora_A.weight", ".lora_B.weight", false},
                                  {".lora_A.default.weight", ".lora_B.default.weight", false},
                                  {".lora_embedding_B", ".lora_embedding_A", true},
                                  {".lora_embedding_B.default", ".lora_embedding_A.default", true}};
// The weight of an embedding or of the head that is adapted, as it is in the base.
constexpr std::string_view kBase = ".base_layer.weight";

Status PlacePeft(const std::string& name, const Tensor& tensor, Names* names) {
  std::string_view rest = name;
  if (rest.starts_with(kPeftPrefix)) rest.remove_prefix(kPeftPrefix.size());
  const auto weight = [&](std::string_view end) {
    return fmt::format("{}.weight", rest.substr(0, rest.size() - end.size()));
  };
  if (rest.ends_with(kBase)) {
    names->bases.emplace(weight(kBase), tensor);
    return {};
  }
  for (const PeftEnds& ends : kPeftEnds) {
    const bool is_in = rest.ends_with(ends.in);
    if (!is_in && !rest.ends_with(ends.out)) continue;
    if (tensor.shape().size() != 2) {
      return Unsupported(fmt::format("{}: expected a matrix, found {}", name, ToString(tensor.shape())), kMergedByPeft);
    }
    Pieces& pieces = names->hf[weight(is_in ? ends.in : ends.out)];
    ANEMONE_ASSIGN(Tensor matrix, ends.is_embedding ? tensor.Permute({1, 0}) : Result<Tensor>(tensor));
    (is_in ? pieces.in : pieces.out).push_back(std::move(matrix));
    return {};
  }
  // The embedding and the head, which peft saves beside a LoRA of other modules [save_and_load.py,
  // save_embedding_layers].
  if (rest.ends_with(".weight") && rest.find(".lora_") == std::string_view::npos) {
    names->bases.emplace(std::string(rest), tensor);
    return {};
  }
  return NotCarried(name, kMergedByPeft);
}

// ---- configs ----

// Values of adapter_config.json that change what is computed, and the one that is carried.
struct Fixed {
  std::string_view key, value;  // YAML; null is accepted, too
};
constexpr Fixed kFixed[] = {{"use_dora", "false"},       {"bias", "none"},
                            {"lora_bias", "false"},      {"modules_to_save", "[]"},
                            {"layer_replication", "[]"}, {"use_qalora", "false"},
                            {"target_parameters", "[]"}, {"trainable_token_indices", "[]"}};
// Those that change nothing of what is computed with the matrices, or that the tensors' names say again.
constexpr std::string_view kHarmless[] = {"auto_mapping",
                                          "base_model_name_or_path",
                                          "corda_config",
                                          "ensure_weight_tying",
                                          "eva_config",
                                          "exclude_modules",
                                          "fan_in_fan_out",
                                          "inference_mode",
                                          "init_lora_weights",
                                          "layers_pattern",
                                          "layers_to_transform",
                                          "loftq_config",
                                          "lora_ga_config",
                                          "lora_alpha",
                                          "lora_dropout",
                                          "megatron_config",
                                          "megatron_core",
                                          "peft_version",
                                          "qalora_group_size",
                                          "r",
                                          "rank_pattern",
                                          "alpha_pattern",
                                          "revision",
                                          "runtime_config",
                                          "target_modules",
                                          "task_type",
                                          "use_rslora"};
// Ways to begin a training that leave the base as it was; others change it, too.
constexpr std::string_view kStarts[] = {"true", "false", "gaussian", "eva", "orthogonal"};

bool IsEmpty(const ConfigNode& value) {
  return value.is_null() || (value.is_list() && value.list.empty()) || (value.is_map() && value.map.empty()) ||
         (value.AsBool() && !*value.AsBool());
}

std::string InWords(const ConfigNode& value) {
  if (!value.is_list()) return Shown(value);
  std::vector<std::string> words;
  words.reserve(value.list.size());
  for (const ConfigNode& element : value.list) words.push_back(InWords(element));
  return fmt::format("[{}]", fmt::join(words, ", "));
}

// Kinds that peft does not merge: some add to what a model is given, others choose by it
// [peft/utils/peft_types.py; the kinds' merge_and_unload()].
constexpr std::string_view kUnmerged[] = {"PROMPT_TUNING",
                                          "MULTITASK_PROMPT_TUNING",
                                          "P_TUNING",
                                          "PREFIX_TUNING",
                                          "ADAPTION_PROMPT",
                                          "CPT",
                                          "CARTRIDGE",
                                          "LILY",
                                          "POLY",
                                          "SHADOW",
                                          "XLORA"};
constexpr std::string_view kBiasKind = "BEFT";
// Keys of a LoRA that peft does not merge [peft/tuners/lora/variants.py], or only into layers with a bias [layer.py].
constexpr std::string_view kUnmergedKeys[] = {"alora_invocation_tokens", "arrow_config", "use_qalora"};
constexpr std::string_view kBiasKey = "lora_bias";

const char* HintOfKind(std::string_view kind) {
  if (std::ranges::find(kUnmerged, kind) != std::end(kUnmerged)) return kNotMerged;
  return kind == kBiasKind ? kMergedWithBiases : kMergedByPeft;
}

const char* HintOfKey(std::string_view key) {
  if (std::ranges::find(kUnmergedKeys, key) != std::end(kUnmergedKeys)) return kNotMerged;
  return key == kBiasKey ? kMergedWithBiases : kMergedByPeft;
}

Status CheckPeftKind(const ConfigNode& root) {
  const ConfigNode& kind = WordAt(root, kPeftKind);
  const std::string word = kind.is_null() ? std::string(kLora) : kind.ScalarText();
  if (word == kLora) return {};
  return Unsupported(fmt::format("{}: expected {}, found {}", kPeftKind, kLora, word), HintOfKind(word));
}

Status CheckPeftKeys(const ConfigNode& root) {
  ANEMONE_TRY(CheckPeftKind(root));
  for (const auto& [key, value] : root.map) {
    const auto* fixed = std::ranges::find(kFixed, key, &Fixed::key);
    if (key == kPeftKind) continue;
    if (fixed != std::end(kFixed)) {
      if (value.is_null() || SameConfig(value, ParseWord(fixed->value))) continue;
      return Unsupported(fmt::format("{}: expected {}, found {}", key, fixed->value, InWords(value)), HintOfKey(key));
    }
    if (std::ranges::find(kHarmless, key) != std::end(kHarmless) || IsEmpty(value)) continue;
    return Unsupported(fmt::format("{}: expected a LoRA without it, found {}", key, InWords(value)), HintOfKey(key));
  }
  const ConfigNode& start = WordAt(root, "init_lora_weights");
  if (start.is_null() || std::ranges::find(kStarts, start.ScalarText()) != std::end(kStarts)) return {};
  return Unsupported(
      fmt::format("init_lora_weights: expected one of {}, found {}", fmt::join(kStarts, ", "), start.ScalarText()),
      "it changed the base as well; peft's path_initial_model_for_weight_conversion saves a plain LoRA");
}

// What a pattern of adapter_config.json has for a module: the first whose key ends its name.
Result<std::optional<double>> InPattern(const ConfigNode& root, std::string_view key, std::string_view module) {
  const ConfigNode& patterns = WordAt(root, key);
  for (const auto& [pattern, value] : patterns.map) {
    const RE2 expression(fmt::format("(?:.*\\.)?(?:{})", pattern), RE2::Quiet);
    if (!expression.ok()) return Unsupported(fmt::format("{}: expected a regular expression, found {}", key, pattern));
    if (!RE2::FullMatch(module, expression)) continue;
    const auto number = value.AsDouble();
    if (!number) return Corrupt(fmt::format("{}.{}: expected a number, found {}", key, pattern, InWords(value)));
    return number;
  }
  return std::optional<double>();
}

Result<LowRank> JoinPieces(const std::string& name, const Pieces& pieces, bool is_glu);

Result<Adapter> ReadPeft(const Checkpoint& checkpoint, const Names& names) {
  const ConfigNode& root = checkpoint.config->root();
  const auto alpha = WordAt(root, "lora_alpha").AsDouble();
  if (!alpha) return Corrupt("lora_alpha: expected a number, found none");
  const auto rank = WordAt(root, "r").AsDouble();
  const bool by_root = WordAt(root, "use_rslora").AsBool().value_or(false);
  Adapter adapter;
  adapter.dropout = WordAt(root, "lora_dropout").AsDouble().value_or(0);
  adapter.base = WordAt(root, "base_model_name_or_path").AsString().value_or("");
  for (const auto& [name, pieces] : names.hf) {
    const std::string_view module = std::string_view(name).substr(0, name.size() - std::string_view(".weight").size());
    ANEMONE_ASSIGN(LowRank low, JoinPieces(name, pieces, false));
    ANEMONE_ASSIGN(const std::optional<double> own_rank, InPattern(root, "rank_pattern", module));
    ANEMONE_ASSIGN(const std::optional<double> own_alpha, InPattern(root, "alpha_pattern", module));
    const auto found = static_cast<double>(low.rank());
    if (const double expected = own_rank.value_or(rank.value_or(found)); expected != found)
      return Corrupt(fmt::format("{}: expected matrices of rank {}, found {}", name, expected, found));
    low.alpha = own_alpha.value_or(*alpha);
    low.scale = low.alpha / (by_root ? std::sqrt(found) : found);
    adapter.hf.emplace(name, std::move(low));
  }
  adapter.bases = names.bases;
  return adapter;
}

// The value of the first key that NeMo's config has.
const ConfigNode& FirstOf(const ConfigNode& root, std::initializer_list<std::string_view> keys) {
  static const ConfigNode kNull;
  for (const std::string_view key : keys) {
    if (const ConfigNode& value = WordAt(root, key); !value.is_null()) return value;
  }
  return kNull;
}

Result<Adapter> ReadNemo(const Checkpoint& checkpoint, const Names& names) {
  const ConfigNode& root = checkpoint.config->root();
  const ConfigNode& alpha =
      FirstOf(root, {"peft.lora_tuning.alpha", "model.peft.lora_tuning.alpha", "model_transform.alpha", "peft.alpha"});
  // NeMo 1 takes the rank where the config is silent [peft_config.py].
  if (!alpha.AsDouble() && !WordAt(root, "peft.lora_tuning").is_map())
    return NotFound("peft.lora_tuning: expected the adapter's alpha, found none");
  if (const ConfigNode& tying = WordAt(root, "peft.lora_tuning.weight_tying"); tying.AsBool().value_or(false))
    return Unsupported("peft.lora_tuning.weight_tying: expected false, found true");
  const std::string activation = WordAt(root, "activation").AsString().value_or("");
  Adapter adapter;
  adapter.dropout =
      FirstOf(root, {"peft.lora_tuning.adapter_dropout", "model_transform.dropout"}).AsDouble().value_or(0);
  const auto take = [&](const Gathered& from, Adapter::Modules& to) -> Status {
    for (const auto& [name, pieces] : from) {
      ANEMONE_ASSIGN(LowRank low, JoinPieces(name, pieces, activation.ends_with("glu")));
      const auto rank = static_cast<double>(low.rank());
      low.alpha = alpha.AsDouble().value_or(rank);
      low.scale = low.alpha / rank;
      to.emplace(name, std::move(low));
    }
    return {};
  };
  ANEMONE_TRY(take(names.megatron, adapter.megatron));
  ANEMONE_TRY(take(names.hf, adapter.hf));
  return adapter;
}

// Whole matrices of the pieces that tensor ranks have [parallel_adapters.py]. The first matrix of a layer that gathers
// is divided by its inputs, that of any other by its rank; the second by its outputs, each rank's gate and up apart.
Result<std::pair<Tensor, Tensor>> WholeOf(const std::string& name, const Pieces& pieces, bool is_glu) {
  if (pieces.in.size() == 1) return std::pair{pieces.in.front(), pieces.out.front()};
  const auto ends = [&](std::initializer_list<std::string_view> words) {
    return std::ranges::any_of(words, [&](std::string_view word) { return name.ends_with(word); });
  };
  const bool sums = ends({"linear_proj.weight", "linear_fc2.weight", ".dense.weight", "dense_4h_to_h.weight"});
  ANEMONE_ASSIGN(Tensor in, Tensor::Concat(pieces.in, sums ? 1 : 0));
  if (!is_glu || !ends({"linear_fc1.weight", "dense_h_to_4h.weight"})) {
    ANEMONE_ASSIGN(Tensor out, Tensor::Concat(pieces.out, 0));
    return std::pair{std::move(in), std::move(out)};
  }
  std::vector<Tensor> halves;
  for (const uint64_t half : {0, 1}) {
    for (const Tensor& piece : pieces.out) {
      const uint64_t rows = piece.shape().front() / 2;
      ANEMONE_ASSIGN(Tensor part, piece.Narrow(0, half * rows, rows));
      halves.push_back(std::move(part));
    }
  }
  ANEMONE_ASSIGN(Tensor out, Tensor::Concat(std::move(halves), 0));
  return std::pair{std::move(in), std::move(out)};
}

Result<LowRank> JoinPieces(const std::string& name, const Pieces& pieces, bool is_glu) {
  if (pieces.in.empty() || pieces.in.size() != pieces.out.size())
    return Corrupt(fmt::format("{}: expected both matrices of a LoRA, found one", name));
  for (const auto* list : {&pieces.in, &pieces.out}) {
    for (const Tensor& piece : *list) {
      if (piece.shape().size() != 2)
        return Corrupt(fmt::format("{}: expected a matrix, found {}", name, ToString(piece.shape())));
    }
  }
  ANEMONE_ASSIGN(auto whole, WholeOf(name, pieces, is_glu));
  auto& [in, out] = whole;
  if (in.shape()[0] != out.shape()[1] || in.shape()[0] == 0 || in.dtype() != out.dtype()) {
    return Corrupt(fmt::format("{}: expected matrices of one rank and dtype, found {} and {}", name,
                               ToString(in.shape()), ToString(out.shape())));
  }
  return LowRank{.in = std::move(in), .out = std::move(out)};
}

bool IsPeft(const Checkpoint& checkpoint) {
  return checkpoint.config && checkpoint.config->root().Get("peft_type") != nullptr;
}

// NeVA's projector, which NeMo calls an adapter, and which is a part of the model.
bool IsOfProjector(std::string_view name) { return name.find(".adapter_layer.mm_") != std::string_view::npos; }

bool IsOfAdapter(std::string_view name) {
  if (IsOfProjector(name)) return false;
  return name.find(".lora_A.") != std::string_view::npos || name.find(".lora_B.") != std::string_view::npos ||
         name.find(kNemo1) != std::string_view::npos || name.find(".adapter.") != std::string_view::npos;
}

}  // namespace

bool HoldsAdapter(const Checkpoint& checkpoint) {
  size_t tensors = 0, adapting = 0;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      tensors += item.tensor() != nullptr && !IsOfProjector(item.name);
      adapting += item.tensor() != nullptr && IsOfAdapter(item.name);
    }
  });
  return IsPeft(checkpoint) || (tensors > 0 && adapting == tensors);
}

Result<std::optional<Checkpoint>> TakeProjectorOff(Checkpoint* adapter) {
  std::optional<Checkpoint> projector;
  for (Shard& shard : adapter->shards) {
    StateDict rest, taken;
    for (const StateDict::Item& item : shard.weights.items())
      ANEMONE_TRY((IsOfProjector(item.name) ? taken : rest).Add(item.name, item.entry));
    if (taken.empty()) continue;
    shard.weights = std::move(rest);
    if (projector) continue;  // whole on each rank
    projector = *adapter;
    projector->shards.assign(1, Shard());
    projector->layout = {};
    projector->weights() = std::move(taken);
  }
  return projector;
}

Result<Adapter> ReadAdapter(const Checkpoint& checkpoint) {
  if (!checkpoint.config) {
    return NotFound(
        "expected the config of an adapter, found none",
        "a LoRA is a PEFT folder (adapter_config.json beside the weights), NeMo 1's .nemo or NeMo 2's folder");
  }
  const bool is_peft = IsPeft(checkpoint);
  if (!HoldsAdapter(checkpoint)) return NotFound("expected the matrices of a LoRA, found other weights");
  if (is_peft) {
    const Status keys = CheckPeftKeys(checkpoint.config->root());
    if (!keys.ok()) return keys.In(checkpoint.config_name);
  }
  Names names;
  for (const Shard& shard : checkpoint.shards) {
    for (const StateDict::Item& item : shard.weights.items()) {
      if (item.tensor() == nullptr) continue;
      ANEMONE_ASSIGN(const std::string name, OnStage(item.name, shard.pp_rank, checkpoint));
      ANEMONE_TRY(is_peft ? PlacePeft(name, *item.tensor(), &names)
                          : PlaceNemo(name, *item.tensor(), checkpoint.config->root(), &names));
    }
  }
  if (names.megatron.empty() && names.hf.empty()) return NotFound("expected the matrices of a LoRA, found none");
  Result<Adapter> adapter = is_peft ? ReadPeft(checkpoint, names) : ReadNemo(checkpoint, names);
  return adapter.ok() ? std::move(adapter) : adapter.status().In(checkpoint.config_name);
}

bool IsTransposed(const StoredRow& row) { return row.transform == &kTranspose; }

namespace {

bool IsCopy(const StoredRow& row) { return row.role == Role::kCopy || row.role == Role::kDropCopy; }

// An adapter of a weight that a model has twice, as its embedding and its head, makes the two differ.
Status CheckIsOnce(const NameMatcher& names, const StoredRow& stored, const std::string& name) {
  for (size_t r = 0; r < names.dialect().rows.size(); ++r) {
    const StoredRow& row = names.row(r);
    if (!IsCopy(row) || !names.is_active(r) || row.canonical != stored.canonical) continue;
    return Unsupported(fmt::format("{}: expected a weight of its own, found one that is {} as well", name,
                                   &row == &stored ? row.canonical : row.name),
                       kMergedByPeft);
  }
  return {};
}

}  // namespace

Result<std::vector<AdaptedRow>> RowsOf(const Adapter::Modules& modules, const NameMatcher& names, const Family& family,
                                       const ModelSymbols& symbols) {
  StateDict weights;
  for (const auto& [name, low] : modules) ANEMONE_TRY(weights.Add(name, low.in));
  const std::string prefix = names.BestPrefix(weights).prefix;
  std::map<std::pair<size_t, uint64_t>, AdaptedRow> rows;
  for (const auto& [name, low] : modules) {
    const auto hit = names.Match(name, prefix);
    const StoredRow* stored = hit ? &names.row(hit->row) : nullptr;
    if (stored != nullptr) ANEMONE_TRY(CheckIsOnce(names, *stored, name));
    const auto* canonical =
        stored == nullptr || stored->role != Role::kTensor
            ? nullptr
            : std::to_address(std::ranges::find(family.canonical, stored->canonical, &CanonicalRow::name));
    if (canonical == nullptr || canonical == std::to_address(family.canonical.end()))
      return Corrupt(fmt::format("{}: expected a module of a {}, found none of that name", name, family.title));
    const uint64_t layer = hit->captures.layer.value_or(0);
    AdaptedRow& row = rows[{hit->row, layer}];
    if (row.canonical == nullptr) {
      row = {.row = hit->row, .layer = layer, .canonical = canonical};
      row.parts.resize(names.num_parts(hit->row));
      ANEMONE_ASSIGN(row.shape, symbols.Evaluate(canonical->shape));
      ANEMONE_ASSIGN(row.shapes,
                     stored->transform->stored_shapes(row.shape, row.parts.size(), TransformContext{symbols, *stored}));
    }
    if (hit->captures.part >= row.parts.size()) return Corrupt(fmt::format("{}: expected no such part", name));
    Shape found = {low.out.shape()[0], low.in.shape()[1]};
    if (IsTransposed(*stored)) std::swap(found[0], found[1]);
    if (found != row.shapes[hit->captures.part]) {
      return Corrupt(fmt::format("{}: expected an adapter of {}, as the base has it, found one of {}", name,
                                 ToString(row.shapes[hit->captures.part]), ToString(found)));
    }
    row.parts[hit->captures.part] = &low;
  }
  std::vector<AdaptedRow> list;
  list.reserve(rows.size());
  for (auto& [place, row] : rows) list.push_back(std::move(row));
  return list;
}

const Dialect* MegatronSpelling(const Adapter& adapter, const Family& family) {
  const bool is_legacy =
      !adapter.megatron.empty() && adapter.megatron.begin()->first.find("language_model.encoder.") != std::string::npos;
  return family.FindDialect(is_legacy ? "legacy" : "mcore");
}

}  // namespace anemone
