#include "parallel/optimizer.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

}  // namespace

Result<ParameterRules> RulesOf(const ResolvedModel& model) {
  const NameMatcher& names = model.names;
  const std::vector<StoredRow>& rows = model.dialect->rows;
  const auto name_of = [&](const std::string& canonical) {
    for (size_t r = 0; r < rows.size(); ++r) {
      if (rows[r].canonical == canonical && rows[r].stage != Stage::kTiedCopy && names.is_active(r))
        return rows[r].name;
    }
    return std::string();
  };
  ParameterRules rules{.is_mcore = IsMegatronCore(*model.dialect), .second_names = {}, .old_names = {}};
  for (const CanonicalRow& row : model.family->canonical) {
    if (row.copy_of.empty()) continue;
    ANEMONE_ASSIGN(const bool is_tied, model.symbols.Holds(row.tied));
    if (is_tied) rules.second_names.emplace_back(name_of(row.name), name_of(row.copy_of));
  }
  const auto behind_layer = [](const std::string& name) {
    constexpr std::string_view kLayer = "{i}";
    const size_t at = name.find(kLayer);
    return at == std::string::npos ? std::string() : name.substr(at + kLayer.size());
  };
  std::vector<bool> is_written;
  for (size_t r = 0; r < rows.size(); ++r) {
    ANEMONE_ASSIGN(const bool holds, model.symbols.HoldsAnywhere(rows[r].when));
    is_written.push_back(holds);
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    const StoredRow& old = rows[r];
    if (old.canonical.empty() || is_written[r] || behind_layer(old.name).empty()) continue;
    for (size_t w = 0; w < rows.size(); ++w) {
      const StoredRow& row = rows[w];
      if (names.is_active(w) && is_written[w] && row.canonical == old.canonical && row.transform == old.transform)
        rules.old_names.emplace_back(behind_layer(old.name), behind_layer(row.name));
    }
  }
  return rules;
}

Status KeyParametersBy(ParameterKeys keys, const ParameterRules& rules, Shard* shard, std::vector<std::string>* notes) {
  ANEMONE_ASSIGN(const OptimizerState optimizer, ReadOptimizer(*shard, rules));
  ANEMONE_ASSIGN(shard->training, WithOptimizer(*shard->training, *shard, &optimizer, optimizer.moments, keys));
  if (optimizer.is_distributed) {
    notes->push_back(
        "the distributed optimizer's state became that of Adam with fp32 masters: train on with optim.name=fused_adam");
  }
  return {};
}

Result<Value> NewAdam(const Shard& shard, const ParameterRules& rules) {
  Value dictionary{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *dictionary.graph;
  dictionary.node = graph.root = graph.New(Kind::kDict);
  SetKey(graph, dictionary.node, "epoch", NewInt(graph, 0));
  SetKey(graph, dictionary.node, "global_step", NewInt(graph, 0));
  SetKey(graph, dictionary.node, "pytorch-lightning_version", NewString(graph, "2.4.0"));
  SetKey(graph, dictionary.node, "state_dict", graph.New(Kind::kDict));
  SetKey(graph, dictionary.node, "optimizer_states", graph.New(Kind::kList));

  OptimizerState optimizer;
  optimizer.rules = rules;
  optimizer.rule = rules.Default();
  optimizer.keys = {"exp_avg", "exp_avg_sq"};
  const std::vector<Parameter> parameters = ParametersOf(shard, rules);
  for (const Parameter& parameter : parameters) {
    ANEMONE_ASSIGN(const Tensor zeros, Tensor::Fill(DType::kF32, parameter.item->tensor()->shape(), 0));
    for (const std::string& kind : {std::string(), optimizer.keys[0], optimizer.keys[1]}) {
      if (kind.empty() && !parameter.is_16_bit()) continue;
      MomentTensors& moments = optimizer.moments[kind];
      moments.dicts.resize(std::max(moments.dicts.size(), parameter.dict + 1));
      ANEMONE_TRY(moments.dicts[parameter.dict].Add(parameter.item->name, zeros));
    }
  }
  if (optimizer.moments.contains("")) {
    optimizer.inner_key = "optimizer";
    optimizer.masters_key = "fp32_from_fp16_params";
  }
  for (ValueRef& group : optimizer.groups) {
    group = graph.New(Kind::kDict);
    SetKey(graph, group, "step", NewInt(graph, 0));
  }
  return WithOptimizer(dictionary, shard, &optimizer, optimizer.moments);
}

}  // namespace anemone
