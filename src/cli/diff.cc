// diff A B: names, shapes, dtypes, values, config, artifacts; exit 1 when they differ.
#include "anemone/check.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/forward.h"
#include "cli/text.h"
#include "inspect/json_nodes.h"
#include "inspect/summary.h"
#include "source/canonical.h"
#include "source/source.h"

namespace anemone::cli {
namespace {

struct Options {
  std::string first;
  std::string second;
  bool canonical = false;
  bool json = false;
  bool stat = false;
  bool only_weights = false;
  bool forward = false;
  ForwardOptions forward_options;
};

// A value in at most so many columns as leave room for the other and for the name.
std::string Brief(const std::string& value) {
  constexpr size_t kMost = 24;
  if (value.empty()) return "(absent)";
  std::string line = OneLine(value);
  return globals().verbosity > 0 || Width(line) <= kMost ? line : Leading(line, kMost - 1) + "…";
}

// Below a list of `count`, of which not all are shown.
std::string More(const std::string& what, size_t count) {
  const std::string more = AndMore(count);
  return more.empty() ? more : fmt::format("{}  {}\n", what, more);
}

std::string Texts(const char* what, const std::vector<TextDifference>& differences) {
  std::vector<std::vector<std::string>> rows;
  rows.reserve(differences.size());
  for (const TextDifference& d : std::span(differences).first(Shown(differences.size())))
    rows.push_back({what, fmt::format("{} → {}", Brief(d.first), Brief(d.second)), OneLine(d.path)});
  return Columns(rows) + More(what, differences.size());
}

std::string Text(const Difference& difference) {
  std::vector<std::vector<std::string>> rows;
  const size_t tensors = difference.tensors.size();
  for (const TensorDifference& d : std::span(difference.tensors).first(Shown(tensors))) {
    std::string detail;
    if (!d.first.empty()) detail = fmt::format("{} → {}", d.first, d.second);
    const bool values = d.kind == TensorDifference::Kind::kValues || d.kind == TensorDifference::Kind::kDType;
    if (d.kind == TensorDifference::Kind::kValues && d.elements == 0) {
      detail = "equal as numbers, but not bit for bit (signs of zero, or NaN)";
    } else if (values) {
      detail +=
          fmt::format("{}{}, max |a-b| {:.6g}", detail.empty() ? "" : "; ", Counted(d.elements, "element"), d.max_abs);
    }
    rows.push_back({"tensor", std::string(Name(d.kind)), detail, OneLine(d.name)});
  }
  return Columns(rows) + More("tensor", tensors) + Texts("config", difference.config) +
         Texts("artifact", difference.artifacts);
}

// "12 of 74 tensors differ: 10 in values, 2 in dtype; largest |a-b| 0.01 in X\n3 config values differ\n".
std::string Stat(const Difference& difference) {
  if (difference.empty())
    return fmt::format("{} {} tensors\n", Paint(Style::kGreen, "equal:"), difference.tensors_compared);
  std::map<std::string_view, size_t> kinds;
  const TensorDifference* largest = nullptr;
  size_t compared = 0;
  for (const TensorDifference& d : difference.tensors) {
    ++kinds[Name(d.kind)];
    const bool is_in_both =
        d.kind != TensorDifference::Kind::kOnlyInFirst && d.kind != TensorDifference::Kind::kOnlyInSecond;
    compared += is_in_both ? 1 : 0;
    if (d.elements > 0 && (largest == nullptr || d.max_abs > largest->max_abs)) largest = &d;
  }
  std::string text = fmt::format("{} of {} tensors that both have differ", compared, difference.tensors_compared);
  std::string_view before = ": ";
  for (const auto& [kind, count] : kinds) text += fmt::format("{}{} {}", std::exchange(before, ", "), count, kind);
  if (largest != nullptr) text += fmt::format("; largest |a-b| {:.6g} in {}", largest->max_abs, OneLine(largest->name));
  text += '\n';
  for (const auto& [what, count] :
       {std::pair{"config value", difference.config.size()}, {"file", difference.artifacts.size()}}) {
    if (count > 0) text += fmt::format("{} {}\n", Counted(count, what), count == 1 ? "differs" : "differ");
  }
  return text;
}

// Why two checkpoints have so few names in common, and what to do.
void NoteOtherNames(const Checkpoint& first, const Checkpoint& second, const Difference& difference) {
  const auto is_missing = [](const TensorDifference& d) {
    return d.kind == TensorDifference::Kind::kOnlyInFirst || d.kind == TensorDifference::Kind::kOnlyInSecond;
  };
  if (std::ranges::none_of(difference.tensors, is_missing)) return;
  const Summary a = Summarize(first), b = Summarize(second);
  if (a.family().empty() || b.family().empty()) return;
  if (a.family() != b.family()) {
    Note(fmt::format("these are different models: {} and {}", a.family(), b.family()));
  } else if (a.dialect() != b.dialect()) {
    Note(fmt::format("tensors have the names of {} and of {}: --canonical compares the models", a.dialect(),
                     b.dialect()));
  }
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
    Print(Config(DifferenceNode(*difference)).ToJson() + "\n");
  } else {
    if (!options.stat) Print(Text(*difference));
    Print(Stat(*difference));
  }
  if (!options.canonical) NoteOtherNames(*first, *second, *difference);
  return difference->empty() ? kDone : kNo;
}

}  // namespace

std::function<int()> DeclareDiff(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("A", options->first, "A checkpoint")->required();
  app.add_option("B", options->second, "Another")->required();
  Topic(app, "Comparison");
  app.add_flag("--canonical", options->canonical,
               "Compare across dialects and layouts: the model's tensors under one naming");
  app.add_flag("--weights", options->only_weights, "Compare weights only, not config and files");
  app.add_flag("--forward", options->forward,
               "Run both CLIPs on one image and texts; report each layer's largest difference");
  app.add_option("--image", options->forward_options.images, "With --forward: images (default: built-in noise)")
      ->type_name("FILE");
  app.add_option("--text", options->forward_options.texts, "With --forward: texts (default: built-in token ids)")
      ->type_name("TEXT");
  app.add_option("--tolerance", options->forward_options.tolerance,
                 "With --forward: the largest difference relative to a layer's largest value (default: by dtypes)")
      ->check(CLI::NonNegativeNumber.description(""))
      ->type_name("X");
  Topic(app, "Output");
  app.add_flag("--stat", options->stat, "Print a summary only");
  app.add_flag("--json", options->json, "Print one JSON object");
  return [options] { return Run(*options); };
}

}  // namespace anemone::cli
