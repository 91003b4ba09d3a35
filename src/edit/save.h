// SaveNemo: a checkpoint in memory as a .nemo or its folder.
#ifndef ANEMONE_EDIT_SAVE_H_
#define ANEMONE_EDIT_SAVE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/convert.h"
#include "anemone/status.h"

namespace anemone {

// What is known of a checkpoint beside what it holds.
struct Untouched {
  bool is_untouched = false;                  // tensors and artifacts are those of the file it was opened from
  const ConfigNode* stored_config = nullptr;  // the config in that file; null: it is to be written anew
};

struct Saved {
  std::string_view format;
  uint64_t bytes_written = 0;
};

// Writes a .nemo, or its folder where `path` does not end in ".nemo". Of an untouched .nemo every member but the config
// is moved as it is, and the config too where it is the stored one. Errors: InvalidArgument (only the config was read),
// Corrupt (the config refers to an artifact that is not there), as Execute.
Result<Saved> SaveNemo(const Checkpoint& checkpoint, const Untouched& source, const std::string& path,
                       const RunOptions& options);

}  // namespace anemone

#endif  // ANEMONE_EDIT_SAVE_H_
