#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "mount/mount.h"

namespace anemone {
namespace {

// The absolute path of a folder; of one whose process is gone, which cannot be asked itself, by its parent.
std::string AbsolutePath(const std::string& folder) {
  const std::filesystem::path given = std::filesystem::path(folder).has_filename()
                                          ? std::filesystem::path(folder)
                                          : std::filesystem::path(folder).parent_path();
  std::error_code error;
  std::filesystem::path path = std::filesystem::canonical(given, error);
  if (!error) return path.string();
  path = std::filesystem::canonical(given.has_parent_path() ? given.parent_path() : ".", error);
  return error ? folder : (path / given.filename()).string();
}

// "\040" is a blank, and so on [proc(5)].
std::string Unescaped(std::string_view word) {
  std::string text;
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '\\' && i + 3 < word.size()) {
      text += static_cast<char>((word[i + 1] - '0') * 64 + (word[i + 2] - '0') * 8 + (word[i + 3] - '0'));
      i += 3;
    } else {
      text += word[i];
    }
  }
  return text;
}

// Whether anemone is what is mounted at `path`: the last line that names it counts.
bool IsOurs(const std::string& path) {
  std::ifstream mounts("/proc/self/mounts");
  bool is_ours = false;
  for (std::string device, point, type, rest; mounts >> device >> point >> type && std::getline(mounts, rest);) {
    if (Unescaped(point) == path) is_ours = type == "fuse.anemone";
  }
  return is_ours;
}

// fusermount3 may unmount what its caller has mounted.
Status AskFusermount(const std::string& path) {
  std::string words[] = {"fusermount3", "-u", "--", path};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments, environ);
  if (failed != 0) return ErrnoStatus(failed, "cannot run fusermount3 (Debian: fuse3)").As(ErrorKind::kUnavailable);
  int state = 0;
  while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return {};
  return Status(ErrorKind::kUnavailable, "fusermount3 did not unmount it", "is a file in it still open?");
}

}  // namespace

Status Unmount(const std::string& folder) {
  const std::string path = AbsolutePath(folder);
  if (!IsOurs(path)) return InvalidArgument("nothing that anemone has mounted is there").In(folder);
  if (geteuid() != 0) return AskFusermount(path).In(folder);
  if (umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  if (errno == EBUSY)
    return Status(ErrorKind::kUnavailable, "it is in use", "close the files that are open in it").In(folder);
  return ErrnoStatus(errno, "cannot unmount").In(folder);
}

}  // namespace anemone
