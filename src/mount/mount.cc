#include "mount/mount.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/cancel.h"
#include "base/descriptor.h"
#include "engine/sources.h"
#include "mount/fuse.h"

namespace anemone {
namespace {

// What is shown: folders and files by their paths, which begin with '/'.
class View {
 public:
  View(const std::shared_ptr<const Plan>& plan, const std::string& file_name) : sources_(SourcesOf(*plan)) {
    folders_["/"];
    for (const std::string& folder : plan->empty_directories) AddFolder("/" + folder);
    for (size_t i = 0; i < plan->files.size(); ++i) {
      const std::string& path = plan->files[i].path;
      AddFile("/" + (path.empty() ? file_name : path), OpenPlanned(plan, i));
    }
  }

  std::optional<size_t> FindFile(const std::string& path) const {
    const auto found = numbers_.find(path);
    return found != numbers_.end() ? std::optional(found->second) : std::nullopt;
  }
  const ByteSource& file(size_t number) const { return *files_[number]; }
  // The names in a folder; null where there is none.
  const std::set<std::string>* FindFolder(const std::string& path) const {
    const auto found = folders_.find(path);
    return found != folders_.end() ? &found->second : nullptr;
  }
  uint64_t size_bytes() const { return size_bytes_; }
  time_t time() const { return time_; }

  // Asked often. Many sources are looked at once a second.
  Status CheckUnchanged() {
    constexpr size_t kFewSources = 64;
    const time_t now = std::time(nullptr);
    if (checked_.exchange(now) == now && sources_.size() > kFewSources) return {};
    for (const ByteSource* source : sources_) {
      Status status = source->CheckUnchanged();
      if (status.ok()) continue;
      checked_ = 0;  // once changed, whoever asks next is told, too
      return status;
    }
    return {};
  }

 private:
  void AddFolder(const std::string& path) {
    if (!folders_.try_emplace(path).second) return;
    AddName(path);
  }
  void AddFile(const std::string& path, ByteSourcePtr file) {
    size_bytes_ += file->size_bytes();
    numbers_[path] = files_.size();
    files_.push_back(std::move(file));
    AddName(path);
  }
  void AddName(const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string parent = slash == 0 ? "/" : path.substr(0, slash);
    AddFolder(parent);
    folders_[parent].insert(path.substr(slash + 1));
  }

  std::map<std::string, std::set<std::string>> folders_;
  std::vector<const ByteSource*> sources_;  // which the files keep open
  std::vector<ByteSourcePtr> files_;
  std::map<std::string, size_t> numbers_;  // of files_
  uint64_t size_bytes_ = 0;
  time_t time_ = std::time(nullptr);
  std::atomic<time_t> checked_ = 0;
};

// LoadFuse has succeeded.
const internal::Fuse& Library() { return **internal::LoadFuse(); }

View& Mounted() { return *static_cast<View*>(Library().get_context()->private_data); }

// Adds a line to the system's log, in the foreground to stderr, too. A full pipe on stderr loses the line: no reader of
// the mount waits for it.
void Log(const char* line) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  pollfd stderr_state = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&stderr_state, 1, 0) == 1) syslog(LOG_ERR, "%s", line);
}

// What a call of the kernel's answers for a failure, whose reason nobody else would hear.
int Answer(const Status& status, const char* path) {
  if (status.ok()) return 0;
  if (status.kind() == ErrorKind::kInterrupted) return -EINTR;
  Log((std::string(path) + ": " + status.message()).c_str());
  return -EIO;
}

// No exception goes through libfuse.
template <typename Work>
int Guarded(const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  } catch (const std::exception& error) {
    Log(error.what());
    return -EIO;
  }
}

void* Init(fuse_conn_info* /*connection*/, fuse_config* config) {
  // Nothing changes, so whatever the kernel knows it may keep.
  config->kernel_cache = 1;
  config->entry_timeout = config->attr_timeout = config->negative_timeout = 86400;
  return Library().get_context()->private_data;
}

int GetAttributes(const char* path, struct stat* out, fuse_file_info* /*file*/) {
  return Guarded([&] {
    const View& view = Mounted();
    const std::optional<size_t> file = view.FindFile(path);
    if (!file && view.FindFolder(path) == nullptr) return -ENOENT;
    *out = {};
    out->st_mode = file ? S_IFREG | 0444 : S_IFDIR | 0555;
    out->st_nlink = file ? 1 : 2;
    out->st_size = file ? static_cast<off_t>(view.file(*file).size_bytes()) : 0;
    out->st_blocks = (out->st_size + 511) / 512;
    out->st_uid = geteuid();
    out->st_gid = getegid();
    out->st_mtime = out->st_ctime = out->st_atime = view.time();
    return 0;
  });
}

int ReadFolder(const char* path, void* to, fuse_fill_dir_t fill, off_t /*offset*/, fuse_file_info* /*folder*/,
               fuse_readdir_flags /*flags*/) {
  return Guarded([&] {
    const std::set<std::string>* names = Mounted().FindFolder(path);
    if (names == nullptr) return -ENOENT;
    for (const char* name : {".", ".."}) fill(to, name, nullptr, 0, fuse_fill_dir_flags{});
    for (const std::string& name : *names) {
      if (fill(to, name.c_str(), nullptr, 0, fuse_fill_dir_flags{}) != 0) return -ENOMEM;
    }
    return 0;
  });
}

int Open(const char* path, fuse_file_info* file) {
  return Guarded([&] {
    const std::optional<size_t> found = Mounted().FindFile(path);
    if (!found) return -ENOENT;
    if ((file->flags & O_ACCMODE) != O_RDONLY) return -EROFS;
    file->fh = *found;
    file->keep_cache = 1;
    return Answer(Mounted().CheckUnchanged(), path);
  });
}

int Read(const char* path, char* to, size_t size, off_t offset, fuse_file_info* file) {
  return Guarded([&] {
    // Who waits for a server ends with the mount, and with the reader.
    fuse_session* const session = Library().get_session(Library().get_context()->fuse);
    const CancelScope scope(
        [session] { return Library().session_exited(session) != 0 || Library().interrupted() != 0; });
    const ByteSource& source = Mounted().file(file->fh);
    const auto from = static_cast<uint64_t>(offset);
    if (from >= source.size_bytes()) return 0;
    const size_t count = std::min<uint64_t>(size, source.size_bytes() - from);
    const int failed = Answer(source.ReadAt(from, std::as_writable_bytes(std::span(to, count))), path);
    if (failed != 0) return failed;
    // Looked at after the bytes were read: none of them is of another version.
    const int changed = Answer(Mounted().CheckUnchanged(), path);
    return changed != 0 ? changed : static_cast<int>(count);
  });
}

int GetCapacity(const char* /*path*/, struct statvfs* out) {
  *out = {};
  out->f_bsize = out->f_frsize = 4096;
  out->f_blocks = (Mounted().size_bytes() + 4095) / 4096;
  out->f_namemax = 255;
  return 0;
}

constexpr fuse_operations kOperations = [] {
  fuse_operations operations{};
  operations.init = Init;
  operations.getattr = GetAttributes;
  operations.readdir = ReadFolder;
  operations.open = Open;
  operations.read = Read;
  operations.statfs = GetCapacity;
  return operations;
}();

// The last line that libfuse had to say: the reason of its last failure. No exception goes through libfuse, so it is
// kept without memory.
class LastLine {
 public:
  static void Keep(fuse_log_level /*level*/, const char* format, va_list values) {
    char line[sizeof text_];
    std::vsnprintf(line, sizeof line, format, values);
    const size_t size = std::strcspn(line, "\n");
    const std::lock_guard lock(mutex_);
    if (size == 0) return;
    std::memcpy(text_, line, size);
    text_[size] = '\0';
  }
  static std::string Get() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  static inline std::mutex mutex_;
  static inline char text_[512] = "";
};

Status Refused(const std::string& folder) {
  std::string why = LastLine::Get();
  if (why.empty()) why = "FUSE refuses";
  return Status(ErrorKind::kUnavailable, "cannot mount: " + std::move(why),
                "is /dev/fuse there, and fusermount3 (Debian: fuse3)?")
      .In(folder);
}

// The signals that end a mount do what libfuse wants of them, and later again what they did.
class DefaultSignals {
 public:
  DefaultSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) {
      struct sigaction plain = {};
      plain.sa_handler = SIG_DFL;
      sigaction(kSignals[i], &plain, &before_[i]);
    }
  }
  ~DefaultSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }
  DefaultSignals(const DefaultSignals&) = delete;
  DefaultSignals& operator=(const DefaultSignals&) = delete;

 private:
  static constexpr std::array kSignals = {SIGHUP, SIGINT, SIGTERM};
  std::array<struct sigaction, kSignals.size()> before_ = {};
};

// libfuse's handle. A folder is mounted for the time of a scope. The process ends with it, so the handle stays:
// fuse_destroy aborts the process where there is no memory.
class Session {
 public:
  explicit Session(View* view, const MountOptions& options) {
    std::string words = "ro,nosuid,nodev,default_permissions,fsname=anemone,subtype=anemone";
    if (options.allow_other) words += ",allow_other";
    char program[] = "anemone";
    char flag[] = "-o";
    char* arguments[] = {program, flag, words.data(), nullptr};
    fuse_args args = {3, arguments, 0};
    fuse_ = Library().create(&args, &kOperations, sizeof kOperations, view);
  }
  ~Session() {
    if (is_mounted_) Library().unmount(fuse_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool Mount(const std::string& folder) {
    is_mounted_ = fuse_ != nullptr && Library().mount(fuse_, folder.c_str()) == 0;
    return is_mounted_;
  }
  Status Serve() {
    fuse_session* session = Library().get_session(fuse_);
    if (Library().set_signal_handlers(session) != 0)
      return Status(ErrorKind::kUnavailable, "cannot listen to signals: " + LastLine::Get());
    const int result = Library().loop(fuse_, /*clone_fd=*/0);
    Library().remove_signal_handlers(session);
    return result >= 0 ? Status() : ErrnoStatus(-result, "the mount ended");  // above 0: the signal that ended it
  }

 private:
  static inline fuse* fuse_ = nullptr;
  bool is_mounted_ = false;
};

// The parent ends; the child goes on where it was: sources may be named from there.
Status GoToBackground() {
  const Descriptor here(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (Library().daemonize(/*foreground=*/0) != 0) return ErrnoStatus(errno, "cannot go on in the background");
  if (!here.is_open() || fchdir(here.get()) != 0) syslog(LOG_WARNING, "cannot return to the folder it was begun in");
  return {};
}

}  // namespace

Status CanMount(const std::string& folder) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(folder, error);
  const bool is_folder = status.type() == std::filesystem::file_type::directory;
  const bool is_empty = is_folder && std::filesystem::is_empty(folder, error);
  if (error == std::errc::not_connected)
    return Status(ErrorKind::kAlreadyExists, "the process of an earlier mount is gone", "anemone unmount removes it")
        .In(folder);
  if (status.type() == std::filesystem::file_type::not_found)
    return NotFound("expected an empty folder to mount at, found nothing", "make one with mkdir").In(folder);
  if (error) return ErrnoStatus(error.value(), "cannot list").In(folder);
  if (!is_folder) return InvalidArgument("expected an empty folder to mount at, found a file").In(folder);
  if (!is_empty)
    return Status(ErrorKind::kAlreadyExists, "expected an empty folder to mount at, found one that holds something")
        .In(folder);
  return {};
}

Status Mount(const std::shared_ptr<const Plan>& plan, const std::string& file_name, const std::string& folder,
             const MountOptions& options) {
  // Two mounts that begin at once would lie one over the other.
  const Descriptor lock(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock.is_open() && flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return Status(ErrorKind::kAlreadyExists, "another mount has begun there").In(folder);
  ANEMONE_TRY(CanMount(folder));
  ANEMONE_ASSIGN(const internal::Fuse* fuse, internal::LoadFuse());
  fuse->set_log_func(LastLine::Keep);
  View view(plan, file_name);
  const NeedsCleanup needs_cleanup;
  const DefaultSignals signals;
  Session session(&view, options);
  if (!session.Mount(folder)) return Refused(folder);
  if (!options.foreground) ANEMONE_TRY(GoToBackground());
  openlog("anemone", LOG_PID | (options.foreground ? LOG_PERROR : 0), LOG_DAEMON);
  Status status = session.Serve().In(folder);
  closelog();
  return status;
}

}  // namespace anemone
