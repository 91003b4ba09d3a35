// bench PATH: what the disk gives, and what each way would cost here.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/paths.h"
#include "cli/text.h"
#include "config/nodes.h"
#include "format/inside.h"
#include "inspect/disk.h"
#include "inspect/json_nodes.h"
#include "source/source.h"

namespace anemone::cli {
namespace {

struct Options {
  std::string path;
  bool json = false;
};

struct Cost {
  const char* way;
  double seconds;
  uint64_t bytes_written;
  std::string note;
};

// A conversion reads and writes at the same time, so the slower of both decides.
std::vector<Cost> Costs(const DiskSpeed& speed, uint64_t bytes) {
  const double read = speed.is_cached || speed.read_direct == 0 ? speed.read_cached : speed.read_direct;
  const auto seconds = [&](double rate) { return rate > 0 ? static_cast<double>(bytes) / rate : 0; };
  const double reading = seconds(read), copying = seconds(std::min(read, speed.write));
  std::vector<Cost> costs = {{"convert", copying, bytes, "every byte is read and written"}};
  if (speed.shares_blocks)
    costs.push_back(
        {"convert, shared", 0, 0, "bytes that do not change share blocks with the source: no time, no room"});
  costs.push_back({"mount", reading, 0, "nothing is written; to read all of it takes so long"});
  costs.push_back({"verify", reading, 0, "every byte is read"});
  return costs;
}

std::string Rate(double bytes_per_second) {
  return bytes_per_second > 0 ? HumanBytes(static_cast<uint64_t>(bytes_per_second)) + "/s" : "not possible";
}

Result<Answer> Run(const std::string& path, bool json) {
  ANEMONE_ASSIGN(const Checkpoint checkpoint, OpenSource(path, MakeProgress()));
  uint64_t bytes = 0;
  const ByteSource* largest = nullptr;
  for (const ByteSource* file : WeightFiles(checkpoint)) {
    bytes += file->size_bytes();
    if (largest == nullptr || file->size_bytes() > largest->size_bytes()) largest = file;
  }
  if (largest == nullptr) return InvalidArgument("expected a checkpoint with weights, found none").In(path);
  std::string folder = std::filesystem::path(largest->name()).parent_path().string();
  if (folder.empty()) folder = ".";
  ANEMONE_ASSIGN(const DiskSpeed speed, MeasureDisk(*largest, folder));
  const std::vector<Cost> costs = Costs(speed, bytes);
  Answer answer = {.status = kDone};
  if (json) {
    const auto whole = [](double rate) { return SizeNode(static_cast<uint64_t>(rate)); };
    ConfigNode& node = answer.json = ConfigNode::Map();
    node["path"] = ConfigNode::String(path);
    node["bytes"] = SizeNode(bytes);
    node["is_cached"] = ConfigNode::Bool(speed.is_cached);
    node["read_cached_bytes_per_second"] = whole(speed.read_cached);
    node["read_direct_bytes_per_second"] = speed.read_direct > 0 ? whole(speed.read_direct) : ConfigNode::Null();
    node["write_bytes_per_second"] = whole(speed.write);
    node["shares_blocks"] = ConfigNode::Bool(speed.shares_blocks);
    ConfigNode& ways = node["ways"] = ConfigNode::List();
    for (const Cost& cost : costs) {
      ConfigNode& way = ways.list.emplace_back(ConfigNode::Map());
      way["way"] = ConfigNode::String(cost.way);
      way["seconds"] = ConfigNode::Float(cost.seconds);
      way["bytes_written"] = SizeNode(cost.bytes_written);
    }
    return answer;
  }
  std::vector<std::vector<std::string>> rows = {
      {"path", fmt::format("{} ({})", OneLine(path), HumanBytes(bytes))},
      {"read", fmt::format("{} from the page cache, {} from the device; {}", Rate(speed.read_cached),
                           Rate(speed.read_direct), speed.is_cached ? "it is cached" : "it is not cached")},
      {"write", Rate(speed.write) + ", written and synced"},
      {"blocks", speed.shares_blocks ? "can be shared" : "cannot be shared"}};
  for (const Cost& cost : costs) {
    rows.push_back({cost.way, fmt::format("about {:.2f} s, {} written: {}", cost.seconds,
                                          HumanBytes(cost.bytes_written), cost.note)});
  }
  Print(PaintLabels(Columns(rows)));
  return answer;
}

}  // namespace

std::function<int()> DeclareBench(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("PATH", options->path, "Checkpoint: file or folder")->required();
  app.add_flag("--json", options->json, "Print one JSON object");
  return [options] {
    return AnswerEach({options->path}, options->json,
                      [&](const std::string& path) { return Run(path, options->json); });
  };
}

}  // namespace anemone::cli
