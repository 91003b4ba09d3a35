// Scan: what a file would import, call or write when other software loads it. Nothing is executed to find out.
#ifndef ANEMONE_OPS_SCAN_H_
#define ANEMONE_OPS_SCAN_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"

namespace anemone {

enum class Danger : uint8_t {
  kInert,    // builds plain data
  kUnknown,  // imports code that is not on the inert list
  kCalls,    // a known way to run commands, code or I/O
};

struct ScanFinding {
  std::string file;   // path from the outside in
  std::string what;   // "pickle global", "config target", "config resolver", "unreadable"
  std::string name;   // "os system", "nemo.collections…MegatronCLIPModel"
  std::string where;  // config path; empty for pickles
  Danger danger = Danger::kInert;
};

// How the table judges a pickle's global ("module name").
Danger JudgeGlobal(std::string_view module_and_name);
// Likewise a config's `_target_` / `target` value.
Danger JudgeTarget(std::string_view dotted_name);

// Every finding, inert ones included, in stored order, each (file, name) once. A member that cannot be parsed is a
// finding of Danger::kUnknown, not an error. Errors: NotFound, Io.
Result<std::vector<ScanFinding>> Scan(const std::string& path);

}  // namespace anemone

#endif  // ANEMONE_OPS_SCAN_H_
