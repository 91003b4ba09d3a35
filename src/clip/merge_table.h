// The merges of a byte-level BPE.
#ifndef ANEMONE_CLIP_MERGE_TABLE_H_
#define ANEMONE_CLIP_MERGE_TABLE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/text_hash.h"

namespace anemone::internal {

// The token that replaces two neighbours. Merges of a lower rank are made first.
struct Merge {
  uint32_t rank;
  int32_t id;
};

// A hash table without nodes, as TokenIds is.
class MergeTable {
 public:
  MergeTable() : MergeTable(0) {}
  explicit MergeTable(size_t count) : slots_(std::bit_ceil(count + count / 4 + 2)) {}

  // Two tokens that are set again have the later merge. REQUIRES: ids of at least 0, at most `count` pairs.
  void Set(int32_t left, int32_t right, Merge merge) { slots_[Find(left, right)] = {left, right, merge}; }
  // nullptr for two that were not set.
  const Merge* Get(int32_t left, int32_t right) const {
    const Slot& slot = slots_[Find(left, right)];
    return slot.left == kFree ? nullptr : &slot.merge;
  }

 private:
  static constexpr int32_t kFree = -1;
  struct Slot {
    int32_t left = kFree, right = kFree;
    Merge merge = {};
  };

  // The slot of the two, or the one that they would take.
  size_t Find(int32_t left, int32_t right) const {
    const size_t mask = slots_.size() - 1;
    const uint64_t pair = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
    for (size_t i = HashOf(pair) & mask;; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.left == kFree || (slot.left == left && slot.right == right)) return i;
    }
  }

  std::vector<Slot> slots_;  // at least two
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_MERGE_TABLE_H_
