// Walk: every archive inside a file or directory, by content. What `verify` checks and `scan` reads is in archives
// inside archives (a pickle in a zip in a tar); this is the one place that opens them all.
#ifndef ANEMONE_CHECK_WALK_H_
#define ANEMONE_CHECK_WALK_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "base/location.h"

namespace anemone {

// A file, or a member of an archive: its path from the outside in ("x.nemo/model_weights.ckpt/model_weights/data.pkl").
struct Leaf {
  std::string path;
  ByteRange content;
  std::optional<uint32_t> crc32;      // what its archive says its bytes sum to
  std::optional<ByteRange> zip = {};  // that it is a member of, without compression
};

// How much work a walk that opens everything may do: archives inside archives can hold more than can ever be read.
class WalkBudget {
 public:
  // A file is to be walked: it may take 64 times its size and 64 MiB, as long as a GiB lasts for the 64 MiB of all.
  // What another file took is not missing here.
  void Grant(uint64_t file_bytes) {
    pool_ += std::min(bytes_, base_);
    base_ = std::min(pool_, kBase);
    pool_ -= base_;
    bytes_ = base_ + 64 * std::min(file_bytes, kLargest);
  }
  // Entering something of this size that is not a file of its own. False when it is too much.
  bool Spend(uint64_t bytes) {
    constexpr uint64_t kEach = 256;
    if (bytes > bytes_ || bytes_ - bytes < kEach) return false;
    bytes_ -= bytes + kEach;
    return true;
  }
  uint64_t left() const { return bytes_; }

  // Bytes held in memory, as long as this lives: at most 128 MiB at a time.
  uint64_t room() const { return kMaxHeld - std::min(held_, kMaxHeld); }
  class Held {
   public:
    Held(WalkBudget& budget, uint64_t bytes) : budget_(budget), bytes_(bytes), ok_(bytes <= budget.room()) {
      budget_.held_ += bytes_;
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() { budget_.held_ -= bytes_; }
    bool ok() const { return ok_; }

   private:
    WalkBudget& budget_;
    const uint64_t bytes_;
    const bool ok_;
  };

 private:
  static constexpr uint64_t kMaxHeld = uint64_t{128} << 20;
  uint64_t held_ = 0;
  static constexpr uint64_t kLargest = uint64_t{1} << 50;
  static constexpr uint64_t kBase = uint64_t{64} << 20;
  uint64_t pool_ = uint64_t{1} << 30;
  uint64_t base_ = 0;
  uint64_t bytes_ = 0;
};

// Calls `visit` for everything that is not itself an archive (tar, gzip, zip), depth first, in stored order; behind an
// index of weights for all in the files that it names. What an archive's reader finds wrong goes to `on_broken`, and
// the walk goes on behind it. Errors: the first one of a visitor; NotFound, Io.
// With a budget (`scan`) nothing hides: streams in zlib, bzip2 and xz are opened as well, gzip at any depth, and in
// damaged archives the members that can be read; what the budget or the depth leaves unread goes to `on_broken` as
// LimitExceeded.
using LeafVisitor = std::function<Status(const Leaf& leaf)>;
using BrokenVisitor = std::function<Status(const Status& problem)>;
Status Walk(const Location& place, const LeafVisitor& visit, const BrokenVisitor& on_broken,
            WalkBudget* budget = nullptr);
// Likewise everything inside `leaf`, which may lie in memory, `depth` archives down; `leaf` itself when it is no
// archive.
Status WalkLeaf(const Leaf& leaf, int depth, const LeafVisitor& visit, const BrokenVisitor& on_broken,
                WalkBudget* budget);

}  // namespace anemone

#endif  // ANEMONE_CHECK_WALK_H_
