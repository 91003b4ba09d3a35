// Opening a checkpoint, and what is in it.
#include "c_api/c_checkpoint.h"

#include <fmt/format.h>

#include <map>

#include "anemone/model.h"
#include "anemone/open.h"
#include "anemone/reshard.h"
#include "c_api/c_progress.h"
#include "c_api/call.h"
#include "c_api/dtype_words.h"
#include "c_api/options.h"
#include "config/nodes.h"
#include "edit/model_class.h"
#include "inspect/json_nodes.h"
#include "inspect/summary.h"

using anemone::Checkpoint;
using anemone::Config;
using anemone::ConfigNode;
using anemone::InvalidArgument;
using anemone::NotFound;
using anemone::Shard;
using anemone::StateDict;
using anemone::Status;
using anemone::TextNode;
using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

namespace {

// A part: what one rank stored, or one virtual chunk of it.
struct Part {
  const Shard* shard;
  const StateDict* weights;
};

std::vector<Part> PartsOf(const Checkpoint& checkpoint) {
  std::vector<Part> parts;
  for (const Shard& shard : checkpoint.shards) {
    if (shard.chunks.empty()) parts.push_back({&shard, &shard.weights});
    for (const StateDict& chunk : shard.chunks) parts.push_back({&shard, &chunk});
  }
  return parts;
}

ConfigNode Info(const Checkpoint& checkpoint) {
  ConfigNode info = ConfigNode::Map();
  const anemone::Summary summary = Summarize(checkpoint);
  const anemone::ModelClass* model_class = ModelClassOf(checkpoint);
  info["path"] = TextNode(checkpoint.path);
  info["format"] = TextNode(checkpoint.flavour);
  info["family"] = TextNode(summary.family());
  info["dialect"] = TextNode(summary.dialect());
  info["model_class"] = TextNode(model_class == nullptr ? "" : model_class->name);
  info["layout"] = LayoutNode(checkpoint.layout);
  info["parts"] = anemone::SizeNode(PartsOf(checkpoint).size());
  std::map<std::string, std::string> words = checkpoint.origin.ToMetadata();
  words.insert(checkpoint.metadata.begin(), checkpoint.metadata.end());
  ConfigNode& metadata = info["metadata"] = ConfigNode::Map();
  for (const auto& [key, value] : words) metadata[key] = TextNode(value);
  ConfigNode& notes = info["notes"] = ConfigNode::List();
  for (const std::string& note : checkpoint.notes) notes.list.push_back(TextNode(note));
  info["artifacts"] = ArtifactsNode(checkpoint);
  return info;
}

}  // namespace

Status anemone_checkpoint::WholeLocked(const StateDict** weights) const {
  std::vector<Part> parts = PartsOf(stored);
  if (parts.empty()) return NoTensors(stored);
  if (parts.size() > 1) {
    if (!merged_) {
      ANEMONE_ASSIGN(merged_, MergeRanks(stored));
    }
    parts = PartsOf(*merged_);
  }
  *weights = parts.front().weights;
  return {};
}

Status anemone_checkpoint::Whole(const StateDict** weights) const {
  const std::lock_guard lock(mutex_);
  return WholeLocked(weights);
}

Status anemone_checkpoint::Tensors(const std::vector<const StateDict::Item*>** tensors) const {
  const std::lock_guard lock(mutex_);
  if (!tensors_) {
    const StateDict* weights = nullptr;
    ANEMONE_TRY(WholeLocked(&weights));
    std::vector<const StateDict::Item*>& found = tensors_.emplace();
    for (const StateDict::Item& item : weights->items()) {
      if (item.tensor() != nullptr) found.push_back(&item);
    }
  }
  *tensors = &*tensors_;
  return {};
}

void anemone_checkpoint::Forget() {
  const std::lock_guard lock(mutex_);
  merged_.reset();
  tensors_.reset();
}

anemone_status* anemone_open(const char* path, const char* options, anemone_progress* progress,
                             anemone_checkpoint** checkpoint) {
  return Guarded(progress, [&]() -> Status {
    anemone::SourceOptions source{.progress = ToProgressFn(progress)};
    const Option known[] = {{"key", &source.key}};
    ANEMONE_TRY(ReadOptions(options, known));
    ANEMONE_ASSIGN(Checkpoint opened, anemone::Open(path, source));
    return Give(checkpoint, std::move(opened));
  });
}

anemone_status* anemone_restore(const char* path, const char* options, anemone_checkpoint** checkpoint) {
  return Guarded([&]() -> Status {
    anemone::RestoreOptions restore{.restore_path = path};
    std::optional<std::string> config;
    const Option known[] = {{"config",
                             [&](const ConfigNode& value) -> Status {
                               config = value.AsString();
                               return config ? Status() : WrongType("config", "a string", value);
                             }},
                            {"strict", &restore.strict},
                            {"return_config", &restore.return_config}};
    ANEMONE_TRY(ReadOptions(options, known));
    if (config) {
      ANEMONE_ASSIGN(restore.override_config, Config::ParseYaml(*config, "override_config_path"));
    }
    ANEMONE_ASSIGN(const anemone::Model model, anemone::Model::RestoreFrom(restore));
    ANEMONE_TRY(Give(checkpoint, model.checkpoint()));
    if (restore.override_config) (*checkpoint)->stored_config.reset();
    return {};
  });
}

anemone_status* anemone_create(const char* config, anemone_checkpoint** checkpoint) {
  return Guarded([&]() -> Status {
    Checkpoint made;
    made.path = "the given tensors";
    made.shards.emplace_back();
    if (config != nullptr) {
      ANEMONE_ASSIGN(made.config, Config::ParseJson(config, "config"));
      if (!made.config->root().is_map()) return WrongType("config", "a JSON object", made.config->root());
    }
    return Give(checkpoint, std::move(made));
  });
}

void anemone_checkpoint_free(anemone_checkpoint* checkpoint) { delete checkpoint; }

anemone_status* anemone_info(const anemone_checkpoint* checkpoint, char** json) {
  return Guarded([&] { return GiveJson(Info(checkpoint->stored), json); });
}

anemone_status* anemone_translate(const anemone_checkpoint* checkpoint, const char* dialect,
                                  anemone_checkpoint** translated) {
  return Guarded([&]() -> Status {
    ANEMONE_ASSIGN(Checkpoint result, InDialect(checkpoint->stored, dialect));
    return Give(translated, std::move(result));
  });
}

size_t anemone_part_count(const anemone_checkpoint* checkpoint) {
  size_t count = 0;
  for (const Shard& shard : checkpoint->stored.shards) count += shard.chunks.empty() ? 1 : shard.chunks.size();
  return count;
}

anemone_status* anemone_part(const anemone_checkpoint* checkpoint, size_t index, int* tp_rank, int* pp_rank,
                             anemone_checkpoint** part) {
  return Guarded([&]() -> Status {
    const std::vector<Part> parts = PartsOf(checkpoint->stored);
    if (index >= parts.size()) {
      return InvalidArgument(fmt::format("expected a part below {}, found {}", parts.size(), index));
    }
    const Shard& shard = *parts[index].shard;
    Checkpoint one = checkpoint->stored;
    one.shards.clear();
    Shard& only = one.shards.emplace_back();
    only.tp_rank = shard.tp_rank;
    only.pp_rank = shard.pp_rank;
    only.ep_rank = shard.ep_rank;
    only.weights = *parts[index].weights;
    only.training = shard.training;
    one.layout = {};
    if (tp_rank != nullptr) *tp_rank = shard.tp_rank;
    if (pp_rank != nullptr) *pp_rank = shard.pp_rank;
    return Give(part, std::move(one));
  });
}

anemone_status* anemone_split(const anemone_checkpoint* checkpoint, int tp, int pp, anemone_checkpoint** split) {
  return Guarded([&]() -> Status {
    const anemone::Layout wanted = {.tp = tp, .pp = pp};
    if (checkpoint->stored.layout == wanted) return Give(split, checkpoint->stored);
    ANEMONE_ASSIGN(const Checkpoint whole, MergeRanks(checkpoint->stored));
    ANEMONE_ASSIGN(Checkpoint ranks, SplitRanks(whole, wanted));
    return Give(split, std::move(ranks));
  });
}

anemone_status* anemone_tensor_count(const anemone_checkpoint* checkpoint, size_t* count) {
  return Guarded([&]() -> Status {
    const std::vector<const StateDict::Item*>* tensors = nullptr;
    ANEMONE_TRY(checkpoint->Tensors(&tensors));
    *count = tensors->size();
    return {};
  });
}

anemone_status* anemone_tensor_at(const anemone_checkpoint* checkpoint, size_t index, anemone_tensor** tensor) {
  return Guarded([&]() -> Status {
    const std::vector<const StateDict::Item*>* tensors = nullptr;
    ANEMONE_TRY(checkpoint->Tensors(&tensors));
    if (index >= tensors->size()) {
      return InvalidArgument(fmt::format("expected a tensor below {}, found {}", tensors->size(), index));
    }
    const StateDict::Item& item = *(*tensors)[index];
    return Give(tensor, item.name, *item.tensor());
  });
}

anemone_status* anemone_tensor_named(const anemone_checkpoint* checkpoint, const char* name, anemone_tensor** tensor) {
  return Guarded([&]() -> Status {
    const StateDict* weights = nullptr;
    ANEMONE_TRY(checkpoint->Whole(&weights));
    const StateDict::Item* item = weights->Find(name);
    if (item == nullptr || item->tensor() == nullptr) {
      return NotFound(fmt::format("expected the tensor '{}', found none", name)).In(checkpoint->stored.path);
    }
    return Give(tensor, item->name, *item->tensor());
  });
}

anemone_status* anemone_tensor_list(const anemone_checkpoint* checkpoint, char** json) {
  return Guarded([&]() -> Status {
    const StateDict* weights = nullptr;
    ANEMONE_TRY(checkpoint->Whole(&weights));
    ConfigNode tensors = ConfigNode::List();
    ConfigNode opaque = ConfigNode::List();
    tensors.list.reserve(weights->size());
    for (const StateDict::Item& item : weights->items()) {
      if (const anemone::Tensor* tensor = item.tensor()) {
        tensors.list.push_back(ConfigNode::List(
            {TextNode(item.name), TextNode(WordOf(tensor->dtype())), anemone::SizesNode(tensor->shape())}));
      } else {
        opaque.list.push_back(TextNode(item.name));
      }
    }
    ConfigNode list = ConfigNode::Map();
    list["tensors"] = std::move(tensors);
    list["opaque"] = std::move(opaque);
    return GiveJson(list, json);
  });
}

anemone_status* anemone_artifact_read(const anemone_checkpoint* checkpoint, const char* name, void** data,
                                      size_t* size) {
  return Guarded([&]() -> Status {
    const anemone::Artifact* artifact = checkpoint->stored.FindArtifact(name);
    if (artifact == nullptr) {
      return NotFound(fmt::format("expected the file '{}', found none", name)).In(checkpoint->stored.path);
    }
    ANEMONE_ASSIGN(const std::string content, artifact->content.ReadAll(uint64_t{1} << 32));
    *data = CopyText(content);
    *size = content.size();
    return {};
  });
}

anemone_status* anemone_model_classes(char** json) {
  return Guarded([&] {
    ConfigNode list = ConfigNode::List();
    for (const anemone::ModelClass& c : anemone::ModelClasses()) {
      list.list.push_back(ConfigNode::List({TextNode(c.name), TextNode(c.description)}));
    }
    return GiveJson(list, json);
  });
}
