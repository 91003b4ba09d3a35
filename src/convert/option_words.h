// The words for options of few values, as the command line, C and Python spell them.
#ifndef ANEMONE_CONVERT_OPTION_WORDS_H_
#define ANEMONE_CONVERT_OPTION_WORDS_H_

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "anemone/convert.h"
#include "base/lower_case.h"

namespace anemone {

inline constexpr std::pair<std::string_view, ExtraState> kExtraStateWords[] = {
    {"keep", ExtraState::kKeep}, {"drop", ExtraState::kDrop}, {"require", ExtraState::kRequire}};
inline constexpr std::pair<std::string_view, Reflink> kReflinkWords[] = {
    {"auto", Reflink::kAuto}, {"always", Reflink::kAlways}, {"never", Reflink::kNever}};

// The dtype that weights are converted to, by what torch, safetensors or NeMo call it, in any case.
inline std::optional<DType> WeightsDType(std::string_view word) {
  constexpr std::pair<std::string_view, DType> kWords[] = {
      {"fp32", DType::kF32}, {"bf16", DType::kBF16},     {"fp16", DType::kF16},    {"f32", DType::kF32},
      {"f16", DType::kF16},  {"float32", DType::kF32},   {"float", DType::kF32},   {"single", DType::kF32},
      {"half", DType::kF16}, {"bfloat16", DType::kBF16}, {"float16", DType::kF16}, {"bfloat", DType::kBF16}};
  const std::string lower = LowerCase(word);
  const std::string_view name = lower.starts_with("torch.") ? std::string_view(lower).substr(6) : lower;
  const auto* found = std::ranges::find(kWords, name, [](const auto& row) { return row.first; });
  return found == std::end(kWords) ? std::nullopt : std::optional(found->second);
}

}  // namespace anemone

#endif  // ANEMONE_CONVERT_OPTION_WORDS_H_
