// The executor against `cp` and fsync, both warm and both durable: a file of float32 tensors becomes one of the same
// tensors with headers between them and a CRC each, as a torch zip inside a tar has. Ratios are read within one run.
//   ANEMONE_BENCH_DIR    where to work (default: the temporary directory); needs twice the bytes
//   ANEMONE_BENCH_BYTES  of the source (default 1.7e9)
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "engine/execute.h"

namespace anemone {
namespace {

std::string Directory() {
  const char* directory = std::getenv("ANEMONE_BENCH_DIR");
  return directory != nullptr ? directory : std::filesystem::temp_directory_path().string();
}

uint64_t SourceBytes() {
  const char* bytes = std::getenv("ANEMONE_BENCH_BYTES");
  return bytes != nullptr ? std::strtoull(bytes, nullptr, 10) : 1'700'000'000;
}

const std::string& SourcePath() {
  static const std::string path = [] {
    std::string made = Directory() + "/anemone-bench-source";
    std::vector<uint64_t> block(1 << 17);
    std::mt19937_64 random(1);
    for (uint64_t& word : block) word = random();
    std::ofstream out(made, std::ios::binary);
    for (uint64_t at = 0; at < SourceBytes(); at += block.size() * 8) {
      out.write(reinterpret_cast<const char*>(block.data()),
                static_cast<std::streamsize>(std::min<uint64_t>(block.size() * 8, SourceBytes() - at)));
    }
    out.close();
    std::atexit([] { std::filesystem::remove(Directory() + "/anemone-bench-source"); });
    ::sync();
    return made;
  }();
  return path;
}

std::string OutputPath() { return Directory() + "/anemone-bench-output"; }

// Tensors of sizes as a ViT-L/14 has them, one after the other.
PlanFile Tensors(const ByteSourcePtr& source, DType dtype, bool crc) {
  PlanFile file;
  constexpr uint64_t kSizes[] = {4 << 20, 1024, 3 << 20, 3072, 1 << 20, 1024, 4 << 20, 4096};
  uint64_t at = 0;
  for (size_t i = 0; at < source->size_bytes(); ++i) {
    const uint64_t elements = std::min((source->size_bytes() - at) / 4, kSizes[i % std::size(kSizes)]);
    if (elements == 0) break;
    const Result<Tensor> tensor = Tensor::FromFile(DType::kF32, {elements}, source, at);
    const uint64_t header = file.size;
    file.Append(std::string(64 + i % 64, '\0'));
    file.Append(*tensor->Cast(dtype));
    if (crc) file.crcs.push_back({header + 64 + i % 64, file.size - header - 64 - i % 64, {header + 14}});
    at += elements * 4;
  }
  return file;
}

void RunExecute(benchmark::State& state, DType dtype, bool crc) {
  const Result<ByteSourcePtr> source = OpenFile(SourcePath());
  Plan plan;
  plan.files.push_back(Tensors(*source, dtype, crc));
  for (auto _ : state) {
    state.PauseTiming();
    std::filesystem::remove(OutputPath());
    ::sync();
    state.ResumeTiming();
    const Status status = Execute(plan, OutputPath(), {});
    if (!status.ok()) state.SkipWithError(status.message().c_str());
  }
  std::filesystem::remove(OutputPath());
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  state.counters["max_rss_MiB"] = static_cast<double>(usage.ru_maxrss) / 1024;
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(SourceBytes()));
}

void BM_Copy(benchmark::State& state) {
  const std::string copy = "cp '" + SourcePath() + "' '" + OutputPath() + "'";
  for (auto _ : state) {
    state.PauseTiming();
    std::filesystem::remove(OutputPath());
    ::sync();
    state.ResumeTiming();
    if (std::system(copy.c_str()) != 0) state.SkipWithError("cp failed");
    const int fd = ::open(OutputPath().c_str(), O_RDONLY);
    ::fsync(fd);
    ::close(fd);
  }
  std::filesystem::remove(OutputPath());
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(SourceBytes()));
}
BENCHMARK(BM_Copy)->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(1)->Repetitions(3);

void BM_ExecuteWithCrcs(benchmark::State& state) { RunExecute(state, DType::kF32, true); }
BENCHMARK(BM_ExecuteWithCrcs)->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(1)->Repetitions(3);

void BM_ExecuteByKernel(benchmark::State& state) { RunExecute(state, DType::kF32, false); }
BENCHMARK(BM_ExecuteByKernel)->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(1)->Repetitions(3);

void BM_ExecuteToBf16(benchmark::State& state) { RunExecute(state, DType::kBF16, true); }
BENCHMARK(BM_ExecuteToBf16)->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(1)->Repetitions(3);

}  // namespace
}  // namespace anemone
