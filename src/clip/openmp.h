// The number of threads that a library's parallel regions run on, where it is linked to OpenMP.
#ifndef ANEMONE_CLIP_OPENMP_H_
#define ANEMONE_CLIP_OPENMP_H_

#include "anemone/status.h"
#include "base/shared_library.h"

namespace anemone::internal {

// Of the OpenMP that `library` is linked to, and of the calling thread alone.
struct OpenMp {
  void (*set_num_threads)(int) = nullptr;
  int (*get_max_threads)() = nullptr;

  static Result<OpenMp> Of(const SharedLibrary& library) {
    OpenMp openmp;
    ANEMONE_TRY(library.Find("omp_set_num_threads", openmp.set_num_threads));
    ANEMONE_TRY(library.Find("omp_get_max_threads", openmp.get_max_threads));
    return openmp;
  }
};

// So many threads as long as this lives. Then the thread's own number is put back: other libraries of the process may
// use the same OpenMP.
class OpenMpThreads {
 public:
  OpenMpThreads(const OpenMp& openmp, int threads) : openmp_(openmp), before_(openmp.get_max_threads()) {
    openmp_.set_num_threads(threads);
  }
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;
  ~OpenMpThreads() { openmp_.set_num_threads(before_); }

 private:
  const OpenMp& openmp_;
  int before_;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_OPENMP_H_
