// Writing a zip, the container of a torch file: stored members with real CRCs and sizes in the local headers. Knows
// nothing of torch. Rules and ids (ZIP-n): docs/formats/zip.md.
#ifndef ANEMONE_CONTAINER_ZIP_LAYOUT_H_
#define ANEMONE_CONTAINER_ZIP_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "anemone/tensor.h"
#include "engine/plan.h"

namespace anemone {

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

#endif  // ANEMONE_CONTAINER_ZIP_LAYOUT_H_
