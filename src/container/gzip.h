// Gzip: bytes under compression, read at random without unpacking them to disk. Old .nemo files are gzipped tars.
// Rules and ids (GZ-n): docs/formats/gzip.md.
#ifndef ANEMONE_CONTAINER_GZIP_H_
#define ANEMONE_CONTAINER_GZIP_H_

#include <cstdint>
#include <string_view>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone {

struct GzipOptions {
  uint64_t max_ratio = 500;                       // of output to input …
  uint64_t ratio_free_bytes = uint64_t{1} << 28;  // … once the output is larger than this
  uint64_t restart_bytes = uint64_t{1} << 20;  // of output between restart points, doubled when there are more than 512
};

// True for the first bytes of a gzip stream.
inline bool LooksLikeGzip(std::string_view head) { return head.starts_with("\x1f\x8b"); }

// The bytes inside the gzip stream that `compressed` is (one member or several). Opening inflates everything once, to
// learn the size and to check every member's CRC and length; what it keeps is an index of restart points, at most about
// 16 MiB whatever the size, so that a later read starts at the nearest one. Reads in ascending order cost one inflation
// in all.
//
// Ownership: shares `compressed`.   Threads: const methods may run concurrently, each inflating for itself.
// Errors:    Corrupt (truncated, damaged, trailing bytes), LimitExceeded (a bomb), Io; each with its rule's id.
// Cost:      one pass over the input; about 100 KiB for each thread that reads, and the index.
Result<ByteSourcePtr> OpenGzip(ByteSourcePtr compressed, const GzipOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_GZIP_H_
