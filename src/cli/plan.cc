// plan: what a model of a config would weigh in a layout, without its weights.
#include "engine/plan.h"
#include "config/nodes.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <memory>
#include <span>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "edit/destination.h"
#include "inspect/hollow.h"
#include "inspect/json_nodes.h"
#include "parallel/reshard.h"

namespace anemone::cli {
namespace {

struct Options {
  HollowOptions model;
  Layout layout;
  std::string to;
  std::string dtype = "fp32";
  bool json = false;
};

struct Weighed {
  Hollow hollow;  // split
  Plan plan;
  std::string name;  // of the destination
};

Result<Weighed> Weigh(const Options& options) {
  Weighed result;
  ANEMONE_ASSIGN(result.hollow, HollowCheckpoint(options.model));
  Checkpoint& checkpoint = result.hollow.checkpoint;
  ANEMONE_ASSIGN(checkpoint, SplitShards(checkpoint, options.layout, {.family = result.hollow.model.family}));
  const std::string to = !options.to.empty() ? options.to : options.model.optimizer ? "ckpt" : "nemo";
  ANEMONE_ASSIGN(const Format* format, DestinationFormat("", to));
  ANEMONE_ASSIGN(result.plan, format->lay_out(checkpoint, {}));
  ANEMONE_TRY(Check(result.plan));
  result.name = "model" + (result.plan.is_directory ? std::string() : std::string(format->extension));
  return result;
}

uint64_t Total(const RankSizes& sizes) { return sizes.weight_bytes + sizes.optimizer_bytes; }

// The largest rank's bytes over the mean's: 1 is even.
double Balance(const std::vector<RankSizes>& ranks) {
  uint64_t largest = 0, sum = 0;
  for (const RankSizes& sizes : ranks) {
    largest = std::max(largest, Total(sizes));
    sum += Total(sizes);
  }
  return sum == 0 ? 1 : static_cast<double>(largest) * static_cast<double>(ranks.size()) / static_cast<double>(sum);
}

std::string PathOf(const Weighed& weighed, const PlanFile& file) {
  return file.path.empty() ? weighed.name : weighed.name + "/" + file.path;
}

std::string Json(const Weighed& weighed, const std::vector<RankSizes>& ranks, uint64_t parameters) {
  const Checkpoint& checkpoint = weighed.hollow.checkpoint;
  ConfigNode node = ConfigNode::Map();
  node["family"] = ConfigNode::String(weighed.hollow.model.family->name);
  node["dialect"] = ConfigNode::String(weighed.hollow.model.dialect->name);
  node["parameters"] = SizeNode(parameters);
  node["layout"] = LayoutNode(checkpoint.layout);
  node["bytes_written"] = SizeNode(weighed.plan.bytes_written());
  node["balance"] = ConfigNode::Float(Balance(ranks));
  ConfigNode& files = node["files"] = ConfigNode::List();
  for (const PlanFile& file : weighed.plan.files) {
    ConfigNode entry = ConfigNode::Map();
    entry["path"] = ConfigNode::String(PathOf(weighed, file));
    entry["bytes"] = SizeNode(file.size);
    files.list.push_back(std::move(entry));
  }
  ConfigNode& list = node["ranks"] = ConfigNode::List();
  for (size_t i = 0; i < ranks.size(); ++i) {
    ConfigNode entry = ConfigNode::Map();
    entry["tp_rank"] = ConfigNode::Int(checkpoint.shards[i].tp_rank);
    entry["pp_rank"] = ConfigNode::Int(checkpoint.shards[i].pp_rank);
    entry["parameters"] = SizeNode(ranks[i].parameters);
    entry["weight_bytes"] = SizeNode(ranks[i].weight_bytes);
    entry["optimizer_bytes"] = SizeNode(ranks[i].optimizer_bytes);
    list.list.push_back(std::move(entry));
  }
  return Config(node).ToJson() + "\n";
}

// One line a stage: the tensor ranks of a stage weigh the same.
std::string Table(const Weighed& weighed, const std::vector<RankSizes>& ranks, uint64_t parameters) {
  const Checkpoint& checkpoint = weighed.hollow.checkpoint;
  const Layout& layout = checkpoint.layout;
  std::vector<std::vector<std::string>> rows = {
      {"model", fmt::format("{} parameters ({})", HumanCount(parameters), weighed.hollow.model.dialect->title)},
      {"layout", fmt::format("tensor parallel {}, {} stage{}{}", layout.tp, layout.pp, layout.pp == 1 ? "" : "s",
                             layout.vp == 1 ? "" : fmt::format(", {} virtual chunks each", layout.vp))},
      {"writes", fmt::format("{} in {} file{}", HumanBytes(weighed.plan.bytes_written()), weighed.plan.files.size(),
                             weighed.plan.files.size() == 1 ? "" : "s")},
      {"balance", fmt::format("the largest rank is {:.3f} of the mean", Balance(ranks))}};
  for (size_t i = 0; i < ranks.size(); i += static_cast<size_t>(layout.tp)) {
    std::string text = fmt::format("stage {}: {} × {} parameters, {} of weights", checkpoint.shards[i].pp_rank,
                                   layout.tp, HumanCount(ranks[i].parameters), HumanBytes(ranks[i].weight_bytes));
    if (ranks[i].optimizer_bytes > 0) text += fmt::format(", {} of optimizer", HumanBytes(ranks[i].optimizer_bytes));
    rows.push_back({i == 0 ? "ranks" : "", text});
  }
  for (const PlanFile& file : std::span(weighed.plan.files).first(Shown(weighed.plan.files.size()))) {
    rows.push_back({&file == weighed.plan.files.data() ? "files" : "",
                    fmt::format("{} ({})", OneLine(PathOf(weighed, file)), HumanBytes(file.size))});
  }
  if (std::string more = AndMore(weighed.plan.files.size(), "files"); !more.empty())
    rows.push_back({"", std::move(more)});
  return Columns(rows);
}

int Run(Options& options) {
  options.model.dtype = FindDType(&DTypeInfo::name, options.dtype).value_or(DType::kF32);
  const Format* format = FindFormat(options.to);
  if (options.model.optimizer && format != nullptr && !format->traits.training) {
    return Report(InvalidArgument(fmt::format("--optimizer: a {} holds none", options.to), "--to ckpt does"));
  }
  if (options.model.config.empty() == options.model.preset.empty()) {
    return Report(InvalidArgument("expected either --config or --preset", "see: anemone plan --help"));
  }
  const auto weighed = Weigh(options);
  if (!weighed.ok()) return Report(weighed.status());
  Notes(weighed->hollow.checkpoint.notes);
  std::vector<RankSizes> ranks;
  for (const Shard& shard : weighed->hollow.checkpoint.shards) ranks.push_back(SizesOf(shard));
  Print(options.json ? Json(*weighed, ranks, weighed->hollow.parameters)
                     : Table(*weighed, ranks, weighed->hollow.parameters));
  return kDone;
}

}  // namespace

std::function<int()> DeclarePlan(CLI::App& app) {
  auto options = std::make_shared<Options>();
  Topic(app, "Model");
  Suggest(app.add_option("--family", options->model.family, "Model family")->required(),
          {"clip", "siglip", "gpt", "t5"});
  app.add_option("--config", options->model.config, "YAML file with the model's config")->type_name("FILE");
  SuggestPresets(app.add_option("--preset", options->model.preset, "Size of a CLIP by name, in place of --config"));
  Suggest(app.add_option("--dialect", options->model.dialect, "Names of tensors (default: as the config says)"),
          {"mcore", "legacy"});
  Topic(app, "Layout");
  app.add_option("--tp", options->layout.tp, "Tensor-parallel size")->type_name("N");
  app.add_option("--pp", options->layout.pp, "Pipeline-parallel size")->type_name("N");
  app.add_option("--vp", options->layout.vp, "Virtual chunks per pipeline stage")->type_name("N");
  Topic(app, "Model");
  app.add_option("--vocab", options->model.vocab, "Number of tokens, where the config does not say")->type_name("N");
  OneOf(app.add_option("--dtype", options->dtype, "Dtype of the weights (default: fp32)"), {"fp32", "bf16", "fp16"});
  app.add_flag("--optimizer", options->model.optimizer,
               "With Adam's state: fp32 moments, and fp32 masters of 16-bit weights");
  OneOf(app.add_option("--to", options->to, "Format (default: nemo, or ckpt with --optimizer)"),
        {"nemo", "nemo-dir", "ckpt"});
  Topic(app, "Output");
  app.add_flag("--json", options->json, "Print one JSON object");
  return [options] { return Run(*options); };
}

}  // namespace anemone::cli
