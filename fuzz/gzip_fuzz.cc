// Reads any bytes as a gzip stream: one pass forward and reads at random places must see the same bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "anemone/bytes.h"
#include "container/gzip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const Result<ByteSourcePtr> source =
      OpenGzip(MemorySource(bytes, "fuzz"), {.max_ratio = 100, .ratio_free_bytes = 1 << 20});
  if (!source.ok()) return 0;
  const uint64_t total = (*source)->size_bytes();
  const Result<std::string> whole = Whole(*source).ReadAll(total);
  if (!whole.ok()) std::abort();
  uint32_t random = static_cast<uint32_t>(size) * 2654435761u + 1;
  for (int i = 0; i < 8 && total > 0; ++i) {
    random = random * 1664525u + 1013904223u;
    const uint64_t from = random % total, count = std::min<uint64_t>(total - from, random % 4096);
    std::string part(count, '\0');
    if (!(*source)->ReadAt(from, std::as_writable_bytes(std::span(part))).ok()) std::abort();
    if (part != whole->substr(from, count)) std::abort();
  }
  return 0;
}
