// PointerSet: a set of addresses in one block, which is gone with it: eight to thirty-two bytes for each.
#ifndef ANEMONE_BASE_POINTER_SET_H_
#define ANEMONE_BASE_POINTER_SET_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace anemone {

class PointerSet {
 public:
  // True if it was not there before. REQUIRES: not null.
  bool Insert(const void* pointer) {
    if (2 * (size_ + 1) > slots_.size()) Grow();
    const void*& slot = slots_[SlotOf(pointer)];
    const bool is_new = slot == nullptr;
    size_ += is_new ? 1 : 0;
    slot = pointer;
    return is_new;
  }

 private:
  size_t SlotOf(const void* pointer) const {
    size_t slot = std::bit_cast<uintptr_t>(pointer) * 0x9e3779b97f4a7c15u >> 20 & (slots_.size() - 1);
    while (slots_[slot] != nullptr && slots_[slot] != pointer) slot = (slot + 1) & (slots_.size() - 1);
    return slot;
  }
  void Grow() {
    std::vector<const void*> old(std::max<size_t>(64, 2 * slots_.size()));
    old.swap(slots_);
    for (const void* pointer : old) {
      if (pointer != nullptr) slots_[SlotOf(pointer)] = pointer;
    }
  }
  std::vector<const void*> slots_;
  size_t size_ = 0;
};

}  // namespace anemone

#endif  // ANEMONE_BASE_POINTER_SET_H_
