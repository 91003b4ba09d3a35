#include "family/neva/donor.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "config/nodes.h"
#include "family/families.h"
#include "family/megatron/megatron_layer.h"
#include "family/neva/stored.h"
#include "family/words/llava_config.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"

namespace anemone::neva {
namespace {

// Where each dialect has it; `below` is left out before its names.
struct TowerPlace {
  std::string_view dialect, inside, below;
};
constexpr std::string_view kTowerModule = "vision_model.";
constexpr TowerPlace kTowerPlaces[] = {{"mcore", "embedding.word_embeddings.vision_encoder.", ""},
                                       {"legacy", "language_model.embedding.word_embeddings.vision_encoder.", ""},
                                       {"hf", "vision_tower.", ""},
                                       {"hf_v5", "vision_tower.", kTowerModule},
                                       {"hf_nested", "model.vision_tower.", ""},
                                       {"llava", "model.vision_tower.vision_tower.", ""}};

// What of the config of a CLIP in NeMo's legacy names the names and rows of its tower follow; null: it is another
// model.
Result<ConfigNode> NemoTowerConfig(const Checkpoint& donor) {
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(donor));
  if (identity.family != &ClipFamily() || identity.dialect->name != "legacy" || !donor.config) return ConfigNode();
  const ConfigNode& vision = WordAt(ModelNode(*donor.config), "vision");
  ConfigNode told = ConfigNode::Map();
  told[kHeadsApart] = ConfigNode::Bool(WordAt(vision, kHeadsApart).AsBool().value_or(false));
  told[kPositions] = TextNode(WordAt(vision, kPositions).AsString().value_or("learned_absolute"));
  return told;
}

Status TakeTower(const Checkpoint& donor, Checkpoint* checkpoint) {
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(donor));
  const bool is_image = identity.family == &ClipFamily() || identity.family == &SiglipFamily();
  if (!is_image && identity.family != &NevaFamily())
    return Unsupported(fmt::format("expected a CLIP, a SigLIP or a LLaVA, found a {}", identity.family->title));
  ANEMONE_ASSIGN(const Checkpoint whole, Translate(donor, "hf"));
  const std::string_view before = is_image ? "" : "vision_tower.";
  ANEMONE_ASSIGN(const Dialect* dialect, DetectDialect(*checkpoint, NevaFamily()));
  const std::string prefix = NameMatcher(*dialect).BestPrefix(checkpoint->weights()).prefix;
  const auto* place =
      std::ranges::find_if(kTowerPlaces, [&](const TowerPlace& p) { return p.dialect == dialect->name; });
  if (place == std::end(kTowerPlaces))
    return Unsupported(fmt::format("expected another layout, found {}", dialect->name));
  const std::string inside = fmt::format("{}{}", prefix, place->inside);
  // In place of one that is stored.
  StateDict weights;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    if (!item.name.starts_with(inside)) ANEMONE_TRY(weights.Add(item.name, item.entry));
  }
  uint64_t taken = 0;
  for (const StateDict::Item& item : whole.weights().items()) {
    if (!item.name.starts_with(fmt::format("{}{}", before, kTowerModule))) continue;
    ANEMONE_TRY(weights.Add(inside + item.name.substr(before.size() + place->below.size()), item.entry));
    ++taken;
  }
  checkpoint->weights() = std::move(weights);
  if (taken == 0 || !whole.config) return NotFound("expected an image tower with its config, found none");
  const ConfigNode& root = whole.config->root();
  ConfigNode vision = WordAt(root, "vision_config").is_map() ? WordAt(root, "vision_config") : root;
  // NeMo's own CLIP has other names than the tower that is stored now: NeMo is to build that one.
  if (checkpoint->config && !IsLlava(*checkpoint) && IsOfNemosClip(EncoderOf(*checkpoint))) {
    ConfigNode& encoder = EncoderOf(*checkpoint->config);
    encoder["from_hf"] = ConfigNode::Bool(true);
    SetTower(WholeTower(vision), vision, &checkpoint->notes, &encoder);
  }
  checkpoint->artifacts.push_back(
      {kTowerConfig, Whole(MemorySource(Config(std::move(vision)).ToJson() + "\n", kTowerConfig))});
  ANEMONE_ASSIGN(ConfigNode told, NemoTowerConfig(donor));
  if (!told.is_null()) {
    checkpoint->artifacts.push_back(
        {kNemoTowerConfig, Whole(MemorySource(Config(std::move(told)).ToJson() + "\n", kNemoTowerConfig))});
  }
  constexpr const char* kPreprocessor = "preprocessor_config.json";
  const Artifact* preprocessor = donor.FindArtifact(kPreprocessor);
  const bool has_own = checkpoint->FindArtifact(kPreprocessor) != nullptr ||
                       checkpoint->FindArtifact(fmt::format("context/{}", kPreprocessor)) != nullptr;
  if (preprocessor != nullptr && !has_own) checkpoint->artifacts.push_back(*preprocessor);
  checkpoint->notes.push_back(fmt::format("{} tensors of the image tower, of {}", taken, donor.path));
  return {};
}

// The names of a checkpoint's projector, or of another part of it, in canonical words, in its own dialect.
struct Spelled {
  const Dialect* dialect;
  std::string prefix;
  Stored stored;
};
Result<Spelled> SpelledOf(const Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(const Dialect* dialect, DetectDialect(checkpoint, NevaFamily()));
  return Spelled{dialect, NameMatcher(*dialect).BestPrefix(checkpoint.weights()).prefix,
                 StoredBesidesLanguage(checkpoint, *dialect)};
}

constexpr std::string_view kProjectorRow = "projector";
bool HasProjector(const Stored& stored) {
  return std::ranges::any_of(stored.shapes, [](const auto& entry) { return entry.first.starts_with(kProjectorRow); });
}

// A projector in place of the one that is stored.
Status TakeProjector(const Checkpoint& donor, const Spelled& from, Checkpoint* checkpoint) {
  ANEMONE_ASSIGN(const Spelled to, SpelledOf(*checkpoint));
  const NameMatcher there(*from.dialect), here(*to.dialect);
  StateDict weights;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    const auto hit = here.Match(item.name, to.prefix);
    if (!hit || !here.row(hit->row).canonical.starts_with(kProjectorRow))
      ANEMONE_TRY(weights.Add(item.name, item.entry));
  }
  ModelSymbols symbols(NevaFamily().symbols);
  SetProjector(from.stored, &symbols);
  uint64_t taken = 0;
  for (const StateDict::Item& item : donor.weights().items()) {
    const auto hit = there.Match(item.name, from.prefix);
    const std::string& canonical = hit ? there.row(hit->row).canonical : std::string();
    if (!canonical.starts_with(kProjectorRow) || item.tensor() == nullptr) continue;
    const auto row = std::ranges::find_if(to.dialect->rows, [&](const StoredRow& r) {
      return r.canonical == canonical && r.when != kReadOnly && r.when != kMegatronProjector;
    });
    if (row == to.dialect->rows.end()) {
      return Unsupported(fmt::format("expected mlp2x_gelu, as transformers' LLaVA computes, found a projector of {}",
                                     ProjectorType(symbols)));
    }
    ANEMONE_TRY(weights.Add(to.prefix + row->name, item.entry));
    ++taken;
  }
  checkpoint->weights() = std::move(weights);
  if (checkpoint->config && (!IsLlava(*checkpoint) || IsOwnLlavaJson(checkpoint->config->root()))) {
    ConfigNode& type = IsLlava(*checkpoint) ? checkpoint->config->root()["mm_projector_type"]
                                            : MmCfgOf(*checkpoint->config)["mm_mlp_adapter_type"];
    type = TextNode(ProjectorType(symbols));
  }
  checkpoint->notes.push_back(fmt::format("{} tensors of the projector, of {}", taken, donor.path));
  return {};
}

// The language model of a GPT, or of a LLaVA: NeMo calls its tensors alike.
Status TakeLanguage(const Checkpoint& donor, Checkpoint* checkpoint) {
  ANEMONE_ASSIGN(const Spelled to, SpelledOf(*checkpoint));
  if (!to.dialect->is_megatron || to.stored.has_language) {
    return Unsupported(
        fmt::format("expected a tower or a projector for a model that has its language model, found a {}",
                    to.dialect->is_megatron ? "language model" : "whole model"),
        "convert the LLaVA whose projector this is to be, and name the projector as its donor");
  }
  const std::string dialect = to.dialect->name == "legacy" ? "legacy" : "mcore";
  ANEMONE_ASSIGN(const Checkpoint whole, Translate(donor, dialect));
  uint64_t taken = 0;
  for (const StateDict::Item& item : whole.weights().items()) {
    const bool is_seeing = item.name.find(".word_embeddings.vision_encoder.") != std::string::npos ||
                           item.name.find(".word_embeddings.adapter_layer.") != std::string::npos;
    if (is_seeing) continue;
    ANEMONE_TRY(checkpoint->weights().Add(item.name, item.entry));
    taken += item.tensor() != nullptr;
  }
  checkpoint->notes.push_back(fmt::format("{} tensors of the language model, of {}", taken, donor.path));
  return {};
}

// The folder of a projector alone, as VILA saves one: its names say nothing of what they are.
Result<Checkpoint> WithNamesOfLlava(const Checkpoint& donor) {
  if (!donor.config || WordAt(donor.config->root(), "model_type").AsString() != "v2l_projector") return donor;
  constexpr std::string_view kLayers = "layers.";
  Checkpoint renamed = donor;
  renamed.config.reset();
  StateDict weights;
  for (const StateDict::Item& item : donor.weights().items()) {
    const std::string_view name = item.name;
    ANEMONE_TRY(weights.Add(
        name.starts_with(kLayers) ? fmt::format("model.mm_projector.{}", name.substr(kLayers.size())) : item.name,
        item.entry));
  }
  renamed.weights() = std::move(weights);
  return renamed;
}

}  // namespace

std::string TowerElsewhere(const Checkpoint& checkpoint) {
  const bool lacks_config = HasName(checkpoint, kNemoModule) && WordAt(EncoderOf(checkpoint), kHeadsApart).is_null();
  const bool is_stored = HasName(checkpoint, ".vision_encoder.") || HasName(checkpoint, "vision_tower.");
  if (!checkpoint.config || (is_stored && !lacks_config)) return {};
  if (IsLlava(checkpoint)) return WordAt(checkpoint.config->root(), "mm_vision_tower").AsString().value_or("");
  return WordAt(ModelNode(*checkpoint.config), "mm_cfg.vision_encoder.from_pretrained").AsString().value_or("");
}

Result<bool> TellTower(const Checkpoint& donor, Checkpoint* checkpoint) {
  if (!checkpoint->config || !HasName(*checkpoint, kNemoModule)) return false;
  ANEMONE_ASSIGN(const ConfigNode told, NemoTowerConfig(donor));
  if (told.is_null()) return false;
  ANEMONE_ASSIGN(const Checkpoint whole, Translate(donor, "hf"));
  ConfigNode& encoder = EncoderOf(*checkpoint->config);
  for (const auto& [key, value] : told.map) encoder[key] = value;
  encoder[kTowerConfigKey] = WordAt(whole.config->root(), "vision_config");
  checkpoint->notes.push_back(
      fmt::format("the image tower's config, of {}; its weights are those that are stored", donor.path));
  return true;
}

Status TakePartsOf(const Checkpoint& given, Checkpoint* checkpoint) {
  ANEMONE_ASSIGN(const Checkpoint donor, WithNamesOfLlava(given));
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(donor));
  if (identity.family == &GptFamily()) return TakeLanguage(donor, checkpoint);
  if (identity.family != &NevaFamily()) return TakeTower(donor, checkpoint);
  ANEMONE_ASSIGN(const Spelled from, SpelledOf(donor));
  ANEMONE_ASSIGN(const Spelled to, SpelledOf(*checkpoint));
  const bool has_tower = HasName(donor, "vision_tower.") || HasName(donor, ".vision_encoder.");
  const bool is_projector = !from.stored.has_language && !has_tower;
  if (HasProjector(from.stored) && (is_projector || !HasProjector(to.stored)))
    ANEMONE_TRY(TakeProjector(donor, from, checkpoint));
  if (is_projector) return {};
  if (!to.stored.has_language && from.stored.has_language) ANEMONE_TRY(TakeLanguage(donor, checkpoint));
  if (!has_tower && to.stored.has_language) return TakeTower(donor, checkpoint);
  return has_tower ? TakeTower(donor, checkpoint) : Status();
}

}  // namespace anemone::neva
