// The tensors of a Stable Diffusion by the names of single files, whoever stored them.
#ifndef ANEMONE_FAMILY_DIFFUSION_STORED_NAMES_H_
#define ANEMONE_FAMILY_DIFFUSION_STORED_NAMES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string_view>

#include "anemone/checkpoint.h"

namespace anemone {

// Before the names of each part, as single files have them.
inline constexpr std::string_view kUnetNames = "model.diffusion_model.", kVaeNames = "first_stage_model.",
                                  kTextNames = "cond_stage_model.", kControlNames = "control_model.";
// The same of pipelines of diffusers, where the names behind it are their own, and of NeMo's DreamBooth.
inline constexpr std::string_view kPipelineText = "text_encoder.";

class StoredNames {
 public:
  explicit StoredNames(const Checkpoint& checkpoint);
  // Of an axis; 0 where there is no such tensor, or no such axis.
  uint64_t Size(std::string_view part, std::string_view name, size_t axis) const;
  // The number of its axes; 0 where there is no such tensor.
  size_t Rank(std::string_view part, std::string_view name) const;
  bool Has(std::string_view part) const;
  // Counts those in a row whose names have their number in place of {}.
  uint64_t Count(std::string_view part, std::string_view pattern) const;
  bool has_schedule() const { return has_schedule_; }
  bool has_scale() const { return has_scale_; }

 private:
  std::map<std::string_view, const Tensor*, std::less<>> tensors_;
  bool has_schedule_ = false, has_scale_ = false;
};

// A text encoder's flag among the symbols, and how it spells what tells its sizes.
struct TextKind {
  std::string_view flag, tokens, positions, up, projection;
  size_t projection_axis = 0;
  std::string_view part = kTextNames;
};
// nullptr: none is stored.
const TextKind* TextKindOf(const StoredNames& names);
// All of them.
std::span<const TextKind> TextKinds();

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_STORED_NAMES_H_
