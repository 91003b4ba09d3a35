// MeasureDisk: what a disk gives, and so what each way to convert would cost on it.
#ifndef ANEMONE_INSPECT_DISK_H_
#define ANEMONE_INSPECT_DISK_H_

#include <cstdint>
#include <string>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone {

// Of each measurement; the last step may go a little beyond.
struct DiskLimits {
  uint64_t bytes = uint64_t{256} << 20;
  double seconds = 2;
};

// Bytes a second.
struct DiskSpeed {
  double read_cached = 0;  // from the page cache
  double read_direct = 0;  // past it (O_DIRECT); 0 where the file system cannot
  double write = 0;        // written and synced
  bool is_cached = false;  // whether the cache held the file before
  bool shares_blocks = false;
};

// Reads `file`, and writes to a file without a name in `folder`, which goes when it is closed, however this process
// ends. Errors: InvalidArgument (`file` is on no disk); CannotCreate, Io (no room, or none that may be written to).
Result<DiskSpeed> MeasureDisk(const ByteSource& file, const std::string& folder, const DiskLimits& limits = {});

}  // namespace anemone

#endif  // ANEMONE_INSPECT_DISK_H_
