// HashOf: a hash of what a file says, for tables of names, keys and tokens.
//
// It is chosen at random in each process, so that no file can be made of names that all fall into one place of a table,
// which would take the square of their number in time. Of a text: the value of a polynomial, whose coefficients are its
// bytes by sevens, at a random place modulo the prime 2^61 - 1 [Carter and Wegman, Universal classes of hash
// functions]. What is written must not depend on the order of such a table. Threads: pure functions of their arguments.
#ifndef ANEMONE_BASE_TEXT_HASH_H_
#define ANEMONE_BASE_TEXT_HASH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace anemone::internal {

size_t HashOf(std::string_view text);
size_t HashOf(uint64_t number);

// Not noexcept: libstdc++ then keeps each hash beside its key, and rarely compares keys.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return HashOf(text); }
};
struct NumberHash {
  size_t operator()(uint64_t number) const { return HashOf(number); }
};

template <class Value>
using TextMap = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;
// The texts are the caller's and outlive the table.
template <class Value>
using TextViewMap = std::unordered_map<std::string_view, Value, TextHash, std::equal_to<>>;
using TextSet = std::unordered_set<std::string, TextHash, std::equal_to<>>;
using TextViewSet = std::unordered_set<std::string_view, TextHash, std::equal_to<>>;
template <class Value>
using NumberMap = std::unordered_map<uint64_t, Value, NumberHash>;

}  // namespace anemone::internal

#endif  // ANEMONE_BASE_TEXT_HASH_H_
