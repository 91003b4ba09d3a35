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
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/cancel.h"
#include "base/descriptor.h"
#include "base/sys.h"
#include "engine/sources.h"
#include "mount/fuse.h"

namespace anemone {
namespace {

// A folder or a file that is shown.
struct Entry {
  std::string path;    // begins with '/'
  ByteSourcePtr file;  // null: a folder
  // What a folder holds, sorted: names and inodes.
  std::vector<std::pair<std::string, fuse_ino_t>> names;
};

// What is shown. Entry i has the inode i + 1: the first is FUSE's root. libfuse's low-level interface asks by inode;
// its high-level one keeps a table of names, and aborts the process where it has no memory for it.
class View {
 public:
  View(const std::shared_ptr<const Plan>& plan, const std::string& file_name) : sources_(SourcesOf(*plan)) {
    AddFolder("/");
    for (const std::string& folder : plan->empty_directories) AddFolder("/" + folder);
    for (size_t i = 0; i < plan->files.size(); ++i) {
      const std::string& path = plan->files[i].path;
      ByteSourcePtr file = OpenPlanned(plan, i);
      size_bytes_ += file->size_bytes();
      Add("/" + (path.empty() ? file_name : path), std::move(file));
    }
    for (Entry& entry : entries_) std::ranges::sort(entry.names);
  }

  const Entry& Get(fuse_ino_t inode) const { return entries_[inode - 1]; }
  uint64_t size_bytes() const { return size_bytes_; }

  struct stat Attributes(fuse_ino_t inode) const {
    const ByteSource* file = Get(inode).file.get();
    struct stat out = {};
    out.st_ino = inode;
    out.st_mode = file != nullptr ? S_IFREG | 0444 : S_IFDIR | 0555;
    out.st_nlink = file != nullptr ? 1 : 2;
    out.st_size = file != nullptr ? static_cast<off_t>(file->size_bytes()) : 0;
    out.st_blocks = (out.st_size + 511) / 512;
    out.st_uid = geteuid();
    out.st_gid = getegid();
    out.st_mtime = out.st_ctime = out.st_atime = time_;
    return out;
  }

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
  fuse_ino_t AddFolder(const std::string& path) {
    const auto found = folders_.find(path);
    if (found != folders_.end()) return found->second;
    return folders_[path] = Add(path, nullptr);
  }
  fuse_ino_t Add(const std::string& path, ByteSourcePtr file) {
    entries_.push_back({path, std::move(file), {}});
    const fuse_ino_t inode = entries_.size();
    if (path == "/") return inode;
    const size_t slash = path.rfind('/');
    const fuse_ino_t parent = AddFolder(slash == 0 ? "/" : path.substr(0, slash));
    entries_[parent - 1].names.emplace_back(path.substr(slash + 1), inode);
    return inode;
  }

  std::vector<const ByteSource*> sources_;  // which the files keep open
  std::vector<Entry> entries_;
  std::map<std::string, fuse_ino_t> folders_;
  uint64_t size_bytes_ = 0;
  time_t time_ = std::time(nullptr);
  std::atomic<time_t> checked_ = 0;
};

// LoadFuse has succeeded.
const internal::Fuse& Library() { return **internal::LoadFuse(); }

// libfuse hands this to each call.
struct Served {
  View view;
  fuse_session* session;
};
Served& ServedBy(fuse_req_t request) { return *static_cast<Served*>(Library().req_userdata(request)); }
View& Mounted(fuse_req_t request) { return ServedBy(request).view; }

// Adds a line to the system's log, in the foreground to stderr, too. A full pipe on stderr loses the line: no reader of
// the mount waits for it.
void Log(const char* line) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  pollfd stderr_state = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&stderr_state, 1, 0) == 1) syslog(LOG_ERR, "%s", line);
}

// The errno that the kernel is told for a failure, whose reason nobody else would hear.
int ErrnoOf(const Status& status, const std::string& path) {
  if (status.ok()) return 0;
  if (status.kind() == ErrorKind::kInterrupted) return EINTR;
  Log((path + ": " + status.message()).c_str());
  return EIO;
}

// Does what is asked: `work` answers and returns 0, or an errno. No exception goes through libfuse.
template <typename Work>
void Serve(fuse_req_t request, const Work& work) {
  int error = 0;
  try {
    error = work();
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  } catch (const std::exception& failure) {
    Log(failure.what());
    error = EIO;
  }
  if (error != 0) Library().reply_err(request, error);
}

// Nothing changes, so the kernel may keep what it knows.
constexpr double kSecondsKept = 86400;

void LookUp(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const View& view = Mounted(request);
  const auto& names = view.Get(parent).names;
  const auto found = std::ranges::lower_bound(names, std::string_view(name), {},
                                              [](const auto& named) { return std::string_view(named.first); });
  fuse_entry_param entry = {};  // inode 0: nothing has that name
  entry.attr_timeout = entry.entry_timeout = kSecondsKept;
  if (found != names.end() && found->first == name) {
    entry.ino = found->second;
    entry.attr = view.Attributes(entry.ino);
  }
  Library().reply_entry(request, &entry);
}

void GetAttributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info* /*file*/) {
  const struct stat attributes = Mounted(request).Attributes(inode);
  Library().reply_attr(request, &attributes, kSecondsKept);
}

// An entry's offset is that of the one after it: how many come before.
void ReadFolder(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* /*folder*/) {
  Serve(request, [&] {
    const View& view = Mounted(request);
    const auto& names = view.Get(inode).names;
    std::vector<char> listed(size);
    size_t used = 0;
    for (auto i = static_cast<size_t>(offset); i < names.size(); ++i) {
      const auto& [name, child] = names[i];
      const struct stat attributes = view.Attributes(child);
      const size_t needed = Library().add_direntry(request, listed.data() + used, size - used, name.c_str(),
                                                   &attributes, static_cast<off_t>(i + 1));
      if (needed > size - used) break;
      used += needed;
    }
    Library().reply_buf(request, listed.data(), used);
    return 0;
  });
}

void Open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  Serve(request, [&] {
    View& view = Mounted(request);
    file->keep_cache = 1;
    const int error = ErrnoOf(view.CheckUnchanged(), view.Get(inode).path);
    if (error == 0) Library().reply_open(request, file);
    return error;
  });
}

void Read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* /*file*/) {
  Serve(request, [&] {
    View& view = Mounted(request);
    const Entry& entry = view.Get(inode);
    const uint64_t end = entry.file->size_bytes();
    const uint64_t from = std::min(static_cast<uint64_t>(offset), end);
    const size_t count = std::min<uint64_t>(size, end - from);
    const auto bytes = std::make_unique_for_overwrite<std::byte[]>(count);
    // Who waits for a server ends with the mount, and with the reader.
    const CancelScope scope([request] {
      return Library().session_exited(ServedBy(request).session) != 0 || Library().req_interrupted(request) != 0;
    });
    int error = ErrnoOf(entry.file->ReadAt(from, {bytes.get(), count}), entry.path);
    // Looked at after the bytes were read: none of them is of another version.
    if (error == 0) error = ErrnoOf(view.CheckUnchanged(), entry.path);
    if (error == 0) Library().reply_buf(request, reinterpret_cast<const char*>(bytes.get()), count);
    return error;
  });
}

void GetCapacity(fuse_req_t request, fuse_ino_t /*inode*/) {
  struct statvfs capacity = {};
  capacity.f_bsize = capacity.f_frsize = 4096;
  capacity.f_blocks = (Mounted(request).size_bytes() + 4095) / 4096;
  capacity.f_namemax = 255;
  Library().reply_statfs(request, &capacity);
}

constexpr fuse_lowlevel_ops kOperations = [] {
  fuse_lowlevel_ops operations{};
  operations.lookup = LookUp;
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

// libfuse's handle. A folder is mounted for the time of a scope.
class Session {
 public:
  Session(const std::shared_ptr<const Plan>& plan, const std::string& file_name, const MountOptions& options)
      : served_{View(plan, file_name), nullptr} {
    std::string words = "ro,nosuid,nodev,default_permissions,fsname=anemone,subtype=anemone";
    if (options.allow_other) words += ",allow_other";
    char program[] = "anemone";
    char flag[] = "-o";
    char* arguments[] = {program, flag, words.data(), nullptr};
    fuse_args args = {3, arguments, 0};
    served_.session = Library().create(&args, &kOperations, sizeof kOperations, &served_);
  }
  ~Session() {
    if (is_mounted_) Library().unmount(served_.session);
    if (served_.session != nullptr) Library().destroy(served_.session);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool Mount(const std::string& folder) {
    is_mounted_ = served_.session != nullptr && Library().mount(served_.session, folder.c_str()) == 0;
    return is_mounted_;
  }
  Status Serve() {
    if (Library().set_signal_handlers(served_.session) != 0)
      return Status(ErrorKind::kUnavailable, "cannot listen to signals: " + LastLine::Get());
    const int result = Library().loop(served_.session, /*clone_fd=*/0);
    Library().remove_signal_handlers(served_.session);
    return result >= 0 ? Status() : ErrnoStatus(-result, "the mount ended");  // above 0: the signal that ended it
  }

 private:
  Served served_;
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
  if (lock.is_open() && sys.flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return Status(ErrorKind::kAlreadyExists, "another mount has begun there").In(folder);
  ANEMONE_TRY(CanMount(folder));
  ANEMONE_ASSIGN(const internal::Fuse* fuse, internal::LoadFuse());
  fuse->set_log_func(LastLine::Keep);
  const NeedsCleanup needs_cleanup;
  const DefaultSignals signals;
  Session session(plan, file_name, options);
  if (!session.Mount(folder)) return Refused(folder);
  if (!options.foreground) ANEMONE_TRY(GoToBackground());
  openlog("anemone", LOG_PID | (options.foreground ? LOG_PERROR : 0), LOG_DAEMON);
  Status status = session.Serve().In(folder);
  closelog();
  return status;
}

}  // namespace anemone
