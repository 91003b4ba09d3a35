// NeVA (LLaVA, VILA): a GPT whose word-embedding module contains the image tower, a Hugging Face CLIP or SigLIP, and
// the projector. So these are on the first stage only, whole on every tensor rank. What is frozen is not stored.
//
// NeMo 1 may build the tower of its own legacy CLIP instead (`from_hf: false`), and NeMo 2 the tower and the projector
// of Megatron-core: both are divided over tensor ranks. The latter is a dialect of its own.
//
// Facts: NeMo v2.0.0 neva_model.py (NevaWordEmbeddingMixin, MegatronNevaModel.state_dict), parallel_adapters.py
// (MultimodalProjectorAdapter); NeMo v2.1.0 nemo/collections/vlm/neva/model/{base,llava}.py, Megatron-LM core_v0.9.0
// models/vision/{clip_vit_model,multimodal_projector}.py; transformers 4.44.2 and 5 modeling_llava.py; files that NeMo
// wrote (tests/golden).
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "config/nodes.h"
#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/megatron/megatron_layer.h"
#include "family/mount.h"
#include "family/neva/donor.h"
#include "family/neva/stored.h"
#include "family/tokenizer/tokenizer_files.h"
#include "family/words/config_languages.h"
#include "family/words/hf_architectures.h"
#include "family/words/kept_config.h"
#include "family/words/llava_config.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"

namespace anemone {
namespace neva {
namespace {

using C = CanonicalRow;
using R = StoredRow;

// Of CLIP, or of SigLIP where "vision.siglip" is set.
Mounted ImageTower(std::string_view names) {
  const MountPoint at = {
      .names = std::string(names), .stage = Stage::kFirst, .tower = std::string(kTower), .below = "vision_model."};
  return EitherOf(Mount(ClipFamily(), "hf", at), Mount(SiglipFamily(), "hf", at), "vision.siglip");
}

// The tower of the CLIP that `from_pretrained` names, as legacy Megatron has it, which tells how its heads lie.
Mounted NemoTower(const std::string& names) {
  return Mount(
      ClipFamily(), "legacy",
      {.names = names, .stage = Stage::kFirst, .tower = std::string(kTower), .below = "vision_encoder.backbone."});
}

// The same as NeMo 2 builds it of Megatron-core: whole on the first stage, divided over tensor ranks. It ends with its
// layers; SigLIP's has a norm behind them.
Mounted MegatronTower(const std::string& names) {
  const MountPoint at = {
      .names = names, .stage = Stage::kFirst, .tower = std::string(kTower), .below = "vision_encoder."};
  Mounted mounted = EitherOf(Mount(ClipFamily(), "mcore", at), Mount(SiglipFamily(), "mcore", at), "vision.siglip");
  const std::string module = names + "vision_encoder.";
  std::erase_if(mounted.rows, [&](const R& row) {
    return row.name.starts_with(module + "head.") || row.name.starts_with(module + "final_layernorm.");
  });
  std::erase_if(mounted.symbols,
                [](const Symbol& symbol) { return symbol.name == "projection" || symbol.name == "vision.projects"; });
  for (const char* end : {"weight", "bias"}) {
    mounted.rows.push_back({.name = fmt::format("{}ln_post.{}", module, end),
                            .canonical = fmt::format("vision.post_norm.{}", end),
                            .stage = Stage::kFirst,
                            .when = "vision.siglip",
                            .tower = std::string(kTower)});
  }
  return mounted;
}

// {A}: its canonical name; {S}: its weight's shape; {P}: its name inside the word embedding; {O}: its older name
// [NLPSaveRestoreConnector.modify_state_dict].
std::vector<Words> Places(std::string_view embedding) {
  std::vector<Words> places;
  for (const std::string_view place : kProjections) {
    places.push_back({{"{S}", IsNorm(place) ? "{A}.rows" : "{A}.rows, {A}.columns"},
                      {"{A}", std::string(place)},
                      {"{P}", fmt::format("{}.adapter_layer.mm_projector_adapter.mm_{}", embedding, place)},
                      {"{O}", fmt::format("{}.adapter_layer.mm_linear_adapter.linear{}", embedding,
                                          place.substr(std::string_view("projector").size()))}});
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
  return Join<Symbol>(
      {GptDeclared(),
       EitherOf(ImageTower(""), EitherOf(MegatronTower(""), NemoTower(""), kNemoVision), kMegatronVision).symbols,
       {Symbol::Flag("vision.siglip", "the image tower is a SigLIP's"),
        Symbol::Flag(kMegatronVision, "the image tower is Megatron-core's"),
        Symbol::Flag(kNemoVision, "the image tower is that of NeMo's own CLIP, legacy Megatron"),
        Symbol::Flag(kMegatronProjector, "the projector is Megatron-core's"),
        Symbol::Flag("projector_bias", "the projector's linear layers have one"),
        Symbol::Flag("language", "the language model is stored"),
        Symbol::Flag("image_newline", "rows of an image's tiles end in a vector: LLaVA-NeXT")},
       projector});
}

// A file may hold the projector alone.
std::vector<C> Language() {
  std::vector<C> rows = GptCanonical();
  for (C& row : rows) {
    if (row.name.find("{i}") == std::string::npos) row.when = Both(row.when, "language");
  }
  return rows;
}

// A LLaVA's picture is what a layer before this norm gives.
std::vector<C> TowerCanonical() {
  std::vector<C> rows = ImageTower("").canonical;
  for (C& row : rows) {
    if (!row.name.starts_with("vision.post_norm.")) continue;
    row.made = row.name.ends_with("weight") ? 1 : 0;
    row.why = "the norm behind the image tower's last layer, which no LLaVA computes";
    row.is_idle = true;
  }
  return rows;
}

std::vector<C> Canonical() {
  return Join<C>({Language(),
                  TowerCanonical(),
                  ForPlaces(Places(""), std::vector<C>{{"{A}.weight", "{S}", "{A}", ""},
                                                       {"{A}.bias", "{A}.rows", "{A} & projector_bias", ""}}),
                  {{kNewline, "width", kNewline, ""}}});
}

std::vector<R> When(std::string_view condition, std::vector<R> rows) {
  for (R& row : rows) {
    if (row.when != kReadOnly) row.when = Both(row.when, condition);
  }
  return rows;
}

std::vector<R> Projector(const std::string& embedding) {
  return ForPlaces(
      Places(embedding),
      std::vector<R>{
          {.name = "{P}.weight", .canonical = "{A}.weight", .stage = Stage::kFirst},
          {.name = "{P}.bias", .canonical = "{A}.bias", .stage = Stage::kFirst},
          {.name = "{O}.weight", .canonical = "{A}.weight", .stage = Stage::kFirst, .when = std::string(kReadOnly)},
          {.name = "{O}.bias", .canonical = "{A}.bias", .stage = Stage::kFirst, .when = std::string(kReadOnly)},
      });
}

// The rows inside the word embedding of NeMo 1.
std::vector<R> Seeing(const std::string& embedding) {
  return Join<R>({When(fmt::format("!{}", kNemoVision), ImageTower(embedding + ".vision_encoder.").rows),
                  When(kNemoVision, NemoTower(embedding + ".").rows), Projector(embedding)});
}

// Of NeMo 2's LLaVA-NeXT; NeMo 1 has no such model.
Dialect WithNewline(Dialect dialect) {
  dialect.rows.push_back({.name = kNewline, .canonical = kNewline, .stage = Stage::kFirst});
  return dialect;
}

// NeMo 2 with parts of Megatron-core: the tower, the projector, or both. The other kind's rows are here as well.
Dialect MegatronVit() {
  const std::string embedding = "embedding.word_embeddings";
  const std::string projector = embedding + ".adapter_layer.mm_projector_adapter.mm_projector.encoder";
  const auto linear = [&](const std::string& name, const std::string& canonical, bool is_columns) {
    const std::string when(kMegatronProjector);
    return std::vector<R>{{.name = fmt::format("{}{}.weight", projector, name),
                           .canonical = fmt::format("{}.weight", canonical),
                           .split = is_columns ? Split::kColumns : Split::kRows,
                           .stage = Stage::kFirst,
                           .when = when},
                          {.name = fmt::format("{}{}.bias", projector, name),
                           .canonical = fmt::format("{}.bias", canonical),
                           .split = is_columns ? Split::kColumns : Split::kReplicated,
                           .stage = Stage::kFirst,
                           .when = when},
                          StateRow(fmt::format("{}{}._extra_state", projector, name), kReadOnly, Stage::kFirst)};
  };
  Dialect dialect = WithNewline(GptMcore(
      Join<R>({When(fmt::format("!{}", kMegatronVision), ImageTower(embedding + ".vision_encoder.").rows),
               When(kMegatronVision, MegatronTower(embedding + ".").rows),
               When(fmt::format("!{}", kMegatronProjector), Projector(embedding)), linear("", "projector", true),
               linear(".linear_fc1", "projector.0", true), linear(".linear_fc2", "projector.2", false)})));
  dialect.name = kMegatronTowerDialect;
  dialect.title = "NeMo 2 NeVA, image tower of Megatron-core";
  dialect.language = ConfigLanguage::kNemo2;
  return dialect;
}

Dialect Legacy() {
  Dialect dialect = GptLegacy(Seeing("language_model.embedding.word_embeddings"));
  dialect.title = "NeMo NeVA, legacy Megatron";
  dialect.never += fmt::format(", {}", kNewline);
  return dialect;
}

// ---- transformers ----

// How one of its layouts calls the parts.
struct HfLayout {
  std::string_view name, title;
  std::string_view language;  // stands before "model." of a decoder's names
  std::string_view model;     // stands in place of that "model."
  std::string_view head;      // stands before "lm_head."
  std::string_view projector, tower, newline;
  bool has_model = true;  // the tower's names begin with "vision_model."
  bool is_own = false;    // LLaVA's: the projector is a Linear or a Sequential, of any form
};
constexpr HfLayout kHfLayouts[] = {
    // As all published files and all versions of transformers have it.
    {"hf", "Hugging Face transformers, LLaVA", "language_model.", "model.", "language_model.", "multi_modal_projector",
     "vision_tower.", "image_newline"},
    {"hf_v5", "Hugging Face transformers, LLaVA as version 5 saves it", "language_model.", "model.", "language_model.",
     "multi_modal_projector", "vision_tower.", "image_newline", false},
    {"hf_nested", "Hugging Face transformers, LLaVA as version 5 has it in memory", "model.language_model.", "", "",
     "model.multi_modal_projector", "model.vision_tower.", "model.image_newline"},
    {"llava", "LLaVA's own", "", "model.", "", "model.mm_", "model.vision_tower.vision_tower.", "model.image_newline",
     true, true},
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
  const auto add = [&](const std::string& name, std::string_view place) {
    for (const char* end : {"weight", "bias"}) {
      projector.push_back({.name = fmt::format("{}.{}", name, end), .canonical = fmt::format("{}.{}", place, end)});
    }
  };
  if (layout.is_own) {
    for (const std::string_view place : kProjections) add(fmt::format("{}{}", layout.projector, place), place);
  } else {
    add(fmt::format("{}.linear_1", layout.projector), "projector.0");
    add(fmt::format("{}.linear_2", layout.projector), "projector.2");
  }
  projector.push_back({.name = std::string(layout.newline), .canonical = kNewline});
  std::vector<R> tower = ImageTower(std::string(layout.tower)).rows;
  const std::string_view inner = "vision_model.";
  for (R& row : tower) {
    if (!layout.has_model) row.name.erase(layout.tower.size(), inner.size());
  }
  dialect.name = layout.name;
  dialect.title = layout.title;
  dialect.rows = Join<R>({std::move(tower), std::move(projector), std::move(dialect.rows)});
  if (layout.is_own) {
    dialect.prefixes.emplace_back("base_model.model.");  // beside a LoRA: non_lora_trainables.bin
    dialect.language = ConfigLanguage::kNone;            // its config.json is not transformers'
  } else {
    dialect.never += ", projector, projector.1, projector.4, projector.6";
  }
  return dialect;
}

std::vector<Dialect> HuggingFaceDialects() {
  std::vector<Dialect> dialects;
  for (const HfLayout& layout : kHfLayouts) dialects.push_back(HuggingFace(layout));
  return dialects;
}
constexpr std::string_view kOwnDialect = "llava";

Dialect Titled(Dialect dialect, std::string_view title) {
  dialect.title = title;
  return dialect;
}

Status SetVision(const Stored& stored, const ConfigNode& config, ModelSymbols* symbols) {
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
  // Where nothing says how many heads there are, nothing asks: Hugging Face keeps q, k and v apart.
  const int64_t said = WordAt(config, "num_attention_heads").AsInt().value_or(1);
  const uint64_t heads = said > 0 && width % static_cast<uint64_t>(said) == 0 ? static_cast<uint64_t>(said) : 1;
  set("heads", heads);
  set("head_dim", width / heads);
  set("groups", heads);
  ANEMONE_ASSIGN(const uint64_t qkv_rows, symbols->Compute("3*vision.width"));
  set("qkv_rows", qkv_rows);
  set("positions", stored.Axis("vision.position_embedding.weight", 0));
  symbols->Set("channels", stored.Axis("vision.patch_embedding.weight", 1));
  symbols->Set("patch", stored.Axis("vision.patch_embedding.weight", 2));
  for (const std::string_view flag : {"bias", "qkv_bias", "norm_bias"}) set(flag, 1);
  symbols->Set(kMegatronVision, stored.has_megatron_tower);
  symbols->Set(kNemoVision, stored.has_nemo_tower);
  set("learned_parameters", stored.has_learned_positions);
  set("qkv_stacked", 0);
  return {};
}

// ---- configs ----

// Either of them in transformers' words.
Result<ConfigNode> InHfWords(const ConfigNode& root) {
  if (IsOwnLlavaJson(root)) return HfOfOwnLlava(root);
  return root;
}

// The config.json that came along, inside a .nemo or a NeMo 2 folder.
constexpr std::string_view kKeptNames[] = {"config.json", "context/config.json"};
bool IsKept(const Artifact& artifact) {
  return std::find(std::begin(kKeptNames), std::end(kKeptNames), artifact.name) != std::end(kKeptNames);
}

// The checkpoint with the config of its language model alone.
Result<Checkpoint> LanguageOf(const Checkpoint& checkpoint) {
  Checkpoint language = checkpoint;
  if (IsLlava(checkpoint)) {
    ANEMONE_ASSIGN(const ConfigNode whole, InHfWords(checkpoint.config->root()));
    ANEMONE_ASSIGN(ConfigNode text, TextConfigOf(whole));
    language.config = Config(std::move(text));
  }
  const std::optional<Config> kept = KeptHfConfig(checkpoint, IsAnyLlavaJson);
  if (!kept) return language;
  ANEMONE_ASSIGN(const ConfigNode whole, InHfWords(kept->root()));
  ANEMONE_ASSIGN(const ConfigNode text, TextConfigOf(whole));
  for (Artifact& artifact : language.artifacts) {
    if (IsKept(artifact)) artifact.content = Whole(MemorySource(Config(text).ToJson(), artifact.name));
  }
  return language;
}

// A projector alone, as LLaVA's mm_projector.bin is: nothing tells the language model, and nothing asks for it.
void SetNoLanguage(uint64_t width, ModelSymbols* symbols) {
  for (const Symbol& symbol : GptDeclared()) {
    if (symbol.kind == Symbol::Kind::kLayerFlag) {
      symbols->SetLayers(symbol.name, {});
    } else {
      symbols->Set(symbol.name, 0);
    }
  }
  symbols->Set("width", width);
}

// The config of a tower that was taken from elsewhere.
Result<std::optional<Config>> TakenTowerConfig(const Checkpoint& source, const char* name = kTowerConfig) {
  const Artifact* artifact = source.FindArtifact(name);
  if (artifact == nullptr) return std::optional<Config>();
  constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
  ANEMONE_ASSIGN(const std::string text, artifact->content.ReadAll(kMaxConfigBytes));
  ANEMONE_ASSIGN(Config config, Config::ParseJson(text, name));
  return std::optional(std::move(config));
}

// The config of the image tower in transformers' words, and where the checkpoint says it; LLaVA's own tells sizes by a
// name alone. Empty where nothing does; one that came along says nothing of weights that changed since.
struct VisionConfig {
  ConfigNode words = {};
  std::string place = {};
};
Result<VisionConfig> VisionConfigOf(const Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(const std::optional<Config> taken, TakenTowerConfig(checkpoint));
  if (taken) return VisionConfig{WholeTower(taken->root()), kTowerConfig};
  if (checkpoint.config && !IsLlava(checkpoint)) {
    const std::string place = fmt::format("mm_cfg.vision_encoder.{}", kTowerConfigKey);
    const ConfigNode& said = WordAt(ModelNode(*checkpoint.config), place);
    if (said.is_map()) return VisionConfig{WholeTower(said), place};
  }
  const std::optional<Config> kept = KeptHfConfig(checkpoint, IsAnyLlavaJson);
  if (!IsLlava(checkpoint) && !kept) return VisionConfig();
  const ConfigNode& root = IsLlava(checkpoint) ? checkpoint.config->root() : kept->root();
  ANEMONE_ASSIGN(const ConfigNode json, InHfWords(root));
  const ConfigNode& vision = WordAt(json, "vision_config");
  return VisionConfig{IsOwnLlavaJson(root) ? vision : WholeTower(vision), IsLlava(checkpoint) ? "vision_config" : ""};
}

// A stored tower of NeMo's own CLIP: its sizes on one rank are not those of the whole, and its heads lie as that CLIP's
// config says.
Status SetNemoTower(const Checkpoint& checkpoint, const VisionConfig& vision, ModelSymbols* symbols) {
  ANEMONE_ASSIGN(const bool is_nemos, symbols->Holds(kNemoVision));
  if (!is_nemos) return {};
  const ConfigNode& apart = WordAt(EncoderOf(checkpoint), kHeadsApart);
  const int64_t ffn = WordAt(vision.words, "intermediate_size").AsInt().value_or(0);
  if (apart.is_null() || ffn < 1 || WordAt(vision.words, "num_attention_heads").is_null()) {
    return NotFound(
               "mm_cfg.vision_encoder.from_pretrained: expected the CLIP's .nemo, whose config says how the heads of "
               "the "
               "stored image tower lie, found none")
        .Use("tower", "CLIP.nemo", "read it from there");
  }
  symbols->Set("vision.qkv_stacked", apart.AsBool().value_or(false));
  for (const char* key : {"vision.ffn", "vision.up_rows"}) symbols->Set(key, static_cast<uint64_t>(ffn));
  return {};
}

// What a config says of the tower and the projector is what is stored: NeMo and transformers build them by it.
struct Said {
  std::string_view symbol, hf, nemo;
};
constexpr Said kSaid[] = {{"vision.width", "hidden_size", "hidden_size"},
                          {"vision.layers", "num_hidden_layers", ""},
                          {"vision.ffn", "intermediate_size", ""},
                          {"patch", "patch_size", "patch_dim"},
                          {"projector.0.columns", "hidden_size", "hidden_size"},
                          {"projector.columns", "hidden_size", "hidden_size"}};

Status CheckSizes(const ConfigNode& node, std::string_view place, std::string_view Said::*word, bool is_of_one_layer,
                  const ModelSymbols& symbols) {
  for (const Said& said : kSaid) {
    const std::string_view key = said.*word;
    ANEMONE_ASSIGN(const uint64_t stored, symbols.Get(said.symbol));
    const auto value = key.empty() ? std::nullopt : WordAt(node, key).AsInt();
    const bool is_projector = said.symbol.starts_with("projector");
    if (stored == 0 || !value || *value == static_cast<int64_t>(stored) || (is_projector && !is_of_one_layer)) continue;
    return Corrupt(fmt::format("{}.{}: expected {}, as the weights have, found {}", place, key, stored, *value));
  }
  return {};
}

// transformers' table of positions has a row for each patch of a picture, and CLIP's one for its class token.
Status CheckPositions(const VisionConfig& vision, const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const uint64_t stored, symbols.Get("vision.positions"));
  ANEMONE_ASSIGN(const bool is_siglip, symbols.Holds("vision.siglip"));
  const int64_t image = WordAt(vision.words, "image_size").AsInt().value_or(0),
                patch = WordAt(vision.words, "patch_size").AsInt().value_or(0);
  constexpr int64_t kMostSide = 1 << 15;
  if (stored == 0 || image <= 0 || patch <= 0 || image / patch > kMostSide) return {};
  const int64_t positions = (image / patch) * (image / patch) + (is_siglip ? 0 : 1);
  if (positions == static_cast<int64_t>(stored)) return {};
  return Corrupt(fmt::format("{}.image_size: expected pictures of {} positions, as the weights have, found {}, of {}",
                             vision.place, stored, image, positions));
}

Status CheckSaid(const Checkpoint& checkpoint, const VisionConfig& vision, const ModelSymbols& symbols) {
  const bool is_hf = IsLlava(checkpoint);
  if (!is_hf && checkpoint.config) {
    ANEMONE_TRY(CheckSizes(WordAt(ModelNode(*checkpoint.config), "mm_cfg.vision_encoder"), "mm_cfg.vision_encoder",
                           &Said::nemo, true, symbols));
  }
  if (vision.place.empty()) return {};
  const ConfigNode none;
  const ConfigNode& layer = is_hf ? WordAt(checkpoint.config->root(), "vision_feature_layer") : none;
  const bool is_of_one = !layer.is_list() || layer.list.size() == 1;
  ANEMONE_TRY(CheckSizes(vision.words, vision.place, &Said::hf, is_of_one, symbols));
  return CheckPositions(vision, symbols);
}

// It is of the form that the config says, and makes vectors of the language model's width.
Status CheckProjector(const Checkpoint& checkpoint, const Stored& stored, const ModelSymbols& symbols) {
  const std::string type = ProjectorType(symbols);
  if (type.empty() || !checkpoint.config) return {};
  const ConfigNode& root = checkpoint.config->root();
  const bool is_own = IsOwnLlavaJson(root);
  if (is_own && !stored.has_language) return {};  // LLaVA's config of a projector alone says no sizes
  if (is_own || !IsLlava(checkpoint)) {
    const std::string_view key = is_own ? "mm_projector_type" : "mm_cfg.mm_mlp_adapter_type";
    const ConfigNode& said = WordAt(is_own ? root : ModelNode(*checkpoint.config), key);
    if (!said.is_null() && said.AsString() != type)
      return Corrupt(fmt::format("{}: expected {}, as the weights have, found {}", key, type, said.ScalarText()));
  }
  ANEMONE_ASSIGN(const uint64_t width, symbols.Get("width"));
  for (const std::string_view place : kProjections) {
    const bool is_last = place == "projector" || place == "projector.4" ||
                         (place == "projector.2" && type == "mlp2x_gelu") ||
                         (place == "projector.0" && type == "mlp1x_gelu");
    const uint64_t rows = stored.Axis(fmt::format("{}.weight", place), 0);
    if (!is_last || rows == 0 || rows == width || type == "mlp4x_gelu") continue;
    return Corrupt(
        fmt::format("{}.weight: expected {} rows, as the language model is wide, found {}", place, width, rows));
  }
  return {};
}

// transformers builds a decoder of any class and a tower of any class: those that are spelled as Llama's, CLIP's and
// SigLIP's are known.
Status CheckClasses(const Checkpoint& checkpoint) {
  if (!IsLlava(checkpoint)) return {};
  ANEMONE_ASSIGN(const ConfigNode json, InHfWords(checkpoint.config->root()));
  ANEMONE_ASSIGN(const ConfigNode text, TextConfigOf(json));
  const auto type = [](const ConfigNode& config) { return WordAt(config, "model_type").ScalarText(); };
  if (FindHfArchitecture(text) == nullptr || DialectOfHf(text) != "hf") {
    return Unsupported(
        fmt::format("text_config.model_type: expected a decoder with Llama's names, as llama, mistral, qwen2 and "
                    "nemotron have, found {}",
                    type(text)));
  }
  const ConfigNode vision = WholeTower(WordAt(json, "vision_config"));
  if (type(vision) == "clip_vision_model" || type(vision) == "siglip_vision_model") return {};
  return Unsupported(fmt::format(
      "vision_config.model_type: expected clip_vision_model or siglip_vision_model, found {}", type(vision)));
}

Status ReadNevaSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                       ModelSymbols* symbols) {
  ANEMONE_TRY(CheckClasses(checkpoint));
  const Stored stored = StoredBesidesLanguage(checkpoint, dialect);
  if (!stored.has_language && !checkpoint.config && !options.hparams) {
    const uint64_t inner = stored.Axis("projector.weight", 0), outer = stored.Axis("projector.0.weight", 0);
    SetNoLanguage(std::max(inner, outer), symbols);
  } else if (IsLlava(checkpoint)) {
    ANEMONE_ASSIGN(const Checkpoint language, LanguageOf(checkpoint));
    ANEMONE_TRY(ReadGptSymbols(language, dialect, options, symbols));
  } else {
    ANEMONE_TRY(ReadGptSymbols(checkpoint, dialect, options, symbols));
  }
  if (!stored.has_language) symbols->Set("layers", 0);
  symbols->Set("language", stored.has_language);
  const bool is_next =
      checkpoint.config && (IsLlavaNextJson(checkpoint.config->root()) || IsLlavaNextConfig(*checkpoint.config));
  symbols->Set(kNewline, is_next || stored.Has(kNewline));
  SetProjector(stored, symbols);
  const ConfigNode no_config;
  const ConfigNode& root = IsLlava(checkpoint) ? checkpoint.config->root() : no_config;
  symbols->Set("projector_bias", WordAt(root, "multimodal_projector_bias").AsBool().value_or(true));
  ANEMONE_ASSIGN(const VisionConfig vision, VisionConfigOf(checkpoint));
  ANEMONE_TRY(SetVision(stored, vision.words, symbols));
  ANEMONE_TRY(SetNemoTower(checkpoint, vision, symbols));
  ANEMONE_TRY(CheckProjector(checkpoint, stored, *symbols));
  return CheckSaid(checkpoint, vision, *symbols);
}

// transformers counts layers from 0, too; NeMo's own CLIP gives what its last norm does [ParallelTransformer.forward].
Status CheckNemoLayer(const ConfigNode& encoder) {
  const ConfigNode& layer = WordAt(encoder, "vision_select_layer");
  if (layer.AsInt().value_or(-2) < 0) return {};
  return Unsupported(
      fmt::format("mm_cfg.vision_encoder.vision_select_layer: expected a number below 0, as a tower of "
                  "NeMo's own CLIP counts layers, found {}",
                  layer.ScalarText()));
}

// transformers and LLaVA load whole models: NeMo's and LLaVA's files may leave parts out.
Status RequireWhole(const Checkpoint& source, const Dialect& to, const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const bool has_tower, symbols.Holds(kTower));
  ANEMONE_ASSIGN(const uint64_t layers, symbols.Get("layers"));
  const bool is_own = IsLlava(source);
  const ConfigNode none;
  const ConfigNode& model = !source.config ? none : is_own ? source.config->root() : ModelNode(*source.config);
  const auto says = [&](std::string_view nemo, std::string_view own) {
    const std::string_view key = is_own ? own : nemo;
    const ConfigNode& value = WordAt(model, key);
    return key.empty() ? "" : fmt::format("; {} says {}", key, value.is_scalar() ? value.ScalarText() : "null");
  };
  if (layers == 0) {
    const std::string what = "expected a whole LLaVA, found its projector without the language model";
    if (!source.config)
      return NotFound(what, "convert the LLaVA whose projector it is to be, and name this file as its donor");
    return NotFound(what + says("mm_cfg.llm.from_pretrained", "")).Use("tower", "DIR", "take it from a GPT or a LLaVA");
  }
  if (ProjectorType(symbols).empty()) {
    return NotFound(fmt::format("multi_modal_projector: expected a projector, found none stored{}",
                                says("mm_cfg.pretrain_mm_mlp_adapter", "")))
        .Use("tower", "DIR", "take it from a LLaVA or its projector");
  }
  // LLaVA's own code takes the tower from its place when it loads.
  if (has_tower || to.name == kOwnDialect) return {};
  return NotFound(fmt::format("vision_tower: expected an image tower, found none stored{}",
                              says("mm_cfg.vision_encoder.from_pretrained", "mm_vision_tower")))
      .Use("tower", "DIR", "take it from a CLIP, a SigLIP or a LLaVA");
}

// config.json in the words of the dialect; `json` is in transformers'.
Result<ConfigNode> InWordsOf(const Dialect& to, const Checkpoint& source, ConfigNode json, std::string tower,
                             std::string projector, std::vector<std::string>* notes) {
  if (to.name != kOwnDialect) {
    ConfigNode* vision = json.Get("vision_config");
    // A place on the disk of whoever trained it.
    if (vision != nullptr && vision->is_map()) vision->Erase("_name_or_path");
    return json;
  }
  const std::optional<Config> kept =
      IsLlava(source) ? source.config
                      : KeptHfConfig(source, [](const ConfigNode& root) { return IsOwnLlavaJson(root); });
  const ConfigNode known = TowerOfName(tower), vision = WholeTower(WordAt(json, "vision_config"));
  for (const char* key : {"hidden_size", "num_hidden_layers", "patch_size", "image_size"}) {
    const ConfigNode& size = WordAt(vision, key);
    if (tower.empty() || known.map.empty() || SameConfig(WordAt(known, key), size)) continue;
    notes->push_back(fmt::format("mm_vision_tower: null; no known tower has {} {}: set it to the place of this tower",
                                 key, size.is_scalar() ? size.ScalarText() : "none"));
    tower.clear();
  }
  OwnLlavaRequest request{.tower = std::move(tower), .projector = std::move(projector)};
  if (kept && IsOwnLlavaJson(kept->root())) {
    request.kept = &kept->root();
    ANEMONE_ASSIGN(const ConfigNode same, HfOfOwnLlava(kept->root()));
    ANEMONE_ASSIGN(const ConfigNode text, TextConfigOf(same));
    // What its class takes where it is silent stays unsaid.
    if (ConfigNode* own = json.Get("text_config")) {
      std::erase_if(own->map, [&](const auto& entry) {
        return WordAt(same, "text_config").Get(entry.first) == nullptr &&
               (SameConfig(entry.second, WordAt(text, entry.first)) || kept->root().Get(entry.first) == nullptr);
      });
    }
  }
  return OwnLlavaOfHf(json, request);
}

Result<Target> ToHuggingFace(const Checkpoint& source, const Dialect& from, const Dialect& to,
                             const TranslateOptions& options, const ModelSymbols& symbols) {
  const ConfigNode& model = ModelNode(*source.config);
  ANEMONE_TRY(RequireWhole(source, to, symbols));
  ANEMONE_ASSIGN(const bool is_of_nemos_clip, symbols.Holds(kNemoVision));
  if (is_of_nemos_clip) ANEMONE_TRY(CheckNemoLayer(EncoderOf(source)));
  ANEMONE_ASSIGN(const Checkpoint language, LanguageOf(source));
  // Of whatever layout, it is a Llama's spelling.
  ANEMONE_ASSIGN(Target target, GptTarget(language, from, *NevaFamily().FindDialect("hf"), options, symbols));
  std::optional<Config> kept = KeptHfConfig(source, IsAnyLlavaJson);
  LlavaRequest request{.text = target.config->root()};
  ANEMONE_ASSIGN(request.rows, target.symbols.Get("vocab"));
  request.any_projector = to.name == kOwnDialect;
  // What its class takes where it is silent was filled in to be read, not to be written.
  if (kept) {
    ANEMONE_ASSIGN(ConfigNode words, InHfWords(kept->root()));
    kept = Config(std::move(words));
    request.kept = &kept->root();
    ANEMONE_ASSIGN(const ConfigNode filled, TextConfigOf(kept->root()));
    const ConfigNode& own = WordAt(kept->root(), "text_config");
    std::erase_if(request.text.map, [&](const auto& entry) {
      return own.Get(entry.first) == nullptr && SameConfig(entry.second, WordAt(filled, entry.first));
    });
    if (const ConfigNode* names = own.Get("architectures")) request.text["architectures"] = *names;
    if (SameConfig(request.text, own)) request.text = own;
  }
  const auto text = [&](std::string_view key) { return WordAt(model, key).AsString().value_or(""); };
  ANEMONE_ASSIGN(const std::optional<Config> tower, TakenTowerConfig(source));
  if (tower) request.vision = &tower->root();
  // A published tower is told by its name, as long as the weights have its sizes.
  const ConfigNode known = TowerOfName(text("mm_cfg.vision_encoder.from_pretrained"));
  const bool is_told =
      tower || kept || WordAt(model, fmt::format("mm_cfg.vision_encoder.{}", kTowerConfigKey)).is_map();
  if (!is_told && !known.map.empty()) {
    const VisionConfig named{known, "mm_cfg.vision_encoder.from_pretrained"};
    ANEMONE_TRY(CheckSizes(known, named.place, &Said::hf, true, symbols));
    ANEMONE_TRY(CheckPositions(named, symbols));
    request.vision = &known;
  }
  request.image_token = TokenIdIn(source.artifacts, "<image>");
  ANEMONE_ASSIGN(ConfigNode json, LlavaJson(model, std::move(request), &target.notes));
  ANEMONE_ASSIGN(json, InWordsOf(to, source, std::move(json), text("mm_cfg.vision_encoder.from_pretrained"),
                                 text("mm_cfg.mm_mlp_adapter_type"), &target.notes));
  SetHuggingFaceDType(json, DTypeOf(source));
  target.config = Config(std::move(json));
  return target;
}

constexpr int64_t kPublishedImageToken = 32000;  // of the models in llava-hf/

// Between transformers' layouts, and between them and LLaVA's own, whose configs differ.
Result<Target> BetweenLayouts(const Checkpoint& source, const Dialect& from, const Dialect& to,
                              const ModelSymbols& symbols) {
  Target target{symbols, source.config, source.config_name};
  const bool was_own = from.name == kOwnDialect, is_own = to.name == kOwnDialect;
  if (was_own == is_own) return target;
  ANEMONE_TRY(RequireWhole(source, to, symbols));
  if (!source.config) return target;
  ANEMONE_ASSIGN(ConfigNode json, InHfWords(source.config->root()));
  if (was_own) {
    const std::string projector = WordAt(source.config->root(), "mm_projector_type").AsString().value_or("linear");
    if (projector != "mlp2x_gelu") {
      return Unsupported(
          fmt::format("mm_projector_type: expected mlp2x_gelu, as transformers' LLaVA computes, found {}", projector));
    }
    const int64_t said = WordAt(json, kImageTokenKey).AsInt().value_or(kPublishedImageToken);
    const int64_t image = TokenIdIn(source.artifacts, "<image>").value_or(said);
    json["image_token_index"] = ConfigNode::Int(image);
    ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
    if (image >= static_cast<int64_t>(rows)) {
      target.notes.push_back(fmt::format(
          "image_token_index: {}, and the embedding has {} rows: transformers needs a row for it (its own converter of "
          "LLaVA adds random ones)",
          image, rows));
    }
    ANEMONE_ASSIGN(const std::optional<Config> tower, TakenTowerConfig(source));
    if (tower) json["vision_config"] = tower->root();
    if (WordAt(json, "vision_config.num_hidden_layers").is_null()) {
      return NotFound("mm_vision_tower: expected a tower whose config is known, found none")
          .Use("tower", "DIR", "take the tower from there");
    }
    json["transformers_version"] = ConfigNode::String("4.44.2");
  } else if (IsLlavaNextJson(json) && WordAt(json, "image_grid_pinpoints").is_null()) {
    json["image_grid_pinpoints"] = ParseWord(kSilentPinpoints);
  }
  const std::string tower =
      TowerNameOf(WholeTower(WordAt(json, "vision_config")), WordAt(json, "vision_config"), nullptr);
  ANEMONE_ASSIGN(json, InWordsOf(to, source, std::move(json), tower, "mlp2x_gelu", &target.notes));
  SetHuggingFaceDType(json, DTypeOf(source));
  target.config = Config(std::move(json));
  return target;
}

// What LLaVA's own config does not tell of a tower of another name, by what is stored; its heads stay unknown.
Status AddStoredTower(const ModelSymbols& symbols, ConfigNode* vision) {
  if (vision->Get("num_hidden_layers") != nullptr) return {};
  ANEMONE_ASSIGN(const bool is_stored, symbols.Holds(kTower));
  if (!is_stored) {
    return NotFound("mm_vision_tower: expected a tower that is stored or whose sizes are known, found another")
        .Use("tower", "DIR", "take the tower from there");
  }
  ANEMONE_ASSIGN(const bool is_siglip, symbols.Holds("vision.siglip"));
  (*vision)["model_type"] = ConfigNode::String(is_siglip ? "siglip_vision_model" : "clip_vision_model");
  const auto set = [&](const char* key, uint64_t size) {
    (*vision)[key] = ConfigNode::Int(static_cast<int64_t>(size));
  };
  for (const auto& [key, symbol] : {std::pair{"hidden_size", "vision.width"},
                                    {"intermediate_size", "vision.ffn"},
                                    {"num_hidden_layers", "vision.layers"},
                                    {"patch_size", "patch"}}) {
    ANEMONE_ASSIGN(const uint64_t size, symbols.Get(symbol));
    set(key, size);
  }
  ANEMONE_ASSIGN(const uint64_t positions, symbols.Get("vision.positions"));
  ANEMONE_ASSIGN(const uint64_t patch, symbols.Get("patch"));
  const auto side = static_cast<uint64_t>(std::lround(std::sqrt(static_cast<double>(positions - (is_siglip ? 0 : 1)))));
  set("image_size", side * patch);
  return {};
}

Result<Target> FromHuggingFace(const Checkpoint& source, const Dialect& from, const Dialect& to,
                               const TranslateOptions& options, const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const Checkpoint language, LanguageOf(source));
  ANEMONE_ASSIGN(Target target, GptTarget(language, from, to, options, symbols));
  if (options.hparams || !source.config) return target;
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  ANEMONE_ASSIGN(ConfigNode json, InHfWords(source.config->root()));
  ANEMONE_ASSIGN(const std::optional<Config> tower, TakenTowerConfig(source));
  if (tower) json["vision_config"] = tower->root();
  if (IsOwnLlavaJson(source.config->root()))
    ANEMONE_TRY(AddStoredTower(symbols, &json["vision_config"]).In(source.config_name));
  Result<ConfigNode> model = NemoNevaConfig(json, std::move(target.config->root()), rows, &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  if (IsOwnLlavaJson(source.config->root())) {
    const ConfigNode& own = source.config->root();
    (*model)["mm_cfg"]["mm_mlp_adapter_type"] =
        ConfigNode::String(WordAt(own, "mm_projector_type").AsString().value_or("linear"));
    if (const ConfigNode& ratio = WordAt(own, "image_aspect_ratio"); !ratio.is_null())
      (*model)["data"]["image_aspect_ratio"] = ratio;
  }
  target.config = Config(*std::move(model));
  return target;
}

// The tower of a result whose config says that NeMo builds its own CLIP's: one that is stored is written as that.
Status SetNemoKind(const Checkpoint& source, const Dialect& from, ConfigNode* encoder, ModelSymbols* symbols) {
  ANEMONE_ASSIGN(const bool is_stored, symbols->Holds(kTower));
  if (from.is_megatron || !is_stored || !IsOfNemosClip(*encoder)) return {};
  ANEMONE_TRY(CheckNemoLayer(*encoder));
  ANEMONE_ASSIGN(const std::optional<Config> clip, TakenTowerConfig(source, kNemoTowerConfig));
  if (!clip) {
    return NotFound(
               "mm_cfg.vision_encoder.from_hf: false, as NeMo builds the tower of a CLIP in its legacy names: expected "
               "that CLIP's .nemo, found none")
        .Use("tower", "CLIP.nemo", "take the tower from there")
        .Use("set", "mm_cfg.vision_encoder.from_hf=true", "write transformers' tower");
  }
  for (const auto& [key, value] : clip->root().map) (*encoder)[key] = value;
  symbols->Set(kNemoVision, 1);
  symbols->Set("vision.qkv_stacked", WordAt(*encoder, kHeadsApart).AsBool().value_or(false));
  symbols->Set("vision.learned_parameters", WordAt(*encoder, kPositions).AsString() == "learned_parameters");
  ANEMONE_ASSIGN(const VisionConfig vision, VisionConfigOf(source));
  (*encoder)[kTowerConfigKey] = vision.words;
  ANEMONE_ASSIGN(const uint64_t width, symbols->Get("vision.width"));
  const auto heads = static_cast<uint64_t>(WordAt(vision.words, "num_attention_heads").AsInt().value_or(1));
  for (const char* key : {"vision.heads", "vision.groups"}) symbols->Set(key, heads);
  symbols->Set("vision.head_dim", heads == 0 ? 0 : width / heads);
  return {};
}

// Says what kind of tower a model for NeMo has: only NeMo 1 builds its own CLIP's, and only NeMo 2 Megatron-core's.
Status SetTowerKind(const Checkpoint& source, const Dialect& from, const Dialect& to, Target* target) {
  const bool is_megatron = to.name == kMegatronTowerDialect;
  target->symbols.Set(kMegatronVision, is_megatron);
  if (is_megatron) target->symbols.Set(kNemoVision, 0);
  if (!target->config) return {};
  ConfigNode& encoder = EncoderOf(*target->config);
  encoder.Erase(kIsMegatronTower);
  if (!is_megatron) ANEMONE_TRY(SetNemoKind(source, from, &encoder, &target->symbols));
  if (!is_megatron) return {};
  encoder[kIsMegatronTower] = ConfigNode::Bool(true);
  ANEMONE_ASSIGN(VisionConfig vision, VisionConfigOf(source));
  if (vision.words.map.empty()) vision.words = TowerOfName(WordAt(encoder, "from_pretrained").AsString().value_or(""));
  if (WordAt(vision.words, "num_attention_heads").is_null()) {
    return NotFound("num_attention_heads: expected the image tower's config, which orders its heads, found none")
        .Use("tower", "DIR", "take the tower from there");
  }
  if (!WordAt(encoder, kTowerConfigKey).is_map()) encoder[kTowerConfigKey] = vision.words;
  return {};
}

Result<Target> NevaTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                          const TranslateOptions& options, const ModelSymbols& symbols) {
  if (from.is_megatron && !to.is_megatron && source.config) return ToHuggingFace(source, from, to, options, symbols);
  if (!to.is_megatron) return BetweenLayouts(source, from, to, symbols);
  // Where Megatron-core's parts are, the language model is spelled alike.
  const Dialect& usual = to.name == kMegatronTowerDialect ? *NevaFamily().FindDialect("mcore") : to;
  Result<Target> target = from.is_megatron ? GptTarget(source, from, usual, options, symbols)
                                           : FromHuggingFace(source, from, usual, options, symbols);
  if (target.ok()) ANEMONE_TRY(SetTowerKind(source, from, to, &*target));
  return target;
}

// The layout on the hub, which all versions read, but for a model that came from version 5.
Result<const Dialect*> ChooseNevaDialect(const Checkpoint& source, const TranslateOptions&, ConfigLanguage language) {
  if (language != ConfigLanguage::kHuggingFace) return NevaFamily().FindDialect("mcore");
  const std::optional<Config> kept = KeptHfConfig(source, IsAnyLlavaJson);
  if (kept && IsOwnLlavaJson(kept->root())) return NevaFamily().FindDialect("hf");
  const std::string version =
      kept ? WordAt(kept->root(), "transformers_version").AsString().value_or("") : std::string();
  return NevaFamily().FindDialect(version.starts_with("5.") ? "hf_v5" : "hf");
}

Status CompleteNeva(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                    Checkpoint* result) {
  if (language == ConfigLanguage::kNone) language = ConfigLanguage::kHuggingFace;  // LLaVA's own folder
  std::erase_if(result->artifacts, [](const Artifact& artifact) {
    return artifact.name == kTowerConfig || artifact.name == kNemoTowerConfig;
  });
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
  if (IsAnyLlavaJson(root)) return {};
  const ConfigNode& names = WordAt(root, "architectures");
  return names.is_list() && !names.list.empty() ? names.list.front().ScalarText()
                                                : WordAt(root, "model_type").ScalarText();
}

Family Make() {
  return {.name = "neva",
          .title = "NeVA",
          .symbols = Declared(),
          .canonical = Canonical(),
          .dialects = Join<Dialect>(
              {{
                   WithNewline(Titled(GptMcore(Seeing("embedding.word_embeddings")), "NeMo NeVA, Megatron-core")),
                   Legacy(),
                   MegatronVit(),
               },
               HuggingFaceDialects()}),
          .refusals = {{"mlp.shared_experts.", "experts that all tokens share"}},
          .first_stage_towers = {std::string(kTower)},
          .has_virtual_stages = true,
          .read_symbols = ReadNevaSymbols,
          .target = NevaTarget,
          .foreign = ForeignNeva,
          .choose_dialect = ChooseNevaDialect,
          .complete = CompleteNeva,
          .parts_elsewhere = TowerElsewhere,
          .tell_parts = TellTower,
          .take_parts = TakePartsOf,
          .parts = {{"image tower", "vision.", "mm_cfg.vision_encoder.from_pretrained"},
                    {"projector", "projector", "mm_cfg.pretrain_mm_mlp_adapter"},
                    {"language model", "", "mm_cfg.llm.from_pretrained"}}};
}

}  // namespace
}  // namespace neva

const Family& NevaFamily() {
  static const Family family = neva::Make();
  return family;
}

}  // namespace anemone
