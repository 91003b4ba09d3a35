#include "family/neva/neva_target.h"

#include <fmt/format.h>

#include <cmath>

#include "config/nodes.h"
#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/megatron/megatron_layer.h"
#include "family/neva/neva_symbols.h"
#include "family/neva/stored.h"
#include "family/tokenizer/tokenizer_files.h"
#include "family/words/config_languages.h"
#include "family/words/hf_architectures.h"
#include "family/words/kept_config.h"
#include "family/words/llava_config.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"

namespace anemone::neva {
namespace {

constexpr std::string_view kOwnDialect = "llava";

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
  std::optional<Config> kept = source.config;
  if (!IsLlava(source)) {
    ANEMONE_ASSIGN(kept, KeptHfConfig(source, [](const ConfigNode& root) { return IsOwnLlavaJson(root); }));
  }
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
  TranslateOptions of_language = options;
  of_language.architecture.clear();  // the whole model's class
  // Of whatever layout, it is a Llama's spelling.
  ANEMONE_ASSIGN(Target target, GptTarget(language, from, *NevaFamily().FindDialect("hf"), of_language, symbols));
  ANEMONE_ASSIGN(std::optional<Config> kept, KeptHfConfig(source, IsAnyLlavaJson));
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
    ANEMONE_TRY(CheckTowerSizes(named, symbols));
    request.vision = &known;
  }
  ANEMONE_ASSIGN(request.image_token, TokenIdIn(source.artifacts, "<image>"));
  ANEMONE_ASSIGN(ConfigNode json, LlavaJson(model, std::move(request), &target.notes));
  ANEMONE_ASSIGN(json, InWordsOf(to, source, std::move(json), text("mm_cfg.vision_encoder.from_pretrained"),
                                 text("mm_cfg.mm_mlp_adapter_type"), &target.notes));
  SetHuggingFaceDType(json, kept ? DTypeBy(json, source) : DTypeOf(source));
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
    ANEMONE_ASSIGN(const std::optional<int64_t> found, TokenIdIn(source.artifacts, "<image>"));
    const int64_t image = found.value_or(said);
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
  SetHuggingFaceDType(json, DTypeBy(json, source));
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
  (*vision)["model_type"] = TextNode(is_siglip ? kSiglipTowerType : kClipTowerType);
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

}  // namespace

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

Result<const Dialect*> ChooseNevaDialect(const Checkpoint& source, const TranslateOptions&, ConfigLanguage language) {
  if (language != ConfigLanguage::kHuggingFace) return NevaFamily().FindDialect("mcore");
  ANEMONE_ASSIGN(const std::optional<Config> kept, KeptHfConfig(source, IsAnyLlavaJson));
  if (kept && IsOwnLlavaJson(kept->root())) return NevaFamily().FindDialect("hf");
  return NevaFamily().FindDialect(kept && IsOfTransformers5(kept->root()) ? "hf_v5" : "hf");
}

}  // namespace anemone::neva
