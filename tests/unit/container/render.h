// Small plans as strings, and strings as archives.
#ifndef ANEMONE_TESTS_UNIT_CONTAINER_RENDER_H_
#define ANEMONE_TESTS_UNIT_CONTAINER_RENDER_H_

#include <span>
#include <string>
#include <utility>

#include "anemone/bytes.h"
#include "base/crc32.h"
#include "engine/plan.h"

namespace anemone::testing {

// The bytes Execute would write.
inline std::string Render(const PlanFile& file) {
  std::string bytes(file.size, '\0');
  for (const Segment& segment : file.segments) {
    std::string content;
    if (const auto* literal = std::get_if<std::string_view>(&segment.content)) content = *literal;
    if (const auto* tensor = std::get_if<Tensor>(&segment.content)) content = *tensor->Read();
    if (const ByteRange* range = segment.range()) content = *range->ReadAll(range->size);
    bytes.replace(segment.offset, segment.size, content);
  }
  for (const Crc32Slot& slot : file.crcs) {
    const uint32_t crc = Crc32(0, std::as_bytes(std::span(bytes).subspan(slot.offset, slot.size)));
    for (const uint64_t store : slot.stores) {
      for (size_t i = 0; i < 4; ++i) bytes[store + i] = static_cast<char>(crc >> (8 * i));
    }
  }
  return bytes;
}

inline ByteRange Memory(std::string bytes) { return Whole(MemorySource(std::move(bytes), "memory")); }
inline std::string Contents(const ByteRange& range) {
  if (range.source == nullptr) return "";
  const Result<std::string> bytes = range.ReadAll(range.size);
  return bytes.ok() ? *bytes : bytes.status().message();
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_CONTAINER_RENDER_H_
