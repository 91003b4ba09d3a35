// verify PATH …: reads everything and checks it.
#include "anemone/check.h"
#include "config/nodes.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/paths.h"
#include "cli/text.h"
#include "inspect/json_nodes.h"

namespace anemone::cli {
namespace {

struct Options {
  std::vector<std::string> paths;
  bool json = false;
};

// " (image tower 57, projector 4, language model 19)".
std::string PartsOf(const Verification& result) {
  std::string text;
  for (const auto& [name, tensors] : result.parts)
    text += fmt::format("{}{} {}", text.empty() ? " (" : ", ", name, tensors);
  return text.empty() ? text : text + ")";
}

Result<Answer> Run(const std::string& path, const Options& options) {
  ANEMONE_ASSIGN(const Verification result, Verify(path, MakeProgress()));
  Answer answer = {.status = result.problems.empty() ? kDone : kNo};
  if (options.json) {
    ConfigNode& node = answer.json = ConfigNode::Map();
    node["path"] = ConfigNode::String(path);
    node["ok"] = ConfigNode::Bool(result.problems.empty());
    node["tensors"] = SizeNode(result.tensors);
    if (!result.parts.empty()) {
      ConfigNode& parts = node["parts"] = ConfigNode::Map();
      for (const auto& [name, tensors] : result.parts) parts[name] = SizeNode(tensors);
    }
    node["bytes_read"] = SizeNode(result.bytes_read);
    node["unchecked"] = result.unchecked.empty() ? ConfigNode::Null() : ConfigNode::String(result.unchecked);
    ConfigNode& problems = node["problems"] = ConfigNode::List();
    for (const std::string& problem : result.problems) problems.list.push_back(ConfigNode::String(problem));
    return answer;
  }
  const size_t problems = result.problems.size();
  for (const std::string& problem : std::span(result.problems).first(Shown(problems))) Print(OneLine(problem) + "\n");
  if (const std::string more = AndMore(problems, "problems"); !more.empty()) Print(more + "\n");
  if (result.problems.empty() && globals().verbosity < 0) return answer;
  if (options.paths.size() > 1) Print(OneLine(path) + ": ");
  Print(result.problems.empty()
            ? fmt::format("{} {} tensors{}, {} read{}\n", Paint(Style::kGreen, "ok:"), result.tensors, PartsOf(result),
                          HumanBytes(result.bytes_read),
                          result.unchecked.empty()
                              ? ""
                              : fmt::format("; shapes not compared with a config: {}", OneLine(result.unchecked)))
            : Paint(Style::kRed, Counted(result.problems.size(), "problem")) + "\n");
  return answer;
}

}  // namespace

std::function<int()> DeclareVerify(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("PATH", options->paths, "Checkpoints: files, folders or hub ids")->required();
  app.add_flag("--json", options->json, "Print one JSON object, or a list of them for several paths");
  return [options] {
    return AnswerEach(options->paths, options->json, [&](const std::string& path) { return Run(path, *options); });
  };
}

}  // namespace anemone::cli
