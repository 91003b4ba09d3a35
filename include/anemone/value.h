// Value: plain Python data as a pickle describes it, never executed. The pickle reader makes it, formats interpret it,
// and the pickle writer can write it back. Calls stay what they are in the file: a callable's name, arguments, state.
//
// Ownership:  a ValueGraph owns its nodes; ValueRef points into it and lives as long as the graph.
// Cycles:     nodes have identity and may form cycles (OmegaConf's parents), so walk with care: nothing here recurses
//             for you.
// Threads:    build in one thread, then read from any.
#ifndef ANEMONE_VALUE_H_
#define ANEMONE_VALUE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/tensor.h"

namespace anemone {

struct ValueNode;
using ValueRef = ValueNode*;

// A vector of references to nodes. It takes eight bytes, because a pickle has millions of nodes and most of their lists
// are empty.
class ValueList {
 public:
  using value_type = ValueRef;
  using iterator = ValueRef*;
  using const_iterator = const ValueRef*;

  ValueList() = default;
  ValueList(std::initializer_list<ValueRef> refs) { insert(end(), refs.begin(), refs.end()); }
  ValueList(std::span<const ValueRef> refs) { insert(end(), refs.data(), refs.data() + refs.size()); }
  ValueList(const std::vector<ValueRef>& refs) : ValueList(std::span(refs)) {}
  ValueList(const ValueList& other) : ValueList(std::span(other)) {}
  ValueList(ValueList&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  ValueList& operator=(ValueList other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~ValueList() { ::operator delete(block_); }

  size_t size() const { return block_ == nullptr ? 0 : block_->size; }
  bool empty() const { return size() == 0; }
  ValueRef* data() { return block_ == nullptr ? nullptr : Refs(block_); }
  const ValueRef* data() const { return block_ == nullptr ? nullptr : Refs(block_); }
  iterator begin() { return data(); }
  iterator end() { return data() + size(); }
  const_iterator begin() const { return data(); }
  const_iterator end() const { return data() + size(); }
  ValueRef& operator[](size_t i) { return data()[i]; }
  ValueRef operator[](size_t i) const { return data()[i]; }
  ValueRef& front() { return data()[0]; }
  ValueRef front() const { return data()[0]; }
  ValueRef& back() { return data()[size() - 1]; }
  ValueRef back() const { return data()[size() - 1]; }
  void push_back(ValueRef ref) { insert(end(), &ref, &ref + 1); }
  // REQUIRES: `first` is not of this list.
  void insert(iterator at, const ValueRef* first, const ValueRef* last);
  void insert(iterator at, std::initializer_list<ValueRef> refs) { insert(at, refs.begin(), refs.end()); }
  void erase(iterator first, iterator last) { resize(static_cast<size_t>(std::copy(last, end(), first) - begin())); }
  // REQUIRES: at most size().
  void resize(size_t count) {
    if (block_ != nullptr) block_->size = count;
  }
  void clear() { resize(0); }

 private:
  struct Block {
    size_t size, capacity;
  };
  static ValueRef* Refs(Block* block) { return reinterpret_cast<ValueRef*>(block + 1); }
  void Reserve(size_t count);
  Block* block_ = nullptr;
};

struct ValueNode {
  enum class Kind : uint8_t {
    kNone,
    kBool,        // integer
    kInt,         // integer
    kBigInt,      // text: decimal digits
    kFloat,       // real
    kString,      // text: UTF-8 (lone surrogates as WTF-8)
    kBytes,       // text; integer is 1 for a bytearray
    kList,        // items
    kTuple,       // items
    kSet,         // items; integer is 1 for a frozenset
    kDict,        // items: key, value, key, value … in first-insertion order
    kGlobal,      // text: "module name", e.g. "collections OrderedDict"; Python 2 module names already translated
    kObject,      // callable(*items), then state (BUILD), appended (APPENDS) and entries (SETITEMS)
    kPersistent,  // items[0]: a persistent id (BINPERSID)
    kTensor,      // tensor: put here by a format once it understood an object
  };
  Kind kind = Kind::kNone;
  bool is_new = false;     // kObject made by NEWOBJ (cls.__new__) rather than REDUCE
  bool is_shared = false;  // in a pickle that is read: something besides the node that holds it may refer to it
  union {
    int64_t integer = 0;
    double real;
  };
  std::string text;
  ValueList items;
  ValueRef callable = nullptr;  // kObject: normally a kGlobal
  ValueRef state = nullptr;     // kObject: the BUILD argument, or null
  ValueList appended;           // kObject: items appended to it (a list subclass)
  ValueList entries;            // kObject: key, value … set on it (a dict subclass: OrderedDict, defaultdict)
  std::unique_ptr<Tensor> tensor;
};

class ValueGraph {
 public:
  ValueRef New(ValueNode::Kind kind) {
    ValueRef node = free_;
    if (node == nullptr) {
      node = &nodes_.emplace_back();
    } else {
      free_ = std::exchange(node->callable, nullptr);
    }
    node->kind = kind;
    return node;
  }
  // Frees what a node holds and nothing else does, and what that holds; the node itself stays, its kind too.
  void FreeParts(ValueNode& node);
  ValueRef root = nullptr;
  size_t size() const { return nodes_.size(); }
  // Every node made, also those no longer reachable from the root, and freed ones, which are kNone.
  std::pmr::deque<ValueNode>& nodes() { return nodes_; }
  const std::pmr::deque<ValueNode>& nodes() const { return nodes_; }

 private:
  // Nodes lie in blocks that grow, apart from what formats make of them: a graph leaves no holes between that.
  std::pmr::monotonic_buffer_resource memory_;
  std::pmr::deque<ValueNode> nodes_{&memory_};
  ValueRef free_ = nullptr;  // the first of a chain by `callable`
};

// A value and the graph that keeps it alive.
struct Value {
  std::shared_ptr<ValueGraph> graph;
  ValueRef node = nullptr;
};

// True for kObject/kGlobal with this "module name".
bool IsGlobal(const ValueNode& node, std::string_view module_and_name);
bool IsCall(const ValueNode& node, std::string_view module_and_name);
// Key/value pairs of a dict or of an object that behaves as one (OrderedDict, defaultdict, AttributeDict). Null if
// neither.
const ValueList* DictEntries(const ValueNode& node);
// The value under a string key of a dict-like node; null when absent.
ValueRef Lookup(const ValueNode& node, std::string_view key);
// What a message calls it: "a dict", "nothing" for null, the class of an object. Valid as long as the node.
std::string_view Describe(const ValueNode* node);

}  // namespace anemone

#endif  // ANEMONE_VALUE_H_
