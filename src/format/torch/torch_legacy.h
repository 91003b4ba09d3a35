// The layout of torch files before torch 1.6: five pickles, then the storages. Rules TL-n: docs/formats/pytorch.md.
#ifndef ANEMONE_FORMAT_TORCH_TORCH_LEGACY_H_
#define ANEMONE_FORMAT_TORCH_TORCH_LEGACY_H_

#include <cstddef>
#include <string_view>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "format/torch/torch_file.h"

namespace anemone {

inline constexpr size_t kLegacyHeadBytes = 32;  // of either magic, and what comes before it
bool HasLegacyMagic(std::string_view head);

// As ReadTorchFile.
Result<TorchFile> ReadTorchLegacy(const ByteRange& range);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_TORCH_LEGACY_H_
