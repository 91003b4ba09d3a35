// Statistics: what a tensor's values look like, in one pass over them.
#ifndef ANEMONE_INSPECT_STATISTICS_H_
#define ANEMONE_INSPECT_STATISTICS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

struct Statistics {
  static constexpr size_t kBins = 64;
  uint64_t elements = 0;
  uint64_t zeros = 0;
  uint64_t nans = 0;
  uint64_t infinities = 0;
  // Of the finite elements; 0 where there are none. The deviation is the population's.
  double min = 0, max = 0, mean = 0, deviation = 0;
  // The finite elements in equal bins over [-range, range], a power of two; 0, and no bins filled, where all are zero.
  double range = 0;
  std::array<uint64_t, kBins> bins = {};
};

// Whether `dtype` converts to numbers with an order: all but complex, packed and e8m0.
bool HasStatistics(DType dtype);

// Reads the tensor in windows of 2 MiB; `advance(elements)` is told of each and stops the work by answering false.
// Errors: InvalidArgument (!HasStatistics), Interrupted, as reading.
Result<Statistics> ComputeStatistics(const Tensor& tensor, const std::function<bool(uint64_t)>& advance);

}  // namespace anemone

#endif  // ANEMONE_INSPECT_STATISTICS_H_
