// A value as a torch file, in the zip layout, as torch 1.13 … 2.15 load it with weights_only=True.
#ifndef ANEMONE_FORMAT_TORCH_TORCH_WRITE_H_
#define ANEMONE_FORMAT_TORCH_TORCH_WRITE_H_

#include <string_view>

#include "anemone/status.h"
#include "anemone/value.h"
#include "container/zip.h"
#include "engine/plan.h"
#include "format/format.h"

namespace anemone {

inline ZipOptions ZipOptionsOf(const LayOutOptions& options) {
  return {.keeps_blocks = options.keeps_blocks, .has_crc32 = options.has_crc32};
}

// Lays `value` out at the end of `file`, archive root `root` ("model_weights", "archive").
Status LayOutTorchFile(const Value& value, std::string_view root, PlanFile& file, const ZipOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_TORCH_WRITE_H_
