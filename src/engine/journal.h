// Journal: what a run has written for good, so that another can go on from there.
//
// It lies in the hidden folder beside the destination, with the output that it speaks of:
//   journal    what is being written from what, in lines of text. Rank 0 writes it.
//   done.RANK  a line for each batch of windows that a rank has written and synced: their numbers, and what they
//              contribute to which CRCs. Any number of ranks may go on from what any other number has left.
#ifndef ANEMONE_ENGINE_JOURNAL_H_
#define ANEMONE_ENGINE_JOURNAL_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "base/descriptor.h"
#include "base/directory.h"
#include "engine/cluster.h"
#include "engine/plan.h"

namespace anemone {

class Journal {
 public:
  // Windows and, by the slot's number in the whole plan, the XOR of what they contribute to its CRC.
  struct Batch {
    std::vector<uint64_t> windows;
    std::map<uint64_t, uint32_t> crcs;
  };

  // Goes on from what lies in `folder`, or begins it there. Collective. Errors: InvalidArgument where another plan was
  // begun there, or one from sources that have changed since; Unsupported for a source that is no file and could change
  // unseen; Io.
  static Result<std::unique_ptr<Journal>> Open(const Directory& folder, const Plan& plan, uint64_t window_bytes,
                                               Cluster& cluster);

  bool empty() const { return std::ranges::find(done_, true) == done_.end(); }
  bool Has(uint64_t window) const { return done_[window]; }
  // What all windows that it had when opened contribute to the CRCs.
  const std::map<uint64_t, uint32_t>& crcs() const { return crcs_; }
  // Adds windows that are on disk. One thread at a time.
  Status Add(const Batch& batch);
  // Nothing is added any more. Every rank does this before the folder may go: network file systems keep a file that is
  // removed while it is open, under another name, and its folder with it.
  void Close() { done_file_.Close(); }

 private:
  Journal() = default;
  Status Begin(const Directory& folder, const Plan& plan, uint64_t window_bytes);
  Status Read(const Directory& folder, const std::string& name, uint64_t* whole);
  bool TakeLine(std::string_view line);

  Descriptor done_file_;
  std::string done_path_;
  uint64_t done_bytes_ = 0;
  std::vector<bool> done_;
  std::map<uint64_t, uint32_t> crcs_;
};

}  // namespace anemone

#endif  // ANEMONE_ENGINE_JOURNAL_H_
