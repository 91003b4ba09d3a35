// Protocol 2, in the few opcodes every weights_only unpickler of torch knows (docs/formats/pickle.md, rules PKL-15 to
// 17).
#include <algorithm>
#include <bit>
#include <string>
#include <unordered_map>

#include "base/pointer_set.h"
#include "base/text_hash.h"
#include "base/utf8.h"
#include "container/pickle.h"
#include "container/pickle_names.h"
#include "container/pickle_opcodes.h"
#include "container/pickle_stream.h"
#include "container/text.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;
namespace op = internal::op;

// Written out again each time rather than fetched from the memo.
bool IsAtom(const ValueNode& node) {
  switch (node.kind) {
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBigInt:
    case Kind::kFloat:
      return true;
    case Kind::kTuple:
      return node.items.empty();
    default:
      return false;
  }
}

// Two's complement of a decimal number, shortest form.
std::string TwosComplement(std::string_view digits) {
  const bool negative = digits.starts_with('-');
  if (negative) digits.remove_prefix(1);
  std::string bytes;  // little-endian magnitude
  for (const char digit : digits) {
    unsigned carry = static_cast<unsigned>(digit - '0');
    for (char& byte : bytes) {
      carry += static_cast<uint8_t>(byte) * 10u;
      byte = static_cast<char>(carry & 0xff);
      carry >>= 8;
    }
    if (carry != 0) bytes += static_cast<char>(carry);
  }
  bytes += '\0';
  if (negative) {
    unsigned carry = 1;
    for (char& byte : bytes) {
      carry += static_cast<uint8_t>(~byte);
      byte = static_cast<char>(carry & 0xff);
      carry >>= 8;
    }
  }
  const char fill = negative ? '\xff' : '\0';
  while (bytes.size() > 1 && bytes.back() == fill && ((bytes[bytes.size() - 2] ^ fill) & 0x80) == 0) bytes.pop_back();
  return bytes;
}

class Writer {
 public:
  Writer(const TensorEncoder& tensor, const LateEntriesOf& late) : tensor_(tensor), late_(late) {}

  Result<std::string> Run(ValueRef root) {
    ANEMONE_TRY(CountReferences(root));
    out_.bytes.reserve(expected_bytes_);
    out_.bytes = "\x80\x02";
    Schedule(root);
    while (!steps_.empty()) {
      const Step step = steps_.back();
      steps_.pop_back();
      ANEMONE_TRY(Do(step));
    }
    Emit(op::kStop);
    return std::move(out_.bytes);
  }

 private:
  static constexpr uint32_t kNoMemo = ~uint32_t{0};
  struct Use {
    bool shared = false;  // referred to more than once, or a global
    bool open = false;    // its parts are being written
    uint32_t memo = kNoMemo;
  };
  // What to do next. Steps form a stack, so that depth is bounded by memory alone.
  struct Step {
    enum class What : uint8_t { kSave, kEmit, kClose, kMemoize, kAppend, kSetItems, kSetLate } what;
    uint8_t opcode = 0;                // kEmit
    ValueRef node = nullptr;           // kSave, kClose, kMemoize, kSetLate
    const ValueList* items = nullptr;  // kAppend, kSetItems: what of it is left,
    size_t from = 0;                   // from here on
  };
  using What = Step::What;

  // --- first pass
  ValueRef Canonical(ValueRef node) { return node->kind == Kind::kGlobal ? Global(node->text) : node; }
  ValueRef Global(const std::string& name) {
    const size_t space = name.find(' '), dot = space == name.npos ? name.npos : name.find('.', space);
    return dot == name.npos ? OuterGlobal(name) : InnerClass(name, dot);
  }
  ValueRef OuterGlobal(const std::string& name) {
    ValueRef& global = globals_[name];
    if (global == nullptr) {
      global = scratch_.New(Kind::kGlobal);
      global->text = name;
    }
    return global;
  }
  // "module Outer.Inner", of protocol 4, as getattr(Outer, "Inner"): before protocol 4 unpicklers take a name with dots
  // for the name of one attribute [CPython pickle.py, find_class; save_global writes the same call].
  ValueRef InnerClass(const std::string& name, size_t dot) {
    ValueRef& inner = globals_[name];
    if (inner != nullptr) return inner;
    ValueRef outer = OuterGlobal(name.substr(0, dot));
    while (dot != name.npos) {
      const size_t next = name.find('.', dot + 1);
      const ValueRef attribute = scratch_.New(Kind::kString);
      attribute->text = name.substr(dot + 1, next - dot - 1);
      inner = scratch_.New(Kind::kObject);
      inner->callable = OuterGlobal("builtins getattr");
      inner->items = {outer, attribute};
      outer = inner;
      dot = next;
    }
    return inner;
  }

  // What stands for a tensor is made for the moment, in `graph`: a file of a million tensors would not hold all.
  Status SaveTensor(const Tensor* tensor) {
    if (!tensor_ || tensor == nullptr) return InvalidArgument("expected plain values, found a tensor");
    ValueGraph graph;
    ANEMONE_ASSIGN(const ValueRef stand_in, tensor_(*tensor, graph));
    if (stand_in == nullptr || stand_in->kind == Kind::kTensor)
      return Internal("a tensor's encoder answered no plain node");
    return SaveStandIn(stand_in);
  }

  // Finds what is shared, and about how long the pickle will be: one that outgrows its memory is there twice.
  Status CountReferences(ValueRef root) {
    constexpr size_t kOfNode = 10, kOfTensor = 100;
    PointerSet seen;
    std::vector<ValueRef> todo = {root};
    while (!todo.empty()) {
      if (todo.back() == nullptr) return InvalidArgument("expected a whole value, found a part missing");
      const ValueRef node = Canonical(todo.back());
      todo.pop_back();
      expected_bytes_ += node->kind == Kind::kTensor ? kOfTensor : kOfNode + node->text.size();
      if (IsAtom(*node) || node->kind == Kind::kGlobal) continue;
      if (!seen.Insert(node)) {
        uses_[node].shared = true;
        continue;
      }
      if (node->kind == Kind::kObject) {
        todo.push_back(node->callable);
        if (node->state != nullptr) todo.push_back(node->state);
      }
      const LateEntries& late = LateOf(node);
      for (size_t i = 0; i < late.count; ++i) {
        const LateEntry entry = late.at(i);
        expected_bytes_ += kOfNode + entry.key.size() + (entry.tensor != nullptr ? kOfTensor : 0);
        if (entry.tensor == nullptr) todo.push_back(entry.value);
      }
      todo.insert(todo.end(), node->items.begin(), node->items.end());
      todo.insert(todo.end(), node->appended.begin(), node->appended.end());
      todo.insert(todo.end(), node->entries.begin(), node->entries.end());
    }
    return {};
  }
  ValueRef Callee(const ValueNode& node) {
    const bool flag = node.integer != 0;
    const std::string_view name = node.kind == Kind::kBytes ? (flag                ? "builtins bytearray"
                                                               : node.text.empty() ? "builtins bytes"
                                                                                   : "_codecs encode")
                                                            : (flag ? "builtins frozenset" : "builtins set");
    return Global(std::string(name));
  }

  const LateEntries& LateOf(const ValueNode* node) const {
    static const LateEntries kNone;
    const auto found = late_.find(node);
    return found == late_.end() ? kNone : found->second;
  }

  // --- second pass
  void Emit(uint8_t opcode) { out_.Emit(opcode); }
  void Schedule(ValueRef node) { steps_.push_back({What::kSave, 0, node}); }
  void ScheduleAll(const ValueList& items) {
    for (size_t i = items.size(); i-- > 0;) Schedule(items[i]);
  }
  void ScheduleEmit(uint8_t opcode) { steps_.push_back({What::kEmit, opcode}); }
  void ScheduleTuple(const ValueList& items) {
    constexpr uint8_t kSmall[] = {op::kEmptyTuple, op::kTuple1, op::kTuple2, op::kTuple3};
    ScheduleEmit(items.size() < 4 ? kSmall[items.size()] : static_cast<uint8_t>(op::kTuple));
    ScheduleAll(items);
    if (items.size() >= 4) ScheduleEmit(op::kMark);
  }
  void Memoize(ValueRef node) {
    if (node->kind == Kind::kGlobal) uses_[node].shared = true;  // most are used again
    const auto use = uses_.find(node);
    if (use == uses_.end() || !use->second.shared) return;
    use->second.memo = next_memo_++;
    out_.Put(use->second.memo);
  }
  Status Text(std::string_view text) {
    if (text.size() > 0xffffffff)
      return Unsupported("expected text below 4 GiB, found " + std::to_string(text.size()) + " bytes [PKL-15]");
    out_.Text(text);
    return {};
  }

  Status Do(const Step& step) {
    switch (step.what) {
      case What::kSave:
        return Save(step.node);
      case What::kEmit:
        return Emit(step.opcode), Status();
      case What::kMemoize:
        return Memoize(step.node), Status();
      case What::kClose:
        return Close(step.node), Status();
      case What::kAppend:
        return Items(step, 1, op::kAppend, op::kAppends), Status();
      case What::kSetItems:
        return Items(step, 2, op::kSetItem, op::kSetItems), Status();
      case What::kSetLate:
        return LateItem(step);
    }
    return {};
  }
  // One batch of a container's items, then the rest.
  void Items(const Step& step, size_t width, uint8_t single, uint8_t several) {
    const ValueList& items = *step.items;
    if (step.from >= items.size()) return;
    const size_t end = std::min(items.size(), step.from + internal::PickleStream::kBatch * width);
    steps_.push_back({step.what, 0, nullptr, &items, end});
    const bool alone = end - step.from == width;
    ScheduleEmit(alone ? single : several);
    for (size_t i = end; i-- > step.from;) Schedule(items[i]);
    if (!alone) ScheduleEmit(op::kMark);
  }

  // One late entry, then the rest, in the same batches.
  Status LateItem(const Step& step) {
    const LateEntries& late = LateOf(step.node);
    if (step.from == late.count) return {};
    const size_t in_batch = step.from % internal::PickleStream::kBatch, begin = step.from - in_batch;
    const size_t end = std::min(late.count, begin + internal::PickleStream::kBatch);
    const bool alone = end - begin == 1;
    if (in_batch == 0 && !alone) Emit(op::kMark);
    steps_.push_back({What::kSetLate, 0, step.node, nullptr, step.from + 1});
    if (step.from + 1 == end) ScheduleEmit(alone ? op::kSetItem : op::kSetItems);
    const LateEntry entry = late.at(step.from);
    ANEMONE_TRY(Text(entry.key));
    if (entry.tensor != nullptr) return SaveTensor(entry.tensor);
    return Schedule(entry.value), Status();
  }

  // What stands for a tensor: calls, tuples and names, as deep as its encoder makes them.
  Status SaveStandIn(ValueRef node) {
    if (IsAtom(*node) || node->kind == Kind::kGlobal) return Save(node);
    if (node->kind == Kind::kString) return Text(node->text);
    if (node->kind == Kind::kPersistent && node->items.size() == 1) {
      ANEMONE_TRY(SaveStandIn(node->items[0]));
      return Emit(op::kBinPersId), Status();
    }
    const bool is_call = node->kind == Kind::kObject && node->state == nullptr && !node->is_new &&
                         node->entries.empty() && node->appended.empty();
    if (!is_call && node->kind != Kind::kTuple) return Internal("a tensor is written as calls, tuples and names");
    if (is_call) ANEMONE_TRY(SaveStandIn(node->callable));
    const size_t size = node->items.size();
    if (size >= 4) Emit(op::kMark);
    for (const ValueRef item : node->items) ANEMONE_TRY(SaveStandIn(item));
    out_.Tuple(size);
    if (is_call) Emit(op::kReduce);
    return {};
  }

  Status Save(ValueRef node) {
    if (IsAtom(*node)) return SaveAtom(*node);
    node = Canonical(node);
    if (IsAtom(*node)) return SaveAtom(*node);
    if (const auto found = uses_.find(node); found != uses_.end()) {
      const Use& use = found->second;
      if (use.memo != kNoMemo) return out_.Get(use.memo), Status();
      if (use.open)
        return Unsupported(
            "expected a value that can be built, found a tuple or a call inside its own arguments [PKL-16]");
    }
    return SaveNew(node);
  }

  Status SaveAtom(const ValueNode& node) {
    switch (node.kind) {
      case Kind::kNone:
        return Emit(op::kNone), Status();
      case Kind::kBool:
        return Emit(node.integer != 0 ? op::kNewTrue : op::kNewFalse), Status();
      case Kind::kInt:
        return out_.Int(node.integer), Status();
      case Kind::kBigInt: {
        const std::string bytes = TwosComplement(node.text);
        if (bytes.size() > 255)
          return Unsupported("expected an int of at most 255 bytes, found " + std::to_string(bytes.size()) +
                             " [PKL-15]");
        Emit(op::kLong1);
        out_.Number(bytes.size(), 1);
        out_.bytes += bytes;
        return {};
      }
      case Kind::kFloat:
        Emit(op::kBinFloat);
        out_.Number(__builtin_bswap64(std::bit_cast<uint64_t>(node.real)), 8);
        return {};
      default:
        return Emit(op::kEmptyTuple), Status();
    }
  }

  // Writes a value for the first time, and numbers it: Save then refers to the number.
  Status SaveNew(ValueRef node) {
    switch (node->kind) {
      case Kind::kTensor:
        ANEMONE_TRY(SaveTensor(node->tensor.get()));
        Memoize(node);
        return {};
      case Kind::kString:
        ANEMONE_TRY(Text(node->text));
        Memoize(node);
        return {};
      case Kind::kGlobal:
        return SaveGlobal(node);
      case Kind::kBytes:
        return SaveBytes(node);
      case Kind::kSet:
        Open(node);
        ScheduleEmit(op::kReduce);
        ScheduleEmit(op::kTuple1);
        steps_.push_back({What::kAppend, 0, nullptr, &node->items, 0});
        ScheduleEmit(op::kEmptyList);
        Schedule(Callee(*node));
        return {};
      case Kind::kList:
      case Kind::kDict:
        Emit(node->kind == Kind::kList ? op::kEmptyList : op::kEmptyDict);
        Memoize(node);
        steps_.push_back({node->kind == Kind::kList ? What::kAppend : What::kSetItems, 0, nullptr, &node->items, 0});
        return {};
      case Kind::kTuple:
        Open(node);
        ScheduleTuple(node->items);
        return {};
      case Kind::kPersistent:
        if (node->items.size() != 1)
          return InvalidArgument("expected one persistent id, found " + std::to_string(node->items.size()));
        Open(node);
        ScheduleEmit(op::kBinPersId);
        Schedule(node->items[0]);
        return {};
      case Kind::kObject:
        return ScheduleObject(node), Status();
      default:
        return Internal("a value of no known kind");
    }
  }

  Status SaveGlobal(ValueRef node) {
    if (node->text.find(' ') == std::string::npos || node->text.find('\n') != std::string::npos) {
      return InvalidArgument("expected a global \"module name\", found " + internal::Quoted(node->text) + " [PKL-8]");
    }
    if (node->text.ends_with(' '))
      return Unsupported("expected the name of a global, found one that starts with a dot [PKL-8]");
    const internal::ModuleAndName old = internal::Protocol2Global(node->text);
    if (internal::ModernGlobal(old.module, old.name) != node->text) {
      return Unsupported("expected a global that protocol 2 can name, found " + internal::Quoted(node->text) +
                         ", which Python 2 had for another [PKL-8]");
    }
    out_.Global(node->text);
    Memoize(node);
    return {};
  }

  Status SaveBytes(ValueRef node) {
    ANEMONE_TRY(Save(Callee(*node)));
    if (node->text.empty()) {
      Emit(op::kEmptyTuple);
    } else {
      std::string text;
      text.reserve(node->text.size() + node->text.size() / 2);
      for (const char c : node->text) AppendUtf8(static_cast<uint8_t>(c), text);
      ANEMONE_TRY(Text(text));
      ANEMONE_TRY(Text("latin1"));
      Emit(op::kTuple2);
    }
    Emit(op::kReduce);
    Memoize(node);
    return {};
  }

  void ScheduleObject(ValueRef node) {
    if (node->state != nullptr) {
      ScheduleEmit(op::kBuild);
      Schedule(node->state);
    }
    if (late_.contains(node)) steps_.push_back({What::kSetLate, 0, node});
    steps_.push_back({What::kSetItems, 0, nullptr, &node->entries, 0});
    steps_.push_back({What::kAppend, 0, nullptr, &node->appended, 0});
    Open(node);
    ScheduleEmit(node->is_new ? op::kNewObj : op::kReduce);
    ScheduleTuple(node->items);
    Schedule(node->callable);
  }

  // What is scheduled after this comes first and is the node's inside; then the node can be named.
  void Open(ValueRef node) {
    uses_[node].open = true;
    steps_.push_back({What::kMemoize, 0, node});
    steps_.push_back({What::kClose, 0, node});
  }

  void Close(ValueRef node) {
    const auto use = uses_.find(node);
    use->second.open = false;
    if (!use->second.shared) uses_.erase(use);
  }

  const TensorEncoder& tensor_;
  const LateEntriesOf& late_;
  ValueGraph scratch_;                              // globals
  std::unordered_map<const ValueNode*, Use> uses_;  // of what is shared or open
  internal::TextMap<ValueRef> globals_;
  std::vector<Step> steps_;
  uint32_t next_memo_ = 0;
  size_t expected_bytes_ = 0;
  internal::PickleStream out_;
};

}  // namespace

Result<std::string> WritePickle(const Value& value, const TensorEncoder& tensor, const LateEntriesOf& late) {
  if (value.node == nullptr) return InvalidArgument("expected a value to pickle, found none");
  return Writer(tensor, late).Run(value.node);
}

}  // namespace anemone
