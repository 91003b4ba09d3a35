#include "engine/ownership.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/descriptor.h"
#include "base/little_endian.h"
#include "base/sys.h"

namespace anemone {
namespace {

constexpr const char* kAccess = "system.posix_acl_access";
constexpr const char* kDefault = "system.posix_acl_default";

// Nothing of the name, or a file system that has no lists.
bool IsNone(int error) { return error == ENODATA || error == EOPNOTSUPP || error == ENOSYS; }

Result<std::string> ListOf(const std::string& path, const char* name) {
  char text[1 << 16];  // the kernel's limit
  const ssize_t size = sys.getxattr(path.c_str(), name, text, sizeof text);
  if (size < 0 && !IsNone(errno)) return ErrnoStatus(errno, "cannot read the access list").In(path);
  return size < 0 ? std::string() : std::string(text, static_cast<size_t>(size));
}

bool SetList(int fd, const char* name, const std::string& list) {
  return sys.fsetxattr(fd, name, list.data(), list.size()) == 0 || (list.empty() && IsNone(errno));
}

Result<Descriptor> OpenToInherit(const Directory& folder, const std::string& path) {
  Descriptor file(sys.openat(folder.fd(), path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0));
  if (!file.is_open()) return ErrnoStatus(errno, "cannot open").In(folder.path() + "/" + path);
  return file;
}

// The mode of a file once its list is removed. Until then the list's mask is in place of the group's rights.
mode_t ModeWithoutList(const Ownership& file) {
  constexpr size_t kHeader = 4, kEntry = 8, kWord = 2;  // struct posix_acl_xattr_entry: tag, permissions, id
  constexpr uint64_t kGroup = 0x04;                     // ACL_GROUP_OBJ
  mode_t mode = file.info.st_mode;
  for (size_t at = kHeader; at + kEntry <= file.access_list.size(); at += kEntry) {
    const std::string_view entry = std::string_view(file.access_list).substr(at, kEntry);
    if (internal::LittleEndian(entry.substr(0, kWord)) != kGroup) continue;
    const auto rights = static_cast<mode_t>(internal::LittleEndian(entry.substr(kWord, kWord)));
    mode &= ~static_cast<mode_t>(S_IRWXG) | (rights << 3);
  }
  return mode;
}

}  // namespace

Result<std::optional<Ownership>> OwnershipOf(const std::string& path) {
  Ownership found;
  if (sys.stat(path.c_str(), &found.info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<Ownership>();
    return ErrnoStatus(errno, "cannot stat").In(path);
  }
  ANEMONE_ASSIGN(found.access_list, ListOf(path, kAccess));
  if (S_ISDIR(found.info.st_mode)) {
    ANEMONE_ASSIGN(found.default_list, ListOf(path, kDefault));
  }
  return std::optional(std::move(found));
}

CommonOwnership::CommonOwnership(const struct stat& folder) {
  common_.info = folder;
  common_.info.st_mode = 07777;
}

void CommonOwnership::Add(const Ownership& file) {
  common_.info.st_mode &= file.info.st_mode | S_IRUSR | S_IWUSR;
  if (is_first_) common_.access_list = file.access_list;
  is_first_ = false;
  if (common_.access_list == file.access_list) return;
  // The group's bits of a file with a list are the list's mask, not the group's rights.
  common_.access_list.clear();
  common_.info.st_mode &= ~static_cast<mode_t>(S_IRWXG);
}

Status Inherit(const Directory& folder, const std::string& path, const Ownership& old, Access access) {
  ANEMONE_ASSIGN(const Descriptor file, OpenToInherit(folder, path));
  const int fd = file.get();
  ANEMONE_ASSIGN(const std::optional<Ownership> made, OwnershipOf(folder.path() + "/" + path));
  if (!made) return ErrnoStatus(ENOENT, "cannot stat").In(folder.path() + "/" + path);
  const struct stat& info = made->info;
  const bool is_limited = access == Access::kAtMostOld && old.access_list.empty();
  mode_t mode = access == Access::kAsMade ? info.st_mode : old.info.st_mode;
  if (is_limited) mode &= ModeWithoutList(*made);
  mode &= 07777;
  bool has_group = info.st_gid == old.info.st_gid;
  const bool is_owned = info.st_uid == old.info.st_uid && has_group;
  bool done = true;
  if (!is_owned && sys.fchown(fd, old.info.st_uid, old.info.st_gid) != 0) {
    done = errno == EPERM;
    mode &= 0777;  // nothing runs as another than whom it was meant to
    // Of its members, a group may be given.
    has_group = has_group || (done && sys.fchown(fd, static_cast<uid_t>(-1), old.info.st_gid) == 0);
    done = done && (has_group || errno == EPERM);
    if (!has_group) mode = (mode & ~static_cast<mode_t>(S_IRWXG)) | (mode & (mode << 3) & S_IRWXG);
  } else {
    has_group = true;
  }
  const std::string& wanted = access == Access::kAsMade ? made->access_list : old.access_list;
  const std::string access_list = has_group ? wanted : std::string();
  done = done && SetList(fd, kAccess, access_list);
  if (done && S_ISDIR(info.st_mode)) done = SetList(fd, kDefault, old.default_list);
  // A list sets the mode, too.
  if (done && ((info.st_mode & 07777) != mode || !access_list.empty())) done = sys.fchmod(fd, mode) == 0;
  // Some file systems have nothing to sync in a directory and say so.
  done = done && (sys.fsync(fd) == 0 || (S_ISDIR(info.st_mode) && errno == EINVAL));
  return done ? Status() : ErrnoStatus(errno, "cannot keep mode and owner");
}

Status InheritDefault(const Directory& folder, const std::string& path, const std::string& default_list) {
  ANEMONE_ASSIGN(const Descriptor file, OpenToInherit(folder, path));
  return SetList(file.get(), kDefault, default_list) ? Status() : ErrnoStatus(errno, "cannot keep the access list");
}

}  // namespace anemone
