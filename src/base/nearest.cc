#include "base/nearest.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "base/tree.h"

namespace anemone {

size_t EditDistance(std::string_view a, std::string_view b, size_t limit) {
  if (a.size() > b.size()) std::swap(a, b);
  if (b.size() - a.size() > limit) return limit + 1;
  std::vector<size_t> row(a.size() + 1);
  for (size_t i = 0; i <= a.size(); ++i) row[i] = i;
  for (size_t j = 1; j <= b.size(); ++j) {
    size_t diagonal = row[0];
    row[0] = j;
    size_t least = row[0];
    for (size_t i = 1; i <= a.size(); ++i) {
      const size_t above = row[i];
      row[i] = std::min({row[i] + 1, row[i - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
      least = std::min(least, row[i]);
    }
    if (least > limit) return limit + 1;
  }
  return row[a.size()];
}

std::string Nearest(std::string_view word, std::span<const std::string> among, size_t limit) {
  constexpr size_t kMostCompared = 2000;
  const std::string* best = nullptr;
  size_t least = word.empty() ? 0 : std::min(limit, word.size() - 1) + 1;
  for (const std::string& candidate : among.first(std::min(among.size(), kMostCompared))) {
    if (least == 0) break;
    const size_t distance = EditDistance(word, candidate, least - 1);
    if (distance >= least) continue;
    best = &candidate;
    least = distance;
  }
  return best == nullptr ? "" : *best;
}

std::string DidYouMean(std::string_view word, std::span<const std::string> among) {
  std::string meant = Nearest(word, among, std::max<size_t>(1, word.size() / 3));
  if (meant.empty() && word.size() > 2) {
    const auto begun = std::ranges::find_if(among, [&](const std::string& name) { return name.starts_with(word); });
    if (begun != among.end()) meant = *begun;
  }
  return meant.empty() ? "" : "did you mean " + meant + "?";
}

Status WithNearestPath(const Status& status, const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (status.ok() || status.kind() != ErrorKind::kNotFound || fs::exists(fs::symlink_status(path, error)))
    return status;
  const fs::path clean = fs::path(path).lexically_normal();
  const fs::path named = clean.has_filename() ? clean : clean.parent_path();
  const fs::path parent = named.has_parent_path() ? named.parent_path() : fs::path(".");
  const Result<std::vector<std::string>> names = ListDirectory(parent.string());
  const std::string nearest = names.ok() ? Nearest(named.filename().string(), *names, 2) : "";
  if (nearest.empty()) return status;
  const fs::path meant = named.has_parent_path() ? parent / nearest : fs::path(nearest);
  return status.Hint("did you mean " + meant.string() + "?");
}

Result<ByteSourcePtr> OpenGivenFile(const std::string& path) {
  Result<ByteSourcePtr> file = OpenFile(path);
  return file.ok() ? file : WithNearestPath(file.status(), path);
}

}  // namespace anemone
