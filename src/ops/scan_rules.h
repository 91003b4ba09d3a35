// ScanRules: which names are known to be inert and which are known to be dangerous.
#ifndef ANEMONE_OPS_SCAN_RULES_H_
#define ANEMONE_OPS_SCAN_RULES_H_

#include <cstdint>
#include <string_view>

namespace anemone {

enum class Danger : uint8_t {
  kInert,      // builds plain data or a part of a model
  kUnknown,    // code that is not on the inert list, or something that was not looked into
  kDangerous,  // a known way to run commands, code or I/O
};

// How a pickle's global ("module name") is judged. Python finds `name` by its dots, as attributes of attributes: what
// counts is the whole path, which must be on the list as it stands.
Danger JudgeGlobal(std::string_view module_and_name);
// Likewise a config's `_target_`, `target`, `cls` or `class`.
Danger JudgeTarget(std::string_view dotted_name);
// A config value with interpolations: inert when every resolver in it only computes.
Danger JudgeResolvers(std::string_view value);

}  // namespace anemone

#endif  // ANEMONE_OPS_SCAN_RULES_H_
