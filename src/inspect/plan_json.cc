#include "anemone/config.h"
#include "anemone/plan.h"
#include "config/nodes.h"
#include "engine/execute.h"

namespace anemone {

std::string PlanJson(const Plan& plan, const std::string& destination, unsigned threads) {
  ExecuteOptions options;
  options.threads = threads;
  ConfigNode node = ConfigNode::Map();
  node["destination"] = ConfigNode::String(destination);
  node["bytes_read"] = SizeNode(plan.bytes_read());
  node["bytes_written"] = SizeNode(plan.bytes_written());
  const uint64_t shared = plan.bytes_shared();
  node["bytes_shared"] = SizeNode(shared);
  node["bytes_of_disk"] = SizeNode(plan.bytes_written() - shared);
  node["peak_memory_bytes"] = SizeNode(PeakMemoryBytes(plan, options));
  node["tensors"] = SizeNode(plan.num_tensors());
  ConfigNode& files = node["files"] = ConfigNode::List();
  for (const PlanFile& file : plan.files) {
    ConfigNode entry = ConfigNode::Map();
    entry["path"] = ConfigNode::String(file.path.empty() ? destination : destination + "/" + file.path);
    entry["bytes"] = SizeNode(file.size);
    files.list.push_back(std::move(entry));
  }
  return Config(node).ToJson() + "\n";
}

}  // namespace anemone
