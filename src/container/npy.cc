#include "container/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/cancel.h"
#include "base/little_endian.h"
#include "container/joblib_array.h"

namespace anemone {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

// Removes `prefix` from the front of `text`, if it is there.
bool Take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// The bytes of the elements that a header as NumPy writes it describes. Nothing for one that is written otherwise, for
// structures and for objects.
std::optional<uint64_t> ElementBytes(std::string_view header) {
  if (!Take(header, "{'descr': '")) return std::nullopt;
  std::string_view dtype = header.substr(0, header.find('\''));
  header.remove_prefix(dtype.size());
  if (!dtype.empty() && std::string_view("<>|=").find(dtype[0]) != std::string_view::npos) dtype.remove_prefix(1);
  dtype = dtype.substr(0, dtype.find('['));  // M8[s]
  const std::optional<uint64_t> item_size = internal::ItemSize(dtype);
  if (!item_size || *item_size == internal::kObjectItem) return std::nullopt;
  if (!Take(header, "', 'fortran_order': ") || (!Take(header, "False") && !Take(header, "True"))) return std::nullopt;
  if (!Take(header, ", 'shape': (")) return std::nullopt;
  uint64_t bytes = *item_size;
  while (!Take(header, ")")) {
    uint64_t size = 0;
    const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), size);
    if (error != std::errc() || __builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
    header.remove_prefix(static_cast<size_t>(end - header.data()));
    if (Take(header, ",")) Take(header, " ");
  }
  return Take(header, ", }") ? std::optional(bytes) : std::nullopt;
}

// The place where the next array begins, from `at` on; the end where none does.
Result<uint64_t> NextArray(const ByteRange& content, uint64_t at) {
  constexpr uint64_t kLargest = uint64_t{1} << 20;
  uint64_t window = 512;  // grows: there may be many small arrays
  while (at + kMagic.size() < content.size) {
    if (CancelRequested()) return Interrupted();
    ANEMONE_ASSIGN(const ByteRange part, content.Sub(at, std::min(window, content.size - at)));
    ANEMONE_ASSIGN(const std::string bytes, part.ReadAll(window));
    const size_t found = bytes.find(kMagic);
    if (found != bytes.npos) return at + found;
    at += bytes.size() - kMagic.size() + 1;
    window = std::min(2 * window, kLargest);
  }
  return content.size;
}

}  // namespace

Result<std::string> NpyHeader(DType dtype, const Shape& shape) {
  const std::string_view name = Info(dtype).numpy;
  if (name.empty() || (name[0] != '<' && name[0] != '|'))
    return Unsupported(fmt::format("NumPy has no dtype for {}", Name(dtype)));
  std::string sizes;
  for (const uint64_t size : shape) sizes += fmt::format("{}{}", sizes.empty() ? "" : " ", size) + ",";
  if (shape.size() > 1) sizes.pop_back();  // Python's tuples: (), (3,), (3, 4)
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", name, sizes);
  // Version 1.0: magic, two bytes of length; the data is aligned to 64.
  constexpr size_t kAlign = 64, kPrefix = 10;
  header.append((kAlign - (kPrefix + header.size() + 1) % kAlign) % kAlign, ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix += static_cast<char>(header.size() & 0xFF);
  prefix += static_cast<char>(header.size() >> 8);
  return prefix + header;
}

Result<std::vector<uint64_t>> internal::BehindNpyHeader(const ByteRange& content) {
  constexpr uint64_t kLeast = 512, kMost = 64 << 10;
  const auto read = [&](uint64_t size) -> Result<std::string> {
    ANEMONE_ASSIGN(const ByteRange start, content.Sub(0, std::min(content.size, size)));
    return start.ReadAll(size);
  };
  ANEMONE_ASSIGN(std::string head, read(12));
  if (!head.starts_with(kMagic) || head.size() < 12) return std::vector<uint64_t>();
  const uint64_t width = head[6] == 1 ? 2 : 4;  // of the header's length
  const uint64_t data = 8 + width + LittleEndian(std::string_view(head).substr(8, width));
  ANEMONE_ASSIGN(head, read(std::clamp(data, kLeast, kMost)));
  std::vector<uint64_t> places = {data};
  const size_t line = head.find('\n', 10);
  if (line != head.npos && line + 1 != data) places.push_back(line + 1);
  const std::optional<uint64_t> bytes = ElementBytes(std::string_view(head).substr(8 + width));
  if (bytes && line + 1 == data) {
    if (*bytes <= content.size) places.push_back(data + *bytes);
  } else {
    ANEMONE_ASSIGN(const uint64_t next, NextArray(content, kMagic.size()));
    places.push_back(next);
  }
  return places;
}

}  // namespace anemone
