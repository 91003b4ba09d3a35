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
  bool has_files() const { return !is_first_; }

 private:
  Ownership common_;
  bool is_first_ = true;
};

// Where the mode and the access list of an output's file come from.
enum class Access {
  kAsOld,      // the old one's
  kAtMostOld,  // the old one's; where that has no list, the file's own mode is a limit, too
  kAsMade,     // the file keeps what it was made with
};

// `path` in the open folder takes over the owner and access of `old`. An owner that may not be given is left, and so is
// a group, whose rights are then those of all others. Errors: Io.
Status Inherit(const Directory& folder, const std::string& path, const Ownership& old, Access access);

// Files that are made in `path`, a folder in the open one, get `default_list`; "": the mode alone. Errors: Io.
Status InheritDefault(const Directory& folder, const std::string& path, const std::string& default_list);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_OWNERSHIP_H_
