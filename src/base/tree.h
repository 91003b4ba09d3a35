// ListDirectory, ListTree, KindOf: what is in a folder. std::filesystem's iterators end the process where memory runs
// out.
#ifndef ANEMONE_BASE_TREE_H_
#define ANEMONE_BASE_TREE_H_

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "anemone/status.h"

namespace anemone {

// The names in a folder, or in the one that a link points at, sorted. Errors: NotFound, InvalidArgument, Io.
Result<std::vector<std::string>> ListDirectory(const std::string& path);

// The kind of what a path leads to, links followed; kNothing: no such name. Errors: as CannotOpen, of all other
// reasons.
enum class PathKind : uint8_t { kNothing, kFile, kFolder, kOther };
Result<PathKind> KindOf(const std::string& path);

// One file or folder below a folder. A listing has a folder before its content; links to folders are not followed.
struct TreeEntry {
  std::string name;  // relative to the folder
  struct stat info;  // of what a link points at, where there is such a thing
};
// A folder below `path` that cannot be listed goes to `on_closed`, by its relative name, and ends the listing where
// there is none. Errors: as ListDirectory; LimitExceeded above `max_entries`; those of `visit` and `on_closed`.
using ClosedVisitor = std::function<Status(const std::string& folder, const Status& why)>;
Status ForEachInTree(const std::string& path, size_t max_entries, const std::function<Status(TreeEntry)>& visit,
                     const ClosedVisitor& on_closed = {});
Result<std::vector<TreeEntry>> ListTree(const std::string& path);

}  // namespace anemone

#endif  // ANEMONE_BASE_TREE_H_
