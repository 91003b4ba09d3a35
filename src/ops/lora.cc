// Facts: NeMo v2.0.0 parallel_adapters.py (ParallelLinearAdapter, LoraUnfusedKQVAdapter, LoraUnfusedHto4HAdapter),
// peft_config.py (LoraPEFTConfig), nemo/collections/llm/peft/lora.py; peft 0.19 tuners/lora/layer.py, config.py,
// utils/save_and_load.py.
#include "ops/lora.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "family/families.h"
#include "family/model_words.h"
#include "ops/source.h"
#include "tensor/product.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPeftConfig = "adapter_config.json";
constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

// The pieces of one matrix of an adapter, one a tensor rank.
struct Low {
  std::vector<Tensor> in, out;
};
// By the module's name, as whoever wrote the adapter calls its weight.
using Modules = std::map<std::string, Low>;

struct Adapter {
  Modules megatron, hf;
  double alpha = 0;  // 0: the rank
  bool by_root = false;
  bool is_transposed = false;  // PEFT's fan_in_fan_out
};

// ---- names ----

// How NeMo 1 calls an adapter, and what it adapts in Megatron-core, in legacy Megatron, and in transformers where it
// adapts a part of those.
struct NemoAdapter {
  std::string_view name, mcore, legacy, hf;
};
constexpr NemoAdapter kNemoAdapters[] = {
    {"lora_kqv_adapter", "linear_qkv", "query_key_value", ""},
    {"lora_dense_attention_adapter", "linear_proj", "dense", ""},
    {"lora_hto4h_adapter", "linear_fc1", "dense_h_to_4h", ""},
    {"lora_4htoh_adapter", "linear_fc2", "dense_4h_to_h", ""},
    {"lora_unfused_kqv_adapter.q_adapter", "", "", "self_attn.q_proj"},
    {"lora_unfused_kqv_adapter.k_adapter", "", "", "self_attn.k_proj"},
    {"lora_unfused_kqv_adapter.v_adapter", "", "", "self_attn.v_proj"},
    {"lora_unfused_hto4h_adapter.gate_adapter", "", "", "mlp.gate_proj"},
    {"lora_unfused_hto4h_adapter.up_adapter", "", "", "mlp.up_proj"},
};

// "head" and "tail" around a separator; nullopt without it.
std::optional<std::pair<std::string_view, std::string_view>> Around(std::string_view text, std::string_view separator) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return std::nullopt;
  return std::pair{text.substr(0, at), text.substr(at + separator.size())};
}

Status NotCarried(const std::string& name) {
  return Unsupported(fmt::format("{}: expected a matrix of a LoRA, found another kind of adapter", name));
}

// The number of the layer in "model.decoder.layers.7.mlp".
std::string_view LayerIn(std::string_view module) {
  const auto around = Around(module, ".layers.");
  return around ? around->second.substr(0, around->second.find('.')) : std::string_view();
}

// One name of NeMo's, 1 or 2: where its matrix goes.
Status PlaceNemo(const std::string& name, const Tensor& tensor, Adapter* adapter) {
  for (const bool is_in : {true, false}) {
    const std::string_view end = is_in ? ".linear_in.weight" : ".linear_out.weight";
    if (!name.ends_with(end)) continue;
    const std::string_view module = std::string_view(name).substr(0, name.size() - end.size());
    const auto put = [&](Modules& modules, const std::string& weight) {
      Low& low = modules[weight];
      (is_in ? low.in : low.out).push_back(tensor);
    };
    constexpr std::string_view kNemo2 = ".adapter";
    if (module.ends_with(kNemo2)) {
      std::string_view base = module.substr(0, module.size() - kNemo2.size());
      put(adapter->megatron, fmt::format("{}.weight", base));
      return {};
    }
    const auto around = Around(module, ".adapter_layer.");
    if (!around) return NotCarried(name);
    const auto* found = std::find_if(std::begin(kNemoAdapters), std::end(kNemoAdapters),
                                     [&](const NemoAdapter& row) { return row.name == around->second; });
    if (found == std::end(kNemoAdapters)) return NotCarried(name);
    if (!found->hf.empty()) {
      put(adapter->hf, fmt::format("model.layers.{}.{}.weight", LayerIn(module), found->hf));
      return {};
    }
    const bool is_legacy = around->first.find("language_model.") != std::string_view::npos;
    put(adapter->megatron, fmt::format("{}.{}.weight", around->first, is_legacy ? found->legacy : found->mcore));
    return {};
  }
  return NotCarried(name);
}

Status PlacePeft(const std::string& name, const Tensor& tensor, Adapter* adapter) {
  std::string_view rest = name;
  constexpr std::string_view kPrefix = "base_model.model.";
  if (rest.starts_with(kPrefix)) rest.remove_prefix(kPrefix.size());
  for (const bool is_in : {true, false}) {
    const auto around = Around(rest, is_in ? ".lora_A." : ".lora_B.");
    if (!around || (around->second != "weight" && around->second != "default.weight")) continue;
    Low& low = adapter->hf[fmt::format("{}.weight", around->first)];
    (is_in ? low.in : low.out).push_back(tensor);
    return {};
  }
  return NotCarried(name);
}

// ---- reading ----

// Values of adapter_config.json that change what is computed, and the one that is carried.
struct Fixed {
  std::string_view key, value;  // YAML; null is accepted, too
};
constexpr Fixed kFixed[] = {{"peft_type", "LORA"},     {"use_dora", "false"},
                            {"bias", "none"},          {"lora_bias", "false"},
                            {"alpha_pattern", "{}"},   {"rank_pattern", "{}"},
                            {"modules_to_save", "[]"}, {"layer_replication", "[]"},
                            {"use_qalora", "false"},   {"use_bdlora", "null"},
                            {"kasa_config", "null"},   {"target_parameters", "[]"},
                            {"arrow_config", "null"},  {"alora_invocation_tokens", "null"}};

Status ReadPeftConfig(const std::string& folder, Adapter* adapter) {
  ANEMONE_ASSIGN(const ByteSourcePtr source, OpenFile((fs::path(folder) / kPeftConfig).string()));
  ANEMONE_ASSIGN(const std::string text, Whole(source).ReadAll(kMaxConfigBytes));
  ANEMONE_ASSIGN(const Config config, Config::ParseJson(text, kPeftConfig));
  for (const Fixed& fixed : kFixed) {
    const ConfigNode& value = WordAt(config.root(), fixed.key);
    if (value.is_null() || SameConfig(value, ParseWord(fixed.value))) continue;
    return Unsupported(fmt::format("{}: expected {}, found {}", fixed.key, fixed.value,
                                   value.is_scalar() ? value.ScalarText() : "something else"))
        .In(kPeftConfig);
  }
  const auto alpha = WordAt(config.root(), "lora_alpha").AsDouble();
  if (!alpha) return Corrupt("lora_alpha: expected a number, found none").In(kPeftConfig);
  adapter->alpha = *alpha;
  adapter->by_root = WordAt(config.root(), "use_rslora").AsBool().value_or(false);
  adapter->is_transposed = WordAt(config.root(), "fan_in_fan_out").AsBool().value_or(false);
  return {};
}

// The alpha that NeMo's config says; nullopt: none.
std::optional<double> NemoAlpha(const ConfigNode& root) {
  for (const std::string_view key :
       {"peft.lora_tuning.alpha", "model.peft.lora_tuning.alpha", "model_transform.alpha", "peft.alpha"}) {
    if (const auto alpha = WordAt(root, key).AsDouble()) return alpha;
  }
  return std::nullopt;
}

Status ReadNemoConfig(const Checkpoint& checkpoint, Adapter* adapter) {
  if (!checkpoint.config) return NotFound("expected NeMo's config of the adapter, found none");
  const ConfigNode& root = checkpoint.config->root();
  if (const auto alpha = NemoAlpha(root)) {
    adapter->alpha = *alpha;
    return {};
  }
  // NeMo 1 takes the rank where the config is silent [peft_config.py].
  if (WordAt(root, "peft.lora_tuning").is_map()) return {};
  return NotFound("peft.lora_tuning: expected the adapter's alpha, found none").In(checkpoint.config_name);
}

Result<Adapter> ReadAdapter(const std::string& path, const ProgressFn& progress) {
  Adapter adapter;
  std::error_code error;
  const bool is_peft = fs::exists(fs::path(path) / kPeftConfig, error);
  std::string weights = path;
  if (is_peft) {
    ANEMONE_TRY(ReadPeftConfig(path, &adapter));
    weights = (fs::path(path) / "adapter_model.safetensors").string();
    if (!fs::exists(weights, error)) weights = (fs::path(path) / "adapter_model.bin").string();
  }
  ANEMONE_ASSIGN(const Checkpoint checkpoint, OpenSource(weights, progress));
  if (!is_peft) ANEMONE_TRY(ReadNemoConfig(checkpoint, &adapter));
  if (checkpoint.layout.pp > 1)
    return Unsupported("expected an adapter of one pipeline stage, found several: their layers are counted anew");
  for (const Shard& shard : checkpoint.shards) {
    for (const StateDict::Item& item : shard.weights.items()) {
      if (item.tensor() == nullptr) continue;
      ANEMONE_TRY(is_peft ? PlacePeft(item.name, *item.tensor(), &adapter)
                          : PlaceNemo(item.name, *item.tensor(), &adapter));
    }
  }
  if (adapter.megatron.empty() && adapter.hf.empty()) return NotFound("expected the matrices of a LoRA, found none");
  return adapter;
}

// ---- products ----

// Whole matrices of the pieces that tensor ranks have [parallel_adapters.py]. The first matrix of a layer that gathers
// is divided by its inputs, that of any other by its rank; the second by its outputs, each rank's gate and up apart.
Result<std::pair<Tensor, Tensor>> JoinPieces(const std::string& name, const Low& low, bool is_gated_up) {
  if (low.in.empty() || low.in.size() != low.out.size())
    return Corrupt(fmt::format("{}: expected both matrices of a LoRA, found one", name));
  if (low.in.size() == 1) return std::pair{low.in.front(), low.out.front()};
  const bool sums = name.ends_with("linear_proj.weight") || name.ends_with("linear_fc2.weight") ||
                    name.ends_with(".dense.weight") || name.ends_with("dense_4h_to_h.weight");
  ANEMONE_ASSIGN(Tensor in, Tensor::Concat(low.in, sums ? 1 : 0));
  if (!is_gated_up) {
    ANEMONE_ASSIGN(Tensor out, Tensor::Concat(low.out, 0));
    return std::pair{std::move(in), std::move(out)};
  }
  std::vector<Tensor> halves;
  for (const uint64_t half : {0, 1}) {
    for (const Tensor& piece : low.out) {
      const uint64_t rows = piece.shape().front() / 2;
      ANEMONE_ASSIGN(Tensor part, piece.Narrow(0, half * rows, rows));
      halves.push_back(std::move(part));
    }
  }
  ANEMONE_ASSIGN(Tensor out, Tensor::Concat(std::move(halves), 0));
  return std::pair{std::move(in), std::move(out)};
}

Result<Tensor> DeltaOf(const std::string& name, const Low& low, const Adapter& adapter, bool is_glu) {
  const bool is_up = name.ends_with("linear_fc1.weight") || name.ends_with("dense_h_to_4h.weight");
  ANEMONE_ASSIGN(const auto matrices, JoinPieces(name, low, is_glu && is_up));
  const auto& [in, out] = matrices;
  if (in.shape().size() != 2 || out.shape().size() != 2 || in.shape()[0] != out.shape()[1] || in.shape()[0] == 0) {
    return Corrupt(fmt::format("{}: expected matrices of one rank, found {} and {}", name, ToString(in.shape()),
                               ToString(out.shape())));
  }
  const auto rank = static_cast<double>(in.shape()[0]);
  const double alpha = adapter.alpha == 0 ? rank : adapter.alpha;
  ANEMONE_ASSIGN(const Tensor delta, Product(out, in, alpha / (adapter.by_root ? std::sqrt(rank) : rank)));
  if (!adapter.is_transposed) return delta;
  return delta.Permute({1, 0});
}

// ---- merging ----

class Merger {
 public:
  Merger(const ModelIdentity& model, const ModelSymbols& symbols, Checkpoint* base)
      : model_(model), symbols_(symbols), base_(base) {}

  // Adds the deltas of one spelling's modules.
  Status Add(const Modules& modules, const Adapter& adapter, const Dialect& spelling) {
    if (modules.empty()) return {};
    ANEMONE_ASSIGN(const NameMatcher from, NameMatcher(spelling).For(symbols_));
    const bool is_glu = symbols_.Holds("glu").ok() && *symbols_.Holds("glu");
    StateDict deltas;
    for (const auto& [name, low] : modules) {
      ANEMONE_ASSIGN(Tensor delta, DeltaOf(name, low, adapter, is_glu));
      ANEMONE_TRY(deltas.Add(name, std::move(delta)));
    }
    const std::string prefix = from.BestPrefix(deltas).prefix;
    for (const StateDict::Item& item : deltas.items()) {
      const auto hit = from.Match(item.name, prefix);
      if (!hit || from.row(hit->row).role != Role::kTensor)
        return Corrupt(
            fmt::format("{}: expected a module of a {}, found none of that name", item.name, model_.family->title));
      auto& parts = gathered_[{hit->row, hit->captures.layer.value_or(0)}];
      parts.resize(from.num_parts(hit->row));
      if (hit->captures.part >= parts.size()) return Corrupt(fmt::format("{}: expected no such part", item.name));
      parts[hit->captures.part] = item;
      ++count_;
    }
    for (const auto& [place, parts] : gathered_) ANEMONE_TRY(AddCanonical(from, place.first, place.second, parts));
    gathered_.clear();
    return {};
  }

  // Puts the sums in their places.
  Status Finish() {
    StateDict weights;
    for (const StateDict::Item& item : base_->weights().items()) {
      const auto found = merged_.find(item.name);
      ANEMONE_TRY(weights.Add(item.name, found == merged_.end() ? item.entry : Entry(found->second)));
    }
    base_->weights() = std::move(weights);
    return {};
  }

  uint64_t count() const { return count_; }

 private:
  using Gathered = std::vector<std::optional<StateDict::Item>>;

  const CanonicalRow* CanonicalOf(const std::string& name) const {
    const auto& rows = model_.family->canonical;
    const auto found =
        std::find_if(rows.begin(), rows.end(), [&](const CanonicalRow& row) { return row.name == name; });
    return found == rows.end() ? nullptr : &*found;
  }

  // A canonical tensor's delta, of the parts that are adapted; the others change nothing.
  Status AddCanonical(const NameMatcher& from, size_t row_index, uint64_t layer, const Gathered& parts) {
    const StoredRow& row = from.row(row_index);
    const CanonicalRow* canonical = CanonicalOf(row.canonical);
    if (canonical == nullptr) return Internal(fmt::format("expected a canonical row {}", row.canonical));
    ANEMONE_ASSIGN(const Shape shape, symbols_.Evaluate(canonical->shape));
    const TransformContext context{symbols_, row};
    ANEMONE_ASSIGN(const std::vector<Shape> shapes, row.transform->stored_shapes(shape, parts.size(), context));
    Parts whole;
    for (size_t part = 0; part < parts.size(); ++part) {
      if (!parts[part]) {
        ANEMONE_ASSIGN(Tensor none, Tensor::Fill(DType::kF64, shapes[part], 0));
        whole.push_back(std::move(none));
        continue;
      }
      const Tensor& delta = *parts[part]->tensor();
      if (delta.shape() != shapes[part]) {
        return Corrupt(fmt::format("{}: expected an adapter of {}, as the base has it, found one of {}",
                                   parts[part]->name, ToString(shapes[part]), ToString(delta.shape())));
      }
      whole.push_back(delta);
    }
    ANEMONE_ASSIGN(const Tensor delta, row.transform->forward(whole, shape, context));
    return AddToBase(*canonical, layer, delta);
  }

  Status AddToBase(const CanonicalRow& canonical, uint64_t layer, const Tensor& delta) {
    if (!into_) {
      ANEMONE_ASSIGN(into_, NameMatcher(*model_.dialect).For(symbols_));
      prefix_ = into_->BestPrefix(base_->weights()).prefix;
    }
    for (size_t r = 0; r < model_.dialect->rows.size(); ++r) {
      const StoredRow& row = into_->row(r);
      if (row.canonical != canonical.name || row.role != Role::kTensor || !into_->is_active(r)) continue;
      const TransformContext context{symbols_, row};
      const size_t num_parts = into_->num_parts(r);
      if (base_->weights().Find(prefix_ + into_->pattern(r).Fill(layer, 0)) == nullptr) continue;
      ANEMONE_ASSIGN(const std::vector<Shape> shapes, row.transform->stored_shapes(delta.shape(), num_parts, context));
      ANEMONE_ASSIGN(const Parts parts, row.transform->inverse(delta, shapes, context));
      for (size_t part = 0; part < parts.size(); ++part) {
        const std::string name = prefix_ + into_->pattern(r).Fill(layer, part);
        ANEMONE_TRY(AddTo(name, parts[part]));
      }
      return {};
    }
    return Corrupt(fmt::format("expected the base to have layer {} of {}, found none", layer, canonical.name));
  }

  Status AddTo(const std::string& name, const Tensor& delta) {
    const StateDict::Item* item = base_->weights().Find(name);
    if (item == nullptr || item->tensor() == nullptr)
      return Corrupt(fmt::format("{}: expected the tensor that is adapted, found none", name));
    const auto before = merged_.find(name);
    ANEMONE_ASSIGN(Tensor sum, Sum(before == merged_.end() ? *item->tensor() : before->second, delta));
    merged_.insert_or_assign(name, std::move(sum));
    return {};
  }

  const ModelIdentity& model_;
  const ModelSymbols& symbols_;
  Checkpoint* base_;
  std::map<std::pair<size_t, uint64_t>, Gathered> gathered_;
  std::map<std::string, Tensor> merged_;
  std::optional<NameMatcher> into_;
  std::string prefix_;
  uint64_t count_ = 0;
};

// The spelling of an adapter's names: the base's own, or the one that such a model has in that language.
Result<const Dialect*> SpellingOf(const Modules& modules, bool is_hf, const ModelIdentity& model,
                                  const Checkpoint& base) {
  const Dialect* own = model.dialect;
  if (is_hf && !own->is_megatron) return own;
  if (is_hf) {
    ANEMONE_ASSIGN(const Dialect* dialect, DialectFor(base, model, ConfigLanguage::kHuggingFace, {}));
    if (dialect != nullptr) return dialect;
    return Unsupported(fmt::format("expected names of a {} in NeMo, found Hugging Face's", model.family->title));
  }
  const bool is_legacy =
      !modules.empty() && modules.begin()->first.find("language_model.encoder.") != std::string::npos;
  const Dialect* dialect = model.family->FindDialect(is_legacy ? "legacy" : "mcore");
  if (dialect != nullptr) return dialect;
  return Unsupported(fmt::format("expected names of a {} in Hugging Face, found NeMo's", model.family->title));
}

}  // namespace

Status MergeAdapter(const std::string& path, const ModelIdentity& model, const ProgressFn& progress, Checkpoint* base) {
  const auto merge = [&]() -> Status {
    ANEMONE_ASSIGN(const Adapter adapter, ReadAdapter(path, progress));
    ANEMONE_ASSIGN(const ModelSymbols symbols, model.family->SymbolsOf(*base, *model.dialect, {}));
    Merger merger(model, symbols, base);
    for (const bool is_hf : {false, true}) {
      const Modules& modules = is_hf ? adapter.hf : adapter.megatron;
      if (modules.empty()) continue;
      ANEMONE_ASSIGN(const Dialect* spelling, SpellingOf(modules, is_hf, model, *base));
      ANEMONE_TRY(merger.Add(modules, adapter, *spelling));
    }
    ANEMONE_TRY(merger.Finish());
    base->notes.push_back(fmt::format("merged a LoRA into {} modules: {}", merger.count(), path));
    return {};
  };
  return merge().In(path);
}

}  // namespace anemone
