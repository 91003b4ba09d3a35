// What travels with a model, beside the files that a format has itself.
#ifndef ANEMONE_FORMAT_ARTIFACTS_H_
#define ANEMONE_FORMAT_ARTIFACTS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone {

// Adds the checkpoint's artifacts to `files`, those of the format called `title`. `place` says where one belongs ("":
// it is left out); null: under its own name. Errors: Unsupported where a name is taken, or that of a folder of
// another's.
Status AddArtifacts(const Checkpoint& checkpoint, std::string_view title, std::vector<PlanFile>& files,
                    const std::function<std::string(const std::string& name)>& place = nullptr);

// A file that was not fetched, or not to its end, is no part of a model. Errors: Corrupt, naming it; Io.
Status CheckFetched(const Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_ARTIFACTS_H_
