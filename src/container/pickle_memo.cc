#include "container/pickle_memo.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>

#include "base/little_endian.h"
#include "container/pickle_opcodes.h"

namespace anemone::internal {
namespace {

// Of an opcode that reads the memo.
std::optional<uint64_t> IndexIn(uint8_t opcode, std::string_view argument) {
  uint64_t index = 0;
  switch (opcode) {
    case op::kGet:
      std::from_chars(argument.data(), argument.data() + argument.size(), index);
      return index;
    case op::kBinGet:
    case op::kLongBinGet:
      return LittleEndian(argument);
    default:
      return std::nullopt;
  }
}

}  // namespace

PickleMemo::PickleMemo(std::string_view pickle) {
  uint64_t end = 0;
  for (size_t at = 0; at < pickle.size();) {
    const auto opcode = static_cast<uint8_t>(pickle[at++]);
    const std::optional<std::string_view> argument = TakeArgument(opcode, pickle, at);
    if (!argument || opcode == op::kStop) break;
    const std::optional<uint64_t> index = IndexIn(opcode, *argument);
    if (!index || *index > at + kPutAhead) continue;
    end = std::max(end, *index + 1);
    if (words_.size() < (end + 63) / 64) words_.resize(std::max<size_t>((end + 63) / 64, 2 * words_.size()));
    words_[*index / 64].read |= uint64_t{1} << *index % 64;
  }
  size_t count = 0;
  for (Word& word : words_) {
    word.before = count;
    count += static_cast<size_t>(std::popcount(word.read));
  }
  slots_.resize(count);
}

// Of an index that is read.
size_t PickleMemo::Slot(uint64_t index) const {
  const Word& word = words_[index / 64];
  return word.before + static_cast<size_t>(std::popcount(word.read & ((uint64_t{1} << index % 64) - 1)));
}

bool PickleMemo::Put(uint64_t index, ValueRef value) {
  if (index / 64 >= words_.size()) words_.resize(index / 64 + 1);
  Word& word = words_[index / 64];
  const uint64_t bit = uint64_t{1} << index % 64;
  size_ += (word.put & bit) == 0 ? 1 : 0;
  word.put |= bit;
  if ((word.read & bit) == 0) return false;
  slots_[Slot(index)] = value;
  return true;
}

ValueRef PickleMemo::Get(uint64_t index) const {
  if (index / 64 >= words_.size() || (words_[index / 64].put >> index % 64 & 1) == 0) return nullptr;
  return slots_[Slot(index)];
}

}  // namespace anemone::internal
