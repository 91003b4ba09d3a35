// Whether a folder checkpoint is read from its own folder alone.
#ifndef ANEMONE_FORMAT_INSIDE_H_
#define ANEMONE_FORMAT_INSIDE_H_

#include <string>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// The files that hold a checkpoint's weights.
std::vector<const ByteSource*> WeightFiles(const Checkpoint& checkpoint);

// A link in `folder` that leads out of it would carry a stranger's file into an output, so it is refused; not so those
// of the Hugging Face cache, from snapshots/COMMIT to blobs. Errors: Unsupported, naming link and target.
Status CheckInside(const Checkpoint& checkpoint, const std::string& folder);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_INSIDE_H_
