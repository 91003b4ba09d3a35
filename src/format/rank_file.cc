#include "format/rank_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "format/torch_file.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

bool IsDict(const ValueNode* node) { return node != nullptr && DictEntries(*node) != nullptr; }

// The dictionaries of the trainers that keep weights under a key of their own; first found wins.
constexpr std::string_view kWeightKeys[] = {"state_dict", "model_state_dict", "model", "module"};

bool HoldsTensor(const ValueNode& dict) {
  const auto& entries = *DictEntries(dict);
  for (size_t i = 1; i < entries.size(); i += 2) {
    if (entries[i]->kind == Kind::kTensor) return true;
  }
  return false;
}

Status ReadChunks(const Value& root, Shard& shard) {
  for (size_t i = 0;; ++i) {
    ValueNode* chunk = Lookup(*root.node, fmt::format("model{}", i));
    if (!IsDict(chunk)) return {};
    auto state = ToStateDict({root.graph, chunk});
    if (!state.ok()) return state.status().In(fmt::format("model{}", i));
    shard.chunks.push_back(*std::move(state));
  }
}

}  // namespace

Result<std::optional<ConfigNode>> ReadHparams(const Value& training) {
  ValueNode* node = Lookup(*training.node, "hyper_parameters");
  if (node == nullptr || node->kind == Kind::kNone) return std::optional<ConfigNode>();
  ANEMONE_ASSIGN(ConfigNode hparams, ToConfigNode({training.graph, node}));
  if (!hparams.is_map()) return std::optional<ConfigNode>();
  if (ConfigNode* cfg = hparams.Get("cfg"); cfg != nullptr && cfg->is_map()) return std::optional(ConfigNode(*cfg));
  return std::optional(std::move(hparams));
}

bool HasTensor(const StateDict& state) {
  return std::any_of(state.items().begin(), state.items().end(),
                     [](const auto& item) { return item.tensor() != nullptr; });
}

Status RenamePrefix(StateDict& state, std::string_view from, std::string_view to, std::vector<std::string>& notes) {
  const auto has_prefix = [&](const StateDict::Item& item) { return item.name.compare(0, from.size(), from) == 0; };
  if (state.empty() || !std::all_of(state.items().begin(), state.items().end(), has_prefix)) return {};
  StateDict renamed;
  for (const StateDict::Item& item : state.items()) {
    ANEMONE_TRY(renamed.Add(std::string(to) + item.name.substr(from.size()), item.entry));
  }
  state = std::move(renamed);
  notes.push_back(fmt::format("every name begins with \"{}\": read as \"{}\"", from, to));
  return {};
}

Result<RankFile> ReadRankFile(const ByteRange& range) {
  ANEMONE_ASSIGN(TorchFile torch, ReadTorchFile(range));
  RankFile file;
  file.torchscript = torch.torchscript;
  const Value& root = torch.root;
  if (!torch.torchscript && IsDict(root.node) && !HoldsTensor(*root.node)) {
    if (Lookup(*root.node, "pytorch-lightning_version") != nullptr) {
      file.lightning = true;
      file.shard.training = root;
      if (ValueNode* state = Lookup(*root.node, "state_dict"); IsDict(state)) {
        auto weights = ToStateDict({root.graph, state});
        if (!weights.ok()) return weights.status().In("state_dict");
        file.shard.weights = *std::move(weights);
      }
      ANEMONE_TRY(ReadChunks(root, file.shard));
      if (auto hparams = ReadHparams(root); !hparams.ok()) {
        file.notes.push_back("hyper_parameters left unread: " + hparams.status().message());
      } else {
        file.hparams = *std::move(hparams);
      }
      if (!HasTensor(file.shard.weights) && file.shard.chunks.empty()) {
        return Corrupt("[PTL-3] the state_dict holds no tensor",
                       "the weights of a distributed checkpoint lie in the folder beside it");
      }
      return file;
    }
    for (const std::string_view key : kWeightKeys) {
      ValueNode* state = Lookup(*root.node, key);
      if (!IsDict(state)) continue;
      auto weights = ToStateDict({root.graph, state});
      if (!weights.ok()) return weights.status().In(key);
      if (!HasTensor(*weights)) continue;
      file.shard.weights = *std::move(weights);
      file.shard.training = root;
      file.notes.push_back(fmt::format("weights are those under \"{}\"", key));
      break;
    }
  }
  if (file.shard.weights.empty()) {
    ANEMONE_ASSIGN(file.shard.weights, ToStateDict(root));
    if (!HasTensor(file.shard.weights)) return Corrupt("[TZ-22] the state dict holds no tensor");
  }
  ANEMONE_TRY(RenamePrefix(file.shard.weights, "module.", "", file.notes));
  return file;
}

}  // namespace anemone
