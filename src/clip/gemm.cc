#include "clip/gemm.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <vector>

#include "anemone/clip.h"

namespace anemone::internal {
namespace {

constexpr const char* kVariable = "ANEMONE_GEMM";
using Library = Result<const Gemm*> (*)();
constexpr std::array<std::pair<std::string_view, Library>, 2> kLibraries = {
    {{"openblas", OpenBlasGemm}, {"onednn", OneDnnGemm}}};

// The library that the variable names; null where it is not set.
Result<Library> Asked() {
  const char* const asked = std::getenv(kVariable);
  if (asked == nullptr || *asked == '\0') return Library{};
  for (const auto& [name, library] : kLibraries) {
    if (asked == name) return library;
  }
  return InvalidArgument(fmt::format("{}: expected openblas or onednn, found '{}'", kVariable, asked));
}

// Of this thread: time that others take from it does not count.
double ThreadMilliseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

// In turns, the least of each: what slows one call down does not slow all. Ends early where the winner is clear, goes
// on where it is not.
Result<GemmTimes> Measure(const Gemm& openblas, const Gemm& onednn, const GemmShape& shape) {
  constexpr int kFewestRounds = 2;
  constexpr int kRounds = 8;
  constexpr int kMostRounds = 24;
  constexpr double kClear = 1.5;
  const std::vector<float> a(shape.rows * shape.depth, 0.5F);
  const std::vector<float> b(shape.columns * shape.depth, 0.25F);
  std::vector<float> out(shape.rows * shape.columns);
  const GemmCall call = {.rows = shape.rows,
                         .columns = shape.columns,
                         .depth = shape.depth,
                         .a = a.data(),
                         .a_stride = shape.depth,
                         .b = b.data(),
                         .b_stride = shape.depth,
                         .out = out.data(),
                         .out_stride = shape.columns};
  constexpr double kNever = std::numeric_limits<double>::infinity();
  GemmTimes times = {kNever, kNever};
  for (int round = 0; round <= kMostRounds; ++round) {  // round 0: oneDNN compiles, OpenBLAS takes its memory
    for (const auto& [gemm, least] : {std::pair{&openblas, &times.openblas}, std::pair{&onednn, &times.onednn}}) {
      const double start = ThreadMilliseconds();
      ANEMONE_TRY(gemm->multiply(call));
      if (round > 0) *least = std::min(*least, ThreadMilliseconds() - start);
    }
    const bool is_clear = times.openblas * kClear < times.onednn || times.onednn * kClear < times.openblas;
    if (round >= kFewestRounds && is_clear) break;
    if (round >= kRounds && !times.IsClose()) break;
  }
  return times;
}

Result<GemmChoice> Choose(const GemmShape& shape) {
  const Result<const Gemm*> openblas = OpenBlasGemm();
  const auto there_is = [](const Result<const Gemm*>& library) {
    return library.ok() || library.status().kind() != ErrorKind::kUnavailable;
  };
  // OpenBLAS is slower with few rows, by 1.15 to 1.28 on ViT-B/32, on AVX2, too. In a narrow model that is less than
  // oneDNN takes to compile.
  constexpr size_t kFewRows = 128;
  constexpr size_t kNarrow = 256;
  const bool suits_openblas = shape.rows >= kFewRows || shape.depth < kNarrow;
  if (openblas.ok() && suits_openblas && ProcessorInstructions() != InstructionSet::kAvx512 &&
      OpenBlasInstructions((*openblas)->kernels) == ProcessorInstructions()) {
    return GemmChoice{*openblas, fmt::format("its {} kernels are made for this processor", (*openblas)->kernels)};
  }
  if (!openblas.ok() && there_is(openblas)) return openblas.status();
  const Result<const Gemm*> onednn = OneDnnGemm();
  if (!onednn.ok()) {
    if (!openblas.ok()) return openblas.status();
    return GemmChoice{*openblas, fmt::format("its {} kernels; no oneDNN to compare with: {}", (*openblas)->kernels,
                                             onednn.status().message())};
  }
  if (!openblas.ok()) return GemmChoice{*onednn, "no OpenBLAS: " + openblas.status().message()};
  ANEMONE_ASSIGN(const GemmTimes times, Measure(**openblas, **onednn, shape));
  return GemmChoice{
      times.PrefersOpenBlas() ? *openblas : *onednn,
      fmt::format("on {} × {} × {} openblas ({} kernels) takes {:.2f} times what onednn takes", shape.rows,
                  shape.columns, shape.depth, (*openblas)->kernels, times.openblas / times.onednn)};
}

}  // namespace

InstructionSet ProcessorInstructions() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return InstructionSet::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::kAvx2;
#endif
  return InstructionSet::kOlder;
}

InstructionSet OpenBlasInstructions(std::string_view kernels) {
  constexpr std::array<std::string_view, 3> kAvx512 = {"SkylakeX", "Cooperlake", "SapphireRapids"};
  constexpr std::array<std::string_view, 2> kAvx2 = {"Haswell", "Zen"};
  if (std::ranges::find(kAvx512, kernels) != kAvx512.end()) return InstructionSet::kAvx512;
  if (std::ranges::find(kAvx2, kernels) != kAvx2.end()) return InstructionSet::kAvx2;
  return InstructionSet::kOlder;
}

std::string GemmChoice::ToString() const { return fmt::format("{}: {}", library->name, reason); }

GemmShape GemmShapeOf(const ClipSpec& spec) {
  GemmShape shape = kGemmOfVitL14;
  const uint64_t grid = spec.has_vision ? spec.image_size / spec.patch_size : 0;
  shape.rows = std::min<size_t>(shape.rows, spec.has_vision ? grid * grid + 1 : spec.context);
  shape.depth = std::min<size_t>(shape.depth, (spec.has_vision ? spec.vision : spec.text).width);
  return shape;
}

Status CheckGemmVariable() { return Asked().status(); }

Result<GemmChoice> ChooseGemm(const GemmShape& shape) {
  ANEMONE_ASSIGN(const Library asked, Asked());
  if (asked != nullptr) {
    const Result<const Gemm*> gemm = asked();
    if (!gemm.ok()) return gemm.status().In(kVariable);
    return GemmChoice{*gemm, fmt::format("{} asks for it", kVariable)};
  }
  static std::mutex mutex;
  static std::map<std::array<size_t, 3>, GemmChoice> chosen;
  const std::lock_guard lock(mutex);
  const std::array key = {shape.rows, shape.columns, shape.depth};
  if (const auto at = chosen.find(key); at != chosen.end()) return at->second;
  ANEMONE_ASSIGN(GemmChoice choice, Choose(shape));
  return chosen.emplace(key, std::move(choice)).first->second;
}

}  // namespace anemone::internal
