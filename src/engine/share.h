// Sharing blocks: a file system that can (XFS, Btrfs, bcachefs, ZFS) gives two files the same blocks, so that bytes are
// in both and stored once. What can be shared is at equal places in its blocks in both files; writers that are told so
// choose their paddings for it.
#ifndef ANEMONE_ENGINE_SHARE_H_
#define ANEMONE_ENGINE_SHARE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/tensor.h"
#include "engine/plan.h"

namespace anemone {

constexpr uint64_t kBlockBytes = 4096;        // what file systems share and pages hold
constexpr uint64_t kMinMoveBytes = 64 << 10;  // less is cheaper to read and write with its neighbours

// Whether a file in `folder` can share blocks with the one open as `source`. Asks the file system, by a file without a
// name.
bool CanShareBlocks(int source, const std::string& folder);

// Bytes of a tensor that follow each other in a file as they do in it.
struct Piece {
  uint64_t at = 0;  // byte of the tensor
  ByteRange range;
};
// What is worth sharing of a tensor, ascending: all of it where a file has it so; its large pieces where it is put
// together of such, as q, k and v by turns or the parts of two ranks are; else nothing.
std::vector<Piece> Shareable(const Tensor& tensor);

// Where in a block something must begin for how many of its bytes to lie in their blocks as in their files.
using Places = std::map<uint64_t, uint64_t>;
// Counts pieces of a tensor that is `position` bytes behind its beginning.
void AddPlaces(std::span<const Piece> pieces, uint64_t position, Places& places);
// The place that is best for most bytes; nullopt without any.
std::optional<uint64_t> BestPlace(const Places& places);

// The same of one tensor alone; nullopt where nothing of it is worth sharing.
std::optional<uint64_t> BestPlace(const Tensor& tensor);

// The CRC-32 that a source records of exactly these bytes, or of a tensor that is stored as it is; nullopt: none.
std::optional<uint32_t> RecordedCrcOf(const ByteRange& range);
std::optional<uint32_t> RecordedCrcOf(const Tensor& tensor);

// Of a plan's output: the bytes that can share blocks with its sources, and how many of those are read for a checksum.
struct Shares {
  uint64_t bytes = 0;
  uint64_t read_bytes = 0;
};
Shares ShareableBytes(const Plan& plan);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_SHARE_H_
