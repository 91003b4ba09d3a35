// diff A B: names, shapes, dtypes, values, config, artifacts; exit 1 when they differ.
#include "ops/diff.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/forward.h"
#include "cli/text.h"
#include "ops/canonical.h"
#include "ops/json_nodes.h"
#include "ops/source.h"

namespace anemone::cli {
namespace {

struct Options {
  std::string first;
  std::string second;
  bool canonical = false;
  bool json = false;
  bool only_weights = false;
  bool forward = false;
  ForwardOptions forward_options;
};

std::string Text(const Difference& difference) {
  std::vector<std::vector<std::string>> rows;
  for (const TensorDifference& d : difference.tensors) {
    std::string detail;
    if (!d.first.empty()) detail = fmt::format("{} → {}", d.first, d.second);
    const bool values = d.kind == TensorDifference::Kind::kValues || d.kind == TensorDifference::Kind::kDType;
    if (d.kind == TensorDifference::Kind::kValues && d.elements == 0) {
      detail = "equal as numbers, but not bit for bit (signs of zero, or NaN)";
    } else if (values) {
      detail += fmt::format("{}{} elements, max |a-b| {:.6g}", detail.empty() ? "" : "; ", d.elements, d.max_abs);
    }
    rows.push_back({"tensor", std::string(Name(d.kind)), OneLine(d.name), detail});
  }
  const auto add_texts = [&rows](const char* what, const std::vector<TextDifference>& differences) {
    for (const TextDifference& d : differences) {
      const auto shown = [](const std::string& s) {
        return s.empty() ? std::string("(absent)") : OneLine(s).substr(0, 80);
      };
      rows.push_back({what, "", OneLine(d.path), fmt::format("{} → {}", shown(d.first), shown(d.second))});
    }
  };
  add_texts("config", difference.config);
  add_texts("artifact", difference.artifacts);
  return Columns(rows);
}

ConfigNode Json(const Difference& difference) {
  ConfigNode node = ConfigNode::Map();
  node["equal"] = ConfigNode::Bool(difference.empty());
  node["tensors_compared"] = CountNode(difference.tensors_compared);
  ConfigNode& tensors = node["tensors"] = ConfigNode::List();
  for (const TensorDifference& d : difference.tensors) {
    ConfigNode entry = TensorDifferenceNode(d);
    entry["max_abs"] = ConfigNode::Float(d.max_abs);
    tensors.list.push_back(std::move(entry));
  }
  node["config"] = TextDifferencesNode(difference.config);
  node["artifacts"] = TextDifferencesNode(difference.artifacts);
  return node;
}

int Run(const Options& options) {
  const ProgressFn progress = MakeProgress();
  Result<Checkpoint> first = OpenSource(options.first, progress);
  if (!first.ok()) return Report(first.status());
  Result<Checkpoint> second = OpenSource(options.second, progress);
  if (!second.ok()) return Report(second.status());
  if (options.forward) {
    ForwardOptions forward = options.forward_options;
    forward.threads = static_cast<int>(globals().threads);
    forward.progress = progress;
    return PrintForward(DiffForward(*first, *second, forward), options.json);
  }
  if (options.canonical) {
    first = Canonical(*first);
    if (!first.ok()) return Report(first.status().In(options.first));
    second = Canonical(*second);
    if (!second.ok()) return Report(second.status().In(options.second));
  }
  // Across dialects the configs are spelled differently and the artifacts are each dialect's own.
  const Result<Difference> difference =
      Diff(*first, *second, {.only_weights = options.only_weights || options.canonical, .progress = progress});
  if (!difference.ok()) return Report(difference.status());
  if (options.json) {
    Print(Config(Json(*difference)).ToJson() + "\n");
  } else {
    Print(Text(*difference));
    if (difference->empty()) Print(fmt::format("equal: {} tensors\n", difference->tensors_compared));
  }
  return difference->empty() ? kDone : kNo;
}

}  // namespace

std::function<int()> DeclareDiff(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("A", options->first, "A checkpoint")->required();
  app.add_option("B", options->second, "Another")->required();
  app.add_flag("--canonical", options->canonical,
               "Compare across dialects and layouts: the model's tensors under one naming");
  app.add_flag("--weights", options->only_weights, "Leave config and artifacts aside");
  app.add_flag("--forward", options->forward,
               "Run both CLIPs on the same image and texts; report each layer's largest difference");
  app.add_option("--image", options->forward_options.images, "With --forward: a picture (default: built-in noise)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--text", options->forward_options.texts, "With --forward: a text (default: built-in token ids)")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_option("--tolerance", options->forward_options.tolerance,
                 "With --forward: the largest difference relative to a layer's largest value (default: by dtypes)")
      ->check(CLI::NonNegativeNumber.description(""))
      ->type_name("X");
  app.add_flag("--json", options->json, "One JSON object");
  return [options] { return Run(*options); };
}

}  // namespace anemone::cli
