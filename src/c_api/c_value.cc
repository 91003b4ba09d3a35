// Values for C: the training state as a table, each value once, whoever shares it and whatever circles they form.
#include <fmt/format.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "anemone/value.h"
#include "c_api/c_checkpoint.h"
#include "c_api/call.h"
#include "c_api/dtype_words.h"
#include "config/nodes.h"
#include "inspect/json_nodes.h"

using anemone::ConfigNode;
using anemone::InvalidArgument;
using anemone::Result;
using anemone::SizeNode;
using anemone::Status;
using anemone::TextNode;
using anemone::Value;
using anemone::ValueGraph;
using anemone::ValueList;
using anemone::ValueNode;
using anemone::ValueRef;
using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

namespace {

using Kind = ValueNode::Kind;

// All values that can be reached from one, in the order in which they are found. A tensor's number is its place in the
// graph.
class Table {
 public:
  explicit Table(const Value& value) {
    size_t place = 0;
    for (ValueNode& node : value.graph->nodes()) {
      if (node.kind == Kind::kTensor) places_.emplace(&node, place);
      ++place;
    }
    NumberOf(value.node);
  }

  ConfigNode ToJson() {
    ConfigNode list = ConfigNode::List();
    for (size_t i = 0; i < nodes_.size(); ++i) list.list.push_back(ToJson(nodes_[i]));
    return list;
  }

 private:
  ConfigNode NumberOf(ValueRef node) {
    const auto [at, is_new] = numbers_.emplace(node, nodes_.size());
    if (is_new) nodes_.push_back(node);
    return SizeNode(at->second);
  }

  ConfigNode Numbers(const ValueList& items) {
    ConfigNode list = ConfigNode::List();
    list.list.reserve(items.size());
    for (const ValueRef item : items) list.list.push_back(NumberOf(item));
    return list;
  }

  ConfigNode Named(const char* kind, ConfigNode content) {
    ConfigNode map = ConfigNode::Map();
    map[kind] = std::move(content);
    return map;
  }

  ConfigNode TensorJson(ValueRef node) {
    ConfigNode map = Named("tensor", SizeNode(places_.at(node)));
    map["dtype"] = TextNode(WordOf(node->tensor->dtype()));
    map["shape"] = anemone::SizesNode(node->tensor->shape());
    return map;
  }

  ConfigNode ObjectJson(const ValueNode& node) {
    ConfigNode map = Named("object", TextNode(Describe(node.callable)));
    map["arguments"] = Numbers(node.items);
    if (node.state != nullptr) map["state"] = NumberOf(node.state);
    map["appended"] = Numbers(node.appended);
    map["entries"] = Numbers(node.entries);
    return map;
  }

  ConfigNode ToJson(ValueRef ref) {
    const ValueNode& node = *ref;
    switch (node.kind) {
      case Kind::kNone:
        return ConfigNode::Null();
      case Kind::kBool:
        return ConfigNode::Bool(node.integer != 0);
      case Kind::kInt:
        return ConfigNode::Int(node.integer);
      case Kind::kBigInt:
        return Named("int", TextNode(node.text));
      case Kind::kFloat:
        return ConfigNode::Float(node.real);
      case Kind::kString:
        return TextNode(node.text);
      case Kind::kBytes:
        return Named(node.integer == 1 ? "bytearray" : "bytes", TextNode(Hex(node.text)));
      case Kind::kList:
        return Named("list", Numbers(node.items));
      case Kind::kTuple:
        return Named("tuple", Numbers(node.items));
      case Kind::kSet:
        return Named(node.integer == 1 ? "frozenset" : "set", Numbers(node.items));
      case Kind::kDict:
        return Named("dict", Numbers(node.items));
      case Kind::kTensor:
        return TensorJson(ref);
      case Kind::kGlobal:
        return Named("global", TextNode(node.text));
      case Kind::kPersistent:
        return Named("persistent", Numbers(node.items));
      case Kind::kObject:
        return IsPlainDict(node) ? DictJson(node) : ObjectJson(node);
    }
    return ConfigNode::Null();
  }

  // An OrderedDict or the like, whose content is its entries; the argument of a defaultdict makes defaults only.
  static bool IsPlainDict(const ValueNode& node) {
    return DictEntries(node) != nullptr && node.appended.empty() &&
           (node.items.empty() || IsCall(node, "collections defaultdict"));
  }

  // Its state is attributes: torch's `_metadata` of a state_dict.
  ConfigNode DictJson(const ValueNode& node) {
    ConfigNode map = Named("dict", Numbers(node.entries));
    if (node.state != nullptr) map["attributes"] = NumberOf(node.state);
    return map;
  }

  static std::string Hex(std::string_view bytes) {
    std::string text;
    for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return text;
  }

  std::vector<ValueRef> nodes_;
  std::unordered_map<ValueRef, size_t> numbers_;
  std::unordered_map<ValueRef, size_t> places_;
};

// The one rank's; a null node where it has none.
Result<Value> TrainingOf(const anemone::Checkpoint& checkpoint) {
  if (checkpoint.shards.size() > 1) {
    return InvalidArgument(fmt::format("expected one rank, found {}, each with a training state of its own",
                                       checkpoint.shards.size()),
                           "ask each part")
        .In(checkpoint.path);
  }
  if (checkpoint.shards.empty() || !checkpoint.shards.front().training) return Value();
  return *checkpoint.shards.front().training;
}

}  // namespace

anemone_status* anemone_training(const anemone_checkpoint* checkpoint, char** json) {
  return Guarded([&]() -> Status {
    ANEMONE_ASSIGN(const Value training, TrainingOf(checkpoint->stored));
    return GiveJson(training.node == nullptr ? ConfigNode::Null() : Table(training).ToJson(), json);
  });
}

anemone_status* anemone_training_tensor(const anemone_checkpoint* checkpoint, size_t number, anemone_tensor** tensor) {
  return Guarded([&]() -> Status {
    ANEMONE_ASSIGN(const Value training, TrainingOf(checkpoint->stored));
    const ValueGraph* graph = training.graph.get();
    if (graph == nullptr || number >= graph->size() || graph->nodes()[number].kind != Kind::kTensor) {
      return InvalidArgument(fmt::format("expected the number of a tensor of the training state, found {}", number))
          .In(checkpoint->stored.path);
    }
    return Give(tensor, fmt::format("tensor {} of the training state", number), *graph->nodes()[number].tensor);
  });
}
