#include "format/dist/dist.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "anemone/config.h"
#include "base/closed_file.h"
#include "base/for_each.h"
#include "format/dist/entries.h"
#include "format/dist/present.h"
#include "format/torch/omegaconf.h"
#include "format/torch/torch_file.h"
#include "format/values.h"

namespace anemone {
namespace {

constexpr size_t kMaxFiles = 1'000'000;
constexpr std::string_view kMetadata = "metadata.json";
constexpr std::string_view kCommon = "common.pt";

struct Backend {
  std::string name;  // empty for a folder that torch alone wrote
  bool has_common_file = false;
};

// What metadata.json says. Megatron-core names a backend of the common values where they are a file of their own.
Result<Backend> ReadBackend(const std::vector<Artifact>& members) {
  const Artifact* member = FindMember(members, kMetadata);
  if (member == nullptr) return Backend();
  ANEMONE_ASSIGN(const std::string text, member->content.ReadAll(1 << 20));
  ANEMONE_ASSIGN(const Config config, Config::ParseJson(text, member->name));
  const ConfigNode* backend = config.root().Get("sharded_backend");
  if (backend == nullptr || !backend->AsString()) {
    return Corrupt("[TD-1] expected \"sharded_backend\", found none").In(member->name);
  }
  const ConfigNode* version = config.root().Get("sharded_backend_version");
  if (version != nullptr && version->AsInt() != 1) {
    return Unsupported(fmt::format("[TD-1] expected version 1 of the backend, found {}", version->ScalarText()))
        .In(member->name);
  }
  return Backend{std::string(*backend->AsString()), config.root().Get("common_backend") != nullptr};
}

// Since core 0.19 the common values are an object among the others, and there is no common.pt [core_v0.19.0
// megatron/core/dist_checkpointing/strategies/torch.py].
Value TakeCommonState(std::deque<DistItem>& entries) {
  const auto common = std::ranges::find_if(entries, [](const DistItem& entry) {
    const auto shard = SplitObjectKey(entry.key);
    return shard && shard->key == "common_state" && std::holds_alternative<DistObject>(entry.content);
  });
  if (common == entries.end()) return {};
  Value value = std::get<DistObject>(std::move(common->content)).value;
  if (value.node->kind == ValueNode::Kind::kList && value.node->items.size() == 1)
    value.node = value.node->items.front();
  entries.erase(common);
  return value;
}

// Lightning's hyper_parameters: NeMo's DictConfig, by itself or under `cfg`.
void ReadHyperParameters(Checkpoint& checkpoint) {
  const auto& training = checkpoint.shards.front().training;
  if (!training) return;
  const ValueRef parameters = Lookup(*training->node, "hyper_parameters");
  if (parameters == nullptr) return;
  auto node = ToConfigNode(Value{training->graph, parameters});
  if (!node.ok()) {
    checkpoint.notes.push_back("hyper_parameters left unread: " + node.status().message());
    return;
  }
  if (const ConfigNode* cfg = node->Get("cfg"); cfg != nullptr && cfg->is_map()) node = ConfigNode(*cfg);
  if (!node->is_map()) return;
  checkpoint.config = Config(*std::move(node));
  checkpoint.config_name = "common.pt › hyper_parameters";
}

// TD-14: tensors of an optimizer are of no use without its groups, and Megatron-core loads nothing of such a folder.
void LeaveOutTraining(Checkpoint& checkpoint) {
  checkpoint.shards.front().training.reset();
  checkpoint.config_name = kCommon;  // where Megatron-LM's arguments and Lightning's hyper_parameters would be
  checkpoint.notes.push_back(
      "[TD-14] common.pt is missing, which metadata.json names: the weights are whole, the training state (iteration, "
      "schedule, groups of the optimizer) is left out; copy the file from the same save to have it");
}

// The members that are no part of the format. `used`: the names of the others.
std::vector<Artifact> Unused(std::vector<Artifact> members, std::vector<std::string_view> used) {
  std::ranges::sort(used);
  std::vector<Artifact> unused;
  for (Artifact& member : members) {
    if (std::ranges::binary_search(used, member.name)) continue;
    // Shards of ranks that stored nothing, zarr's own bookkeeping.
    if (member.name.ends_with(".distcp") || member.name.ends_with(".zattrs") || member.name.ends_with(".zgroup"))
      continue;
    unused.push_back(std::move(member));
  }
  return unused;
}

}  // namespace

Result<std::vector<Artifact>> ListFiles(const Location& directory) {
  std::vector<PassedOver> passed_over;
  ANEMONE_ASSIGN(std::vector<std::string> found, directory.FilesBelow(kMaxFiles, &passed_over));
  if (!passed_over.empty()) return directory.WhyPassedOver(passed_over.front());
  std::vector<Artifact> files(found.size());
  ANEMONE_TRY(ForEach(found.size(), directory.OpensAtOnce(), [&](uint64_t i, unsigned) -> Status {
    ANEMONE_ASSIGN(ByteSourcePtr source, (directory / found[i]).Open(found.size() <= kMaxOpenFiles));
    files[i] = {std::move(found[i]), Whole(std::move(source))};
    return {};
  }));
  return files;
}

std::vector<Artifact> MembersBelow(const std::vector<Artifact>& members, std::string_view folder) {
  const std::string prefix = std::string(folder) + "/";
  std::vector<Artifact> below;
  for (const Artifact& member : members) {
    if (member.name.starts_with(prefix)) below.push_back({member.name.substr(prefix.size()), member.content});
  }
  return below;
}

bool LooksDistributed(const std::vector<Artifact>& members) {
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(members, [&](const Artifact& member) { return member.name == name; });
  };
  return has(".metadata") || (has("metadata.json") && has("common.pt"));
}

Result<Checkpoint> OpenDistributed(std::vector<Artifact> members, std::string_view what) {
  std::ranges::sort(members, {}, &Artifact::name);
  const auto in = [&](const Status& status) { return what.empty() ? status : status.In(what); };

  auto backend = ReadBackend(members);
  if (!backend.ok()) return in(backend.status());
  const std::string& name = backend->name;
  const bool megatron = !name.empty();
  std::vector<std::string_view> used = {kMetadata};
  Result<DistMetadata> stored = DistMetadata();
  if (!megatron || name == "torch_dist") {
    stored = ReadTorchDist(members, used);
  } else if (name == "zarr") {
    stored = ReadZarr(members, used);
  } else {
    return in(Unsupported(fmt::format("[TD-1] expected the backend torch_dist or zarr, found \"{}\"", name)));
  }
  if (!stored.ok()) return in(stored.status());

  Value common = TakeCommonState(stored->items);
  if (const Artifact* member = FindMember(members, kCommon)) {
    auto file = ReadTorchFile(member->content, member->name);
    if (!file.ok()) return in(file.status().In(member->name));
    common = std::move(file->root);
    used.emplace_back(member->name);
  }
  // Read as torch's own, layers would stay stacked and extra states would be missing.
  if (!megatron && common.node != nullptr) {
    return in(Corrupt("[TD-1] expected metadata.json beside Megatron-core's common values, found none",
                      "the copy of the folder is not whole"));
  }

  Checkpoint checkpoint;
  checkpoint.flavour = name == "zarr" ? "zarr" : "torch_dist";
  checkpoint.path = what;
  checkpoint.artifacts = Unused(std::exchange(members, {}), std::move(used));
  DistributedOrigin& origin = checkpoint.origin.distributed.emplace();
  origin.backend = megatron ? name : "torch";
  Shard& shard = checkpoint.shards.emplace_back();
  const bool lacks_common = backend->has_common_file && common.node == nullptr;
  const PresentOptions options{.is_megatron = megatron, .lists_objects = name == "torch_dist"};
  ANEMONE_TRY(in(PresentDist(*std::move(stored), std::move(common), options, shard, origin)));
  if (lacks_common) {
    LeaveOutTraining(checkpoint);
  } else {
    ReadHyperParameters(checkpoint);
  }
  return checkpoint;
}

}  // namespace anemone
