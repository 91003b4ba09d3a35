#include "base/location.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/closed_file.h"
#include "base/directory.h"
#include "base/tree.h"

namespace anemone {

namespace fs = std::filesystem;

Location Location::Absolute() const {
  std::error_code error;
  return files_ != nullptr ? *this : Location(fs::absolute(path_, error).lexically_normal().string());
}

Result<PathKind> Location::Kind() const { return files_ != nullptr ? files_->KindOf(path_) : KindOf(path_); }

Result<bool> Location::IsFile() const {
  ANEMONE_ASSIGN(const PathKind kind, Kind());
  return kind == PathKind::kFile;
}

Result<bool> Location::IsFolder() const {
  ANEMONE_ASSIGN(const PathKind kind, Kind());
  return kind == PathKind::kFolder;
}

Result<bool> Location::Exists() const {
  ANEMONE_ASSIGN(const PathKind kind, Kind());
  return kind == PathKind::kFile || kind == PathKind::kFolder;
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

Result<std::vector<std::string>> Location::FilesBelow(size_t max_files, std::vector<PassedOver>* passed_over) const {
  std::vector<std::string> files;
  if (files_ != nullptr) {
    files = files_->Below(path_);
    if (files.size() > max_files)
      return LimitExceeded("expected at most " + std::to_string(max_files) + " files").In(path_);
    return files;
  }
  const auto pass = [&](std::string name, PassedOver::Kind kind) {
    if (passed_over != nullptr) passed_over->push_back({std::move(name), kind});
    return Status();
  };
  const auto visit = [&](TreeEntry entry) -> Status {
    const mode_t mode = entry.info.st_mode;
    if (S_ISREG(mode)) {
      files.push_back(std::move(entry.name));
    } else if (S_ISLNK(mode)) {  // of one that leads to a file, the file's mode is told
      const Result<bool> to_folder = (*this / entry.name).IsFolder();
      if (!to_folder.ok() && to_folder.status().kind() == ErrorKind::kIo) return to_folder.status();
      const bool is_folder = to_folder.ok() && *to_folder;
      return pass(std::move(entry.name), is_folder ? PassedOver::Kind::kLinkToFolder : PassedOver::Kind::kBrokenLink);
    } else if (!S_ISDIR(mode)) {
      return pass(std::move(entry.name), PassedOver::Kind::kSpecial);
    }
    return {};
  };
  const auto on_closed = [&](const std::string& folder, const Status& why) -> Status {
    if (passed_over == nullptr || why.kind() == ErrorKind::kIo) return why;
    return pass(folder, PassedOver::Kind::kClosedFolder);
  };
  ANEMONE_TRY(ForEachInTree(path_, max_files, visit, on_closed));
  std::ranges::sort(files);
  return files;
}

Status Location::WhyPassedOver(const PassedOver& entry) const {
  const std::string path = (*this / entry.name).string();
  switch (entry.kind) {
    case PassedOver::Kind::kLinkToFolder:
      return Unsupported("expected files and folders, found a link to a folder", "replace it by the folder it leads to")
          .In(path);
    case PassedOver::Kind::kSpecial:
      return Unsupported("expected files and folders, found a device, pipe or socket",
                         "copy what it gives to a file first, or remove it")
          .In(path);
    case PassedOver::Kind::kClosedFolder: {
      const Result<std::vector<std::string>> names = ListDirectory(path);
      return names.ok() ? CannotOpen(EACCES).In(path) : names.status();
    }
    case PassedOver::Kind::kBrokenLink:
      break;
  }
  const Result<ByteSourcePtr> opened = OpenFile(path);
  return opened.ok() ? CannotOpen(ENOENT).In(path) : opened.status();
}

}  // namespace anemone
