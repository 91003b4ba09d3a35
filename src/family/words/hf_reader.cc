#include "family/words/hf_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/nodes.h"
#include "family/words/hf_keys.h"
#include "family/words/model_words.h"

namespace anemone::internal {

HfReader::HfReader(const ConfigNode& json, const HfArchitecture& architecture)
    : json_(json),
      architecture_(architecture),
      silent_(ParseWord(architecture.silent)),
      words_(ParseWord(architecture.implied)) {}

const ConfigNode& HfReader::At(std::string_view key) {
  const std::string_view name = HfNameIn(json_, key);
  known_.push_back(name);
  static const ConfigNode kNull;
  if (const ConfigNode* node = json_.Get(name)) return *node;
  const ConfigNode* node = silent_.Get(key);
  return node == nullptr ? kNull : *node;
}

void HfReader::Set(std::string_view word, ConfigNode value) {
  const size_t dot = word.find('.');
  if (dot == std::string_view::npos) {
    words_[std::string(word)] = std::move(value);
    return;
  }
  ConfigNode& inner = words_[std::string(word.substr(0, dot))];
  if (!inner.is_map()) inner = ConfigNode::Map();
  inner[std::string(word.substr(dot + 1))] = std::move(value);
}

// Python takes any text for true, and transformers 5 takes none.
Status HfReader::CheckFlags() const {
  for (const auto& [key, silent] : silent_.map) {
    const ConfigNode& value = WordAt(json_, key);
    if (!silent.AsBool() || value.is_null() || value.AsBool()) continue;
    return Corrupt(fmt::format("{}: expected true or false, found {}", key, ShownQuoted(value)));
  }
  return {};
}

Status HfReader::CheckFixed(const FixedKey& fixed) {
  const ConfigNode& value = At(fixed.key);
  // Python takes null for false.
  const bool is_nothing = fixed.value == "false" || fixed.value == "null";
  const bool is_silent = value.is_null() && (is_nothing || json_.Get(fixed.key) == nullptr);
  if (is_silent || SameConfig(value, ParseWord(fixed.value))) return {};
  return Unsupported(
      fmt::format("{}: expected {}, found {}; not supported: {}", fixed.key, fixed.value, Shown(value), fixed.why));
}

void HfReader::NoteUnknown(std::vector<std::string>* notes) const {
  const auto is_known = [&](std::string_view key) {
    return std::ranges::find(known_, key) != known_.end() || silent_.Get(key) != nullptr;
  };
  NoteUnknownKeys(json_, is_known, notes);
}

}  // namespace anemone::internal
