// inspect PATH …: says what a path is.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "anemone/checkpoint.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/next_steps.h"
#include "cli/paths.h"
#include "cli/text.h"
#include "cli/tree.h"
#include "config/nodes.h"
#include "edit/config_keys.h"
#include "edit/model_class.h"
#include "format/format.h"
#include "inspect/json_nodes.h"
#include "inspect/provenance.h"
#include "inspect/sizes.h"
#include "inspect/summary.h"
#include "source/source.h"
#include "tensor/cast.h"
#include "tensor/layout_text.h"

namespace anemone::cli {
namespace {

struct Options {
  std::vector<std::string> paths;
  std::string key;
  bool tensors = false;
  bool artifacts = false;
  bool tree = false;
  bool json = false;
  std::string config;  // a key, "" for the whole
  CLI::Option* config_option = nullptr;
};

// Calls `visit` with every state dict of the checkpoint and the rank that stores it ("" when there is one).
template <typename Visit>
void ForEachStateDict(const Checkpoint& checkpoint, Visit visit) {
  for (const Shard& shard : checkpoint.shards) {
    const std::string rank = checkpoint.shards.size() > 1 ? RankText(shard) : "";
    visit(shard.weights, rank);
    for (size_t i = 0; i < shard.chunks.size(); ++i) visit(shard.chunks[i], fmt::format("{} model{}", rank, i));
  }
}

ConfigNode TensorNode(const StateDict::Item& item, const std::string& rank) {
  ConfigNode node = ConfigNode::Map();
  const Tensor* tensor = item.tensor();
  const std::optional<ByteRange> range = tensor != nullptr ? tensor->AsByteRange() : std::nullopt;
  node["name"] = ConfigNode::String(item.name);
  node["dtype"] = tensor != nullptr ? TextNode(Name(tensor->dtype())) : ConfigNode::String("opaque");
  node["shape"] = tensor != nullptr ? SizesNode(tensor->shape()) : ConfigNode::Null();
  node["file"] = range ? ConfigNode::String(range->source->name()) : ConfigNode::Null();
  node["offset"] = range ? SizeNode(range->offset) : ConfigNode::Null();
  node["bytes"] = SizeNode(tensor != nullptr ? tensor->size_bytes() : 0);
  if (!rank.empty()) node["rank"] = ConfigNode::String(rank);
  return node;
}

JsonList TensorList(std::shared_ptr<const Checkpoint> checkpoint) {
  return {"tensors", [checkpoint = std::move(checkpoint)](const JsonList::Visit& visit) {
            ForEachStateDict(*checkpoint, [&](const StateDict& state, const std::string& rank) {
              for (const StateDict::Item& item : state.items()) visit(TensorNode(item, rank));
            });
          }};
}

// Only what NeMo wrote is one of its classes.
bool IsNemo(const Checkpoint& checkpoint) {
  const FormatTraits& traits = TraitsOf(checkpoint);
  return traits.language == ConfigLanguage::kNemo1 && traits.model_class != ModelClassIn::kNowhere;
}

// "vision 24 × 1024, 16 heads, patch 14, 224 px".
std::string SizesLine(const TowerSizes& tower) {
  std::string line = tower.tower + (tower.tower.empty() ? "" : " ") + fmt::format("{} × {}", tower.layers, tower.width);
  if (tower.heads > 0) line += fmt::format(", {} heads", tower.heads);
  if (tower.groups > 0 && tower.groups != tower.heads) line += fmt::format(" in {} groups", tower.groups);
  if (tower.patch > 0) line += fmt::format(", patch {}", tower.patch);
  if (tower.image > 0) line += fmt::format(", {} px", tower.image);
  if (tower.vocabulary > 0) line += fmt::format(", vocabulary {}", tower.vocabulary);
  if (tower.patch == 0 && tower.positions > 0) line += fmt::format(", {} positions", tower.positions);
  return line;
}

// "projector: 4.72 M parameters in 4 tensors, 9.44 MB".
std::string PartLine(const Summary::Part& part) {
  if (part.amount.tensors > 0) {
    return fmt::format("{}: {} parameters in {} tensors, {}", part.name, HumanCount(part.amount.elements),
                       part.amount.tensors, HumanBytes(part.amount.bytes));
  }
  return fmt::format("{}: not stored{}", part.name, part.from.empty() ? "" : fmt::format(" ({})", OneLine(part.from)));
}

ConfigNode SizesNode(const std::vector<TowerSizes>& towers) {
  ConfigNode node = ConfigNode::Map();
  for (const TowerSizes& tower : towers) {
    ConfigNode& entry = node[tower.tower.empty() ? "model" : tower.tower] = ConfigNode::Map();
    for (const auto& [key, size] : {std::pair{"layers", tower.layers},
                                    {"width", tower.width},
                                    {"heads", tower.heads},
                                    {"query_groups", tower.groups == tower.heads ? 0 : tower.groups},
                                    {"patch", tower.patch},
                                    {"image", tower.image},
                                    {"vocabulary", tower.vocabulary},
                                    {"positions", tower.positions}}) {
      if (size > 0) entry[key] = SizeNode(size);
    }
  }
  return node;
}

Result<ConfigNode> ToJsonNode(const Checkpoint& checkpoint, const Summary& summary) {
  ANEMONE_ASSIGN(const WholeModel whole, WholeModelOf(checkpoint));
  ANEMONE_ASSIGN(const std::vector<Step> steps, NextSteps(checkpoint, summary, whole));
  ConfigNode node = ConfigNode::Map();
  const auto text = [](const std::string& s) { return s.empty() ? ConfigNode::Null() : ConfigNode::String(s); };
  node["path"] = ConfigNode::String(checkpoint.path);
  node["format"] = ConfigNode::String(checkpoint.flavour);
  const ModelClass* model = IsNemo(checkpoint) ? ModelClassOf(checkpoint) : nullptr;
  node["model"] = text(model != nullptr ? std::string(model->name) : "");
  node["family"] = text(summary.family());
  node["dialect"] = text(summary.dialect());
  if (const std::string name = PublishedAs(checkpoint, summary.model); !name.empty()) node["published_as"] = text(name);
  if (!summary.foreign.empty()) node["model_type"] = text(summary.foreign);
  if (!summary.stored_as.empty()) node["stored_as"] = text(summary.stored_as);
  node["layout"] = LayoutNode(checkpoint.layout);
  node["sizes"] = SizesNode(ModelSizes(checkpoint, summary.model));
  ConfigNode& origin = node["origin"] = ConfigNode::Map();
  for (const auto& [name, value] : Provenance(checkpoint)) origin[name] = ConfigNode::String(value);
  ANEMONE_ASSIGN(const std::optional<uint64_t> on_disk, SizeOnDisk(checkpoint.path));
  node["file_bytes"] = on_disk ? SizeNode(*on_disk) : ConfigNode::Null();
  node["parameters"] = SizeNode(whole.weights.elements);
  node["bytes"] = SizeNode(summary.weights.bytes);
  ConfigNode& dtypes = node["dtypes"] = ConfigNode::Map();
  for (const auto& [dtype, amount] : summary.by_dtype) {
    ConfigNode& entry = dtypes[Name(dtype)] = ConfigNode::Map();
    AddAmount(amount, &entry);
  }
  if (!summary.parts.empty()) node["parts"] = PartsNode(summary);
  node["training_state"] = ConfigNode::Bool(summary.has_training_state);
  node["config"] = checkpoint.config ? checkpoint.config->root() : ConfigNode::Null();
  node["artifacts"] = ArtifactsNode(checkpoint);
  node["problem"] = text(whole.misfit.ok() ? "" : whole.misfit.message());
  ConfigNode& next = node["next"] = ConfigNode::List();
  for (const Step& step : steps) next.list.push_back(ConfigNode::String(step.command));
  return node;
}

std::string TensorTable(const Checkpoint& checkpoint) {
  std::vector<std::vector<std::string>> rows;
  ForEachStateDict(checkpoint, [&](const StateDict& state, const std::string& rank) {
    for (const StateDict::Item& item : state.items()) {
      std::vector<std::string> row;
      if (!rank.empty()) row.push_back(rank);
      const Tensor* tensor = item.tensor();
      row.push_back(tensor != nullptr ? std::string(Name(tensor->dtype())) : "opaque");
      row.push_back(tensor != nullptr ? ToString(tensor->shape()) : "");
      row.push_back(OneLine(item.name));
      rows.push_back(std::move(row));
    }
  });
  return Columns(rows);
}

// Rows that tell how big the model is, on disk and in layers, and where it comes from.
void AddFacts(const Checkpoint& checkpoint, const Summary& summary, std::vector<std::vector<std::string>>& rows) {
  std::string_view label = "sizes";
  for (const TowerSizes& tower : ModelSizes(checkpoint, summary.model))
    rows.push_back({std::string(std::exchange(label, "")), SizesLine(tower)});
  std::string origin;
  for (const auto& [name, value] : Provenance(checkpoint))
    origin += fmt::format("{}{} {}", origin.empty() ? "" : ", ", name, OneLine(value));
  if (!origin.empty()) rows.push_back({"origin", origin});
}

// "2.65 M parameters in 86 fp32 tensors, 10.6 MB; stored on 4 ranks as 10.8 MB", a row for each dtype. What holds whole
// numbers are counters and indices, not parameters.
void AddWeights(const Checkpoint& checkpoint, const Summary& summary, const WholeModel& whole,
                std::vector<std::vector<std::string>>& rows) {
  std::string_view label = "weights";
  for (const auto& [dtype, amount] : whole.by_dtype) {
    std::string text = fmt::format("{} {} in {} {} tensor{}, {}", HumanCount(amount.elements),
                                   internal::IsFloat(dtype) ? "parameters" : "elements", amount.tensors, Name(dtype),
                                   amount.tensors == 1 ? "" : "s", HumanBytes(amount.bytes));
    const auto stored = summary.by_dtype.find(dtype);
    if (stored != summary.by_dtype.end() && stored->second.bytes != amount.bytes)
      text += fmt::format("; stored on {} ranks as {}", checkpoint.shards.size(), HumanBytes(stored->second.bytes));
    rows.push_back({std::string(std::exchange(label, "")), text});
  }
}

// "stable_diffusion (Stable Diffusion 1.x), dialect ldm, UNet alone".
std::string FamilyLine(const Checkpoint& checkpoint, const Summary& summary) {
  if (!summary.foreign.empty()) return summary.foreign + ": not a known family, tensors keep their names";
  if (!summary.stored_as.empty()) return "unknown, " + summary.stored_as + ": tensors keep their names";
  if (summary.model.dialect == nullptr) return "unknown: tensors keep their names";
  const std::string alone = PartsAlone(summary), published = PublishedAs(checkpoint, summary.model);
  return fmt::format("{}{}, dialect {}{}", summary.family(), published.empty() ? "" : " (" + published + ")",
                     summary.dialect(), alone.empty() ? "" : ", " + alone + " alone");
}

Result<std::string> Overview(const Checkpoint& checkpoint, const Summary& summary) {
  ANEMONE_ASSIGN(const WholeModel whole, WholeModelOf(checkpoint));
  ANEMONE_ASSIGN(const std::vector<Step> steps, NextSteps(checkpoint, summary, whole));
  std::vector<std::vector<std::string>> rows;
  const Format* format = checkpoint.format;
  ANEMONE_ASSIGN(const std::optional<uint64_t> on_disk, SizeOnDisk(checkpoint.path));
  rows.push_back({"path", OneLine(checkpoint.path) + (on_disk ? " (" + HumanBytes(*on_disk) + ")" : "")});
  rows.push_back({"format", fmt::format("{} ({})", checkpoint.flavour, format != nullptr ? format->title : "")});
  rows.push_back({"family", FamilyLine(checkpoint, summary)});
  const ModelClass* const model = IsNemo(checkpoint) ? ModelClassOf(checkpoint) : nullptr;
  if (model != nullptr) rows.push_back({"model", fmt::format("{} ({})", model->name, model->description)});
  AddFacts(checkpoint, summary, rows);
  if (checkpoint.shards.size() > 1 || checkpoint.layout.vp > 1)
    rows.push_back({"layout", LayoutText(checkpoint.layout)});
  std::string_view label = "parts";
  for (const Summary::Part& part : summary.parts) {
    rows.push_back({std::string(std::exchange(label, "")), PartLine(part)});
  }
  AddWeights(checkpoint, summary, whole, rows);
  if (!whole.misfit.ok()) {
    rows.push_back({"problem", OneLine(whole.misfit.message())});
    if (const std::string& hint = whole.misfit.error().hint; !hint.empty()) rows.push_back({"", OneLine(hint)});
  }
  if (summary.opaque > 0)
    rows.push_back({"extra state", fmt::format("{} entries of Transformer Engine's", summary.opaque)});
  if (summary.has_training_state)
    rows.push_back({"training", "optimizer and loop state present (--only weights drops it)"});
  if (checkpoint.config) {
    const ConfigNode* target = checkpoint.config->Find("target");
    rows.push_back({"config", checkpoint.config_name});
    // A class's path is longer than a terminal is wide, and a known class is named above.
    const bool is_told = model != nullptr && globals().verbosity < 1;
    if (target != nullptr && !is_told) rows.push_back({"target", OneLine(target->ScalarText())});
  }
  const size_t artifacts = checkpoint.artifacts.size();
  for (const Artifact& artifact : std::span(checkpoint.artifacts).first(Shown(artifacts))) {
    rows.push_back({&artifact == checkpoint.artifacts.data() ? "artifacts" : "",
                    fmt::format("{} ({})", OneLine(artifact.name), HumanBytes(artifact.content.size))});
  }
  if (std::string more = AndMore(artifacts, "files"); !more.empty()) rows.push_back({"", std::move(more)});
  label = "next";
  for (const Step& step : steps) {
    rows.push_back({std::string(std::exchange(label, "")), fmt::format("{} ({})", step.command, step.purpose)});
  }
  if (globals().verbosity > 0) {
    label = "metadata";
    for (const auto& [key, value] : checkpoint.metadata)
      rows.push_back({std::string(std::exchange(label, "")), OneLine(key) + ": " + OneLine(value)});
  }
  return PaintLabels(Columns(rows));
}

// The stored config, or one value of it.
Status PrintConfig(const Checkpoint& checkpoint, const std::string& path, const Options& options) {
  if (!checkpoint.config) return NotFound("it holds no config").In(path);
  if (options.config.empty()) {
    Print(options.json ? checkpoint.config->ToJson() + "\n" : checkpoint.config->ToYaml());
    return {};
  }
  const Result<ConfigNode> node = checkpoint.config->Resolve(options.config);
  if (!node.ok()) {
    Status status = node.status();
    if (checkpoint.config->Find(options.config) == nullptr) {
      const std::string meant = NearestPath(*checkpoint.config, options.config);
      if (!meant.empty()) status = status.Hint(fmt::format("did you mean {}?", meant));
    }
    return status.In(checkpoint.config_name).In(path);
  }
  if (options.json) {
    Print(Config(*node).ToJson() + "\n");
  } else {
    Print(node->is_scalar() ? node->ScalarText() + "\n" : Config(*node).ToYaml());
  }
  return {};
}

Result<Answer> Run(const std::string& path, const Options& options) {
  ANEMONE_ASSIGN(Checkpoint opened, OpenSource(path, MakeProgress(), {options.key}));
  const auto shared = std::make_shared<const Checkpoint>(std::move(opened));
  const Checkpoint& checkpoint = *shared;
  const bool wants_config = options.config_option->count() > 0;
  // One value is for scripts: it comes alone.
  Notes(checkpoint.notes, wants_config ? 1 : 0);
  const bool is_first = path == options.paths.front();
  const bool is_list = wants_config || options.tensors || options.artifacts || options.tree;
  if (options.paths.size() > 1 && !options.json)
    Print((is_first ? "" : "\n") + (is_list ? fmt::format("==> {} <==\n", OneLine(path)) : std::string()));

  if (wants_config) {
    ANEMONE_TRY(PrintConfig(checkpoint, path, options));
    return Answer{};
  }
  const Summary summary = Summarize(checkpoint);
  if (options.json) {
    Answer answer;
    ANEMONE_ASSIGN(answer.json, ToJsonNode(checkpoint, summary));
    if (options.tensors) answer.last = TensorList(shared);
    return answer;
  }
  if (options.tree) {
    Print(ModuleTree(checkpoint));
  } else if (options.tensors) {
    Print(TensorTable(checkpoint));
  } else if (options.artifacts) {
    for (const Artifact& artifact : checkpoint.artifacts) {
      Print(fmt::format("{:>12}  {}\n", artifact.content.size, OneLine(artifact.name)));
    }
  } else {
    ANEMONE_ASSIGN(const std::string overview, Overview(checkpoint, summary));
    Print(overview);
  }
  return Answer{};
}

}  // namespace

std::function<int()> DeclareInspect(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("PATH", options->paths, "Checkpoints: files, folders or hub ids")->required();
  app.add_option("--key", options->key, "Dictionary of a torch file that holds the weights (default: by its content)")
      ->type_name("NAME");
  app.add_flag("--tensors", options->tensors, "List every tensor");
  app.add_flag("--tree", options->tree, "Print the modules as a tree: equal layers once");
  options->config_option = app.add_option("--config", options->config, "Print the stored config, or one resolved value")
                               ->expected(0, 1)
                               ->type_name("[KEY]");
  app.add_flag("--artifacts", options->artifacts, "List the files that travel with the model");
  app.add_flag("--json", options->json, "Print one JSON object, or a list of them for several paths");
  return [options] {
    const bool is_json = options->json && options->config_option->count() == 0;
    return AnswerEach(options->paths, is_json, [&](const std::string& path) { return Run(path, *options); });
  };
}

}  // namespace anemone::cli
