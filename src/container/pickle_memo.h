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

// Keeps the values of those indices that the pickle reads: writers put nearly every value there and read few.
class PickleMemo {
 public:
  PickleMemo() = default;
  explicit PickleMemo(std::string_view pickle);
  // True if the pickle reads this index, so that the value is kept.
  bool Put(uint64_t index, ValueRef value);
  // Null where none was put.
  ValueRef Get(uint64_t index) const;
  // How many indices have a value: MEMOIZE takes this as its index.
  uint64_t size() const { return size_; }

 private:
  struct Word {
    uint64_t read = 0, put = 0;  // of 64 indices
    size_t before = 0;           // indices that are read in the words before
  };
  size_t Slot(uint64_t index) const;
  std::vector<Word> words_;
  std::vector<ValueRef> slots_;
  uint64_t size_ = 0;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_MEMO_H_
