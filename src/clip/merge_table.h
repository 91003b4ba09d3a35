// The merges of a byte-level BPE.
#ifndef ANEMONE_CLIP_MERGE_TABLE_H_
#define ANEMONE_CLIP_MERGE_TABLE_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace anemone::internal {

// The token that replaces two neighbours. Merges of a lower rank are made first.
struct Merge {
  uint32_t rank;
  int32_t id;
};

// A hash table without nodes, as TokenIds is. Its hash is chosen at random, so that no file can be made of pairs that
// all fall into one place [Dietzfelbinger, universal hashing by multiplication].
class MergeTable {
 public:
  MergeTable() : MergeTable(0) {}
  explicit MergeTable(size_t count) : slots_(std::bit_ceil(count + count / 4 + 2)) {
    std::random_device random;
    for (uint64_t& factor : factors_) factor = uint64_t{random()} << 32 | random() | 1;
  }

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
    const uint64_t hash = static_cast<uint32_t>(left) * factors_[0] + static_cast<uint32_t>(right) * factors_[1];
    for (size_t i = hash >> (64 - std::countr_zero(slots_.size()));; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.left == kFree || (slot.left == left && slot.right == right)) return i;
    }
  }

  std::array<uint64_t, 2> factors_{};
  std::vector<Slot> slots_;  // at least two
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_MERGE_TABLE_H_
