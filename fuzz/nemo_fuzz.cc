// Any bytes as a checkpoint of one file, whatever format they look like: opened or refused with a reason.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "format/format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = memfd_create("fuzz", 0);
  if (fd < 0) return 0;
  if (write(fd, data, size) == static_cast<ssize_t>(size)) {
    const auto checkpoint = anemone::OpenCheckpoint("/proc/self/fd/" + std::to_string(fd));
    if (checkpoint.ok() && checkpoint->shards.empty()) std::abort();
    if (!checkpoint.ok() &&
        (checkpoint.status().message().empty() || checkpoint.status().kind() == anemone::ErrorKind::kInternal)) {
      std::abort();
    }
  }
  close(fd);
  return 0;
}
