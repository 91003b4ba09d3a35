// verify PATH: reads everything and checks it.
#include "ops/verify.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/text.h"
#include "ops/json_nodes.h"

namespace anemone::cli {
namespace {

int Run(const std::string& path, bool json) {
  const Result<Verification> result = Verify(path, MakeProgress());
  if (!result.ok()) return Report(result.status());
  if (json) {
    ConfigNode node = ConfigNode::Map();
    node["path"] = ConfigNode::String(path);
    node["ok"] = ConfigNode::Bool(result->problems.empty());
    node["tensors"] = CountNode(result->tensors);
    node["bytes_read"] = CountNode(result->bytes_read);
    node["unchecked"] = result->unchecked.empty() ? ConfigNode::Null() : ConfigNode::String(result->unchecked);
    ConfigNode& problems = node["problems"] = ConfigNode::List();
    for (const std::string& problem : result->problems) problems.list.push_back(ConfigNode::String(problem));
    Print(Config(node).ToJson() + "\n");
  } else {
    for (const std::string& problem : result->problems) Print(OneLine(problem) + "\n");
    Print(result->problems.empty()
              ? fmt::format("ok: {} tensors, {} read{}\n", result->tensors, HumanBytes(result->bytes_read),
                            result->unchecked.empty()
                                ? ""
                                : fmt::format("; shapes not compared with a config: {}", OneLine(result->unchecked)))
              : fmt::format("{} problem{}\n", result->problems.size(), result->problems.size() == 1 ? "" : "s"));
  }
  return result->problems.empty() ? kDone : kNo;
}

}  // namespace

std::function<int()> DeclareVerify(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  app.add_option("PATH", *path, "A checkpoint")->required();
  app.add_flag("--json", *json, "One JSON object");
  return [path, json] { return Run(*path, *json); };
}

}  // namespace anemone::cli
