// Plan: every output file laid out to the byte before anything is written. Plain data: printable, comparable,
// checkable.
#ifndef ANEMONE_ENGINE_PLAN_H_
#define ANEMONE_ENGINE_PLAN_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// A run of bytes of an output file and what fills it.
struct Segment {
  uint64_t offset = 0;
  uint64_t size = 0;
  // Literal bytes (headers, padding other than zeros) | a tensor's elements in C order | bytes of a source moved
  // untouched.
  std::variant<std::string, Tensor, ByteRange> content;
};

// A CRC-32 (IEEE, as zip has it) of file bytes [offset, offset + size), stored little-endian at each of `stores`, once
// known. Covered bytes lie in segments; `stores` lie in literal segments that hold zeros there, outside every covered
// range.
struct Crc32Slot {
  uint64_t offset = 0;
  uint64_t size = 0;
  std::vector<uint64_t> stores;
};

struct PlanFile {
  std::string path;  // relative to the plan's destination; "" when the destination is this one file
  uint64_t size = 0;
  std::vector<Segment> segments;  // ascending, not overlapping; gaps are zeros (left as holes or written)
  std::vector<Crc32Slot> crcs;    // ascending, not overlapping

  // Append at the end of the file.
  void Append(std::string literal);
  void Append(const Tensor& tensor);
  void Append(ByteRange range);
  void AppendZeros(uint64_t count) { size += count; }
};

// Appends a laid-out file at the end of `to`: its segments and CRC slots move along, its path is forgotten. So a size
// that comes first (a tar header's) can be known before what it counts is laid out.
void AppendFile(PlanFile& to, PlanFile&& part);

// How far the output shares disk blocks with its sources (share.h).
enum class Sharing : uint8_t {
  kNever,      // every byte is read and written
  kAsItFalls,  // the kernel may share what it is given to copy
  kPlanned,    // the files are laid out for it; what can be shared is, unread, whatever CRCs its source records
};

struct Plan {
  std::vector<PlanFile> files;
  bool is_directory = false;                   // destination is a directory holding `files`
  std::vector<std::string> empty_directories;  // relative
  Sharing sharing = Sharing::kAsItFalls;
  uint64_t bytes_read() const;     // source bytes the plan needs; reading may take more where strides are wide
  uint64_t bytes_written() const;  // sum of sizes
};

// The law: segments ascend, do not overlap, lie inside the file, have the size of their content; CRC ranges are covered
// and their stores are literals; paths are relative, distinct and free of "..". Errors: Internal, naming file and byte.
Status Check(const Plan& plan);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_PLAN_H_
