#include "container/pickle_calls.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace anemone::internal {
namespace {

using Kind = ValueNode::Kind;

// Latin-1 of UTF-8 text, or nothing when a letter lies beyond U+00FF.
std::optional<std::string> ToLatin1(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      bytes += text[i];
    } else if ((lead == 0xc2 || lead == 0xc3) && i + 1 < text.size()) {
      bytes += static_cast<char>(lead << 6 | (static_cast<uint8_t>(text[++i]) & 0x3f));
    } else {
      return std::nullopt;
    }
  }
  return bytes;
}

bool IsEither(const ValueNode& node, Kind one, Kind other) { return node.kind == one || node.kind == other; }

ValueNode& Become(ValueNode& call, Kind kind, bool flag) {
  call.kind = kind;
  call.integer = flag;
  call.items.clear();
  return call;
}

// A copy of one node's items for another, which share them from then on.
Result<ValueList> Copied(const ValueList& refs, PickleWork& work) {
  ANEMONE_TRY(work.Copy(refs.size()));
  for (const ValueRef ref : refs) ref->is_shared = true;
  return refs;
}

// Each of these returns true if the call has become plain data.

Result<bool> MakeBytes(ValueNode& call, bool is_bytearray, bool may_be_empty, bool may_be_text, PickleWork& work) {
  const ValueList& args = call.items;
  std::optional<std::string> bytes;
  if (args.empty() && may_be_empty) {
    bytes.emplace();
  } else if (may_be_text && args.size() == 2 && args[0]->kind == Kind::kString && args[1]->kind == Kind::kString &&
             (args[1]->text == "latin1" || args[1]->text == "latin-1")) {
    ANEMONE_TRY(work.Copy(args[0]->text.size()));
    bytes = ToLatin1(args[0]->text);
  } else if (is_bytearray && args.size() == 1 && args[0]->kind == Kind::kBytes) {
    ANEMONE_TRY(work.Copy(args[0]->text.size()));
    bytes = args[0]->text;
  }
  if (!bytes) return false;
  Become(call, Kind::kBytes, is_bytearray).text = *std::move(bytes);
  return true;
}

Result<bool> MakeSet(ValueNode& call, bool is_frozen, PickleWork& work) {
  const ValueList& args = call.items;
  if (args.size() > 1 || (args.size() == 1 && !IsEither(*args[0], Kind::kList, Kind::kTuple))) return false;
  ValueList members;
  if (!args.empty()) {
    ANEMONE_ASSIGN(members, Copied(args[0]->items, work));
  }
  ANEMONE_TRY(work.CheckHashable(members, 1));
  Become(call, Kind::kSet, is_frozen).items = std::move(members);
  return true;
}

Result<bool> MakeDict(ValueNode& call, bool may_be_pairs, PickleWork& work) {
  if (call.items.size() != 1) return call.items.empty();
  const ValueNode& from = *call.items[0];
  ValueList entries;
  if (from.kind == Kind::kDict) {
    ANEMONE_ASSIGN(entries, Copied(from.items, work));
  } else if (may_be_pairs && IsEither(from, Kind::kList, Kind::kTuple)) {
    for (const ValueRef pair : from.items) {
      if (!IsEither(*pair, Kind::kList, Kind::kTuple) || pair->items.size() != 2) return false;
      ANEMONE_ASSIGN(const ValueList copied, Copied(pair->items, work));
      entries.insert(entries.end(), copied.begin(), copied.end());
    }
    ANEMONE_TRY(work.CheckHashable(entries, 2));
  } else {
    return false;
  }
  call.items.clear();
  call.entries = std::move(entries);
  return true;
}

enum class Makes : uint8_t { kNothingPlain, kEncoded, kBytes, kByteArray, kSet, kFrozenSet, kOrderedDict, kCounter };

// Functions that keep nothing but copies of what is in their arguments.
struct Function {
  std::string_view name;
  Makes makes = Makes::kNothingPlain;
};
constexpr Function kFunctions[] = {
    {"_codecs encode", Makes::kEncoded},
    {"builtins bytes", Makes::kBytes},
    {"builtins bytearray", Makes::kByteArray},
    {"builtins set", Makes::kSet},
    {"builtins frozenset", Makes::kFrozenSet},
    {"collections OrderedDict", Makes::kOrderedDict},
    {"collections Counter", Makes::kCounter},
    {"builtins dict"},
    {"builtins list"},
    {"builtins tuple"},
    {"collections deque"},
    {"collections defaultdict"},
    {"torch Size"},
};

Result<bool> Make(Makes makes, ValueNode& call, PickleWork& work) {
  switch (makes) {
    case Makes::kEncoded:
      return MakeBytes(call, /*is_bytearray=*/false, /*may_be_empty=*/false, /*may_be_text=*/true, work);
    case Makes::kBytes:
      return MakeBytes(call, /*is_bytearray=*/false, /*may_be_empty=*/true, /*may_be_text=*/false, work);
    case Makes::kByteArray:
      return MakeBytes(call, /*is_bytearray=*/true, /*may_be_empty=*/true, /*may_be_text=*/true, work);
    case Makes::kSet:
    case Makes::kFrozenSet:
      return MakeSet(call, makes == Makes::kFrozenSet, work);
    case Makes::kOrderedDict:
    case Makes::kCounter:
      return MakeDict(call, /*may_be_pairs=*/makes == Makes::kOrderedDict, work);
    case Makes::kNothingPlain:
      break;
  }
  return false;
}

const Function* Find(const ValueNode& callable) {
  if (callable.kind != Kind::kGlobal) return nullptr;
  const auto* found = std::ranges::find(kFunctions, callable.text, &Function::name);
  return found == std::end(kFunctions) ? nullptr : found;
}

}  // namespace

bool IsContainer(const ValueNode& global) { return Find(global) != nullptr; }

Status MakeContainer(ValueNode& call, ValueGraph& graph, PickleWork& work) {
  const Function* const function = Find(*call.callable);
  if (function == nullptr) return {};
  ANEMONE_ASSIGN(const bool is_made, call.is_new ? false : Make(function->makes, call, work));
  if (is_made) return {};
  for (ValueRef& argument : call.items) {
    if (!IsEither(*argument, Kind::kList, Kind::kDict) && argument->kind != Kind::kSet) continue;
    const ValueRef copy = graph.New(argument->kind);
    copy->integer = argument->integer;
    ANEMONE_ASSIGN(copy->items, Copied(argument->items, work));
    argument = copy;
  }
  return {};
}

}  // namespace anemone::internal
