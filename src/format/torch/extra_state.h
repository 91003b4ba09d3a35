// Which form a `_extra_state` of a state dict has, and whether it holds anything.
#ifndef ANEMONE_FORMAT_TORCH_EXTRA_STATE_H_
#define ANEMONE_FORMAT_TORCH_EXTRA_STATE_H_

#include "anemone/checkpoint.h"
#include "anemone/value.h"

namespace anemone {

// `node` is a value of `owner`.
Opaque ToOpaque(const Value& owner, ValueRef node);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_EXTRA_STATE_H_
