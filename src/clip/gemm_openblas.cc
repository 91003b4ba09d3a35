// OpenBLAS, loaded when the first model is.
#include <cblas.h>
#include <sys/mman.h>

#include <atomic>
#include <string>

#include "base/cores.h"
#include "base/shared_library.h"
#include "clip/gemm.h"

namespace anemone::internal {
namespace {

decltype(&cblas_sgemm) sgemm = nullptr;

Status Multiply(const GemmCall& c) {
  const auto size = [](size_t value) { return static_cast<blasint>(value); };
  sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size(c.rows), size(c.columns), size(c.depth), 1.0F, c.a,
        size(c.a_stride), c.b, size(c.b_stride), c.accumulate ? 1.0F : 0.0F, c.out, size(c.out_stride));
  return {};
}

// Whether so many threads can each have the room that OpenBLAS takes for its products: without it, it asks for ever.
Status MakeRoom(size_t threads) {
  // Of addresses, not of memory: what limits them is `ulimit -v`. Measured: the library 64 MiB, the first product 256,
  // each further thread's 90, stack and malloc's arena included.
  constexpr size_t kMib = size_t{1} << 20;
  const size_t wanted = (192 + 128 * (threads + 1)) * kMib;
  void* const room = mmap(nullptr, wanted, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room != MAP_FAILED) {
    munmap(room, wanted);
    return {};
  }
  return Status(ErrorKind::kOutOfMemory,
                "out of memory: expected " + std::to_string(wanted / kMib) + " MiB of addresses for matrix products",
                "ulimit -v limits addresses");
}

Result<Gemm> Load() {
  ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"libopenblas.so.0", "libopenblas.so"}));
  decltype(&openblas_set_num_threads) set_num_threads = nullptr;
  decltype(&openblas_get_corename) get_corename = nullptr;
  ANEMONE_TRY(library.Find("cblas_sgemm", sgemm));
  ANEMONE_TRY(library.Find("openblas_set_num_threads", set_num_threads));
  ANEMONE_TRY(library.Find("openblas_get_corename", get_corename));
  set_num_threads(1);
  return Gemm{"openblas", get_corename(), Multiply, MakeRoom};
}

}  // namespace

Result<const Gemm*> OpenBlasGemm() {
  // It would start its threads, and ask for memory until it has some, while it is loaded.
  static std::atomic<bool> is_loaded = false;
  if (!is_loaded) ANEMONE_TRY(MakeRoom(UsableCores()));
  ANEMONE_ASSIGN(const Gemm* const gemm, LoadedOnce<Load>());
  is_loaded = true;
  return gemm;
}

}  // namespace anemone::internal
