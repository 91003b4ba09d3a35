// Reading a zip, the container of a torch file: stored and deflated members, zip64, data descriptors. Knows nothing of
// torch. Rules and ids (ZIP-n): docs/formats/zip.md.
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

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_ZIP_H_
