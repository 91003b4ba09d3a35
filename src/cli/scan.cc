// scan PATH: what a file would import, call or write; exit 1 when something is not on the inert list.
#include "ops/scan.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <memory>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/text.h"

namespace anemone::cli {
namespace {

std::string_view Word(Danger danger) {
  switch (danger) {
    case Danger::kInert:
      return "inert";
    case Danger::kUnknown:
      return "unknown";
    case Danger::kDangerous:
      return "DANGEROUS";
  }
  return "";
}

int Run(const std::string& path, bool json) {
  const Result<std::vector<ScanFinding>> findings = Scan(path);
  if (!findings.ok()) return Report(findings.status());
  const bool clean =
      std::all_of(findings->begin(), findings->end(), [](const ScanFinding& f) { return f.danger == Danger::kInert; });
  if (json) {
    ConfigNode node = ConfigNode::Map();
    node["path"] = ConfigNode::String(path);
    node["inert"] = ConfigNode::Bool(clean);
    ConfigNode& list = node["findings"] = ConfigNode::List();
    for (const ScanFinding& f : *findings) {
      ConfigNode entry = ConfigNode::Map();
      entry["danger"] = ConfigNode::String(std::string(Word(f.danger)));
      entry["what"] = ConfigNode::String(f.what);
      entry["name"] = ConfigNode::String(f.name);
      entry["where"] = f.where.empty() ? ConfigNode::Null() : ConfigNode::String(f.where);
      entry["file"] = ConfigNode::String(f.file);
      list.list.push_back(std::move(entry));
    }
    Print(Config(node).ToJson() + "\n");
  } else {
    std::vector<std::vector<std::string>> rows;
    for (const ScanFinding& f : *findings) {
      if (f.danger == Danger::kInert && globals().verbosity < 1) continue;
      rows.push_back({std::string(Word(f.danger)), f.what, OneLine(f.where.empty() ? f.name : f.where + " = " + f.name),
                      OneLine(f.file)});
    }
    Print(Columns(rows));
    Print(clean ? fmt::format("inert: {} findings, all of plain data\n", findings->size())
                : fmt::format("NOT inert: {} of {} findings\n", rows.size(), findings->size()));
  }
  return clean ? kDone : kNo;
}

}  // namespace

std::function<int()> DeclareScan(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  app.add_option("PATH", *path, "A file or directory")->required();
  app.add_flag("--json", *json, "One JSON object");
  return [path, json] { return Run(*path, *json); };
}

}  // namespace anemone::cli
