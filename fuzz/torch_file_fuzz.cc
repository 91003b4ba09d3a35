// Any bytes as a torch file: refused, or read to tensors whose every element can be read, and to inert values.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "format/torch/omegaconf.h"
#include "format/torch/rank_file.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const anemone::ByteRange range = anemone::Whole(anemone::MemorySource(bytes, "fuzz"));
  const auto file = anemone::ReadTorchFile(range);
  if (!file.ok()) return 0;
  (void)anemone::ToConfigNode(file->root);
  const auto state = anemone::ToStateDict(file->root);
  if (state.ok()) {
    for (const auto& item : state->items()) {
      // A broadcast tensor may be larger than its file, and a deflated record may turn out damaged.
      if (item.tensor() != nullptr) (void)item.tensor()->Read(1 << 20);
    }
  }
  (void)anemone::ReadRankFile(range);
  return 0;
}
