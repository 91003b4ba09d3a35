// What a line says of names that are missing and of names that nobody expected.
#include <algorithm>

#include <fmt/format.h>

#include "base/nearest.h"
#include "schema/translate.h"

namespace anemone {
namespace {

constexpr size_t kShownNames = 8;  // names of each kind in one error line

void ListNames(std::string_view kind, std::string_view nearest_word, const std::vector<std::string>& names,
               const std::vector<std::string>& others, std::string* out) {
  if (names.empty()) return;
  if (!out->empty()) *out += "; ";
  *out += fmt::format("{} {} tensor{}: ", names.size(), kind, names.size() == 1 ? "" : "s");
  for (size_t i = 0; i < std::min(names.size(), kShownNames); ++i) {
    if (i > 0) *out += ", ";
    *out += names[i];
    const size_t limit = std::max<size_t>(3, names[i].size() / 4);
    if (const std::string nearest = Nearest(names[i], others, limit); !nearest.empty()) {
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
