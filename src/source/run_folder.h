// A training's folder, which is no checkpoint itself: nemo_experiments/NAME/DATE with checkpoints/ in it.
#ifndef ANEMONE_SOURCE_RUN_FOLDER_H_
#define ANEMONE_SOURCE_RUN_FOLDER_H_

#include <string>
#include <vector>

#include "anemone/status.h"
#include "base/location.h"

namespace anemone {

// Paths of the checkpoints in and below `folder`: what a format recognises, four folders deep, at most 100 of them,
// sorted. A folder that is a checkpoint is not searched: `folder` has none in it
// then. Errors: as listing a folder.
Result<std::vector<std::string>> FindCheckpoints(const Location& folder);

}  // namespace anemone

#endif  // ANEMONE_SOURCE_RUN_FOLDER_H_
