// Diff: how two checkpoints differ. A difference is an answer, not an error.
#ifndef ANEMONE_OPS_DIFF_H_
#define ANEMONE_OPS_DIFF_H_

#include <cstdint>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"

namespace anemone {

struct TensorDifference {
  enum class Kind : uint8_t { kOnlyInFirst, kOnlyInSecond, kShape, kDType, kValues };
  Kind kind;
  std::string name;
  std::string first;  // shape, dtype; empty for values
  std::string second;
  uint64_t elements = 0;  // kValues, kDType: how many elements differ in value
  double max_abs = 0;     // the largest |first - second|; NaN where only one side is NaN
};

// "only in first", "values", …
std::string_view Name(TensorDifference::Kind kind);

struct TextDifference {
  std::string path;   // config path or artifact name
  std::string first;  // "" when absent
  std::string second;
};

struct Difference {
  std::vector<TensorDifference> tensors;
  std::vector<TextDifference> config;
  std::vector<TextDifference> artifacts;
  uint64_t tensors_compared = 0;
  bool empty() const { return tensors.empty() && config.empty() && artifacts.empty(); }
};

struct DiffOptions {
  bool only_weights = false;  // leave config and artifacts aside
  ProgressFn progress = {};
};

// Compares two checkpoints of one layout, rank by rank, names as they are stored. Values are compared bit for bit where
// dtypes agree, as doubles where they do not. Errors: InvalidArgument (different layouts), as reading.
Result<Difference> Diff(const Checkpoint& first, const Checkpoint& second, const DiffOptions& options);

}  // namespace anemone

#endif  // ANEMONE_OPS_DIFF_H_
