// DLPack: tensors handed from one library to another in memory, by its C ABI [dmlc/dlpack, include/dlpack/dlpack.h, the
// unversioned DLManagedTensor, which every consumer takes].
#ifndef ANEMONE_C_API_DLPACK_H_
#define ANEMONE_C_API_DLPACK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "anemone/dtype.h"
#include "anemone/tensor.h"

namespace anemone::c_api {

struct DLTensor {
  void* data;
  struct {
    int32_t type = 1;  // kDLCPU
    int32_t id = 0;
  } device;
  int32_t ndim;
  struct {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes = 1;
  } dtype;
  int64_t* shape;
  int64_t* strides;  // null: C order
  uint64_t byte_offset;
};

struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);
};

struct DlpackDeleter {
  void operator()(DLManagedTensor* managed) const { managed->deleter(managed); }
};
using DlpackPtr = std::unique_ptr<DLManagedTensor, DlpackDeleter>;

// DLDataTypeCode; -1 where DLPack, or most of its consumers, has no word.
inline int DlpackCode(DType dtype) {
  switch (dtype) {
    case DType::kI64:
    case DType::kI32:
    case DType::kI16:
    case DType::kI8:
      return 0;
    case DType::kU64:
    case DType::kU32:
    case DType::kU16:
    case DType::kU8:
      return 1;
    case DType::kF64:
    case DType::kF32:
    case DType::kF16:
      return 2;
    case DType::kBF16:
      return 4;
    case DType::kC64:
    case DType::kC128:
      return 5;
    case DType::kBool:
      return 6;
    default:
      return -1;
  }
}

// Memory of so many bytes, aligned to 64, not filled.
inline std::shared_ptr<std::byte> AllocateMemory(uint64_t bytes) {
  constexpr std::align_val_t kAlignment{64};
  return {static_cast<std::byte*>(::operator new(bytes, kAlignment)),
          [](std::byte* dying) { ::operator delete(dying, kAlignment); }};
}

// A tensor in `memory`, which it keeps; null when DLPack has no word for its dtype.
inline DlpackPtr MakeDlpack(DType dtype, const Shape& shape, std::shared_ptr<std::byte> memory) {
  struct Owner {
    DLManagedTensor managed;
    std::vector<int64_t> shape;
    std::shared_ptr<std::byte> memory;
  };
  const int code = DlpackCode(dtype);
  if (code < 0) return nullptr;
  auto owner = std::make_unique<Owner>();
  owner->shape.assign(shape.begin(), shape.end());
  owner->memory = std::move(memory);
  DLTensor& tensor = owner->managed.dl_tensor;
  tensor = {};
  tensor.data = owner->memory.get();
  tensor.ndim = static_cast<int32_t>(shape.size());
  tensor.dtype = {static_cast<uint8_t>(code), static_cast<uint8_t>(8 * SizeBytes(dtype))};
  tensor.shape = owner->shape.data();
  owner->managed.manager_ctx = owner.get();
  owner->managed.deleter = [](DLManagedTensor* self) { delete static_cast<Owner*>(self->manager_ctx); };
  return DlpackPtr(&owner.release()->managed);
}

}  // namespace anemone::c_api

#endif  // ANEMONE_C_API_DLPACK_H_
