// Sharing blocks: a file system that can (XFS, Btrfs, bcachefs, ZFS) gives two files the same blocks, so that bytes are
// in both and stored once. What can be shared is at equal places in its blocks in both files; writers that are told so
// choose their paddings for it.
#ifndef ANEMONE_ENGINE_SHARE_H_
#define ANEMONE_ENGINE_SHARE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "anemone/bytes.h"
#include "anemone/tensor.h"
#include "engine/plan.h"

namespace anemone {

constexpr uint64_t kBlockBytes = 4096;        // what file systems share and pages hold
constexpr uint64_t kMinMoveBytes = 64 << 10;  // less is cheaper to read and write with its neighbours

// Whether a file in `folder` can share blocks with the one open as `source`. Asks the file system, by a file without a
// name.
bool CanShareBlocks(int source, const std::string& folder);

// The bytes of a file that a tensor is, where they are worth sharing.
std::optional<ByteRange> Shareable(const Tensor& tensor);

// What a source records as the CRC-32 of exactly these bytes.
std::optional<uint32_t> RecordedCrcOf(const ByteRange& range);

// Of a plan's output: the bytes that can share blocks with its sources, and how many of those are read for a checksum.
struct Shares {
  uint64_t bytes = 0;
  uint64_t read_bytes = 0;
};
Shares ShareableBytes(const Plan& plan);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_SHARE_H_
