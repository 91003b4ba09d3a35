#include "inspect/sizes.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <string>
#include <string_view>

#include "base/read_at_most.h"
#include "base/sys.h"
#include "base/tree.h"
#include "family/family.h"

namespace anemone {
namespace {

constexpr std::string_view kTowers[] = {"vision", "text", "encoder", "decoder", ""};

uint64_t SizeOf(const ModelSymbols& symbols, std::string_view tower, std::string_view key) {
  const Result<std::optional<uint64_t>> size = symbols.Find(tower, key);
  return size.ok() ? size->value_or(0) : 0;
}

// The side of the image whose patches, and perhaps a class token, are so many positions; 0 for another number.
uint64_t ImageSide(uint64_t positions, uint64_t patch) {
  for (const uint64_t patches : {positions, positions - 1}) {
    const auto side = static_cast<uint64_t>(std::lround(std::sqrt(static_cast<double>(patches))));
    if (positions > 1 && side * side == patches) return side * patch;
  }
  return 0;
}

}  // namespace

std::vector<TowerSizes> ModelSizes(const Checkpoint& checkpoint, const ModelIdentity& model) {
  if (model.dialect == nullptr) return {};
  const Result<ModelSymbols> found = model.family->SymbolsOf(checkpoint, *model.dialect, {});
  if (!found.ok()) return {};
  const ModelSymbols& symbols = *found;
  std::vector<TowerSizes> towers;
  for (const std::string_view name : kTowers) {
    TowerSizes tower = {.tower = std::string(name)};
    tower.layers = SizeOf(symbols, name, "layers");
    if (tower.layers == 0) continue;
    tower.width = SizeOf(symbols, name, "width");
    tower.heads = SizeOf(symbols, name, "heads");
    tower.groups = SizeOf(symbols, name, "groups");
    tower.positions = SizeOf(symbols, name, "positions");
    tower.vocabulary = SizeOf(symbols, name, "vocab");
    if (name == "vision") {
      tower.patch = SizeOf(symbols, name, "patch");
      if (tower.patch == 0) tower.patch = SizeOf(symbols, "", "patch");
      tower.image = ImageSide(tower.positions, tower.patch);
    }
    towers.push_back(std::move(tower));
  }
  return towers;
}

std::string PublishedAs(const Checkpoint& checkpoint, const ModelIdentity& model) {
  if (model.dialect == nullptr || model.family->published_as == nullptr) return {};
  const Result<ModelSymbols> symbols = model.family->SymbolsOf(checkpoint, *model.dialect, {});
  return symbols.ok() ? std::string(model.family->published_as(*symbols)) : std::string();
}

Result<std::optional<uint64_t>> SizeOnDisk(const std::string& path) {
  std::optional<uint64_t> total;
  const auto add = [&total](const struct stat& info) {
    total = total.value_or(0) + (S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0);
  };
  struct stat info;
  if (sys.stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return total;  // on a server
    return ErrnoStatus(errno, "cannot stat").In(path);
  }
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return total;
  add(info);
  if (S_ISREG(info.st_mode)) return total;
  Status status = ForEachInTree(path, SIZE_MAX, [&](const TreeEntry& entry) -> Status {
    add(entry.info);
    return {};
  });
  if (IsReadFailure(status)) return status;
  return status.ok() ? total : std::nullopt;
}

}  // namespace anemone
