#include "container/npy.h"

#include <fmt/format.h>

namespace anemone {

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

}  // namespace anemone
