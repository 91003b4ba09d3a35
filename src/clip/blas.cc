#include "clip/blas.h"

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

Result<const Blas*> LoadBlas() {
  static const Result<Blas> loaded = Load();
  if (!loaded.ok()) return loaded.status();
  return &*loaded;
}

}  // namespace anemone::internal
