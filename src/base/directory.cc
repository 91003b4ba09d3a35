#include "base/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>

#include "base/sys.h"

namespace anemone {

Status CannotOpen(int error_number) {
  Status status = ErrnoStatus(error_number, "cannot open");
  switch (error_number) {
    case EACCES:
      return {ErrorKind::kNotFound, status.error().what, "ls -ld shows who may read it and the folders above it"};
    case ENOTDIR:
      return {ErrorKind::kNotFound, status.error().what, std::string(kFileAmongFolders)};
    case ELOOP:
    case ENAMETOOLONG:
      return {ErrorKind::kNotFound, status.error().what};
    default:
      return status;
  }
}

Status CannotOpen(const std::string& path, int error_number) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  if (error_number != ENOENT || error) return CannotOpen(error_number).In(path);
  return NotFound("a link to " + target.string() + ", which is not there").In(path);
}

namespace {

// As the user knows it: "a", where "a//." is opened to follow a link.
std::string Shown(std::string_view path) {
  if (path.ends_with("/.")) path.remove_suffix(1);
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::string(path);
}

}  // namespace

Result<Directory> Directory::Open(std::string path) {
  Descriptor directory(sys.open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0));
  if (!directory.is_open()) {
    const int error = errno;
    if (error == ELOOP || error == ENOTDIR)
      return InvalidArgument("expected a directory, found a link or a file").In(Shown(path));
    return CannotOpen(error).In(Shown(path));
  }
  return Directory(std::move(directory), std::move(path));
}

Result<Directory> Directory::OpenOwn(std::string path) {
  const std::string hint = "its content is not trusted: look at it, then remove it, or write to another folder";
  const auto of_another = [&hint](std::string_view place) -> Status {
    return InvalidArgument("expected a directory of this user, found another's", hint).In(Shown(place));
  };
  struct stat info;
  // One that is closed to this user cannot be opened.
  if (sys.lstat(path.c_str(), &info) == 0 && info.st_uid != geteuid()) return of_another(path);
  ANEMONE_ASSIGN(Directory directory, Open(std::move(path)));
  if (sys.fstat(directory.fd(), &info) != 0) return ErrnoStatus(errno, "cannot stat").In(directory.path());
  if (info.st_uid != geteuid()) return of_another(directory.path());
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return InvalidArgument("expected a directory that only its owner writes to, found one open to others", hint)
        .In(directory.path());
  return directory;
}

Result<Descriptor> Directory::OpenFile(const std::string& name, int flags) const {
  // O_NONBLOCK: a pipe of that name must be refused rather than waited for.
  Descriptor file(sys.openat(fd(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666));
  if (!file.is_open()) {
    const int error = errno;
    if (error == ELOOP) return InvalidArgument("expected a file, found a symbolic link").In(path_ + "/" + name);
    return ErrnoStatus(error, "cannot open").In(path_ + "/" + name);
  }
  struct stat info;
  if (sys.fstat(file.get(), &info) != 0) return ErrnoStatus(errno, "cannot stat").In(path_ + "/" + name);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("expected a regular file").In(path_ + "/" + name);
  return file;
}

Result<std::vector<std::string>> Directory::List() const {
  // A descriptor of its own: closedir closes it, and two listings do not share a position.
  const int fd = sys.openat(this->fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(fd < 0 ? nullptr : fdopendir(fd), closedir);
  if (stream == nullptr) {
    const int error = errno;
    if (fd >= 0) sys.close(fd);
    return ErrnoStatus(error, "cannot list").In(Shown(path_));
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) return ErrnoStatus(errno, "cannot list").In(Shown(path_));
  std::ranges::sort(names);
  return names;
}

bool Directory::IsAt(const std::string& path) const {
  struct stat here, there;
  return sys.fstat(fd(), &here) == 0 && sys.lstat(path.c_str(), &there) == 0 && here.st_ino == there.st_ino &&
         here.st_dev == there.st_dev;
}

}  // namespace anemone
