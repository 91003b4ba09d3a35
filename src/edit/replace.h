// MayReplace: the one rule of what --force may replace.
//
// A file goes, unless it is a source, a blob of the Hugging Face cache, or a text such as a config is. A folder goes
// only when all it holds is the checkpoint that it is: files that its format reads or writes, and files that the plan
// writes anew. Never a source or a folder above one, the user's home or a folder above it, a mount point, or a folder
// with a repository in it.
#ifndef ANEMONE_EDIT_REPLACE_H_
#define ANEMONE_EDIT_REPLACE_H_

#include <functional>
#include <string>
#include <string_view>

#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone {

// For ExecuteOptions::may_replace. `plan` must outlive it. `in_place`: the plan carries over all that its source holds,
// so the source itself may be replaced. Errors: AlreadyExists, naming some of what would be lost.
std::function<Status(const std::string& path)> MayReplace(const Plan& plan, bool in_place = false);

// The same rule of files that are no checkpoint, pages and features: only one of their own kind goes. Ok where there is
// nothing and, with `replace`, for an empty file and for one that `is_own` says yes to. Errors: AlreadyExists, naming
// `kind`.
Status CheckReplacesOwn(const std::string& path, bool replace, std::string_view kind,
                        bool (*is_own)(const std::string& path, std::string_view head));

}  // namespace anemone

#endif  // ANEMONE_EDIT_REPLACE_H_
