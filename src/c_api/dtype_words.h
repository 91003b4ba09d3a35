// The element types' names in the C API: torch's, and ours where torch has none.
#ifndef ANEMONE_C_API_DTYPE_WORDS_H_
#define ANEMONE_C_API_DTYPE_WORDS_H_

#include <fmt/format.h>

#include <string_view>

#include "anemone/dtype.h"
#include "anemone/status.h"
#include "convert/option_words.h"

namespace anemone::c_api {

// Lives as long as the program, and ends in a NUL: the table holds literals.
inline std::string_view WordOf(DType dtype) {
  const DTypeInfo& info = Info(dtype);
  return info.torch.empty() ? info.name : info.torch;
}

inline Result<DType> DTypeOf(std::string_view word) {
  for (const auto field : {&DTypeInfo::name, &DTypeInfo::torch}) {
    if (const std::optional<DType> dtype = FindDType(field, word)) return *dtype;
  }
  if (const std::optional<DType> dtype = WeightsDType(word)) return *dtype;
  return WrongOption("dtype", fmt::format("expected fp32, bf16 or fp16, found '{}'", word));
}

}  // namespace anemone::c_api

#endif  // ANEMONE_C_API_DTYPE_WORDS_H_
