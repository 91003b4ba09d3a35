// A record of big-endian elements, read as little-endian ones.
#ifndef ANEMONE_FORMAT_TORCH_SWAPPED_H_
#define ANEMONE_FORMAT_TORCH_SWAPPED_H_

#include <cstdint>

#include "anemone/bytes.h"

namespace anemone {

// `record` with the bytes of each element of `item` bytes in reverse order.
ByteSourcePtr Swapped(ByteRange record, uint64_t item);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_SWAPPED_H_
