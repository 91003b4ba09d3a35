// Decompress: streams that files are packed in besides gzip (gzip.h), read whole.
#ifndef ANEMONE_CONTAINER_DECOMPRESS_H_
#define ANEMONE_CONTAINER_DECOMPRESS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone {

enum class Codec : uint8_t { kNone, kZlib, kXz, kLzma, kBzip2 };

// The codec that the first bytes tell. Those of zlib and of bare LZMA occur in other data as well; the others do not.
Codec CodecOf(std::string_view head);
// How many bytes of joblib's own head are before a zlib stream [joblib numpy_pickle_compat.py, read_zfile, of files of
// 0.9 and before]; 0 where there is none.
size_t JoblibHead(std::string_view head);

struct Decompressed {
  std::string bytes;  // what came out before `status`
  Status status;      // Corrupt (damaged, truncated), LimitExceeded (more than `max_bytes`), Io, Unavailable
};
// One stream after another, as far as they go; other bytes behind them are left. Memory: the output and at most 64 MiB.
Decompressed Decompress(Codec codec, const ByteRange& compressed, uint64_t max_bytes);

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_DECOMPRESS_H_
