#include "ops/sizes.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "anemone/value.h"
#include "family/family.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

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

// "12.0" after "consumed_samples=" in a checkpoint's name.
std::string AfterWord(std::string_view name, std::string_view word) {
  const size_t at = name.find(word);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = name.substr(at + word.size());
  std::string_view number = rest.substr(0, rest.find_first_not_of("0123456789."));
  while (number.ends_with('.')) number.remove_suffix(1);  // the extension's
  if (number.ends_with(".0")) number.remove_suffix(2);
  return std::string(number);
}

std::string ScalarAt(const Config& config, std::string_view key) {
  const ConfigNode* node = config.Find(key);
  return node != nullptr && node->is_scalar() && !node->is_null() ? node->ScalarText() : std::string();
}

std::string IntegerAt(const ValueNode& training, std::string_view key) {
  const ValueNode* node = Lookup(training, key);
  return node != nullptr && node->kind == ValueNode::Kind::kInt ? std::to_string(node->integer) : std::string();
}

}  // namespace

std::vector<TowerSizes> ModelSizes(const Checkpoint& checkpoint) {
  const Result<ResolvedModel> model = ResolveModel(checkpoint);
  if (!model.ok()) return {};
  const ModelSymbols& symbols = model->symbols;
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

std::vector<std::pair<std::string, std::string>> Provenance(const Checkpoint& checkpoint) {
  std::vector<std::pair<std::string, std::string>> facts;
  const auto add = [&facts](const char* name, std::string value) {
    if (!value.empty()) facts.emplace_back(name, std::move(value));
  };
  if (checkpoint.config) {
    add("nemo version", ScalarAt(*checkpoint.config, "nemo_version"));
    add("transformers version", ScalarAt(*checkpoint.config, "transformers_version"));
    add("precision", ScalarAt(*checkpoint.config, "precision"));
  }
  std::string name = checkpoint.origin.training_file;
  if (name.empty()) name = fs::path(checkpoint.path).filename().string();
  std::string epoch, step;
  if (!checkpoint.shards.empty() && checkpoint.shards.front().training) {
    const ValueNode& training = *checkpoint.shards.front().training->node;
    epoch = IntegerAt(training, "epoch");
    step = IntegerAt(training, "global_step");
  }
  if (step.empty()) step = AfterWord(name, "step=");
  add("epoch", epoch.empty() ? AfterWord(name, "epoch=") : epoch);
  add("step", step);
  add("consumed samples", AfterWord(name, "consumed_samples="));
  return facts;
}

std::optional<uint64_t> SizeOnDisk(const std::string& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) {
    const uint64_t size = fs::file_size(path, error);
    return error ? std::nullopt : std::optional(size);
  }
  if (!fs::is_directory(path, error)) return std::nullopt;
  uint64_t total = 0;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code unreadable;
    if (it->is_regular_file(unreadable)) total += it->file_size(unreadable);
  }
  return error ? std::nullopt : std::optional(total);
}

}  // namespace anemone
