// The weight_map of an index: which of several files holds a tensor (model.safetensors.index.json and its like).
#ifndef ANEMONE_CONFIG_WEIGHT_MAP_H_
#define ANEMONE_CONFIG_WEIGHT_MAP_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/status.h"

namespace anemone {

struct WeightPlace {
  std::string tensor, file;  // the file's path is relative, and leads nowhere above the index's folder
};
// `json`: what the index at `path` holds. Errors: Corrupt, naming the path.
Result<std::vector<WeightPlace>> ReadWeightMap(std::string_view json, const std::string& path);

}  // namespace anemone

#endif  // ANEMONE_CONFIG_WEIGHT_MAP_H_
