#include "format/nemo/nemo2_io.h"
#include "config/nodes.h"

#include <fmt/format.h>

#include <map>
#include <string_view>

namespace anemone {
namespace {

std::string TargetOf(const ConfigNode& node) {
  const ConfigNode* target = node.Get("_target_");
  return target == nullptr ? std::string() : target->AsString().value_or("");
}

// "LlamaModel" → "llama_model".
std::string SnakeCase(std::string_view name) {
  std::string snake;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool is_upper = name[i] >= 'A' && name[i] <= 'Z';
    const bool begins = is_upper && i > 0 && (name[i - 1] < 'A' || name[i - 1] > 'Z');
    if (begins) snake += '_';
    snake += is_upper ? static_cast<char>(name[i] - 'A' + 'a') : name[i];
  }
  return snake;
}

class Graph {
 public:
  // The reference, leaf or name that stands for `value` in the object that holds it.
  ConfigNode Value(const ConfigNode& value, const std::string& path) {
    ConfigNode node = ConfigNode::Map();
    const std::string target = TargetOf(value);
    const ConfigNode* call = value.Get("_call_");
    if (!target.empty() && call != nullptr && call->AsBool() == false) {
      node = Name(target);
    } else if (!target.empty()) {
      return Object(value, target, path);
    } else if (value.is_map()) {
      return Reference(AddEmptyDict(path));
    } else {
      node["type"] = TextNode("leaf");
      node["value"] = value;
    }
    node["paths"] = ConfigNode::List({TextNode(path)});
    return node;
  }

  ConfigNode Finish(ConfigNode root) {
    ConfigNode document = ConfigNode::Map();
    document["root"] = std::move(root);
    document["objects"] = std::move(objects_);
    document["refcounts"] = std::move(counts_);
    document["version"] = TextNode("0.0.1");
    return document;
  }

 private:
  static ConfigNode Name(std::string_view dotted) {
    const size_t dot = dotted.rfind('.');
    ConfigNode node = ConfigNode::Map();
    node["type"] = TextNode("pyref");
    node["module"] = TextNode(dotted.substr(0, dot));
    node["name"] = TextNode(dotted.substr(dot + 1));
    return node;
  }

  static ConfigNode Container(std::string_view type, ConfigNode metadata) {
    ConfigNode node = ConfigNode::Map();
    node["type"] = Name(type);
    node["items"] = ConfigNode::List();
    node["metadata"] = std::move(metadata);
    return node;
  }

  std::string Add(std::string_view prefix, ConfigNode node) {
    std::string key = fmt::format("{}_{}", prefix, ++numbers_[std::string(prefix)]);
    objects_[key] = std::move(node);
    counts_[key] = ConfigNode::Int(1);
    return key;
  }

  static ConfigNode Reference(std::string_view key) {
    ConfigNode node = ConfigNode::Map();
    node["type"] = TextNode("ref");
    node["key"] = TextNode(key);
    return node;
  }

  std::string AddEmptyDict(const std::string& path = "") {
    ConfigNode node = Container("builtins.dict", Container("builtins.tuple", ConfigNode::Null()));
    if (!path.empty()) node["paths"] = ConfigNode::List({TextNode(path)});
    return Add("dict", std::move(node));
  }

  // A call of `target` that is only described: fdl.Config.
  ConfigNode Object(const ConfigNode& value, const std::string& target, const std::string& path) {
    ConfigNode names = Container("builtins.tuple", ConfigNode::Null());
    ConfigNode object = Container("fiddle._src.config.Config", ConfigNode::Null());
    for (const auto& [key, child] : value.map) {
      if (key == "_target_") continue;
      const auto index = static_cast<int64_t>(names.Get("items")->list.size());
      names["items"].list.push_back(ConfigNode::List({TextNode(fmt::format("Index(index={})", index)), TextNode(key)}));
      object["items"].list.push_back(ConfigNode::List(
          {TextNode(fmt::format("Attr(name='{}')", key)), Value(child, fmt::format("{}.{}", path, key))}));
    }
    ConfigNode metadata = Container("fiddle._src.config.BuildableTraverserMetadata",
                                    Name("fiddle._src.config.BuildableTraverserMetadata"));
    const auto add = [&](std::string_view attribute, ConfigNode node) {
      metadata["items"].list.push_back(
          ConfigNode::List({TextNode(fmt::format("Attr(name='{}')", attribute)), std::move(node)}));
    };
    add("fn_or_cls", Name(target));
    add("argument_names", Reference(Add("tuple", std::move(names))));
    add("argument_tags", Reference(AddEmptyDict()));
    add("argument_history", Reference(AddEmptyDict()));
    object["metadata"] = Reference(Add("buildable_traverser_metadata", std::move(metadata)));
    object["paths"] = ConfigNode::List({TextNode(path)});
    return Reference(Add(SnakeCase(std::string_view(target).substr(target.rfind('.') + 1)), std::move(object)));
  }

  ConfigNode objects_ = ConfigNode::Map();
  ConfigNode counts_ = ConfigNode::Map();
  std::map<std::string, int> numbers_;
};

}  // namespace

std::string MakeIoJson(const ConfigNode& model_yaml) {
  ConfigNode context = ConfigNode::Map();
  context["_target_"] = TextNode("nemo.lightning.io.pl.TrainerContext");
  context["model"] = model_yaml;
  ConfigNode& trainer = context["trainer"] = ConfigNode::Map();
  trainer["_target_"] = TextNode("nemo.lightning.pytorch.trainer.Trainer");
  trainer["accelerator"] = TextNode("cpu");
  ConfigNode& strategy = trainer["strategy"] = ConfigNode::Map();
  strategy["_target_"] = TextNode("nemo.lightning.pytorch.strategies.megatron_strategy.MegatronStrategy");
  for (const char* key : {"tensor_model_parallel_size", "pipeline_model_parallel_size"}) {
    const ConfigNode* config = model_yaml.Get("config");
    const ConfigNode* size = config == nullptr ? nullptr : config->Get(key);
    strategy[key] = size == nullptr ? ConfigNode::Int(1) : *size;
  }
  trainer["devices"] = ConfigNode::Int(1);
  trainer["num_nodes"] = ConfigNode::Int(1);
  context["extra"] = ConfigNode::Map();
  Graph graph;
  ConfigNode root = graph.Value(context, "<root>");
  return Config(graph.Finish(std::move(root))).ToJson();
}

}  // namespace anemone
