#include "inspect/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/check.h"
#include "base/cancel.h"
#include "base/cores.h"
#include "base/for_each.h"
#include "base/read_at_most.h"
#include "base/text_hash.h"
#include "config/nodes.h"
#include "engine/sources.h"
#include "format/format.h"
#include "inspect/json_nodes.h"
#include "inspect/provenance.h"
#include "inspect/statistics.h"
#include "inspect/summary.h"
#include "parallel/reshard.h"
#include "source/canonical.h"
#include "tensor/layout_text.h"

namespace anemone {
namespace {

ConfigNode Real(double value) {
  return std::isfinite(value) ? ConfigNode::Float(value) : ConfigNode::String(fmt::format("{}", value));
}

// A tensor and what its name begins with, which tells rank and virtual chunk apart.
struct Named {
  std::string_view place;
  const StateDict::Item* item;
  std::string name() const { return std::string(place) + item->name; }
  const Tensor& tensor() const { return *item->tensor(); }
  std::pair<std::string_view, std::string_view> key() const { return {place, item->name}; }
};

// As long as the checkpoint that they are of.
struct NamedTensors {
  // All of a rank; those of its virtual chunks are named as Diff names them.
  void Add(const Shard& shard, const std::string& rank) {
    Add(shard.weights, rank);
    for (size_t i = 0; i < shard.chunks.size(); ++i) Add(shard.chunks[i], fmt::format("{}model{} ", rank, i));
  }
  void Add(const StateDict& state, std::string place) {
    const std::string& kept = places.emplace_back(std::move(place));
    for (const StateDict::Item& item : state.items()) {
      if (item.tensor() != nullptr) list.push_back({kept, &item});
    }
  }

  std::deque<std::string> places;
  std::vector<Named> list;
};

NamedTensors TensorsOf(const Checkpoint& checkpoint) {
  NamedTensors tensors;
  for (const Shard& shard : checkpoint.shards) {
    tensors.Add(shard, checkpoint.shards.size() > 1 ? RankText(shard) + " " : "");
  }
  return tensors;
}

// `visit(named, statistics)` of each tensor in order; nullopt where none are wanted, and of those without an order.
// Several are read at a time, and few are kept: a tensor may be smaller than its statistics.
template <typename Visit>
Status ForEachWithStatistics(const std::vector<Named>& tensors, const ReportOptions& options, Visit visit) {
  constexpr size_t kAtOnce = 4096;
  uint64_t total = 0;
  for (const Named& named : tensors) total += named.tensor().num_elements();
  std::mutex mutex;
  uint64_t done = 0;
  const auto advance = [&](uint64_t elements) {
    const std::lock_guard lock(mutex);
    done += elements;
    return !options.progress || options.progress("statistics", done, total);
  };
  std::optional<CancelScope> scope;
  if (options.statistics) scope.emplace([&] { return !advance(0); });
  for (size_t first = 0; first < tensors.size(); first += kAtOnce) {
    std::vector<std::optional<Statistics>> results(std::min(kAtOnce, tensors.size() - first));
    const auto compute = [&](uint64_t i, unsigned) -> Status {
      const Named& named = tensors[first + i];
      if (!HasStatistics(named.tensor().dtype())) return {};
      Result<Statistics> result = ComputeStatistics(named.tensor(), advance);
      if (!result.ok()) return result.status().In(named.name());
      results[i] = *std::move(result);
      return {};
    };
    if (options.statistics)
      ANEMONE_TRY(ForEach(results.size(), options.threads != 0 ? options.threads : UsableCores(), compute));
    for (size_t i = 0; i < results.size(); ++i) visit(tensors[first + i], results[i]);
  }
  return {};
}

ConfigNode StatisticsNode(const Statistics& s) {
  ConfigNode node = ConfigNode::Map();
  for (const auto& [key, value] : {std::pair{"zeros", s.zeros}, {"nans", s.nans}, {"infinities", s.infinities}}) {
    node[key] = SizeNode(value);
  }
  for (const auto& [key, value] : {std::pair{"min", s.min}, {"max", s.max}, {"mean", s.mean}, {"std", s.deviation}}) {
    node[key] = Real(value);
  }
  node["range"] = Real(s.range);
  node["bins"] = s.range > 0 ? SizesNode(s.bins) : ConfigNode::List();
  return node;
}

// What a rank holds, in words: modules in stored order, the numbers among their names as ranges.
ConfigNode HoldingsNode(const NamedTensors& tensors) {
  std::vector<std::string> order;
  std::map<std::string, std::set<uint64_t>> numbers;
  for (const Named& named : tensors.list) {
    const std::string name = named.name();
    std::string module;
    std::optional<uint64_t> number;
    for (size_t at = 0; at < name.size();) {
      const size_t end = std::min(name.find('.', at), name.size());
      const std::string part = name.substr(at, end - at);
      if (part.size() < 10 && !part.empty() && part.find_first_not_of("0123456789") == std::string::npos) {
        number = std::stoull(part);
        break;
      }
      if (end == name.size()) break;  // the parameter's own name
      module += (module.empty() ? "" : ".") + part;
      at = end + 1;
    }
    if (module.empty()) module = name;
    const auto [found, added] = numbers.try_emplace(module);
    if (added) order.push_back(module);
    if (number) found->second.insert(*number);
  }
  ConfigNode list = ConfigNode::List();
  for (const std::string& module : order) {
    const std::set<uint64_t>& set = numbers[module];
    std::string text = module;
    for (auto it = set.begin(); it != set.end();) {
      const uint64_t first = *it;
      uint64_t last = first;
      while (++it != set.end() && *it == last + 1) ++last;
      text += text == module ? " " : ", ";
      text += first == last ? fmt::format("{}", first) : fmt::format("{}–{}", first, last);
    }
    list.list.push_back(TextNode(text));
  }
  return list;
}

ConfigNode RanksNode(const Checkpoint& checkpoint) {
  ConfigNode list = ConfigNode::List();
  for (const Shard& shard : checkpoint.shards) {
    Summary::Amount amount;
    NamedTensors tensors;
    tensors.Add(shard, "");
    for (const Named& named : tensors.list) amount.Add(named.tensor());
    ConfigNode rank = ConfigNode::Map();
    rank["tp"] = ConfigNode::Int(shard.tp_rank);
    rank["pp"] = ConfigNode::Int(shard.pp_rank);
    AddAmount(amount, &rank);
    rank["holds"] = HoldingsNode(tensors);
    list.list.push_back(std::move(rank));
  }
  return list;
}

// {"inert", "findings", "first"}: what loading it would run; null where that cannot be read.
Result<ConfigNode> ScanNode(const Checkpoint& checkpoint, const ProgressFn& progress) {
  const Result<std::vector<ScanFinding>> findings = Scan(checkpoint.path, progress);
  if (IsReadFailure(findings.status())) return findings.status();
  if (!findings.ok()) return ConfigNode::Null();
  const auto first =
      std::ranges::find_if(*findings, [](const ScanFinding& finding) { return finding.danger != Danger::kInert; });
  ConfigNode node = ConfigNode::Map();
  node["inert"] = ConfigNode::Bool(first == findings->end());
  node["findings"] = SizeNode(findings->size());
  node["first"] = TextNode(first == findings->end() ? "" : first->name + " in " + first->file);
  return node;
}

ConfigNode TensorNode(const Named& named, const std::optional<Statistics>& statistics) {
  const Tensor& tensor = named.tensor();
  ConfigNode node = ConfigNode::Map();
  node["name"] = ConfigNode::String(named.name());
  node["dtype"] = TextNode(Name(tensor.dtype()));
  node["shape"] = SizesNode(tensor.shape());
  node["bytes"] = SizeNode(tensor.size_bytes());
  if (statistics) node["statistics"] = StatisticsNode(*statistics);
  return node;
}

// The part of a report whose size does not depend on the number of tensors.
Result<ConfigNode> HeadNode(const Checkpoint& checkpoint, const ReportOptions& options) {
  const Summary summary = Summarize(checkpoint);
  const Format* format = checkpoint.format;
  ConfigNode node = ConfigNode::Map();
  node["path"] = TextNode(checkpoint.path);
  node["flavour"] = TextNode(checkpoint.flavour);
  node["format"] = TextNode(format != nullptr ? format->title : checkpoint.flavour);
  node["family"] = TextNode(summary.family());
  node["dialect"] = TextNode(summary.dialect());
  node["layout"] = LayoutNode(checkpoint.layout);
  if (!summary.parts.empty()) node["parts"] = PartsNode(summary);
  node["bytes"] = SizeNode(summary.weights.bytes);
  node["opaque"] = SizeNode(summary.opaque);
  node["training"] = ConfigNode::Bool(summary.has_training_state);
  // As text: a config may hold numbers that JSON has no word for, and YAML is what people read.
  node["config"] = checkpoint.config ? TextNode(checkpoint.config->ToYaml()) : ConfigNode::Null();
  node["config_name"] = TextNode(checkpoint.config_name);
  node["artifacts"] = ArtifactsNode(checkpoint);
  ConfigNode& metadata = node["metadata"] = ConfigNode::Map();
  std::map<std::string, std::string> words = checkpoint.origin.ToMetadata();
  words.insert(checkpoint.metadata.begin(), checkpoint.metadata.end());
  for (const auto& [key, value] : words) metadata.map.emplace_back(key, TextNode(value));
  ConfigNode& origin = node["origin"] = ConfigNode::Map();
  for (const auto& [name, value] : Provenance(checkpoint)) origin[name] = TextNode(value);
  ANEMONE_ASSIGN(node["scan"], ScanNode(checkpoint, options.progress));
  return node;
}

ConfigNode ListNode(const std::vector<std::string>& texts) {
  ConfigNode list = ConfigNode::List();
  for (const std::string& text : texts) list.list.push_back(TextNode(text));
  return list;
}

Status DescribeCheckpoint(const Checkpoint& checkpoint, const ReportOptions& options, JsonStream& json) {
  ANEMONE_ASSIGN(ConfigNode head, HeadNode(checkpoint, options));
  std::vector<std::string> notes = checkpoint.notes;
  const Result<Checkpoint> merged = MergeShards(checkpoint);
  if (!merged.ok()) notes.push_back("shown rank by rank: " + merged.status().message());
  json.BeginMap();
  for (auto& [key, value] : head.map) json.Add(key, std::move(value));
  json.Add("notes", ListNode(notes));
  json.Add("ranks", RanksNode(checkpoint));
  const NamedTensors tensors = TensorsOf(merged.ok() ? *merged : checkpoint);
  uint64_t parameters = 0;
  std::map<DType, Summary::Amount> by_dtype;
  json.Key("tensors");
  json.BeginList();
  ANEMONE_TRY(ForEachWithStatistics(tensors.list, options, [&](const Named& named, const auto& statistics) {
    parameters += named.tensor().num_elements();
    by_dtype[named.tensor().dtype()].Add(named.tensor());
    json.Value(TensorNode(named, statistics));
  }));
  json.End();
  json.Add("parameters", SizeNode(parameters));
  ConfigNode dtypes = ConfigNode::List();
  for (const auto& [dtype, amount] : by_dtype) {
    ConfigNode entry = ConfigNode::Map();
    entry["dtype"] = TextNode(Name(dtype));
    AddAmount(amount, &entry);
    dtypes.list.push_back(std::move(entry));
  }
  json.Add("dtypes", std::move(dtypes));
  if (options.next) {
    ANEMONE_ASSIGN(const std::vector<std::string> commands, options.next(checkpoint));
    json.Add("next", ListNode(commands));
  }
  json.End();
  return {};
}

bool SameNames(const Checkpoint& first, const Checkpoint& second) {
  if (!(first.layout == second.layout) || first.shards.size() != second.shards.size()) return false;
  NamedTensors of_first = TensorsOf(first), of_second = TensorsOf(second);
  for (std::vector<Named>* list : {&of_first.list, &of_second.list}) {
    std::ranges::sort(*list, {}, &Named::key);
    const auto is_same = [](const Named& a, const Named& b) { return a.key() == b.key(); };
    list->erase(std::unique(list->begin(), list->end(), is_same), list->end());
  }
  return std::ranges::equal(of_first.list, of_second.list, {}, &Named::key, &Named::key);
}

Status DescribeDifference(const Checkpoint& first, const Checkpoint& second, const ReportOptions& options,
                          JsonStream& json) {
  std::optional<Checkpoint> a;
  std::optional<Checkpoint> b;
  const bool canonical = !SameNames(first, second) && !Summarize(first).family().empty() &&
                         Summarize(first).family() == Summarize(second).family();
  if (canonical) {
    ANEMONE_ASSIGN(a, Canonical(first));
    ANEMONE_ASSIGN(b, Canonical(second));
  }
  const Checkpoint& left = canonical ? *a : first;
  const Checkpoint& right = canonical ? *b : second;
  ANEMONE_ASSIGN(const Difference difference,
                 Diff(left, right, {.only_weights = canonical, .progress = options.progress}));
  const NamedTensors of_left = TensorsOf(left), of_right = TensorsOf(right);
  internal::TextViewMap<std::optional<uint64_t>> sizes;  // of the tensors that differ
  for (const TensorDifference& d : difference.tensors) sizes.try_emplace(d.name);
  for (const NamedTensors* tensors : {&of_left, &of_right}) {
    if (sizes.empty()) break;
    for (const Named& named : tensors->list) {
      const auto found = sizes.find(named.name());
      if (found != sizes.end() && !found->second) found->second = named.tensor().num_elements();
    }
  }

  json.BeginMap();
  json.Add("canonical", ConfigNode::Bool(canonical));
  json.Add("compared", SizeNode(difference.tensors_compared));
  json.Key("names");
  json.BeginList();
  for (const Named& named : of_left.list) json.Value(ConfigNode::String(named.name()));
  json.End();
  json.Key("tensors");
  json.BeginList();
  for (const TensorDifference& d : difference.tensors) {
    ConfigNode entry = TensorDifferenceNode(d);
    entry["of"] = SizeNode(sizes[d.name].value_or(0));
    entry["max_abs"] = Real(d.max_abs);
    json.Value(std::move(entry));
  }
  json.End();
  json.Add("config", TextDifferencesNode(difference.config));
  json.Add("artifacts", TextDifferencesNode(difference.artifacts));
  json.End();
  return {};
}

}  // namespace

Status DescribeForReport(const std::vector<const Checkpoint*>& checkpoints, const ReportOptions& options,
                         JsonStream& map) {
  map.Key("checkpoints");
  map.BeginList();
  for (const Checkpoint* checkpoint : checkpoints) {
    ANEMONE_TRY(DescribeCheckpoint(*checkpoint, options, map).In(checkpoint->path));
    ANEMONE_TRY(CheckUnchanged(*checkpoint));
  }
  map.End();
  if (checkpoints.size() != 2) return {};
  map.Key("difference");
  return DescribeDifference(*checkpoints[0], *checkpoints[1], options, map);
}

}  // namespace anemone
