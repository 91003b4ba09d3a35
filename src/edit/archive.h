// Unpacking, packing and editing .nemo archives: members move as they are, weights by the kernel.
#ifndef ANEMONE_EDIT_ARCHIVE_H_
#define ANEMONE_EDIT_ARCHIVE_H_

#include <optional>
#include <string>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"
#include "edit/artifact.h"
#include "edit/in_place.h"
#include "engine/plan.h"

namespace anemone {

// The members of `archive` (a tar, gzipped or not; here or on a server) as files of a directory; only those in
// `members` if any are named, each a file or a directory's whole content. Errors: NotFound naming a member that is not
// there; as ReadTar.
Result<Plan> PlanExtract(const std::string& archive, const std::vector<std::string>& members);

// Everything under `directory` as a tar, in the order Python's tarfile adds a folder (names sorted, depth first).
// Errors: InvalidArgument when it holds no model_config.yaml; Unsupported for links and devices.
Result<Plan> PlanPack(const std::string& directory);

// `archive` (a .nemo, packed or not) with its config and artifacts changed; all other members, the weights among them,
// are moved untouched. Errors: Unsupported for what is not on this machine.
Result<Plan> PlanEdit(const std::string& archive, const ConfigEdit& edit);

// What an edit changes, before it is done.
struct PreparedEdit {
  NewMembers written;              // members that are new or changed, the config last
  bool removes = false;            // a member goes, too
  std::optional<Place> place;      // of the archive that was read; nullopt where it is not to be edited in place
  std::vector<std::string> notes;  // config keys that are new, with the nearest that was there
};
// Errors: as PlanEdit; with `strict` also Corrupt where the weights fit the old config and not the new one.
Result<PreparedEdit> PrepareEdit(const std::string& archive, const ConfigEdit& edit, bool strict);

// `archive` member for member, packed or as a folder; its config replaced by `config` unless that is null.
Result<Plan> PlanCopy(const std::string& archive, const Config* config, bool as_folder);

// The config of a .nemo, packed or not, here or on a server, weights unread. Errors: Corrupt without one; as ReadTar.
Result<Config> ReadStoredConfig(const std::string& archive);

}  // namespace anemone

#endif  // ANEMONE_EDIT_ARCHIVE_H_
