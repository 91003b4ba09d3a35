// Verify, diff, scan: what a checkpoint is found to be, as JSON.
#include <string>

#include "anemone/check.h"
#include "c_api/c_progress.h"
#include "c_api/call.h"
#include "c_api/options.h"
#include "config/nodes.h"
#include "inspect/json_nodes.h"
#include "source/canonical.h"
#include "source/source.h"

using anemone::Checkpoint;
using anemone::ConfigNode;
using anemone::ProgressFn;
using anemone::Status;
using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

anemone_status* anemone_verify(const char* path, anemone_progress* progress, char** json) {
  return Guarded(progress, [&]() -> Status {
    ANEMONE_ASSIGN(const anemone::Verification found, anemone::Verify(path, ToProgressFn(progress)));
    ConfigNode node = ConfigNode::Map();
    node["ok"] = ConfigNode::Bool(found.problems.empty());
    ConfigNode& problems = node["problems"] = ConfigNode::List();
    for (const std::string& problem : found.problems) problems.list.push_back(ConfigNode::String(problem));
    node["unchecked"] = ConfigNode::String(found.unchecked);
    node["tensors"] = anemone::SizeNode(found.tensors);
    node["bytes_read"] = anemone::SizeNode(found.bytes_read);
    return GiveJson(node, json);
  });
}

anemone_status* anemone_diff(const char* first, const char* second, const char* options, anemone_progress* progress,
                             char** json) {
  return Guarded(progress, [&]() -> Status {
    bool canonical = false;
    bool only_weights = false;
    const Option known[] = {{"canonical", &canonical}, {"only_weights", &only_weights}};
    ANEMONE_TRY(ReadOptions(options, known));
    const ProgressFn report = ToProgressFn(progress);
    ANEMONE_ASSIGN(Checkpoint a, anemone::OpenSource(first, report));
    ANEMONE_ASSIGN(Checkpoint b, anemone::OpenSource(second, report));
    if (canonical) {
      ANEMONE_ASSIGN(a, Canonical(a));
      ANEMONE_ASSIGN(b, Canonical(b));
    }
    ANEMONE_ASSIGN(const anemone::Difference difference,
                   Diff(a, b, {.only_weights = only_weights || canonical, .progress = report}));
    return GiveJson(DifferenceNode(difference), json);
  });
}

anemone_status* anemone_scan(const char* path, anemone_progress* progress, char** json) {
  return Guarded(progress, [&]() -> Status {
    constexpr const char* kDangers[] = {"inert", "unknown", "calls"};
    ANEMONE_ASSIGN(const std::vector<anemone::ScanFinding> findings, anemone::Scan(path, ToProgressFn(progress)));
    ConfigNode list = ConfigNode::List();
    for (const anemone::ScanFinding& finding : findings) {
      ConfigNode node = ConfigNode::Map();
      node["file"] = ConfigNode::String(finding.file);
      node["what"] = ConfigNode::String(finding.what);
      node["name"] = ConfigNode::String(finding.name);
      node["where"] = ConfigNode::String(finding.where);
      node["danger"] = ConfigNode::String(kDangers[static_cast<size_t>(finding.danger)]);
      node["weights_only"] = ConfigNode::Bool(finding.weights_only.value_or(false));
      list.list.push_back(std::move(node));
    }
    return GiveJson(list, json);
  });
}
