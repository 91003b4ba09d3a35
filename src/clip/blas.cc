#include "clip/blas.h"

#include <sys/mman.h>

#include <atomic>
#include <string>

#include "base/cores.h"
#include "base/shared_library.h"

namespace anemone::internal {
namespace {

Result<Blas> Load() {
  ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"libopenblas.so.0", "libopenblas.so"}));
  Blas blas{};
  decltype(&openblas_set_num_threads) set_num_threads = nullptr;
  ANEMONE_TRY(library.Find("cblas_sgemm", blas.sgemm));
  ANEMONE_TRY(library.Find("openblas_set_num_threads", set_num_threads));
  set_num_threads(1);
  return blas;
}

}  // namespace

Status CheckBlasMemory(size_t threads) {
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

Result<const Blas*> LoadBlas() {
  // It would start its threads, and ask for memory until it has some, while it is loaded.
  static std::atomic<bool> is_loaded = false;
  if (!is_loaded) ANEMONE_TRY(CheckBlasMemory(UsableCores()));
  static const Result<Blas> loaded = Load();
  if (!loaded.ok()) return loaded.status();
  is_loaded = true;
  return &*loaded;
}

}  // namespace anemone::internal
