// Opcodes of the pickle machine [CPython Lib/pickle.py], and what stands behind each in the stream.
#ifndef ANEMONE_CONTAINER_PICKLE_OPCODES_H_
#define ANEMONE_CONTAINER_PICKLE_OPCODES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace anemone::internal {

namespace op {
enum : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kFloat = 'F',
  kInt = 'I',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kLong = 'L',
  kBinInt2 = 'M',
  kNone = 'N',
  kPersId = 'P',
  kBinPersId = 'Q',
  kReduce = 'R',
  kString = 'S',
  kBinString = 'T',
  kShortBinString = 'U',
  kUnicode = 'V',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kEmptyDict = '}',
  kAppends = 'e',
  kGet = 'g',
  kBinGet = 'h',
  kInst = 'i',
  kLongBinGet = 'j',
  kList = 'l',
  kEmptyList = ']',
  kObj = 'o',
  kPut = 'p',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetItems = 'u',
  kBinFloat = 'G',
  // protocol 2
  kProto = 0x80,
  kNewObj = 0x81,
  kExt1 = 0x82,
  kExt2 = 0x83,
  kExt4 = 0x84,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  // protocol 3
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  // protocol 4
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  // protocol 5
  kByteArray8 = 0x96,
  kNextBuffer = 0x97,
  kReadOnlyBuffer = 0x98,
};
}  // namespace op

// "SETITEMS"; "0x07" for a byte that is no opcode.
std::string OpcodeName(uint8_t opcode);

// The argument that follows an opcode: one or two lines; `bytes` bytes; or, with `is_count`, a count in `bytes` bytes
// and then as many bytes as it says.
struct ArgumentForm {
  uint8_t bytes = 0, lines = 0;
  bool is_count = false;
};
ArgumentForm ArgumentOf(uint8_t opcode);

// The bytes of an opcode's argument, without a count before them or a line's end behind them; `at` is moved from the
// opcode's end to the argument's. Nothing where the pickle ends before it. REQUIRES: at <= pickle.size().
std::optional<std::string_view> TakeArgument(uint8_t opcode, std::string_view pickle, size_t& at);

// Moves `at` behind the next STOP. False where the pickle ends before it: `at` is then the first opcode that is not
// whole. REQUIRES: at is an opcode's.
bool SkipToStop(std::string_view pickle, size_t& at);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_OPCODES_H_
