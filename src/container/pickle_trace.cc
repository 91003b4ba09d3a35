// Modules/_pickle.c without its hands. A value is its kind and where its text is; only text, globals and what calls
// return matter. docs/formats/pickle.md, "What scan follows", has the rules.
#include "container/pickle_trace.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "base/little_endian.h"
#include "base/read_at_most.h"
#include "base/text_hash.h"
#include "base/utf8.h"
#include "container/joblib_array.h"
#include "container/pickle_cursor.h"
#include "container/pickle_escapes.h"
#include "container/pickle_names.h"
#include "container/pickle_opcodes.h"
#include "container/text.h"

namespace anemone {
namespace {

namespace op = internal::op;

constexpr size_t kHead = 512;               // of a byte string, for the visitor
constexpr size_t kTextHead = 64 << 10;      // of a text
constexpr uint64_t kMaxName = 4096;         // of a module or a name
constexpr uint64_t kMaxEscaped = 16 << 20;  // of a literal spelled with escapes
constexpr size_t kMaxGlobals = 100'000;
constexpr size_t kMaxOddities = 4;
constexpr size_t kMaxFarTexts = 4096;
// Behind compression a read of something far back costs up to a megabyte of work.
constexpr uint64_t kMaxFarReads = 1'000'000, kMaxInflatedFarReads = 4096, kCheap = 64 << 20;

// [pytorch torch/_weights_only_unpickler.py, v2.6]: what torch.save writes with protocol 2.
constexpr std::string_view kWeightsOnlyOpcodes = "cRbaesu(t\x85\x86\x87N\x88\x89)]}\x8fJKMGXUQhjqr\x8a\x80\x81.";

// Sixteen bytes: there may be millions.
struct Slot {
  enum Kind : uint8_t {
    kOther,    // a number, a container, a tuple …
    kText,     // UTF-8
    kQuoted,   // STRING's line
    kEscaped,  // UNICODE's line
    kBytes,
    kGlobal,   // at: its index
    kResult,   // of a call, of a persistent id, of an extension: anything; at: where it was made; size: a Makes
    kWrapped,  // a dict or an object that holds the text at `at` under "_val" (a node of OmegaConf)
    kWrappedLine,
    kNone,
    kNumber,      // size: its value, as two's complement
    kNumbers,     // a tuple of `at` numbers that are not negative; size: their product
    kTextFirst,   // a tuple that begins with the text at `at`
    kDict,        // size: how many dicts had been filled when it was empty
    kDtype,       // NumPy's; at: 1 where elements may be texts; size: of an element
    kDtypeState,  // a tuple as NumPy writes it; at: flags, size: of an element or -1
    kHoldsDtype,  // another tuple with a kDtype in it; at: 1 where the elements of one may be texts
    kArrayClass,  // at: its index among globals
    kArray,       // joblib's; at: where it was made
  };
  Slot() = default;
  Slot(uint8_t its_kind, uint64_t its_at, uint64_t its_size)
      : kind(its_kind), at(its_at & kOffsetMask), size(its_size) {}

  static constexpr uint64_t kOffsetMask = (uint64_t{1} << 56) - 1;
  uint64_t kind : 8 = kOther;
  uint64_t at : 56 = 0;
  uint64_t size = 0;

  bool is_text() const { return kind == kText || kind == kQuoted || kind == kEscaped; }
  bool is_class() const { return kind == kGlobal || kind == kArrayClass; }
  bool is_result() const { return kind == kResult || kind == kDtype || kind == kArray; }
};

// Calls whose result may be a key of a dictionary, though it is no literal.
enum Makes : uint8_t { kMakesNoText, kMakesText, kMakesBytesOrText };

Makes WhatMakes(std::string_view global) {
  if (global == "builtins str" || global == "numpy str_" || global == "torch.torch_version TorchVersion")
    return kMakesText;
  return global == "_codecs encode" ? kMakesBytesOrText : kMakesNoText;
}

using Reader = PickleReader;

// A number's line as _pickle.c reads it: a C string, which a zero byte ends.
std::string_view Strip(std::string_view text) {
  constexpr std::string_view kBlank = " \t\n\v\f\r";
  text = text.substr(0, text.find('\0'));
  const size_t from = text.find_first_not_of(kBlank);
  if (from == text.npos) return {};
  return text.substr(from, text.find_last_not_of(kBlank) - from + 1);
}

class Tracer {
 public:
  Tracer(const ByteRange& input, const PickleVisitor& visitor, Reader reader)
      : in_(input),
        visitor_(visitor),
        reader_(reader),
        max_far_reads_(input.size <= kCheap || input.source->fd() >= 0 ? kMaxFarReads : kMaxInflatedFarReads) {
    for (const std::string_view key : visitor.keys) key_sizes_ |= SizeBit(key.size());
  }

  PickleTrace Run() {
    while (!stopped_) {
      start_ = in_.at();
      Status status = Next();
      if (status.ok()) {
        trace_.has_other_opcodes |= kWeightsOnlyOpcodes.find(static_cast<char>(opcode_)) == std::string_view::npos;
        status = (this->*kHandlers[opcode_])();
        if (is_state_fresh_ && opcode_ != op::kSetItems && opcode_ != op::kFrame) {
          is_state_fresh_ = false;
          has_odd_dtype_ = true;  // the dict is not what an array was built from
        }
      }
      if (status.ok() && (stack_.size() + marks_.size() > visitor_.max_values / 4 ||
                          memo_.size() + far_memo_.size() > visitor_.max_values)) {
        status = LimitExceeded("expected at most " + std::to_string(visitor_.max_values) +
                               " values kept and a quarter of that on the stack, found more [PKL-14]");
      }
      if (!status.ok()) {
        trace_.status = status.In(Where());
        break;
      }
    }
    trace_.consumed = in_.at();
    return std::move(trace_);
  }

  // True once the class of joblib's arrays was named, and once an array came that joblib 1.1 reads otherwise.
  bool has_arrays() const { return has_array_class_; }
  bool has_padding() const { return has_padding_; }

 private:
  using Handler = Status (Tracer::*)();
  static const std::array<Handler, 256> kHandlers;  // by opcode

  static Status Stops(std::string_view what) { return Corrupt("expected " + std::string(what)); }

  std::string Where() const {
    const std::string name = start_ < in_.input().size ? internal::OpcodeName(opcode_) : "end";
    return "byte " + std::to_string(start_) + " (" + name + ")";
  }

  // --- the stream
  Status Next() {
    ANEMONE_ASSIGN(const std::string_view byte, in_.Peek(1));
    if (byte.empty()) return Stops("STOP, found the end: truncated [PKL-2]");
    opcode_ = static_cast<uint8_t>(byte[0]);
    in_.Skip(1);
    return {};
  }
  // Argument bytes are about to be taken. Where they leave their frame, readers of files drop what the frame still
  // holds and go on behind it [CPython issue 154848]: no linear reading is right for all of them.
  Status Enter(uint64_t count) {
    if (count > in_.left()) {
      return Stops(std::to_string(count) + " bytes, found " + std::to_string(in_.left()) + ": truncated [PKL-2]");
    }
    if (in_.at() < frame_end_ && in_.at() + count > frame_end_) Odd("an argument leaves its frame");
    return {};
  }
  void Odd(std::string_view what) {
    if (trace_.oddities.size() < kMaxOddities) {
      trace_.oddities.push_back(Where() + ": " + std::string(what));
    }
  }
  // The opcode's argument, or the count before it.
  Result<uint64_t> Number() {
    const uint8_t width = internal::ArgumentOf(opcode_).bytes;
    ANEMONE_TRY(Enter(width));
    ANEMONE_ASSIGN(const std::string_view raw, in_.Peek(width));
    const uint64_t value = internal::LittleEndian(raw);
    in_.Skip(raw.size());
    return value;
  }
  // A line, its end left out.
  Result<Slot> Line(Slot::Kind kind) {
    ANEMONE_ASSIGN(const uint64_t length, in_.LineLength());
    if (length == 0) return Stops("a line, found the end: truncated [PKL-2]");
    ANEMONE_TRY(Enter(length));
    const Slot slot{kind, in_.at(), length - 1};
    in_.Skip(length);
    return slot;
  }
  Result<std::string> Raw(uint64_t at, uint64_t size, uint64_t limit) {
    size = std::min(size, limit);
    if (const auto recent = in_.Recent(at, size)) return std::string(*recent);
    const auto found = far_texts_.find(at);
    if (found != far_texts_.end() && found->second.size() == size) return found->second;
    if (++far_reads_ > max_far_reads_) return LimitExceeded("expected names near their use, found too many far away");
    ANEMONE_ASSIGN(const ByteRange part, in_.input().Sub(at, size));
    ANEMONE_ASSIGN(std::string bytes, part.ReadAll(size));
    if (size <= kMaxName && far_texts_.size() < kMaxFarTexts) far_texts_[at] = bytes;
    return bytes;
  }
  // The text that a slot stands for, its beginning where it is longer than `limit`.
  Result<std::string> Text(const Slot& slot, uint64_t limit) {
    ANEMONE_ASSIGN(std::string raw, Raw(slot.at, slot.size, limit));
    if (slot.kind == Slot::kQuoted) return internal::UnescapeString(raw).text;
    if (slot.kind == Slot::kEscaped || slot.kind == Slot::kWrappedLine) return internal::UnescapeUnicode(raw).text;
    return raw;
  }
  // A number in a line: anything that strtol, PyLong_FromString or PyOS_string_to_double could take.
  Status NumberLine() {
    ANEMONE_ASSIGN(const Slot line, Line(Slot::kOther));
    ANEMONE_ASSIGN(const std::string raw, Raw(line.at, line.size, kMaxName));
    constexpr std::string_view kTaken = "0123456789abcdefABCDEFxXoObBlL_+-.infityINFITYnaNA";
    const std::string_view text = Strip(raw);
    if (text.empty() || text.find_first_not_of(kTaken) != text.npos) return Stops("a number [PKL-7]");
    return Push({});
  }
  Result<uint64_t> IndexLine() {
    ANEMONE_ASSIGN(const Slot line, Line(Slot::kOther));
    ANEMONE_ASSIGN(const std::string raw, Raw(line.at, line.size, kMaxName));
    uint64_t index = 0;
    std::string_view text = Strip(raw);
    const bool is_negative = text.starts_with('-');
    if (is_negative || text.starts_with('+')) text.remove_prefix(1);
    if (text.empty()) return Stops("a memo index [PKL-7]");
    for (const char c : text) {
      if (c == '_') continue;
      if (c < '0' || c > '9') return Stops("a memo index [PKL-7]");
      // Python's own unpickler, which joblib uses, takes any.
      if (index > ~uint64_t{0} / 16) return LimitExceeded("expected a memo index below 2^60, found more [PKL-14]");
      index = index * 10 + static_cast<uint64_t>(c - '0');
    }
    if (is_negative && index != 0) return Stops("a memo index [PKL-7]");
    return index;
  }

  // --- literals
  // Places of keys that matter, so that a list of texts need not be read again.
  void NoteKey(const Slot& slot, std::string_view text) {
    if (std::ranges::find(visitor_.keys, text) == visitor_.keys.end()) return;
    if (key_places_.size() == kMaxFarTexts) has_more_keys_ = true;
    if (!has_more_keys_) key_places_.emplace(uint64_t{slot.at}, true);
  }
  Status Literal(Slot::Kind kind, uint64_t count) {
    ANEMONE_TRY(Enter(count));
    const Slot slot{kind, in_.at(), count};
    if (visitor_.literal != nullptr && count > 0) {
      const uint64_t most = kind == Slot::kBytes ? kHead : kTextHead;
      ANEMONE_ASSIGN(const std::string_view head, in_.Peek(std::min(count, most)));
      ANEMONE_ASSIGN(const ByteRange content, in_.input().Sub(in_.at(), count));
      NoteKey(slot, head);
      visitor_.literal(content, head, kind == Slot::kText);
    }
    in_.Skip(count);
    return Push(slot);
  }
  Status Counted(Slot::Kind kind, bool is_signed = false) {
    ANEMONE_ASSIGN(const uint64_t count, Number());
    if ((is_signed && count > 0x7fffffff) || count > ~uint64_t{0} / 2) return Stops("a count that is not negative");
    return Literal(kind, count);
  }
  Status LiteralLine(Slot::Kind kind) {
    ANEMONE_ASSIGN(Slot slot, Line(kind));
    if (kind == Slot::kQuoted) {
      ANEMONE_ASSIGN(const std::string first, Raw(slot.at, slot.size, 1));
      ANEMONE_ASSIGN(const std::string last, Raw(slot.at + (slot.size > 0 ? slot.size - 1 : 0), 1, 1));
      if (slot.size < 2 || first != last || (first != "'" && first != "\"")) return Stops("a quoted string [PKL-7]");
      slot.at = (slot.at + 1) & Slot::kOffsetMask;
      slot.size -= 2;
    }
    if (visitor_.literal != nullptr && slot.size > 0) {
      ANEMONE_ASSIGN(std::string text, Text(slot, kMaxEscaped));
      if (slot.size > kMaxEscaped) Odd("a line of more than 16 MiB, looked at in part");
      const std::string head = text.substr(0, kTextHead);
      NoteKey(slot, head);
      visitor_.literal(Whole(MemorySource(std::move(text), "line")), head, kind == Slot::kEscaped);
    }
    return Push(slot);
  }

  Status Unicode() { return Counted(Slot::kText); }
  Status BinString() { return Counted(Slot::kText, /*is_signed=*/true); }
  Status Bytes() { return Counted(Slot::kBytes); }
  Status QuotedLine() { return LiteralLine(Slot::kQuoted); }
  Status EscapedLine() { return LiteralLine(Slot::kEscaped); }

  // --- the stack [Pdata: nothing below the topmost mark may be taken]
  size_t Fence() const { return marks_.empty() ? 0 : marks_.back(); }
  Status Need(size_t count) const {
    if (stack_.size() - Fence() >= count) return {};
    return Stops("more values on the stack [PKL-4]");
  }
  Status Push(const Slot& slot) {
    stack_.push_back(slot);
    return {};
  }
  Slot Pop() {
    const Slot slot = stack_.back();
    stack_.pop_back();
    return slot;
  }
  Status PopMark(size_t& from) {
    if (marks_.empty()) return Stops("a mark on the stack [PKL-4]");
    from = marks_.back();
    marks_.pop_back();
    return {};
  }
  // Takes all above. What becomes of joblib's class, of its arrays and of dtypes elsewhere than in an array is not
  // followed: something may return or change them.
  void Cut(size_t size) {
    for (size_t i = size; watches_ && i < stack_.size(); ++i) {
      const uint8_t kind = stack_[i].kind;
      if (kind == Slot::kArrayClass || kind == Slot::kArray) Odd("joblib's arrays, used otherwise than by joblib");
      has_odd_dtype_ |= kind == Slot::kDtype || kind == Slot::kHoldsDtype;
    }
    stack_.resize(size);
  }
  Status Collect(Slot result) {
    size_t from = 0;
    ANEMONE_TRY(PopMark(from));
    ANEMONE_TRY(VisitNeighbours(from));
    Cut(from);
    return Push(result);
  }
  Status CollectTuple(size_t from) {
    ANEMONE_TRY(VisitNeighbours(from));
    const Slot tuple = Tuple(std::span(stack_).subspan(from));
    const bool had_odd_dtype = has_odd_dtype_;
    Cut(from);
    if (tuple.kind == Slot::kHoldsDtype) has_odd_dtype_ = had_odd_dtype;  // where the tuple goes decides
    return Push(tuple);
  }
  Status SmallTuple() {
    const size_t count = opcode_ - size_t{op::kTuple1} + 1;
    ANEMONE_TRY(Need(count));
    return CollectTuple(stack_.size() - count);
  }
  Status MarkedTuple() {
    size_t from = 0;
    ANEMONE_TRY(PopMark(from));
    return CollectTuple(from);
  }
  // The slot of a tuple: a shape, a dtype's state or a dtype's arguments are kept apart from others.
  static Slot Tuple(std::span<const Slot> items) {
    const auto is_number = [](const Slot& slot) { return slot.kind == Slot::kNumber; };
    if (std::ranges::all_of(items, is_number)) {
      uint64_t product = 1;
      for (const Slot& item : items) {
        if (item.size > INT64_MAX || __builtin_mul_overflow(product, item.size, &product)) return {};
      }
      return {Slot::kNumbers, items.size(), product};
    }
    const auto dtype = std::ranges::find_if(items, [](const Slot& slot) { return slot.kind == Slot::kDtype; });
    if (dtype != items.end()) return {Slot::kHoldsDtype, dtype->at, 0};
    if (items[0].kind == Slot::kText) return {Slot::kTextFirst, items[0].at, items[0].size};
    // (version, order, subdtype, names, fields, size, alignment, flags), since NumPy 1.7 with metadata of times
    // [numpy/_core/src/multiarray/descriptor.c, arraydescr_reduce].
    const bool is_state =
        (items.size() == 8 || items.size() == 9) && is_number(items[0]) && items[1].is_text() &&
        std::ranges::all_of(items.subspan(2, 3), [](const Slot& s) { return s.kind == Slot::kNone; }) &&
        std::ranges::all_of(items.subspan(5, 3), is_number);
    return is_state ? Slot{Slot::kDtypeState, items[7].size, items[5].size} : Slot();
  }

  // The result of a call, of a persistent id, or of a name outside the file.
  Status PushResult(Makes makes = kMakesNoText) { return Push({Slot::kResult, start_, makes}); }
  Status Other() { return Push({}); }
  Status None() { return Push({Slot::kNone, 0, 0}); }
  Status EmptyTuple() { return Push({Slot::kNumbers, 0, 1}); }
  Status EmptyDict() { return Push({Slot::kDict, 0, fills_}); }
  Status FixedNumber() {
    ANEMONE_TRY(Number().status());
    return Push({});
  }
  Status Integer() {
    ANEMONE_ASSIGN(uint64_t value, Number());
    if (opcode_ == op::kBinInt) value = static_cast<uint64_t>(int64_t{static_cast<int32_t>(value)});
    return Push({Slot::kNumber, 0, value});
  }
  Status Long() {
    ANEMONE_ASSIGN(const uint64_t count, Number());
    if (count > 0x7fffffff) return Stops("a count that is not negative");
    ANEMONE_TRY(Enter(count));
    Slot slot;
    if (count > 0 && count <= 8) {
      ANEMONE_ASSIGN(const std::string_view raw, in_.Peek(count));
      if ((raw.back() & 0x80) == 0) slot = {Slot::kNumber, 0, internal::LittleEndian(raw)};
    }
    in_.Skip(count);
    return Push(slot);
  }
  Status Mark() {
    marks_.push_back(stack_.size());
    return {};
  }
  // A mark on top is dropped like a value.
  Status Drop() {
    if (!marks_.empty() && marks_.back() == stack_.size()) return marks_.pop_back(), Status();
    ANEMONE_TRY(Need(1));
    return Cut(stack_.size() - 1), Status();
  }
  Status DropMarked() {
    size_t from = 0;
    ANEMONE_TRY(PopMark(from));
    return Cut(from), Status();
  }
  Status Duplicate() {
    ANEMONE_TRY(Need(1));
    return Push(stack_.back());
  }
  Status Marked() { return Collect({}); }

  // --- memo
  Status Memoize() { return PutAt(occupied_); }
  Status Put() {
    ANEMONE_ASSIGN(const uint64_t index, Number());
    return PutAt(index);
  }
  Status PutLine() {
    ANEMONE_ASSIGN(const uint64_t index, IndexLine());
    return PutAt(index);
  }
  Status Get() {
    ANEMONE_ASSIGN(const uint64_t index, Number());
    return GetAt(index);
  }
  Status GetLine() {
    ANEMONE_ASSIGN(const uint64_t index, IndexLine());
    return GetAt(index);
  }
  Status PutAt(uint64_t index) {
    ANEMONE_TRY(Need(1));
    if (index <= memo_.size() + 1024) {
      for (; memo_.size() <= index; memo_.push_back({kNoSlot, 0, 0}))
        ;
      occupied_ += memo_[index].kind == kNoSlot;
      memo_[index] = stack_.back();
    } else {
      occupied_ += far_memo_.insert_or_assign(index, stack_.back()).second;
    }
    return {};
  }
  Status GetAt(uint64_t index) {
    // An index once far may have come near; the later PUT counts, and both are looked at as one.
    if (index < memo_.size() && memo_[index].kind != kNoSlot) return Push(memo_[index]);
    const auto found = far_memo_.find(index);
    if (found == far_memo_.end()) return Stops("a memo entry " + std::to_string(index) + " [PKL-5]");
    return Push(found->second);
  }

  // --- names and calls
  Status Global(const std::string& module, const std::string& name) {
    const std::string global = internal::GlobalName(module, name, protocol_);
    const auto [place, added] = index_.emplace(global, trace_.globals.size());
    if (added) {
      if (trace_.globals.size() == kMaxGlobals) return LimitExceeded("expected at most 100000 globals, found more");
      trace_.globals.push_back({global, false});
    }
    if (global != internal::kJoblibArray) return Push({Slot::kGlobal, place->second, 0});
    if (outer_ != nullptr) Odd("joblib's arrays among its objects");
    has_array_class_ = watches_ = true;
    if (reader_ == Reader::kPickle) return Push({Slot::kGlobal, place->second, 0});
    return Push({Slot::kArrayClass, place->second, 0});
  }
  Status GlobalLines() {
    ANEMONE_ASSIGN(const Slot module_line, Line(Slot::kText));
    ANEMONE_ASSIGN(const Slot name_line, Line(Slot::kText));
    if (module_line.size == 0 || name_line.size == 0) return Stops("the name of a global [PKL-8]");
    ANEMONE_ASSIGN(const std::string module, Text(module_line, kMaxName));
    ANEMONE_ASSIGN(const std::string name, Text(name_line, kMaxName));
    return Global(module, name);
  }
  Status StackGlobal() {
    ANEMONE_TRY(Need(2));
    const Slot name = Pop(), module = Pop();
    std::string parts[2];
    const Slot slots[] = {module, name};
    for (int i = 0; i < 2; ++i) {
      if (slots[i].is_text()) {
        ANEMONE_ASSIGN(parts[i], Text(slots[i], kMaxName));
      } else if (slots[i].is_result() || slots[i].is_class()) {
        parts[i] = "(computed)";  // str() makes text
      } else {
        return Stops("text that names a global [PKL-8]");
      }
    }
    return Global(parts[0], parts[1]);
  }
  Status Call(const Slot& callable) {
    if (callable.is_class()) {
      trace_.globals[callable.at].called = true;
    } else if (callable.is_result() || callable.kind == Slot::kWrapped) {
      Odd("a call of what a call returned");
    }
    if (callable.kind == Slot::kArrayClass) Odd("joblib's arrays, made otherwise than by joblib");
    return PushResult(callable.kind == Slot::kGlobal ? WhatMakes(trace_.globals[callable.at].name) : kMakesNoText);
  }
  Status Reduce(size_t arguments) {
    ANEMONE_TRY(Need(1 + arguments));
    Cut(stack_.size() - arguments);
    return Call(Pop());
  }
  Status CallOfOne() {
    ANEMONE_TRY(Need(2));
    const Slot callable = stack_.end()[-2], arguments = stack_.back();
    if (callable.kind == Slot::kArrayClass && opcode_ == op::kNewObj && arguments.kind == Slot::kNumbers &&
        arguments.at == 0) {
      stack_.resize(stack_.size() - 2);
      trace_.globals[callable.at].called = true;
      made_at_ = start_;
      return Push({Slot::kArray, start_, 0});
    }
    const std::string_view name =
        callable.kind == Slot::kGlobal ? trace_.globals[callable.at].name : std::string_view();
    const bool is_reduce = opcode_ == op::kReduce;
    if (is_reduce && arguments.kind == Slot::kTextFirst && name == "numpy dtype") {
      ANEMONE_ASSIGN(const std::string text, Raw(arguments.at, arguments.size, kMaxName));
      const std::optional<uint64_t> item_size = internal::ItemSize(text);
      ANEMONE_TRY(Reduce(1));
      const bool may_be_texts = text.starts_with('U') || text.starts_with('O');
      if (item_size) stack_.back() = {Slot::kDtype, may_be_texts ? uint64_t{1} : 0, *item_size};
      watches_ |= item_size.has_value();
      return {};
    }
    // A number of a dtype.
    if (is_reduce && arguments.kind == Slot::kHoldsDtype && name.ends_with(".multiarray scalar")) {
      stack_.back() = {};
      ANEMONE_TRY(Reduce(1));
      stack_.back().size = arguments.at == 1 ? kMakesText : kMakesNoText;
      return {};
    }
    return Reduce(1);
  }
  Status CallOfTwo() { return Reduce(2); }
  Status PersistentLine() {
    ANEMONE_TRY(Line(Slot::kOther).status());
    return PushResult();
  }
  Status Persistent() {
    ANEMONE_TRY(Need(1));
    stack_.back() = {Slot::kResult, start_, kMakesNoText};
    return {};
  }
  Status NextBuffer() { return PushResult(); }
  Status ReadOnlyBuffer() { return Need(1); }
  Status Extension() {
    ANEMONE_ASSIGN(const uint64_t code, Number());
    // Behind an array's bytes, read as opcodes, it is a number; a call of it is odd whoever reads.
    if (reader_ == Reader::kJoblib) Odd("extension code " + std::to_string(code) + ", a name outside the file");
    return PushResult();
  }

  // --- entries
  // dict() takes pairs, of any kind and in any order that a set may have.
  Status VisitNeighbours(size_t from) {
    for (size_t i = from; i + 1 < stack_.size(); ++i) ANEMONE_TRY(VisitPair(stack_[i], stack_[i + 1]));
    return {};
  }
  Status VisitPair(const Slot& one, const Slot& other) {
    if (!one.is_text() || !other.is_text() || (key_places_.empty() && !has_more_keys_)) return {};
    Slot none;
    if (has_more_keys_ || key_places_.contains(one.at)) ANEMONE_TRY(VisitEntry(one, other, none));
    return has_more_keys_ || key_places_.contains(other.at) ? VisitEntry(other, one, none) : Status();
  }
  Status VisitEntries(size_t from) {
    if (from == 0 || stack_.size() - from < 2) return {};
    Slot& target = stack_[from - 1];
    for (size_t i = from; i + 1 < stack_.size(); i += 2) ANEMONE_TRY(VisitEntry(stack_[i], stack_[i + 1], target));
    return {};
  }
  Status VisitEntry(const Slot& key, const Slot& value, Slot& target) {
    if (key.kind == Slot::kResult && key.size != kMakesNoText)
      return VisitComputedKey(static_cast<Makes>(key.size), value);
    if (!key.is_text() || key.size > 8 * kMaxKey) return {};
    if (key.kind == Slot::kText && (key.size > kMaxKey || (key_sizes_ & SizeBit(key.size)) == 0)) return {};
    ANEMONE_ASSIGN(const std::string text, Text(key, kMaxName));
    if (text == "_val" && value.is_text() && !target.is_class()) {
      target = {value.kind == Slot::kText ? Slot::kWrapped : Slot::kWrappedLine, value.at, value.size};
    }
    if (visitor_.entry == nullptr || std::ranges::find(visitor_.keys, text) == visitor_.keys.end()) return {};
    const bool known = value.is_text() || value.kind == Slot::kWrapped || value.kind == Slot::kWrappedLine;
    if (!known) return visitor_.entry(text, nullptr), Status();
    ANEMONE_ASSIGN(const std::string content, Text(value, kMaxName));
    visitor_.entry(text, &content);
    return {};
  }
  // A key that a call made may be any of those that matter.
  Status VisitComputedKey(Makes makes, const Slot& value) {
    if (visitor_.entry == nullptr) return {};
    if (value.is_text() || value.kind == Slot::kWrapped || value.kind == Slot::kWrappedLine) {
      ANEMONE_ASSIGN(const std::string content, Text(value, kMaxName));
      visitor_.entry("", &content);
    } else if (makes == kMakesText && value.kind == Slot::kResult && value.size == kMakesText) {
      visitor_.entry("", nullptr);
    }
    return {};
  }
  // SETITEMS, APPENDS, ADDITEMS: what lies from `from` on goes into the value below.
  Status AddTo(size_t from, bool pairs) {
    if (from > stack_.size() || from <= Fence()) return Stops("a container on the stack [PKL-4]");
    if (pairs && (stack_.size() - from) % 2 != 0) return Stops("keys and values, found a key alone [PKL-11]");
    const bool had_odd_dtype = has_odd_dtype_;
    if (pairs) ANEMONE_TRY(ReadState(from));
    ANEMONE_TRY(pairs ? VisitEntries(from) : VisitNeighbours(from));
    if (stack_.size() > from && stack_[from - 1].is_class()) Odd("items set on a class");
    Cut(from);
    // Run waits for the array whose state this is.
    if (is_state_fresh_ && array_.item_size) has_odd_dtype_ = had_odd_dtype;
    return {};
  }
  Status Append() {
    ANEMONE_TRY(Need(2));
    ANEMONE_TRY(VisitPair(appended_, stack_.back()));
    appended_ = stack_.back();
    return AddTo(stack_.size() - 1, /*pairs=*/false);
  }
  Status SetItem() {
    ANEMONE_TRY(Need(3));
    return AddTo(stack_.size() - 2, /*pairs=*/true);
  }
  Status AddMarked() {
    size_t from = 0;
    ANEMONE_TRY(PopMark(from));
    return AddTo(from, opcode_ == op::kSetItems);
  }
  Status Build() {
    ANEMONE_TRY(Need(2));
    const Slot state = stack_.back();
    Cut(stack_.size() - 1);
    Slot& target = stack_.back();
    // setattr on a class or function changes it for the whole process.
    if (target.is_class()) Odd("a state set on a class");
    if (state.kind == Slot::kWrapped || state.kind == Slot::kWrappedLine) {
      // An entry that was seen would hold something else afterwards.
      const bool is_first = target.kind == Slot::kResult && wrapped_.emplace(uint64_t{target.at}, true).second;
      if (!is_first && !target.is_class()) Odd("a value set twice");
      if (wrapped_.size() > visitor_.max_values / 4) return LimitExceeded("expected fewer values of configs [PKL-14]");
      target = state;
    }
    if (target.kind == Slot::kDtype) {
      // The lowest flag says that elements are objects [numpy/ndarraytypes.h, NPY_ITEM_HASOBJECT].
      const bool is_objects = target.size == internal::kObjectItem;
      const bool is_same = state.size == UINT64_MAX || (state.size == target.size && !is_objects);
      has_odd_dtype_ |= state.kind != Slot::kDtypeState || !is_same || ((state.at & 1) != 0) != is_objects;
    }
    return target.kind == Slot::kArray && reader_ != Reader::kPickle ? ReadArray(target) : Status();
  }

  // --- joblib's arrays
  // A dict that was empty is filled: an array's state, if BUILD follows.
  Status ReadState(size_t from) {
    const bool was_empty = stack_[from - 1].kind == Slot::kDict && stack_[from - 1].size == fills_++;
    if (!was_empty || !has_array_class_ || reader_ == Reader::kPickle || made_at_ == UINT64_MAX) return {};
    array_ = {};
    for (size_t i = from; i + 1 < stack_.size(); i += 2) ANEMONE_TRY(ReadAttribute(stack_[i], stack_[i + 1]));
    is_state_fresh_ = array_.is_known();
    return {};
  }
  Status ReadAttribute(const Slot& key, const Slot& value) {
    constexpr uint64_t kLongest = sizeof("numpy_array_alignment_bytes") - 1;
    if (key.kind != Slot::kText || key.size > kLongest) return array_.is_odd = true, Status();
    ANEMONE_ASSIGN(const std::string name, Raw(key.at, key.size, kLongest));
    std::string text;
    if (value.kind == Slot::kText && value.size == 1) {
      ANEMONE_ASSIGN(text, Raw(value.at, value.size, 1));
    }
    if (name == "subclass") {
      const std::string_view type = value.kind == Slot::kGlobal ? trace_.globals[value.at].name : std::string_view();
      array_.has_subclass =
          type == "numpy ndarray" || type == "numpy.matrixlib.defmatrix matrix" || type == "numpy matrix";
    } else if (name == "shape") {
      array_.count = value.kind == Slot::kNumbers ? std::optional(value.size) : std::nullopt;
    } else if (name == "order") {
      array_.has_order = text == "C" || text == "F";
    } else if (name == "dtype") {
      array_.item_size = value.kind == Slot::kDtype ? std::optional(value.size) : std::nullopt;
    } else if (name == "numpy_array_alignment_bytes") {
      array_.is_padded = value.kind == Slot::kNumber;
      array_.is_odd |= value.kind != Slot::kNumber && value.kind != Slot::kNone;
    } else if (name != "allow_mmap") {
      array_.is_odd = true;
    }
    return {};
  }
  // joblib takes the array from what follows, with or without mmap_mode, and puts it in the object's place.
  Status ReadArray(const Slot& object) {
    const bool is_known = is_state_fresh_ && object.at == made_at_ && !has_odd_dtype_ && in_.at() >= frame_end_;
    made_at_ = UINT64_MAX;
    is_state_fresh_ = false;
    stack_.back() = {Slot::kResult, start_, kMakesNoText};
    uint64_t bytes = 0;
    if (!is_known || __builtin_mul_overflow(*array_.count, *array_.item_size, &bytes)) {
      return Odd("an array of joblib's whose size is not known"), Status();
    }
    if (*array_.item_size == internal::kObjectItem) return EnterObjects(), Status();
    has_padding_ |= array_.is_padded;
    if (array_.is_padded && reader_ == Reader::kJoblib) {
      ANEMONE_ASSIGN(const std::string_view padding, in_.Peek(1));
      const uint64_t count = padding.empty() ? 0 : static_cast<uint8_t>(padding[0]);
      in_.Skip(std::min(in_.left(), padding.size() + count));
    }
    ANEMONE_TRY(Enter(bytes));
    in_.Skip(bytes);
    return {};
  }
  // An array of objects is a pickle of its own, whose machine starts anew.
  struct Machine {
    std::vector<Slot> stack;
    std::vector<size_t> marks;
    std::deque<Slot> memo;
    internal::NumberMap<Slot> far_memo;
    uint64_t occupied = 0, protocol = 0;
    bool has_odd_dtype = false;
  };
  void EnterObjects() {
    outer_ = std::make_unique<Machine>();
    SwapMachine();
  }
  void SwapMachine() {
    std::swap(stack_, outer_->stack);
    std::swap(marks_, outer_->marks);
    std::swap(memo_, outer_->memo);
    std::swap(far_memo_, outer_->far_memo);
    std::swap(occupied_, outer_->occupied);
    std::swap(protocol_, outer_->protocol);
    std::swap(has_odd_dtype_, outer_->has_odd_dtype);
  }
  Status Dict() {
    if (marks_.empty()) return Stops("a mark on the stack [PKL-4]");
    const size_t from = marks_.back();
    Slot dict;
    for (size_t i = from; i + 1 < stack_.size(); i += 2) ANEMONE_TRY(VisitEntry(stack_[i], stack_[i + 1], dict));
    return Collect(dict);
  }
  Status Instance() {
    size_t from = 0;
    ANEMONE_TRY(PopMark(from));
    Cut(from);
    ANEMONE_TRY(GlobalLines());
    return Call(Pop());
  }
  Status Object() {
    size_t from = 0;
    ANEMONE_TRY(PopMark(from));
    if (stack_.size() <= from) return Stops("a class on the stack [PKL-4]");
    Cut(from + 1);
    return Call(Pop());
  }

  Status Protocol() {
    ANEMONE_ASSIGN(protocol_, Number());
    return protocol_ > 5 ? Stops("protocol 0 to 5 [PKL-1]") : Status();
  }
  Status Stop() {
    ANEMONE_TRY(Need(1));
    if (outer_ != nullptr) {
      Cut(stack_.size() - 1);
      SwapMachine();
      outer_.reset();
      return {};
    }
    stopped_ = true;
    return {};
  }
  Status NoOpcode() { return Stops("an opcode, found " + internal::OpcodeName(opcode_) + " [PKL-3]"); }
  Status Frame() {
    ANEMONE_ASSIGN(uint64_t size, Number());
    if (size > in_.left()) {
      // Python's own unpickler, which joblib uses, takes what is there.
      size = in_.left();
      Odd("a frame beyond the end");
    }
    if (in_.at() < frame_end_) Odd("a frame inside a frame");
    frame_end_ = in_.at() + size;
    return {};
  }

  static constexpr uint8_t kNoSlot = 255;
  static constexpr size_t kMaxKey = 63;
  static uint64_t SizeBit(uint64_t size) { return uint64_t{1} << (size & 63); }

  internal::PickleCursor in_;
  const PickleVisitor& visitor_;
  const Reader reader_;
  PickleTrace trace_;
  uint64_t key_sizes_ = SizeBit(4);  // bit n: a key that matters has n bytes; "_val" has 4
  bool stopped_ = false;
  uint64_t start_ = 0;  // of the opcode
  uint8_t opcode_ = 0;
  uint64_t protocol_ = 0;
  uint64_t frame_end_ = 0;
  std::vector<Slot> stack_;
  std::vector<size_t> marks_;
  std::deque<Slot> memo_;  // indices up to about their number
  internal::NumberMap<Slot> far_memo_;
  uint64_t occupied_ = 0;              // MEMOIZE's next index
  internal::NumberMap<bool> wrapped_;  // where the nodes of OmegaConf that have a text were made
  Slot appended_;                      // by the last APPEND
  internal::NumberMap<bool> key_places_;
  bool has_more_keys_ = false;  // than key_places_ holds
  internal::TextMap<size_t> index_;
  internal::NumberMap<std::string> far_texts_;
  uint64_t far_reads_ = 0;
  const uint64_t max_far_reads_;

  bool has_array_class_ = false, has_padding_ = false;
  bool watches_ = false;           // there are slots that Cut looks for
  bool has_odd_dtype_ = false;     // a dtype got a state that may change the size of its elements
  uint64_t made_at_ = UINT64_MAX;  // the array whose state is due
  uint64_t fills_ = 0;             // of dicts
  internal::JoblibArray array_;    // what the dict that was filled last says
  bool is_state_fresh_ = false;    // nothing came behind that, the dict had been empty, and all of it is known
  std::unique_ptr<Machine> outer_;
};

constexpr std::array<Tracer::Handler, 256> Tracer::kHandlers = [] {
  std::array<Handler, 256> table = {};
  table.fill(&Tracer::NoOpcode);
  table[op::kProto] = &Tracer::Protocol;
  table[op::kFrame] = &Tracer::Frame;
  table[op::kStop] = &Tracer::Stop;
  table[op::kMark] = &Tracer::Mark;
  table[op::kPop] = &Tracer::Drop;
  table[op::kPopMark] = &Tracer::DropMarked;
  table[op::kDup] = &Tracer::Duplicate;

  for (const uint8_t opcode : {op::kNewTrue, op::kNewFalse, op::kEmptyList, op::kEmptySet}) {
    table[opcode] = &Tracer::Other;
  }
  table[op::kNone] = &Tracer::None;
  table[op::kEmptyTuple] = &Tracer::EmptyTuple;
  table[op::kEmptyDict] = &Tracer::EmptyDict;
  table[op::kBinInt1] = table[op::kBinInt2] = table[op::kBinInt] = &Tracer::Integer;
  table[op::kBinFloat] = &Tracer::FixedNumber;
  table[op::kLong1] = table[op::kLong4] = &Tracer::Long;
  table[op::kInt] = table[op::kLong] = table[op::kFloat] = &Tracer::NumberLine;
  table[op::kShortBinUnicode] = table[op::kBinUnicode] = table[op::kBinUnicode8] = &Tracer::Unicode;
  table[op::kShortBinString] = &Tracer::Unicode;  // Python 2's: text once decoded
  table[op::kBinString] = &Tracer::BinString;
  table[op::kShortBinBytes] = table[op::kBinBytes] = table[op::kBinBytes8] = table[op::kByteArray8] = &Tracer::Bytes;
  table[op::kString] = &Tracer::QuotedLine;
  table[op::kUnicode] = &Tracer::EscapedLine;

  table[op::kBinPut] = table[op::kLongBinPut] = &Tracer::Put;
  table[op::kPut] = &Tracer::PutLine;
  table[op::kMemoize] = &Tracer::Memoize;
  table[op::kBinGet] = table[op::kLongBinGet] = &Tracer::Get;
  table[op::kGet] = &Tracer::GetLine;

  table[op::kTuple1] = table[op::kTuple2] = table[op::kTuple3] = &Tracer::SmallTuple;
  table[op::kTuple] = &Tracer::MarkedTuple;
  table[op::kList] = table[op::kFrozenSet] = &Tracer::Marked;
  table[op::kDict] = &Tracer::Dict;
  table[op::kAppend] = &Tracer::Append;
  table[op::kSetItem] = &Tracer::SetItem;
  table[op::kAppends] = table[op::kAddItems] = table[op::kSetItems] = &Tracer::AddMarked;

  table[op::kGlobal] = &Tracer::GlobalLines;
  table[op::kStackGlobal] = &Tracer::StackGlobal;
  table[op::kReduce] = table[op::kNewObj] = &Tracer::CallOfOne;
  table[op::kNewObjEx] = &Tracer::CallOfTwo;
  table[op::kInst] = &Tracer::Instance;
  table[op::kObj] = &Tracer::Object;
  table[op::kBuild] = &Tracer::Build;
  table[op::kPersId] = &Tracer::PersistentLine;
  table[op::kBinPersId] = &Tracer::Persistent;
  table[op::kExt1] = table[op::kExt2] = table[op::kExt4] = &Tracer::Extension;
  table[op::kNextBuffer] = &Tracer::NextBuffer;
  table[op::kReadOnlyBuffer] = &Tracer::ReadOnlyBuffer;
  return table;
}();

}  // namespace

PickleTrace TracePickle(const ByteRange& input, const PickleVisitor& visitor, PickleReader reader) {
  Tracer tracer(input, visitor, reader);
  PickleTrace trace = tracer.Run();
  trace.reader = reader;
  if (reader != Reader::kJoblib || !tracer.has_arrays() || IsReadFailure(trace.status)) return trace;
  for (const Reader other_reader : {Reader::kOldJoblib, Reader::kPickle}) {
    if (other_reader == Reader::kOldJoblib && !tracer.has_padding()) continue;
    trace.others.push_back(TracePickle(input, visitor, other_reader));
    PickleTrace& other = trace.others.back();
    std::erase_if(other.globals, [&](const PickleGlobal& global) {
      return std::ranges::any_of(trace.globals, [&](const PickleGlobal& known) {
        return known.name == global.name && known.called >= global.called;
      });
    });
  }
  return trace;
}

}  // namespace anemone
