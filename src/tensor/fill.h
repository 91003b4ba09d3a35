// Filling: the bytes of a tensor's elements, read from their sources and computed as its expression says.
//
// Threads:  any, over one tensor too.
#ifndef ANEMONE_TENSOR_FILL_H_
#define ANEMONE_TENSOR_FILL_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// Bytes of sources that the tensor's elements come from: what reading all of it costs at least.
uint64_t SourceBytes(const Tensor& tensor);

// Bytes Fill takes beyond `out`, per call, for a tensor of any size: staging for strided reads, casts and averages.
uint64_t FillScratchBytes(const Tensor& tensor);

// Sees what Fill reads, before anything is made of it.
class ReadObserver {
 public:
  virtual ~ReadObserver() = default;
  virtual void OnRead(const ByteSource& source, uint64_t offset, std::span<const std::byte> bytes) = 0;
};

// Fills `out` with bytes [offset, offset + out.size()) of the tensor's elements in C order. Any alignment.
// Errors: InvalidArgument (beyond the tensor), as ReadAt of its sources.
Status Fill(const Tensor& tensor, uint64_t offset, std::span<std::byte> out, ReadObserver* observer = nullptr);

}  // namespace anemone

#endif  // ANEMONE_TENSOR_FILL_H_
