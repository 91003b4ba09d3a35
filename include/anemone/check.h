// Verify, Diff, Scan: what is found out about checkpoints without changing them. What is wrong is an answer, not an
// error.
//
//   ANEMONE_ASSIGN(const Verification found, Verify("clip.nemo"));
//   for (const std::string& problem : found.problems) …
#ifndef ANEMONE_CHECK_H_
#define ANEMONE_CHECK_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"

namespace anemone {

struct Verification {
  std::vector<std::string> problems;  // one line each
  std::string unchecked;              // why names and shapes were not compared with a family's; "": they were
  uint64_t tensors = 0;
  uint64_t bytes_read = 0;
  std::vector<std::pair<std::string, uint64_t>> parts;  // tensors of each part that its family tells apart
};

// Container headers and checksums, every tensor inside its file, names and shapes against the config, copies on several
// ranks equal, artifacts that the config names. What is found wrong is an answer; errors are only NotFound, Io,
// Interrupted.
// Threads: reentrant; works on all cores. Cost: reads every byte once, in constant memory.
Result<Verification> Verify(const std::string& path, const ProgressFn& progress = {});

struct TensorDifference {
  enum class Kind : uint8_t { kOnlyInFirst, kOnlyInSecond, kShape, kDType, kValues };
  Kind kind;
  std::string name;
  std::string first;  // shape, dtype; empty for values
  std::string second;
  uint64_t elements = 0;  // kValues, kDType: how many elements differ in value
  double max_abs = 0;     // the largest |first - second|; NaN where one side is, and of elements that are no numbers
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
// dtypes agree, as doubles where they do not. Errors: InvalidArgument (different layouts), as reading. Threads:
// reentrant; works on all cores. Cost: reads both once, in constant memory.
Result<Difference> Diff(const Checkpoint& first, const Checkpoint& second, const DiffOptions& options);

// What other software runs when it loads a file.
enum class Danger : uint8_t {
  kInert,      // builds plain data or a part of a model
  kUnknown,    // code that is not on the inert list, or something that was not looked into
  kDangerous,  // a known way to run commands, code or I/O
};

// So many findings of one danger are listed; another, of ScanFinding::what kNotListed, says that there are more.
inline constexpr uint64_t kMaxFindingsListed = 100'000;
inline constexpr std::string_view kNotListed = "not listed";

struct ScanFinding {
  std::string file;   // path from the outside in
  std::string what;   // "pickle global", "config target", "config resolver", "not opened", "unreadable pickle" …
  std::string name;   // "os system", "nemo.collections…MegatronCLIPModel"
  std::string where;  // config path; empty for pickles
  Danger danger = Danger::kInert;
  // Of a global that a file's own pickle names: whether torch.load(weights_only=True) takes it. Of all else: nothing.
  std::optional<bool> weights_only = {};
};

// Every finding, inert ones included, in stored order, each (file, name) once. What cannot be parsed, opened or read
// within the budget (docs/scan.md) is a finding of Danger::kUnknown, not an error.
// Errors: NotFound, Io, Interrupted. `progress` is told the bytes of the files and members that were looked at; their
// total is not known beforehand and 0.
// Threads: reentrant. Cost: reads pickles and configs, not tensors; nothing is executed.
Result<std::vector<ScanFinding>> Scan(const std::string& path, const ProgressFn& progress = {});
// Likewise for bytes in memory, as if they were a file of this name.
Result<std::vector<ScanFinding>> ScanBytes(std::string bytes, const std::string& name);

}  // namespace anemone

#endif  // ANEMONE_CHECK_H_
