// What a path is when it is no checkpoint: the things people pass by mistake, by name.
#ifndef ANEMONE_FORMAT_RECOGNISE_H_
#define ANEMONE_FORMAT_RECOGNISE_H_

#include "anemone/status.h"
#include "format/format.h"

namespace anemone::internal {

// True for a file that torch.distributed.checkpoint writes into a folder. It is zips one after another, the first of
// which would be read.
bool IsOfDistributed(const Probe& probe);

// The failure for a path that no format matches: says what it is (an HTML page, a git-lfs pointer, GGUF …) and what
// would be accepted. Corrupt or Unsupported, never ok.
Status NotACheckpoint(const Probe& probe);

}  // namespace anemone::internal

#endif  // ANEMONE_FORMAT_RECOGNISE_H_
