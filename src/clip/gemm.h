// Products of fp32 matrices: by OpenBLAS or by oneDNN, whichever is faster on this machine.
#ifndef ANEMONE_CLIP_GEMM_H_
#define ANEMONE_CLIP_GEMM_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "anemone/status.h"

namespace anemone {
struct ClipSpec;
}

namespace anemone::internal {

// out = scale · a · b, or that added to `out`. Row-major; strides are elements between rows.
struct GemmCall {
  size_t rows = 0;
  size_t columns = 0;
  size_t depth = 0;
  float scale = 1;
  const float* a = nullptr;  // [rows, depth]
  size_t a_stride = 0;
  const float* b = nullptr;  // [columns, depth], or [depth, columns] where not `b_transposed`
  size_t b_stride = 0;
  bool b_transposed = true;
  bool accumulate = false;
  float* out = nullptr;  // [rows, columns]
  size_t out_stride = 0;
};

// A library's product. It runs in the calling thread alone: threads are the caller's.
struct Gemm {
  std::string_view name;                     // as ANEMONE_GEMM has it
  std::string_view kernels;                  // the processor that the library takes this one for; may be empty
  Status (*multiply)(const GemmCall& call);  // Threads: any. Errors: the library's own.
  Status (*make_room)(size_t threads);       // before the first product by so many threads. Errors: OutOfMemory.
};

// Loaded at the first call; owned by the library, valid for ever. Threads: safe. Errors: Unavailable, OutOfMemory.
Result<const Gemm*> OpenBlasGemm();
Result<const Gemm*> OneDnnGemm();

struct GemmChoice {
  const Gemm* library = nullptr;
  std::string reason;

  // "onednn: ANEMONE_GEMM asks for it"
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

// The product for models of that shape. ANEMONE_GEMM=openblas|onednn decides where it is set. Otherwise OpenBLAS, where
// it has kernels for this processor's AVX2 and rows enough for them; else the faster of the two in a measurement of a
// few milliseconds, done once for a shape. Threads: safe. Errors: InvalidArgument (ANEMONE_GEMM), Unavailable (neither
// library, or not the one that is asked for), OutOfMemory.
Result<GemmChoice> ChooseGemm(const GemmShape& shape);
// Checks the value of ANEMONE_GEMM, and loads no library. Errors: InvalidArgument.
Status CheckGemmVariable();

// The least times of one product, in milliseconds, and which library they speak for. oneDNN keeps the preference unless
// OpenBLAS is faster by a margin that measurements do not cross by chance: a model's results must not differ in their
// last bits from run to run.
struct GemmTimes {
  double openblas = 0;
  double onednn = 0;

  bool PrefersOpenBlas() const { return openblas * kMargin < onednn; }
  bool IsClose() const { return openblas * 1.03 < onednn && onednn < openblas * 1.2; }
  static constexpr double kMargin = 1.10;
};

enum class InstructionSet : uint8_t { kOlder, kAvx2, kAvx512 };
InstructionSet ProcessorInstructions();
// What the kernels use that OpenBLAS has for a processor of that name.
InstructionSet OpenBlasInstructions(std::string_view kernels);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_GEMM_H_
