#include "base/tree.h"

#include <cerrno>
#include <utility>

#include "base/directory.h"
#include "base/sys.h"

namespace anemone {

Result<std::vector<std::string>> ListDirectory(const std::string& path) {
  const Result<Directory> directory = Directory::Open(path + "/.");
  return directory.ok() ? directory->List() : directory.status();
}

Result<PathKind> KindOf(const std::string& path) {
  struct stat info;
  if (sys.stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG) return PathKind::kNothing;
    return CannotOpen(errno).In(path);
  }
  return S_ISREG(info.st_mode) ? PathKind::kFile : S_ISDIR(info.st_mode) ? PathKind::kFolder : PathKind::kOther;
}

Status ForEachInTree(const std::string& path, size_t max_entries, const std::function<Status(TreeEntry)>& visit,
                     const ClosedVisitor& on_closed) {
  size_t count = 0;
  const std::string inside = path + "/";
  std::vector<std::string> folders = {""};  // still to be listed, each ends in '/'
  while (!folders.empty()) {
    const std::string folder = std::move(folders.back());
    folders.pop_back();
    const Result<std::vector<std::string>> names = ListDirectory(inside + folder);
    if (!names.ok()) {
      if (folder.empty() || !on_closed) return names.status();
      ANEMONE_TRY(on_closed(folder.substr(0, folder.size() - 1), names.status()));
      continue;
    }
    for (const std::string& name : *names) {
      if (count >= max_entries)
        return LimitExceeded("expected at most " + std::to_string(max_entries) + " files").In(path);
      TreeEntry entry;
      entry.name.reserve(folder.size() + name.size());  // a sum takes room for more
      entry.name.append(folder).append(name);
      const std::string full = inside + entry.name;
      if (sys.lstat(full.c_str(), &entry.info) != 0) {
        if (errno == ENOENT) continue;  // it went meanwhile
        return ErrnoStatus(errno, "cannot look at").In(full);
      }
      struct stat target;
      if (S_ISDIR(entry.info.st_mode)) {
        folders.push_back(entry.name + "/");
      } else if (S_ISLNK(entry.info.st_mode)) {
        const bool has_target = sys.stat(full.c_str(), &target) == 0;
        if (!has_target && errno != ENOENT && errno != ELOOP && errno != ENOTDIR && errno != EACCES)
          return ErrnoStatus(errno, "cannot follow").In(full);
        if (has_target && !S_ISDIR(target.st_mode)) entry.info = target;
      }
      ++count;
      ANEMONE_TRY(visit(std::move(entry)));
    }
  }
  return {};
}

Result<std::vector<TreeEntry>> ListTree(const std::string& path) {
  std::vector<TreeEntry> entries;
  ANEMONE_TRY(ForEachInTree(path, SIZE_MAX, [&](TreeEntry entry) -> Status {
    entries.push_back(std::move(entry));
    return {};
  }));
  return entries;
}

}  // namespace anemone
