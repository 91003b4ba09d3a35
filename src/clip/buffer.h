// Memory that is reused and never shrinks; not initialised.
#ifndef ANEMONE_CLIP_BUFFER_H_
#define ANEMONE_CLIP_BUFFER_H_

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>

namespace anemone::internal {

// A mapping, or else what operator new gave.
struct FreeBuffer {
  void* mapping = nullptr;
  size_t mapped = 0;
  void operator()(void* p) const {
    if (mapping != nullptr) {
      munmap(mapping, mapped);
    } else {
      ::operator delete[](p, std::align_val_t{kAlign});
    }
  }
  static constexpr size_t kAlign = 64;
};

// Large blocks are mappings of their own in huge pages: a weight is read once from end to end, where small pages would
// cost a fault each to fill and a table walk each to read. What malloc gives anew may lie in small pages of before.
// Threads: one at a time.
class Buffer {
 public:
  // Room for `count` of them, whose values are lost where there was less. Valid until a larger one is asked for. Throws
  // std::bad_alloc.
  template <typename T = float>
  T* Get(size_t count) {
    const size_t size = count * sizeof(T);
    if (size > capacity_) {
      data_.reset();  // before the larger one: both would not be needed at once
      capacity_ = 0;
      data_ = size >= kHugePage ? Map(size) : Block(::operator new[](size, std::align_val_t{kAlign}), {});
      capacity_ = size;
    }
    return static_cast<T*>(data_.get());
  }
  static constexpr size_t kAlign = FreeBuffer::kAlign;

 private:
  static constexpr size_t kHugePage = size_t{2} << 20;
  using Block = std::unique_ptr<void, FreeBuffer>;

  // Begins at a huge page; what lies before it is never touched, and so takes no memory.
  static Block Map(size_t size) {
    const size_t mapped = size + kHugePage;
    void* const mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    void* begin = mapping;
    size_t room = mapped;
    std::align(kHugePage, size, begin, room);
    madvise(begin, size, MADV_HUGEPAGE);  // a hint: failing is no failure
    return {begin, FreeBuffer{mapping, mapped}};
  }

  Block data_;
  size_t capacity_ = 0;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_BUFFER_H_
