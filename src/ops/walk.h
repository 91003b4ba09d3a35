// Walk: every box inside a file or directory, by content. What `verify` checks and `scan` reads lies in boxes inside
// boxes (a pickle in a zip in a tar); this is the one place that opens them all.
#ifndef ANEMONE_OPS_WALK_H_
#define ANEMONE_OPS_WALK_H_

#include <functional>
#include <optional>
#include <string>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone {

// A file, or a member of a box: its path from the outside in ("x.nemo/model_weights.ckpt/model_weights/data.pkl").
struct Leaf {
  std::string path;
  ByteRange content;
  std::optional<uint32_t> crc32;  // what its box says its bytes sum to
};

// Calls `visit` for everything that is not itself a box (tar, gzip, zip), depth first, in stored order. What a box's
// reader finds wrong goes to `on_broken`, and the walk goes on behind that box. Errors: the first one of a visitor;
// NotFound, Io.
using LeafVisitor = std::function<Status(const Leaf& leaf)>;
using BrokenVisitor = std::function<Status(const Status& problem)>;
Status Walk(const std::string& path, const LeafVisitor& visit, const BrokenVisitor& on_broken);
// Likewise everything inside `leaf`, which may lie in memory; `leaf` itself when it is no box.
Status WalkLeaf(const Leaf& leaf, const LeafVisitor& visit, const BrokenVisitor& on_broken);

}  // namespace anemone

#endif  // ANEMONE_OPS_WALK_H_
