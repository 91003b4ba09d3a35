// The memo of a pickle that is read.
#ifndef ANEMONE_CONTAINER_PICKLE_MEMO_H_
#define ANEMONE_CONTAINER_PICKLE_MEMO_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "anemone/value.h"

namespace anemone::internal {

// Of a memo index beyond the bytes read: writers count up from 0.
inline constexpr uint64_t kPutAhead = 65536;

// A slot for each index that the pickle reads: writers put nearly every value there and read few.
class PickleMemo {
 public:
  PickleMemo() = default;
  explicit PickleMemo(std::string_view pickle);
  // Null for an index that is never read.
  ValueRef* Find(uint64_t index);

 private:
  struct Word {
    uint64_t bits = 0;
    size_t before = 0;  // bits in the words before
  };
  std::vector<Word> words_;
  std::vector<ValueRef> slots_;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_MEMO_H_
