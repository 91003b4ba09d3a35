#include "format/torch/pickled.h"

#include <fmt/format.h>

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

}  // namespace

std::string_view GlobalName(const ValueNode* node) {
  return node != nullptr && node->kind == Kind::kGlobal ? std::string_view(node->text) : std::string_view();
}

std::string_view Callee(const ValueNode& node) {
  return node.kind == Kind::kObject ? GlobalName(node.callable) : std::string_view();
}

std::optional<std::string_view> Text(const ValueNode* node) {
  if (node == nullptr || (node->kind != Kind::kString && node->kind != Kind::kBytes)) return std::nullopt;
  return node->text;
}

Result<uint64_t> Unsigned(const ValueNode* node, std::string_view what) {
  if (node == nullptr || (node->kind != Kind::kInt && node->kind != Kind::kBool)) {
    return Corrupt(fmt::format("[TZ-12] expected an integer as {}", what));
  }
  if (node->integer < 0)
    return Corrupt(fmt::format("[TZ-12] expected a {} of at least 0, found {}", what, node->integer));
  return static_cast<uint64_t>(node->integer);
}

const ValueList* Sequence(const ValueNode* node) {
  if (node == nullptr) return nullptr;
  if (node->kind == Kind::kTuple || node->kind == Kind::kList) return &node->items;
  if (Callee(*node) == "torch Size" && node->items.size() == 1) return Sequence(node->items[0]);
  return nullptr;
}

Result<std::vector<uint64_t>> UnsignedList(const ValueNode* node, std::string_view what) {
  const auto* items = Sequence(node);
  if (items == nullptr) return Corrupt(fmt::format("[TZ-12] expected a tuple as {}", what));
  if (items->size() > 64) return Corrupt(fmt::format("[TZ-12] {} of {} axes", what, items->size()));
  std::vector<uint64_t> values;
  for (const ValueNode* item : *items) {
    ANEMONE_ASSIGN(const uint64_t value, Unsigned(item, what));
    values.push_back(value);
  }
  return values;
}

}  // namespace anemone
