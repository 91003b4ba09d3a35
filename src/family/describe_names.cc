// What a line says of names that are missing and of names that nobody expected.
#include <algorithm>

#include <fmt/format.h>

#include "family/translate.h"

namespace anemone {
namespace {

constexpr size_t kShownNames = 8;       // names of each kind in one error line
constexpr size_t kNearestAmong = 2000;  // candidates looked at for a nearest match

// Levenshtein distance, given up beyond `limit`.
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

std::string Nearest(const std::string& name, const std::vector<std::string>& among) {
  const std::string* best = nullptr;
  size_t limit = std::max<size_t>(3, name.size() / 4);
  for (size_t i = 0; i < std::min(among.size(), kNearestAmong); ++i) {
    const size_t distance = EditDistance(name, among[i], limit);
    if (distance > limit || (best != nullptr && distance == limit)) continue;
    best = &among[i];
    limit = distance;
  }
  return best == nullptr ? "" : *best;
}

void ListNames(std::string_view kind, std::string_view nearest_word, const std::vector<std::string>& names,
               const std::vector<std::string>& others, std::string* out) {
  if (names.empty()) return;
  if (!out->empty()) *out += "; ";
  *out += fmt::format("{} {} tensor{}: ", names.size(), kind, names.size() == 1 ? "" : "s");
  for (size_t i = 0; i < std::min(names.size(), kShownNames); ++i) {
    if (i > 0) *out += ", ";
    *out += names[i];
    if (const std::string nearest = Nearest(names[i], others); !nearest.empty()) {
      *out += fmt::format(" ({} {})", nearest_word, nearest);
    }
  }
  if (names.size() > kShownNames) *out += fmt::format(", and {} more", names.size() - kShownNames);
}

}  // namespace

std::string DescribeNames(std::vector<std::string> missing, std::vector<std::string> unexpected) {
  std::sort(missing.begin(), missing.end());
  std::sort(unexpected.begin(), unexpected.end());
  std::string what;
  ListNames("missing", "nearest:", missing, unexpected, &what);
  ListNames("unexpected", "nearest missing:", unexpected, missing, &what);
  return what;
}

}  // namespace anemone
