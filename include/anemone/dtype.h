// DType: the element types a checkpoint can hold, in one table.
#ifndef ANEMONE_DTYPE_H_
#define ANEMONE_DTYPE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace anemone {

enum class DType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
  kF8E4M3,
  kF8E5M2,
  kF8E4M3FNUZ,
  kF8E5M2FNUZ,
  kF8E8M0,
  kC32,
  kC64,
  kC128,
  kF4E2M1,  // two elements a byte
  kF6E2M3,  // four elements in three bytes
  kF6E3M2,
};

// What each world calls a dtype. Empty where that world has no word for it.
struct DTypeInfo {
  DType dtype;
  uint8_t size_bytes;            // of one element; 1 where elements share bytes
  uint8_t bits;                  // of one element
  std::string_view name;         // ours, in messages and --dtype: "fp32", "bf16", "int64"
  std::string_view safetensors;  // "F32" [safetensors README, "Format"]
  std::string_view torch;        // "float32", as in `torch.float32`
  std::string_view storage;      // "FloatStorage" [pytorch torch/storage.py, _dtype_to_storage_type_map]
  std::string_view numpy;        // "<f4" [numpy array interface]; zarr spells bf16 "bfloat16"
};

std::span<const DTypeInfo> DTypes();
const DTypeInfo& Info(DType dtype);
inline uint64_t SizeBytes(DType dtype) { return Info(dtype).size_bytes; }
// Elements share bytes: such a tensor is carried whole, neither cut nor cast.
inline bool IsPacked(DType dtype) { return Info(dtype).bits < 8; }
// Bytes of so many elements; nullopt when 64 bits do not count them, or the last byte would be begun and not filled.
std::optional<uint64_t> BytesOfElements(DType dtype, uint64_t elements);
inline std::string_view Name(DType dtype) { return Info(dtype).name; }
// The dtype whose `field` equals `word`, e.g. FindDType(&DTypeInfo::safetensors, "BF16").
std::optional<DType> FindDType(std::string_view DTypeInfo::*field, std::string_view word);

}  // namespace anemone

#endif  // ANEMONE_DTYPE_H_
