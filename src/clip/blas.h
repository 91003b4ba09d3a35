// OpenBLAS, loaded when the first model is.
#ifndef ANEMONE_CLIP_BLAS_H_
#define ANEMONE_CLIP_BLAS_H_

#include <cblas.h>

#include "anemone/status.h"

namespace anemone::internal {

struct Blas {
  decltype(&cblas_sgemm) sgemm;  // runs in the calling thread alone: threads are the caller's
};

// Owned by the library, valid for ever. Threads: safe. Errors: Unavailable.
Result<const Blas*> LoadBlas();

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_BLAS_H_
