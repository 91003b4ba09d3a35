// The calls by which torch pickles tensors, and the tensors they make. Rules TZ-12 to TZ-16: docs/formats/pytorch.md.
#ifndef ANEMONE_FORMAT_TORCH_REBUILD_H_
#define ANEMONE_FORMAT_TORCH_REBUILD_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/tensor.h"
#include "anemone/value.h"
#include "container/pickle.h"

namespace anemone {

// Where the bytes of the storage with that key are; nullopt: nowhere.
using FindRecord = std::function<std::optional<ByteRange>(const std::string& key)>;

// Makes every object that describes a tensor the tensor. `longer_record` becomes the key of a storage whose record has
// more bytes than it.
ObjectVisitor RebuildTensors(FindRecord find_record, bool big_endian, std::string* longer_record = nullptr);

// Whether a call makes a tensor of its arguments alone.
bool IsTensorCall(const ValueNode& node);
// Whether a function's first argument is the tensor.
bool IsWrapper(std::string_view callee);

// In elements, C order; as torch gives an axis of 0 that of 1.
std::vector<uint64_t> DenseStrides(const Shape& shape);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_REBUILD_H_
