#include "inspect/provenance.h"

#include <filesystem>
#include <string_view>

#include "anemone/value.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

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

}  // namespace anemone
