// The nodes that a pickle's reader makes. None, booleans, most small ints, the empty tuple and globals are made once.
#ifndef ANEMONE_CONTAINER_PICKLE_NODES_H_
#define ANEMONE_CONTAINER_PICKLE_NODES_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "anemone/value.h"
#include "base/text_hash.h"
#include "container/pickle_numbers.h"

namespace anemone::internal {

class PickleNodes {
 public:
  explicit PickleNodes(ValueGraph& graph) : graph_(graph) {}
  ValueGraph& graph() { return graph_; }

  ValueRef New(ValueNode::Kind kind) { return graph_.New(kind); }
  ValueRef None() { return Once(none_, ValueNode::Kind::kNone, 0); }
  ValueRef Bool(bool value) { return Once(bools_[value ? 1 : 0], ValueNode::Kind::kBool, value ? 1 : 0); }
  ValueRef EmptyTuple() { return Once(empty_tuple_, ValueNode::Kind::kTuple, 0); }
  ValueRef Int(int64_t value);
  ValueRef Int(const PickledInt& value);
  ValueRef Float(double value);
  // Of a kString, a kBytes.
  ValueRef Text(ValueNode::Kind kind, std::string text);
  // A string of Python 2, whose encoding is not said.
  ValueRef OldString(std::string text);
  ValueRef ByteArray(std::string_view bytes);
  // "module name"
  ValueRef Global(const std::string& name);

 private:
  ValueRef Once(ValueRef& node, ValueNode::Kind kind, int64_t integer);

  ValueGraph& graph_;
  std::array<ValueRef, 1024> ints_ = {};
  ValueRef none_ = nullptr, empty_tuple_ = nullptr;
  std::array<ValueRef, 2> bools_ = {};
  TextMap<ValueRef> globals_;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_NODES_H_
