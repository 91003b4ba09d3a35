// Any bytes as a safetensors file: refused, or read to tensors that lie inside them, under distinct names.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "format/huggingface/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto state = anemone::ReadSafetensors(anemone::Whole(anemone::MemorySource(bytes, "fuzz")));
  if (!state.ok()) return 0;
  uint64_t total = 0;
  for (const auto& item : state->items()) {
    const auto content = item.tensor()->Read(size);
    if (!content.ok() || state->Find(item.name) != &item) std::abort();
    total += content->size();
  }
  if (total > size) std::abort();  // tensors overlap
  return 0;
}
