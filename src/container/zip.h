// Zip: the box of a torch file. Reads stored and deflated members, zip64, data descriptors; writes stored members with
// real CRCs and sizes in the local headers. Knows nothing of torch. Rules and ids (ZIP-n): docs/formats/zip.md.
#ifndef ANEMONE_CONTAINER_ZIP_H_
#define ANEMONE_CONTAINER_ZIP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone {

struct ZipMember {
  std::string_view name;  // the archive keeps it
  // None where none was computed: torch writes 0 everywhere under torch.utils.serialization.config.save.compute_crc32 =
  // False [pytorch caffe2/serialize/inline_container.cc].
  std::optional<uint32_t> crc32;
  bool deflated = false;
  uint64_t size = 0;  // uncompressed
  ByteRange content;  // uncompressed bytes: a range of the file itself when stored, an inflating source otherwise
  uint64_t stored_size = 0;  // in the archive
};

// By the first bytes: a zip with members; one without.
bool LooksLikeZip(std::string_view head);
bool IsEmptyZip(std::string_view head);

// Whether software that looks for a zip from the end (Python's zipfile) finds one here. Errors: as reading.
Result<bool> EndsInZip(const ByteRange& range);

// The first complete zip at the start of `range`, which may be followed by others: its end record says where it ends,
// and bytes that look like one inside a member do not open. Errors: as ZipArchive::Open, as reading.
Result<ByteRange> FirstZip(const ByteRange& range);

class ZipArchive {
 public:
  // Reads the central directory and every local header; `archive` may be a slice, offsets count from its start.
  // Directory entries are left out. CRCs are not checked (that reads everything), except a deflated
  // member's when it is read whole. Errors: Corrupt (no end record: truncated; local header and directory disagree;
  // overlapping members; duplicate or unsafe names), Unsupported (encryption, other methods, several disks),
  // LimitExceeded (a directory beyond 1 GiB). With `refused` (for `scan`) members that break a rule are named there
  // and, where their bytes can be found, listed all the same; errors are then those of the directory as a whole.
  static Result<ZipArchive> Open(const ByteRange& archive, std::vector<Status>* refused = nullptr);
  const std::vector<ZipMember>& members() const { return members_; }
  const ZipMember* Find(std::string_view name) const;

 private:
  std::shared_ptr<const std::string> names_;  // of all members, one after the other
  std::vector<ZipMember> members_;            // directory order
  std::vector<uint32_t> by_name_;             // places in members_
};

struct ZipOptions {
  uint64_t alignment = 64;
  // Large content stays where it lay in its source's blocks, whatever that does to its alignment, and keeps the CRC
  // that the source records of it. The zip must begin at the beginning of a block.
  bool keeps_blocks = false;
  // When false, every tensor's CRC is written as 0, which torch reads as "not computed" [torch.utils.serialization
  // .config].
  bool has_crc32 = true;
};

// Writes one zip at the current end of `file`, which may already hold other bytes (a tar header): offsets inside the
// zip are relative to that point. Payloads start at a multiple of the alignment counted from the
// zip's start [pytorch caffe2/serialize/inline_container.cc: 64, by an extra field "FB"].
class ZipLayout {
 public:
  // `members`, where it is known: how many will come.
  explicit ZipLayout(PlanFile& file, const ZipOptions& options = {}, size_t members = 0);
  Status Add(std::string name, std::string literal);
  Status Add(std::string name, const Tensor& tensor);
  Status Add(std::string name, ByteRange content);
  // Appends the central directory, zip64 records where needed, and the end record. Errors: InvalidArgument (a name
  // twice).
  Status Finish();

 private:
  // How a member's header is made; its content follows.
  struct Head {
    std::string name;
    uint64_t size = 0;
    uint32_t crc32 = 0;
    bool has_slot = false;                   // for the CRC, which is not known yet
    std::optional<uint64_t> block_offset{};  // where in a block the content begins; nullopt: aligned
  };
  Status Begin(const Head& head);
  void AddToDirectory(const Head& head, uint64_t offset, bool has_slot);

  PlanFile& file_;
  uint64_t start_;
  size_t first_slot_;  // of the zip, in file_.crcs
  const ZipOptions options_;
  PlanFile directory_;                   // stores of its CRCs count from its start until it is appended
  std::vector<std::string_view> names_;  // which the directory keeps
};

// The size the zip will have can be read off PlanFile::size before and after: a tar header that precedes it is patched
// by laying the zip into a scratch PlanFile first and appending it (see AppendFile in engine/plan.h).

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_ZIP_H_
