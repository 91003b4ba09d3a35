#include "edit/config_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/nearest.h"

namespace anemone {
namespace {

void ListPaths(const ConfigNode& node, const std::string& path, std::vector<std::string>& paths) {
  constexpr size_t kMost = 2000;
  for (const auto& [key, value] : node.map) {
    if (paths.size() >= kMost) return;
    paths.push_back(path.empty() ? key : fmt::format("{}.{}", path, key));
    ListPaths(value, std::string(paths.back()), paths);
  }
}

}  // namespace

std::string NearestPath(const Config& config, std::string_view path) {
  std::vector<std::string> paths;
  ListPaths(config.root(), "", paths);
  std::string nearest = Nearest(path, paths, std::max<size_t>(1, path.size() / 4));
  if (!nearest.empty()) return nearest;
  const std::string ending = "." + std::string(path);
  for (const std::string& known : paths) {
    if (!known.ends_with(ending)) continue;
    if (!nearest.empty()) return "";
    nearest = known;
  }
  return nearest;
}

}  // namespace anemone
