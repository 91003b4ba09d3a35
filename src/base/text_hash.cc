#include "base/text_hash.h"

#include <cstring>
#include <random>

namespace anemone::internal {
namespace {

__extension__ using Product = unsigned __int128;

constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;
constexpr size_t kBytes = 7;  // of a coefficient, which is less than the prime

struct Places {
  Places() {
    std::random_device random;
    for (uint64_t* place : {&of_texts, &of_numbers}) *place = (uint64_t{random()} << 32 | random()) % (kPrime - 1) + 1;
  }
  uint64_t of_texts, of_numbers;
};

const Places& RandomPlaces() {
  static const Places places;
  return places;
}

uint64_t Times(uint64_t number, uint64_t place) {
  const Product product = Product{number} * place;
  const uint64_t sum = static_cast<uint64_t>(product & kPrime) + static_cast<uint64_t>(product >> 61);
  return sum >= kPrime ? sum - kPrime : sum;
}

template <class Number>
uint64_t Load(const char* at) {
  Number number = 0;
  std::memcpy(&number, at, sizeof(number));
  return number;
}

// The last bytes of a text, all of it where it has no more than seven. What they share with those before them the
// text's size tells.
uint64_t Last(std::string_view text) {
  const char* const end = text.data() + text.size();
  if (text.size() > kBytes) return Load<uint64_t>(end - 8) >> 8;
  if (text.size() >= 4) return Load<uint32_t>(text.data()) | Load<uint32_t>(end - 4) << 24;
  uint64_t number = 0;
  for (const char c : text) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

// Neighbours become multiples of the place, which may fall together where a table takes their low bits alone.
uint64_t Mixed(uint64_t hash) {
  hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9;  // [Steele, Lea and Flood, SplitMix]
  hash = (hash ^ hash >> 27) * 0x94D049BB133111EB;
  return hash ^ hash >> 31;
}

}  // namespace

size_t HashOf(std::string_view text) {
  const uint64_t place = RandomPlaces().of_texts;
  uint64_t hash = (text.size() & 31) << 56;  // with their number of coefficients, texts of all sizes are unlike
  for (size_t i = 0; i + kBytes < text.size(); i += kBytes) {
    hash = Times(hash + (Load<uint64_t>(text.data() + i) & 0x00FF'FFFF'FFFF'FFFF), place);
  }
  return Mixed(Times(hash + Last(text), place));
}

size_t HashOf(uint64_t number) {
  const uint64_t place = RandomPlaces().of_numbers;
  return Mixed(Times(Times(number >> 32, place) + (number & UINT32_MAX), place));
}

}  // namespace anemone::internal
