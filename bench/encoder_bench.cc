// The encoders on ViT-L/14 (ANEMONE_BENCH_MODEL=ViT-B-32: on that) with random weights. bench/encoder.py runs this
// beside ONNX Runtime and OpenVINO and gives the ratios. ANEMONE_BENCH_THREADS: threads (2); ANEMONE_BENCH_COMPUTE:
// fp32, bf16 or int8.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string_view>
#include <vector>

#include "../tests/unit/clip/random_weights.h"
#include "anemone/clip.h"

namespace anemone {
namespace {

ClipSpec Spec() {
  ClipSpec spec;
  const char* model = std::getenv("ANEMONE_BENCH_MODEL");
  if (model != nullptr && std::string_view(model) == "ViT-B-32") {
    spec.vision = {.layers = 12, .width = 768, .ffn = 3072, .heads = 12};
    spec.text = {.layers = 12, .width = 512, .ffn = 2048, .heads = 8};
    spec.projection = 512;
    spec.vocab = 49408;
    spec.patch_size = 32;
    return spec;
  }
  spec.vision = {.layers = 24, .width = 1024, .ffn = 4096, .heads = 16};
  spec.text = {.layers = 12, .width = 768, .ffn = 3072, .heads = 12};
  spec.projection = 768;
  spec.vocab = 49408;
  spec.patch_size = 14;
  return spec;
}

ClipModel& Model() {
  static ClipModel model = [] {
    const char* threads = std::getenv("ANEMONE_BENCH_THREADS");
    ClipOptions options;
    options.threads = threads == nullptr ? 2 : std::atoi(threads);
    options.keep_weights = true;
    const char* const compute = std::getenv("ANEMONE_BENCH_COMPUTE");
    const std::string_view precision = compute == nullptr ? "fp32" : compute;
    if (precision == "bf16") options.compute = ClipCompute::kBf16;
    if (precision == "int8") options.compute = ClipCompute::kInt8;
    // The token table is asked for at each call, for the rows used: it is made once.
    const ClipWeights make = testing::RandomWeights(Spec());
    const Tensor tokens = *make("text.token_embedding.weight");
    const auto weights = [=](const std::string& name) -> Result<Tensor> {
      if (name == "text.token_embedding.weight") return tokens;
      return make(name);
    };
    return *ClipModel::Create(Spec(), weights, options);
  }();
  return model;
}

void Image(benchmark::State& state) {
  const auto count = static_cast<uint64_t>(state.range(0));
  const std::vector<float> pixels = testing::RandomValues("vision.head.probe", {count, 3, 224, 224});
  if (!Model().EncodeImages(pixels).ok()) state.SkipWithError("failed");  // reads the weights
  for (auto _ : state) benchmark::DoNotOptimize(Model().EncodeImages(pixels));
}
// One call each, as bench/encoder.py times the others: the least is what the machine can do. CPU time is the process's.
BENCHMARK(Image)->Arg(1)->Arg(16)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime()->Iterations(1);

// 3: as short as labels are. 32: of unequal lengths, 4 to 20 tokens, as bench/encoder.py has them.
void Texts(benchmark::State& state) {
  std::vector<std::vector<int32_t>> texts;
  for (int32_t i = 0; i < state.range(0); ++i) {
    texts.push_back({49406, 320, 1000 + 7 * i});
    if (state.range(0) > 3) texts.back().resize(3 + static_cast<size_t>(i * 5 % 17), 2000 + i);
    texts.back().push_back(49407);
  }
  if (!Model().EncodeTexts(texts).ok()) state.SkipWithError("failed");
  for (auto _ : state) benchmark::DoNotOptimize(Model().EncodeTexts(texts));
}
BENCHMARK(Texts)->Arg(3)->Arg(32)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime()->Iterations(1);

}  // namespace
}  // namespace anemone
