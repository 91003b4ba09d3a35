// Transform: what is between the stored tensors of a row and its canonical tensor.
//
// Here are those that many families use. One that a single family uses is in that family's own file.
#ifndef ANEMONE_SCHEMA_TRANSFORM_H_
#define ANEMONE_SCHEMA_TRANSFORM_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "anemone/tensor.h"
#include "schema/symbols.h"

namespace anemone {

struct StoredRow;

struct TransformContext {
  const ModelSymbols& symbols;
  const StoredRow& row;
};

using Parts = std::vector<Tensor>;

struct Transform {
  std::string_view name;
  // Stored → canonical; the parts have the shapes of the rule.
  Result<Tensor> (*forward)(const Parts& parts, const Shape& canonical, const TransformContext& context);
  // Canonical → stored.
  Result<Parts> (*inverse)(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext& context);
  // The shapes of the stored parts. Errors: Corrupt when the canonical shape does not divide into them.
  Result<std::vector<Shape>> (*stored_shapes)(const Shape& canonical, size_t parts, const TransformContext& context);
  bool takes_parts = false;  // of rows with several words or experts, and of no others
  // Another shape that is accepted on reading. Null: none.
  bool (*also_reads)(const Shape& found, const Shape& stored, const Shape& canonical) = nullptr;
  // The symbols of the row's tower that it reads.
  std::array<std::string_view, 3> symbols = {};
};

extern const Transform kSame;
extern const Transform kTranspose;   // two axes swapped
extern const Transform kReshape;     // to the row's `shape`; on reading, axes of size 1 may come and go
extern const Transform kStack;       // parts on top of each other along axis 0: equal ones, or as the row's `parts` say
extern const Transform kInterleave;  // canonical [q; k; v] ↔ per query group: its q rows, its k rows, its v rows
extern const Transform kPadVocab;    // canonical "vocab" rows ↔ "padded_vocab" rows, the last ones zeros

// What transforms are made of.

struct AttentionHeads {
  uint64_t heads = 0, groups = 0;
};
// The "heads" and "groups" of the row's tower. Errors: Corrupt when groups do not divide the heads.
Result<AttentionHeads> HeadsOf(const TransformContext& context);
// Rows a head, of `rows` for `count` heads. Errors: Corrupt when they do not divide.
Result<uint64_t> HeadDim(uint64_t rows, uint64_t count);

Result<Tensor> FirstPart(const Parts& parts, const Shape& canonical, const TransformContext& context);
Result<Parts> AsOnePart(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext& context);
Result<std::vector<Shape>> SameShape(const Shape& canonical, size_t parts, const TransformContext& context);
// The row's `shape`.
Result<std::vector<Shape>> GivenShape(const Shape& canonical, size_t parts, const TransformContext& context);
// A tensor → its pieces along axis 0.
Result<Parts> Unstack(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext& context);

}  // namespace anemone

#endif  // ANEMONE_SCHEMA_TRANSFORM_H_
