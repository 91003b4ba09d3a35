// Staging: an output that appears whole or not at all.
//
//   1. The output is written under a temporary name beside the destination, `.NAME.anemone-PID-RANDOM.tmp`.
//   2. Every file is synced by whoever wrote it last, then, for a directory, every directory in it.
//   3. One rename puts it in place. Without `replace` a rename that refuses to replace; with it, a directory changes
//   places
//      with the old one, which is then removed.
//   4. The folder that holds the destination is synced.
// Before 3 nothing has happened to the destination; after it the output is whole. A process killed at any moment leaves
// at most the temporary name.
#ifndef ANEMONE_ENGINE_COMMIT_H_
#define ANEMONE_ENGINE_COMMIT_H_

#include <memory>
#include <string>
#include <vector>

#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone {

class Staging {
 public:
  // Checks the destination and its free space, and makes the temporary directory of a plan that is one. `needed_bytes`
  // is what will be written. Errors: AlreadyExists, CannotCreate, InvalidArgument (a device, the current directory),
  // Io.
  static Result<std::unique_ptr<Staging>> Create(const Plan& plan, const std::string& destination, bool replace,
                                                 uint64_t needed_bytes);
  // Removes what was written, unless committed.
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Creates one of the plan's files, of `size` bytes, all zeros. The caller syncs and closes it. Any thread.
  Result<int> CreateFile(const std::string& path, uint64_t size) const;
  // Steps 2 (directories) to 4. Every file is synced and closed.
  Status Commit();
  // A failed write to one of the plan's files, with what a full disk lacks.
  Status WriteError(int error_number, const std::string& path) const;

 private:
  Staging() = default;

  std::string shown_;        // the destination as the user gave it
  std::string destination_;  // symbolic links followed
  std::string parent_;
  std::string temporary_;
  std::vector<std::string> directories_;  // made under temporary_, parents first; temporary_ itself is the first
  uint64_t needed_bytes_ = 0;
  bool is_directory_ = false;
  bool replace_ = false;
  bool exists_ = false;  // there is something to replace
  bool made_ = false;    // temporary_ may exist
};

}  // namespace anemone

#endif  // ANEMONE_ENGINE_COMMIT_H_
