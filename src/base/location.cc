#include "base/location.h"

#include <algorithm>
#include <system_error>

#include "base/closed_file.h"
#include "base/tree.h"

namespace anemone {

namespace fs = std::filesystem;

Location Location::Absolute() const {
  std::error_code error;
  return files_ != nullptr ? *this : Location(fs::absolute(path_, error).lexically_normal().string());
}

bool Location::IsFile() const {
  std::error_code error;
  return files_ != nullptr ? files_->KindOf(path_) == Files::Kind::kFile : fs::is_regular_file(path_, error);
}

bool Location::IsFolder() const {
  std::error_code error;
  return files_ != nullptr ? files_->KindOf(path_) == Files::Kind::kFolder : fs::is_directory(path_, error);
}

Result<ByteSourcePtr> Location::Open(bool stays_open) const {
  if (files_ != nullptr) return files_->Open(path_);
  return stays_open ? OpenFile(path_) : OpenFileEachTime(path_);
}

Result<std::vector<std::string>> Location::List() const {
  if (files_ == nullptr) return ListDirectory(path_);
  std::vector<std::string> names;
  for (const std::string& file : files_->Below(path_)) names.push_back(file.substr(0, file.find('/')));
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Result<std::vector<std::string>> Location::FilesBelow(size_t max_files, std::vector<std::string>* links) const {
  std::vector<std::string> files;
  if (files_ != nullptr) {
    files = files_->Below(path_);
    if (files.size() > max_files)
      return LimitExceeded("expected at most " + std::to_string(max_files) + " files").In(path_);
    return files;
  }
  ANEMONE_TRY(ForEachInTree(path_, max_files, [&](TreeEntry entry) -> Status {
    if (links != nullptr && S_ISLNK(entry.info.st_mode) && (*this / entry.name).IsFolder())
      links->push_back(entry.name);
    if (S_ISREG(entry.info.st_mode)) files.push_back(std::move(entry.name));
    return {};
  }));
  std::ranges::sort(files);
  return files;
}

}  // namespace anemone
