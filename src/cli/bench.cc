// bench PATH: what the disk gives, and what each way would cost here.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "anemone/convert.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/paths.h"
#include "cli/text.h"
#include "config/nodes.h"
#include "engine/plan.h"
#include "engine/share.h"
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
  std::string way;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t bytes_shared = 0;  // with the source: neither
  std::string note;
};

// The cost of the most usual conversions. Each is planned as if its output went to `folder`.
Result<std::vector<Cost>> CostsOfConverting(const Checkpoint& checkpoint, const std::string& folder) {
  std::vector<std::string_view> formats = {"nemo", "hf"};
  if (const Format* own = checkpoint.format; own != nullptr && own->lay_out != nullptr) {
    std::erase(formats, own->name);
    formats.insert(formats.begin(), own->name);
  }
  std::vector<Cost> costs;
  for (const std::string_view to : formats) {
    const Result<Conversion> conversion =
        PlanConversion(checkpoint.path, folder + "/anemone-bench", {.to = std::string(to), .progress = MakeProgress()});
    if (!conversion.ok() && conversion.status().kind() == ErrorKind::kInterrupted) return conversion.status();
    if (!conversion.ok()) continue;
    const Plan& plan = *conversion->plan;
    const Shares shares = plan.sharing == Sharing::kPlanned ? ShareableBytes(plan) : Shares();
    const uint64_t written = plan.bytes_written() - shares.bytes;
    std::string note = "every byte is read and written";
    if (shares.bytes > 0) {
      note = HumanBytes(shares.bytes) + " share blocks with the source";
      if (shares.read_bytes > 0) note += ", " + HumanBytes(shares.read_bytes) + " of them are read for checksums";
    }
    costs.push_back({fmt::format("convert --to {}", to), written + shares.read_bytes, written, shares.bytes, note});
  }
  return costs;
}

// Reading and writing go on at the same time, so the slower of both decides.
double Seconds(const DiskSpeed& speed, const Cost& cost) {
  const double read = speed.is_cached || speed.read_direct == 0 ? speed.read_cached : speed.read_direct;
  const auto seconds = [](uint64_t bytes, double rate) { return rate > 0 ? static_cast<double>(bytes) / rate : 0; };
  return std::max(seconds(cost.bytes_read, read), seconds(cost.bytes_written, speed.write));
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
  ANEMONE_ASSIGN(std::vector<Cost> costs, CostsOfConverting(checkpoint, folder));
  costs.push_back({"mount", bytes, 0, 0, "nothing is written; to read all of it takes so long"});
  costs.push_back({"verify", bytes, 0, 0, "every byte is read"});
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
      way["seconds"] = ConfigNode::Float(Seconds(speed, cost));
      way["bytes_read"] = SizeNode(cost.bytes_read);
      way["bytes_written"] = SizeNode(cost.bytes_written);
      way["bytes_shared"] = SizeNode(cost.bytes_shared);
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
    rows.push_back({cost.way, fmt::format("about {:.2f} s, {} written: {}", Seconds(speed, cost),
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
