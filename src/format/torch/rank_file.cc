#include "format/torch/rank_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/listing.h"
#include "format/torch/megatron_file.h"
#include "format/torch/omegaconf.h"
#include "format/torch/pickled.h"
#include "format/torch/state_dict.h"
#include "format/torch/storage_id.h"
#include "format/torch/torch_file.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

bool IsDict(const ValueNode* node) { return node != nullptr && DictEntries(*node) != nullptr; }
bool HoldsNames(const ValueNode* node) { return IsDict(node) || (node != nullptr && ModuleState(*node) != nullptr); }

// The name of a key: that of a number, which ensembles have, is its digits.
std::string KeyName(const ValueNode& key) { return key.kind == Kind::kInt ? std::to_string(key.integer) : key.text; }

// The value of a dictionary under a key of that name.
ValueNode* Below(const ValueNode& dict, std::string_view name) {
  if (ValueNode* found = Lookup(dict, name); found != nullptr) return found;
  const auto& entries = *DictEntries(dict);
  for (size_t i = 0; i + 1 < entries.size(); i += 2) {
    if (entries[i]->kind == Kind::kInt && KeyName(*entries[i]) == name) return entries[i + 1];
  }
  return nullptr;
}

constexpr std::string_view kGiveModel = "give the file that the model was saved to";
// Keys under which trainers keep the weights; the first that holds a tensor wins.
constexpr std::string_view kWeightKeys[] = {"state_dict", "model_state_dict", "model", "module"};
// What a trainer keeps beside the weights may hold tensors too.
constexpr std::string_view kOtherKeys[] = {"optim", "sched", "scaler", "rng", "hyper_parameters", "callbacks", "loops"};

bool IsOther(std::string_view key) {
  return std::any_of(std::begin(kOtherKeys), std::end(kOtherKeys),
                     [&](std::string_view other) { return key.find(other) != std::string_view::npos; });
}

bool HasTensor(const StateDict& state) {
  return std::any_of(state.items().begin(), state.items().end(),
                     [](const auto& item) { return item.tensor() != nullptr; });
}

// A dictionary of the root that may be the weights.
struct Candidate {
  std::string key;
  StateDict weights;
  std::vector<std::string> left_out;
};

// What the top of a torch file is made of.
struct Contents {
  size_t tensors = 0;       // right at the top, scalars aside
  bool has_others = false;  // numbers, texts, an optimizer: a trainer's file
  std::vector<std::string> other_dictionaries;
  std::vector<Candidate> candidates;
};

Contents ContentsOf(const Value& root) {
  Contents contents;
  const auto& entries = *DictEntries(*root.node);
  for (size_t i = 0; i + 1 < entries.size(); i += 2) {
    ValueNode* value = entries[i + 1];
    const std::string key = KeyName(*entries[i]);
    if (value->kind == ValueNode::Kind::kTensor) {
      // A loss or a score is no weight.
      const bool is_loose = value->tensor->num_elements() == 1 && key.find('.') == std::string::npos;
      contents.tensors += is_loose ? 0 : 1;
    } else if (!HoldsNames(value) || IsOther(key)) {
      contents.has_others = true;
      if (HoldsNames(value)) contents.other_dictionaries.push_back(key);
    } else {
      Candidate candidate{key, {}, {}};
      auto weights = ToStateDict({root.graph, value}, &candidate.left_out);
      if (!weights.ok() || !HasTensor(*weights)) {
        contents.has_others = true;
        continue;
      }
      candidate.weights = *std::move(weights);
      contents.candidates.push_back(std::move(candidate));
    }
  }
  return contents;
}

// Whether two dictionaries are versions of one thing (weights and their moving average), not parts of another.
bool AreAlternatives(const StateDict& a, const StateDict& b) {
  const auto is_in = [](const StateDict& all, const StateDict::Item& item) { return all.Find(item.name) != nullptr; };
  const auto shared =
      std::count_if(a.items().begin(), a.items().end(), [&](const auto& item) { return is_in(b, item); });
  return 2 * static_cast<size_t>(shared) > std::min(a.size(), b.size());
}

std::string KeysOf(const std::vector<Candidate>& candidates) {
  std::string keys;
  for (const Candidate& candidate : candidates)
    keys += fmt::format("{}\"{}\" ({} tensors)", keys.empty() ? "" : ", ", candidate.key, candidate.weights.size());
  return keys;
}

// DeepSpeed's *_optim_states.pt and torchtune's recipe_state.pt have tensors too, those of the optimizer.
Status CheckHasWeights(const Contents& contents) {
  if (contents.tensors > 0 || !contents.candidates.empty() || contents.other_dictionaries.empty()) return {};
  return Unsupported(fmt::format("[TZ-22] expected weights, found what trainers save beside them: {}",
                                 Listing(contents.other_dictionaries)),
                     std::string(kGiveModel));
}

// The one dictionary of the root that is the weights; nullptr when all of the root is.
Result<Candidate*> Choose(Contents& contents) {
  std::vector<Candidate>& candidates = contents.candidates;
  if (candidates.empty()) return nullptr;
  for (const std::string_view key : kWeightKeys) {
    for (Candidate& candidate : candidates) {
      if (candidate.key == key && (key.ends_with("state_dict") || candidate.weights.size() >= contents.tensors))
        return &candidate;
    }
  }
  bool are_alternatives = false;
  for (size_t i = 1; i < candidates.size(); ++i)
    are_alternatives = are_alternatives || AreAlternatives(candidates[i].weights, candidates[0].weights);
  if (!contents.has_others && !are_alternatives) return nullptr;
  if (candidates.size() > 1) {
    return InvalidArgument(fmt::format("[TZ-24] expected one dictionary of tensors, found {}", KeysOf(candidates)))
        .Use("key", candidates[0].key, "take that one");
  }
  return candidates[0].weights.size() > contents.tensors ? &candidates[0] : nullptr;
}

// A file of one dictionary, in which all else lies: {"weights": {…}}, {"checkpoint": {"model": {…}, "epoch": 3}}.
// `path` receives the keys that lead to it.
Value Unwrapped(Value root, std::string* path) {
  constexpr int kMaxDepth = 8;
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    const auto& entries = *DictEntries(*root.node);
    if (entries.size() != 2 || !IsDict(entries[1])) break;
    const std::string key = KeyName(*entries[0]);
    if (std::ranges::find(kWeightKeys, key) != std::end(kWeightKeys) || IsOther(key)) break;
    *path += (path->empty() ? "" : ".") + key;
    root.node = entries[1];
  }
  return root;
}

Result<Candidate> TakeKey(const Value& root, std::string_view key) {
  Candidate candidate{std::string(key), {}, {}};
  ValueNode* node = IsDict(root.node) ? Below(*root.node, key) : nullptr;
  if (node == nullptr) {  // "a.b"
    node = root.node;
    for (std::string_view rest = key; node != nullptr && !rest.empty();) {
      const size_t dot = std::min(rest.find('.'), rest.size());
      node = IsDict(node) ? Below(*node, rest.substr(0, dot)) : nullptr;
      rest.remove_prefix(std::min(dot + 1, rest.size()));
    }
  }
  if (!HoldsNames(node)) {
    Contents contents = IsDict(root.node) ? ContentsOf(root) : Contents();
    return InvalidArgument(fmt::format("[TZ-24] expected a dictionary \"{}\", found {}", key,
                                       contents.candidates.empty() ? "none of tensors" : KeysOf(contents.candidates)));
  }
  auto weights = ToStateDict({root.graph, node}, &candidate.left_out);
  if (!weights.ok()) return weights.status().In(key);
  if (!HasTensor(*weights)) return Corrupt("[TZ-22] the state dict holds no tensor").In(key);
  candidate.weights = *std::move(weights);
  return candidate;
}

void NoteLeftOut(const std::vector<std::string>& names, RankFile& file) {
  if (names.empty()) return;
  file.notes.push_back(fmt::format("values among the weights that are no tensors are left out: {}", Listing(names)));
}

// FSDP joins the parameters of a module into one, of which each rank has a part: "_flat_param", before torch 2.0
// "flat_param", FairScale's "flat_param_0".
bool IsFlat(std::string_view name) {
  name.remove_prefix(name.rfind('.') + 1);
  return name == "_flat_param" || name == "flat_param" ||
         (name.starts_with("flat_param_") && name.find_first_not_of("0123456789", 11) == std::string_view::npos);
}

// Under ZeRO stage 3 a state dict holds empty tensors: the weights are divided over the optimizer's files.
Status CheckNotPlaceholders(const StateDict& weights) {
  for (const StateDict::Item& item : weights.items()) {
    if (IsFlat(item.name)) {
      return Unsupported("[TZ-25] expected weights, found FSDP's flat parameter, in which many are joined",
                         "save it again under StateDictType.FULL_STATE_DICT, or by torch.distributed.checkpoint")
          .In(item.name);
    }
  }
  size_t empty = 0;
  std::string first;
  for (const StateDict::Item& item : weights.items()) {
    const Tensor* tensor = item.tensor();
    if (tensor == nullptr || tensor->shape() != Shape{0}) continue;
    ++empty;
    if (first.empty() && item.name.ends_with("weight")) first = item.name;
  }
  if (first.empty() && 2 * empty <= weights.size()) return {};
  return Unsupported(
             fmt::format("[TZ-25] expected weights, found {} empty placeholders of {} tensors", empty, weights.size()),
             "DeepSpeed's ZeRO stage 3 keeps them in its optimizer files: its own zero_to_fp32.py joins them")
      .In(first.empty() ? weights.items().front().name : first);
}

// {"model": …, "model_ema": …}: the weights are known by their key, and others could be meant.
void NoteAlternatives(const Contents& contents, const Candidate& chosen, RankFile& file) {
  for (const Candidate& other : contents.candidates) {
    if (&other != &chosen && AreAlternatives(other.weights, chosen.weights))
      file.notes.push_back(
          fmt::format("\"{}\" ({} tensors) is left out: another version of the weights, which can be "
                      "chosen as the key",
                      other.key, other.weights.size()));
  }
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

Result<std::optional<ConfigNode>> ReadHparams(const Value& training, std::vector<std::string>* left_out) {
  ValueNode* node = Lookup(*training.node, "hyper_parameters");
  if (node == nullptr || node->kind == Kind::kNone) return std::optional<ConfigNode>();
  ANEMONE_ASSIGN(ConfigNode hparams, ToConfigNode({training.graph, node}, left_out));
  if (!hparams.is_map()) return std::optional<ConfigNode>();
  if (ConfigNode* cfg = hparams.Get("cfg"); cfg != nullptr && cfg->is_map()) return std::optional(ConfigNode(*cfg));
  return std::optional(std::move(hparams));
}

Status RenamePrefix(StateDict& state, std::string_view from, std::string_view to, std::vector<std::string>& notes) {
  const auto has_prefix = [&](const StateDict::Item& item) { return item.name.compare(0, from.size(), from) == 0; };
  if (state.empty() || !std::all_of(state.items().begin(), state.items().end(), has_prefix)) return {};
  StateDict renamed;
  for (const StateDict::Item& item : state.items()) {
    ANEMONE_TRY(renamed.Add(std::string(to) + item.name.substr(from.size()), item.entry));
  }
  state = std::move(renamed);
  notes.push_back(fmt::format("every name begins with \"{}\": read {}", from,
                              to.empty() ? "without it" : fmt::format("as \"{}\"", to)));
  return {};
}

namespace {

Status ReadLightning(const Value& root, const RankFileOptions& options, RankFile& file) {
  file.lightning = true;
  file.shard.training = root;
  std::vector<std::string> left_out;
  if (options.key.empty()) {
    for (const std::string_view key : {"state_dict", "module"}) {  // DeepSpeed's strategy saves the latter
      ValueNode* state = Lookup(*root.node, key);
      if (!HoldsNames(state)) continue;
      auto weights = ToStateDict({root.graph, state}, &left_out);
      if (!weights.ok()) return weights.status().In(key);
      file.shard.weights = *std::move(weights);
      break;
    }
    ANEMONE_TRY(ReadChunks(root, file.shard));
  } else {
    ANEMONE_ASSIGN(Candidate taken, TakeKey(root, options.key));
    file.shard.weights = std::move(taken.weights);
    left_out = std::move(taken.left_out);
  }
  NoteLeftOut(left_out, file);
  std::vector<std::string> objects;
  if (auto hparams = ReadHparams(root, &objects); !hparams.ok()) {
    file.notes.push_back("hyper_parameters left unread: " + hparams.status().message());
  } else {
    file.hparams = *std::move(hparams);
  }
  if (!objects.empty())
    file.notes.push_back(fmt::format("objects in hyper_parameters are left out of the config: {}", Listing(objects)));
  if (HasTensor(file.shard.weights) || !file.shard.chunks.empty()) return {};
  return Corrupt("[PTL-3] the state_dict holds no tensor",
                 "the weights of a distributed checkpoint lie in the folder beside it");
}

// The name of an object's class, which torch before 1.6 states with its source: ("module", class, file, source).
std::string_view ClassOf(const ValueNode& object) {
  const ValueNode* callable = object.callable;
  if (callable == nullptr) return "module";
  if (callable->kind != Kind::kPersistent) return Describe(&object);
  const auto* parts = IsModuleClass(*callable) ? Sequence(callable->items[0]) : nullptr;
  return parts != nullptr && parts->size() > 1 ? Describe((*parts)[1]) : "module";
}

Status ReadWeights(const TorchFile& torch, const RankFileOptions& options, RankFile& file) {
  Value root = torch.root;
  std::optional<Candidate> candidate;
  if (!options.key.empty()) {
    ANEMONE_ASSIGN(candidate, TakeKey(root, options.key));
  } else if (!torch.torchscript && IsDict(root.node)) {
    std::string path;
    root = Unwrapped(root, &path);
    if (!path.empty()) file.notes.push_back(fmt::format("all of the file is under \"{}\"", path));
    Contents contents = ContentsOf(root);
    ANEMONE_TRY(CheckHasWeights(contents));
    ANEMONE_ASSIGN(Candidate * chosen, Choose(contents));
    if (chosen != nullptr) {
      NoteAlternatives(contents, *chosen, file);
      candidate = std::move(*chosen);
    }
  }
  if (candidate) {
    file.shard.weights = std::move(candidate->weights);
    file.shard.training = root;
    file.notes.push_back(fmt::format("weights are those under \"{}\"", candidate->key));
    NoteLeftOut(candidate->left_out, file);
    return {};
  }
  std::vector<std::string> left_out;
  ANEMONE_ASSIGN(file.shard.weights, ToStateDict(root, &left_out));
  if (ModuleState(*root.node) != nullptr) {
    file.notes.push_back(
        fmt::format("a whole pickled {}: its parameters and buffers are read, its code is not", ClassOf(*root.node)));
  }
  if (!HasTensor(file.shard.weights))
    return Corrupt("[TZ-22] the state dict holds no tensor",
                   std::string(options.if_empty.empty() ? kGiveModel : options.if_empty));
  NoteLeftOut(left_out, file);
  return {};
}

}  // namespace

namespace {

Status ReadMegatron(const Value& root, RankFile& file) {
  file.megatron = true;
  std::vector<std::string> objects;
  ANEMONE_ASSIGN(file.hparams, ReadMegatronArgs(root, &objects));
  if (!objects.empty()) file.notes.push_back(fmt::format("objects in args are left out: {}", Listing(objects)));
  ANEMONE_ASSIGN(file.shard, ReadMegatronShard(root, *file.hparams, &file.notes));
  return {};
}

// DeepSpeed's file of one rank looks like one of a whole model [deepspeed/runtime/engine.py, _save_checkpoint].
Status CheckOneRank(const Value& root) {
  const ValueNode* ranks = IsDict(root.node) ? Lookup(*root.node, "mp_world_size") : nullptr;
  if (ranks == nullptr || ranks->kind != ValueNode::Kind::kInt || ranks->integer <= 1) return {};
  return Unsupported(fmt::format("[DS-4] the file of one of {} model-parallel ranks of DeepSpeed's", ranks->integer),
                     std::string(kOneRank));
}

// Files that trainers save beside the weights, by keys that all of one kind have.
struct TrainersFile {
  std::string_view keys[2];
  std::string_view what;
};
constexpr TrainersFile kTrainersFiles[] = {
    {{"param_groups", "state"}, "an optimizer's state"},                       // optimizer.pt, optimizer.bin
    {{"last_epoch", "_last_lr"}, "a scheduler's state"},                       // scheduler.pt
    {{"numpy", "python"}, "the states of random numbers"},                     // transformers' rng_state.pth
    {{"numpy_random_seed", "random_state"}, "the states of random numbers"}};  // Accelerate's random_states_0.pkl

Status CheckIsModel(const Value& root) {
  if (!IsDict(root.node)) return {};
  for (const auto& [keys, what] : kTrainersFiles) {
    if (Lookup(*root.node, keys[0]) == nullptr || Lookup(*root.node, keys[1]) == nullptr) continue;
    return Unsupported(fmt::format("[TZ-22] expected weights, found {} ({}, {})", what, keys[1], keys[0]),
                       std::string(kGiveModel));
  }
  return {};
}

Result<RankFile> Read(const TorchFile& torch, const RankFileOptions& options) {
  RankFile file;
  file.torchscript = torch.torchscript;
  if (!torch.longer_record.empty()) {
    file.notes.push_back(
        fmt::format("the record of storage {} is longer than the storage: its first bytes are read, as torch 1.13 "
                    "reads them; torch 2.15 refuses such a file",
                    torch.longer_record));
  }
  const Value& root = torch.root;
  if (!torch.torchscript && options.key.empty() && MegatronArgsOf(root) != nullptr) {
    ANEMONE_TRY(ReadMegatron(root, file));
    return file;
  }
  ANEMONE_TRY(CheckIsModel(root));
  const bool is_lightning =
      !torch.torchscript && IsDict(root.node) && Lookup(*root.node, "pytorch-lightning_version") != nullptr;
  ANEMONE_TRY(is_lightning ? ReadLightning(root, options, file) : ReadWeights(torch, options, file));
  ANEMONE_TRY(CheckNotPlaceholders(file.shard.weights));
  if (!is_lightning) ANEMONE_TRY(RenamePrefix(file.shard.weights, "module.", "", file.notes));
  return file;
}

// The weights whose names begin with "KEY.": a module that holds several models has one dictionary of all.
Result<RankFile> ReadBelow(const TorchFile& torch, RankFileOptions options) {
  const std::string prefix = fmt::format("{}.", std::exchange(options.key, {}));
  ANEMONE_ASSIGN(RankFile file, Read(torch, options));
  StateDict below;
  for (const StateDict::Item& item : file.shard.weights.items()) {
    if (item.name.starts_with(prefix)) ANEMONE_TRY(below.Add(item.name.substr(prefix.size()), item.entry));
  }
  if (!HasTensor(below)) return NotFound("no tensor is called so");
  file.notes.push_back(
      fmt::format("weights are those of {} tensors whose names begin with \"{}\"", below.size(), prefix));
  file.shard.weights = std::move(below);
  return file;
}

}  // namespace

Result<RankFile> ReadRankFile(const ByteRange& range, const RankFileOptions& options) {
  ANEMONE_ASSIGN(const TorchFile torch, ReadTorchFile(range, options.within));
  ANEMONE_TRY(CheckOneRank(torch.root));
  Result<RankFile> file = Read(torch, options);
  if (file.ok() || options.key.empty()) return file;
  Result<RankFile> below = ReadBelow(torch, options);
  return below.ok() ? std::move(below) : std::move(file);
}

}  // namespace anemone
