// Plan: every output file laid out to the byte before anything is written. Plain data: printable, comparable,
// checkable; and every file of it can be read before it exists.
//
//   ANEMONE_ASSIGN(const Conversion conversion, PlanConversion("clip-hf/", "clip.nemo", {}));
//   for (const PlanFile& file : conversion.plan->files) std::cout << file.path << ' ' << file.size << '\n';
//   const ByteSourcePtr nemo = OpenPlanned(conversion.plan, 0);
//   ANEMONE_TRY(nemo->ReadAt(0, header));
#ifndef ANEMONE_PLAN_H_
#define ANEMONE_PLAN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
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
  // Literal bytes (headers, padding other than zeros), which the file's `literals` keep | a tensor's elements in C
  // order | bytes of a source moved untouched. These are rare, a plan of many tensors would hold room for each.
  std::variant<std::string_view, Tensor, std::shared_ptr<const ByteRange>> content;
  const ByteRange* range() const {  // null of other content
    const auto* held = std::get_if<std::shared_ptr<const ByteRange>>(&content);
    return held == nullptr ? nullptr : held->get();
  }
};

// Keeps the bytes of literal segments where they are, however many follow. Copies share them.
class Literals {
 public:
  std::string_view Keep(std::string text);
  void Take(Literals&& other);

 private:
  std::vector<std::shared_ptr<std::string>> blocks_;  // a block never grows beyond its capacity
};

// Up to two places of a file: a vector would take two allocations for each tensor.
class CrcStores {
 public:
  CrcStores(std::initializer_list<uint64_t> places = {}) {
    for (const uint64_t place : places) push_back(place);
  }
  // REQUIRES: size() < 2; a place that a file can have.
  void push_back(uint64_t place) { places_.at(size()) = place; }
  size_t size() const { return (places_[0] != kNone ? 1U : 0U) + (places_[1] != kNone ? 1U : 0U); }
  uint64_t* begin() { return places_.data(); }
  uint64_t* end() { return places_.data() + size(); }
  const uint64_t* begin() const { return places_.data(); }
  const uint64_t* end() const { return places_.data() + size(); }
  uint64_t operator[](size_t i) const { return places_.at(i); }

 private:
  static constexpr uint64_t kNone = UINT64_MAX;
  std::array<uint64_t, 2> places_ = {kNone, kNone};
};

// A CRC-32 (IEEE, as zip has it) of file bytes [offset, offset + size), stored little-endian at each of `stores`, once
// known. Covered bytes lie in segments; `stores` lie in literal segments that hold zeros there, outside every covered
// range.
struct Crc32Slot {
  uint64_t offset = 0;
  uint64_t size = 0;
  CrcStores stores;
};

struct PlanFile {
  std::string path;  // relative to the plan's destination; "" when the destination is this one file
  uint64_t size = 0;
  std::vector<Segment> segments;  // ascending, not overlapping; gaps are zeros (left as holes or written)
  std::vector<Crc32Slot> crcs;    // ascending, not overlapping
  Literals literals;

  // Append at the end of the file.
  void Append(std::string literal);
  // Bytes that `literals` keep or that outlast the plan.
  void AppendKept(std::string_view literal);
  void Append(const Tensor& tensor);
  void Append(ByteRange range);
  void AppendZeros(uint64_t count) { size += count; }
};

// How far the output shares disk blocks with its sources.
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
  uint64_t bytes_shared() const;   // of these, bytes whose blocks the output will have in common with its sources
  uint64_t num_tensors() const;
};

// File `file` of the plan, as Execute would write it, computed when it is read. A CRC that a source records of the same
// bytes is taken from there; any other is computed when bytes that hold it are read for the first time, for which the
// bytes it covers are read once more. So a damaged source is found by those who compare CRCs, not here.
// REQUIRES: a plan of PlanConversion's or PlanSave's; file < plan->files.size(). Ownership: keeps the plan, and so its
// sources, open. Threads: as a ByteSource. ReadAt fails where a source fails; CheckUnchanged looks at every source.
ByteSourcePtr OpenPlanned(std::shared_ptr<const Plan> plan, size_t file);

// The plan as a JSON object, as `--plan --json` prints it (docs/json.md): what it reads, writes and shares, the memory
// that carrying it out takes with so many threads (0: as RunOptions), and each file's path and size.
std::string PlanJson(const Plan& plan, const std::string& destination, unsigned threads = 0);

}  // namespace anemone

#endif  // ANEMONE_PLAN_H_
