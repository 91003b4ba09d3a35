// The empty states that Transformer Engine's layers ask for.
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/checkpoint.h"
#include "format/dist/dist.h"

namespace anemone {
namespace {

// A state of the module `state` for each that has a weight `weight`, in the same layer.
struct StateOf {
  std::string_view weight, state;
};

void AddStates(std::span<const StateOf> modules, const StateDict& weights, std::vector<std::string>& names) {
  for (const StateDict::Item& item : weights.items()) {
    for (const StateOf& module : modules) {
      if (!item.name.ends_with(module.weight)) continue;
      std::string state = item.name.substr(0, item.name.size() - module.weight.size());
      state += module.state;
      if (weights.Find(state) == nullptr) names.push_back(std::move(state));
    }
  }
}

}  // namespace

std::vector<std::string> AttentionStates(const StateDict& weights) {
  constexpr StateOf kAttention[] = {
      {".self_attention.linear_proj.weight", ".self_attention.core_attention.fused_attention._extra_state"}};
  std::vector<std::string> names;
  AddStates(kAttention, weights, names);
  return names;
}

std::vector<std::string> ModuleStates(const StateDict& weights) {
  // Attention's has its place by the version of Transformer Engine; norms have one since its version 2.
  constexpr StateOf kModules[] = {
      {".self_attention.linear_proj.weight", ".self_attention.core_attention._extra_state"},
      {".self_attention.q_layernorm.weight", ".self_attention.q_layernorm._extra_state"},
      {".self_attention.k_layernorm.weight", ".self_attention.k_layernorm._extra_state"},
      {".input_layernorm.weight", ".input_layernorm._extra_state"},
      {".pre_mlp_layernorm.weight", ".pre_mlp_layernorm._extra_state"},
      {".linear_proj.post_layernorm.weight", ".linear_proj.post_layernorm._extra_state"},
      {".linear_fc2.post_layernorm.weight", ".linear_fc2.post_layernorm._extra_state"},
      {"decoder.final_layernorm.weight", "decoder.final_layernorm._extra_state"},
  };
  std::vector<std::string> names = AttentionStates(weights);
  AddStates(kModules, weights, names);
  return names;
}

}  // namespace anemone
