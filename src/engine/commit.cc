#include "engine/commit.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>

#include "base/sys.h"

namespace anemone {
namespace {

Status CannotCreate(int error_number, const std::string& path) {
  const Status status = ErrnoStatus(error_number, "cannot create");
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case EROFS:
    case ENAMETOOLONG:
      return Status(ErrorKind::kCannotCreate, status.error().what).In(path);
    default:
      return status.In(path);
  }
}

std::string FolderName(const std::string& name, bool keep) {
  if (keep) return "." + name.substr(0, 230) + ".anemone-resume";
  uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) random = reinterpret_cast<uintptr_t>(&random);
  char suffix[80];
  std::snprintf(suffix, sizeof suffix, ".anemone-%ld-%016llx.tmp", static_cast<long>(getpid()),
                static_cast<unsigned long long>(random));
  return "." + name.substr(0, 180) + suffix;  // a name has at most 255 bytes
}

bool Contains(const std::filesystem::path& directory, const std::filesystem::path& path) {
  const auto [end, unused] = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return end == directory.end();
}

}  // namespace

Status SyncDirectory(const std::string& path) {
  const int fd = sys.open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return ErrnoStatus(errno, "cannot open to sync").In(path);
  const int result = sys.fsync(fd);
  const int error = errno;
  sys.close(fd);
  // Some file systems have nothing to sync in a directory and say so.
  return result == 0 || error == EINVAL ? Status() : ErrnoStatus(error, "cannot sync").In(path);
}

Result<std::unique_ptr<Staging>> Staging::Create(const Plan& plan, const std::string& destination, bool replace,
                                                 bool keep, uint64_t needed_bytes) {
  std::unique_ptr<Staging> staging(new Staging);
  staging->shown_ = destination;
  staging->is_directory_ = plan.is_directory;
  staging->replace_ = replace;
  staging->keep_ = keep;
  staging->output_bytes_ = plan.bytes_written();

  std::string path = destination;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (path.empty()) return InvalidArgument("expected the name of an output, found nothing");
  struct stat info;
  std::error_code error;
  if (sys.lstat(path.c_str(), &info) == 0) {
    if (!replace) {
      return Status(ErrorKind::kAlreadyExists, "already exists", "--force replaces it").In(destination);
    }
    if (S_ISLNK(info.st_mode)) {  // what it points at is replaced, not the link
      path = std::filesystem::canonical(path, error).string();
      if (error || sys.lstat(path.c_str(), &info) != 0)
        return Status(ErrorKind::kCannotCreate, "is a symbolic link to nothing").In(destination);
    }
    const bool fits = plan.is_directory ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode);
    if (!fits) {
      return Status(ErrorKind::kAlreadyExists, plan.is_directory
                                                   ? "expected a directory to replace, found something else"
                                                   : "expected a file to replace, found something else")
          .In(destination);
    }
    if (plan.is_directory) {
      const std::filesystem::path whole = std::filesystem::canonical(path, error);
      const std::filesystem::path here = std::filesystem::current_path(error);
      if (error || Contains(whole, here))
        return InvalidArgument("expected a directory to replace, found the one we are in").In(destination);
    }
    staging->exists_ = true;
  } else if (errno != ENOENT) {
    return CannotCreate(errno, destination);
  }
  const size_t slash = path.rfind('/');
  const std::string name = slash == path.npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..")
    return InvalidArgument("expected the name of an output").In(destination);
  staging->destination_ = path;
  staging->parent_ = slash == path.npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  staging->folder_ = (slash == path.npos ? "" : path.substr(0, slash + 1)) + FolderName(name, keep);
  staging->output_ = staging->folder_ + "/output";

  if (sys.lstat((staging->parent_ + "/.").c_str(), &info) != 0)
    return CannotCreate(errno, destination).Hint("its folder is made by hand: mkdir -p '" + staging->parent_ + "'");
  // A folder without an output was left by a run that died before it began, or after it had committed.
  const bool goes_on = keep && sys.lstat(staging->output_.c_str(), &info) == 0;
  if (keep && !goes_on) sys.remove_all(staging->folder_.c_str());
  uint64_t free_bytes = 0;
  if (sys.free_bytes(staging->parent_.c_str(), &free_bytes) == 0) {
    staging->free_bytes_ = free_bytes;
    if (!goes_on && free_bytes < needed_bytes) return staging->WriteError(ENOSPC, "");
  }

  if (!goes_on && sys.mkdir(staging->folder_.c_str(), 0777) != 0) return CannotCreate(errno, destination);
  staging->made_ = true;
  return staging;
}

Status Staging::MakeOutput(const Plan& plan) {
  if (!is_directory_) {
    ANEMONE_ASSIGN(const int fd, OpenFile("", plan.files.front().size));
    sys.close(fd);
  } else {
    std::set<std::string> directories = {""};
    for (const PlanFile& file : plan.files) {
      for (size_t at = file.path.find('/'); at != file.path.npos; at = file.path.find('/', at + 1))
        directories.insert(file.path.substr(0, at));
    }
    for (const std::string& empty : plan.empty_directories) {
      for (size_t at = empty.find('/'); at != empty.npos; at = empty.find('/', at + 1))
        directories.insert(empty.substr(0, at));
      directories.insert(empty);
    }
    for (const std::string& directory : directories) {  // sorted: parents come first
      std::string made = output_ + (directory.empty() ? "" : "/" + directory);
      if (sys.mkdir(made.c_str(), 0777) != 0 && !(keep_ && errno == EEXIST)) return CannotCreate(errno, shown_);
      directories_.push_back(std::move(made));
    }
  }
  if (!keep_) return {};
  // What the journal speaks of is there before it does.
  for (const std::string& made : directories_) ANEMONE_TRY(SyncDirectory(made).In(shown_));
  ANEMONE_TRY(SyncDirectory(folder_).In(shown_));
  return SyncDirectory(parent_).In(shown_);
}

std::unique_ptr<Staging> Staging::Join(const std::string& destination, const std::string& folder) {
  std::unique_ptr<Staging> staging(new Staging);
  staging->shown_ = destination;
  staging->parent_ = folder;
  staging->folder_ = folder;
  staging->output_ = folder + "/output";
  return staging;
}

Staging::~Staging() {
  if (made_ && !keep_) sys.remove_all(folder_.c_str());
}

Result<int> Staging::OpenFile(const std::string& path, uint64_t size) const {
  const std::string full = path.empty() ? output_ : output_ + "/" + path;
  // Never for reading: an NFS client that has read a page writes all of it back, over what another rank wrote there.
  const int fd = sys.open(full.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) {
    const int error = errno;
    const Status status = CannotCreate(error, path.empty() ? shown_ : shown_ + "/" + path);
    return made_ || error != ENOENT ? status : status.Hint("all ranks must share the file system it is written to");
  }
  if (sys.ftruncate(fd, static_cast<off_t>(size)) != 0) {
    const Status status = WriteError(errno, path);
    sys.close(fd);
    return status;
  }
  return fd;
}

Status Staging::Holds(const std::string& path, uint64_t size) const {
  const std::string full = path.empty() ? output_ : output_ + "/" + path;
  struct stat info;
  if (sys.lstat(full.c_str(), &info) == 0 && S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) == size)
    return {};
  return Corrupt("cannot resume: expected the file that an earlier run wrote", "rm -r '" + folder_ + "' begins anew")
      .In(full);
}

Status Staging::WriteError(int error_number, const std::string& path) const {
  Status status = ErrnoStatus(error_number, "cannot write").In(path.empty() ? shown_ : shown_ + "/" + path);
  if ((error_number == ENOSPC || error_number == EDQUOT) && free_bytes_) {
    status = status.Hint("the output has " + std::to_string(output_bytes_) + " bytes, " + std::to_string(*free_bytes_) +
                         " were free in " + parent_);
  }
  return status;
}

Status Staging::Commit() {
  for (size_t i = directories_.size(); i-- > 0;) ANEMONE_TRY(SyncDirectory(directories_[i]).In(shown_));
  const auto move = [&](const std::string& from, const std::string& to, unsigned flags) {
    return sys.rename(from.c_str(), to.c_str(), flags) == 0;
  };
  // What a journal speaks of is not called that any more once it may be something else.
  const std::string output = keep_ ? folder_ + "/whole" : output_;
  if (keep_ && !move(output_, output, 0)) return ErrnoStatus(errno, "cannot rename").In(shown_);
  bool moved = false;
  if (!exists_) {
    moved = move(output, destination_, RENAME_NOREPLACE);
    if (!moved && (errno == EINVAL || errno == ENOSYS)) {
      // A file system without the flag. Looking first leaves a moment in between; nothing better is to be had there.
      struct stat info;
      if (!replace_ && sys.lstat(destination_.c_str(), &info) == 0) {
        errno = EEXIST;
      } else {
        moved = move(output, destination_, 0);
      }
    } else if (!moved && errno == EEXIST && replace_ && !is_directory_) {
      moved = move(output, destination_, 0);
    }
  } else if (!is_directory_) {
    moved = move(output, destination_, 0);
  } else if (move(output, destination_, RENAME_EXCHANGE)) {
    moved = true;  // and the old one lies in the folder
  } else if (errno == EINVAL || errno == ENOSYS) {
    const std::string old = folder_ + ".old";
    if (move(destination_, old, 0)) {
      moved = move(output, destination_, 0);
      const int error = errno;
      if (moved) {
        sys.remove_all(old.c_str());
      } else {
        move(old, destination_, 0);
        errno = error;
      }
    }
  }
  if (!moved) {
    const int error = errno;
    if (keep_) move(output, output_, 0);
    if (!exists_ && error == EEXIST) {
      return Status(ErrorKind::kAlreadyExists, "already exists", "it appeared meanwhile; --force replaces it")
          .In(shown_);
    }
    return ErrnoStatus(error, "cannot rename into place").In(shown_);
  }
  keep_ = false;  // what is left in the folder goes with this object
  return SyncDirectory(parent_).In(shown_);
}

}  // namespace anemone
