#include "cli/forward.h"

#include <fmt/format.h>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/text.h"

namespace anemone::cli {
namespace {

std::string Table(const ForwardDifference& difference) {
  std::vector<std::vector<std::string>> rows = {{"layer", "max |a-b|", "relative"}};
  for (const LayerDifference& layer : difference.layers) {
    rows.push_back({layer.name, fmt::format("{:.3g}", layer.max_abs), fmt::format("{:.3g}", layer.relative)});
    if (!layer.detail.empty()) rows.back().push_back(OneLine(layer.detail));
  }
  return Columns(rows);
}

std::string Verdict(const ForwardDifference& difference) {
  const LayerDifference* first = difference.first_divergence();
  if (first == nullptr) {
    return fmt::format("same: {} steps within {:g}\n", difference.layers.size(), difference.tolerance);
  }
  return fmt::format("first divergence: {} ({})\n", first->name,
                     first->detail.empty()
                         ? fmt::format("relative {:.3g}, tolerance {:g}", first->relative, difference.tolerance)
                         : OneLine(first->detail));
}

ConfigNode Json(const ForwardDifference& difference) {
  const LayerDifference* first = difference.first_divergence();
  ConfigNode node = ConfigNode::Map();
  node["equal"] = ConfigNode::Bool(first == nullptr);
  node["first_divergence"] = first == nullptr ? ConfigNode::Null() : ConfigNode::String(first->name);
  node["tolerance"] = ConfigNode::Float(difference.tolerance);
  ConfigNode& layers = node["layers"] = ConfigNode::List();
  for (const LayerDifference& layer : difference.layers) {
    ConfigNode entry = ConfigNode::Map();
    entry["name"] = ConfigNode::String(layer.name);
    entry["max_abs"] = ConfigNode::Float(layer.max_abs);
    entry["relative"] = ConfigNode::Float(layer.relative);
    entry["detail"] = ConfigNode::String(layer.detail);
    layers.list.push_back(std::move(entry));
  }
  return node;
}

}  // namespace

int PrintForward(const Result<ForwardDifference>& difference, bool json) {
  if (!difference.ok()) return Report(difference.status());
  Print(json ? Config(Json(*difference)).ToJson() + "\n" : Table(*difference) + Verdict(*difference));
  return difference->first_divergence() == nullptr ? kDone : kNo;
}

int PrintCheck(const Result<ForwardDifference>& difference) {
  if (!difference.ok()) return Report(difference.status());
  if (difference->first_divergence() != nullptr) return PrintForward(difference, false);
  if (globals().verbosity >= 0) Print("check: " + Verdict(*difference));
  return kDone;
}

}  // namespace anemone::cli
