#include "engine/commit.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

#include "base/read_at_most.h"
#include "base/shell_word.h"
#include "base/sys.h"
#include "base/tree.h"
#include "engine/ownership.h"

namespace anemone {
namespace {

constexpr std::string_view kInPlace = "the output is in place; a power failure may undo that";

constexpr const char* kOutput = "/output";
constexpr const char* kWhole = "/whole";  // of a run with `resume`, once all of it is written

bool Contains(const std::filesystem::path& directory, const std::filesystem::path& path) {
  const auto [end, unused] = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return end == directory.end();
}

bool Move(const std::string& from, const std::string& to, unsigned flags) {
  return sys.rename(from.c_str(), to.c_str(), flags) == 0;
}

// A file system without the flag, or a kernel without the call.
bool LacksFlag(int error) { return error == EINVAL || error == ENOSYS; }

// std::filesystem::is_empty ends the process where memory runs out.
bool IsEmptyDirectory(const std::string& path) {
  const Result<Directory> directory = Directory::Open(path);
  if (!directory.ok()) return false;
  const Result<std::vector<std::string>> names = directory->List();
  return names.ok() && names->empty();
}

Status LeadsToNothing() {
  return {ErrorKind::kCannotCreate, "is a symbolic link to nothing", "remove it by hand, or choose another name"};
}

Status Taken(std::string hint = {}) { return {ErrorKind::kAlreadyExists, "already exists", std::move(hint)}; }

// fsync of a directory: what was created in it or moved there stays. Errors: Io, NotFound.
Status SyncDirectory(const std::string& path) {
  const Descriptor directory(sys.open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
  if (!directory.is_open()) return ErrnoStatus(errno, "cannot open to sync").In(path);
  // Some file systems have nothing to sync in a directory and say so.
  const bool done = sys.fsync(directory.get()) == 0 || errno == EINVAL;
  return done ? Status() : ErrnoStatus(errno, "cannot sync").In(path);
}

}  // namespace

Result<std::unique_ptr<Staging>> Staging::Create(const Plan& plan, const std::string& destination,
                                                 const ExecuteOptions& options, uint64_t needed_bytes) {
  std::unique_ptr<Staging> staging(new Staging);
  staging->is_directory_ = plan.is_directory;
  staging->replace_ = options.replace;
  staging->may_replace_ = options.may_replace;
  staging->keep_ = options.resume;
  staging->output_bytes_ = plan.bytes_written();
  if (destination.find("://") != std::string::npos)
    return InvalidArgument("expected a path, found an address: outputs are written to this machine").In(destination);
  ANEMONE_TRY(staging->FindDestination(destination));
  ANEMONE_TRY(staging->CheckDestination());

  struct stat info;
  if (sys.lstat((staging->parent_ + "/.").c_str(), &info) != 0) {
    return CannotCreate(errno, destination)
        .Hint("create the parent directory first: mkdir -p " + ShellWord(staging->parent_));
  }
  uint64_t free_bytes = 0;
  if (sys.free_bytes(staging->parent_.c_str(), &free_bytes) == 0) staging->free_bytes_ = free_bytes;
  Result<WorkFolder> work = WorkFolder::Acquire(staging->parent_, staging->name_, options.resume);
  if (!work.ok()) return work.status().In(destination);
  staging->work_ = *std::move(work);
  staging->leads_ = true;
  ANEMONE_TRY(staging->BringBackOld());
  // Without an output it was left by a run that died before it began, or after it had committed; with a whole one, too.
  ANEMONE_ASSIGN(const bool has_output, IsThere(staging->work_.path() + kOutput));
  ANEMONE_ASSIGN(const bool has_whole, IsThere(staging->work_.path() + kWhole));
  const bool goes_on = options.resume && has_output && !has_whole;
  if (goes_on) ANEMONE_TRY(staging->work_.CheckContent().In(destination));
  if (options.resume && !goes_on) ANEMONE_TRY(staging->work_.Clear().In(destination));
  if (!goes_on && staging->free_bytes_.value_or(UINT64_MAX) < needed_bytes) return staging->WriteError(ENOSPC, "");
  return staging;
}

// Splits the destination into folder and name; a symbolic link that may be replaced is followed.
Status Staging::FindDestination(const std::string& destination) {
  shown_ = destination;
  std::string path = destination;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (path.empty()) return InvalidArgument("expected the name of an output, found nothing");
  struct stat info;
  if (replace_ && sys.lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) {
    // What it points at is replaced, not the link: as cp does.
    std::error_code error;
    path = std::filesystem::canonical(path, error).string();
    if (error == std::errc::no_such_file_or_directory) return LeadsToNothing().In(destination);
    if (error) return CannotCreate(error.value(), destination);
  }
  const size_t slash = path.rfind('/');
  name_ = slash == path.npos ? path : path.substr(slash + 1);
  if (name_.empty() || name_ == "." || name_ == "..")
    return InvalidArgument("expected the name of an output").In(destination);
  destination_ = path;
  parent_ = slash == path.npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  return {};
}

// Whether the output may be put there. Sets exists_.
Status Staging::CheckDestination() {
  struct stat info;
  if (sys.lstat(destination_.c_str(), &info) != 0) return errno == ENOENT ? Status() : CannotCreate(errno, shown_);
  const bool is_link = S_ISLNK(info.st_mode);  // to be replaced, it would have been followed
  if (is_link && sys.stat(destination_.c_str(), &info) != 0)
    return errno == ENOENT ? LeadsToNothing().In(shown_) : CannotCreate(errno, shown_);
  const bool is_empty = S_ISDIR(info.st_mode) && IsEmptyDirectory(destination_);
  const bool fits = is_directory_ ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode);
  if (!fits) {
    Status status(ErrorKind::kAlreadyExists, is_directory_ ? "expected a directory to replace, found something else"
                                                           : "expected a file to replace, found something else");
    if (S_ISDIR(info.st_mode) && is_empty) {
      status = status.Hint("an empty folder has this name: rmdir it, or choose another name");
    } else if (S_ISDIR(info.st_mode)) {
      status = status.Hint("a folder has this name: remove it by hand, or choose another name");
    } else if (S_ISREG(info.st_mode)) {
      status = status.Hint("a file has this name: remove it by hand, or choose another name");
    } else {
      status = status.Hint("a pipe, a device or a socket has this name: choose another");
    }
    return status.In(shown_);
  }
  if (is_directory_) {
    std::error_code error;
    const std::filesystem::path whole = std::filesystem::canonical(destination_, error);
    const std::filesystem::path here = std::filesystem::current_path(error);
    if (error || Contains(whole, here))
      return InvalidArgument("expected a directory to replace, found the one we are in").In(shown_);
  }
  if (is_link || (!replace_ && !is_empty)) {
    // To replace is proposed where it would help.
    const Status status = may_replace_ ? may_replace_(destination_) : Status();
    return (status.ok() ? Taken().Use("force", "true", "replace it") : status).In(shown_);
  }
  if (may_replace_) {
    ANEMONE_TRY(may_replace_(destination_).In(shown_));
  } else if (is_directory_ && !is_empty) {
    return Taken("a folder that is not empty is not replaced").In(shown_);
  }
  exists_ = true;
  return {};
}

// A run that died while neither the old folder nor the new one had the name (see ReplaceDirectory) has left the old
// one.
Status Staging::BringBackOld() {
  struct stat info;
  const std::string old = parent_ + "/" + OldFolderName(name_);
  if (sys.lstat(old.c_str(), &info) != 0)
    return errno == ENOENT ? Status() : ErrnoStatus(errno, "cannot look at").In(old);
  if (info.st_uid != geteuid()) return {};
  ANEMONE_ASSIGN(const bool is_there, IsThere(destination_));
  if (is_there) {
    sys.remove_all(old.c_str());
    return {};
  }
  if (!Move(old, destination_, 0)) return ErrnoStatus(errno, "cannot bring back what was there").In(shown_);
  return CheckDestination();
}

Status Staging::MakeOutput(const Plan& plan, bool begins) {
  if (!is_directory_) {
    if (begins) ANEMONE_TRY(OpenFile("", plan.files.front().size).status());
    files_ = {""};
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
      std::string made = kOutput + (directory.empty() ? "" : "/" + directory);
      if (sys.mkdirat(folder().fd(), made.c_str() + 1, 0777) != 0 && !(keep_ && errno == EEXIST))
        return CannotCreate(errno, shown_);
      directories_.push_back(std::move(made));
      if (!directory.empty() || !exists_) continue;
      // A new file is made as in the folder that is replaced, whatever the folder above that is.
      ANEMONE_ASSIGN(const std::optional<Ownership> old, OwnershipOf(destination_));
      if (old) ANEMONE_TRY(InheritDefault(folder(), directories_.back().substr(1), old->default_list).In(shown_));
    }
    for (const PlanFile& file : plan.files) files_.push_back("/" + file.path);
    if (keep_) ANEMONE_TRY(CheckKept(directories));
  }
  if (!keep_ || !begins) return {};
  // What the journal speaks of is there before it does.
  if (is_directory_) {
    for (const PlanFile& file : plan.files) ANEMONE_TRY(OpenFile(file.path, file.size).status());
  }
  for (const std::string& made : directories_) ANEMONE_TRY(SyncDirectory(work_.path() + made).In(shown_));
  ANEMONE_TRY(SyncDirectory(work_.path()).In(shown_));
  return SyncDirectory(parent_).In(shown_);
}

// A file that is not planned would become a part of the output.
Status Staging::CheckKept(const std::set<std::string>& directories) const {
  const std::string output = work_.path() + kOutput;
  std::set<std::string> planned = directories;
  for (const std::string& file : files_) planned.insert(file.substr(1));
  return ForEachInTree(output, SIZE_MAX, [&](const TreeEntry& entry) -> Status {
    if (planned.contains(entry.name)) return {};
    return InvalidArgument("expected the files of the output alone, found another",
                           "look at it; rm -r " + ShellWord(work_.path()) + " begins anew")
        .In(output + "/" + entry.name);
  });
}

Result<std::unique_ptr<Staging>> Staging::Join(const std::string& destination, const std::string& folder) {
  std::unique_ptr<Staging> staging(new Staging);
  staging->shown_ = destination;
  staging->parent_ = folder;
  Result<WorkFolder> work = WorkFolder::Join(folder);
  if (!work.ok()) return work.status().Hint("all ranks must share the file system it is written to");
  staging->work_ = *std::move(work);
  return staging;
}

Staging::~Staging() {
  if (leads_ && !keep_) work_.Remove();
}

Result<Descriptor> Staging::OpenFile(const std::string& path, uint64_t size) const {
  const std::string name = path.empty() ? kOutput : std::string(kOutput) + "/" + path;
  // Never for reading: an NFS client that has read a page writes all of it back, over what another rank wrote there.
  Descriptor file(
      sys.openat(folder().fd(), name.c_str() + 1, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666));
  if (!file.is_open()) {
    const int error = errno;
    const Status status = CannotCreate(error, path.empty() ? shown_ : shown_ + "/" + path);
    return leads_ || error != ENOENT ? status : status.Hint("all ranks must share the file system it is written to");
  }
  struct stat info;
  if (sys.fstat(file.get(), &info) != 0) return WriteError(errno, path);
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1) {
    return InvalidArgument("expected a file of this run's own, found a pipe, a device or a file of another name, too",
                           "rm -r '" + work_.path() + "' begins anew")
        .In(work_.path() + name);
  }
  if (sys.ftruncate(file.get(), static_cast<off_t>(size)) != 0) return WriteError(errno, path);
  return file;
}

Status Staging::Holds(const std::string& path, uint64_t size) const {
  const std::string full = work_.path() + kOutput + (path.empty() ? "" : "/" + path);
  struct stat info;
  if (sys.lstat(full.c_str(), &info) == 0 && S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) == size)
    return {};
  return Corrupt("cannot resume: expected the file that an earlier run wrote",
                 "rm -r '" + work_.path() + "' begins anew")
      .In(full);
}

Status Staging::WriteError(int error_number, const std::string& path) const {
  Status status = ErrnoStatus(error_number, "cannot write").In(path.empty() ? shown_ : shown_ + "/" + path);
  const std::string size = "the output has " + std::to_string(output_bytes_) + " bytes";
  if (error_number == EDQUOT) return status.Hint(size + ", your quota leaves fewer; quota -s shows it");
  if (error_number == ENOSPC && free_bytes_)
    return status.Hint(size + ", " + std::to_string(*free_bytes_) + " were free in " + parent_);
  return status;
}

Status Staging::Commit() {
  for (size_t i = directories_.size(); i-- > 0;) ANEMONE_TRY(SyncDirectory(work_.path() + directories_[i]).In(shown_));
  if (exists_) ANEMONE_TRY(KeepModesAndOwners().In(shown_));
  // What a journal speaks of is not called that any more once it may be something else.
  const std::string output = work_.path() + kOutput, whole = keep_ ? work_.path() + kWhole : output;
  if (keep_ && !Move(output, whole, 0)) return ErrnoStatus(errno, "cannot rename").In(shown_);
  if (const Status status = PutInPlace(whole); !status.ok()) {
    if (keep_) Move(whole, output, 0);
    return status.In(shown_);
  }
  keep_ = false;  // what is left in the folder goes with this object
  is_in_place_ = true;
  return SyncDirectory(parent_).In(shown_).Hint(kInPlace);
}

// The new file has the readers and writers of the one that it replaces. A file of a new name is as open as every old
// one; in a folder without files, as one that is made there.
Status Staging::KeepModesAndOwners() const {
  Ownership folder_before;
  std::optional<CommonOwnership> file_before;
  if (is_directory_) {
    ANEMONE_ASSIGN(std::optional<Ownership> own, OwnershipOf(destination_));
    if (!own) return ErrnoStatus(errno, "cannot stat");
    folder_before = *std::move(own);
    file_before.emplace(folder_before.info);
    ANEMONE_ASSIGN(const std::vector<TreeEntry> before, ListTree(destination_));
    for (const TreeEntry& entry : before) {
      if (!S_ISREG(entry.info.st_mode)) continue;
      ANEMONE_ASSIGN(std::optional<Ownership> old, OwnershipOf(destination_ + "/" + entry.name));
      if (old) file_before->Add(*old);
    }
  }
  const auto inherit = [&](const std::string& name, mode_t type, const Ownership& all_before) -> Status {
    ANEMONE_ASSIGN(const std::optional<Ownership> old, OwnershipOf(destination_ + name));
    if (old && (old->info.st_mode & S_IFMT) != type) return {};
    if (!old && !is_directory_) return {};
    Access access = Access::kAsOld;
    if (!old) access = file_before->has_files() ? Access::kAtMostOld : Access::kAsMade;
    return Inherit(folder(), (kOutput + name).substr(1), old ? *old : all_before, access);
  };
  for (const std::string& file : files_)
    ANEMONE_TRY(inherit(file, S_IFREG, file_before ? file_before->value() : Ownership()));
  for (const std::string& made : directories_)
    ANEMONE_TRY(inherit(made.substr(std::string_view(kOutput).size()), S_IFDIR, folder_before));
  return {};
}

Status Staging::PutInPlace(const std::string& output) {
  const auto cannot = [](int error) { return ErrnoStatus(error, "cannot rename into place"); };
  if (exists_ && is_directory_) return ReplaceDirectory(output);
  if (exists_) return Move(output, destination_, 0) ? Status() : cannot(errno);
  if (Move(output, destination_, RENAME_NOREPLACE)) return {};
  if (errno != EEXIST && !LacksFlag(errno)) return cannot(errno);
  // A file system without the flag, or something that appeared meanwhile. Looking first leaves a moment in between;
  // nothing better is to be had there.
  if (Status status = CheckDestination(); !status.ok()) {
    return replace_ || IsReadFailure(status) ? status
                                             : Taken("it appeared meanwhile").Use("force", "true", "replace it");
  }
  if (exists_ && is_directory_) return ReplaceDirectory(output);
  return Move(output, destination_, 0) ? Status() : cannot(errno);
}

// Old and new change places, the old one is looked at once more where nobody finds it by its name, and goes with the
// hidden folder.
Status Staging::ReplaceDirectory(const std::string& output) {
  const auto cannot = [](int error) { return ErrnoStatus(error, "cannot rename into place"); };
  const auto may_go = [&](const std::string& old) {
    if (IsEmptyDirectory(old)) return Status();
    return may_replace_ ? may_replace_(old) : Taken("something appeared in it meanwhile");
  };
  if (Move(output, destination_, RENAME_EXCHANGE)) {
    Status status = may_go(output);
    if (!status.ok() && !Move(output, destination_, RENAME_EXCHANGE)) {
      leads_ = false;  // what was there lies in the hidden folder, and stays
      status = status.In("what was there is now " + output);
    }
    return status;
  }
  if (!LacksFlag(errno)) return cannot(errno);
  const std::string old = parent_ + "/" + OldFolderName(name_);
  if (!Move(destination_, old, 0)) return cannot(errno);
  Status status = may_go(old);
  if (status.ok() && !Move(output, destination_, 0)) status = cannot(errno);
  if (status.ok()) {
    is_in_place_ = true;
    status = SyncDirectory(parent_).Hint(kInPlace);  // before the old one is removed
    // It goes with the hidden folder.
    if (!Move(old, work_.path() + "/old", 0)) sys.remove_all(old.c_str());
  } else {
    Move(old, destination_, 0);
  }
  return status;
}

}  // namespace anemone
