#include "container/pickle_stream.h"

#include "container/pickle_names.h"
#include "container/pickle_opcodes.h"

namespace anemone::internal {

void PickleStream::Number(uint64_t value, int width) {
  for (int i = 0; i < width; ++i) bytes += static_cast<char>(value >> (8 * i));
}

void PickleStream::Int(int64_t value) {
  if (value >= 0 && value < 256) {
    Emit(op::kBinInt1);
    Number(static_cast<uint64_t>(value), 1);
  } else if (value >= 0 && value < 65536) {
    Emit(op::kBinInt2);
    Number(static_cast<uint64_t>(value), 2);
  } else if (value == static_cast<int32_t>(value)) {
    Emit(op::kBinInt);
    Number(static_cast<uint64_t>(value), 4);
  } else {
    int width = 8;  // the fewest bytes that keep the sign
    while (width > 1 && value >> (8 * width - 9) == value >> 63) --width;
    Emit(op::kLong1);
    Number(static_cast<uint64_t>(width), 1);
    Number(static_cast<uint64_t>(value), width);
  }
}

void PickleStream::Text(std::string_view text) {
  Emit(op::kBinUnicode);
  Number(text.size(), 4);
  bytes += text;
}

void PickleStream::Global(std::string_view global) {
  const ModuleAndName written = Protocol2Global(global);
  Emit(op::kGlobal);
  bytes.append(written.module).append("\n").append(written.name).append("\n");
}

void PickleStream::Get(uint32_t memo) {
  Emit(memo < 256 ? op::kBinGet : op::kLongBinGet);
  Number(memo, memo < 256 ? 1 : 4);
}

void PickleStream::Put(uint32_t memo) {
  Emit(memo < 256 ? op::kBinPut : op::kLongBinPut);
  Number(memo, memo < 256 ? 1 : 4);
}

void PickleStream::Tuple(size_t size) {
  constexpr uint8_t kSmall[] = {op::kEmptyTuple, op::kTuple1, op::kTuple2, op::kTuple3};
  Emit(size < 4 ? kSmall[size] : static_cast<uint8_t>(op::kTuple));
}

}  // namespace anemone::internal
