// Highway's run-time dispatch without Highway's library, which calibrates a timer for some milliseconds in every
// process that loads it. A file includes this in its HWY_ONCE part and calls ANEMONE_BEST(Function)(arguments…).
#ifndef ANEMONE_TENSOR_SIMD_H_
#define ANEMONE_TENSOR_SIMD_H_

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace anemone::internal {

// Whether this CPU runs what was compiled for the target; SSE2 and NEON are part of their architectures.
inline bool CpuRuns(int64_t target) {
#if HWY_ARCH_X86
  const bool sse4 =
      __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("aes");
  const bool avx2 = sse4 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (target == HWY_SSE4) return sse4;
  if (target == HWY_AVX2) return avx2;
  if (target == HWY_AVX3) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  }
#endif
  return target == HWY_STATIC_TARGET;
}

// A function as compiled for one instruction set.
template <class Function>
struct Compiled {
  const char* target;  // "AVX2"
  Function function;
};

// Whether a target may be used: ANEMONE_INSTRUCTIONS=AVX2|SSE4|baseline forbids those that are faster than the named.
inline bool IsAllowed(std::string_view target) {
  static const std::string most = [] {
    const char* const value = std::getenv("ANEMONE_INSTRUCTIONS");
    return std::string(value == nullptr ? "" : value);
  }();
  constexpr std::array<std::string_view, 3> kFastestFirst = {"AVX3", "AVX2", "SSE4"};
  return most.empty() || std::ranges::find(kFastestFirst, target) >= std::ranges::find(kFastestFirst, most);
}

// Those that this CPU runs and that are allowed, the fastest first; never empty.
template <class Function>
std::vector<Compiled<Function>> Runnable(Function avx3, Function avx2, Function sse4, Function baseline) {
  std::vector<Compiled<Function>> out;
  if (avx3 != nullptr && CpuRuns(HWY_AVX3) && IsAllowed("AVX3")) out.push_back({"AVX3", avx3});
  if (avx2 != nullptr && CpuRuns(HWY_AVX2) && IsAllowed("AVX2")) out.push_back({"AVX2", avx2});
  if (sse4 != nullptr && CpuRuns(HWY_SSE4) && IsAllowed("SSE4")) out.push_back({"SSE4", sse4});
  out.push_back({"baseline", baseline});
  return out;
}

}  // namespace anemone::internal

#define ANEMONE_RUNNABLE(FUNCTION)                                         \
  ::anemone::internal::Runnable<decltype(&HWY_STATIC_DISPATCH(FUNCTION))>( \
      HWY_CHOOSE_AVX3(FUNCTION), HWY_CHOOSE_AVX2(FUNCTION), HWY_CHOOSE_SSE4(FUNCTION), &HWY_STATIC_DISPATCH(FUNCTION))

// A function of its own holds the choice, so that it is made once for each use.
#define ANEMONE_BEST(FUNCTION)                                            \
  ([] {                                                                   \
    static const auto best = ANEMONE_RUNNABLE(FUNCTION).front().function; \
    return best;                                                          \
  }())

#endif  // ANEMONE_TENSOR_SIMD_H_
