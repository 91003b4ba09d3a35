// The pickle machine without its hands: it builds nodes where Python would call. docs/formats/pickle.md has the rules.
#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <map>

#include "base/little_endian.h"
#include "container/pickle.h"
#include "container/pickle_calls.h"
#include "container/pickle_escapes.h"
#include "container/pickle_keys.h"
#include "container/pickle_memo.h"
#include "container/pickle_names.h"
#include "container/pickle_nodes.h"
#include "container/pickle_numbers.h"
#include "container/pickle_opcodes.h"
#include "container/pickle_work.h"
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

class Reader {
 public:
  Reader(std::string_view bytes, const PickleLimits& limits, ValueGraph& graph, const ObjectVisitor& visitor)
      : bytes_(bytes),
        limits_(limits),
        visitor_(visitor),
        stored_bytes_(limits.stored_bytes != 0 ? limits.stored_bytes : bytes.size()),
        max_nodes_(std::min(limits.max_nodes, 1'000'000 + stored_bytes_ / 4)),
        graph_(graph),
        nodes_(graph) {}

  // Runs until STOP. The graph holds what was built, also on failure.
  Status Run() {
    if (bytes_.size() > limits_.max_bytes) bytes_ = bytes_.substr(0, limits_.max_bytes), cut_ = true;
    memo_ = internal::PickleMemo(bytes_);
    while (!stopped_) {
      start_ = at_;
      if (Status status = Step(); !status.ok()) return Where(status);
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
  using Handler = Status (Reader::*)();
  static const std::array<Handler, 256> kHandlers;  // by opcode

  Status Step() {
    if (at_ == bytes_.size()) return Truncated("STOP", 1);
    opcode_ = static_cast<uint8_t>(bytes_[at_++]);
    ANEMONE_TRY(TakeArgument());
    work_.Allow(at_);
    was_fresh_ = std::exchange(fresh_, nullptr);
    return (this->*kHandlers[opcode_])();
  }

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
  Result<std::string_view> Line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) return Truncated("a line", bytes_.size() - at_ + 1);
    ANEMONE_ASSIGN(const std::string_view line, Take("a line", end + 1 - at_));
    return line.substr(0, line.size() - 1);
  }
  Status TakeArgument() {
    const internal::ArgumentForm form = internal::ArgumentOf(opcode_);
    if (form.lines > 0) {
      ANEMONE_ASSIGN(argument_, Line());
      if (form.lines == 2) {
        ANEMONE_ASSIGN(second_line_, Line());
      }
      return {};
    }
    ANEMONE_ASSIGN(argument_, Take("an argument", form.bytes));
    if (form.is_count) {
      ANEMONE_ASSIGN(argument_, Take("data", Number()));
    }
    return {};
  }
  // A little-endian argument.
  uint64_t Number() const { return internal::LittleEndian(argument_); }

  Status Frame() {
    if (at_ < frame_end_) return Corrupt("expected a frame behind another, found one inside it [PKL-2]");
    if (Number() > bytes_.size() - at_) return Truncated("a frame", Number());
    frame_end_ = at_ + Number();
    return {};
  }
  Status Protocol() {
    protocol_ = Number();
    if (protocol_ > 5) return Unsupported("expected protocol 0 to 5, found " + std::to_string(protocol_) + " [PKL-1]");
    return {};
  }
  Status Stop() {
    ANEMONE_TRY(Need(1));
    if (at_ < frame_end_) return LeavesFrame("no STOP");
    graph_.root = stack_.back();
    stopped_ = true;
    return {};
  }

  // --- the stack
  size_t Floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Status Need(size_t count) const {
    if (stack_.size() - Floor() >= count) return {};
    return Corrupt("expected " + std::to_string(count) + " values on the stack, found " +
                   std::to_string(stack_.size() - Floor()) + " [PKL-4]");
  }
  Status Push(ValueRef node) {
    stack_.push_back(node);
    ++pushed_;
    return {};
  }
  ValueRef Pop() {
    const ValueRef node = stack_.back();
    stack_.pop_back();
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
  Status Mark() {
    if (marks_.size() >= limits_.max_depth) {
      return LimitExceeded("expected at most " + std::to_string(limits_.max_depth) +
                           " nested marks, found more [PKL-14]");
    }
    marks_.push_back(stack_.size());
    return {};
  }
  // A mark on top is dropped like a value.
  Status Drop() {
    if (stack_.size() == Floor() && !marks_.empty()) return marks_.pop_back(), Status();
    ANEMONE_TRY(Need(1));
    return stack_.pop_back(), Status();
  }
  Status DropMarked() {
    ValueList dropped;
    return PopMark(dropped);
  }
  Status Duplicate() {
    ANEMONE_TRY(Need(1));
    stack_.back()->is_shared = true;
    return Push(stack_.back());
  }

  // --- atoms
  Status None() { return Push(nodes_.None()); }
  Status True() { return Push(nodes_.Bool(true)); }
  Status False() { return Push(nodes_.Bool(false)); }
  Status SmallInt() { return Push(nodes_.Int(static_cast<int64_t>(Number()))); }
  Status SignedInt() { return Push(nodes_.Int(static_cast<int32_t>(Number()))); }
  Status PushInt(const Result<internal::PickledInt>& read) {
    return read.ok() ? Push(nodes_.Int(*read)) : read.status();
  }
  Status Long() { return PushInt(internal::IntFromBytes(argument_)); }
  Status IntLine() {
    if (argument_ == "01" || argument_ == "00") return Push(nodes_.Bool(argument_ == "01"));
    return PushInt(internal::IntFromDigits(argument_));
  }
  Status LongLine() {
    return PushInt(internal::IntFromDigits(argument_.substr(0, argument_.size() - argument_.ends_with('L'))));
  }
  Status FloatLine() {
    ANEMONE_ASSIGN(const double value, internal::FloatFromText(argument_));
    return Push(nodes_.Float(value));
  }
  Status BinFloat() { return Push(nodes_.Float(std::bit_cast<double>(__builtin_bswap64(Number())))); }
  Status Text() {
    if (!internal::IsUtf8(argument_, /*surrogates=*/true))
      return Corrupt("expected UTF-8, found " + Quoted(argument_) + " [PKL-6]");
    return Push(nodes_.Text(Kind::kString, std::string(argument_)));
  }
  Status TextLine() {
    internal::Unescaped text = internal::UnescapeUnicode(argument_);
    if (text.broken_at != std::string_view::npos)
      return Corrupt("expected \\uXXXX, found " + Quoted(argument_.substr(text.broken_at)) + " [PKL-6]");
    return Push(nodes_.Text(Kind::kString, std::move(text.text)));
  }
  Status OldString() { return Push(nodes_.OldString(std::string(argument_))); }
  Status OldStringLine() {
    const bool is_quoted =
        argument_.size() >= 2 && (argument_[0] == '\'' || argument_[0] == '"') && argument_.back() == argument_[0];
    internal::Unescaped body = internal::UnescapeString(is_quoted ? argument_.substr(1, argument_.size() - 2) : "");
    if (!is_quoted || body.broken_at != std::string_view::npos)
      return Corrupt("expected a quoted string, found " + Quoted(argument_) + " [PKL-7]");
    return Push(nodes_.OldString(std::move(body.text)));
  }
  Status Bytes() { return Push(nodes_.Text(Kind::kBytes, std::string(argument_))); }
  Status ByteArray() { return Push(nodes_.ByteArray(argument_)); }

  // --- memo
  Result<uint64_t> IndexLine() const {
    uint64_t index = 0;
    const char* const last = argument_.data() + argument_.size();
    const auto [end, error] = std::from_chars(argument_.data(), last, index);
    if (error == std::errc() && end == last) return index;
    return Corrupt("expected a memo index, found " + Quoted(argument_) + " [PKL-7]");
  }
  Status PutAt(uint64_t index) {
    ANEMONE_TRY(Need(1));
    if (index > at_ + internal::kPutAhead) {
      return Corrupt("expected a memo index near " + std::to_string(memo_.size()) + ", found " + std::to_string(index) +
                     " [PKL-5]");
    }
    if (memo_.Put(index, stack_.back())) {
      stack_.back()->is_shared = true;
    } else {
      fresh_ = was_fresh_;
    }
    return {};
  }
  Status GetAt(uint64_t index) {
    const ValueRef value = memo_.Get(index);
    if (value == nullptr) return Corrupt("expected a memo entry " + std::to_string(index) + ", found none [PKL-5]");
    return Push(value);
  }
  Status Put() { return PutAt(Number()); }
  Status PutLine() {
    ANEMONE_ASSIGN(const uint64_t index, IndexLine());
    return PutAt(index);
  }
  Status Memoize() { return PutAt(memo_.size()); }
  Status Get() { return GetAt(Number()); }
  Status GetLine() {
    ANEMONE_ASSIGN(const uint64_t index, IndexLine());
    return GetAt(index);
  }

  // --- containers
  Status EmptyList() { return Push(nodes_.New(Kind::kList)); }
  Status EmptyDict() { return Push(nodes_.New(Kind::kDict)); }
  Status EmptySet() { return Push(nodes_.New(Kind::kSet)); }
  Status EmptyTuple() { return Push(nodes_.EmptyTuple()); }
  Status SmallTuple() {
    const size_t count = opcode_ - size_t{op::kTuple1} + 1;
    ANEMONE_TRY(Need(count));
    fresh_ = nodes_.New(Kind::kTuple);
    fresh_->items = ValueList(std::span(stack_).last(count));
    stack_.resize(stack_.size() - count);
    return Push(fresh_);
  }
  Status Tuple() {
    ValueList items;
    ANEMONE_TRY(PopMark(items));
    if (items.empty()) return Push(nodes_.EmptyTuple());
    fresh_ = nodes_.New(Kind::kTuple);
    fresh_->items = std::move(items);
    return Push(fresh_);
  }
  Status List() {
    const ValueRef list = nodes_.New(Kind::kList);
    ANEMONE_TRY(PopMark(list->items));
    return Push(list);
  }
  Status FrozenSet() {
    const ValueRef set = nodes_.New(Kind::kSet);
    ANEMONE_TRY(PopMark(set->items));
    set->integer = 1;
    ANEMONE_TRY(work_.CheckHashable(set->items, 1));
    return Push(set);
  }
  Status Dict() {
    ValueList pairs;
    ANEMONE_TRY(PopMark(pairs));
    const ValueRef dict = nodes_.New(Kind::kDict);
    ANEMONE_TRY(Push(dict));
    return AddEntries(*dict, std::move(pairs));
  }
  Status AddEntries(ValueNode& target, ValueList pairs) {
    if (target.kind != Kind::kDict && target.kind != Kind::kObject) return Wrong("a dict", target, "PKL-11");
    if (pairs.size() % 2 != 0) return Corrupt("expected keys and values, found a key alone [PKL-11]");
    ANEMONE_TRY(work_.CheckHashable(pairs, 2));
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
  Status Append() {
    ANEMONE_TRY(Need(2));
    const ValueList items = {Pop()};
    return AddItems(*stack_.back(), items);
  }
  Status SetItem() {
    ANEMONE_TRY(Need(3));
    const ValueRef value = Pop(), key = Pop();
    return AddEntries(*stack_.back(), {key, value});
  }
  // Everything above the topmost mark, which a value below it takes.
  Status PopMarkAbove(ValueList& items) {
    ANEMONE_TRY(PopMark(items));
    return Need(1);
  }
  Status AppendMarked() {
    ValueList items;
    ANEMONE_TRY(PopMarkAbove(items));
    return AddItems(*stack_.back(), items);
  }
  Status SetMarked() {
    ValueList pairs;
    ANEMONE_TRY(PopMarkAbove(pairs));
    return AddEntries(*stack_.back(), std::move(pairs));
  }
  Status AddMarked() {
    ValueList members;
    ANEMONE_TRY(PopMarkAbove(members));
    ValueNode& set = *stack_.back();
    if (set.kind != Kind::kSet || set.integer == 1) return Wrong("a set", set, "PKL-11");
    ANEMONE_TRY(work_.CheckHashable(members, 1));
    set.items.insert(set.items.end(), members.begin(), members.end());
    return {};
  }

  // --- names and calls
  Result<ValueRef> Named(std::string_view module, std::string_view name) {
    for (const std::string_view part : {module, name}) {
      bool bad = part.empty() || part.size() > kMaxNameBytes || !internal::IsUtf8(part, false);
      for (const char c : part) bad = bad || static_cast<uint8_t>(c) <= ' ' || c == 0x7f;
      if (bad) return Corrupt("expected the name of a global, found " + Quoted(part) + " [PKL-8]");
    }
    return nodes_.Global(internal::GlobalName(module, name, protocol_));
  }
  Status Global() {
    ANEMONE_ASSIGN(const ValueRef node, Named(argument_, second_line_));
    return Push(node);
  }
  Status StackGlobal() {
    ANEMONE_TRY(Need(2));
    const ValueRef name = Pop(), module = Pop();
    for (const ValueNode* part : {module, name}) {
      if (part->kind != Kind::kString) return Wrong("a string naming a global", *part, "PKL-8");
    }
    ANEMONE_ASSIGN(const ValueRef node, Named(module->text, name->text));
    return Push(node);
  }
  // A class inside another, as protocols before 4 name it: getattr(outer, "inner").
  static bool IsInnerClass(const ValueNode& callable) {
    return callable.kind == Kind::kObject && callable.callable->kind == Kind::kGlobal &&
           callable.callable->text == "builtins getattr";
  }
  static Status CheckCall(const ValueNode& callable, const ValueNode& args, bool is_new) {
    // torch's files before 1.6 name the class of a module by a persistent id, which holds its source, too.
    if (is_new && callable.kind != Kind::kGlobal && callable.kind != Kind::kPersistent && !IsInnerClass(callable))
      return Wrong("a class", callable, "PKL-9");
    if (callable.kind != Kind::kGlobal && callable.kind != Kind::kObject && callable.kind != Kind::kPersistent)
      return Wrong("a callable", callable, "PKL-9");
    return args.kind == Kind::kTuple ? Status() : Wrong("a tuple of arguments", args, "PKL-9");
  }
  Status Reduce() { return Call(/*is_new=*/false); }
  Status NewObject() { return Call(/*is_new=*/true); }
  // callable, args → object. The argument tuple made just before becomes the object itself: most objects need no other.
  Status Call(bool is_new) {
    ANEMONE_TRY(Need(2));
    const ValueRef args = Pop(), callable = Pop();
    ANEMONE_TRY(CheckCall(*callable, *args, is_new));
    ValueRef node = args;
    if (args != was_fresh_) {
      ANEMONE_TRY(work_.Copy(args->items.size()));
      node = nodes_.New(Kind::kObject);
      node->items = args->items;
      for (const ValueRef item : node->items) item->is_shared = true;
    }
    node->kind = Kind::kObject;
    node->callable = callable;
    node->is_new = is_new;
    ANEMONE_TRY(Push(node));
    if (callable->kind == Kind::kGlobal) callable->integer = 1;
    ANEMONE_TRY(internal::MakeContainer(*node, graph_, work_));
    if (visitor_.pair) ANEMONE_TRY(VisitPairs(*node, node->entries));
    return Visit(*node);
  }
  Status NewObjectWithKeywords() {
    ANEMONE_TRY(Need(3));
    const ValueRef keywords = Pop(), args = Pop(), callable = Pop();
    ANEMONE_TRY(CheckCall(*callable, *args, /*is_new=*/true));
    if (internal::IsContainer(*callable))
      return Corrupt("expected a class that takes keywords, found " + Quoted(callable->text) + " [PKL-9]");
    if (keywords->kind != Kind::kDict) return Wrong("a dict of keyword arguments", *keywords, "PKL-9");
    for (size_t i = 0; i < keywords->items.size(); i += 2) {
      if (keywords->items[i]->kind != Kind::kString) return Wrong("a keyword", *keywords->items[i], "PKL-9");
    }
    // The same call as protocols before 4 write it [PEP 3154, copyreg.__newobj_ex__].
    const ValueRef node = nodes_.New(Kind::kObject);
    node->callable = nodes_.Global("copyreg __newobj_ex__");
    node->callable->integer = 1;
    node->items = {callable, args, keywords};
    return Push(node);
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
  Status Persistent() {
    ANEMONE_TRY(Need(1));
    const ValueRef node = nodes_.New(Kind::kPersistent);
    node->items = {Pop()};
    ANEMONE_TRY(Push(node));
    return Visit(*node);
  }

  // --- what a visitor understands
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

  // --- what is refused
  Status Refuse(const std::string& what) const {
    return Unsupported("expected plain data, found " + what + " (" + internal::OpcodeName(opcode_) + ") [PKL-13]");
  }
  // Python 2's class instances.
  Status RefuseInstance(const ValueRef callable) const {
    if (callable == nullptr) return Refuse("a class instance as protocol 0 wrote it");
    callable->integer = 1;
    return Refuse("an instance of " + callable->text + " as protocol 0 wrote it");
  }
  Status Inst() {
    ANEMONE_ASSIGN(const ValueRef callable, Named(argument_, second_line_));
    return RefuseInstance(callable);
  }
  Status Obj() {
    const bool has_class =
        !marks_.empty() && marks_.back() < stack_.size() && stack_[marks_.back()]->kind == Kind::kGlobal;
    return RefuseInstance(has_class ? stack_[marks_.back()] : nullptr);
  }
  Status PersistentLine() { return Refuse("a persistent id in text"); }
  Status Extension() { return Refuse("a name hidden in a registry outside the file"); }
  Status Buffer() { return Refuse("a buffer outside the file"); }
  Status NoOpcode() { return Corrupt("expected an opcode, found " + internal::OpcodeName(opcode_) + " [PKL-3]"); }

  std::string_view bytes_;
  const PickleLimits& limits_;
  const ObjectVisitor& visitor_;
  const uint64_t stored_bytes_, max_nodes_;
  ValueGraph& graph_;
  internal::PickleNodes nodes_;
  internal::PickleWork work_;
  internal::PickleMemo memo_;
  uint64_t at_ = 0;
  uint64_t start_ = 0;  // of the opcode being read
  uint8_t opcode_ = 0;
  std::string_view argument_, second_line_;
  uint64_t frame_end_ = 0, protocol_ = 0, pushed_ = 0;
  bool cut_ = false;  // bytes_ was shortened to the limit
  bool stopped_ = false;
  std::vector<ValueRef> stack_;
  std::vector<size_t> marks_;
  // The tuple on top of the stack if nothing else refers to it: now, and before the opcode being read.
  ValueRef fresh_ = nullptr, was_fresh_ = nullptr;
};

constexpr std::array<Reader::Handler, 256> Reader::kHandlers = [] {
  std::array<Handler, 256> table = {};
  table.fill(&Reader::NoOpcode);
  table[op::kProto] = &Reader::Protocol;
  table[op::kFrame] = &Reader::Frame;
  table[op::kStop] = &Reader::Stop;
  table[op::kMark] = &Reader::Mark;
  table[op::kPop] = &Reader::Drop;
  table[op::kPopMark] = &Reader::DropMarked;
  table[op::kDup] = &Reader::Duplicate;

  table[op::kNone] = &Reader::None;
  table[op::kNewTrue] = &Reader::True;
  table[op::kNewFalse] = &Reader::False;
  table[op::kBinInt1] = table[op::kBinInt2] = &Reader::SmallInt;
  table[op::kBinInt] = &Reader::SignedInt;
  table[op::kLong1] = table[op::kLong4] = &Reader::Long;
  table[op::kInt] = &Reader::IntLine;
  table[op::kLong] = &Reader::LongLine;
  table[op::kFloat] = &Reader::FloatLine;
  table[op::kBinFloat] = &Reader::BinFloat;
  table[op::kShortBinUnicode] = table[op::kBinUnicode] = table[op::kBinUnicode8] = &Reader::Text;
  table[op::kUnicode] = &Reader::TextLine;
  table[op::kShortBinString] = table[op::kBinString] = &Reader::OldString;
  table[op::kString] = &Reader::OldStringLine;
  table[op::kShortBinBytes] = table[op::kBinBytes] = table[op::kBinBytes8] = &Reader::Bytes;
  table[op::kByteArray8] = &Reader::ByteArray;

  table[op::kBinPut] = table[op::kLongBinPut] = &Reader::Put;
  table[op::kPut] = &Reader::PutLine;
  table[op::kMemoize] = &Reader::Memoize;
  table[op::kBinGet] = table[op::kLongBinGet] = &Reader::Get;
  table[op::kGet] = &Reader::GetLine;

  table[op::kEmptyList] = &Reader::EmptyList;
  table[op::kEmptyDict] = &Reader::EmptyDict;
  table[op::kEmptySet] = &Reader::EmptySet;
  table[op::kEmptyTuple] = &Reader::EmptyTuple;
  table[op::kTuple1] = table[op::kTuple2] = table[op::kTuple3] = &Reader::SmallTuple;
  table[op::kTuple] = &Reader::Tuple;
  table[op::kList] = &Reader::List;
  table[op::kDict] = &Reader::Dict;
  table[op::kFrozenSet] = &Reader::FrozenSet;
  table[op::kAppend] = &Reader::Append;
  table[op::kAppends] = &Reader::AppendMarked;
  table[op::kSetItem] = &Reader::SetItem;
  table[op::kSetItems] = &Reader::SetMarked;
  table[op::kAddItems] = &Reader::AddMarked;

  table[op::kGlobal] = &Reader::Global;
  table[op::kStackGlobal] = &Reader::StackGlobal;
  table[op::kReduce] = &Reader::Reduce;
  table[op::kNewObj] = &Reader::NewObject;
  table[op::kNewObjEx] = &Reader::NewObjectWithKeywords;
  table[op::kBuild] = &Reader::Build;
  table[op::kBinPersId] = &Reader::Persistent;

  table[op::kInst] = &Reader::Inst;
  table[op::kObj] = &Reader::Obj;
  table[op::kPersId] = &Reader::PersistentLine;
  table[op::kExt1] = table[op::kExt2] = table[op::kExt4] = &Reader::Extension;
  table[op::kNextBuffer] = table[op::kReadOnlyBuffer] = &Reader::Buffer;
  return table;
}();

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
