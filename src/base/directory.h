// Directory: an open directory, and what lies in it by name. Whatever its path leads to meanwhile, it stays the one
// that was opened, and no symbolic link is followed.
#ifndef ANEMONE_BASE_DIRECTORY_H_
#define ANEMONE_BASE_DIRECTORY_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/status.h"
#include "base/descriptor.h"

namespace anemone {

// The hint that goes with ENOTDIR.
inline constexpr std::string_view kFileAmongFolders = "what is before a '/' in this path is a file";

// Why something to be read is not opened. What is not there, lies below a file or may not be read is no input alike
// [sysexits.h, EX_NOINPUT].
Status CannotOpen(int error_number);
// The same, for a path that may be a link to what is not there.
Status CannotOpen(const std::string& path, int error_number);

class Directory {
 public:
  Directory() = default;
  // Errors: NotFound; InvalidArgument where `path` is a symbolic link or no directory; Io. Success asks for no memory.
  static Result<Directory> Open(std::string path);
  // Opens one whose content this user alone has made. Errors: also InvalidArgument where another user owns it, or where
  // others may write to it.
  static Result<Directory> OpenOwn(std::string path);

  // Opens a regular file; `flags` as open(2). With O_CREAT the umask decides its mode. Errors: NotFound, Io,
  // InvalidArgument for a link, a device or a directory.
  Result<Descriptor> OpenFile(const std::string& name, int flags) const;
  // The names in it, sorted. Errors: Io.
  Result<std::vector<std::string>> List() const;
  // Whether `path` still leads to this directory.
  bool IsAt(const std::string& path) const;
  int fd() const { return descriptor_.get(); }
  const std::string& path() const { return path_; }

 private:
  Directory(Descriptor descriptor, std::string path) : descriptor_(std::move(descriptor)), path_(std::move(path)) {}

  Descriptor descriptor_;
  std::string path_;  // as it was opened, for messages
};

}  // namespace anemone

#endif  // ANEMONE_BASE_DIRECTORY_H_
