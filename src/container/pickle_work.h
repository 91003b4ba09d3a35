// Work that a few bytes of a pickle could ask for without end, allowed in proportion to the bytes read.
#ifndef ANEMONE_CONTAINER_PICKLE_WORK_H_
#define ANEMONE_CONTAINER_PICKLE_WORK_H_

#include <cstdint>

#include "anemone/status.h"
#include "anemone/value.h"
#include "container/pickle_keys.h"

namespace anemone::internal {

class PickleWork {
 public:
  // Grows with the bytes read.
  void Allow(uint64_t bytes_read) { allowed_ = bytes_read; }
  // Before so many references or bytes are copied out of what others share.
  Status Copy(uint64_t count) {
    copied_ += count;
    if (copied_ <= allowed_ + 65536) return {};
    return LimitExceeded(
        "expected arguments made for one call each, found the same ones copied again and again [PKL-14]");
  }
  Status CheckHashable(const ValueList& items, size_t step) {
    uint64_t budget = 64 * allowed_ + 1'000'000 - hashed_;
    const uint64_t before = budget;
    ANEMONE_TRY(internal::CheckHashable(items, step, budget));
    hashed_ += before - budget;
    return {};
  }

 private:
  uint64_t allowed_ = 0, copied_ = 0, hashed_ = 0;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_WORK_H_
