// One family's tables inside another's: a LLaVA is a GPT and the image tower of a CLIP.
#ifndef ANEMONE_FAMILY_MOUNT_H_
#define ANEMONE_FAMILY_MOUNT_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "family/family.h"

namespace anemone {

struct MountPoint {
  std::string names = {};                 // stands before every stored name: "vision_tower."
  std::optional<Stage> stage = {};        // the pipeline stage of all rows; empty: their own
  std::optional<std::string> tower = {};  // only this tower of the family
  std::string below = {};                 // only stored names that begin so: "vision_model."
  std::string as = {};                    // what the tower is called here ("text2"); empty: as there
};

// What is mounted, to be joined with the tables of the family around it, whose config sets the symbols.
struct Mounted {
  std::vector<Symbol> symbols;
  std::vector<CanonicalRow> canonical;
  std::vector<StoredRow> rows;
};

// The rows of `dialect` at that point, the canonical rows that they spell, and the symbols that all these speak of.
// REQUIRES: the family has the dialect.
Mounted Mount(const Family& family, std::string_view dialect, const MountPoint& at);

// A place where a model has one of two mounted families: `second` where the flag holds. What both have is there always;
// a row of one that the other lacks stands behind the row it follows there.
Mounted EitherOf(const Mounted& first, const Mounted& second, std::string_view flag);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_MOUNT_H_
