// Execute: the one place where tensor bytes move.
#ifndef ANEMONE_ENGINE_EXECUTE_H_
#define ANEMONE_ENGINE_EXECUTE_H_

#include <cstdint>
#include <functional>
#include <string>

#include "anemone/progress.h"
#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone {

class Cluster;

struct ExecuteOptions {
  unsigned threads = 0;             // 0: two for each core it may run on, of which one may wait for the device
  uint64_t window_bytes = 1 << 20;  // what a thread fills at once; peak memory is about threads × a few windows
  bool replace = false;             // an existing destination is replaced, and kept until the new one is whole
  // Asked with `replace` before an existing destination goes, and, of a folder, of what was there at that moment: an
  // error keeps it. Null: a file may go, a folder only when it is empty. (Ops' MayReplace asks the formats.)
  std::function<Status(const std::string& path)> may_replace = {};
  ProgressFn progress = {};
  Cluster* cluster = nullptr;  // not owned; null: this process alone
  // --resume: keep what is written when the run fails or is killed, and go on from what an earlier one has kept.
  bool resume = false;
  // Told of each source record whose bytes are not what its recorded CRC says; null: the first is the run's error.
  std::function<void(const Status&)> on_damaged_source = {};
  uint64_t journal_bytes = 256 << 20;  // with `resume`, how much is written between two records of it
};

// Writes the plan's files at `destination`. The output appears whole or not at all: it is filled in a hidden folder
// beside it, synced and renamed into place. On any error, and when cancelled, the folder is removed and what was there
// stays. An empty folder is as good as none. Errors: AlreadyExists (destination exists and may not be replaced),
// CannotCreate (its folder), Io (disk full, read error), Corrupt (a source is shorter than it said), Interrupted. With
// a cluster, collective: ranks do their share of the windows, rank 0 commits, and all answer alike. Progress is then of
// this rank's share. Errors: also InvalidArgument where ranks have different plans. Memory: independent of the plan's
// bytes.
Status Execute(const Plan& plan, const std::string& destination, const ExecuteOptions& options);

// Reads every window of the plan's segments and throws them away, as `verify` does. Errors as Execute's reading ones.
Status ReadThrough(const Plan& plan, const ExecuteOptions& options);

// Bytes of buffers that Execute will use at most.
uint64_t BufferBytes(const Plan& plan, const ExecuteOptions& options);
// The same and the most that this process has held until now: the program, and the plan with all it was made from.
uint64_t PeakMemoryBytes(const Plan& plan, const ExecuteOptions& options);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_EXECUTE_H_
