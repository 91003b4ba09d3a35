// Location: a path, and the files it is a path in: this machine's, or a server's. Formats open all they read by it.
#ifndef ANEMONE_BASE_LOCATION_H_
#define ANEMONE_BASE_LOCATION_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "base/for_each.h"
#include "base/tree.h"

namespace anemone {

// Files that are not on this machine. What there is has been listed before: only Open may fail on the way.
// Threads: all const methods may run concurrently.
class Files {
 public:
  virtual ~Files() = default;
  virtual PathKind KindOf(const std::string& path) const = 0;
  // Errors: NotFound, and those of the server.
  virtual Result<ByteSourcePtr> Open(const std::string& path) const = 0;
  // Every file below a folder, relative, sorted; none where there is no such folder.
  virtual std::vector<std::string> Below(const std::string& folder) const = 0;
};

// An entry of a folder that was not looked into.
struct PassedOver {
  std::string name;  // relative to the folder
  enum class Kind : uint8_t { kLinkToFolder, kBrokenLink, kSpecial, kClosedFolder } kind;
};

class Location {
 public:
  // Without `files`: on this machine.
  Location(std::string path, std::shared_ptr<const Files> files = nullptr)  // NOLINT(google-explicit-constructor)
      : path_(std::move(path)), files_(std::move(files)) {}

  const std::string& string() const { return path_; }
  const std::shared_ptr<const Files>& files() const { return files_; }
  Location operator/(std::string_view name) const { return {(std::filesystem::path(path_) / name).string(), files_}; }
  std::string filename() const { return std::filesystem::path(path_).filename().string(); }
  Location parent() const { return {std::filesystem::path(path_).parent_path().string(), files_}; }
  // The same place by a path without "." and "..", from the root of its files.
  Location Absolute() const;

  // How many files are best opened at once.
  unsigned OpensAtOnce() const { return files_ != nullptr ? kWorkersAtAServer : 1; }

  // The kind of what is there. Errors: as KindOf; what cannot be looked at is not taken for absent.
  Result<bool> IsFile() const;
  Result<bool> IsFolder() const;
  Result<bool> Exists() const;  // as either
  // Opens a file; one of very many does not stay open. Errors: as OpenFile.
  Result<ByteSourcePtr> Open(bool stays_open = true) const;
  // The names in a folder, sorted. Errors: as ListDirectory.
  Result<std::vector<std::string>> List() const;
  // Every file below a folder, relative, sorted. `passed_over` receives what is neither a file nor a folder to list; a
  // folder that may not be listed is an error without it. Errors: as ListTree.
  Result<std::vector<std::string>> FilesBelow(size_t max_files = SIZE_MAX,
                                              std::vector<PassedOver>* passed_over = nullptr) const;
  // Why something below this folder is passed over, with its path.
  Status WhyPassedOver(const PassedOver& entry) const;

 private:
  Result<PathKind> Kind() const;

  std::string path_;
  std::shared_ptr<const Files> files_;
};

}  // namespace anemone

#endif  // ANEMONE_BASE_LOCATION_H_
