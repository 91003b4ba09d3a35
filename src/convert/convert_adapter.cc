// ConvertAdapter: an adapter of low rank, alone, in the names of the format to write.
//
// Before:  the config of an adapter from NeMo is in NeMo 1's words, unless NeMo 2 is written.
// After:   an adapter on its way to PEFT, from it, or between NeMo 1 and 2 has its names and its config there, and is
//          whole. Any other checkpoint is as it was.
// Notes:   what is filled up with zeros.
#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <utility>

#include "adapter/adapter.h"
#include "adapter/adapter_convert.h"
#include "convert/pass.h"
#include "family/words/nemo2_config.h"

namespace anemone {
namespace {

bool IsNemo(const FormatTraits& traits) {
  return traits.is_nemo1_archive() || traits.language == ConfigLanguage::kNemo2;
}

Result<Config> InNemo1(const Config& config) {
  if (!IsNemo2Config(config.root())) return config;
  ANEMONE_ASSIGN(ConfigNode words, ToNemo1Config(config.root()));
  return Config(std::move(words));
}

// The model that an adapter of PEFT's adapts, as the format to write has it: its config and files are wanted, not its
// weights. A base that the user names may be any source; the one that the adapter names counts where it is a local
// path.
Result<Conversion> PlanBase(const Work& work, const std::string& place) {
  std::error_code error;
  if (work.options.base.empty() && !std::filesystem::exists(place, error)) {
    return NotFound(fmt::format("expected the model that is adapted, found {}",
                                place.empty() ? "none named" : fmt::format("none at {}", place)))
        .Use("base", "PATH", "name it: NeMo's adapters have its config");
  }
  ConvertOptions options;
  options.to = work.format->name;
  options.architecture = work.options.architecture;
  options.nemo2_version = work.options.nemo2_version;
  return PlanConversion(place, fmt::format("{}.of-adapter", place), options);
}

Status FromPeft(Work& work, const Adapter& adapter) {
  const std::string place = work.options.base.empty() ? adapter.base : work.options.base;
  ANEMONE_ASSIGN(Conversion base, PlanBase(work, place));
  const Result<ModelIdentity> identity = IdentifyModel(base.source);
  const Dialect* hf = identity.ok() && !identity->dialect->is_megatron ? identity->dialect : nullptr;
  if (!base.result.config) return NotFound("expected its config, found none").In(place);
  ANEMONE_ASSIGN(const Config nemo1, InNemo1(*base.result.config));
  ANEMONE_ASSIGN(const AdaptedModel model, AdaptedModelOf(nemo1, hf, work.KnownModel()));
  Checkpoint& result = work.result();
  result.config = std::move(base.result.config);
  result.config_name = std::move(base.result.config_name);
  result.artifacts = std::move(base.result.artifacts);
  return AdapterToNemo(adapter, model, place, &result);
}

Status FromNemo(Work& work, const Adapter& adapter) {
  const Checkpoint& source = work.conversion.source;
  ANEMONE_ASSIGN(const Config nemo1, InNemo1(*source.config));
  ANEMONE_ASSIGN(const AdaptedModel model, AdaptedModelOf(nemo1, nullptr, {.architecture = work.options.architecture}));
  Checkpoint& result = work.result();
  if (work.traits().holds_adapter) {
    ANEMONE_ASSIGN(Checkpoint peft, AdapterToPeft(adapter, model, work.options.base));
    result.config = std::move(peft.config);
    result.config_name = std::move(peft.config_name);
    result.shards = std::move(peft.shards);
    result.artifacts.clear();
    return {};
  }
  if (work.traits().language == ConfigLanguage::kNemo2) {
    ANEMONE_ASSIGN(ConfigNode config,
                   ToNemo2Config(nemo1.root(), {.version = work.options.nemo2_version}, &work.conversion.notes));
    result.config = Config(std::move(config));
    result.config_name = "context/model.yaml";
  }
  return AdapterToNemo(adapter, model, work.options.base, &result);
}

}  // namespace

Status ConvertAdapter(Work& work) {
  const Checkpoint& source = work.conversion.source;
  const FormatTraits &from = TraitsOf(source), &to = work.traits();
  const bool is_adapter = HoldsAdapter(source);
  if (!is_adapter && to.holds_adapter)
    return Unsupported(fmt::format("expected a LoRA alone for a {}, found other weights", work.format->title));
  const bool changes = is_adapter && (to.holds_adapter || IsNemo(to)) &&
                       (from.holds_adapter != to.holds_adapter || from.language != to.language);
  if (!changes) {
    if (!work.options.base.empty()) return WrongOption("base", "expected a LoRA alone on its way to or from PEFT");
    if (is_adapter && to.language == ConfigLanguage::kHuggingFace) {
      return Unsupported("expected a whole model, found a LoRA alone", "merge it into its base")
          .Use("to", "peft", "write a PEFT folder");
    }
    return {};
  }
  ANEMONE_ASSIGN(const Adapter adapter, ReadAdapter(source));
  ANEMONE_TRY(from.holds_adapter ? FromPeft(work, adapter) : FromNemo(work, adapter));
  work.LeaveTraining("");
  Checkpoint& result = work.result();
  result.layout = {};
  result.origin = {};
  work.is_adapter = true;
  return {};
}

}  // namespace anemone
