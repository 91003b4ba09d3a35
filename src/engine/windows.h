// Windows: how a plan's bytes are divided into pieces of work. The division follows from the plan and the window size
// alone, so threads and ranks that see the same plan agree on it: rank r takes the windows whose number is r modulo the
// ranks.
#ifndef ANEMONE_ENGINE_WINDOWS_H_
#define ANEMONE_ENGINE_WINDOWS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "anemone/bytes.h"
#include "engine/plan.h"

namespace anemone {

// Bytes [begin, end) of one file. Gaps between its segments are zeros.
struct Window {
  uint64_t number = 0;  // in the plan
  size_t file = 0;
  size_t segment = 0;  // the first segment with bytes in it
  uint64_t begin = 0;
  uint64_t end = 0;
  // Where all of it lies already, when the kernel may copy it there: a file's bytes.
  std::optional<ByteRange> range;
  bool is_under_crc = false;  // then `range` is read, too
  // Bytes of `range` that may be others than the source has there, ascending: they are compared, and written where they
  // differ.
  struct Seam {
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  std::vector<Seam> seams = {};

  uint64_t seam_bytes() const;
  // Where in the range's source byte `at` of the file is.
  uint64_t SourceOf(uint64_t at) const { return range->offset + (at - begin); }
};

// Gives out windows in order: a plan of any size is divided as one goes, in constant memory. Segments that follow each
// other closely share windows; wide gaps belong to none.
class WindowCursor {
 public:
  // `plan` must outlive this. `find_ranges`: look for what the kernel can copy.
  WindowCursor(const Plan& plan, uint64_t window_bytes, bool find_ranges)
      : plan_(plan), window_bytes_(window_bytes), find_ranges_(find_ranges && plan.sharing != Sharing::kNever) {}
  std::optional<Window> Next();

 private:
  // A part of a segment that the kernel can copy, in bytes of the file.
  struct Movable {
    uint64_t begin = 0;
    uint64_t end = 0;
    ByteRange range;
    bool is_under_crc = false;
  };
  // The first of a segment that ends behind `at`; empty when none is worth it.
  const Movable& FindMovable(const PlanFile& file, size_t segment, uint64_t at);
  void FindMovables(const PlanFile& file, size_t segment);
  // The first one behind a movable of segment `segment` that lies in their source as it does here, a seam away; the
  // segment becomes its own. Empty without one.
  Movable FindNeighbour(const PlanFile& file, const Movable& movable, size_t& segment);

  const Plan& plan_;
  const uint64_t window_bytes_;
  const bool find_ranges_;
  size_t file_ = 0;
  size_t segment_ = 0;
  uint64_t at_ = 0;
  uint64_t number_ = 0;
  std::vector<Movable> movables_;  // ascending, of movable_file_, movable_segment_: the last one asked for
  size_t movable_file_ = SIZE_MAX;
  size_t movable_segment_ = SIZE_MAX;
};

}  // namespace anemone

#endif  // ANEMONE_ENGINE_WINDOWS_H_
