#include "base/cores.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace anemone {

unsigned UsableCores() {
  cpu_set_t bound;
  const bool known = sched_getaffinity(0, sizeof bound, &bound) == 0;  // fails on more than 1024 cores
  return std::max(1u, known ? static_cast<unsigned>(CPU_COUNT(&bound)) : std::thread::hardware_concurrency());
}

}  // namespace anemone
