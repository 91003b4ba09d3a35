#include "cli/explain.h"

#include <fmt/format.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/listing.h"
#include "cli/command.h"
#include "cli/text.h"
#include "config/nodes.h"
#include "inspect/json_nodes.h"
#include "tensor/layout_text.h"

namespace anemone::cli {
namespace {

ConfigNode Texts(const std::vector<std::string>& texts) {
  ConfigNode list = ConfigNode::List();
  for (const std::string& text : texts) list.list.push_back(ConfigNode::String(text));
  return list;
}

ConfigNode ToJsonNode(const PassReport& pass) {
  ConfigNode node = ConfigNode::Map();
  node["pass"] = ConfigNode::String(pass.name);
  node["purpose"] = ConfigNode::String(pass.purpose);
  node["changed"] = ConfigNode::Bool(pass.changed());
  ConfigNode& tensors = node["tensors"] = ConfigNode::Map();
  for (const auto& [key, count] : {std::pair{"names", pass.names},
                                   {"added", pass.names_added},
                                   {"removed", pass.names_removed},
                                   {"recast", pass.recast},
                                   {"reshaped", pass.reshaped}}) {
    tensors[key] = SizeNode(count);
  }
  node["config_keys"] = Texts(pass.config_keys);
  node["artifacts_added"] = Texts(pass.artifacts_added);
  node["artifacts_removed"] = Texts(pass.artifacts_removed);
  node["layout"] = pass.layout ? LayoutNode(*pass.layout) : ConfigNode::Null();
  node["drops_training"] = ConfigNode::Bool(pass.drops_training);
  node["files"] = SizeNode(pass.files);
  node["notes"] = Texts(pass.notes);
  return node;
}

std::string NamesIn(const std::vector<std::string>& names) {
  std::vector<std::string> lines;
  lines.reserve(names.size());
  for (const std::string& name : names) lines.push_back(OneLine(name));
  return Listing(lines);
}

std::vector<std::string> Lines(const PassReport& pass) {
  std::vector<std::string> lines;
  if (pass.names_added + pass.names_removed > 0)
    lines.push_back(
        fmt::format("tensors: {} names new, {} gone, {} now", pass.names_added, pass.names_removed, pass.names));
  if (pass.recast > 0) lines.push_back(fmt::format("tensors: {} in another dtype", pass.recast));
  if (pass.reshaped > 0) lines.push_back(fmt::format("tensors: {} in another shape", pass.reshaped));
  if (pass.layout) lines.push_back("layout: " + LayoutText(*pass.layout));
  if (pass.drops_training) lines.push_back("training state: dropped");
  if (!pass.config_keys.empty())
    lines.push_back(fmt::format("config ({}): {}", pass.config_keys.size(), NamesIn(pass.config_keys)));
  if (!pass.artifacts_added.empty()) lines.push_back("files added: " + NamesIn(pass.artifacts_added));
  if (!pass.artifacts_removed.empty()) lines.push_back("files removed: " + NamesIn(pass.artifacts_removed));
  if (pass.files > 0) lines.push_back(fmt::format("files: {}", pass.files));
  for (const std::string& note : std::span(pass.notes).first(Shown(pass.notes.size())))
    lines.push_back("note: " + OneLine(note));
  if (std::string more = AndMore(pass.notes.size(), "notes"); !more.empty()) lines.push_back(std::move(more));
  return lines;
}

}  // namespace

void PrintPasses(const Conversion& conversion, bool json) {
  if (json) {
    ConfigNode node = ConfigNode::Map();
    node["destination"] = ConfigNode::String(conversion.destination);
    node["format"] = ConfigNode::String(conversion.format);
    ConfigNode& passes = node["passes"] = ConfigNode::List();
    for (const PassReport& pass : conversion.passes) passes.list.push_back(ToJsonNode(pass));
    Print(Config(std::move(node)).ToJson() + "\n");
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const PassReport& pass : conversion.passes) {
    rows.push_back({pass.name, pass.purpose});
    for (std::string& line : Lines(pass)) rows.push_back({"", "  " + std::move(line)});
    if (!pass.changed()) rows.back().back() += ": nothing to change";
  }
  Print(Columns(rows));
}

}  // namespace anemone::cli
