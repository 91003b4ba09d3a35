#include "config/weight_map.h"

#include <optional>
#include <utility>

#include "anemone/config.h"
#include "base/safe_path.h"
#include "config/nodes.h"

namespace anemone {

Result<std::vector<WeightPlace>> ReadWeightMap(std::string_view json, const std::string& path) {
  ANEMONE_ASSIGN(const Config config, ParseJsonList(json, path));
  const ConfigNode* map = config.root().Get("weight_map");
  if (map == nullptr || !map->is_map())
    return Corrupt("[HF-3] expected a weight_map, found none", "download the index again").In(path);
  std::vector<WeightPlace> places;
  places.reserve(map->map.size());
  for (const auto& [tensor, node] : map->map) {
    std::optional<std::string> file = node.AsString();
    if (!file) {
      return Corrupt("[HF-4] expected a file name for \"" + tensor + "\" in the weight_map, found " + node.ScalarText())
          .In(path);
    }
    if (const std::string_view why = UnsafePath(*file); !why.empty()) {
      return Corrupt("[HF-4] expected a path inside the folder for \"" + tensor +
                     "\" in the weight_map, found one that " + std::string(why) + ": " + *file)
          .In(path);
    }
    places.push_back({tensor, *std::move(file)});
  }
  return places;
}

}  // namespace anemone
