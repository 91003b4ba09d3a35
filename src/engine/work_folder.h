// WorkFolder: the hidden folder beside a destination in which its output is written. One run at a time has it.
//
//   .NAME.anemone-tmp               of an ordinary run: goes with it; what a dead one left, the next one clears
//   .NAME.anemone-resume            of a run with --resume: stays when that fails, for the next one to go on from
//   .NAME.anemone-PID-RANDOM.tmp    either of them, on its way out; what a dead run left, the next one removes
//   .NAME.anemone-old               a replaced folder, on file systems that cannot exchange two names at once
// Each is private to the user (mode 0700). A file `lock` in it is locked by the run that has it, and so tells the
// living from the dead.
#ifndef ANEMONE_ENGINE_WORK_FOLDER_H_
#define ANEMONE_ENGINE_WORK_FOLDER_H_

#include <cstdint>
#include <forward_list>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "base/descriptor.h"
#include "base/directory.h"

namespace anemone {

// The folder stays where it is when this goes.
class WorkFolder {
 public:
  WorkFolder() = default;
  // Makes the folder for the output `name` in `parent`, or takes over what a dead run has left: with `keep` as it is,
  // else without its content. Errors: CannotCreate (also where another run has it), NotFound where it may not be
  // opened, InvalidArgument where another user made it, Io.
  static Result<WorkFolder> Acquire(const std::string& parent, const std::string& name, bool keep);
  // One that another rank of this run has. Errors: as Directory::OpenOwn.
  static Result<WorkFolder> Join(const std::string& path);

  // Checks, before a run goes on with them, that all files and folders in it are this user's own. Errors:
  // InvalidArgument naming another one, Io.
  Status CheckContent() const;
  // Removes what is in the folder. Errors: Io.
  Status Clear();
  // Removes the folder with what is in it; where its file system keeps what is open, once no source is.
  void Remove();

  bool is_open() const { return !path_.empty(); }
  const Directory& directory() const { return directory_; }
  const std::string& path() const { return path_; }

 private:
  Status Lock(bool made);

  std::string path_;
  std::forward_list<std::string> dead_;  // its path on its way out; made beforehand: there may be no memory left then
  Directory directory_;
  Descriptor lock_;
};

// True where something has the name, a link that leads nowhere included. Errors: Io where it cannot be looked at.
Result<bool> IsThere(const std::string& path);

// Why a name cannot be made: kCannotCreate where its place is at fault, else kIo.
Status CannotCreate(int error_number, const std::string& path);

// Where a replaced folder lies for the moment in which neither it nor the new one has the destination's name.
std::string OldFolderName(const std::string& name);

// What a run that died has left.
struct Leftover {
  std::string name;
  bool is_resumable = false;  // a run with `resume` goes on from it
  std::string restores;       // the name of the output that it is the only copy of; "" otherwise
};

// Those in `directory` that no running process has and that belong to this user. Errors: NotFound, Io.
Result<std::vector<Leftover>> FindLeftovers(const std::string& directory);
// Removes one, or renames it to what it restores. Errors: Io; CannotCreate where a run has it by now.
Status RemoveLeftover(const std::string& directory, const Leftover& leftover);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_WORK_FOLDER_H_
