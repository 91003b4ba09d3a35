// Writes a Lightning training checkpoint of any model `convert` reads: its weights under NeMo's Megatron-core names,
// its config as hyper-parameters, and Adam's moments (each parameter's first moment is its weights again, its second
// zeros), as MegatronCLIPModel's trainer saves it without O2. For tests and benchmarks at true size: `make_checkpoint`
// first.
//
// usage: make_lightning SRC DST.ckpt
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "anemone/convert.h"
#include "engine/execute.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_write.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// Makes nodes of one graph.
struct Maker {
  ValueGraph& graph;

  ValueRef Int(int64_t v) const {
    ValueRef node = graph.New(Kind::kInt);
    node->integer = v;
    return node;
  }
  ValueRef Bool(bool v) const {
    ValueRef node = graph.New(Kind::kBool);
    node->integer = v;
    return node;
  }
  ValueRef Float(double v) const {
    ValueRef node = graph.New(Kind::kFloat);
    node->real = v;
    return node;
  }
  ValueRef String(std::string v) const {
    ValueRef node = graph.New(Kind::kString);
    node->text = std::move(v);
    return node;
  }
  ValueRef List(std::vector<ValueRef> items, Kind kind = Kind::kList) const {
    ValueRef node = graph.New(kind);
    node->items = std::move(items);
    return node;
  }
  ValueRef Dict(std::vector<std::pair<ValueRef, ValueRef>> entries) const {
    ValueRef node = graph.New(Kind::kDict);
    for (auto& [key, value] : entries) node->items.insert(node->items.end(), {key, value});
    return node;
  }
  ValueRef Of(const Tensor& tensor) const {
    ValueRef node = graph.New(Kind::kTensor);
    node->tensor = std::make_unique<Tensor>(tensor);
    return node;
  }
  ValueRef Of(const ConfigNode& config) const {
    switch (config.kind) {
      case ConfigNode::Kind::kNull:
        return graph.New(Kind::kNone);
      case ConfigNode::Kind::kBool:
        return Bool(config.boolean);
      case ConfigNode::Kind::kInt:
        return Int(config.integer);
      case ConfigNode::Kind::kFloat:
        return Float(config.real);
      case ConfigNode::Kind::kString:
        return String(config.text);
      case ConfigNode::Kind::kList: {
        std::vector<ValueRef> items;
        for (const ConfigNode& item : config.list) items.push_back(Of(item));
        return List(std::move(items));
      }
      case ConfigNode::Kind::kMap: {
        std::vector<std::pair<ValueRef, ValueRef>> entries;
        for (const auto& [key, value] : config.map) entries.emplace_back(String(key), Of(value));
        return Dict(std::move(entries));
      }
    }
    return graph.New(Kind::kNone);
  }
};

// NeMo's two groups [nemo/collections/nlp/modules/common/megatron/utils.py]: under Transformer Engine only biases are
// spared weight decay. Ids count through the groups.
Result<ValueRef> OptimizerState(const Maker& make, const StateDict& weights) {
  std::vector<std::pair<ValueRef, ValueRef>> state;
  std::vector<ValueRef> groups;
  int64_t id = 0;
  for (const bool decays : {true, false}) {
    std::vector<ValueRef> ids;
    for (const StateDict::Item& item : weights.items()) {
      if (item.tensor() == nullptr || item.name.ends_with("bias") == decays) continue;
      ANEMONE_ASSIGN(const Tensor zeros, Tensor::Fill(item.tensor()->dtype(), item.tensor()->shape(), 0));
      state.emplace_back(make.Int(id), make.Dict({{make.String("exp_avg"), make.Of(*item.tensor())},
                                                  {make.String("exp_avg_sq"), make.Of(zeros)}}));
      ids.push_back(make.Int(id++));
    }
    groups.push_back(make.Dict({{make.String("weight_decay"), make.Float(decays ? 0.2 : 0.0)},
                                {make.String("is_expert"), make.Bool(false)},
                                {make.String("lr"), make.Float(1e-3)},
                                {make.String("bias_correction"), make.Bool(true)},
                                {make.String("betas"), make.List({make.Float(0.9), make.Float(0.98)}, Kind::kTuple)},
                                {make.String("eps"), make.Float(1e-8)},
                                {make.String("step"), make.Int(3)},
                                {make.String("params"), make.List(std::move(ids))}}));
  }
  return make.List({make.Dict({{make.String("state"), make.Dict(std::move(state))},
                               {make.String("param_groups"), make.List(std::move(groups))}})});
}

Status Make(const std::string& source, const std::string& destination) {
  ANEMONE_ASSIGN(const Conversion conversion, PlanConversion(source, "x.nemo", {}));
  const Checkpoint& model = conversion.result;
  const auto graph = std::make_shared<ValueGraph>();
  const Maker make{*graph};
  const Value weights = FromStateDict(model.weights());
  ANEMONE_ASSIGN(const ValueRef optimizer, OptimizerState(make, model.weights()));
  const ConfigNode config = model.config ? model.config->root() : ConfigNode::Map();
  graph->root = make.Dict({{make.String("epoch"), make.Int(0)},
                           {make.String("global_step"), make.Int(3)},
                           {make.String("pytorch-lightning_version"), make.String("2.4.0")},
                           {make.String("state_dict"), weights.node},
                           {make.String("loops"), make.Dict({})},
                           {make.String("callbacks"), make.Dict({})},
                           {make.String("optimizer_states"), optimizer},
                           {make.String("lr_schedulers"), make.List({})},
                           {make.String("hparams_name"), make.String("cfg")},
                           {make.String("hyper_parameters"), make.Dict({{make.String("cfg"), make.Of(config)}})}});
  Plan plan;
  PlanFile& file = plan.files.emplace_back();
  ANEMONE_TRY(LayOutTorchFile({graph, graph->root}, "archive", file));
  ExecuteOptions options;
  options.replace = true;
  return Execute(plan, destination, options);
}

}  // namespace
}  // namespace anemone

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: make_lightning SRC DST.ckpt\n", stderr);
    return 64;
  }
  const anemone::Status status = anemone::Make(argv[1], argv[2]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "make_lightning: %s\n", status.message().c_str());
  return 65;
}
