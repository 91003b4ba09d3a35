// What the parts of a pickled object say, where torch is asked: names, calls, numbers, sizes. Rule TZ-12:
// docs/formats/pytorch.md.
#ifndef ANEMONE_FORMAT_TORCH_PICKLED_H_
#define ANEMONE_FORMAT_TORCH_PICKLED_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

// Of a class or function, "module name"; "" for anything else, and null.
std::string_view GlobalName(const ValueNode* node);
// What an object calls, "" for anything else.
std::string_view Callee(const ValueNode& node);
// Text of a string; of a Python 2 byte string as well.
std::optional<std::string_view> Text(const ValueNode* node);
// The items of a tuple, list or torch.Size; null for anything else.
const ValueList* Sequence(const ValueNode* node);
// Errors: Corrupt, calling it `what`.
Result<uint64_t> Unsigned(const ValueNode* node, std::string_view what);
Result<std::vector<uint64_t>> UnsignedList(const ValueNode* node, std::string_view what);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_PICKLED_H_
