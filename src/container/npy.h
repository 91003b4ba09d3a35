// The header of a .npy file [numpy lib/format.py].
#ifndef ANEMONE_CONTAINER_NPY_H_
#define ANEMONE_CONTAINER_NPY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// What comes before the elements, in C order. Errors: Unsupported for a dtype that NumPy has no name for.
Result<std::string> NpyHeader(DType dtype, const Shape& shape);

namespace internal {

// The places where readers go on behind the header of the .npy that `content` begins with: those that its length and
// the end of its line say, and where another array or a pickle may follow. None where it is no .npy. Errors: Io.
Result<std::vector<uint64_t>> BehindNpyHeader(const ByteRange& content);

}  // namespace internal
}  // namespace anemone

#endif  // ANEMONE_CONTAINER_NPY_H_
