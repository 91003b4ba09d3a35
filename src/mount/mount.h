// Mount: the files of a plan, readable before they exist.
#ifndef ANEMONE_MOUNT_MOUNT_H_
#define ANEMONE_MOUNT_MOUNT_H_

#include <memory>
#include <string>

#include "anemone/plan.h"
#include "anemone/status.h"

namespace anemone {

struct MountOptions {
  bool foreground = false;   // serve in this process; else in a child that lives on
  bool allow_other = false;  // let other users read, too: from others than root, /etc/fuse.conf must allow it
};

// Whether something may be mounted at `folder`. Errors: NotFound, InvalidArgument (no folder), AlreadyExists (it holds
// something), Io.
Status CanMount(const std::string& folder);

// Shows the plan's files in `folder`, an empty one, read-only: what Execute would write, computed as it is read. A plan
// of one file shows it as `file_name`. Checksums are as OpenPlanned says. A source that changes while it is mounted
// makes reads fail (EIO): at once, with more than 64 sources within a second. Where a read fails, the system's log says
// why, in the foreground stderr. Returns once it is unmounted, or a signal has ended it; not in the foreground, the
// process ends with status 0 once the files can be read. One at a time in a process. Memory: independent of the plan's
// bytes. Errors: as CanMount; Unavailable (no FUSE, or it refuses).
Status Mount(const std::shared_ptr<const Plan>& plan, const std::string& file_name, const std::string& folder,
             const MountOptions& options);

// Ends what Mount shows in `folder`, also where its process was killed. Errors: InvalidArgument (nothing of anemone's
// is mounted there), Unavailable (in use; no fusermount3).
Status Unmount(const std::string& folder);

}  // namespace anemone

#endif  // ANEMONE_MOUNT_MOUNT_H_
