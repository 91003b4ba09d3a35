#include "inspect/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "anemone/check.h"
#include "base/cancel.h"
#include "base/cores.h"
#include "base/for_each.h"
#include "config/nodes.h"
#include "format/format.h"
#include "inspect/json_nodes.h"
#include "inspect/provenance.h"
#include "inspect/statistics.h"
#include "inspect/summary.h"
#include "parallel/reshard.h"
#include "source/canonical.h"

namespace anemone {
namespace {

ConfigNode Real(double value) {
  return std::isfinite(value) ? ConfigNode::Float(value) : ConfigNode::String(fmt::format("{}", value));
}

// Every tensor of a rank; those of its virtual chunks are named as Diff names them.
template <typename Visit>
void ForEachTensor(const Shard& shard, Visit visit) {
  const auto each = [&visit](const StateDict& state, const std::string& prefix) {
    for (const StateDict::Item& item : state.items()) {
      if (const Tensor* tensor = item.tensor()) visit(prefix + item.name, *tensor);
    }
  };
  each(shard.weights, "");
  for (size_t i = 0; i < shard.chunks.size(); ++i) each(shard.chunks[i], fmt::format("model{} ", i));
}

struct Named {
  std::string name;
  const Tensor* tensor;
};

std::vector<Named> TensorsOf(const Checkpoint& checkpoint) {
  std::vector<Named> tensors;
  for (const Shard& shard : checkpoint.shards) {
    const std::string rank =
        checkpoint.shards.size() > 1 ? fmt::format("tp{} pp{} ", shard.tp_rank, shard.pp_rank) : "";
    ForEachTensor(shard, [&](const std::string& name, const Tensor& tensor) {
      tensors.push_back({rank + name, &tensor});
    });
  }
  return tensors;
}

// Statistics of each tensor, several at a time; nullopt for those without an order.
Result<std::vector<std::optional<Statistics>>> ComputeAll(const std::vector<Named>& tensors,
                                                          const ReportOptions& options) {
  std::vector<std::optional<Statistics>> results(tensors.size());
  uint64_t total = 0;
  for (const Named& named : tensors) total += named.tensor->num_elements();
  std::mutex mutex;
  uint64_t done = 0;
  const auto advance = [&](uint64_t elements) {
    const std::lock_guard lock(mutex);
    done += elements;
    return !options.progress || options.progress("statistics", done, total);
  };
  const CancelScope scope([&] { return !advance(0); });
  const auto compute = [&](uint64_t i, unsigned) -> Status {
    if (!HasStatistics(tensors[i].tensor->dtype())) return {};
    Result<Statistics> result = ComputeStatistics(*tensors[i].tensor, advance);
    if (!result.ok()) return result.status().In(tensors[i].name);
    results[i] = *std::move(result);
    return {};
  };
  ANEMONE_TRY(ForEach(tensors.size(), options.threads != 0 ? options.threads : UsableCores(), compute));
  return results;
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
ConfigNode HoldingsNode(const Shard& shard) {
  std::vector<std::string> order;
  std::map<std::string, std::set<uint64_t>> numbers;
  ForEachTensor(shard, [&](const std::string& name, const Tensor&) {
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
  });
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
    ForEachTensor(shard, [&amount](const std::string&, const Tensor& tensor) { amount.Add(tensor); });
    ConfigNode rank = ConfigNode::Map();
    rank["tp"] = ConfigNode::Int(shard.tp_rank);
    rank["pp"] = ConfigNode::Int(shard.pp_rank);
    AddAmount(amount, &rank);
    rank["holds"] = HoldingsNode(shard);
    list.list.push_back(std::move(rank));
  }
  return list;
}

// {"inert", "findings", "first"}: what loading it would run; null where that cannot be read.
ConfigNode ScanNode(const Checkpoint& checkpoint, const ProgressFn& progress) {
  const Result<std::vector<ScanFinding>> findings = Scan(checkpoint.path, progress);
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
  const auto& [name, tensor] = named;
  ConfigNode node = ConfigNode::Map();
  node["name"] = TextNode(name);
  node["dtype"] = TextNode(Name(tensor->dtype()));
  node["shape"] = SizesNode(tensor->shape());
  node["bytes"] = SizeNode(tensor->size_bytes());
  if (statistics) node["statistics"] = StatisticsNode(*statistics);
  return node;
}

Result<ConfigNode> CheckpointNode(const Checkpoint& checkpoint, const ReportOptions& options) {
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
  for (const auto& [key, value] : words) metadata[key] = TextNode(value);
  ConfigNode& origin = node["origin"] = ConfigNode::Map();
  for (const auto& [name, value] : Provenance(checkpoint)) origin[name] = TextNode(value);
  node["scan"] = ScanNode(checkpoint, options.progress);
  ConfigNode& notes = node["notes"] = ConfigNode::List();
  for (const std::string& note : checkpoint.notes) notes.list.push_back(TextNode(note));
  node["ranks"] = RanksNode(checkpoint);

  const Result<Checkpoint> merged = MergeShards(checkpoint);
  if (!merged.ok()) notes.list.push_back(TextNode("shown rank by rank: " + merged.status().message()));
  const std::vector<Named> tensors = TensorsOf(merged.ok() ? *merged : checkpoint);
  std::vector<std::optional<Statistics>> statistics(tensors.size());
  if (options.statistics) {
    ANEMONE_ASSIGN(statistics, ComputeAll(tensors, options));
  }
  uint64_t parameters = 0;
  std::map<DType, Summary::Amount> by_dtype;
  ConfigNode& list = node["tensors"] = ConfigNode::List();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = *tensors[i].tensor;
    parameters += tensor.num_elements();
    by_dtype[tensor.dtype()].Add(tensor);
    list.list.push_back(TensorNode(tensors[i], statistics[i]));
  }
  node["parameters"] = SizeNode(parameters);
  ConfigNode& dtypes = node["dtypes"] = ConfigNode::List();
  for (const auto& [dtype, amount] : by_dtype) {
    ConfigNode entry = ConfigNode::Map();
    entry["dtype"] = TextNode(Name(dtype));
    AddAmount(amount, &entry);
    dtypes.list.push_back(std::move(entry));
  }
  return node;
}

bool SameNames(const Checkpoint& first, const Checkpoint& second) {
  if (!(first.layout == second.layout) || first.shards.size() != second.shards.size()) return false;
  const auto names = [](const Checkpoint& checkpoint) {
    std::set<std::string> set;
    for (const Named& named : TensorsOf(checkpoint)) set.insert(named.name);
    return set;
  };
  return names(first) == names(second);
}

Result<ConfigNode> DifferenceNode(const Checkpoint& first, const Checkpoint& second, const ReportOptions& options) {
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
  std::map<std::string, uint64_t> sizes;
  for (const Named& named : TensorsOf(left)) sizes[named.name] = named.tensor->num_elements();
  for (const Named& named : TensorsOf(right)) sizes.try_emplace(named.name, named.tensor->num_elements());

  ConfigNode node = ConfigNode::Map();
  node["canonical"] = ConfigNode::Bool(canonical);
  node["compared"] = SizeNode(difference.tensors_compared);
  ConfigNode& names = node["names"] = ConfigNode::List();
  for (const Named& named : TensorsOf(left)) names.list.push_back(TextNode(named.name));
  ConfigNode& tensors = node["tensors"] = ConfigNode::List();
  for (const TensorDifference& d : difference.tensors) {
    ConfigNode entry = TensorDifferenceNode(d);
    entry["of"] = SizeNode(sizes[d.name]);
    entry["max_abs"] = Real(d.max_abs);
    tensors.list.push_back(std::move(entry));
  }
  node["config"] = TextDifferencesNode(difference.config);
  node["artifacts"] = TextDifferencesNode(difference.artifacts);
  return node;
}

}  // namespace

Result<ConfigNode> DescribeForReport(const std::vector<const Checkpoint*>& checkpoints, const ReportOptions& options) {
  ConfigNode node = ConfigNode::Map();
  ConfigNode& list = node["checkpoints"] = ConfigNode::List();
  for (const Checkpoint* checkpoint : checkpoints) {
    Result<ConfigNode> entry = CheckpointNode(*checkpoint, options);
    if (!entry.ok()) return entry.status().In(checkpoint->path);
    list.list.push_back(*std::move(entry));
  }
  if (checkpoints.size() == 2) {
    ANEMONE_ASSIGN(node["difference"], DifferenceNode(*checkpoints[0], *checkpoints[1], options));
  }
  return node;
}

}  // namespace anemone
