// Artifacts as NeMo names them: "<32 hex>_<base name>", referred to from the config as "nemo:" of that
// [NeMo nemo/core/connectors/save_restore_connector.py, register_artifact].
#ifndef ANEMONE_OPS_ARTIFACT_H_
#define ANEMONE_OPS_ARTIFACT_H_

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

// The artifact a config value refers to; nullptr when the value is none or the artifact is missing.
const Artifact* FollowReference(const ConfigNode* value, const std::vector<Artifact>& artifacts);

// The name NeMo gives such a member: 32 hex digits, here of its content, before its own name. Errors: as reading.
Result<std::string> MemberName(const ByteRange& content, const std::string& name);

}  // namespace anemone

#endif  // ANEMONE_OPS_ARTIFACT_H_
