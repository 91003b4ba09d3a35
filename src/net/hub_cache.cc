#include "net/hub_cache.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <vector>

#include "anemone/bytes.h"
#include "base/cancel.h"
#include "base/sys.h"
#include "base/tree.h"

namespace anemone::internal {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxRefBytes = 4096;

bool IsHex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// In a cache that several users write to, another user's link below it would lead what is written anywhere.
Status CheckLinks(const fs::path& cache, const fs::path& path) {
  fs::path folder = cache;
  for (const fs::path& name : path.lexically_relative(cache)) {
    folder /= name;
    struct stat info;
    if (sys.lstat(folder.c_str(), &info) != 0) return {};
    if (S_ISLNK(info.st_mode) && info.st_uid != geteuid() && info.st_uid != 0)
      return Status(ErrorKind::kCannotCreate, "expected a folder, found a link that another user has made",
                    "look where it leads, then remove it, or set HF_HUB_CACHE to a folder of your own")
          .In(folder.string());
  }
  return {};
}

// As std::filesystem::create_directories, which takes a folder that cannot be looked at for none.
Status MakeDirectory(const fs::path& path) {
  struct stat info;
  int error = 0;
  if (sys.stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return {};
    error = ENOTDIR;
  } else if (errno != ENOENT) {
    error = errno;
  } else {
    if (path.has_relative_path() && path.has_parent_path()) ANEMONE_TRY(MakeDirectory(path.parent_path()));
    if (sys.mkdir(path.c_str(), 0777) == 0 || errno == EEXIST) return {};  // another process may have made it
    error = errno;
  }
  const Status status = ErrnoStatus(error, "cannot create").In(path.string());
  const bool is_disk = error == EIO || error == ENOSPC || error == EDQUOT;
  return is_disk ? status : status.As(ErrorKind::kCannotCreate);
}

Status MakeDirectories(const fs::path& cache, const fs::path& path) {
  ANEMONE_TRY(CheckLinks(cache, path));
  return MakeDirectory(path);
}

// Makes a file that was not there: nobody's link is followed, nobody's file is written to.
int CreateNew(const std::string& path) {
  constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const int fd = sys.open(path.c_str(), kFlags, 0666);
  if (fd >= 0 || errno != EEXIST) return fd;
  sys.remove_all(path.c_str());  // what a dead process left, or another planted
  return sys.open(path.c_str(), kFlags, 0666);
}

// Removes the temporary names beside `path` that processes which are no more have left.
void RemoveDeadTemporaries(const std::string& path) {
  const std::string begin = fs::path(path).filename().string() + ".", end = ".tmp";
  const fs::path folder = fs::path(path).parent_path();
  const Result<std::vector<std::string>> names = ListDirectory(folder.string());
  if (!names.ok()) return;  // what writes there says why
  for (const std::string& name : *names) {
    if (name.size() <= begin.size() + end.size() || !name.starts_with(begin) || !name.ends_with(end)) continue;
    const char* const last = name.data() + name.size() - end.size();
    pid_t process = 0;
    const auto [at, error] = std::from_chars(name.data() + begin.size(), last, process);
    if (error != std::errc() || at != last || process <= 0) continue;
    if (kill(process, 0) != 0 && errno == ESRCH) sys.remove_all((folder / name).c_str());
  }
}

// Small files: written beside and renamed, so that no reader sees half of one.
Status WriteSmall(const std::string& cache, const std::string& path, std::string_view text) {
  const NeedsCleanup needs_cleanup;
  ANEMONE_TRY(MakeDirectories(cache, fs::path(path).parent_path()));
  RemoveDeadTemporaries(path);
  const std::string temporary = path + "." + std::to_string(getpid()) + ".tmp";
  const int fd = CreateNew(temporary);
  if (fd < 0) return ErrnoStatus(errno, "cannot create").In(temporary);
  Status status;
  // Synced before it is renamed: a power failure would leave the name of an empty file.
  const bool is_written = WriteAll(fd, std::as_bytes(std::span(text)), 0) && sys.fsync(fd) == 0;
  if (!is_written) status = ErrnoStatus(errno, "cannot write").In(path);
  sys.close(fd);
  if (status.ok() && sys.rename(temporary.c_str(), path.c_str(), 0) != 0)
    status = ErrnoStatus(errno, "cannot write").In(path);
  if (!status.ok()) sys.remove_all(temporary.c_str());
  return status;
}

}  // namespace

PartialBlob::PartialBlob(std::string path, std::string final_path, std::string etag, uint64_t expected_size)
    : path_(std::move(path)),
      final_path_(std::move(final_path)),
      etag_(std::move(etag)),
      expected_size_(expected_size) {}

PartialBlob::~PartialBlob() {
  if (fd_ >= 0) sys.close(fd_);
}

Status PartialBlob::Open() {
  // Goes on from a file of this user's own; a link, a second name of another file, or another's file is not it.
  struct stat info;
  fd_ = sys.open(path_.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
  const bool is_own = fd_ >= 0 && sys.fstat(fd_, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1 &&
                      info.st_uid == geteuid() && (info.st_mode & S_IWOTH) == 0;
  if (!is_own) {
    if (fd_ >= 0) sys.close(fd_);
    fd_ = CreateNew(path_);
  }
  if (fd_ < 0) return ErrnoStatus(errno, "cannot create").In(path_);
  if (sys.fstat(fd_, &info) != 0) return ErrnoStatus(errno, "cannot stat").In(path_);
  size_ = static_cast<uint64_t>(info.st_size);
  return Rehash();
}

Status PartialBlob::Rehash() {
  hash_.reset();
  if (IsHex(etag_, 64)) {
    hash_.emplace(Hasher::Kind::kSha256);
  } else if (IsHex(etag_, 40) && expected_size_ != UINT64_MAX) {
    // git names a file by the sha1 of this header and the content.
    hash_.emplace(Hasher::Kind::kSha1);
    const std::string header = "blob " + std::to_string(expected_size_);
    hash_->Add(std::string_view(header.c_str(), header.size() + 1));
  }
  if (!hash_) return {};
  std::vector<char> window(size_t{1} << 20);
  for (uint64_t at = 0; at < size_;) {
    const ssize_t got =
        sys.pread(fd_, window.data(), std::min<uint64_t>(window.size(), size_ - at), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ErrnoStatus(got < 0 ? errno : EIO, "cannot read").In(path_);
    hash_->Add(std::string_view(window.data(), static_cast<size_t>(got)));
    at += static_cast<uint64_t>(got);
  }
  return {};
}

Status PartialBlob::Append(std::string_view bytes) {
  if (bytes.size() > expected_size_ - std::min(size_, expected_size_)) {
    return Corrupt("expected " + std::to_string(expected_size_) + " bytes, the server sends more");
  }
  if (hash_) hash_->Add(bytes);
  if (!WriteAll(fd_, std::as_bytes(std::span(bytes)), size_)) return ErrnoStatus(errno, "cannot write").In(path_);
  size_ += bytes.size();
  return {};
}

Status PartialBlob::Restart() {
  if (sys.ftruncate(fd_, 0) != 0) return ErrnoStatus(errno, "cannot truncate").In(path_);
  size_ = 0;
  return Rehash();
}

Status PartialBlob::Commit() {
  std::string problem;
  if (expected_size_ != UINT64_MAX && size_ != expected_size_) {
    problem = "expected " + std::to_string(expected_size_) + " bytes, found " + std::to_string(size_);
  } else if (hash_) {
    const std::string digest = hash_->Hex();
    if (digest != etag_) problem = "expected content of the checksum " + etag_ + ", found " + digest;
  }
  if (!problem.empty()) {
    sys.remove_all(path_.c_str());
    return Corrupt(std::move(problem));
  }
  if (sys.fsync(fd_) != 0) return ErrnoStatus(errno, "cannot write to the device").In(path_);
  if (sys.rename(path_.c_str(), final_path_.c_str(), 0) != 0) return ErrnoStatus(errno, "cannot rename").In(path_);
  return {};
}

Result<std::unique_ptr<FileLock>> FileLock::Take(const std::string& path, const std::function<Status()>& wait) {
  const int fd = sys.open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
  if (fd < 0) return ErrnoStatus(errno, "cannot create").In(path);
  std::unique_ptr<FileLock> lock(new FileLock(fd));
  // Some network file systems have no flock: then nobody can wait for us, and whoever renames last wins with equal
  // content.
  while (sys.flock(fd, LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || errno == EINTR)) ANEMONE_TRY(wait());
  return lock;
}

FileLock::~FileLock() { sys.close(fd_); }

HubCache::HubCache(std::string cache_dir, std::string_view repo, bool symlinks)
    : cache_dir_(std::move(cache_dir)), folder_("models--"), symlinks_(symlinks) {
  for (const char c : repo) folder_ += c == '/' ? std::string("--") : std::string(1, c);
  dir_ = cache_dir_ + "/" + folder_;
}

std::string HubCache::CommitOf(std::string_view revision) const {
  if (IsCommit(revision)) return std::string(revision);
  const Result<ByteSourcePtr> file = OpenFile(dir_ + "/refs/" + std::string(revision));
  const Result<std::string> text = file.ok() ? Whole(*file).ReadAll(kMaxRefBytes) : file.status();
  if (!text.ok()) return "";
  const std::string commit = text->substr(0, text->find_last_not_of(" \r\n") + 1);
  return IsCommit(commit) ? commit : "";
}

Status HubCache::WriteRef(std::string_view revision, std::string_view commit) const {
  if (revision == commit) return {};
  return WriteSmall(cache_dir_, dir_ + "/refs/" + std::string(revision), commit);
}

std::vector<std::string> HubCache::Files(std::string_view commit) const {
  std::vector<std::string> names;
  const Result<std::vector<TreeEntry>> entries = ListTree(Snapshot(commit));
  for (const TreeEntry& entry : entries.ok() ? *entries : std::vector<TreeEntry>()) {
    if (S_ISREG(entry.info.st_mode)) names.push_back(entry.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool HubCache::HasBlob(std::string_view etag, uint64_t size) const {
  struct stat info;
  if (sys.lstat(Blob(etag).c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  return size == UINT64_MAX || static_cast<uint64_t>(info.st_size) == size;
}

bool HubCache::HasFile(std::string_view commit, std::string_view name) const {
  std::error_code ignored;
  return fs::is_regular_file(Snapshot(commit) + "/" + std::string(name), ignored);
}

Status HubCache::NoteAbsent(std::string_view commit, std::string_view name) const {
  const std::string path = dir_ + "/.no_exist/" + std::string(commit) + "/" + std::string(name);
  std::error_code ignored;
  return fs::exists(path, ignored) ? Status() : WriteSmall(cache_dir_, path, "");
}

Result<std::unique_ptr<FileLock>> HubCache::Lock(std::string_view etag, const std::function<Status()>& wait) const {
  const std::string folder = cache_dir_ + "/.locks/" + folder_;
  ANEMONE_TRY(MakeDirectories(cache_dir_, folder));
  return FileLock::Take(folder + "/" + std::string(etag) + ".lock", wait);
}

Result<std::unique_ptr<PartialBlob>> HubCache::OpenPartial(std::string_view etag, uint64_t size) const {
  ANEMONE_TRY(MakeDirectories(cache_dir_, dir_ + "/blobs"));
  std::unique_ptr<PartialBlob> blob(
      new PartialBlob(Blob(etag) + ".anemone.incomplete", Blob(etag), std::string(etag), size));
  ANEMONE_TRY(blob->Open());
  return blob;
}

Status HubCache::Link(std::string_view commit, std::string_view name, std::string_view etag) const {
  const NeedsCleanup needs_cleanup;
  const std::string path = Snapshot(commit) + "/" + std::string(name);
  ANEMONE_TRY(MakeDirectories(cache_dir_, fs::path(path).parent_path()));
  if (symlinks_) {
    std::string target = "../../";
    for (const char c : name) target += c == '/' ? "../" : "";
    target += "blobs/" + std::string(etag);
    RemoveDeadTemporaries(path);
    const std::string temporary = path + "." + std::to_string(getpid()) + ".tmp";
    sys.remove_all(temporary.c_str());
    if (symlink(target.c_str(), temporary.c_str()) == 0) {
      if (sys.rename(temporary.c_str(), path.c_str(), 0) == 0) return {};
      Status status = ErrnoStatus(errno, "cannot rename").In(path);
      sys.remove_all(temporary.c_str());
      return status;
    }
    if (errno != EPERM && errno != ENOTSUP && errno != ENOSYS) return ErrnoStatus(errno, "cannot link").In(path);
  }
  // Another snapshot may need the blob too: a hard link shares it, and where there are none the file moves here.
  sys.remove_all(path.c_str());
  if (link(Blob(etag).c_str(), path.c_str()) == 0) return {};
  if (sys.rename(Blob(etag).c_str(), path.c_str(), 0) != 0) return ErrnoStatus(errno, "cannot rename").In(path);
  return {};
}

Status HubCache::CheckSpace(uint64_t bytes) const {
  uint64_t free = 0;
  if (sys.free_bytes(cache_dir_.c_str(), &free) != 0 || free >= bytes) return {};
  return Status(ErrorKind::kIo,
                "disk full: expected room for " + std::to_string(bytes) + " bytes, found " + std::to_string(free),
                "set HF_HUB_CACHE to a larger disk")
      .In(cache_dir_);
}

Status HubCache::Create() const {
  ANEMONE_TRY(MakeDirectories(cache_dir_, dir_));
  const std::string tag = cache_dir_ + "/CACHEDIR.TAG";
  std::error_code ignored;
  if (fs::exists(tag, ignored)) return {};
  return WriteSmall(cache_dir_, tag,
                    "Signature: 8a477f597d28d172789f06886806bc55\n# This file is a cache directory tag, see "
                    "https://bford.info/cachedir/\n");
}

bool IsCommit(std::string_view text) { return IsHex(text, 40); }

}  // namespace anemone::internal
