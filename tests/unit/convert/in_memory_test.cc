// Models under the names that transformers 5 has in memory, and saves in others: what state_dict() and the trainers
// that save it hold. The matrices of a layer's experts are one tensor.
#include <algorithm>

#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::TempDir;

// "model.layers.1.mlp.experts.gate_up_proj" of one of its parts; empty: no part of one.
std::string StackOf(const std::string& name) {
  for (const char* experts : {".block_sparse_moe.experts.", ".mlp.experts."}) {
    const size_t at = name.find(experts);
    if (at == std::string::npos) continue;
    const bool is_down = name.ends_with("w2.weight") || name.ends_with("down_proj.weight");
    return name.substr(0, at) + (is_down ? ".mlp.experts.down_proj" : ".mlp.experts.gate_up_proj");
  }
  return "";
}

std::string InMemory(std::string name) {
  constexpr std::string_view kOfMixtral = ".block_sparse_moe.";
  if (const size_t at = name.find(kOfMixtral); at != std::string::npos) name.replace(at, kOfMixtral.size(), ".mlp.");
  return name;
}

// True for a tensor of a layer that predicts several tokens, which transformers does not have in memory.
bool IsBehindLast(const std::string& name, const Config& config) {
  constexpr std::string_view kLayers = "model.layers.";
  return name.starts_with(kLayers) &&
         std::stoll(name.substr(kLayers.size())) >= *config.Find("num_hidden_layers")->AsInt();
}

// Writes the folder `saved` as transformers' state_dict() has it.
void WriteInMemory(const std::string& saved, const std::string& path) {
  auto model = OpenCheckpoint(saved);
  ASSERT_THAT(model, IsOk());
  StateDict state;
  std::map<std::string, std::map<std::string, Tensor>> stacks;  // by name: expert 0's gate, its up, expert 1's gate …
  for (const StateDict::Item& item : model->weights().items()) {
    if (IsBehindLast(item.name, *model->config)) continue;
    const std::string stack = StackOf(item.name);
    if (!stack.empty()) {
      stacks[stack].emplace(item.name, *item.tensor());
    } else {
      ASSERT_THAT(state.Add(InMemory(item.name), item.entry), IsOk());
    }
  }
  for (const auto& [name, parts] : stacks) {
    std::vector<Tensor> tensors;
    for (const auto& [part, tensor] : parts) tensors.push_back(tensor);
    const uint64_t experts = name.ends_with("down_proj") ? tensors.size() : tensors.size() / 2;
    const Shape one = tensors.front().shape();
    const auto all = Tensor::Concat(tensors, 0);
    ASSERT_THAT(all, IsOk());
    ASSERT_THAT(state.Add(name, *all->Reshape({experts, all->shape()[0] / experts, one[1]})), IsOk());
  }
  model->weights() = std::move(state);
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, path, {}), IsOk());
}

// Mixtral, Qwen3-MoE and DeepSeek-V3: to NeMo 2 and back comes what was saved.
TEST(InMemory, ExpertsOfALayerAreOneTensor) {
  for (const char* model : {"decoders/mixtral/hf", "transformers5/qwen3_moe", "mtp/deepseek/ckpt"}) {
    const TempDir temp;
    const std::string stacked = temp.path() + "/stacked", there = temp.path() + "/there", back = temp.path() + "/back";
    std::string saved = Golden(model);
    if (std::string_view(model).ends_with("ckpt")) {
      saved = temp.path() + "/saved";
      Convert(Golden(model), saved, {.to = "hf"});
    }
    WriteInMemory(saved, stacked);
    Convert(stacked, there, {.to = "nemo2"});
    Convert(there, back, {.to = "hf"});
    const Config config = JsonOf(saved + "/config.json");
    Digests expected = DigestsOf(saved);
    std::erase_if(expected, [&](const auto& tensor) { return IsBehindLast(tensor.first, config); });
    EXPECT_EQ(DigestsOf(back), expected) << model;
  }
}

}  // namespace
}  // namespace anemone
