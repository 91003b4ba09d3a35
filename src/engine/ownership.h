// Ownership: whose a file is and who may read and write it, so that what replaces it is no more open and no less.
#ifndef ANEMONE_ENGINE_OWNERSHIP_H_
#define ANEMONE_ENGINE_OWNERSHIP_H_

#include <sys/stat.h>

#include <optional>
#include <string>

#include "anemone/status.h"
#include "base/directory.h"

namespace anemone {

struct Ownership {
  struct stat info = {};
  std::string access_list;   // POSIX access lists [acl(5)], as the kernel encodes them; "" for none
  std::string default_list;  // of a folder: the list of what is made in it
};

// That of a file or folder, or of what a link leads to; nullopt where nothing has the name. Errors: Io.
Result<std::optional<Ownership>> OwnershipOf(const std::string& path);

// The access of new files among several old ones: no more than each of these allows.
class CommonOwnership {
 public:
  explicit CommonOwnership(const struct stat& folder);
  void Add(const Ownership& file);
  const Ownership& value() const { return common_; }

 private:
  Ownership common_;
  bool is_first_ = true;
};

// `path` in the open folder takes over what `old` has; `is_new`: nothing had its name, and without a list its own mode
// is a limit, too. An owner that may not be given is left, and so is a group, whose rights are then those of all
// others. Errors: Io.
Status Inherit(const Directory& folder, const std::string& path, const Ownership& old, bool is_new);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_OWNERSHIP_H_
