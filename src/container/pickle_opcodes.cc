#include "container/pickle_opcodes.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "base/little_endian.h"

namespace anemone::internal {
namespace {

struct Opcode {
  uint8_t code;
  std::string_view name;
  ArgumentForm argument = {};
};

constexpr ArgumentForm Bytes(uint8_t count) { return {count, 0, false}; }
constexpr ArgumentForm Counted(uint8_t count) { return {count, 0, true}; }
constexpr ArgumentForm Lines(uint8_t count) { return {0, count, false}; }

constexpr Opcode kOpcodes[] = {
    {op::kMark, "MARK"},
    {op::kStop, "STOP"},
    {op::kPop, "POP"},
    {op::kPopMark, "POP_MARK"},
    {op::kDup, "DUP"},
    {op::kFloat, "FLOAT", Lines(1)},
    {op::kInt, "INT", Lines(1)},
    {op::kBinInt, "BININT", Bytes(4)},
    {op::kBinInt1, "BININT1", Bytes(1)},
    {op::kLong, "LONG", Lines(1)},
    {op::kBinInt2, "BININT2", Bytes(2)},
    {op::kNone, "NONE"},
    {op::kPersId, "PERSID", Lines(1)},
    {op::kBinPersId, "BINPERSID"},
    {op::kReduce, "REDUCE"},
    {op::kString, "STRING", Lines(1)},
    {op::kBinString, "BINSTRING", Counted(4)},
    {op::kShortBinString, "SHORT_BINSTRING", Counted(1)},
    {op::kUnicode, "UNICODE", Lines(1)},
    {op::kBinUnicode, "BINUNICODE", Counted(4)},
    {op::kAppend, "APPEND"},
    {op::kBuild, "BUILD"},
    {op::kGlobal, "GLOBAL", Lines(2)},
    {op::kDict, "DICT"},
    {op::kEmptyDict, "EMPTY_DICT"},
    {op::kAppends, "APPENDS"},
    {op::kGet, "GET", Lines(1)},
    {op::kBinGet, "BINGET", Bytes(1)},
    {op::kInst, "INST", Lines(2)},
    {op::kLongBinGet, "LONG_BINGET", Bytes(4)},
    {op::kList, "LIST"},
    {op::kEmptyList, "EMPTY_LIST"},
    {op::kObj, "OBJ"},
    {op::kPut, "PUT", Lines(1)},
    {op::kBinPut, "BINPUT", Bytes(1)},
    {op::kLongBinPut, "LONG_BINPUT", Bytes(4)},
    {op::kSetItem, "SETITEM"},
    {op::kTuple, "TUPLE"},
    {op::kEmptyTuple, "EMPTY_TUPLE"},
    {op::kSetItems, "SETITEMS"},
    {op::kBinFloat, "BINFLOAT", Bytes(8)},
    {op::kProto, "PROTO", Bytes(1)},
    {op::kNewObj, "NEWOBJ"},
    {op::kExt1, "EXT1", Bytes(1)},
    {op::kExt2, "EXT2", Bytes(2)},
    {op::kExt4, "EXT4", Bytes(4)},
    {op::kTuple1, "TUPLE1"},
    {op::kTuple2, "TUPLE2"},
    {op::kTuple3, "TUPLE3"},
    {op::kNewTrue, "NEWTRUE"},
    {op::kNewFalse, "NEWFALSE"},
    {op::kLong1, "LONG1", Counted(1)},
    {op::kLong4, "LONG4", Counted(4)},
    {op::kBinBytes, "BINBYTES", Counted(4)},
    {op::kShortBinBytes, "SHORT_BINBYTES", Counted(1)},
    {op::kShortBinUnicode, "SHORT_BINUNICODE", Counted(1)},
    {op::kBinUnicode8, "BINUNICODE8", Counted(8)},
    {op::kBinBytes8, "BINBYTES8", Counted(8)},
    {op::kEmptySet, "EMPTY_SET"},
    {op::kAddItems, "ADDITEMS"},
    {op::kFrozenSet, "FROZENSET"},
    {op::kNewObjEx, "NEWOBJ_EX"},
    {op::kStackGlobal, "STACK_GLOBAL"},
    {op::kMemoize, "MEMOIZE"},
    {op::kFrame, "FRAME", Bytes(8)},
    {op::kByteArray8, "BYTEARRAY8", Counted(8)},
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

ArgumentForm ArgumentOf(uint8_t opcode) { return kByCode[opcode].argument; }

std::optional<std::string_view> TakeArgument(uint8_t opcode, std::string_view pickle, size_t& at) {
  const ArgumentForm form = ArgumentOf(opcode);
  if (form.lines > 0) {
    size_t end = pickle.find('\n', at);
    if (form.lines == 2 && end != std::string_view::npos) end = pickle.find('\n', end + 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view lines = pickle.substr(at, end - at);
    at = end + 1;
    return lines;
  }
  const auto take = [&](uint64_t count) -> std::optional<std::string_view> {
    if (count > pickle.size() - at) return std::nullopt;
    at += count;
    return pickle.substr(at - count, count);
  };
  const std::optional<std::string_view> bytes = take(form.bytes);
  return bytes && form.is_count ? take(LittleEndian(*bytes)) : bytes;
}

bool SkipToStop(std::string_view pickle, size_t& at) {
  while (at < pickle.size()) {
    size_t next = at + 1;
    const auto opcode = static_cast<uint8_t>(pickle[at]);
    if (!TakeArgument(opcode, pickle, next)) return false;
    at = next;
    if (opcode == op::kStop) return true;
  }
  return false;
}

std::string OpcodeName(uint8_t opcode) {
  const std::string_view name = kByCode[opcode].name;
  if (!name.empty()) return std::string(name);
  constexpr std::string_view kHex = "0123456789abcdef";
  return {'0', 'x', kHex[opcode >> 4], kHex[opcode & 15]};
}

}  // namespace anemone::internal
