// Staging: an output that appears whole or not at all.
//
//   1. The output is written in a hidden folder beside the destination, `.NAME.anemone-PID-RANDOM.tmp`.
//   2. Every file is synced by whoever wrote it last, then, for a directory, every directory in it.
//   3. One rename puts it in place. Without `replace` a rename that refuses to replace; with it, a directory changes
//      places with the old one, which is then removed.
//   4. The folder that holds the destination is synced.
// Before 3 nothing has happened to the destination; after it the output is whole. A process killed at any moment leaves
// at most the hidden folder. Of a cluster's ranks, rank 0 creates and commits, and the others join its folder.
#ifndef ANEMONE_ENGINE_COMMIT_H_
#define ANEMONE_ENGINE_COMMIT_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone {

// fsync of a directory: what was created in it or moved there stays. Errors: Io, NotFound.
Status SyncDirectory(const std::string& path);

class Staging {
 public:
  // Checks the destination and its free space, and makes the hidden folder. `needed_bytes` is what will be written.
  // With `keep` the folder is `.NAME.anemone-resume`, may hold what an earlier run has written, and stays when this one
  // fails. Errors: AlreadyExists, CannotCreate, InvalidArgument (a device, the current directory), Io.
  static Result<std::unique_ptr<Staging>> Create(const Plan& plan, const std::string& destination, bool replace,
                                                 bool keep, uint64_t needed_bytes);
  // Makes the output in it: its directories, or the one file. What an earlier run has written of the same plan stays.
  Status MakeOutput(const Plan& plan);
  // For the other ranks: files can be created in the `folder` that rank 0 made.
  static std::unique_ptr<Staging> Join(const std::string& destination, const std::string& folder);
  // Removes the folder with what is left in it, unless that is kept or joined. By then no rank has a file in it open:
  // network file systems keep what is removed while it is open, under another name.
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const std::string& folder() const { return folder_; }
  // Opens one of the plan's files for writing, of `size` bytes, zeros where nobody has written yet. The caller syncs
  // and closes it. Any thread, any rank.
  Result<int> OpenFile(const std::string& path, uint64_t size) const;
  // Whether an earlier run has made that file. Errors: Corrupt.
  Status Holds(const std::string& path, uint64_t size) const;
  // Steps 2 (directories) to 4. Every file is synced and closed.
  Status Commit();
  // A failed write to one of the plan's files, with what a full disk lacks.
  Status WriteError(int error_number, const std::string& path) const;

 private:
  Staging() = default;

  std::string shown_;        // the destination as the user gave it
  std::string destination_;  // symbolic links followed
  std::string parent_;
  std::string folder_;                    // the hidden one
  std::string output_;                    // in it: what becomes the destination
  std::vector<std::string> directories_;  // of an output that is one, itself first, parents before children
  uint64_t output_bytes_ = 0;
  std::optional<uint64_t> free_bytes_;  // before anything was written; as far as this rank knows
  bool is_directory_ = false;
  bool replace_ = false;
  bool exists_ = false;  // there is something to replace
  bool keep_ = false;    // folder_ outlives a failure
  bool made_ = false;    // folder_ exists and is ours to remove
};

}  // namespace anemone

#endif  // ANEMONE_ENGINE_COMMIT_H_
