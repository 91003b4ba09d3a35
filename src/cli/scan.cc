// scan PATH …: what a file would import, call or write; exit 1 when something is not on the inert list.
#include "anemone/check.h"
#include "config/nodes.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/paths.h"
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

struct Options {
  std::vector<std::string> paths;
  bool json = false;
};

// The torch files among what was scanned, and what torch.load(weights_only=True) refuses in them.
struct WeightsOnly {
  std::set<std::string> files;           // that rebuild tensors: a torch zip's data.pkl, a legacy file
  const ScanFinding* refused = nullptr;  // the first global that it does not take
};

// torch.load reads no other pickle of a zip than data.pkl: those of torch.package's archives are not its own.
bool MayBeTorchs(std::string_view file, const std::string& path) {
  return file == path || !file.ends_with(".pkl") || file.ends_with("/data.pkl");
}

// A torch zip for its data.pkl, which lies in the one folder of it.
std::string_view TorchFileOf(std::string_view file) {
  if (!file.ends_with("/data.pkl")) return file;
  const std::string_view folder = file.substr(0, file.rfind('/'));
  return folder.substr(0, folder.rfind('/'));
}

WeightsOnly WeightsOnlyOf(const std::string& path, const std::vector<ScanFinding>& findings) {
  WeightsOnly result;
  for (const ScanFinding& f : findings) {
    const bool rebuilds = f.weights_only && f.name.starts_with("torch._utils _rebuild");
    if (rebuilds && MayBeTorchs(f.file, path)) result.files.insert(f.file);
  }
  const auto refused = std::ranges::find_if(
      findings, [&](const ScanFinding& f) { return f.weights_only == false && result.files.contains(f.file); });
  if (refused != findings.end()) result.refused = &*refused;
  return result;
}

bool IsTruncated(const std::vector<ScanFinding>& findings) {
  return std::ranges::any_of(findings, [](const ScanFinding& f) { return f.what == kNotListed; });
}

ConfigNode Json(const std::string& path, const std::vector<ScanFinding>& findings, bool clean) {
  ConfigNode node = ConfigNode::Map();
  const WeightsOnly weights_only = WeightsOnlyOf(path, findings);
  const bool truncated = IsTruncated(findings);
  node["path"] = ConfigNode::String(path);
  node["inert"] = ConfigNode::Bool(clean);
  node["truncated"] = ConfigNode::Bool(truncated);
  node["weights_only"] =
      weights_only.files.empty() || truncated ? ConfigNode::Null() : ConfigNode::Bool(weights_only.refused == nullptr);
  ConfigNode& list = node["findings"] = ConfigNode::List();
  for (const ScanFinding& f : findings) {
    ConfigNode entry = ConfigNode::Map();
    entry["danger"] = TextNode(Word(f.danger));
    entry["what"] = ConfigNode::String(f.what);
    entry["name"] = ConfigNode::String(f.name);
    entry["where"] = f.where.empty() ? ConfigNode::Null() : ConfigNode::String(f.where);
    entry["file"] = ConfigNode::String(f.file);
    list.list.push_back(std::move(entry));
  }
  return node;
}

Result<Answer> Run(const std::string& path, const Options& options) {
  ANEMONE_ASSIGN(const std::vector<ScanFinding> findings, Scan(path, MakeProgress()));
  const bool clean = std::ranges::all_of(findings, [](const ScanFinding& f) { return f.danger == Danger::kInert; });
  Answer answer = {.status = clean ? kDone : kNo};
  if (options.json) {
    answer.json = Json(path, findings, clean);
    return answer;
  }
  std::vector<const ScanFinding*> listed;
  for (const ScanFinding& f : findings) {
    if (f.danger != Danger::kInert || globals().verbosity > 0) listed.push_back(&f);
  }
  // The dangerous ones come first where not all are shown.
  if (Shown(listed.size()) < listed.size())
    std::ranges::stable_sort(listed, std::greater<>(), [](const ScanFinding* f) { return f->danger; });
  std::vector<std::vector<std::string>> rows;
  for (const ScanFinding* finding : std::span(listed).first(Shown(listed.size()))) {
    const ScanFinding& f = *finding;
    rows.push_back({std::string(Word(f.danger)), f.what, OneLine(f.where.empty() ? f.name : f.where + " = " + f.name),
                    OneLine(f.file)});
  }
  Print(Columns(rows));
  if (const std::string more = AndMore(listed.size(), "findings"); !more.empty()) Print(more + "\n");
  if (clean && globals().verbosity < 0) return answer;
  if (options.paths.size() > 1) Print(OneLine(path) + ": ");
  const bool truncated = IsTruncated(findings);
  const auto found = std::ranges::count_if(findings, [](const ScanFinding& f) { return f.danger != Danger::kInert; });
  Print(clean ? fmt::format("{} {}\n", Paint(Style::kGreen, "inert:"),
                            findings.empty() ? "nothing is imported, called or written"
                                             : Counted(findings.size(), "finding") + ", all of plain data")
              : fmt::format("{} {} of {} findings\n", Paint(Style::kRed, "NOT inert:"), found, findings.size()));
  if (truncated) {
    Print(fmt::format("the list ends at {} findings of each kind; scan parts of this one by one to see them all\n",
                      kMaxFindingsListed));
    return answer;
  }
  if (const WeightsOnly weights_only = WeightsOnlyOf(path, findings); !weights_only.files.empty()) {
    const std::string_view first = TorchFileOf(*weights_only.files.begin());
    const std::string loaded = weights_only.files.size() > 1 ? Counted(weights_only.files.size(), "file")
                               : first == path               ? "it"
                                                             : OneLine(first);
    Print("torch.load(weights_only=True) " +
          (weights_only.refused == nullptr ? fmt::format("loads {}\n", loaded)
                                           : fmt::format("refuses it: {} in {}\n", OneLine(weights_only.refused->name),
                                                         OneLine(weights_only.refused->file))));
  }
  return answer;
}

}  // namespace

std::function<int()> DeclareScan(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("PATH", options->paths, "Files, folders, hub ids or addresses")->required();
  app.add_flag("--json", options->json, "Print one JSON object, or a list of them for several paths");
  return [options] {
    return AnswerEach(options->paths, options->json, [&](const std::string& path) { return Run(path, *options); });
  };
}

}  // namespace anemone::cli
