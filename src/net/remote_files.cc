#include "net/remote_files.h"

#include <optional>

#include "base/for_each.h"
#include "base/safe_path.h"

namespace anemone {

void RemoteFiles::Add(std::string_view name, std::string url) {
  if (UnsafePath(name).empty()) urls_.emplace(name, std::move(url));
}

Status RemoteFiles::AddIfThere(const std::vector<std::string>& names, const std::string& base_url) {
  std::vector<ByteSourcePtr> found(names.size());
  ANEMONE_TRY(ForEach(names.size(), kWorkersAtAServer, [&](uint64_t i, unsigned) -> Status {
    RemoteFile file = model_;
    file.name = root_ + "/" + names[i];
    file.request.url = base_url + UrlEncode(names[i], "/");
    Result<ByteSourcePtr> opened = OpenRemoteFile(std::move(file), pool_);
    if (!opened.ok()) return opened.status().kind() == ErrorKind::kNotFound ? Status() : opened.status();
    found[i] = *std::move(opened);
    return {};
  }));
  for (size_t i = 0; i < names.size(); ++i) {
    if (found[i] == nullptr) continue;
    Add(names[i], base_url + UrlEncode(names[i], "/"));
    opened_.emplace(names[i], std::move(found[i]));
  }
  return {};
}

std::optional<std::string> RemoteFiles::Relative(const std::string& path) const {
  std::string_view rest = path;
  if (!rest.starts_with(root_)) return std::nullopt;
  rest.remove_prefix(root_.size());
  if (!rest.empty() && rest.front() != '/') return std::nullopt;
  while (rest.starts_with('/')) rest.remove_prefix(1);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  return std::string(rest);
}

PathKind RemoteFiles::KindOf(const std::string& path) const {
  const std::optional<std::string> name = Relative(path);
  if (!name) return PathKind::kNothing;
  if (name->empty()) return PathKind::kFolder;
  if (urls_.contains(*name)) return PathKind::kFile;
  const auto below = urls_.lower_bound(*name + "/");
  return below != urls_.end() && below->first.starts_with(*name + "/") ? PathKind::kFolder : PathKind::kNothing;
}

Result<ByteSourcePtr> RemoteFiles::Open(const std::string& path) const {
  const std::optional<std::string> name = Relative(path);
  const auto found = name ? urls_.find(*name) : urls_.end();
  if (found == urls_.end()) return NotFound("no such file or folder").In(path);
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = opened_.find(*name); known != opened_.end()) return known->second;
  }
  RemoteFile file = model_;
  file.name = path;
  file.request.url = found->second;
  ANEMONE_ASSIGN(ByteSourcePtr source, OpenRemoteFile(std::move(file), pool_));
  const std::lock_guard lock(mutex_);
  return opened_.emplace(*name, std::move(source)).first->second;
}

std::vector<std::string> RemoteFiles::Below(const std::string& folder) const {
  std::vector<std::string> names;
  const std::optional<std::string> relative = Relative(folder);
  if (!relative) return names;
  const std::string prefix = relative->empty() ? "" : *relative + "/";
  for (auto it = urls_.lower_bound(prefix); it != urls_.end() && it->first.starts_with(prefix); ++it)
    names.push_back(it->first.substr(prefix.size()));
  return names;
}

}  // namespace anemone
