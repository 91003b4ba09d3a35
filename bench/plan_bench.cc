// Planning Nemotron-4-340B from 128 ranks (TP 8 × PP 16) to 32 (TP 4 × PP 8) in memory, with as many more dialects
// registered: who the model is is asked of every name and every dialect.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "engine/plan.h"
#include "family/family.h"
#include "format/format.h"
#include "inspect/hollow.h"
#include "parallel/reshard.h"

namespace anemone {
namespace {

constexpr const char* kConfig = R"(mcore_gpt: true
num_layers: 96
hidden_size: 18432
ffn_hidden_size: 73728
num_attention_heads: 96
num_query_groups: 8
max_position_embeddings: 4096
position_embedding_type: rope
normalization: layernorm1p
activation: squared-relu
bias: false
share_embeddings_and_output_weights: false
make_vocab_size_divisible_by: 128
vocab_size: 256000
)";

// Names of the same form as a real model's, so that nothing tells them apart early.
const Family& Stranger(int64_t number) {
  static std::vector<std::unique_ptr<Family>> all;
  Family& family = *all.emplace_back(std::make_unique<Family>(*FindFamily("gpt")));
  family.name = family.title = fmt::format("stranger-{}", number);
  family.refusals.clear();
  family.dialects.resize(1);
  for (StoredRow& row : family.dialects.front().rows) {
    if (row.name.find("{i}") != std::string::npos) row.name = fmt::format("stranger{}.{}", number, row.name);
  }
  return family;
}

Checkpoint Ranks() {
  const std::string path = std::filesystem::temp_directory_path() / fmt::format("plan_bench.{}.yaml", getpid());
  std::ofstream(path) << kConfig;
  Result<Hollow> hollow = HollowCheckpoint({.family = "gpt", .config = path, .dtype = DType::kBF16});
  std::remove(path.c_str());
  return *SplitShards(hollow->checkpoint, {.tp = 8, .pp = 16});
}

void PlanBench(benchmark::State& state) {
  static int64_t registered = 0;
  for (; registered < state.range(0); ++registered) RegisterFamily(Stranger(registered));
  const Checkpoint ranks = Ranks();
  for (auto _ : state) {
    const auto identity = IdentifyModel(ranks);
    const TranslateOptions known = {.family = identity->family, .dialect = identity->dialect};
    const auto whole = MergeShards(ranks, known);
    const auto split = SplitShards(*whole, {.tp = 4, .pp = 8}, known);
    const Result<Plan> plan = FindFormat("ckpt")->lay_out(*split, {});
    if (!plan.ok() || !Check(*plan).ok()) state.SkipWithError("no plan");
  }
}
BENCHMARK(PlanBench)->Arg(0)->Arg(40)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace anemone
