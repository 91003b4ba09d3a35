// The header of a .npy file [numpy lib/format.py].
#ifndef ANEMONE_CONTAINER_NPY_H_
#define ANEMONE_CONTAINER_NPY_H_

#include <string>

#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// What comes before the elements, in C order. Errors: Unsupported for a dtype that NumPy has no name for.
Result<std::string> NpyHeader(DType dtype, const Shape& shape);

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_NPY_H_
