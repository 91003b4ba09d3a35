#include "anemone/dtype.h"

#include "base/checked.h"

namespace anemone {
namespace {

constexpr DTypeInfo kDTypes[] = {
    // dtype, bytes, bits, name, safetensors, torch, storage, numpy
    {DType::kF64, 8, 64, "fp64", "F64", "float64", "DoubleStorage", "<f8"},
    {DType::kF32, 4, 32, "fp32", "F32", "float32", "FloatStorage", "<f4"},
    {DType::kF16, 2, 16, "fp16", "F16", "float16", "HalfStorage", "<f2"},
    {DType::kBF16, 2, 16, "bf16", "BF16", "bfloat16", "BFloat16Storage", "bfloat16"},
    {DType::kI64, 8, 64, "int64", "I64", "int64", "LongStorage", "<i8"},
    {DType::kI32, 4, 32, "int32", "I32", "int32", "IntStorage", "<i4"},
    {DType::kI16, 2, 16, "int16", "I16", "int16", "ShortStorage", "<i2"},
    {DType::kI8, 1, 8, "int8", "I8", "int8", "CharStorage", "|i1"},
    {DType::kU64, 8, 64, "uint64", "U64", "uint64", "", "<u8"},
    {DType::kU32, 4, 32, "uint32", "U32", "uint32", "", "<u4"},
    {DType::kU16, 2, 16, "uint16", "U16", "uint16", "", "<u2"},
    {DType::kU8, 1, 8, "uint8", "U8", "uint8", "ByteStorage", "|u1"},
    {DType::kBool, 1, 8, "bool", "BOOL", "bool", "BoolStorage", "|b1"},
    {DType::kF8E4M3, 1, 8, "fp8_e4m3", "F8_E4M3", "float8_e4m3fn", "", "float8_e4m3fn"},
    {DType::kF8E5M2, 1, 8, "fp8_e5m2", "F8_E5M2", "float8_e5m2", "", "float8_e5m2"},
    {DType::kF8E4M3FNUZ, 1, 8, "fp8_e4m3fnuz", "F8_E4M3FNUZ", "float8_e4m3fnuz", "", "float8_e4m3fnuz"},
    {DType::kF8E5M2FNUZ, 1, 8, "fp8_e5m2fnuz", "F8_E5M2FNUZ", "float8_e5m2fnuz", "", "float8_e5m2fnuz"},
    {DType::kF8E8M0, 1, 8, "fp8_e8m0", "F8_E8M0", "float8_e8m0fnu", "", "float8_e8m0fnu"},
    {DType::kC32, 4, 32, "complex32", "", "complex32", "", ""},
    {DType::kC64, 8, 64, "complex64", "C64", "complex64", "ComplexFloatStorage", "<c8"},
    {DType::kC128, 16, 128, "complex128", "", "complex128", "ComplexDoubleStorage", "<c16"},
    // torch's type stands for both elements of a byte: its last axis is half as long.
    {DType::kF4E2M1, 1, 4, "fp4_e2m1", "F4", "float4_e2m1fn_x2", "", ""},
    {DType::kF6E2M3, 1, 6, "fp6_e2m3", "F6_E2M3", "", "", ""},
    {DType::kF6E3M2, 1, 6, "fp6_e3m2", "F6_E3M2", "", "", ""},
};

constexpr bool IndexedByDType() {
  for (size_t i = 0; i < std::size(kDTypes); ++i) {
    if (static_cast<size_t>(kDTypes[i].dtype) != i) return false;
  }
  return static_cast<size_t>(DType::kF6E3M2) + 1 == std::size(kDTypes);
}
static_assert(IndexedByDType(), "kDTypes follows the order of DType");

}  // namespace

std::span<const DTypeInfo> DTypes() { return kDTypes; }

const DTypeInfo& Info(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

std::optional<uint64_t> BytesOfElements(DType dtype, uint64_t elements) {
  if (!IsPacked(dtype)) return CheckedMul(elements, SizeBytes(dtype));
  const std::optional<uint64_t> bits = CheckedMul(elements, Info(dtype).bits);
  return bits && *bits % 8 == 0 ? std::optional(*bits / 8) : std::nullopt;
}

std::optional<DType> FindDType(std::string_view DTypeInfo::*field, std::string_view word) {
  if (word.empty()) return std::nullopt;
  for (const DTypeInfo& info : kDTypes) {
    if (info.*field == word) return info.dtype;
  }
  return std::nullopt;
}

}  // namespace anemone
