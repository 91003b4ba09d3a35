#include "container/pickle_opcodes.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace anemone::internal {
namespace {

enum class Argument : uint8_t { kNone, kFixed, kCounted, kLines };

struct Opcode {
  uint8_t code;
  std::string_view name;
  Argument argument = Argument::kNone;
  uint8_t size = 0;  // bytes of it, or of the count before it; or lines
};

constexpr Opcode kOpcodes[] = {
    {op::kMark, "MARK"},
    {op::kStop, "STOP"},
    {op::kPop, "POP"},
    {op::kPopMark, "POP_MARK"},
    {op::kDup, "DUP"},
    {op::kFloat, "FLOAT", Argument::kLines, 1},
    {op::kInt, "INT", Argument::kLines, 1},
    {op::kBinInt, "BININT", Argument::kFixed, 4},
    {op::kBinInt1, "BININT1", Argument::kFixed, 1},
    {op::kLong, "LONG", Argument::kLines, 1},
    {op::kBinInt2, "BININT2", Argument::kFixed, 2},
    {op::kNone, "NONE"},
    {op::kPersId, "PERSID", Argument::kLines, 1},
    {op::kBinPersId, "BINPERSID"},
    {op::kReduce, "REDUCE"},
    {op::kString, "STRING", Argument::kLines, 1},
    {op::kBinString, "BINSTRING", Argument::kCounted, 4},
    {op::kShortBinString, "SHORT_BINSTRING", Argument::kCounted, 1},
    {op::kUnicode, "UNICODE", Argument::kLines, 1},
    {op::kBinUnicode, "BINUNICODE", Argument::kCounted, 4},
    {op::kAppend, "APPEND"},
    {op::kBuild, "BUILD"},
    {op::kGlobal, "GLOBAL", Argument::kLines, 2},
    {op::kDict, "DICT"},
    {op::kEmptyDict, "EMPTY_DICT"},
    {op::kAppends, "APPENDS"},
    {op::kGet, "GET", Argument::kLines, 1},
    {op::kBinGet, "BINGET", Argument::kFixed, 1},
    {op::kInst, "INST", Argument::kLines, 2},
    {op::kLongBinGet, "LONG_BINGET", Argument::kFixed, 4},
    {op::kList, "LIST"},
    {op::kEmptyList, "EMPTY_LIST"},
    {op::kObj, "OBJ"},
    {op::kPut, "PUT", Argument::kLines, 1},
    {op::kBinPut, "BINPUT", Argument::kFixed, 1},
    {op::kLongBinPut, "LONG_BINPUT", Argument::kFixed, 4},
    {op::kSetItem, "SETITEM"},
    {op::kTuple, "TUPLE"},
    {op::kEmptyTuple, "EMPTY_TUPLE"},
    {op::kSetItems, "SETITEMS"},
    {op::kBinFloat, "BINFLOAT", Argument::kFixed, 8},
    {op::kProto, "PROTO", Argument::kFixed, 1},
    {op::kNewObj, "NEWOBJ"},
    {op::kExt1, "EXT1", Argument::kFixed, 1},
    {op::kExt2, "EXT2", Argument::kFixed, 2},
    {op::kExt4, "EXT4", Argument::kFixed, 4},
    {op::kTuple1, "TUPLE1"},
    {op::kTuple2, "TUPLE2"},
    {op::kTuple3, "TUPLE3"},
    {op::kNewTrue, "NEWTRUE"},
    {op::kNewFalse, "NEWFALSE"},
    {op::kLong1, "LONG1", Argument::kCounted, 1},
    {op::kLong4, "LONG4", Argument::kCounted, 4},
    {op::kBinBytes, "BINBYTES", Argument::kCounted, 4},
    {op::kShortBinBytes, "SHORT_BINBYTES", Argument::kCounted, 1},
    {op::kShortBinUnicode, "SHORT_BINUNICODE", Argument::kCounted, 1},
    {op::kBinUnicode8, "BINUNICODE8", Argument::kCounted, 8},
    {op::kBinBytes8, "BINBYTES8", Argument::kCounted, 8},
    {op::kEmptySet, "EMPTY_SET"},
    {op::kAddItems, "ADDITEMS"},
    {op::kFrozenSet, "FROZENSET"},
    {op::kNewObjEx, "NEWOBJ_EX"},
    {op::kStackGlobal, "STACK_GLOBAL"},
    {op::kMemoize, "MEMOIZE"},
    {op::kFrame, "FRAME", Argument::kFixed, 8},
    {op::kByteArray8, "BYTEARRAY8", Argument::kCounted, 8},
    {op::kNextBuffer, "NEXT_BUFFER"},
    {op::kReadOnlyBuffer, "READONLY_BUFFER"},
};

// By code; a byte that is no opcode has no argument.
constexpr auto kByCode = [] {
  std::array<Opcode, 256> table = {};
  for (const Opcode& opcode : kOpcodes) table[opcode.code] = opcode;
  return table;
}();

}  // namespace

uint8_t ArgumentWidth(uint8_t opcode) {
  const Opcode& known = kByCode[opcode];
  return known.argument == Argument::kLines ? uint8_t{0} : known.size;
}

std::optional<std::string_view> TakeArgument(uint8_t opcode, std::string_view pickle, size_t& at) {
  const Opcode& known = kByCode[opcode];
  if (known.argument == Argument::kLines) {
    size_t end = pickle.find('\n', at);
    if (known.size == 2 && end != std::string_view::npos) end = pickle.find('\n', end + 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view lines = pickle.substr(at, end - at);
    at = end + 1;
    return lines;
  }
  size_t size = known.size;
  if (size > pickle.size() - at) return std::nullopt;
  if (known.argument == Argument::kCounted) {
    const size_t width = size;
    size = 0;
    for (size_t i = width; i-- > 0;) size = size << 8 | static_cast<uint8_t>(pickle[at + i]);
    at += width;
    if (size > pickle.size() - at) return std::nullopt;
  }
  const std::string_view argument = pickle.substr(at, size);
  at += size;
  return argument;
}

std::string OpcodeName(uint8_t opcode) {
  const std::string_view name = kByCode[opcode].name;
  if (!name.empty()) return std::string(name);
  constexpr std::string_view kHex = "0123456789abcdef";
  return {'0', 'x', kHex[opcode >> 4], kHex[opcode & 15]};
}

}  // namespace anemone::internal
