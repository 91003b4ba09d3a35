#include "cli/next_steps.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/read_at_most.h"
#include "base/shell_word.h"
#include "cli/text.h"
#include "format/format.h"
#include "infer/clip_source.h"
#include "parallel/reshard.h"
#include "schema/matcher.h"
#include "source/canonical.h"
#include "source/wrappers.h"

namespace anemone::cli {
namespace {

// Finds out whether commands work. A source that cannot be read says nothing of that: the failure is kept.
class Trials {
 public:
  bool Works(const Status& status) {
    if (IsReadFailure(status) && failure_.ok()) failure_ = status;
    return status.ok();
  }
  // A config is still to be given where there is none.
  bool WorksWithConfig(const Status& status) { return Works(status) || status.kind() == ErrorKind::kNotFound; }
  const Status& failure() const { return failure_; }

 private:
  Status failure_;
};

bool IsClip(const Summary& summary) { return summary.family() == "clip" || summary.family() == "siglip"; }

bool CanInfer(const Checkpoint& checkpoint, const ModelIdentity& identity, Trials& trials) {
  const Result<ClipModel> model = LoadClip(checkpoint, {}, {.model = identity});
  return trials.Works(model.status()) && model->spec().has_text && model->spec().has_vision &&
         trials.Works(CheckTokenizer(checkpoint, model->spec()));
}

// The sizes of a layout by which the model can be divided: some of " --tp N --pp N".
std::string SizesToSplit(const WholeModel& whole, Trials& trials) {
  const auto can_split = [&](const Layout& by_two, const Layout& by_three) {
    return whole.skeleton &&
           (trials.Works(CheckSplit(*whole.skeleton, by_two)) || trials.Works(CheckSplit(*whole.skeleton, by_three)));
  };
  std::string sizes;
  if (can_split({.tp = 2}, {.tp = 3})) sizes += " --tp N";
  if (can_split({.pp = 2}, {.pp = 3})) sizes += " --pp N";
  return sizes;
}

// True for a CLIP without a config that is whole otherwise: each tensor is a CLIP's, and it has both towers.
bool LacksOnlyConfig(const Checkpoint& checkpoint, const ModelIdentity& model) {
  if (model.dialect == nullptr) return false;
  const NameMatcher names(*model.dialect);
  bool all_known = true, has_vision = false, has_text = false;
  checkpoint.ForEachDict([&](const StateDict& state) {
    const std::string prefix = names.BestPrefix(state).prefix;
    for (const StateDict::Item& item : state.items()) {
      const auto match = names.Match(item.name, prefix);
      all_known &= match.has_value();
      has_vision |= match && names.row(match->row).canonical.starts_with("vision.");
      has_text |= match && names.row(match->row).canonical.starts_with("text.");
    }
  });
  return all_known && has_vision && has_text;
}

// Checks that the tensors have the names and shapes that the config asks for.
Status FitsConfig(const WholeModel& whole) { return whole.skeleton ? Canonical(*whole.skeleton).status() : Status(); }

// The dialect of a family that is stored in a file without a config; nullptr: none is.
const Dialect* WithoutConfig(const Summary& summary) {
  if (summary.model.family == nullptr) return nullptr;
  const std::vector<Dialect>& dialects = summary.model.family->dialects;
  const auto found = std::ranges::find(dialects, ConfigLanguage::kNone, LanguageOf);
  return found == dialects.end() ? nullptr : &*found;
}

// In the formats that a dialect of the family has to itself.
void AddFormatsOfOneDialect(const Checkpoint& checkpoint, const Summary& summary, const std::string& convert,
                            Trials& trials, std::vector<Step>* steps) {
  if (summary.model.family == nullptr) return;
  const TranslateOptions known = {.family = summary.model.family, .dialect = summary.model.dialect};
  for (const Dialect& dialect : summary.model.family->dialects) {
    const Format* format = FindFormat(dialect.name);
    if (format == nullptr || format->traits.language != ConfigLanguage::kNone) continue;
    if (trials.Works(CanTranslate(checkpoint, dialect.name, known)))
      steps->push_back({fmt::format("{} OUT --to {}", convert, dialect.name), "for other programs"});
  }
}

// For what has the words of NeMo 1, of Hugging Face, or none.
std::vector<Step> ForNemo1(const Checkpoint& checkpoint, const Summary& summary, const WholeModel& whole,
                           const std::string& convert, Trials& trials) {
  const FormatTraits& traits = TraitsOf(checkpoint);
  const bool is_clip = IsClip(summary);
  const TranslateOptions known = {.family = summary.model.family, .dialect = summary.model.dialect};
  const Status as_clip = is_clip ? CanTranslate(checkpoint, "mcore", known) : Status();
  const bool has_no_config = !as_clip.ok() && as_clip.kind() == ErrorKind::kNotFound;
  if (has_no_config ? !LacksOnlyConfig(checkpoint, summary.model) : !trials.Works(as_clip)) {
    if (!traits.is_pickle && !traits.is_megatron()) return {};
    return {{convert + " OUT.safetensors", "the weights alone"}};
  }
  if (traits.is_megatron()) {
    const Status fits = is_clip ? Status() : FitsConfig(whole);
    const bool says_no_model = !fits.ok() && fits.kind() == ErrorKind::kNotFound;
    const std::string_view one_chunk = checkpoint.layout.vp > 1 ? " --vp 1" : "";
    const std::string_view config =
        checkpoint.config && !has_no_config && !says_no_model ? "" : " --hparams HPARAMS.yaml";
    return {{fmt::format("{} OUT.nemo{}{}", convert, one_chunk, config), "a model NeMo restores"}};
  }
  // Weights without a config say all sizes but the number of heads; OpenAI's archives follow a rule for that.
  if (is_clip) return {{convert + (has_no_config ? " OUT.nemo --hparams CONFIG.json" : " OUT.nemo"), "for NeMo"}};
  const bool has_no_words = summary.model.dialect != nullptr && WithoutConfig(summary) != nullptr &&
                            LanguageOf(*summary.model.dialect) == ConfigLanguage::kNone;
  if ((traits.language == ConfigLanguage::kHuggingFace || has_no_words) &&
      trials.Works(CanBecome(checkpoint, ConfigLanguage::kNemo1)))
    return {{convert + " OUT.nemo", "for NeMo"}};
  if (traits.is_pickle && !checkpoint.origin.is_torch_script)
    return {{convert + " OUT.safetensors", "the same without pickle"}};
  return {};
}

std::vector<Step> Propose(const Checkpoint& checkpoint, const Summary& summary, const WholeModel& whole,
                          Trials& trials) {
  const FormatTraits& traits = TraitsOf(checkpoint);
  const std::string path = ShellWord(checkpoint.path);
  if (!whole.misfit.ok()) return {{"anemone verify " + path, "all that is wrong"}};
  const std::string convert = "anemone convert " + path;
  const bool is_clip = IsClip(summary);
  if (IsOfMegatron(traits.language) && !checkpoint.origin.part_of.empty()) {
    const std::string all = ShellWord(checkpoint.origin.part_of);
    return {{"anemone convert " + all + " OUT --to hf", "of all ranks, for transformers"}};
  }
  if (!checkpoint.origin.part_of.empty()) return {};  // a part alone is not converted
  if (summary.model.family == nullptr) {
    const Result<std::string> several = SeveralModels(checkpoint);
    if (!trials.Works(several.status())) return {};
    if (!several->empty()) return {{convert + " OUT.safetensors", "all of them, name by name"}};
  }
  if (!is_clip) {
    if (const Status fits = FitsConfig(whole); !trials.Works(fits) && fits.kind() == ErrorKind::kCorrupt)
      return {{"anemone verify " + path, "what does not fit the config"}};
  }
  const TranslateOptions known = {.family = summary.model.family, .dialect = summary.model.dialect};
  if (traits.is_nemo1_archive() && is_clip) {
    std::vector<Step> steps;
    if (trials.WorksWithConfig(CanTranslate(checkpoint, "hf", known)))
      steps.push_back({convert + " OUT --to hf", "for transformers"});
    if (CanInfer(checkpoint, summary.model, trials))
      steps.push_back({"anemone infer " + path + " --image IMAGE --text TEXT", "classifies pictures"});
    return steps;
  }
  const Step for_transformers = {convert + " OUT --to hf", "for transformers"};
  if (traits.is_nemo1_archive()) {
    const bool can_leave = trials.Works(CanBecome(checkpoint, ConfigLanguage::kHuggingFace));
    const Dialect* alone = WithoutConfig(summary);
    std::vector<Step> steps = {can_leave ? for_transformers : Step{convert + " OUT.safetensors", "the weights alone"}};
    if (alone != nullptr && trials.Works(CanBecome(checkpoint, ConfigLanguage::kNone)))
      steps = {{fmt::format("{} OUT.safetensors --dialect {}", convert, alone->name), "for other programs"}};
    AddFormatsOfOneDialect(checkpoint, summary, convert, trials, &steps);
    const bool is_divided = summary.model.dialect == nullptr || !IsReplicated(*summary.model.dialect);
    if (const std::string sizes = SizesToSplit(whole, trials); !sizes.empty() && is_divided)
      steps.push_back({"anemone reshard " + path + " OUT.nemo" + sizes, "for another number of GPUs"});
    return steps;
  }
  const bool has_other_words = traits.language == ConfigLanguage::kNemo2 || IsOfMegatron(traits.language);
  const bool can_be_hf = has_other_words && trials.Works(CanBecome(checkpoint, ConfigLanguage::kHuggingFace));
  const bool can_be_nemo1 = has_other_words && trials.Works(CanBecome(checkpoint, ConfigLanguage::kNemo1));
  if (has_other_words && !can_be_hf && !can_be_nemo1)
    return {{convert + " OUT.safetensors", "the weights alone: the config is not one that others have"}};
  if (can_be_hf) {
    std::vector<Step> steps = {for_transformers};
    if (can_be_nemo1) steps.push_back({convert + " OUT.nemo", "a model NeMo 1 restores"});
    return steps;
  }
  if (!traits.successor.empty())
    return {{fmt::format("{} OUT --to {}", convert, traits.successor), "what NeMo 2.0 and later load"}};
  return ForNemo1(checkpoint, summary, whole, convert, trials);
}

}  // namespace

Result<std::vector<Step>> NextSteps(const Checkpoint& checkpoint, const Summary& summary, const WholeModel& whole) {
  Trials trials;
  std::vector<Step> steps = Propose(checkpoint, summary, whole, trials);
  if (!trials.failure().ok()) return trials.failure();
  return steps;
}

}  // namespace anemone::cli
