// Staging: an output that appears whole or not at all.
//
//   1. The output is written in a hidden folder beside the destination (work_folder.h), which locks out other runs.
//   2. Every file is synced by whoever wrote it last, then, for a directory, every directory in it.
//   3. What replaces something takes over its mode and owner, file by file.
//   4. One rename puts it in place. Without `replace` a rename that refuses to replace; with it, a directory changes
//      places with the old one, which is looked at once more and then removed.
//   5. The folder that holds the destination is synced.
// Before 4 nothing has happened to the destination; after it the output is whole. A process killed at any moment leaves
// at most the hidden folder. Of a cluster's ranks, rank 0 creates and commits, and the others join its folder.
#ifndef ANEMONE_ENGINE_COMMIT_H_
#define ANEMONE_ENGINE_COMMIT_H_

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "anemone/status.h"
#include "base/descriptor.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "engine/work_folder.h"

namespace anemone {

class Staging {
 public:
  // Checks the destination and its free space, and takes the hidden folder. `needed_bytes` is what will be written.
  // With `options.resume` the folder may hold what an earlier run has written, and stays when this one fails. Errors:
  // AlreadyExists, CannotCreate, InvalidArgument (a device, the current directory), Io, and those of `may_replace`.
  static Result<std::unique_ptr<Staging>> Create(const Plan& plan, const std::string& destination,
                                                 const ExecuteOptions& options, uint64_t needed_bytes);
  // Makes the output in it: its directories, or the one file, and what a journal may come to speak of. `begins`: no
  // earlier run has written any of it; else its files are there or missed (see Holds).
  Status MakeOutput(const Plan& plan, bool begins);
  // For the other ranks: files can be created in the `folder` that rank 0 made.
  static Result<std::unique_ptr<Staging>> Join(const std::string& destination, const std::string& folder);
  // Removes the folder with what is left in it, unless that is kept or joined. By then no rank has a file in it open.
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const Directory& folder() const { return work_.directory(); }
  // Opens one of the plan's files for writing, of `size` bytes, zeros where nobody has written yet. The caller syncs
  // and closes it. Any thread, any rank.
  Result<Descriptor> OpenFile(const std::string& path, uint64_t size) const;
  // Whether an earlier run has made that file. Errors: Corrupt.
  Status Holds(const std::string& path, uint64_t size) const;
  // Steps 2 (directories) to 5. Every file is synced and closed.
  Status Commit();
  // No run may go on from what is written: the folder is removed with this object.
  void Discard() { keep_ = false; }
  // The output is where it belongs, whatever failed afterwards.
  bool is_in_place() const { return is_in_place_; }
  // A failed write to one of the plan's files, with what a full disk lacks.
  Status WriteError(int error_number, const std::string& path) const;

 private:
  Staging() = default;
  Status FindDestination(const std::string& destination);
  Status CheckDestination();
  Status BringBackOld();
  Status CheckKept(const std::set<std::string>& directories) const;
  Status KeepModesAndOwners() const;
  Status PutInPlace(const std::string& output);
  Status ReplaceDirectory(const std::string& output);

  std::string shown_;        // the destination as the user gave it
  std::string destination_;  // symbolic links followed
  std::string parent_, name_;
  WorkFolder work_;
  std::vector<std::string> directories_;  // of an output that is one, itself first, parents before children
  std::vector<std::string> files_;        // in it; "" for the output that is one
  uint64_t output_bytes_ = 0;
  std::optional<uint64_t> free_bytes_;  // before anything was written; as far as this rank knows
  bool is_directory_ = false;
  bool replace_ = false;
  std::function<Status(const std::string&)> may_replace_;
  bool exists_ = false;  // there is something to replace
  bool keep_ = false;    // the hidden folder outlives a failure
  bool is_in_place_ = false;
  bool leads_ = false;  // the hidden folder is ours to remove
};

}  // namespace anemone

#endif  // ANEMONE_ENGINE_COMMIT_H_
