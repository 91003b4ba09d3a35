// Names that are known to be inert, and names that are known to be dangerous.
#ifndef ANEMONE_CHECK_SCAN_RULES_H_
#define ANEMONE_CHECK_SCAN_RULES_H_

#include <string_view>

#include "anemone/check.h"

namespace anemone {

// How a pickle's global ("module name") is judged. Python finds `name` by its dots, as attributes of attributes: what
// counts is the whole path, which must be on the list as it stands.
Danger JudgeGlobal(std::string_view module_and_name);
// Whether torch.load(weights_only=True) takes such a global, unless the program that calls it allows more.
bool LoadsWeightsOnly(std::string_view module_and_name);
// Likewise a config's `_target_`, `target`, `cls` or `class`.
Danger JudgeTarget(std::string_view dotted_name);
// A config value with interpolations: inert when every resolver in it only computes.
Danger JudgeResolvers(std::string_view value);

}  // namespace anemone

#endif  // ANEMONE_CHECK_SCAN_RULES_H_
