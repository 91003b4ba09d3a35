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
#include "clip/packed.h"

namespace anemone::internal {
namespace {

constexpr const char* kVariable = "ANEMONE_GEMM";
using Library = Result<const Gemm*> (*)();
constexpr std::array<std::pair<std::string_view, Library>, 3> kLibraries = {
    {{"own", [] { return Result<const Gemm*>(OwnGemm()); }}, {"onednn", OneDnnGemm}, {"openblas", OpenBlasGemm}}};

// The library that the variable names; null where it is not set.
Result<Library> Asked() {
  const char* const asked = std::getenv(kVariable);
  if (asked == nullptr || *asked == '\0') return Library{};
  for (const auto& [name, library] : kLibraries) {
    if (asked == name) return library;
  }
  return InvalidArgument(fmt::format("{}: expected own, openblas or onednn, found '{}'", kVariable, asked));
}

// Of this thread: time that others take from it does not count.
double ThreadMilliseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

// Milliseconds: in turns, the least of each, so that what slows one call down does not slow all.
Result<std::vector<double>> Measure(const std::vector<const Gemm*>& products, const GemmShape& shape) {
  constexpr int kRounds = 8;
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
  std::vector<double> least(products.size(), std::numeric_limits<double>::infinity());
  for (int round = 0; round <= kRounds; ++round) {  // round 0: oneDNN compiles, OpenBLAS takes its memory
    for (size_t i = 0; i < products.size(); ++i) {
      const double start = ThreadMilliseconds();
      ANEMONE_TRY(products[i]->multiply(call));
      if (round > 0) least[i] = std::min(least[i], ThreadMilliseconds() - start);
    }
  }
  return least;
}

Result<GemmChoice> Choose(const GemmShape& shape) {
  const Gemm* const own = OwnGemm();
  if (own->kernels == "AVX3" || own->kernels == "AVX2") {
    return GemmChoice{own, fmt::format("its loop is made for {}", own->kernels == "AVX2" ? "AVX2" : "AVX-512")};
  }
  std::vector<const Gemm*> products;
  for (const auto& [name, library] : kLibraries) {
    const Result<const Gemm*> product = library();
    if (product.ok()) products.push_back(*product);
    if (!product.ok() && product.status().kind() != ErrorKind::kUnavailable) return product.status();
  }
  ANEMONE_ASSIGN(const std::vector<double> times, Measure(products, shape));
  const size_t preferred = PreferredOf(times);
  std::string reason = fmt::format("on {} × {} × {}", shape.rows, shape.columns, shape.depth);
  for (size_t i = 0; i < products.size(); ++i) {
    reason +=
        fmt::format("{} {} ({}) takes {:.2f} ms", i == 0 ? "" : ",", products[i]->name, products[i]->kernels, times[i]);
  }
  return GemmChoice{products[preferred], reason};
}

Status MultiplyOwn(const GemmCall& c) {
  thread_local std::vector<float> packed_a;
  thread_local std::vector<float> packed_b;
  const RowTiles tiles(c.rows);
  const ColumnPanels panels(c.columns, c.columns);
  packed_a.resize(c.rows * c.depth);
  const Encoding encoding;
  packed_b.resize(panels.count * encoding.PanelSize(c.depth));
  for (size_t t = 0; t < tiles.count; ++t) {
    PackTile(encoding, c.a + tiles.Begin(t) * c.a_stride, c.a_stride, tiles.Size(t), c.depth,
             packed_a.data() + tiles.Begin(t) * c.depth, nullptr);
  }
  for (size_t p = 0; p < panels.count; ++p) {
    PackPanel(encoding, c.b + panels.Begin(p) * c.b_stride, c.b_stride, panels.Size(p), c.depth,
              packed_b.data() + p * encoding.PanelSize(c.depth));
  }
  const PackedProduct product = {.encoding = encoding,
                                 .tiles = tiles,
                                 .a = packed_a.data(),
                                 .panels = panels,
                                 .weight = packed_b.data(),
                                 .depth = c.depth,
                                 .accumulate = c.accumulate,
                                 .activation = {},
                                 .out = c.out,
                                 .out_stride = c.out_stride};
  product.Multiply({1, 1}, 0);
  return {};
}

}  // namespace

const Gemm* OwnGemm() {
  static const Gemm own = {"own", TileInstructions(), MultiplyOwn, [](size_t) { return Status(); }};
  return &own;
}

size_t PreferredOf(const std::vector<double>& milliseconds) {
  constexpr double kMargin = 1.10;
  size_t preferred = 0;
  for (size_t i = 1; i < milliseconds.size(); ++i) {
    if (milliseconds[i] * kMargin < milliseconds[preferred]) preferred = i;
  }
  return preferred;
}

std::string GemmChoice::ToString() const { return fmt::format("{}: {}", library->name, reason); }

GemmShape GemmShapeOf(const ClipSpec& spec) {
  GemmShape shape = kGemmOfVitL14;
  const uint64_t grid = spec.has_vision ? spec.image_size / spec.patch_size : 0;
  shape.rows = std::min<size_t>(shape.rows, spec.has_vision ? grid * grid + 1 : spec.context);
  shape.depth = std::min<size_t>(shape.depth, (spec.has_vision ? spec.vision : spec.text).width);
  return shape;
}

Status CheckGemmVariable() {
  constexpr std::array<std::string_view, 4> kInstructions = {"", "AVX2", "SSE4", "baseline"};
  const char* const most = std::getenv("ANEMONE_INSTRUCTIONS");
  if (most != nullptr && std::ranges::find(kInstructions, most) == kInstructions.end()) {
    return InvalidArgument(fmt::format("ANEMONE_INSTRUCTIONS: expected AVX2, SSE4 or baseline, found '{}'", most));
  }
  return Asked().status();
}

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
