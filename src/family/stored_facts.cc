#include "family/families.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/checked.h"
#include "family/registry.h"

namespace anemone {

namespace {

// Lightning keeps the arguments of any module where NeMo keeps the model's config.
bool SaysAModel(const ConfigNode& root) {
  constexpr std::string_view kKeys[] = {"num_layers", "hidden_size", "num_attention_heads",
                                        "encoder",    "decoder",     "architectures",
                                        "model_type", "config",      "model",
                                        "cfg",        "target",      "_target_",
                                        "ssm_cfg"};
  return std::ranges::any_of(kKeys, [&](std::string_view key) { return root.Get(key) != nullptr; });
}

}  // namespace

Result<const Config*> SizesConfig(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name) {
  const bool is_own =
      checkpoint.config && (SaysAModel(checkpoint.config->root()) || checkpoint.config->root().map.empty());
  *name = is_own ? checkpoint.config_name : options.hparams_name;
  if (is_own) return &*checkpoint.config;
  if (options.hparams) return &*options.hparams;
  const std::string& place = checkpoint.config_name;
  return NotFound(place.empty() ? "expected the config of these weights, found none"
                                : fmt::format("expected a config in {}, found none", place))
      .Use("hparams", "FILE", "give it: NeMo's YAML, or the config.json of weights that have Hugging Face's names");
}

bool HasName(const Checkpoint& checkpoint, std::string_view part) {
  bool found = false;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) found |= item.name.find(part) != std::string::npos;
  });
  return found;
}

std::string ClassNamedIn(const ConfigNode& config_json) {
  const ConfigNode *names = config_json.Get("architectures"), *type = config_json.Get("model_type");
  if (names != nullptr && names->is_list() && !names->list.empty()) return names->list.front().ScalarText();
  return type == nullptr ? "" : type->ScalarText();
}

DType DTypeOf(const Checkpoint& checkpoint) {
  std::optional<DType> dtype;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      if (!dtype && item.tensor() != nullptr && item.tensor()->shape().size() == 2) dtype = item.tensor()->dtype();
    }
  });
  return dtype.value_or(DType::kF32);
}

DType DTypeBy(const ConfigNode& config_json, const Checkpoint& checkpoint) {
  const ConfigNode* said = config_json.Get("torch_dtype");
  if (said == nullptr) said = config_json.Get("dtype");
  const std::string name = said == nullptr ? "" : said->AsString().value_or("");
  for (const Shard& shard : checkpoint.shards) {
    for (const StateDict::Item& item : shard.weights.items()) {
      if (item.tensor() != nullptr && Info(item.tensor()->dtype()).torch == name) return item.tensor()->dtype();
    }
  }
  return DTypeOf(checkpoint);
}

const Tensor* FindStored(const StateDict& dict, const NameMatcher& names, std::string_view canonical) {
  const std::string prefix = names.BestPrefix(dict).prefix;
  for (size_t r = 0; r < names.dialect().rows.size(); ++r) {
    if (names.row(r).canonical != canonical || names.row(r).role != Role::kTensor) continue;
    const StateDict::Item* item = dict.Find(prefix + names.pattern(r).Fill(0, 0));
    if (item != nullptr && item->tensor() != nullptr) return item->tensor();
  }
  if (names.dialect().omitted.empty()) return nullptr;
  for (const StateDict::Item& item : dict.items()) {
    const auto hit = item.tensor() == nullptr ? std::nullopt : names.Match(item.name, prefix);
    if (hit && names.row(hit->row).canonical == canonical && names.row(hit->row).role == Role::kTensor)
      return item.tensor();
  }
  return nullptr;
}

Result<uint64_t> StoredVocabRows(const Checkpoint& checkpoint, const Dialect& dialect, std::string_view canonical) {
  const NameMatcher matcher = MatcherOf(dialect);
  uint64_t rows = 0;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    if (rows > 0) return;
    const Tensor* table = FindStored(dict, matcher, canonical);
    if (table != nullptr && !table->shape().empty()) rows = table->shape()[0];
  });
  const auto all = CheckedMul(rows, static_cast<uint64_t>(checkpoint.layout.tp));
  if (!all) return Corrupt(fmt::format("{}: expected rows below 2^64 on all ranks, found {}", canonical, rows));
  return *all;
}

}  // namespace anemone
