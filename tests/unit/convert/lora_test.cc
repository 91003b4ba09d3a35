// LoRAs merged into their base: what PEFT's own merge makes of both (tests/golden, lora/), whatever the base is stored
// as, and what an adapter of NeMo's says by its config.
#include <cmath>
#include <cstring>
#include <fstream>

#include "anemone/convert.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
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
  for (const auto& [name, changed] :
       {Case{"llama_default", 4}, Case{"llama_all", 14}, Case{"llama_rslora", 14}, Case{"gpt2", 8}}) {
    SCOPED_TRACE(name);
    const TempDir temp;
    const std::string top = Golden(fmt::format("lora/{}", name)), merged = temp.path() + "/merged";
    Convert(top + "/base", merged, {.to = "hf", .lora = {top + "/adapter"}});
    EXPECT_EQ(ExpectNear(merged, top + "/merged", top + "/base"), changed);
  }
}

// The base in NeMo's names, split over ranks and stages; the result back in Hugging Face's.
TEST(Lora, TheBaseMayBeNemos) {
  for (const auto& [name, changed] : {Case{"llama_default", 4}, Case{"llama_all", 14}, Case{"gpt2", 8}}) {
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
  refused("rank_pattern", "{q_proj: 8}");
  refused("peft_type", "IA3");
  EXPECT_THAT(PlanConversion(Golden("lora/gpt2/base"), temp.path() + "/x", {.to = "hf", .lora = {top + "/adapter"}}),
              StatusIs(ErrorKind::kCorrupt, "expected a module"));
  EXPECT_THAT(PlanConversion(top + "/base", temp.path() + "/x", {.to = "hf", .lora = {top + "/base"}}),
              StatusIs(ErrorKind::kNotFound, "expected"));
}

}  // namespace
}  // namespace anemone
