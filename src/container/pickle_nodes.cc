#include "container/pickle_nodes.h"

#include <utility>

#include "container/text.h"

namespace anemone::internal {

using Kind = ValueNode::Kind;

ValueRef PickleNodes::Once(ValueRef& node, Kind kind, int64_t integer) {
  if (node == nullptr) {
    node = New(kind);
    node->is_shared = true;
    node->integer = integer;
  }
  return node;
}

ValueRef PickleNodes::Int(int64_t value) {
  ValueRef& node = ints_[(static_cast<uint64_t>(value) * 0x9e3779b97f4a7c15u) >> 54];
  if (node != nullptr && node->integer != value) node = nullptr;
  return Once(node, Kind::kInt, value);
}

ValueRef PickleNodes::Int(const PickledInt& value) {
  return value.value ? Int(*value.value) : Text(Kind::kBigInt, value.digits);
}

ValueRef PickleNodes::Float(double value) {
  const ValueRef node = New(Kind::kFloat);
  node->real = value;
  return node;
}

ValueRef PickleNodes::Text(Kind kind, std::string text) {
  const ValueRef node = New(kind);
  node->text = std::move(text);
  return node;
}

ValueRef PickleNodes::OldString(std::string text) {
  const bool is_text = IsUtf8(text, /*surrogates=*/false);
  return Text(is_text ? Kind::kString : Kind::kBytes, std::move(text));
}

ValueRef PickleNodes::ByteArray(std::string_view bytes) {
  const ValueRef node = Text(Kind::kBytes, std::string(bytes));
  node->integer = 1;
  return node;
}

ValueRef PickleNodes::Global(const std::string& name) {
  ValueRef& node = globals_[name];
  if (node == nullptr) {
    node = Text(Kind::kGlobal, name);
    node->is_shared = true;
  }
  return node;
}

}  // namespace anemone::internal
