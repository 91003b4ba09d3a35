#include "format/torch/torch_file.h"

#include <algorithm>
#include <string>

#include "container/zip.h"
#include "format/torch/torch_legacy.h"
#include "format/torch/torch_zip.h"

namespace anemone {

bool LooksLikeTorchFile(std::string_view head) { return LooksLikeZip(head) || HasLegacyMagic(head); }

Result<TorchFile> ReadTorchFile(const ByteRange& range, std::string_view within) {
  const uint64_t head_bytes = std::min<uint64_t>(range.size, kLegacyHeadBytes);
  ANEMONE_ASSIGN(const ByteRange head_range, range.Sub(0, head_bytes));
  ANEMONE_ASSIGN(const std::string head, head_range.ReadAll(head_bytes));
  if (LooksLikeZip(head)) return ReadTorchZip(range, within);
  if (HasLegacyMagic(head)) return ReadTorchLegacy(range);
  if (head.starts_with("PYTORCH1")) return Unsupported("a file of torch's short-lived preview format");
  return Corrupt("[TZ-1] expected a torch file (a zip, or the older pickle), found neither");
}

}  // namespace anemone
