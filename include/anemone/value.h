// Value: plain Python data as a pickle describes it, never executed. The pickle reader makes it, formats interpret it,
// and the pickle writer can write it back. Calls stay what they are in the file: a callable's name, arguments, state.
//
// Ownership:  a ValueGraph owns its nodes; ValueRef points into it and lives as long as the graph. Nodes have identity
// and
//             may form cycles (OmegaConf's parents), so walk with care: nothing here recurses for you.
// Threads:    build in one thread, then read from any.
#ifndef ANEMONE_VALUE_H_
#define ANEMONE_VALUE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/tensor.h"

namespace anemone {

struct ValueNode;
using ValueRef = ValueNode*;

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
  bool is_new = false;  // kObject made by NEWOBJ (cls.__new__) rather than REDUCE
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<ValueRef> items;
  ValueRef callable = nullptr;     // kObject: normally a kGlobal
  ValueRef state = nullptr;        // kObject: the BUILD argument, or null
  std::vector<ValueRef> appended;  // kObject: items appended to it (a list subclass)
  std::vector<ValueRef> entries;   // kObject: key, value … set on it (a dict subclass: OrderedDict, defaultdict)
  std::optional<Tensor> tensor;
};

class ValueGraph {
 public:
  ValueRef New(ValueNode::Kind kind) {
    ValueNode& node = nodes_.emplace_back();
    node.kind = kind;
    return &node;
  }
  ValueRef root = nullptr;
  size_t size() const { return nodes_.size(); }
  // Every node made, also those no longer reachable from the root.
  std::deque<ValueNode>& nodes() { return nodes_; }
  const std::deque<ValueNode>& nodes() const { return nodes_; }

 private:
  std::deque<ValueNode> nodes_;
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
const std::vector<ValueRef>* DictEntries(const ValueNode& node);
// The value under a string key of a dict-like node; null when absent.
ValueRef Lookup(const ValueNode& node, std::string_view key);
// What a message calls it: "a dict", "nothing" for null, the class of an object. Valid as long as the node.
std::string_view Describe(const ValueNode* node);

}  // namespace anemone

#endif  // ANEMONE_VALUE_H_
