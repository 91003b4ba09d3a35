// NeMo 2 folders: `context/` says how to build the model (read as data, nothing
// is built), `weights/` is a distributed checkpoint whose keys begin with
// `module.` where NeMo 1 says `model.`. Rules N2-n: docs/formats/nemo2.md.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "anemone/config.h"
#include "base/listing.h"
#include "format/artifacts.h"
#include "format/dist/dist.h"
#include "format/format.h"
#include "format/nemo/nemo2_io.h"
#include "format/optimizer_state.h"
#include "format/torch/rank_file.h"

namespace anemone {
namespace {

constexpr std::string_view kTheirs = "module.", kOurs = "model.";
constexpr std::string_view kModelYaml = "context/model.yaml";
constexpr std::string_view kIoJson = "context/io.json";
// The config of a model that was carried name by name, with no class to build: for people to read.
constexpr std::string_view kConfigToRead = "context/model_config.yaml";
constexpr std::string_view kTokenizerFolder = "nemo_tokenizer";
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// Models whose parts have other names there; what lies below a part is named alike.
struct Part {
  std::string_view theirs, ours;
};
struct Parts {
  std::string_view their_mark;
  std::array<std::string_view, 2> our_marks;  // only these models have such names
  std::array<Part, 3> parts;                  // the longer first
};
constexpr Parts kParts[] = {
    // CLIP [NeMo v2.4.0 nemo/collections/vlm/clip/model/base.py MCoreClipModel].
    {"model.text_model.",
     {"model.text_encoder."},
     {{{"model.vision_model.", "model.vision_encoder."}, {"model.text_model.", "model.text_encoder."}}}},
    // LLaVA [NeMo v2.0.0 nemo/collections/vlm/neva/model/base.py MCoreNevaModel; multimodal_llm/neva/neva_model.py
    // NevaWordEmbeddingMixin].
    {"model.language_model.",
     {"model.embedding.word_embeddings.vision_encoder.", "model.embedding.word_embeddings.adapter_layer."},
     {{{"model.vision_model.", "model.embedding.word_embeddings.vision_encoder."},
       {"model.vision_projection.", "model.embedding.word_embeddings.adapter_layer.mm_projector_adapter.mm_projector."},
       {"model.language_model.", "model."}}}},
};

Result<bool> Matches(const Probe& probe) {
  return probe.is_directory && probe.HasEntry("weights") && !probe.HasEntry("model_config.yaml") &&
         (probe.HasEntry("context") || probe.entries.size() == 1);
}

// Null for models whose names are NeMo 1's but for the prefix of all.
const Parts* FindParts(const StateDict& state, bool to_nemo2) {
  const auto* found = std::find_if(std::begin(kParts), std::end(kParts), [&](const Parts& parts) {
    const auto marks = [&](const StateDict::Item& item) {
      const auto begins = [&](std::string_view mark) { return !mark.empty() && item.name.starts_with(mark); };
      return to_nemo2 ? std::ranges::any_of(parts.our_marks, begins) : begins(parts.their_mark);
    };
    return std::any_of(state.items().begin(), state.items().end(), marks);
  });
  return found == std::end(kParts) ? nullptr : found;
}

// A name, or the beginning of a stack's names, in the other generation's words.
std::string Renamed(std::string_view name, const Parts& parts, bool to_nemo2) {
  for (const auto& [theirs, ours] : parts.parts) {
    const std::string_view from = to_nemo2 ? ours : theirs, to = to_nemo2 ? theirs : ours;
    if (!from.empty() && name.starts_with(from)) return std::string(to) + std::string(name.substr(from.size()));
  }
  return std::string(name);
}

Status RenameWeights(Checkpoint& checkpoint, const Parts& parts, bool to_nemo2) {
  StateDict renamed;
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    ANEMONE_TRY(renamed.Add(Renamed(item.name, parts, to_nemo2), item.entry));
  }
  checkpoint.weights() = std::move(renamed);
  return {};
}

template <typename Rename>
void RenameStacks(Checkpoint& checkpoint, Rename rename) {
  if (!checkpoint.origin.distributed) return;
  for (std::string& prefix : checkpoint.origin.distributed->layer_stacks) prefix = rename(prefix);
}

// N2-3.
Status Rename(Checkpoint& checkpoint) {
  const StateNames states(checkpoint);
  ANEMONE_TRY(RenamePrefix(checkpoint.weights(), kTheirs, kOurs, checkpoint.notes));
  const Parts* parts = FindParts(checkpoint.weights(), /*to_nemo2=*/false);
  if (parts != nullptr) ANEMONE_TRY(RenameWeights(checkpoint, *parts, /*to_nemo2=*/false));
  states.Follow(&checkpoint);
  RenameStacks(checkpoint, [&](std::string_view prefix) {
    std::string name(prefix);
    if (prefix.starts_with(kTheirs)) name = std::string(kOurs) + name.substr(kTheirs.size());
    return parts != nullptr ? Renamed(name, *parts, /*to_nemo2=*/false) : name;
  });
  return {};
}

// N2-10: NeMo 2 loads io.json, and a tokenizer by the path of its files in context/.
void NoteMissing(Checkpoint& checkpoint) {
  const auto has = [&](const std::string& path) {
    return std::ranges::any_of(checkpoint.artifacts, [&](const Artifact& artifact) {
      return artifact.name == path || artifact.name.starts_with(path + "/");
    });
  };
  std::vector<std::string> missing;
  if (!checkpoint.config) missing.emplace_back(kModelYaml);
  if (!has(std::string(kIoJson))) missing.emplace_back(kIoJson);
  const ConfigNode* tokenizer = checkpoint.config ? checkpoint.config->root().Get("tokenizer") : nullptr;
  for (const char* key : {"pretrained_model_name", "model_path", "vocab_file", "merges_file"}) {
    const ConfigNode* value = tokenizer == nullptr ? nullptr : tokenizer->Get(key);
    const std::string name = value == nullptr ? "" : value->AsString().value_or("");
    // Another name is the hub's.
    const bool is_file = key != std::string_view("pretrained_model_name") || name == kTokenizerFolder;
    if (is_file && !name.empty() && !name.starts_with('/') && !has("context/" + name))
      missing.push_back("context/" + name);
  }
  if (missing.empty()) return;
  checkpoint.notes.push_back(
      fmt::format("[N2-10] {} {} missing, which NeMo 2 loads: copy what is missing from the same save",
                  Listing(missing), missing.size() == 1 ? "is" : "are"));
}

Result<Checkpoint> Open(const Probe& probe) {
  ANEMONE_ASSIGN(std::vector<Artifact> members, ListFiles(probe.place()));
  auto opened = OpenDistributed(MembersBelow(members, "weights"), "weights");
  if (!opened.ok()) return opened.status().In(probe.path);
  Checkpoint checkpoint = *std::move(opened);
  checkpoint.flavour = "nemo2";
  checkpoint.path = probe.path;
  checkpoint.config_name = kModelYaml;
  ANEMONE_TRY(Rename(checkpoint).In("weights").In(probe.path));
  for (Artifact& artifact : checkpoint.artifacts) artifact.name = "weights/" + artifact.name;
  for (Artifact& member : members) {
    if (member.name.starts_with("weights/")) continue;
    if (member.name != kModelYaml) {
      checkpoint.artifacts.push_back(std::move(member));
      continue;
    }
    auto text = member.content.ReadAll(kMaxConfigBytes);
    if (!text.ok()) return text.status().In(probe.path);
    auto config = Config::ParseYaml(*text, kModelYaml);
    if (!config.ok()) return config.status().In(probe.path);
    checkpoint.config = *std::move(config);
  }
  NoteMissing(checkpoint);
  return checkpoint;
}

Result<Plan> LayOut(const Checkpoint& named, const LayOutOptions& options) {
  const auto has = [&](std::string_view artifact) { return named.FindArtifact(artifact) != nullptr; };
  if (!named.config && !has(kIoJson) && !has(kConfigToRead))
    return InvalidArgument("a NeMo 2 folder needs a model config").Use("hparams", "FILE", "give one");
  Checkpoint checkpoint = named;
  const Parts* parts = checkpoint.shards.size() == 1 ? FindParts(checkpoint.weights(), /*to_nemo2=*/true) : nullptr;
  if (parts != nullptr) {
    ANEMONE_TRY(RenameWeights(checkpoint, *parts, /*to_nemo2=*/true));
    RenameStacks(checkpoint, [&](std::string_view prefix) { return Renamed(prefix, *parts, /*to_nemo2=*/true); });
  }
  Plan plan;
  if (checkpoint.config) {
    const bool own = checkpoint.config->root().Get("_target_") != nullptr;
    PlanFile& file = plan.files.emplace_back();
    file.path = own ? kModelYaml : kConfigToRead;
    file.Append(checkpoint.config->ToYaml());
    if (own && !has(kIoJson)) {
      PlanFile& io = plan.files.emplace_back();
      io.path = kIoJson;
      io.Append(MakeIoJson(checkpoint.config->root()));
    }
  }
  TorchDistOptions dist;
  dist.folder = "weights/";
  dist.key_from = kOurs;
  dist.key_to = kTheirs;
  if (checkpoint.shards.size() == 1 && options.extra_state != ExtraState::kDrop)
    dist.empty_states = AttentionStates(checkpoint.weights());  // N2-7
  dist.lay_out = options;
  ANEMONE_TRY(LayOutTorchDist(checkpoint, dist, plan));
  const auto place = [](const std::string& name) {
    return name.starts_with("context/") || name.starts_with("weights/") ? name : "context/" + name;
  };
  ANEMONE_TRY(AddArtifacts(checkpoint, "NeMo 2 folder", plan.files, place));
  return plan;
}

}  // namespace

extern const Format kNemo2;
const Format kNemo2 = {
    .name = "nemo2",
    .title = "NeMo 2 folder (context/ and weights/)",
    .extension = "",
    .is_directory = true,
    .matches = Matches,
    .open = Open,
    .lay_out = LayOut,
    .traits = {.language = ConfigLanguage::kNemo2,
               .dialect = "mcore",
               .is_chunked = true,
               .training = ParameterKeys::kNames,
               .model_class = ModelClassIn::kConfig,
               .takes_every_file = true,
               .own_files = {kModelYaml, kConfigToRead, kIoJson},
               .distributed_in = "weights/"},
};

}  // namespace anemone
