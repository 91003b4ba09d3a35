// OpenSource: what every command does with the path (or hub id) it was given.
#ifndef ANEMONE_SOURCE_SOURCE_H_
#define ANEMONE_SOURCE_SOURCE_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"
#include "base/location.h"
#include "format/format.h"

namespace anemone {

// Where `source` is: a path; a hub id ("org/name", "org/name@revision") where no such path exists, or an address
// (hf://, https://, http://, s3://, gs://). What the local Hugging Face cache lacks is read in place. Errors: those of
// FindModel and OpenUrl. With `all_files` a model of the hub is its whole repository.
Result<Location> FindSource(const std::string& source, const ProgressFn& progress, bool all_files = false);

// Whether FindSource looks for it on the hub or on another server.
bool IsAddress(const std::string& source);

// Opens the checkpoint at `place`, or the only one in a training's folder. Errors: those of OpenCheckpoint.
Result<Checkpoint> OpenPlace(const Location& place, const OpenOptions& options = {});

// Opens what FindSource finds. Errors carry `source` as their outermost coordinate.
// Names that a wrapper of the model put before its own are taken off where a family knows what is behind (wrappers.h).
Result<Checkpoint> OpenSource(const std::string& source, const ProgressFn& progress, const OpenOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_SOURCE_SOURCE_H_
