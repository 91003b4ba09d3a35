// Writes single opcodes of a protocol 2 pickle. Its users decide their order, and number the memo.
#ifndef ANEMONE_CONTAINER_PICKLE_STREAM_H_
#define ANEMONE_CONTAINER_PICKLE_STREAM_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace anemone::internal {

class PickleStream {
 public:
  static constexpr size_t kBatch = 1000;  // of APPENDS and SETITEMS [CPython Lib/pickle.py _BATCHSIZE]

  std::string bytes;

  void Emit(uint8_t opcode) { bytes += static_cast<char>(opcode); }
  void Number(uint64_t value, int width);
  void Int(int64_t value);
  void Text(std::string_view text);      // REQUIRES: less than 4 GiB
  void Global(std::string_view global);  // "module name"
  void Get(uint32_t memo);
  void Put(uint32_t memo);
  // Behind `size` values; of four and more, a mark is before them.
  void Tuple(size_t size);
};

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_STREAM_H_
