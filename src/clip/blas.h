// OpenBLAS, loaded when the first model is.
#ifndef ANEMONE_CLIP_BLAS_H_
#define ANEMONE_CLIP_BLAS_H_

#include <cblas.h>

#include <cstddef>

#include "anemone/status.h"

namespace anemone::internal {

struct Blas {
  decltype(&cblas_sgemm) sgemm;  // runs in the calling thread alone: threads are the caller's
};

// Owned by the library, valid for ever. Threads: safe. Errors: Unavailable.
Result<const Blas*> LoadBlas();

// Whether so many threads can each have the room that OpenBLAS takes for its products: without it, it asks for ever.
Status CheckBlasMemory(size_t threads);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_BLAS_H_
