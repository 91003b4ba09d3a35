// NeVA (LLaVA, VILA): a GPT whose word-embedding module contains the image tower, a Hugging Face CLIP or SigLIP, and
// the projector. So these are on the first stage only, whole on every tensor rank. What is frozen is not stored.
//
// Facts: NeMo v2.0.0 neva_model.py (NevaWordEmbeddingMixin, MegatronNevaModel.state_dict), parallel_adapters.py
// (MultimodalProjectorAdapter); transformers 4.44.2 and 5 modeling_llava.py; files that NeMo wrote (tests/golden).
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "family/families.h"
#include "family/gpt.h"
#include "family/kept_config.h"
#include "family/language.h"
#include "family/megatron_layer.h"
#include "family/model_words.h"
#include "family/mount.h"
#include "family/neva_config.h"
#include "family/tokenizer_files.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr std::string_view kTower = "vision";
// Where a Linear or LayerNorm is in the projector: alone ("linear"), or in a Sequential ("mlp2x_gelu" has 0 and 2,
// "mlp_downsample" a LayerNorm at 1, and 2 and 4).
constexpr std::string_view kProjections[] = {"projector",   "projector.0", "projector.1",
                                             "projector.2", "projector.4", "projector.6"};
bool IsNorm(std::string_view place) { return place == "projector.1"; }

// Of CLIP, or of SigLIP where "vision.siglip" is set.
Mounted ImageTower(std::string_view names) {
  const MountPoint at = {
      .names = std::string(names), .stage = Stage::kFirst, .tower = std::string(kTower), .below = "vision_model."};
  return EitherOf(Mount(ClipFamily(), "hf", at), Mount(SiglipFamily(), "hf", at), "vision.siglip");
}

// {A}: its canonical name; {S}: its weight's shape; {P}: its name inside the word embedding.
std::vector<Words> Places(std::string_view embedding) {
  std::vector<Words> places;
  for (const std::string_view place : kProjections) {
    places.push_back({{"{S}", IsNorm(place) ? "{A}.rows" : "{A}.rows, {A}.columns"},
                      {"{A}", std::string(place)},
                      {"{P}", fmt::format("{}.adapter_layer.mm_projector_adapter.mm_{}", embedding, place)}});
  }
  return places;
}

std::vector<Symbol> Declared() {
  std::vector<Symbol> projector;
  for (const std::string_view place : kProjections) {
    projector.push_back(Symbol::Flag(place, IsNorm(place) ? "a norm is there" : "a linear layer is there"));
    projector.push_back(Symbol::Size(fmt::format("{}.rows", place), "of its weight"));
    if (!IsNorm(place)) projector.push_back(Symbol::Size(fmt::format("{}.columns", place), "of its weight"));
  }
  return Join<Symbol>({GptDeclared(),
                       ImageTower("").symbols,
                       {Symbol::Flag("vision.siglip", "the image tower is a SigLIP's")},
                       projector});
}

std::vector<C> Canonical() {
  return Join<C>(
      {GptCanonical(), ImageTower("").canonical,
       ForPlaces(Places(""), std::vector<C>{{"{A}.weight", "{S}", "{A}", ""}, {"{A}.bias", "{A}.rows", "{A}", ""}})});
}

// The rows inside the word embedding.
std::vector<R> Seeing(const std::string& embedding) {
  return Join<R>(
      {ImageTower(embedding + ".vision_encoder.").rows,
       ForPlaces(Places(embedding), std::vector<R>{
                                        {.name = "{P}.weight", .canonical = "{A}.weight", .stage = Stage::kFirst},
                                        {.name = "{P}.bias", .canonical = "{A}.bias", .stage = Stage::kFirst},
                                    })});
}

// ---- transformers ----

// How one of its layouts calls the parts.
struct HfLayout {
  std::string_view name, title;
  std::string_view language;  // stands before "model." of a decoder's names
  std::string_view model;     // stands in place of that "model."
  std::string_view head;      // stands before "lm_head."
  std::string_view projector, tower;
  bool has_model = true;  // the tower's names begin with "vision_model."
};
constexpr HfLayout kHfLayouts[] = {
    // As all published files and all versions of transformers have it.
    {"hf", "Hugging Face transformers, LLaVA", "language_model.", "model.", "language_model.", "multi_modal_projector",
     "vision_tower."},
    {"hf_v5", "Hugging Face transformers, LLaVA as version 5 saves it", "language_model.", "model.", "language_model.",
     "multi_modal_projector", "vision_tower.", false},
    {"hf_nested", "Hugging Face transformers, LLaVA as version 5 has it in memory", "model.language_model.", "", "",
     "model.multi_modal_projector", "model.vision_tower."},
};

Dialect HuggingFace(const HfLayout& layout) {
  Dialect dialect = GptHuggingFace().front();
  const std::string_view model = "model.";
  for (R& row : dialect.rows) {
    row.name = row.name.starts_with(model)
                   ? fmt::format("{}{}{}", layout.language, layout.model, row.name.substr(model.size()))
                   : fmt::format("{}{}", layout.head, row.name);
  }
  std::vector<R> projector;
  for (const auto& [name, place] : {std::pair{"linear_1", "projector.0"}, {"linear_2", "projector.2"}}) {
    for (const char* end : {"weight", "bias"}) {
      projector.push_back({.name = fmt::format("{}.{}.{}", layout.projector, name, end),
                           .canonical = fmt::format("{}.{}", place, end)});
    }
  }
  std::vector<R> tower = ImageTower(std::string(layout.tower)).rows;
  const std::string_view inner = "vision_model.";
  for (R& row : tower) {
    if (!layout.has_model) row.name.erase(layout.tower.size(), inner.size());
  }
  dialect.name = layout.name;
  dialect.title = layout.title;
  dialect.rows = Join<R>({std::move(tower), std::move(projector), std::move(dialect.rows)});
  dialect.never += ", projector, projector.1, projector.4, projector.6";
  return dialect;
}

Dialect Titled(Dialect dialect, std::string_view title) {
  dialect.title = title;
  return dialect;
}

// What of the tower and the projector is stored, and its shapes: NeVA's config names the tower and says little of it.
struct Stored {
  std::map<std::string, Shape> shapes;  // by canonical row
  uint64_t layers = 0;
  bool has_language = false;

  bool Has(const std::string& row) const { return shapes.contains(row); }
  uint64_t Axis(const std::string& row, size_t axis) const {
    const auto it = shapes.find(row);
    return it == shapes.end() || it->second.size() <= axis ? 0 : it->second[axis];
  }
};

Stored StoredBesidesLanguage(const Checkpoint& checkpoint, const Dialect& dialect) {
  Stored stored;
  const NameMatcher matcher(dialect);
  checkpoint.ForEachDict([&](const StateDict& dict) {
    const std::string prefix = matcher.BestPrefix(dict).prefix;
    for (const StateDict::Item& item : dict.items()) {
      const auto hit = matcher.Match(item.name, prefix);
      if (!hit || item.tensor() == nullptr || item.tensor()->shape().empty()) continue;
      const R& row = matcher.row(hit->row);
      if (row.tower != kTower && !row.canonical.starts_with("projector.")) {
        stored.has_language |= hit->captures.layer.has_value();
        continue;
      }
      if (!row.canonical.empty()) stored.shapes.emplace(row.canonical, item.tensor()->shape());
      if (hit->captures.layer) stored.layers = std::max(stored.layers, *hit->captures.layer + 1);
    }
  });
  return stored;
}

Status SetVision(const Stored& stored, ModelSymbols* symbols) {
  const auto set = [&](std::string_view key, uint64_t value) { symbols->Set(InTower(kTower, key), value); };
  const uint64_t width = stored.Axis("vision.patch_embedding.weight", 0);
  const uint64_t ffn = stored.Axis("vision.layers.{i}.mlp.up.weight", 0);
  symbols->Set(kTower, std::any_of(stored.shapes.begin(), stored.shapes.end(),
                                   [](const auto& entry) { return entry.first.starts_with("vision."); }));
  set("siglip", stored.Has("vision.patch_embedding.bias"));
  set("head", stored.Has("vision.head.probe"));
  set("layers", stored.layers);
  set("width", width);
  set("ffn", ffn);
  set("up_rows", ffn);
  // Nothing says how many heads there are, and nothing asks: Hugging Face keeps q, k and v apart.
  set("heads", 1);
  set("head_dim", width);
  ANEMONE_ASSIGN(const uint64_t qkv_rows, symbols->Compute("3*vision.width"));
  set("qkv_rows", qkv_rows);
  set("positions", stored.Axis("vision.position_embedding.weight", 0));
  symbols->Set("channels", stored.Axis("vision.patch_embedding.weight", 1));
  symbols->Set("patch", stored.Axis("vision.patch_embedding.weight", 2));
  for (const std::string_view flag : {"bias", "qkv_bias", "norm_bias"}) set(flag, 1);
  return {};
}

void SetProjector(const Stored& stored, ModelSymbols* symbols) {
  for (const std::string_view place : kProjections) {
    const std::string weight = fmt::format("{}.weight", place);
    symbols->Set(place, stored.Has(weight) || stored.Has(fmt::format("{}.bias", place)));
    symbols->Set(fmt::format("{}.rows", place), stored.Axis(weight, 0));
    if (!IsNorm(place)) symbols->Set(fmt::format("{}.columns", place), stored.Axis(weight, 1));
  }
}

// ---- configs ----

bool IsLlava(const Checkpoint& checkpoint) { return checkpoint.config && IsLlavaJson(checkpoint.config->root()); }

// The config.json that came along, inside a .nemo or a NeMo 2 folder.
constexpr std::string_view kKeptNames[] = {"config.json", "context/config.json"};
bool IsKept(const Artifact& artifact) {
  return std::find(std::begin(kKeptNames), std::end(kKeptNames), artifact.name) != std::end(kKeptNames);
}

// The checkpoint with the config of its language model alone.
Result<Checkpoint> LanguageOf(const Checkpoint& checkpoint) {
  Checkpoint language = checkpoint;
  if (IsLlava(checkpoint)) {
    ANEMONE_ASSIGN(ConfigNode text, TextConfigOf(checkpoint.config->root()));
    language.config = Config(std::move(text));
  }
  const std::optional<Config> kept = KeptHfConfig(checkpoint, IsLlavaJson);
  if (!kept) return language;
  ANEMONE_ASSIGN(const ConfigNode text, TextConfigOf(kept->root()));
  for (Artifact& artifact : language.artifacts) {
    if (IsKept(artifact)) artifact.content = Whole(MemorySource(Config(text).ToJson(), artifact.name));
  }
  return language;
}

Status ReadNevaSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                       ModelSymbols* symbols) {
  if (IsLlava(checkpoint)) {
    ANEMONE_ASSIGN(const Checkpoint language, LanguageOf(checkpoint));
    ANEMONE_TRY(ReadGptSymbols(language, dialect, options, symbols));
  } else {
    ANEMONE_TRY(ReadGptSymbols(checkpoint, dialect, options, symbols));
  }
  const Stored stored = StoredBesidesLanguage(checkpoint, dialect);
  if (!stored.has_language) symbols->Set("layers", 0);
  SetProjector(stored, symbols);
  return SetVision(stored, symbols);
}

constexpr const char* kTowerConfig = "vision_tower/config.json";  // of a tower that was taken from elsewhere

Result<Target> ToHuggingFace(const Checkpoint& source, const Dialect& from, const TranslateOptions& options,
                             const ModelSymbols& symbols) {
  const ConfigNode& model = ModelNode(*source.config);
  ANEMONE_ASSIGN(const bool has_tower, symbols.Holds(kTower));
  ANEMONE_ASSIGN(const uint64_t layers, symbols.Get("layers"));
  if (layers == 0) return Unsupported("expected a whole LLaVA, found its projector without the language model");
  if (!has_tower) {
    return NotFound(fmt::format("vision_tower: expected an image tower, found none stored; "
                                "mm_cfg.vision_encoder.from_pretrained says {}",
                                WordAt(model, "mm_cfg.vision_encoder.from_pretrained").ScalarText()))
        .Use("tower", "DIR", "take it from a CLIP, a SigLIP or a LLaVA");
  }
  ANEMONE_ASSIGN(const Checkpoint language, LanguageOf(source));
  // Of whatever layout, it is a Llama's spelling.
  ANEMONE_ASSIGN(Target target, GptTarget(language, from, *NevaFamily().FindDialect("hf"), options, symbols));
  const std::optional<Config> kept = KeptHfConfig(source, IsLlavaJson);
  LlavaRequest request{.text = target.config->root()};
  ANEMONE_ASSIGN(request.rows, target.symbols.Get("vocab"));
  // What its class takes where it is silent was filled in to be read, not to be written.
  if (kept) {
    request.kept = &kept->root();
    ANEMONE_ASSIGN(const ConfigNode filled, TextConfigOf(kept->root()));
    const ConfigNode& own = WordAt(kept->root(), "text_config");
    std::erase_if(request.text.map, [&](const auto& entry) {
      return own.Get(entry.first) == nullptr && SameConfig(entry.second, WordAt(filled, entry.first));
    });
    if (const ConfigNode* names = own.Get("architectures")) request.text["architectures"] = *names;
    if (SameConfig(request.text, own)) request.text = own;
  }
  std::optional<Config> tower;
  if (const Artifact* artifact = source.FindArtifact(kTowerConfig)) {
    constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
    ANEMONE_ASSIGN(const std::string text, artifact->content.ReadAll(kMaxConfigBytes));
    ANEMONE_ASSIGN(tower, Config::ParseJson(text, kTowerConfig));
    request.vision = &tower->root();
  }
  request.image_token = TokenIdIn(source.artifacts, "<image>");
  ANEMONE_ASSIGN(ConfigNode json, LlavaJson(model, std::move(request), &target.notes));
  SetHuggingFaceDType(json, DTypeOf(source));
  target.config = Config(std::move(json));
  return target;
}

Result<Target> FromHuggingFace(const Checkpoint& source, const Dialect& from, const Dialect& to,
                               const TranslateOptions& options, const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const Checkpoint language, LanguageOf(source));
  ANEMONE_ASSIGN(Target target, GptTarget(language, from, to, options, symbols));
  if (options.hparams || !source.config) return target;
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  Result<ConfigNode> model =
      NemoNevaConfig(source.config->root(), std::move(target.config->root()), rows, &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  target.config = Config(*std::move(model));
  return target;
}

Result<Target> NevaTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                          const TranslateOptions& options, const ModelSymbols& symbols) {
  if (from.is_megatron && !to.is_megatron && source.config) return ToHuggingFace(source, from, options, symbols);
  if (!from.is_megatron && to.is_megatron) return FromHuggingFace(source, from, to, options, symbols);
  if (!from.is_megatron) return Target{symbols, source.config, source.config_name};  // another layout alone
  return GptTarget(source, from, to, options, symbols);
}

// The layout on the hub, which all versions read, but for a model that came from version 5.
Result<const Dialect*> ChooseNevaDialect(const Checkpoint& source, const TranslateOptions&, ConfigLanguage language) {
  if (language != ConfigLanguage::kHuggingFace) return NevaFamily().FindDialect("mcore");
  const std::optional<Config> kept = KeptHfConfig(source, IsLlavaJson);
  const std::string version =
      kept ? WordAt(kept->root(), "transformers_version").AsString().value_or("") : std::string();
  return NevaFamily().FindDialect(version.starts_with("5.") ? "hf_v5" : "hf");
}

Status CompleteNeva(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                    Checkpoint* result) {
  std::erase_if(result->artifacts, [](const Artifact& artifact) { return artifact.name == kTowerConfig; });
  // NeMo 2 has a folder's other files in its context.
  constexpr std::string_view kContext = "context/";
  for (Artifact& artifact : result->artifacts) {
    const bool is_preprocessor =
        artifact.name.starts_with(kContext) && artifact.name.ends_with("processor_config.json");
    if (is_preprocessor && language == ConfigLanguage::kHuggingFace) artifact.name.erase(0, kContext.size());
  }
  return CompleteLanguageModel(source, IsLlava(source) ? "LlamaForCausalLM" : "", language, options, result);
}

// A config.json of another class, whose tensors may be called alike.
std::string ForeignNeva(const Config& config) {
  const ConfigNode& root = config.root();
  if (root.Get("architectures") == nullptr && root.Get("model_type") == nullptr) return {};
  if (IsLlavaJson(root)) return {};
  const ConfigNode& names = WordAt(root, "architectures");
  return names.is_list() && !names.list.empty() ? names.list.front().ScalarText()
                                                : WordAt(root, "model_type").ScalarText();
}

// ---- the tower from elsewhere ----

// Where the tower lies that a NeMo checkpoint leaves out; "": it has one, or does not say.
std::string TowerElsewhere(const Checkpoint& checkpoint) {
  if (!checkpoint.config || HasName(checkpoint, ".vision_encoder.")) return {};
  return WordAt(ModelNode(*checkpoint.config), "mm_cfg.vision_encoder.from_pretrained").AsString().value_or("");
}

Status TakeTower(const Checkpoint& donor, Checkpoint* checkpoint) {
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(donor));
  const bool is_image = identity.family == &ClipFamily() || identity.family == &SiglipFamily();
  if (!is_image && identity.family != &NevaFamily())
    return Unsupported(fmt::format("expected a CLIP, a SigLIP or a LLaVA, found a {}", identity.family->title));
  ANEMONE_ASSIGN(const Checkpoint whole, Translate(donor, "hf"));
  const std::string_view before = is_image ? "" : "vision_tower.";
  const std::string_view tower = "vision_model.";
  const std::string inside = fmt::format("{}.vision_encoder.", HasName(*checkpoint, "language_model.embedding.")
                                                                   ? "language_model.embedding.word_embeddings"
                                                                   : "embedding.word_embeddings");
  ANEMONE_ASSIGN(const Dialect* dialect, DetectDialect(*checkpoint, NevaFamily()));
  const std::string prefix = NameMatcher(*dialect).BestPrefix(checkpoint->weights()).prefix;
  // In place of one that is stored.
  StateDict weights;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    if (item.name.find(".vision_encoder.") == std::string::npos) ANEMONE_TRY(weights.Add(item.name, item.entry));
  }
  uint64_t taken = 0;
  for (const StateDict::Item& item : whole.weights().items()) {
    if (!item.name.starts_with(fmt::format("{}{}", before, tower))) continue;
    ANEMONE_TRY(weights.Add(prefix + inside + item.name.substr(before.size()), item.entry));
    ++taken;
  }
  checkpoint->weights() = std::move(weights);
  if (taken == 0 || !whole.config) return NotFound("expected an image tower with its config, found none");
  const ConfigNode& root = whole.config->root();
  ConfigNode vision = WordAt(root, "vision_config").is_map() ? WordAt(root, "vision_config") : root;
  checkpoint->artifacts.push_back(
      {kTowerConfig, Whole(MemorySource(Config(std::move(vision)).ToJson() + "\n", kTowerConfig))});
  constexpr const char* kPreprocessor = "preprocessor_config.json";
  const Artifact* preprocessor = donor.FindArtifact(kPreprocessor);
  if (preprocessor != nullptr && checkpoint->FindArtifact(kPreprocessor) == nullptr)
    checkpoint->artifacts.push_back(*preprocessor);
  checkpoint->notes.push_back(fmt::format("{} tensors of the image tower, of {}", taken, donor.path));
  return {};
}

}  // namespace

const Family& NevaFamily() {
  static const Family family = {
      .name = "neva",
      .title = "NeVA",
      .symbols = Declared(),
      .canonical = Canonical(),
      .dialects = {Titled(GptMcore(Seeing("embedding.word_embeddings")), "NeMo NeVA, Megatron-core"),
                   Titled(GptLegacy(Seeing("language_model.embedding.word_embeddings")), "NeMo NeVA, legacy Megatron"),
                   HuggingFace(kHfLayouts[0]), HuggingFace(kHfLayouts[1]), HuggingFace(kHfLayouts[2])},
      .refusals = {{"vision_encoder.backbone.",
                    "a NeVA that sees with NeMo's own CLIP, whose config alone tells its "
                    "heads and how they lie"},
                   {"mlp.shared_experts.", "experts that all tokens share"}},
      .first_stage_towers = {std::string(kTower)},
      .has_virtual_stages = true,
      .read_symbols = ReadNevaSymbols,
      .target = NevaTarget,
      .foreign = ForeignNeva,
      .choose_dialect = ChooseNevaDialect,
      .complete = CompleteNeva,
      .parts_elsewhere = TowerElsewhere,
      .take_parts = TakeTower,
      .parts = {{"image tower", "vision.", "mm_cfg.vision_encoder.from_pretrained"},
                {"projector", "projector", "mm_cfg.pretrain_mm_mlp_adapter"},
                {"language model", "", "mm_cfg.llm.from_pretrained"}}};
  return family;
}

}  // namespace anemone
