// What multiplies fp32 matrices: the project's own loop, OpenBLAS or oneDNN, whichever is fast on this machine.
#ifndef ANEMONE_CLIP_GEMM_H_
#define ANEMONE_CLIP_GEMM_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"

namespace anemone {
struct ClipSpec;
}

namespace anemone::internal {

// out = a · bᵀ, or that added to `out`. Row-major; strides are elements between rows.
struct GemmCall {
  size_t rows = 0;
  size_t columns = 0;
  size_t depth = 0;
  const float* a = nullptr;  // [rows, depth]
  size_t a_stride = 0;
  const float* b = nullptr;  // [columns, depth]
  size_t b_stride = 0;
  bool accumulate = false;
  float* out = nullptr;  // [rows, columns]
  size_t out_stride = 0;
};

// A product. It runs in the calling thread alone: threads are the caller's.
struct Gemm {
  std::string_view name;                     // as ANEMONE_GEMM has it
  std::string_view kernels;                  // the processor or instructions that they are made for; may be empty
  Status (*multiply)(const GemmCall& call);  // Threads: any. Errors: the library's own.
  Status (*make_room)(size_t threads);       // before the first product by so many threads. Errors: OutOfMemory.
};

// Loaded at the first call; owned by the library, valid for ever. Threads: safe. Errors: Unavailable, OutOfMemory.
Result<const Gemm*> OpenBlasGemm();
Result<const Gemm*> OneDnnGemm();
// The project's own (tile.h), always there. The encoders do not call its `multiply`, which packs `b` each time: they
// pack their weights once (packed.h).
const Gemm* OwnGemm();

struct GemmChoice {
  const Gemm* library = nullptr;
  std::string reason;

  // "own: ANEMONE_GEMM asks for it"
  std::string ToString() const;
};

// A product that a model spends its time on.
struct GemmShape {
  size_t rows = 0;
  size_t columns = 0;
  size_t depth = 0;
};
constexpr GemmShape kGemmOfVitL14 = {257, 128, 1024};
// A block of a linear layer as one thread multiplies it, for one picture or, without an image tower, for one text; no
// larger than kGemmOfVitL14.
GemmShape GemmShapeOf(const ClipSpec& spec);

// The product for models of that shape. ANEMONE_GEMM=own|openblas|onednn decides where it is set. Otherwise the
// project's own, where its loop uses AVX2 or AVX-512; else the fastest in a measurement of a few milliseconds, done
// once for a shape. Threads: safe. Errors: InvalidArgument (ANEMONE_GEMM), Unavailable (not the library that is asked
// for), OutOfMemory.
Result<GemmChoice> ChooseGemm(const GemmShape& shape);
// Checks the values of ANEMONE_GEMM and ANEMONE_INSTRUCTIONS (tensor/simd.h), and loads no library. Errors:
// InvalidArgument.
Status CheckGemmVariable();

// The place of the product to take, of those whose least times these are, the most wanted first: the first, unless a
// later one is faster by a margin that measurements do not cross by chance. A model's results must not differ in their
// last bits from run to run.
size_t PreferredOf(const std::vector<double>& milliseconds);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_GEMM_H_
