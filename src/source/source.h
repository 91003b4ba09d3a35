// OpenSource: what every command does with the path (or hub id) it was given.
#ifndef ANEMONE_SOURCE_SOURCE_H_
#define ANEMONE_SOURCE_SOURCE_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"
#include "format/format.h"

namespace anemone {

// Opens a path; if there is none and `source` reads like a hub id ("org/name", "org/name@revision"), finds the model in
// the local Hugging Face cache or downloads what conversion needs. Errors carry `source` as their outermost coordinate.
// Names that a wrapper of the model put before its own are taken off where a family knows what is behind (wrappers.h).
Result<Checkpoint> OpenSource(const std::string& source, const ProgressFn& progress, const OpenOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_SOURCE_SOURCE_H_
