// What --set, --unset and --artifact do to a config and its files.
#ifndef ANEMONE_EDIT_ARTIFACT_H_
#define ANEMONE_EDIT_ARTIFACT_H_

#include <string>
#include <utility>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// What --set, --unset and --artifact ask for.
struct ConfigEdit {
  std::vector<std::pair<std::string, std::string>> set;  // path → value as ParseOverrideValue reads it
  std::vector<std::string> unset;
  std::vector<std::pair<std::string, std::string>> artifacts;  // config path → file that becomes its artifact
  bool empty() const { return set.empty() && unset.empty() && artifacts.empty(); }
};

// Applies `edit`: new artifacts are appended, one that a config path referred to before is removed.
// Errors: NotFound (a file, a key to unset), InvalidArgument (a value or path that makes no sense), each naming the
// key.
Status ApplyEdit(const ConfigEdit& edit, Config& config, std::vector<Artifact>& artifacts);

}  // namespace anemone

#endif  // ANEMONE_EDIT_ARTIFACT_H_
