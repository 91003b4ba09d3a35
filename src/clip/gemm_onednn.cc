// oneDNN's sgemm, compiled at run time for the processor it finds.
#include "clip/gemm.h"

#ifdef ANEMONE_HAS_ONEDNN

#include <fmt/format.h>
#include <oneapi/dnnl/dnnl.h>

#include "base/shared_library.h"
#include "clip/openmp.h"

#define ANEMONE_TEXT_OF(x) #x
#define ANEMONE_TEXT(x) ANEMONE_TEXT_OF(x)

namespace anemone::internal {
namespace {

decltype(&dnnl_sgemm) sgemm = nullptr;
OpenMp openmp;

Status Multiply(const GemmCall& c) {
  const OpenMpThreads one(openmp, 1);
  const auto size = [](size_t value) { return static_cast<dnnl_dim_t>(value); };
  const dnnl_status_t status =
      sgemm('N', 'T', size(c.rows), size(c.columns), size(c.depth), 1.0F, c.a, size(c.a_stride), c.b, size(c.b_stride),
            c.accumulate ? 1.0F : 0.0F, c.out, size(c.out_stride));
  if (status == dnnl_success) return {};
  if (status == dnnl_out_of_memory) return OutOfMemory();
  return Unsupported(fmt::format("oneDNN cannot multiply these matrices here (status {})", static_cast<int>(status)));
}

Result<Gemm> Load() {
  ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"libdnnl.so." ANEMONE_TEXT(DNNL_VERSION_MAJOR)}));
  ANEMONE_TRY(library.Find("dnnl_sgemm", sgemm));
  ANEMONE_ASSIGN(openmp, OpenMp::Of(library));
  return Gemm{"onednn", "", Multiply, [](size_t) { return Status(); }};
}

}  // namespace

Result<const Gemm*> OneDnnGemm() { return LoadedOnce<Load>(); }

}  // namespace anemone::internal

#else

namespace anemone::internal {

Result<const Gemm*> OneDnnGemm() { return Status(ErrorKind::kUnavailable, "this build has no oneDNN"); }

}  // namespace anemone::internal

#endif
