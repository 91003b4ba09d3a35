// Listing: names in a message, of which a file or a folder may have any number: the first few and how many more.
#ifndef ANEMONE_BASE_LISTING_H_
#define ANEMONE_BASE_LISTING_H_

#include <cstddef>
#include <ranges>
#include <string>
#include <string_view>

namespace anemone {

// "a, b, c, d, e and 4 more".
template <std::ranges::input_range Names>
std::string Listing(const Names& names, std::string_view separator = ", ") {
  constexpr size_t kShown = 5;
  std::string text;
  size_t count = 0;
  for (const auto& name : names) {
    if (count++ >= kShown) continue;
    text.append(count == 1 ? std::string_view() : separator).append(name);
  }
  if (count > kShown) text += " and " + std::to_string(count - kShown) + " more";
  return text;
}

}  // namespace anemone

#endif  // ANEMONE_BASE_LISTING_H_
