// LoRAs merged into their base: what PEFT's own merge makes of both (tests/golden, lora/), whatever the base is stored
// as, and what an adapter of NeMo's says by its config.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "anemone/convert.h"
#include "anemone/save.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/hollow_model.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

std::vector<float> Floats(const Tensor& tensor) {
  const auto bytes = tensor.Read();
  EXPECT_THAT(bytes, IsOk());
  std::vector<float> values(bytes->size() / sizeof(float));
  std::memcpy(values.data(), bytes->data(), values.size() * sizeof(float));
  return values;
}

// Float by float: PEFT multiplies and adds in single precision, anemone in double, rounded once. `changed`: how many
// tensors are others than the base's.
size_t ExpectNear(const std::string& found, const std::string& expected, const std::string& base) {
  const auto ours = OpenCheckpoint(found), theirs = OpenCheckpoint(expected), before = OpenCheckpoint(base);
  EXPECT_THAT(ours, IsOk());
  EXPECT_THAT(theirs, IsOk());
  EXPECT_THAT(before, IsOk());
  EXPECT_EQ(ours->weights().size(), theirs->weights().size());
  size_t changed = 0;
  for (const StateDict::Item& item : theirs->weights().items()) {
    const StateDict::Item* own = ours->weights().Find(item.name);
    if (own == nullptr) {
      ADD_FAILURE() << item.name;
      continue;
    }
    const auto a = Floats(*own->tensor()), b = Floats(*item.tensor());
    const auto c = Floats(*before->weights().Find(item.name)->tensor());
    EXPECT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i)
      EXPECT_LE(std::abs(a[i] - b[i]), 4e-7 * std::max(1.0F, std::abs(b[i]))) << item.name << " " << i;
    if (b == c) {
      EXPECT_EQ(a, c) << item.name;
    }
    changed += a != c;
  }
  return changed;
}

struct Case {
  const char* name;
  size_t changed;
};

TEST(Lora, MergesAsPeftDoes) {
  for (const auto& [name, changed] : {Case{"llama_default", 4}, Case{"llama_all", 14}, Case{"llama_rslora", 14},
                                      Case{"gpt2", 8}, Case{"llama_head", 4}, Case{"llava", 9}}) {
    SCOPED_TRACE(name);
    const TempDir temp;
    const std::string top = Golden(fmt::format("lora/{}", name)), merged = temp.path() + "/merged";
    Convert(top + "/base", merged, {.to = "hf", .lora = {top + "/adapter"}});
    EXPECT_EQ(ExpectNear(merged, top + "/merged", top + "/base"), changed);
  }
}

// The base in NeMo's names, split over ranks and stages; the result back in Hugging Face's.
TEST(Lora, TheBaseMayBeNemos) {
  for (const auto& [name, changed] :
       {Case{"llama_default", 4}, Case{"llama_all", 14}, Case{"gpt2", 8}, Case{"llama_head", 4}, Case{"llava", 9}}) {
    SCOPED_TRACE(name);
    const TempDir temp;
    const std::string top = Golden(fmt::format("lora/{}", name)), nemo = temp.path() + "/base.nemo",
                      with = temp.path() + "/with.nemo", back = temp.path() + "/back";
    Convert(top + "/base", nemo, {.tp = 2, .pp = 2});
    Convert(nemo, with, {.lora = {top + "/adapter"}});
    Convert(with, back, {.to = "hf"});
    EXPECT_EQ(ExpectNear(back, top + "/merged", top + "/base"), changed);
  }
}

// What NeMo v2.0.0's own classes adapt, by its definition, computed elsewhere: the same bits, whoever stores the base.
TEST(Lora, NemosAdaptersMergeBitForBit) {
  for (const char* name : {"nemo_fused", "nemo_unfused"}) {
    SCOPED_TRACE(name);
    const TempDir temp;
    const std::string base = Golden("decoders/llama/hf"), adapter = Golden(fmt::format("lora/{}.nemo", name)),
                      merged = temp.path() + "/merged", nemo = temp.path() + "/base.nemo", back = temp.path() + "/back";
    const Digests expected = Listed(Golden(fmt::format("lora/{}.sha256", name)));
    Convert(base, merged, {.to = "hf", .lora = {adapter}});
    EXPECT_EQ(DigestsOf(merged), expected);
    Convert(base, nemo, {});
    Convert(nemo, back, {.to = "hf", .lora = {adapter}});
    EXPECT_EQ(DigestsOf(back), expected);
  }
}

// An adapter of one tensor rank, as two would store it [NeMo v2.0.0 parallel_adapters.py].
Checkpoint OnTwoRanks(const Checkpoint& whole) {
  Checkpoint split = whole;
  split.layout.tp = 2;
  split.config->root()["tensor_model_parallel_size"] = ConfigNode::Int(2);
  split.shards = {Shard(), Shard()};
  for (const StateDict::Item& item : whole.weights().items()) {
    const Tensor& tensor = *item.tensor();
    const bool sums =
        item.name.find("dense_attention") != std::string::npos || item.name.find("4htoh") != std::string::npos;
    const bool is_in = item.name.ends_with("linear_in.weight");
    const size_t axis = is_in && sums ? 1 : 0;
    const uint64_t half = tensor.shape()[axis] / 2;
    for (const uint64_t rank : {0, 1}) {
      Tensor part = *tensor.Narrow(axis, rank * half, half);
      if (!is_in && item.name.find("lora_hto4h") != std::string::npos) {
        const uint64_t quarter = half / 2;
        part = *Tensor::Concat(
            {*tensor.Narrow(0, rank * quarter, quarter), *tensor.Narrow(0, half + rank * quarter, quarter)}, 0);
      }
      split.shards[rank].tp_rank = static_cast<int>(rank);
      EXPECT_THAT(split.shards[rank].weights.Add(item.name, part), IsOk());
    }
  }
  return split;
}

TEST(Lora, PiecesOfTensorRanksAreJoined) {
  const TempDir temp;
  const std::string two = temp.path() + "/two.nemo", merged = temp.path() + "/merged";
  const auto whole = OpenCheckpoint(Golden("lora/nemo_fused.nemo"));
  ASSERT_THAT(whole, IsOk());
  const auto plan = FindFormat("nemo")->lay_out(OnTwoRanks(*whole), {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, two, {}), IsOk());
  Convert(Golden("decoders/llama/hf"), merged, {.to = "hf", .lora = {two}});
  EXPECT_EQ(DigestsOf(merged), Listed(Golden("lora/nemo_fused.sha256")));
}

std::string With(const std::string& source, const TempDir& temp, const char* key, const char* yaml) {
  return WithKey(source, fmt::format("{}/{}", temp.path(), key), "adapter_config.json", key, yaml);
}

// merge_and_unload() is no way out of adapters that it refuses [peft 0.21.2].
TEST(Lora, WhatPeftMergesIsToldTrue) {
  const std::string top = Golden("lora/llama_default");
  const auto hint = [&](const char* key, const char* value) {
    const TempDir temp;
    return PlanConversion(top + "/base", temp.path() + "/x",
                          {.to = "hf", .lora = {With(top + "/adapter", temp, key, value)}})
        .status()
        .error()
        .hint;
  };
  for (const char* kind : {"PREFIX_TUNING", "CARTRIDGE", "POLY", "LILY", "SHADOW", "XLORA"})
    EXPECT_THAT(hint("peft_type", kind), ::testing::StartsWith("peft alone runs it")) << kind;
  for (const char* kind : {"IA3", "LOHA", "BOFT"})
    EXPECT_THAT(hint("peft_type", kind), ::testing::StartsWith("peft's merge_and_unload() makes")) << kind;
  EXPECT_THAT(hint("alora_invocation_tokens", "[1, 2]"), ::testing::StartsWith("peft alone runs it"));
  EXPECT_THAT(hint("use_qalora", "true"), ::testing::StartsWith("peft alone runs it"));
  EXPECT_THAT(hint("lora_bias", "true"), ::testing::HasSubstr("where the adapted layers of the base have biases"));
  EXPECT_THAT(hint("use_dora", "true"), ::testing::EndsWith("convert that"));
}

TEST(Lora, WhatIsNotCarriedIsRefusedByName) {
  const TempDir temp;
  const std::string top = Golden("lora/llama_default");
  const auto refused = [&](const char* key, const char* value) {
    EXPECT_THAT(PlanConversion(top + "/base", temp.path() + "/x",
                               {.to = "hf", .lora = {With(top + "/adapter", temp, key, value)}}),
                StatusIs(ErrorKind::kUnsupported, key));
  };
  refused("use_dora", "true");
  refused("bias", "all");
  refused("peft_type", "IA3");
  // The kind is told, whatever other keys such a kind has.
  const TempDir kind, other;
  const std::string adapter = With(top + "/adapter", kind, "peft_type", "IA3");
  EXPECT_THAT(PlanConversion(top + "/base", temp.path() + "/x",
                             {.to = "hf", .lora = {With(adapter, temp, "a_key_of_its_own", "[down_proj]")}}),
              StatusIs(ErrorKind::kUnsupported, "peft_type: expected LORA, found IA3"));
  EXPECT_THAT(PlanConversion(top + "/base", temp.path() + "/x",
                             {.to = "hf", .lora = {With(top + "/adapter", other, "peft_type", "PROMPT_TUNING")}})
                  .status()
                  .error()
                  .hint,
              ::testing::HasSubstr("peft alone runs it"));
  refused("modules_to_save", "[lm_head]");
  refused("layer_replication", "[[0, 2]]");
  refused("trainable_token_indices", "[1]");
  EXPECT_THAT(PlanConversion(
                  top + "/base", temp.path() + "/x",
                  {.to = "hf", .lora = {With(top + "/adapter", temp, "target_parameters", "[mlp.experts.down_proj]")}}),
              StatusIs(ErrorKind::kUnsupported, "target_parameters: expected [], found [mlp.experts.down_proj]"));
  refused("velora_config", "{groups: 2}");
  refused("a_key_of_tomorrow", "7");
  refused("init_lora_weights", "pissa");
  EXPECT_THAT(PlanConversion(Golden("lora/gpt2/base"), temp.path() + "/x", {.to = "hf", .lora = {top + "/adapter"}}),
              StatusIs(ErrorKind::kCorrupt, "expected a module"));
  EXPECT_THAT(PlanConversion(top + "/base", temp.path() + "/x", {.to = "hf", .lora = {top + "/base"}}),
              StatusIs(ErrorKind::kNotFound, "expected"));
}

// PEFT's own adapter, one of its tensors another.
std::string WithTensor(const std::string& adapter, const TempDir& temp, const std::string& name, const Tensor& tensor) {
  const std::string folder = temp.path() + "/" + name;
  Checkpoint changed = *OpenCheckpoint(adapter);
  StateDict weights;
  for (const StateDict::Item& item : changed.weights().items())
    EXPECT_THAT(weights.Add(item.name, item.name == name ? Entry(tensor) : item.entry), IsOk());
  EXPECT_THAT(weights.Find(name), ::testing::NotNull());
  changed.weights() = std::move(weights);
  std::filesystem::create_directories(folder);
  const auto plan = FindFormat("safetensors")->lay_out(changed, {});
  EXPECT_THAT(plan, IsOk());
  EXPECT_THAT(Execute(*plan, folder + "/adapter_model.safetensors", {}), IsOk());
  std::filesystem::copy(adapter + "/adapter_config.json", folder);
  return folder;
}

TEST(Lora, OfAnEmbedding) {
  const TempDir temp;
  const auto plan = [&](const std::string& base, const std::string& adapter) {
    return PlanConversion(Golden("lora/" + base + "/base"), temp.path() + "/x", {.to = "hf", .lora = {adapter}});
  };
  EXPECT_THAT(plan("llama_tied", Golden("lora/llama_tied/adapter")),
              StatusIs(ErrorKind::kUnsupported,
                       "model.embed_tokens.weight: expected a weight of its own, found one that "
                       "is lm_head.weight as well"));
  EXPECT_THAT(plan("llama_tied", Golden("lora/llama_head/adapter")),
              StatusIs(ErrorKind::kUnsupported, "expected the base's"));
  const std::string adapter = Golden("lora/llama_head/adapter"), head = "base_model.model.lm_head.";
  EXPECT_THAT(plan("llama_head",
                   WithTensor(adapter, temp, head + "base_layer.weight", *Tensor::Fill(DType::kF32, {32, 16}, 1))),
              StatusIs(ErrorKind::kUnsupported, "lm_head.weight: expected the base's, which the adapter has as well"));
  EXPECT_THAT(plan("llama_head",
                   WithTensor(adapter, temp, head + "lora_A.weight", *Tensor::Fill(DType::kF32, {3, 16, 1, 1}, 1))),
              StatusIs(ErrorKind::kUnsupported, "lora_A.weight: expected a matrix, found [3, 16, 1, 1]"));
  EXPECT_THAT(PlanConversion(adapter, temp.path() + "/x.nemo", {.base = Golden("lora/llama_head/base")}),
              StatusIs(ErrorKind::kUnsupported, "lm_head.weight: expected an adapter of a layer"));
}

// peft's save_pretrained(save_embedding_layers=True), and of itself where the vocabulary grew.
TEST(Lora, EmbeddingsBesideItAreTheBases) {
  const TempDir temp;
  const std::string base = Golden("lora/llama_default/base"), adapter = Golden("lora/llama_default/adapter");
  const auto with = [&](const char* folder, const Tensor& embedding) {
    Checkpoint changed = *OpenCheckpoint(adapter);
    EXPECT_THAT(changed.weights().Add("base_model.model.model.embed_tokens.weight", embedding), IsOk());
    const std::string path = temp.path() + "/" + folder;
    std::filesystem::create_directories(path);
    const auto plan = FindFormat("safetensors")->lay_out(changed, {});
    EXPECT_THAT(plan, IsOk());
    EXPECT_THAT(Execute(*plan, path + "/adapter_model.safetensors", {}), IsOk());
    std::filesystem::copy(adapter + "/adapter_config.json", path);
    return path;
  };
  const Checkpoint model = *OpenCheckpoint(base);
  const Tensor own = *model.weights().Find("model.embed_tokens.weight")->tensor();
  const std::string same = with("same", own), other = with("other", *Tensor::Fill(own.dtype(), own.shape(), 1));
  EXPECT_THAT(PlanConversion(base, temp.path() + "/x", {.to = "hf", .lora = {same}}), IsOk());
  EXPECT_THAT(PlanConversion(base, temp.path() + "/x", {.to = "hf", .lora = {other}}),
              StatusIs(ErrorKind::kUnsupported, "model.embed_tokens.weight: expected the base's"));
  EXPECT_THAT(PlanConversion(same, temp.path() + "/x.nemo", {.base = base}),
              StatusIs(ErrorKind::kUnsupported, "found a weight of the model beside them"));
}

// ---- mixtures of experts ----

constexpr const char* kMixtures[] = {
    "{architectures: [MixtralForCausalLM], model_type: mixtral, hidden_size: 12, num_hidden_layers: 2, "
    "num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 20, vocab_size: 31, num_local_experts: 3, "
    "torch_dtype: float32}",
    "{architectures: [Qwen3MoeForCausalLM], model_type: qwen3_moe, hidden_size: 12, num_hidden_layers: 2, "
    "num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 20, moe_intermediate_size: 6, head_dim: 5, "
    "vocab_size: 31, num_experts: 4, num_experts_per_tok: 2, norm_topk_prob: true, torch_dtype: float32}",
    "{architectures: [DeepseekV2ForCausalLM], model_type: deepseek_v2, hidden_size: 12, num_hidden_layers: 2, "
    "num_attention_heads: 4, num_key_value_heads: 4, intermediate_size: 20, moe_intermediate_size: 6, "
    "q_lora_rank: null, kv_lora_rank: 5, qk_nope_head_dim: 4, qk_rope_head_dim: 2, v_head_dim: 3, vocab_size: 31, "
    "n_routed_experts: 4, n_shared_experts: 2, num_experts_per_tok: 2, first_k_dense_replace: 1, torch_dtype: float32}",
};

void WriteMixture(const char* yaml, const std::string& folder) {
  const auto config = Config::ParseYaml(yaml, "test");
  ASSERT_THAT(config, IsOk());
  const auto model = Hollow(config->root());
  ASSERT_THAT(model, IsOk());
  const auto conversion = PlanSave(*model, folder, {.to = "hf"});
  ASSERT_THAT(conversion, IsOk());
  ASSERT_THAT(RunConversion(*conversion, {}), IsOk());
}

// Adds 4 to every element of each weight of `base` whose name has one of these words.
void WriteAdapter(const std::string& base, const std::vector<std::string>& words, const std::string& folder) {
  const auto model = OpenCheckpoint(base);
  ASSERT_THAT(model, IsOk());
  Checkpoint adapter;
  StateDict& weights = adapter.shards.emplace_back().weights;
  for (const StateDict::Item& item : model->weights().items()) {
    const auto has = [&](const std::string& word) { return item.name.find(word) != std::string::npos; };
    if (std::ranges::none_of(words, has)) continue;
    const std::string module = "base_model.model." + item.name.substr(0, item.name.size() - 7);
    const Shape& shape = item.tensor()->shape();
    ASSERT_THAT(weights.Add(module + ".lora_A.weight", *Tensor::Fill(DType::kF32, {2, shape[1]}, 0.5)), IsOk());
    ASSERT_THAT(weights.Add(module + ".lora_B.weight", *Tensor::Fill(DType::kF32, {shape[0], 2}, 2)), IsOk());
  }
  std::filesystem::create_directories(folder);
  const auto plan = FindFormat("safetensors")->lay_out(adapter, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, folder + "/adapter_model.safetensors", {}), IsOk());
  std::ofstream(folder + "/adapter_config.json") << R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4})";
}

void ExpectFourMore(const std::string& merged, const std::string& base, const std::vector<std::string>& words) {
  const auto found = OpenCheckpoint(merged), before = OpenCheckpoint(base);
  ASSERT_THAT(found, IsOk());
  ASSERT_THAT(before, IsOk());
  size_t adapted = 0;
  for (const StateDict::Item& item : before->weights().items()) {
    const auto has = [&](const std::string& word) { return item.name.find(word) != std::string::npos; };
    const bool is_adapted = std::ranges::any_of(words, has);
    adapted += is_adapted;
    std::vector<float> expected = Floats(*item.tensor());
    for (float& value : expected) value += is_adapted ? 4 : 0;
    ASSERT_NE(found->weights().Find(item.name), nullptr) << item.name;
    EXPECT_EQ(Floats(*found->weights().Find(item.name)->tensor()), expected) << item.name;
  }
  EXPECT_GT(adapted, 6U);
}

TEST(Lora, OfExpertsMerges) {
  const std::vector<std::string> words = {"experts.", ".gate.weight", "o_proj"};
  for (const char* mixture : kMixtures) {
    SCOPED_TRACE(mixture);
    const TempDir temp;
    const std::string base = temp.path() + "/base", adapter = temp.path() + "/adapter", nemo2 = temp.path() + "/nemo2",
                      merged = temp.path() + "/merged", other = temp.path() + "/other";
    WriteMixture(mixture, base);
    WriteAdapter(base, words, adapter);
    Convert(base, merged, {.to = "hf", .lora = {adapter}});
    ExpectFourMore(merged, base, words);
    Convert(base, nemo2, {.to = "nemo2"});
    Convert(nemo2, other, {.to = "hf", .lora = {adapter}});
    ExpectFourMore(other, base, words);
  }
}

// NeMo 2 adapts single experts, NeMo 1 none, and neither the router.
TEST(Lora, OfExpertsAloneGoesToNemoTwo) {
  const TempDir temp;
  const std::string base = temp.path() + "/base", adapter = temp.path() + "/adapter", router = temp.path() + "/router",
                    nemo2 = temp.path() + "/nemo2", merged = temp.path() + "/merged";
  WriteMixture(kMixtures[1], base);
  WriteAdapter(base, {"experts."}, adapter);
  WriteAdapter(base, {".gate.weight"}, router);
  Convert(adapter, nemo2, {.to = "nemo2", .base = base});
  Convert(base, merged, {.to = "hf", .lora = {nemo2}});
  ExpectFourMore(merged, base, {"experts."});
  const std::string out = temp.path() + "/out";
  EXPECT_THAT(PlanConversion(adapter, out, {.to = "nemo", .base = base}),
              StatusIs(ErrorKind::kUnsupported, "expected a module that NeMo adapts"));
  EXPECT_THAT(PlanConversion(router, out, {.to = "nemo2", .base = base}),
              StatusIs(ErrorKind::kUnsupported, "mlp.router.weight: expected a module that NeMo adapts"));
}

// Ranks and alphas of single modules, by the end of their names [peft utils/other.py, get_pattern_key].
TEST(Lora, PatternsOfAlphaAndRank) {
  const TempDir temp;
  const std::string top = Golden("lora/llama_default"), base = top + "/base", plain = temp.path() + "/plain";
  Convert(base, plain, {.to = "hf", .lora = {top + "/adapter"}});
  const auto merged = [&](const char* copy, const char* key, const char* yaml) {
    const std::string adapter = WithKey(top + "/adapter", temp.path() + "/" + copy, "adapter_config.json", key, yaml);
    Convert(base, adapter + ".merged", {.to = "hf", .lora = {adapter}});
    return DigestsOf(adapter + ".merged");
  };
  const Digests before = DigestsOf(plain);
  // alpha 8 is what all have.
  EXPECT_EQ(merged("same", "alpha_pattern", "{q_proj: 8}"), before);
  EXPECT_EQ(merged("other", "alpha_pattern", "{o_proj: 3, 'j': 3}"), before);
  const Digests changed = merged("one", "alpha_pattern", "{'layers\\.[01]\\.self_attn\\.q_proj': 0, v_proj: 8}"),
                of_base = DigestsOf(base);
  for (const auto& [name, digest] : changed) {
    const bool is_query = name.find("q_proj") != std::string::npos;
    EXPECT_EQ(digest, is_query ? of_base.at(name) : before.at(name)) << name;
  }
  EXPECT_THAT(PlanConversion(base, temp.path() + "/x",
                             {.to = "hf", .lora = {With(top + "/adapter", temp, "rank_pattern", "{q_proj: 8}")}}),
              StatusIs(ErrorKind::kCorrupt, "rank 8, found 4"));
}

// Conv1D's weights are stored [in, out], whatever fan_in_fan_out says: PEFT goes by the module.
TEST(Lora, TheModuleSaysHowItsWeightIsStored) {
  const TempDir temp;
  const std::string top = Golden("lora/gpt2"), with = temp.path() + "/with", without = temp.path() + "/without";
  Convert(top + "/base", with, {.to = "hf", .lora = {top + "/adapter"}});
  Convert(top + "/base", without, {.to = "hf", .lora = {With(top + "/adapter", temp, "fan_in_fan_out", "false")}});
  EXPECT_EQ(DigestsOf(with), DigestsOf(without));
}

// ---- adapters alone ----

Digests MergedWith(const std::string& base, const std::string& adapter) {
  Convert(base, adapter + ".merged", {.to = "hf", .lora = {adapter}});
  return DigestsOf(adapter + ".merged");
}

// Merged, an adapter is the same whoever stores it: PEFT → NeMo 1 and 2 → PEFT. Parts of a fused layer that do not
// share their first matrix get rows of their own in NeMo's.
TEST(Lora, AnAdapterAloneGoesToNemoAndBack) {
  for (const char* name : {"llama_default", "llama_all", "llama_rslora", "gpt2"}) {
    SCOPED_TRACE(name);
    const TempDir temp;
    const std::string top = Golden(fmt::format("lora/{}", name)), base = top + "/base", nemo = temp.path() + "/a.nemo",
                      nemo2 = temp.path() + "/nemo2", back = temp.path() + "/back", merged = temp.path() + "/merged";
    Convert(base, merged, {.to = "hf", .lora = {top + "/adapter"}});
    const Digests expected = DigestsOf(merged);
    Convert(top + "/adapter", nemo, {.base = base});
    EXPECT_EQ(MergedWith(base, nemo), expected);
    Convert(top + "/adapter", nemo2, {.to = "nemo2", .base = base});
    EXPECT_EQ(MergedWith(base, nemo2), expected);
    Convert(nemo2, back, {.to = "peft"});
    EXPECT_EQ(MergedWith(base, back), expected);
  }
}

// NeMo 1 → PEFT and NeMo 2, without the base: fused layers become their parts, which share the first matrix.
TEST(Lora, NemosAdaptersBecomePefts) {
  for (const char* name : {"nemo_fused", "nemo_unfused"}) {
    SCOPED_TRACE(name);
    const TempDir temp;
    const std::string base = Golden("decoders/llama/hf"), adapter = Golden(fmt::format("lora/{}.nemo", name)),
                      peft = temp.path() + "/peft", nemo2 = temp.path() + "/nemo2", back = temp.path() + "/back.nemo";
    const Digests expected = Listed(Golden(fmt::format("lora/{}.sha256", name)));
    Convert(adapter, peft, {.to = "peft"});
    EXPECT_EQ(MergedWith(base, peft), expected);
    const Config config = JsonOf(peft + "/adapter_config.json");
    EXPECT_EQ(config.root().Get("r")->AsInt(), 8);
    EXPECT_EQ(config.root().Get("lora_alpha")->AsInt(), 12);
    EXPECT_EQ(config.root().Get("target_modules")->list.size(), 7U);
    EXPECT_EQ(OpenCheckpoint(peft)->weights().size(), 28U);
    Convert(adapter, nemo2, {.to = "nemo2"});
    EXPECT_EQ(MergedWith(base, nemo2), expected);
    Convert(nemo2, back, {});
    EXPECT_EQ(MergedWith(base, back), expected);
  }
  const TempDir temp;
  const std::string peft = temp.path() + "/peft", nemo = temp.path() + "/nemo.nemo", again = temp.path() + "/again";
  Convert(Golden("lora/nemo_fused.nemo"), peft, {.to = "peft"});
  Convert(peft, nemo, {.base = Golden("decoders/llama/hf")});
  EXPECT_EQ(DigestsOf(nemo), DigestsOf(Golden("lora/nemo_fused.nemo")));
  Convert(nemo, again, {.to = "peft"});
  EXPECT_EQ(DigestsOf(again), DigestsOf(peft));
}

// A stage of NeMo 1 numbers its layers from 0.
TEST(Lora, LayersOfStagesAreCountedOn) {
  const TempDir temp;
  const std::string two = temp.path() + "/two.nemo";
  const auto whole = OpenCheckpoint(Golden("lora/nemo_fused.nemo"));
  ASSERT_THAT(whole, IsOk());
  Checkpoint split = *whole;
  split.layout.pp = 2;
  split.config->root()["pipeline_model_parallel_size"] = ConfigNode::Int(2);
  split.shards = {Shard(), Shard()};
  split.shards[1].pp_rank = 1;
  for (const StateDict::Item& item : whole->weights().items()) {
    const size_t at = item.name.find(".layers.") + 8;
    std::string name = item.name;
    name[at] = '0';
    EXPECT_THAT(split.shards[item.name[at] - '0'].weights.Add(name, *item.tensor()), IsOk());
  }
  const auto plan = FindFormat("nemo")->lay_out(split, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, two, {}), IsOk());
  EXPECT_EQ(MergedWith(Golden("decoders/llama/hf"), two), Listed(Golden("lora/nemo_fused.sha256")));
}

// A model of the first layer of `base` at `path`.
std::string WithoutLayer1(const std::string& base, const std::string& path) {
  auto model = OpenCheckpoint(base);
  EXPECT_THAT(model, IsOk());
  StateDict first;
  for (const StateDict::Item& item : model->weights().items()) {
    if (item.name.starts_with("model.layers.1.")) continue;
    EXPECT_THAT(first.Add(item.name, item.entry), IsOk());
  }
  model->weights() = std::move(first);
  model->config->root()["num_hidden_layers"] = ConfigNode::Int(1);
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  EXPECT_THAT(plan, IsOk());
  EXPECT_THAT(Execute(*plan, path, {}), IsOk());
  return path;
}

TEST(Lora, WhatAnAdapterAloneCannotBecome) {
  const TempDir temp;
  const std::string top = Golden("lora/llama_all"), adapter = top + "/adapter", base = top + "/base",
                    out = temp.path() + "/out";
  const auto convert = [&](const std::string& source, const ConvertOptions& options) {
    return PlanConversion(source, out, options);
  };
  EXPECT_THAT(convert(base, {.to = "peft"}), StatusIs(ErrorKind::kUnsupported, "expected a LoRA alone"));
  EXPECT_THAT(convert(adapter, {.to = "hf"}), StatusIs(ErrorKind::kUnsupported, "found a LoRA alone"));
  EXPECT_THAT(convert(adapter, {.to = "nemo"}), StatusIs(ErrorKind::kNotFound, "the model that is adapted"));
  EXPECT_THAT(convert(base, {.to = "nemo", .base = base}), StatusIs(ErrorKind::kInvalidArgument, "LoRA alone"));
  EXPECT_THAT(convert(adapter, {.to = "nemo", .base = Golden("decoders/llama/hf")}),
              StatusIs(ErrorKind::kCorrupt, "as the base has it"));
  const std::string fewer = WithoutLayer1(base, temp.path() + "/fewer");
  EXPECT_THAT(convert(adapter, {.to = "nemo", .base = fewer}),
              StatusIs(ErrorKind::kCorrupt, "expected one of the base's 1 layers, found layer 1"));
  EXPECT_THAT(convert(With(adapter, temp, "alpha_pattern", "{q_proj: 8}"), {.to = "nemo", .base = base}),
              StatusIs(ErrorKind::kUnsupported, "alpha / rank"));
}

// PEFT's names of the parts, added by NeMo 2's CanonicalLoRA to other rows than they say.
TEST(Lora, PartsOfNemo2GoByTheirOrder) {
  const TempDir temp;
  const std::string nemo2 = temp.path() + "/nemo2";
  Convert(Golden("lora/nemo_fused.nemo"), nemo2, {.to = "nemo2"});
  const auto opened = OpenCheckpoint(nemo2);
  ASSERT_THAT(opened, IsOk());
  Checkpoint canonical = *opened;
  canonical.shards = {Shard()};
  const auto add = [&](const char* part, uint64_t rows) {
    for (const auto& [matrix, shape] : {std::pair{"linear_in", Shape{2, 64}}, {"linear_out", Shape{rows, 2}}}) {
      EXPECT_THAT(canonical.weights().Add(fmt::format("model.decoder.layers.0.{}.{}.weight", part, matrix),
                                          *Tensor::Fill(DType::kF32, shape, 0.5)),
                  IsOk());
    }
  };
  add("mlp.linear_fc1.adapter.adapter_up", 176);
  const std::string base = Golden("decoders/llama/hf");
  const auto merge = [&](const std::string& name) {
    const std::string path = fmt::format("{}/{}", temp.path(), name);
    const auto plan = FindFormat("nemo2")->lay_out(canonical, {});
    EXPECT_THAT(plan, IsOk());
    EXPECT_THAT(Execute(*plan, path, {}), IsOk());
    return PlanConversion(base, path + ".merged", {.to = "hf", .lora = {path}});
  };
  const auto up = merge("up");
  ASSERT_THAT(up, IsOk());
  const std::string adapted = "model.layers.0.mlp.up_proj.weight";
  EXPECT_NE(Floats(*up->result.weights().Find(adapted)->tensor()),
            Floats(*OpenCheckpoint(base)->weights().Find(adapted)->tensor()));
  add("self_attention.linear_qkv.adapter.adapter_q", 64);
  EXPECT_THAT(merge("q"), StatusIs(ErrorKind::kUnsupported, "adapter_q"));
}

}  // namespace
}  // namespace anemone
