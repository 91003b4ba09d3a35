// Values as state dicts, and back. Rules TZ-2n: docs/formats/pytorch.md.
#ifndef ANEMONE_FORMAT_TORCH_STATE_DICT_H_
#define ANEMONE_FORMAT_TORCH_STATE_DICT_H_

#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

// A dict-like value whose keys are strings as a StateDict: tensors stay, `_extra_state` forms become Opaque. Nested
// dicts are flattened with '.', and so are pickled modules (torch.save(model)), whose tensors are their parameters and
// buffers. A value that holds no tensor is left out and named in `left_out`. Errors: Corrupt (non-string keys,
// duplicates), Unsupported (any other value), naming the key.
Result<StateDict> ToStateDict(const Value& value, std::vector<std::string>* left_out = nullptr);

// The state of a pickled torch.nn.Module, a dict with `_parameters`, `_buffers` and `_modules`; null for anything else.
const ValueNode* ModuleState(const ValueNode& node);

// The reverse: an OrderedDict of the items in order (Opaque without data as None).
Value FromStateDict(const StateDict& state);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_STATE_DICT_H_
