// What wrappers of a model put before its parameters' names, or between them.
#ifndef ANEMONE_SOURCE_WRAPPERS_H_
#define ANEMONE_SOURCE_WRAPPERS_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// A note where the names are those of several models, each behind a start of its own ("teacher.", "student."): none of
// them is the model. "": they are not. Errors: Corrupt where two names become one.
Result<std::string> SeveralModels(const Checkpoint& checkpoint);
// The failure of a checkpoint of no known family, with that note for a hint where there is one.
Status WithSeveralModels(const Status& unknown, const Checkpoint& checkpoint);

// Takes off `_orig_mod.` (torch.compile), `_fsdp_wrapped_module.`, `_checkpoint_wrapped_module.`, `_forward_module.`
// wherever they are, and `module.` before every name. Of what is left, any common start of most names (`model.`,
// `clip.`, an attribute of a Lightning module) is taken off if a family knows the names behind it and not those before.
// Where several such starts are each of a model, none is. All is noted. Errors: Corrupt where two names become one.
Status TakeOffWrappers(Checkpoint* checkpoint);

}  // namespace anemone

#endif  // ANEMONE_SOURCE_WRAPPERS_H_
