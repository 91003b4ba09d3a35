// Memory that is reused and never shrinks; not initialised.
#ifndef ANEMONE_CLIP_BUFFER_H_
#define ANEMONE_CLIP_BUFFER_H_

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>

namespace anemone::internal {

// Large blocks ask for huge pages: a weight is read once from end to end, where small pages would cost a fault each to
// fill and a table walk each to read. Threads: one at a time.
class Buffer {
 public:
  // Room for `count` of them, whose values are lost where there was less. Valid until a larger one is asked for.
  template <typename T = float>
  T* Get(size_t count) {
    const size_t size = count * sizeof(T);
    if (size > capacity_) {
      const size_t align = size >= 2 * kHugePage ? kHugePage : kAlign;
      data_ = {::operator new[](size, std::align_val_t{align}), Free{align}};
      if (align == kHugePage) madvise(data_.get(), size, MADV_HUGEPAGE);  // a hint: failing is no failure
      capacity_ = size;
    }
    return static_cast<T*>(data_.get());
  }
  static constexpr size_t kAlign = 64;

 private:
  static constexpr size_t kHugePage = size_t{2} << 20;
  struct Free {
    size_t align;
    void operator()(void* p) const { ::operator delete[](p, std::align_val_t{align}); }
  };
  std::unique_ptr<void, Free> data_{nullptr, Free{kAlign}};
  size_t capacity_ = 0;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_BUFFER_H_
