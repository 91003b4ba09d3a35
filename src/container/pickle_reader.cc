// The pickle machine without its hands: it builds nodes where Python would call. docs/formats/pickle.md has the rules.
#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <map>
#include <unordered_map>

#include "base/utf8.h"
#include "container/pickle.h"
#include "container/pickle_escapes.h"
#include "container/pickle_keys.h"
#include "container/pickle_memo.h"
#include "container/pickle_names.h"
#include "container/pickle_numbers.h"
#include "container/pickle_opcodes.h"
#include "container/text.h"

namespace anemone {
namespace {

using internal::Quoted;
using Kind = ValueNode::Kind;
namespace op = internal::op;

constexpr uint64_t kFreeReferences = 8'000'000;  // besides one for each byte that the pickle takes in its file
constexpr size_t kMaxNameBytes = 4096;           // of a global's module or name

std::string_view KindName(Kind kind) {
  constexpr std::string_view kNames[] = {"None",     "a bool",   "an int",    "an int",          "a float",
                                         "a string", "bytes",    "a list",    "a tuple",         "a set",
                                         "a dict",   "a global", "an object", "a persistent id", "a tensor"};
  return kNames[static_cast<size_t>(kind)];
}

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

class Reader {
 public:
  Reader(std::string_view bytes, const PickleLimits& limits, ValueGraph& graph, const ObjectVisitor& visitor)
      : bytes_(bytes),
        limits_(limits),
        visitor_(visitor),
        stored_bytes_(limits.stored_bytes != 0 ? limits.stored_bytes : bytes.size()),
        max_nodes_(std::min(limits.max_nodes, 1'000'000 + stored_bytes_ / 4)),
        graph_(graph) {}

  // Runs until STOP. The graph holds what was built, also on failure.
  Status Run() {
    if (bytes_.size() > limits_.max_bytes) bytes_ = bytes_.substr(0, limits_.max_bytes), cut_ = true;
    memo_ = internal::PickleMemo(bytes_);
    while (!stopped_) {
      start_ = at_;
      if (at_ == bytes_.size()) return Where(Truncated("STOP", 1));
      const auto opcode = static_cast<uint8_t>(bytes_[at_++]);
      if (Status status = Step(opcode); !status.ok()) return Where(status);
      if (graph_.size() > max_nodes_ || pushed_ > kFreeReferences + stored_bytes_) {
        return Where(LimitExceeded("expected at most " + std::to_string(max_nodes_) +
                                   " objects in a pickle of this size, found more [PKL-14]"));
      }
    }
    for (ValueNode& node : graph_.nodes()) {
      if (node.kind == Kind::kDict && node.items.size() > 2) internal::DropDuplicates(node.items, 2);
      if (node.kind == Kind::kSet && node.items.size() > 1) internal::DropDuplicates(node.items, 1);
      if (node.kind == Kind::kObject && node.entries.size() > 2) internal::DropDuplicates(node.entries, 2);
    }
    return {};
  }
  uint64_t consumed() const { return at_; }

 private:
  // --- errors
  Status Where(const Status& status) const {
    const std::string name =
        start_ < bytes_.size() ? internal::OpcodeName(static_cast<uint8_t>(bytes_[start_])) : "end";
    return status.In("byte " + std::to_string(start_) + " (" + name + ")");
  }
  Status Truncated(std::string_view what, uint64_t count) const {
    if (cut_) {
      return LimitExceeded("expected a pickle of at most " + std::to_string(limits_.max_bytes) +
                           " bytes, found more [PKL-14]");
    }
    return Corrupt("expected " + std::string(what) + " of " + std::to_string(count) + " bytes, found " +
                   std::to_string(bytes_.size() - at_) + " bytes left: truncated or lying [PKL-2]");
  }
  // Python's unpicklers disagree on what comes then: the one in C reads on, or drops the rest of the frame.
  Status LeavesFrame(std::string_view what) const {
    return Corrupt("expected " + std::string(what) + " before byte " + std::to_string(frame_end_) +
                   ", where its frame ends [PKL-2]");
  }
  static Status Wrong(std::string_view expected, const ValueNode& found, std::string_view rule) {
    return Corrupt("expected " + std::string(expected) + ", found " + std::string(KindName(found.kind)) + " [" +
                   std::string(rule) + "]");
  }

  // --- arguments in the stream
  Result<std::string_view> Take(std::string_view what, uint64_t count) {
    if (count > bytes_.size() - at_) return Truncated(what, count);
    if (at_ < frame_end_ && count > frame_end_ - at_) return LeavesFrame(what);
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }
  // A little-endian number, the opcode's argument or the count before it.
  Result<uint64_t> Number(uint8_t opcode) {
    ANEMONE_ASSIGN(const std::string_view raw, Take("an argument", internal::ArgumentWidth(opcode)));
    uint64_t value = 0;
    for (size_t i = raw.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(raw[i]);
    return value;
  }
  // Bytes behind their count.
  Result<std::string_view> Counted(uint8_t opcode) {
    ANEMONE_ASSIGN(const uint64_t count, Number(opcode));
    return Take("data", count);
  }
  Result<std::string_view> Line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) return Truncated("a line", bytes_.size() - at_ + 1);
    ANEMONE_ASSIGN(const std::string_view line, Take("a line", end + 1 - at_));
    return line.substr(0, line.size() - 1);
  }
  Result<uint64_t> MemoLine() {
    ANEMONE_ASSIGN(const std::string_view line, Line());
    uint64_t index = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), index);
    if (error != std::errc() || end != line.data() + line.size()) {
      return Corrupt("expected a memo index, found " + Quoted(line) + " [PKL-7]");
    }
    return index;
  }

  // --- the stack
  size_t Floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Status Need(size_t count) const {
    if (stack_.size() - Floor() >= count) return {};
    return Corrupt("expected " + std::to_string(count) + " values on the stack, found " +
                   std::to_string(stack_.size() - Floor()) + " [PKL-4]");
  }
  void Push(ValueRef node) {
    stack_.push_back(node);
    ++pushed_;
  }
  ValueRef Pop() {
    const ValueRef node = stack_.back();
    stack_.pop_back();
    return node;
  }
  ValueRef PushNew(Kind kind) {
    const ValueRef node = graph_.New(kind);
    Push(node);
    return node;
  }
  // Everything above the topmost mark.
  Status PopMark(ValueList& items) {
    if (marks_.empty()) return Corrupt("expected a mark on the stack, found none [PKL-4]");
    items = ValueList(std::span(stack_).subspan(marks_.back()));
    stack_.resize(marks_.back());
    marks_.pop_back();
    return {};
  }
  // Refuses work that a few bytes of input could repeat without end: copies out of shared tuples, lists and strings.
  Status Copying(uint64_t count) {
    copied_ += count;
    if (copied_ <= at_ + 65536) return {};
    return LimitExceeded(
        "expected arguments made for one call each, found the same ones copied again and again [PKL-14]");
  }

  Status Frame() {
    ANEMONE_ASSIGN(const uint64_t size, Number(op::kFrame));
    if (at_ < frame_end_) return Corrupt("expected a frame behind another, found one inside it [PKL-2]");
    if (size > bytes_.size() - at_) return Truncated("a frame", size);
    frame_end_ = at_ + size;
    return {};
  }

  // --- atoms
  ValueRef NewShared(Kind kind) {
    const ValueRef node = graph_.New(kind);
    node->is_shared = true;
    return node;
  }
  // What another node's list holds, too.
  static const ValueList& Shared(const ValueList& refs) {
    for (const ValueRef ref : refs) ref->is_shared = true;
    return refs;
  }
  void PushAtom(ValueRef& shared, Kind kind, int64_t integer = 0) {
    if (shared == nullptr) {
      shared = NewShared(kind);
      shared->integer = integer;
    }
    Push(shared);
  }
  void PushInt(int64_t value) {
    ValueRef& slot = ints_[(static_cast<uint64_t>(value) * 0x9e3779b97f4a7c15u) >> 54];
    if (slot == nullptr || slot->integer != value) {
      slot = NewShared(Kind::kInt);
      slot->integer = value;
    }
    Push(slot);
  }
  Status PushInt(const Result<internal::PickledInt>& read) {
    if (!read.ok()) return read.status();
    if (read->value) return PushInt(*read->value), Status();
    PushNew(Kind::kBigInt)->text = read->digits;
    return {};
  }
  void PushFloat(double value) { PushNew(Kind::kFloat)->real = value; }
  Status PushText(std::string_view text) {
    if (!internal::IsUtf8(text, /*surrogates=*/true))
      return Corrupt("expected UTF-8, found " + Quoted(text) + " [PKL-6]");
    PushNew(Kind::kString)->text = text;
    return {};
  }
  void PushPython2String(std::string text) {
    const bool utf8 = internal::IsUtf8(text, /*surrogates=*/false);
    PushNew(utf8 ? Kind::kString : Kind::kBytes)->text = std::move(text);
  }
  void PushBytes(std::string_view bytes, bool bytearray) {
    const ValueRef node = PushNew(Kind::kBytes);
    node->text = bytes;
    node->integer = bytearray;
  }
  Status PushQuotedLine(std::string_view line) {
    const bool is_quoted = line.size() >= 2 && (line[0] == '\'' || line[0] == '"') && line.back() == line[0];
    internal::Unescaped body = internal::UnescapeString(is_quoted ? line.substr(1, line.size() - 2) : "");
    if (!is_quoted || body.broken_at != std::string_view::npos)
      return Corrupt("expected a quoted string, found " + Quoted(line) + " [PKL-7]");
    PushPython2String(std::move(body.text));
    return {};
  }
  Status PushUnicodeLine(std::string_view line) {
    internal::Unescaped body = internal::UnescapeUnicode(line);
    if (body.broken_at != std::string_view::npos)
      return Corrupt("expected \\uXXXX, found " + Quoted(line.substr(body.broken_at)) + " [PKL-6]");
    PushNew(Kind::kString)->text = std::move(body.text);
    return {};
  }

  // --- memo
  Status Put(uint64_t index) {
    ANEMONE_TRY(Need(1));
    if (index > at_ + internal::kPutAhead) {
      return Corrupt("expected a memo index near " + std::to_string(memo_.size()) + ", found " + std::to_string(index) +
                     " [PKL-5]");
    }
    if (memo_.Put(index, stack_.back())) {
      stack_.back()->is_shared = true;
      fresh_ = nullptr;
    }
    return {};
  }
  Status Get(uint64_t index) {
    const ValueRef value = memo_.Get(index);
    if (value == nullptr) return Corrupt("expected a memo entry " + std::to_string(index) + ", found none [PKL-5]");
    Push(value);
    return {};
  }

  // --- containers
  Status PushTuple(size_t count) {
    ANEMONE_TRY(Need(count));
    const ValueRef node = graph_.New(Kind::kTuple);
    node->items = ValueList(std::span(stack_).last(count));
    stack_.resize(stack_.size() - count);
    Push(node);
    fresh_ = node;
    return {};
  }
  Status PushMarked(Kind kind) {
    ValueList items;
    ANEMONE_TRY(PopMark(items));
    if (kind == Kind::kTuple && items.empty()) {
      PushAtom(empty_tuple_, Kind::kTuple);
      return {};
    }
    const ValueRef node = PushNew(kind);
    if (kind == Kind::kDict) return AddEntries(*node, std::move(items));
    if (kind == Kind::kTuple) fresh_ = node;
    if (kind == Kind::kSet) {
      node->integer = 1;
      ANEMONE_TRY(CheckHashable(items, 1));
    }
    node->items = std::move(items);
    return {};
  }
  Status CheckHashable(const ValueList& items, size_t step) {
    uint64_t budget = 1'000'000 + 64 * at_ - hashed_;
    const uint64_t before = budget;
    ANEMONE_TRY(internal::CheckHashable(items, step, budget));
    hashed_ += before - budget;
    return {};
  }
  Status AddEntries(ValueNode& target, ValueList pairs) {
    if (target.kind != Kind::kDict && target.kind != Kind::kObject) return Wrong("a dict", target, "PKL-11");
    if (pairs.size() % 2 != 0) return Corrupt("expected keys and values, found a key alone [PKL-11]");
    ANEMONE_TRY(CheckHashable(pairs, 2));
    if (visitor_.pair) ANEMONE_TRY(VisitPairs(target, pairs));
    ValueList& entries = target.kind == Kind::kDict ? target.items : target.entries;
    entries.insert(entries.end(), pairs.begin(), pairs.end());
    return {};
  }
  static Status AddItems(ValueNode& target, const ValueList& items) {
    if (target.kind != Kind::kList && target.kind != Kind::kObject) return Wrong("a list", target, "PKL-11");
    ValueList& all = target.kind == Kind::kList ? target.items : target.appended;
    all.insert(all.end(), items.begin(), items.end());
    return {};
  }
  Status AddMembers(ValueNode& target, const ValueList& items) {
    if (target.kind != Kind::kSet || target.integer == 1) return Wrong("a set", target, "PKL-11");
    ANEMONE_TRY(CheckHashable(items, 1));
    target.items.insert(target.items.end(), items.begin(), items.end());
    return {};
  }

  // --- names and calls
  Result<ValueRef> Global(std::string_view module, std::string_view name) {
    for (const std::string_view part : {module, name}) {
      bool bad = part.empty() || part.size() > kMaxNameBytes || !internal::IsUtf8(part, false);
      for (const char c : part) bad = bad || static_cast<uint8_t>(c) <= ' ' || c == 0x7f;
      if (bad) return Corrupt("expected the name of a global, found " + Quoted(part) + " [PKL-8]");
    }
    return GlobalNamed(internal::GlobalName(module, name, protocol_));
  }
  ValueRef GlobalNamed(const std::string& name) {
    ValueRef& node = globals_[name];
    if (node == nullptr) {
      node = NewShared(Kind::kGlobal);
      node->text = name;
    }
    return node;
  }
  static Status CheckCallable(const ValueNode& callable) {
    if (callable.kind == Kind::kGlobal || callable.kind == Kind::kObject || callable.kind == Kind::kPersistent)
      return {};
    return Wrong("a callable", callable, "PKL-9");
  }
  static Status CheckClass(const ValueNode& callable) {
    return callable.kind == Kind::kGlobal ? Status() : Wrong("a class", callable, "PKL-9");
  }
  // callable, args → object. The argument tuple made just before becomes the object itself: most objects need no other.
  Status Call(bool is_new) {
    ANEMONE_TRY(Need(2));
    const ValueRef args = Pop(), callable = Pop();
    ANEMONE_TRY(is_new ? CheckClass(*callable) : CheckCallable(*callable));
    if (args->kind != Kind::kTuple) return Wrong("a tuple of arguments", *args, "PKL-9");
    ValueRef node = args;
    if (args != fresh_) {
      ANEMONE_TRY(Copying(args->items.size()));
      node = graph_.New(Kind::kObject);
      node->items = Shared(args->items);
    }
    node->kind = Kind::kObject;
    node->callable = callable;
    node->is_new = is_new;
    Push(node);
    if (callable->kind == Kind::kGlobal) callable->integer = 1;
    if (!is_new) ANEMONE_TRY(Simplify(*node));
    return Visit(*node);
  }
  Status VisitPairs(const ValueNode& dict, ValueList& pairs) {
    ValueNode taken;
    auto kept = pairs.begin();
    for (auto pair = pairs.begin(); pair != pairs.end(); pair += 2) {
      ANEMONE_ASSIGN(const bool is_understood, visitor_.pair(dict, *pair[0], *pair[1]));
      if (is_understood) {
        taken.items.insert(taken.items.end(), pair, pair + 2);
      } else {
        kept = std::copy_n(pair, 2, kept);
      }
    }
    pairs.erase(kept, pairs.end());
    graph_.FreeParts(taken);
    return {};
  }
  Status Visit(ValueNode& node) {
    if (!visitor_.object || (node.kind != Kind::kObject && node.kind != Kind::kPersistent)) return {};
    ANEMONE_ASSIGN(const bool is_understood, visitor_.object(node));
    if (!is_understood) return {};
    const ValueRef callable = node.callable;
    graph_.FreeParts(node);
    if (node.kind == Kind::kObject) node.callable = callable;
    return {};
  }
  // The calls that stand for plain data in protocol 2 [CPython Lib/pickle.py save_bytes, save_bytearray,
  // set.__reduce__].
  Status Simplify(ValueNode& node) {
    if (node.callable->kind != Kind::kGlobal) return {};
    const std::string& name = node.callable->text;
    const ValueList& args = node.items;
    const bool is_bytearray = name == "builtins bytearray";
    if (name == "_codecs encode" || is_bytearray || name == "builtins bytes") {
      std::optional<std::string> text;
      if (args.empty() && name != "_codecs encode") {
        text.emplace();
      } else if (args.size() == 2 && args[0]->kind == Kind::kString && args[1]->kind == Kind::kString &&
                 name != "builtins bytes" && (args[1]->text == "latin1" || args[1]->text == "latin-1")) {
        ANEMONE_TRY(Copying(args[0]->text.size()));
        text = ToLatin1(args[0]->text);
      } else if (args.size() == 1 && args[0]->kind == Kind::kBytes && is_bytearray) {
        ANEMONE_TRY(Copying(args[0]->text.size()));
        text = args[0]->text;
      }
      if (text) Become(node, Kind::kBytes, is_bytearray).text = *std::move(text);
    } else if ((name == "builtins set" || name == "builtins frozenset") && args.size() <= 1 &&
               (args.empty() || args[0]->kind == Kind::kList || args[0]->kind == Kind::kTuple)) {
      ValueList items;
      if (!args.empty()) {
        ANEMONE_TRY(Copying(args[0]->items.size()));
        items = Shared(args[0]->items);
      }
      ANEMONE_TRY(CheckHashable(items, 1));
      Become(node, Kind::kSet, name == "builtins frozenset").items = std::move(items);
    }
    return {};
  }
  static ValueNode& Become(ValueNode& node, Kind kind, bool flag) {
    node.kind = kind;
    node.integer = flag;
    node.items.clear();
    return node;
  }
  Status CallWithKeywords() {
    ANEMONE_TRY(Need(3));
    const ValueRef keywords = Pop(), args = Pop(), callable = Pop();
    ANEMONE_TRY(CheckClass(*callable));
    if (args->kind != Kind::kTuple) return Wrong("a tuple of arguments", *args, "PKL-9");
    if (keywords->kind != Kind::kDict) return Wrong("a dict of keyword arguments", *keywords, "PKL-9");
    for (size_t i = 0; i < keywords->items.size(); i += 2) {
      if (keywords->items[i]->kind != Kind::kString) return Wrong("a keyword", *keywords->items[i], "PKL-9");
    }
    // What earlier protocols write for the same [PEP 3154, copyreg.__newobj_ex__].
    const ValueRef helper = GlobalNamed("copyreg __newobj_ex__");
    const ValueRef node = PushNew(Kind::kObject);
    node->callable = helper;
    helper->integer = 1;
    node->items = {callable, args, keywords};
    return {};
  }
  Status Build() {
    ANEMONE_TRY(Need(2));
    const ValueRef state = Pop();
    ValueNode& target = *stack_.back();
    if (target.kind != Kind::kObject) return Wrong("an object to give a state", target, "PKL-10");
    if (target.state != nullptr) return Corrupt("expected one state for an object, found a second [PKL-10]");
    target.state = state;
    return Visit(target);
  }
  // INST and OBJ are Python 2's class instances.
  Status RefuseInstance(uint8_t opcode) {
    ValueRef callable = nullptr;
    if (opcode == op::kInst) {
      ANEMONE_ASSIGN(const std::string_view module, Line());
      ANEMONE_ASSIGN(const std::string_view name, Line());
      ANEMONE_ASSIGN(callable, Global(module, name));
    } else if (!marks_.empty() && marks_.back() < stack_.size() && stack_[marks_.back()]->kind == Kind::kGlobal) {
      callable = stack_[marks_.back()];
    }
    if (callable == nullptr) return Refuse(opcode, "a class instance as protocol 0 wrote it");
    callable->integer = 1;
    return Refuse(opcode, "an instance of " + callable->text + " as protocol 0 wrote it");
  }
  static Status Refuse(uint8_t opcode, const std::string& what) {
    return Unsupported("expected plain data, found " + what + " (" + internal::OpcodeName(opcode) + ") [PKL-13]");
  }

  Status Step(uint8_t opcode);
  Status Control(uint8_t opcode);
  Status Scalar(uint8_t opcode);
  Status String(uint8_t opcode);
  Status Container(uint8_t opcode);
  Status Name(uint8_t opcode);
  Status Refused(uint8_t opcode);

  std::string_view bytes_;
  const PickleLimits& limits_;
  const ObjectVisitor& visitor_;
  const uint64_t stored_bytes_, max_nodes_;
  ValueGraph& graph_;
  uint64_t at_ = 0;
  uint64_t start_ = 0;  // of the opcode being read
  uint64_t frame_end_ = 0, protocol_ = 0;
  uint64_t copied_ = 0, pushed_ = 0, hashed_ = 0;
  bool cut_ = false;  // bytes_ was shortened to the limit
  bool stopped_ = false;
  std::vector<ValueRef> stack_;
  std::vector<size_t> marks_;
  internal::PickleMemo memo_;
  std::unordered_map<std::string, ValueRef> globals_;
  std::array<ValueRef, 1024> ints_ = {};
  ValueRef none_ = nullptr, true_ = nullptr, false_ = nullptr, empty_tuple_ = nullptr;
  ValueRef fresh_ = nullptr;  // the tuple on top of the stack if nothing else refers to it
};

// One function for each group of opcodes; it hands those of other groups on.
Status Reader::Step(uint8_t opcode) {
  switch (opcode) {  // those that leave fresh_ alone, or need it
    case op::kPut: {
      ANEMONE_ASSIGN(const uint64_t index, MemoLine());
      return Put(index);
    }
    case op::kBinPut:
    case op::kLongBinPut: {
      ANEMONE_ASSIGN(const uint64_t index, Number(opcode));
      return Put(index);
    }
    case op::kMemoize:
      return Put(memo_.size());
    case op::kTuple1:
      return PushTuple(1);
    case op::kTuple2:
      return PushTuple(2);
    case op::kTuple3:
      return PushTuple(3);
    case op::kReduce: {
      Status status = Call(/*is_new=*/false);
      fresh_ = nullptr;
      return status;
    }
    case op::kNewObj: {
      Status status = Call(/*is_new=*/true);
      fresh_ = nullptr;
      return status;
    }
    default:
      fresh_ = nullptr;
      return Control(opcode);
  }
}

Status Reader::Control(uint8_t opcode) {
  switch (opcode) {
    case op::kProto: {
      ANEMONE_ASSIGN(protocol_, Number(opcode));
      if (protocol_ > 5)
        return Unsupported("expected protocol 0 to 5, found " + std::to_string(protocol_) + " [PKL-1]");
      return {};
    }
    case op::kFrame:
      return Frame();
    case op::kStop:
      ANEMONE_TRY(Need(1));
      if (at_ < frame_end_) return LeavesFrame("the end of the frame");
      graph_.root = stack_.back();
      stopped_ = true;
      return {};
    case op::kMark:
      if (marks_.size() >= limits_.max_depth) {
        return LimitExceeded("expected at most " + std::to_string(limits_.max_depth) +
                             " nested marks, found more [PKL-14]");
      }
      marks_.push_back(stack_.size());
      return {};
    case op::kPop:
      if (stack_.size() == Floor() && !marks_.empty()) {
        marks_.pop_back();
        return {};
      }
      ANEMONE_TRY(Need(1));
      Pop();
      return {};
    case op::kPopMark: {
      ValueList dropped;
      return PopMark(dropped);
    }
    case op::kDup:
      ANEMONE_TRY(Need(1));
      stack_.back()->is_shared = true;
      Push(stack_.back());
      return {};
    default:
      return Scalar(opcode);
  }
}

Status Reader::Scalar(uint8_t opcode) {
  switch (opcode) {
    case op::kNone:
      return PushAtom(none_, Kind::kNone), Status();
    case op::kNewTrue:
      return PushAtom(true_, Kind::kBool, 1), Status();
    case op::kNewFalse:
      return PushAtom(false_, Kind::kBool, 0), Status();
    case op::kBinInt1:
    case op::kBinInt2:
    case op::kBinInt: {
      ANEMONE_ASSIGN(const uint64_t value, Number(opcode));
      PushInt(opcode == op::kBinInt ? static_cast<int32_t>(value) : static_cast<int64_t>(value));
      return {};
    }
    case op::kLong1:
    case op::kLong4: {
      ANEMONE_ASSIGN(const std::string_view raw, Counted(opcode));
      return PushInt(internal::IntFromBytes(raw));
    }
    case op::kInt: {
      ANEMONE_ASSIGN(const std::string_view line, Line());
      if (line == "01") return PushAtom(true_, Kind::kBool, 1), Status();
      if (line == "00") return PushAtom(false_, Kind::kBool, 0), Status();
      return PushInt(internal::IntFromDigits(line));
    }
    case op::kLong: {
      ANEMONE_ASSIGN(std::string_view line, Line());
      if (line.ends_with('L')) line.remove_suffix(1);
      return PushInt(internal::IntFromDigits(line));
    }
    case op::kFloat: {
      ANEMONE_ASSIGN(const std::string_view line, Line());
      ANEMONE_ASSIGN(const double value, internal::FloatFromText(line));
      return PushFloat(value), Status();
    }
    case op::kBinFloat: {
      ANEMONE_ASSIGN(const uint64_t little, Number(opcode));
      return PushFloat(std::bit_cast<double>(__builtin_bswap64(little))), Status();
    }
    default:
      return String(opcode);
  }
}

Status Reader::String(uint8_t opcode) {
  switch (opcode) {
    case op::kShortBinUnicode:
    case op::kBinUnicode:
    case op::kBinUnicode8: {
      ANEMONE_ASSIGN(const std::string_view text, Counted(opcode));
      return PushText(text);
    }
    case op::kUnicode: {
      ANEMONE_ASSIGN(const std::string_view line, Line());
      return PushUnicodeLine(line);
    }
    case op::kShortBinString:
    case op::kBinString: {
      ANEMONE_ASSIGN(const std::string_view text, Counted(opcode));
      return PushPython2String(std::string(text)), Status();
    }
    case op::kString: {
      ANEMONE_ASSIGN(const std::string_view line, Line());
      return PushQuotedLine(line);
    }
    case op::kShortBinBytes:
    case op::kBinBytes:
    case op::kBinBytes8: {
      ANEMONE_ASSIGN(const std::string_view raw, Counted(opcode));
      return PushBytes(raw, /*bytearray=*/false), Status();
    }
    case op::kByteArray8: {
      ANEMONE_ASSIGN(const std::string_view raw, Counted(opcode));
      return PushBytes(raw, /*bytearray=*/true), Status();
    }
    default:
      return Container(opcode);
  }
}

Status Reader::Container(uint8_t opcode) {
  switch (opcode) {
    case op::kEmptyTuple:
      return PushAtom(empty_tuple_, Kind::kTuple), Status();
    case op::kTuple:
      return PushMarked(Kind::kTuple);
    case op::kEmptyList:
      return PushNew(Kind::kList), Status();
    case op::kList:
      return PushMarked(Kind::kList);
    case op::kEmptyDict:
      return PushNew(Kind::kDict), Status();
    case op::kDict:
      return PushMarked(Kind::kDict);
    case op::kEmptySet:
      return PushNew(Kind::kSet), Status();
    case op::kFrozenSet:
      return PushMarked(Kind::kSet);
    case op::kAppend: {
      ANEMONE_TRY(Need(2));
      const ValueList items = {Pop()};
      return AddItems(*stack_.back(), items);
    }
    case op::kSetItem: {
      ANEMONE_TRY(Need(3));
      const ValueRef value = Pop(), key = Pop();
      return AddEntries(*stack_.back(), {key, value});
    }
    case op::kAppends:
    case op::kSetItems:
    case op::kAddItems: {
      ValueList items;
      ANEMONE_TRY(PopMark(items));
      ANEMONE_TRY(Need(1));
      ValueNode& target = *stack_.back();
      return opcode == op::kAppends    ? AddItems(target, items)
             : opcode == op::kSetItems ? AddEntries(target, std::move(items))
                                       : AddMembers(target, items);
    }
    default:
      return Name(opcode);
  }
}

Status Reader::Name(uint8_t opcode) {
  switch (opcode) {
    case op::kGet: {
      ANEMONE_ASSIGN(const uint64_t index, MemoLine());
      return Get(index);
    }
    case op::kBinGet:
    case op::kLongBinGet: {
      ANEMONE_ASSIGN(const uint64_t index, Number(opcode));
      return Get(index);
    }
    case op::kGlobal: {
      ANEMONE_ASSIGN(const std::string_view module, Line());
      ANEMONE_ASSIGN(const std::string_view name, Line());
      ANEMONE_ASSIGN(const ValueRef node, Global(module, name));
      return Push(node), Status();
    }
    case op::kStackGlobal: {
      ANEMONE_TRY(Need(2));
      const ValueRef name = Pop(), module = Pop();
      for (const ValueNode* part : {module, name}) {
        if (part->kind != Kind::kString) return Wrong("a string naming a global", *part, "PKL-8");
      }
      ANEMONE_ASSIGN(const ValueRef node, Global(module->text, name->text));
      return Push(node), Status();
    }
    case op::kNewObjEx:
      return CallWithKeywords();
    case op::kBuild:
      return Build();
    case op::kBinPersId: {
      ANEMONE_TRY(Need(1));
      const ValueRef id = Pop();
      const ValueRef node = PushNew(Kind::kPersistent);
      node->items = {id};
      return Visit(*node);
    }
    default:
      return Refused(opcode);
  }
}

Status Reader::Refused(uint8_t opcode) {
  switch (opcode) {
    case op::kInst:
    case op::kObj:
      return RefuseInstance(opcode);
    case op::kPersId:
      return Refuse(opcode, "a persistent id in text");
    case op::kExt1:
    case op::kExt2:
    case op::kExt4:
      return Refuse(opcode, "a name hidden in a registry outside the file");
    case op::kNextBuffer:
    case op::kReadOnlyBuffer:
      return Refuse(opcode, "a buffer outside the file");
    default:
      return Corrupt("expected an opcode, found " + internal::OpcodeName(opcode) + " [PKL-3]");
  }
}

}  // namespace

bool LooksLikePickle(std::string_view bytes) {
  return bytes.size() >= 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
}

Result<Value> ReadPickle(std::string_view bytes, const PickleLimits& limits, uint64_t* consumed,
                         const ObjectVisitor& visitor) {
  auto graph = std::make_shared<ValueGraph>();
  Reader reader(bytes, limits, *graph, visitor);
  ANEMONE_TRY(reader.Run());
  if (consumed != nullptr) *consumed = reader.consumed();
  const ValueRef root = graph->root;
  return Value{std::move(graph), root};
}

std::vector<PickleGlobal> ListGlobals(const ValueGraph& graph) {
  std::map<std::string, bool> uses;  // name → called
  for (const ValueNode& node : graph.nodes()) {
    if (node.kind == Kind::kGlobal) uses[node.text] |= node.integer != 0;
  }
  std::vector<PickleGlobal> globals;
  globals.reserve(uses.size());
  for (const auto& [name, called] : uses) globals.push_back({name, called});
  return globals;
}

}  // namespace anemone
