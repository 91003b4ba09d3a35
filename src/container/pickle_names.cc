#include "container/pickle_names.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace anemone::internal {
namespace {

struct NamedOpcode {
  uint8_t code;
  std::string_view name;
};

constexpr NamedOpcode kNames[] = {
    {op::kMark, "MARK"},
    {op::kStop, "STOP"},
    {op::kPop, "POP"},
    {op::kPopMark, "POP_MARK"},
    {op::kDup, "DUP"},
    {op::kFloat, "FLOAT"},
    {op::kInt, "INT"},
    {op::kBinInt, "BININT"},
    {op::kBinInt1, "BININT1"},
    {op::kLong, "LONG"},
    {op::kBinInt2, "BININT2"},
    {op::kNone, "NONE"},
    {op::kPersId, "PERSID"},
    {op::kBinPersId, "BINPERSID"},
    {op::kReduce, "REDUCE"},
    {op::kString, "STRING"},
    {op::kBinString, "BINSTRING"},
    {op::kShortBinString, "SHORT_BINSTRING"},
    {op::kUnicode, "UNICODE"},
    {op::kBinUnicode, "BINUNICODE"},
    {op::kAppend, "APPEND"},
    {op::kBuild, "BUILD"},
    {op::kGlobal, "GLOBAL"},
    {op::kDict, "DICT"},
    {op::kEmptyDict, "EMPTY_DICT"},
    {op::kAppends, "APPENDS"},
    {op::kGet, "GET"},
    {op::kBinGet, "BINGET"},
    {op::kInst, "INST"},
    {op::kLongBinGet, "LONG_BINGET"},
    {op::kList, "LIST"},
    {op::kEmptyList, "EMPTY_LIST"},
    {op::kObj, "OBJ"},
    {op::kPut, "PUT"},
    {op::kBinPut, "BINPUT"},
    {op::kLongBinPut, "LONG_BINPUT"},
    {op::kSetItem, "SETITEM"},
    {op::kTuple, "TUPLE"},
    {op::kEmptyTuple, "EMPTY_TUPLE"},
    {op::kSetItems, "SETITEMS"},
    {op::kBinFloat, "BINFLOAT"},
    {op::kProto, "PROTO"},
    {op::kNewObj, "NEWOBJ"},
    {op::kExt1, "EXT1"},
    {op::kExt2, "EXT2"},
    {op::kExt4, "EXT4"},
    {op::kTuple1, "TUPLE1"},
    {op::kTuple2, "TUPLE2"},
    {op::kTuple3, "TUPLE3"},
    {op::kNewTrue, "NEWTRUE"},
    {op::kNewFalse, "NEWFALSE"},
    {op::kLong1, "LONG1"},
    {op::kLong4, "LONG4"},
    {op::kBinBytes, "BINBYTES"},
    {op::kShortBinBytes, "SHORT_BINBYTES"},
    {op::kShortBinUnicode, "SHORT_BINUNICODE"},
    {op::kBinUnicode8, "BINUNICODE8"},
    {op::kBinBytes8, "BINBYTES8"},
    {op::kEmptySet, "EMPTY_SET"},
    {op::kAddItems, "ADDITEMS"},
    {op::kFrozenSet, "FROZENSET"},
    {op::kNewObjEx, "NEWOBJ_EX"},
    {op::kStackGlobal, "STACK_GLOBAL"},
    {op::kMemoize, "MEMOIZE"},
    {op::kFrame, "FRAME"},
    {op::kByteArray8, "BYTEARRAY8"},
    {op::kNextBuffer, "NEXT_BUFFER"},
    {op::kReadOnlyBuffer, "READONLY_BUFFER"},
};

struct Alias {
  std::string_view old_module, old_name, module, name;  // empty names: the whole module
};

// [CPython Lib/_compat_pickle.py NAME_MAPPING, IMPORT_MAPPING]: what can occur in a checkpoint or an attack.
constexpr Alias kAliases[] = {
    {"__builtin__", "unicode", "builtins", "str"},
    {"__builtin__", "long", "builtins", "int"},
    {"__builtin__", "xrange", "builtins", "range"},
    {"__builtin__", "unichr", "builtins", "chr"},
    {"__builtin__", "basestring", "builtins", "str"},
    {"__builtin__", "reduce", "functools", "reduce"},
    {"__builtin__", "intern", "sys", "intern"},
    {"itertools", "imap", "builtins", "map"},
    {"itertools", "izip", "builtins", "zip"},
    {"itertools", "ifilter", "builtins", "filter"},
    {"itertools", "ifilterfalse", "itertools", "filterfalse"},
    {"itertools", "izip_longest", "itertools", "zip_longest"},
    {"UserDict", "IterableUserDict", "collections", "UserDict"},
    {"__builtin__", "", "builtins", ""},
    {"exceptions", "", "builtins", ""},
    {"copy_reg", "", "copyreg", ""},
    {"Queue", "", "queue", ""},
    {"SocketServer", "", "socketserver", ""},
    {"ConfigParser", "", "configparser", ""},
    {"repr", "", "reprlib", ""},
    {"commands", "", "subprocess", ""},
    {"anydbm", "", "dbm", ""},
    {"whichdb", "", "dbm", ""},
    {"gdbm", "", "dbm.gnu", ""},
    {"dbhash", "", "dbm.bsd", ""},
    {"thread", "", "_thread", ""},
    {"dummy_thread", "", "_dummy_thread", ""},
    {"StringIO", "", "io", ""},
    {"cStringIO", "", "io", ""},
    {"cPickle", "", "pickle", ""},
    {"_elementtree", "", "xml.etree.ElementTree", ""},
    {"UserDict", "", "collections", ""},
    {"UserList", "", "collections", ""},
    {"UserString", "", "collections", ""},
    {"HTMLParser", "", "html.parser", ""},
    {"htmlentitydefs", "", "html.entities", ""},
    {"httplib", "", "http.client", ""},
    {"Cookie", "", "http.cookies", ""},
    {"cookielib", "", "http.cookiejar", ""},
    {"BaseHTTPServer", "", "http.server", ""},
    {"SimpleHTTPServer", "", "http.server", ""},
    {"CGIHTTPServer", "", "http.server", ""},
    {"urllib", "", "urllib.request", ""},
    {"urllib2", "", "urllib.request", ""},
    {"urlparse", "", "urllib.parse", ""},
    {"robotparser", "", "urllib.robotparser", ""},
    {"xmlrpclib", "", "xmlrpc.client", ""},
    {"DocXMLRPCServer", "", "xmlrpc.server", ""},
    {"SimpleXMLRPCServer", "", "xmlrpc.server", ""},
};

// What CPython's protocol 2 writer turns back.
constexpr Alias kWritten[] = {
    {"__builtin__", "unicode", "builtins", "str"},
    {"__builtin__", "long", "builtins", "int"},
    {"__builtin__", "xrange", "builtins", "range"},
    {"__builtin__", "unichr", "builtins", "chr"},
    {"__builtin__", "reduce", "functools", "reduce"},
    {"__builtin__", "intern", "sys", "intern"},
    {"itertools", "imap", "builtins", "map"},
    {"itertools", "izip", "builtins", "zip"},
    {"itertools", "ifilter", "builtins", "filter"},
    {"itertools", "ifilterfalse", "itertools", "filterfalse"},
    {"itertools", "izip_longest", "itertools", "zip_longest"},
    {"__builtin__", "", "builtins", ""},
    {"copy_reg", "", "copyreg", ""},
};

}  // namespace

std::optional<std::string_view> TakeArgument(uint8_t opcode, std::string_view pickle, size_t& at) {
  size_t size = 0, width = 0;  // of the argument; of the count before it
  switch (opcode) {
    case op::kProto:
    case op::kBinInt1:
    case op::kBinGet:
    case op::kBinPut:
    case op::kExt1:
      size = 1;
      break;
    case op::kBinInt2:
    case op::kExt2:
      size = 2;
      break;
    case op::kBinInt:
    case op::kLongBinGet:
    case op::kLongBinPut:
    case op::kExt4:
      size = 4;
      break;
    case op::kBinFloat:
    case op::kFrame:
      size = 8;
      break;
    case op::kShortBinString:
    case op::kShortBinBytes:
    case op::kShortBinUnicode:
    case op::kLong1:
      width = 1;
      break;
    case op::kBinString:
    case op::kBinUnicode:
    case op::kBinBytes:
    case op::kLong4:
      width = 4;
      break;
    case op::kBinUnicode8:
    case op::kBinBytes8:
    case op::kByteArray8:
      width = 8;
      break;
    case op::kGlobal:
    case op::kInst:
    case op::kFloat:
    case op::kInt:
    case op::kLong:
    case op::kPersId:
    case op::kString:
    case op::kUnicode:
    case op::kGet:
    case op::kPut: {
      const bool has_two = opcode == op::kGlobal || opcode == op::kInst;
      size_t end = pickle.find('\n', at);
      if (has_two && end != std::string_view::npos) end = pickle.find('\n', end + 1);
      if (end == std::string_view::npos) return std::nullopt;
      const std::string_view lines = pickle.substr(at, end - at);
      at = end + 1;
      return lines;
    }
    default:
      break;  // no argument, or no opcode, after which nothing is read
  }
  if (width > pickle.size() - at) return std::nullopt;
  for (size_t i = width; i-- > 0;) size = size << 8 | static_cast<uint8_t>(pickle[at + i]);
  at += width;
  if (size > pickle.size() - at) return std::nullopt;
  const std::string_view argument = pickle.substr(at, size);
  at += size;
  return argument;
}

std::string OpcodeName(uint8_t opcode) {
  const auto* found = std::find_if(std::begin(kNames), std::end(kNames), [&](auto& n) { return n.code == opcode; });
  if (found != std::end(kNames)) return std::string(found->name);
  constexpr std::string_view kHex = "0123456789abcdef";
  return {'0', 'x', kHex[opcode >> 4], kHex[opcode & 15]};
}

std::string ModernGlobal(std::string_view module, std::string_view name) {
  for (const Alias& alias : kAliases) {
    if (alias.old_module != module || (!alias.old_name.empty() && alias.old_name != name)) continue;
    module = alias.module;
    if (!alias.name.empty()) name = alias.name;
    break;
  }
  std::string global;
  global.reserve(module.size() + 1 + name.size());
  return global.append(module).append(1, ' ').append(name);
}

ModuleAndName Protocol2Global(std::string_view global) {
  const size_t space = global.find(' ');
  const std::string_view module = global.substr(0, space), name = global.substr(space + 1);
  for (const Alias& alias : kWritten) {
    if (alias.module != module) continue;
    if (alias.name.empty()) return {alias.old_module, name};
    if (alias.name == name) return {alias.old_module, alias.old_name};
  }
  return {module, name};
}

}  // namespace anemone::internal
