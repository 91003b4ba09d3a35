// The `.metadata` of a distributed checkpoint: never crashes, bounded memory; what is accepted obeys the chunk law.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "format/dist/torch_dist_metadata.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const auto metadata = ParseDistMetadata({reinterpret_cast<const char*>(data), size});
  if (!metadata.ok()) return 0;
  for (const DistItem& item : metadata->items) {
    const auto* tensor = std::get_if<DistTensor>(&item.content);
    if (tensor == nullptr) continue;
    uint64_t volume = 0;
    for (const DistChunk& chunk : tensor->chunks) {
      if (chunk.location.file >= metadata->files.size()) std::abort();
      for (size_t axis = 0; axis < tensor->shape->size(); ++axis) {
        if ((*chunk.offsets)[axis] + (*chunk.sizes)[axis] > (*tensor->shape)[axis]) std::abort();
      }
      volume += *NumElements(*chunk.sizes);
    }
    if (volume != *NumElements(*tensor->shape)) std::abort();
  }
  return 0;
}
