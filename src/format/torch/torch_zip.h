// The zip layout of a torch file: a pickle and a record for each storage. Rules TZ-n: docs/formats/pytorch.md.
#ifndef ANEMONE_FORMAT_TORCH_TORCH_ZIP_H_
#define ANEMONE_FORMAT_TORCH_TORCH_ZIP_H_

#include <string_view>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "format/torch/torch_file.h"

namespace anemone {

// As ReadTorchFile.
Result<TorchFile> ReadTorchZip(const ByteRange& range, std::string_view within);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_TORCH_ZIP_H_
