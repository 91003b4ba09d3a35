#include "net/hub_files.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "anemone/config.h"
#include "base/safe_path.h"
#include "config/companions.h"
#include "config/nodes.h"
#include "config/weight_map.h"
#include "net/http.h"
#include "net/hub_cache.h"

namespace anemone::internal {
namespace {

constexpr std::string_view kConfigs[] = {"config.json", "open_clip_config.json"};

// First come, first served; safetensors before pickles.
constexpr std::string_view kWeights[] = {
    "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
    "pytorch_model.bin", "pytorch_model.bin.index.json", "open_clip_pytorch_model.bin"};

}  // namespace

Result<HubModel> ParseHubModel(const std::string& json, const std::string& name) {
  ANEMONE_ASSIGN(const Config info, ParseJsonList(json, name));
  const ConfigNode* sha = info.root().Get("sha");
  if (sha == nullptr || !IsCommit(sha->text))
    return Unavailable("expected the commit of the revision, the hub names none").In(name);
  HubModel model{.commit = sha->text, .files = {}};
  const ConfigNode* siblings = info.root().Get("siblings");
  if (siblings == nullptr) return model;
  for (const ConfigNode& file : siblings->list) {
    if (const ConfigNode* path = file.Get("rfilename"); path != nullptr && UnsafePath(path->text).empty())
      model.files.push_back(path->text);
  }
  return model;
}

Result<std::vector<std::string>> ShardsOf(const std::string& index, const std::string& path) {
  ANEMONE_ASSIGN(std::vector<WeightPlace> places, ReadWeightMap(index, path));
  std::set<std::string> shards;
  for (WeightPlace& place : places) shards.insert(std::move(place.file));
  return std::vector<std::string>(shards.begin(), shards.end());
}

Result<std::vector<std::string>> ReadShards(ByteSourcePtr index) {
  constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
  const std::string path = index->name();
  ANEMONE_ASSIGN(const std::string text, Whole(std::move(index)).ReadAll(kMaxBytes));
  return ShardsOf(text, path);
}

std::vector<std::string> FilesBeside() {
  std::vector<std::string> names(std::begin(kConfigs), std::end(kConfigs));
  for (const Companion& companion : kCompanions) names.emplace_back(companion.name);
  return names;
}

std::vector<std::string> FilesOfModels() {
  std::vector<std::string> names = FilesBeside();
  names.insert(names.end(), std::begin(kWeights), std::end(kWeights));
  return names;
}

HubChoice ChooseFiles(const std::vector<std::string>& names) {
  const std::set<std::string_view> all(names.begin(), names.end());
  HubChoice choice;
  std::ranges::copy_if(FilesBeside(), std::back_inserter(choice.configs),
                       [&](const std::string& name) { return all.contains(name); });
  for (const std::string_view name : kWeights) {
    if (!all.contains(name)) continue;
    choice.weights = name;
    return choice;
  }
  std::vector<std::string> archives;
  std::copy_if(names.begin(), names.end(), std::back_inserter(archives),
               [](const std::string& name) { return name.ends_with(".nemo"); });
  if (archives.size() == 1) choice = {.configs = {}, .weights = archives[0]};
  return choice;
}

}  // namespace anemone::internal
