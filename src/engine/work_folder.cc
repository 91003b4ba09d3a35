#include "engine/work_folder.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <span>
#include <utility>

#include "base/cancel.h"
#include "base/crc32.h"
#include "base/directory.h"
#include "base/read_at_most.h"
#include "base/removal.h"
#include "base/shell_word.h"
#include "base/sys.h"
#include "base/tree.h"

namespace anemone {
namespace {

constexpr std::string_view kMark = ".anemone-", kTemporary = "tmp", kResume = "resume", kOld = "old", kDead = ".tmp";
constexpr const char* kLock = "lock";
constexpr size_t kMaxName = 190;  // a name has at most 255 bytes

// Different names stay different where they are too long to be kept.
std::string Shortened(const std::string& name) {
  if (name.size() <= kMaxName) return name;
  char crc[16];
  std::snprintf(crc, sizeof crc, "~%08x", Crc32(0, std::as_bytes(std::span(name))));
  return name.substr(0, kMaxName) + crc;
}

std::string FolderName(const std::string& name, std::string_view kind) {
  return "." + Shortened(name) + std::string(kMark) + std::string(kind);
}

std::string DeadName(const std::string& name) {
  uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) random = reinterpret_cast<uintptr_t>(&random);
  char kind[64];
  std::snprintf(kind, sizeof kind, "%ld-%016llx.tmp", static_cast<long>(getpid()),
                static_cast<unsigned long long>(random));
  return FolderName(name, kind);
}

Status Busy(const std::string& path) {
  return Status(ErrorKind::kCannotCreate, "another run is writing it", "wait until that run has ended").In(path);
}

// The error where locking fails, and a living run may have the folder.
Status CannotLock(int error_number, const std::string& path) {
  const Status status = ErrnoStatus(error_number, "another run may be writing it: cannot lock its file 'lock'");
  return (error_number == EIO ? status : status.As(ErrorKind::kCannotCreate))
      .Hint("if none is, rm -r " + ShellWord(path))
      .In(path);
}

// Whether a living run has the folder.
Result<bool> IsTaken(const Directory& folder) {
  const Result<Descriptor> lock = folder.OpenFile(kLock, O_RDWR);
  if (IsReadFailure(lock.status())) return lock.status();
  if (!lock.ok() || sys.flock(lock->get(), LOCK_EX | LOCK_NB) == 0) return false;
  if (errno == EWOULDBLOCK) return true;
  return CannotLock(errno, folder.path());
}

// A replaced folder may be open to others, but it is this user's.
Result<Directory> OpenLeftover(const std::string& path) {
  ANEMONE_ASSIGN(Directory folder, Directory::Open(path));
  struct stat info;
  if (sys.fstat(folder.fd(), &info) != 0) return ErrnoStatus(errno, "cannot stat").In(path);
  if (info.st_uid != geteuid()) return InvalidArgument("expected a folder of this user, found another's").In(path);
  return folder;
}

// Removes what runs for the output `name` were removing when they died.
void RemoveDead(const std::string& parent, const std::string& name) {
  const Result<std::vector<Leftover>> leftovers = FindLeftovers(parent);
  if (!leftovers.ok()) return;
  const std::string beginning = FolderName(name, "");
  for (const Leftover& leftover : *leftovers) {
    const bool is_dead = leftover.name.starts_with(beginning) && leftover.name.ends_with(kDead);
    if (is_dead) static_cast<void>(RemoveLeftover(parent, leftover));  // what stays is in nobody's way
  }
}

}  // namespace

Result<bool> IsThere(const std::string& path) {
  struct stat info;
  if (sys.lstat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT) return false;
  return ErrnoStatus(errno, "cannot look at").In(path);
}

Status CannotCreate(int error_number, const std::string& path) {
  const Status status = ErrnoStatus(error_number, "cannot create");
  switch (error_number) {
    case ENOTDIR:
      return Status(ErrorKind::kCannotCreate, status.error().what, std::string(kFileAmongFolders)).In(path);
    case EACCES:
    case EPERM:
    case EROFS:
      return Status(ErrorKind::kCannotCreate, status.error().what, "write to a folder in which you may create files")
          .In(path);
    case ENOENT:
    case ENAMETOOLONG:
      return Status(ErrorKind::kCannotCreate, status.error().what).In(path);
    default:
      return status.In(path);
  }
}

std::string OldFolderName(const std::string& name) { return FolderName(name, kOld); }

Result<WorkFolder> WorkFolder::Acquire(const std::string& parent, const std::string& name, bool keep) {
  const std::string path = parent + "/" + FolderName(name, keep ? kResume : kTemporary);
  RemoveDead(parent, name);
  Status last = Busy(path);
  constexpr int kAttempts = 20;  // another run may be removing it, again and again
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    WorkFolder folder;
    folder.path_ = path;
    folder.dead_ = {parent + "/" + DeadName(name)};
    std::string to_open = path;  // without memory, what is made below would stay
    const bool made = sys.mkdir(path.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) return CannotCreate(errno, path);
    Result<Directory> directory = made ? Directory::Open(std::move(to_open)) : Directory::OpenOwn(std::move(to_open));
    Status status = directory.status();
    if (status.ok()) {
      folder.directory_ = *std::move(directory);
      status = folder.Lock(made);
    }
    // Removed by its run, or by `clean`, before it was locked.
    const bool is_gone = status.ok() ? !folder.directory_.IsAt(path) : status.kind() == ErrorKind::kNotFound;
    if (is_gone) {
      const Result<bool> is_there = IsThere(path);
      if (is_there.ok() && *is_there) last = status.ok() ? Busy(path) : status;  // this user's, and closed to him
      continue;
    }
    if (status.ok() && !made && !keep) status = folder.Clear();
    if (status.ok()) return folder;
    // What was made here goes again, unless another run has taken it in the moment before it was locked.
    if (made && status.kind() != ErrorKind::kCannotCreate) folder.Remove();
    return status;
  }
  return last;
}

// Of a folder that was `made` just now there is no doubt whose it is, even where files cannot be locked.
Status WorkFolder::Lock(bool made) {
  ANEMONE_ASSIGN(lock_, directory_.OpenFile(kLock, O_RDWR | O_CREAT));
  if (sys.flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) return {};
  const int error = errno;
  if (error != EWOULDBLOCK && made) return {};
  lock_.Close();
  return error == EWOULDBLOCK ? Busy(path_) : CannotLock(error, path_);
}

Result<WorkFolder> WorkFolder::Join(const std::string& path) {
  WorkFolder folder;
  ANEMONE_ASSIGN(folder.directory_, Directory::OpenOwn(path));
  folder.path_ = path;
  return folder;
}

// The owner is compared with the folder's: some network file systems give every file to another user.
Status WorkFolder::CheckContent() const {
  struct stat own, info;
  if (sys.fstat(directory_.fd(), &own) != 0) return ErrnoStatus(errno, "cannot stat").In(path_);
  return ForEachInTree(path_, SIZE_MAX, [&](const TreeEntry& entry) -> Status {
    const std::string path = path_ + "/" + entry.name;
    if (sys.lstat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "cannot look at").In(path);
    const bool is_file = S_ISREG(info.st_mode) && info.st_nlink == 1;
    if ((is_file || S_ISDIR(info.st_mode)) && info.st_uid == own.st_uid) return {};
    return InvalidArgument(
               "expected a file of an earlier run's own, found a link, a pipe, a device or another user's file",
               "its content is not trusted: look at it; rm -r " + ShellWord(path_) + " begins anew")
        .In(path);
  });
}

Status WorkFolder::Clear() {
  ANEMONE_ASSIGN(const std::vector<std::string> left, directory_.List());
  for (const std::string& name : left) {
    const std::string path = path_ + "/" + name;
    if (name != kLock && sys.remove_all(path.c_str()) != 0) return ErrnoStatus(errno, "cannot remove").In(path);
  }
  return {};
}

void WorkFolder::Remove() {
  if (!is_open()) return;
  // Another run may have the name from here on; the lock can go before the folder does.
  std::string& dead = dead_.front();
  const bool moved =
      sys.rename(path_.c_str(), dead.c_str(), RENAME_NOREPLACE) == 0 || sys.rename(path_.c_str(), dead.c_str(), 0) == 0;
  lock_.Close();
  directory_ = {};
  if (!moved) dead.swap(path_);
  RemoveOnceClosed(dead_);
  path_.clear();
}

Result<std::vector<Leftover>> FindLeftovers(const std::string& directory) {
  ANEMONE_ASSIGN(const Directory folder, Directory::Open(directory + "/."));
  ANEMONE_ASSIGN(const std::vector<std::string> names, folder.List());
  std::vector<Leftover> found;
  const std::string inside = directory + "/";
  for (const std::string& name : names) {
    const size_t mark = name.rfind(kMark);
    if (!name.starts_with('.') || mark == name.npos || mark < 2) continue;
    const std::string kind = name.substr(mark + kMark.size());
    Leftover leftover{.name = name, .is_resumable = kind == kResume, .restores = ""};
    const bool is_dead = kind.ends_with(kDead) && kind.find('-') != kind.npos;  // its run had given it up
    if (kind != kTemporary && kind != kResume && kind != kOld && !is_dead) continue;
    if (IsToBeRemoved(name)) continue;
    const std::string path = inside + name;
    const auto is_taken = [](const Result<Directory>& run) -> Result<bool> {
      if (IsReadFailure(run.status())) return run.status();
      return run.ok() ? IsTaken(*run) : Result<bool>(false);
    };
    const Result<Directory> own = OpenLeftover(path);
    ANEMONE_ASSIGN(const bool is_living, is_taken(own));
    if (!own.ok() || is_living) continue;
    if (kind == kOld) {
      const std::string output = name.substr(1, mark - 1);
      // The run that moved it away may be about to put the new one in place.
      ANEMONE_ASSIGN(const bool is_written, is_taken(OpenLeftover(inside + FolderName(output, kTemporary))));
      ANEMONE_ASSIGN(const bool is_resumed, is_taken(OpenLeftover(inside + FolderName(output, kResume))));
      if (is_written || is_resumed) continue;
      ANEMONE_ASSIGN(const bool is_replaced, IsThere(inside + output));
      if (!is_replaced) leftover.restores = output;
    }
    found.push_back(std::move(leftover));
  }
  return found;
}

Status RemoveLeftover(const std::string& directory, const Leftover& leftover) {
  const NeedsCleanup needs_cleanup;
  const std::string path = directory + "/" + leftover.name;
  int result = 0;
  if (!leftover.restores.empty()) {
    result = sys.rename(path.c_str(), (directory + "/" + leftover.restores).c_str(), RENAME_NOREPLACE);
  } else {
    ANEMONE_ASSIGN(const Directory own, OpenLeftover(path));
    ANEMONE_ASSIGN(const bool is_living, IsTaken(own));
    if (is_living) return Busy(path);
    result = sys.remove_all(path.c_str());
  }
  return result == 0 ? Status() : ErrnoStatus(errno, "cannot remove").In(path);
}

}  // namespace anemone
