// Deflate under random access: what OpenGzip and a zip's deflated members share.
#ifndef ANEMONE_CONTAINER_INFLATE_H_
#define ANEMONE_CONTAINER_INFLATE_H_

#include <cstdint>

#include "anemone/bytes.h"

namespace anemone::internal {

// The `size` bytes that the raw deflate stream `compressed` holds. Nothing is read yet; restart points are taken while
// reading. A read that runs from the start to the end checks the CRC. Errors when reading: Corrupt [ZIP-8].
ByteSourcePtr InflateMember(ByteRange compressed, uint64_t size, uint32_t crc32);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_INFLATE_H_
