// Verify: reads everything and checks it.
#ifndef ANEMONE_OPS_VERIFY_H_
#define ANEMONE_OPS_VERIFY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "anemone/progress.h"
#include "anemone/status.h"

namespace anemone {

struct Verification {
  std::vector<std::string> problems;  // one line each
  std::string unchecked;              // why names and shapes were not compared with a family's; "": they were
  uint64_t tensors = 0;
  uint64_t bytes_read = 0;
};

// Container headers and checksums, every tensor inside its file, names and shapes against the config, copies on several
// ranks equal, artifacts that the config names. What is found wrong is an answer; errors are only NotFound, Io,
// Interrupted.
Result<Verification> Verify(const std::string& path, const ProgressFn& progress);

}  // namespace anemone

#endif  // ANEMONE_OPS_VERIFY_H_
