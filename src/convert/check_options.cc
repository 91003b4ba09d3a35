// CheckOptions: refuses options that this conversion has no place for.
//
// Before:  the format is chosen, and nothing is changed.
// After:   what the user asks of the output is something that its format has.
// Notes:   none.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "convert/pass.h"

namespace anemone {
namespace {

Status CheckPreset(const std::string& name) {
  if (name.empty()) return {};
  std::vector<std::string_view> known;
  for (const Family* family : Families()) {
    if (family->presets == nullptr) continue;
    if (family->has_preset(name)) return {};
    std::ranges::copy(family->presets(), std::back_inserter(known));
  }
  return WrongOption("preset", fmt::format("expected the name of a size, found '{}'", name),
                     fmt::format("known are {}", fmt::join(known, ", ")));
}

}  // namespace

Status CheckOptions(Work& work) {
  const ConvertOptions& options = work.options;
  const FormatTraits& traits = work.traits();
  const bool has_config = traits.language != ConfigLanguage::kNone;
  const bool is_nemo2 = traits.language == ConfigLanguage::kNemo2;
  const struct {
    std::string_view option;
    bool is_given, has_place;
    std::string_view expected;
  } rules[] = {
      {"max_shard_bytes", options.max_shard_bytes != 0, traits.has_shards, "a format with shards (hf, safetensors)"},
      {"nemo2_version", !options.nemo2_version.empty(), is_nemo2, "a NeMo 2 folder"},
      {"nemo2_model", !options.nemo2_model.empty(), is_nemo2, "a NeMo 2 folder"},
      {"split_rank", options.split_rank.has_value(), traits.has_rank_files,
       "a format with files of ranks (nemo, ckpt)"},
      {"set", !options.set.empty(), has_config, "a format with a config"},
      {"unset", !options.unset.empty(), has_config, "a format with a config"},
      {"artifacts", !options.artifacts.empty(), has_config, "a format with a config"},
  };
  for (const auto& rule : rules) {
    if (rule.is_given && !rule.has_place)
      return WrongOption(rule.option,
                         fmt::format("expected {} to write, found a {}", rule.expected, work.format->title));
  }
  const Checkpoint& source = work.conversion.source;
  ANEMONE_TRY(CheckPreset(work.asked_preset));
  if (work.asked_preset.empty() || !source.config) return {};
  return WrongOption("preset", fmt::format("expected a source without a config, found {}", source.config_name));
}

}  // namespace anemone
