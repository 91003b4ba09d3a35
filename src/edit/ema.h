// The averaged copy of the weights that NeMo's EMA callback keeps during training.
#ifndef ANEMONE_EDIT_EMA_H_
#define ANEMONE_EDIT_EMA_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"

namespace anemone {

// Opens the averaged weights of the .ckpt `source`: NAME-EMA.ckpt beside NAME.ckpt, where NeMo's checkpoint callback
// saves them, else the list in its optimizer's state. Errors: NotFound (no EMA weights), Unsupported (a list that is
// not one tensor for each parameter in the order of the optimizer's groups), as OpenSource.
Result<Checkpoint> OpenEma(const std::string& source, const ProgressFn& progress);

}  // namespace anemone

#endif  // ANEMONE_EDIT_EMA_H_
