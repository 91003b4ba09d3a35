// cat SRC NAME: one tensor, as .npy, as raw bytes, or in words.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/listing.h"
#include "base/nearest.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "container/npy.h"
#include "engine/sources.h"
#include "parallel/reshard.h"
#include "source/source.h"
#include "tensor/layout_text.h"

namespace anemone::cli {
namespace {

struct Options {
  std::string source;
  std::string name;
  std::string rank;  // "tp0 pp1": of a checkpoint split over ranks
  bool raw = false;
  bool summary = false;
};

// Elements of `tensor` in C order, window by window.
Status ForEachWindow(const Tensor& tensor, const std::function<void(const std::string& bytes)>& take) {
  constexpr uint64_t kWindow = uint64_t{1} << 20;
  if (IsPacked(tensor.dtype())) {
    ANEMONE_ASSIGN(const std::string bytes, tensor.Read());
    take(bytes);
    return {};
  }
  ANEMONE_ASSIGN(const Tensor flat, tensor.Reshape({tensor.num_elements()}));
  for (uint64_t at = 0; at < flat.num_elements(); at += kWindow) {
    ANEMONE_ASSIGN(const Tensor window, flat.Narrow(0, at, std::min(kWindow, flat.num_elements() - at)));
    ANEMONE_ASSIGN(const std::string bytes, window.Read());
    take(bytes);
    if (Heed() != 0) return Interrupted();
  }
  return {};
}

// The file that a tensor was read from is the one that was opened.
Status CheckSame(const Tensor& tensor) {
  Sources sources;
  sources.Add(tensor);
  return sources.CheckUnchanged();
}

Status PrintSummary(const std::string& name, const Tensor& tensor) {
  std::vector<std::vector<std::string>> rows = {{"name", OneLine(name)},
                                                {"dtype", std::string(Name(tensor.dtype()))},
                                                {"shape", ToString(tensor.shape())},
                                                {"size", HumanBytes(tensor.size_bytes())}};
  const Result<Tensor> doubles = tensor.Cast(DType::kF64);
  if (doubles.ok() && tensor.num_elements() > 0) {
    constexpr size_t kFirst = 6;
    std::vector<std::string> first;
    double least = INFINITY, most = -INFINITY, sum = 0;
    uint64_t odd = 0;
    ANEMONE_TRY(ForEachWindow(*doubles, [&](const std::string& bytes) {
      for (size_t at = 0; at + sizeof(double) <= bytes.size(); at += sizeof(double)) {
        double value;
        std::memcpy(&value, bytes.data() + at, sizeof value);
        if (first.size() < kFirst) first.push_back(fmt::format("{:.6g}", value));
        if (!std::isfinite(value)) {
          ++odd;
          continue;
        }
        least = std::min(least, value);
        most = std::max(most, value);
        sum += value;
      }
    }));
    const uint64_t finite = tensor.num_elements() - odd;
    if (finite > 0)
      rows.push_back({"values", fmt::format("from {:.6g} to {:.6g}, mean {:.6g}", least, most,
                                            sum / static_cast<double>(finite))});
    if (odd > 0) rows.push_back({"not finite", fmt::format("{}", odd)});
    rows.push_back({"first", fmt::format("{}{}", fmt::join(first, " "), tensor.num_elements() > kFirst ? " …" : "")});
  }
  ANEMONE_TRY(CheckSame(tensor));
  Print(Columns(rows));
  return {};
}

// The tensor of that name: of the model where its ranks can be merged, of one rank where that is asked for.
Result<Tensor> FindTensor(Checkpoint checkpoint, const Options& options) {
  std::vector<std::string> names, ranks;
  if (checkpoint.shards.size() > 1 && options.rank.empty()) {
    ANEMONE_ASSIGN(checkpoint, MergeShards(checkpoint));
  }
  for (const Shard& shard : checkpoint.shards) {
    ranks.push_back(RankText(shard));
    if (!options.rank.empty() && options.rank != ranks.back()) continue;
    std::vector<const StateDict*> states = {&shard.weights};
    for (const StateDict& chunk : shard.chunks) states.push_back(&chunk);
    for (const StateDict* state : states) {
      const StateDict::Item* item = state->Find(options.name);
      if (item != nullptr && item->tensor() != nullptr) return *item->tensor();
      for (const StateDict::Item& other : state->items()) names.push_back(other.name);
    }
  }
  if (!options.rank.empty() && std::ranges::find(ranks, options.rank) == ranks.end())
    return WrongOption("rank", fmt::format("expected one of {}, found '{}'", Listing(ranks), options.rank))
        .In(options.source);
  std::string hint = DidYouMean(options.name, names);
  if (hint.empty()) hint = "anemone inspect --tensors lists them";
  return NotFound(fmt::format("it has no tensor '{}'", options.name), hint).In(options.source);
}

Status Run(const Options& options) {
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenSource(options.source, MakeProgress()));
  ANEMONE_ASSIGN(Tensor tensor, FindTensor(std::move(checkpoint), options));
  if (options.summary || (!options.raw && isatty(STDOUT_FILENO) == 1)) return PrintSummary(options.name, tensor);
  if (!options.raw) {
    Result<std::string> header = NpyHeader(tensor.dtype(), tensor.shape());
    if (!header.ok()) {  // every value of a smaller float is an fp32
      Result<Tensor> widened = tensor.Cast(DType::kF32);
      if (!widened.ok()) return header.status().Hint("--raw writes its bytes").In(options.name);
      Note(fmt::format("{} is written as fp32, which has the same values", Name(tensor.dtype())));
      tensor = *std::move(widened);
      header = NpyHeader(tensor.dtype(), tensor.shape());
    }
    if (!header.ok()) return header.status();
    Print(*header);
  }
  ANEMONE_TRY(ForEachWindow(tensor, [](const std::string& bytes) { Print(bytes); }));
  return CheckSame(tensor);
}

}  // namespace

std::function<int()> DeclareCat(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("SRC", options->source, "A checkpoint: file, folder or hub id")->required();
  app.add_option("NAME", options->name, "The tensor, as inspect --tensors lists it")->required();
  app.add_option("--rank", options->rank, "Of a checkpoint split over ranks: that rank's part (default: all, merged)")
      ->type_name("'tpN ppN'");
  app.add_flag("--raw", options->raw, "Write the bytes alone, little-endian, in C order");
  app.add_flag("--summary", options->summary, "Print dtype, shape and statistics, as on a terminal")->excludes("--raw");
  return [options] {
    const Status status = Run(*options);
    return status.ok() ? static_cast<int>(kDone) : Report(status);
  };
}

}  // namespace anemone::cli
