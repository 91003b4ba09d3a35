#include "family/neva/neva_symbols.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/nodes.h"
#include "family/gpt/gpt.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/config_languages.h"
#include "family/words/hf_architectures.h"
#include "family/words/kept_config.h"
#include "family/words/llava_config.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"

namespace anemone::neva {
namespace {

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

// The config.json that came along, inside a .nemo or a NeMo 2 folder.
constexpr std::string_view kKeptNames[] = {"config.json", "context/config.json"};
bool IsKept(const Artifact& artifact) {
  return std::find(std::begin(kKeptNames), std::end(kKeptNames), artifact.name) != std::end(kKeptNames);
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
                          {"channels", "num_channels", ""},
                          {"projector.0.columns", "hidden_size", "hidden_size"},
                          {"projector.columns", "hidden_size", "hidden_size"}};

Status CheckSizes(const ConfigNode& node, std::string_view place, std::string_view Said::*word, bool is_of_one_layer,
                  const ModelSymbols& symbols) {
  for (const Said& said : kSaid) {
    const std::string_view key = said.*word;
    ANEMONE_ASSIGN(const uint64_t stored, symbols.Get(said.symbol));
    const ConfigNode none, &value = key.empty() ? none : WordAt(node, key);
    const bool is_projector = said.symbol.starts_with("projector");
    const bool is_same = value.is_null() || value.AsInt() == static_cast<int64_t>(stored);
    if (stored == 0 || is_same || (is_projector && !is_of_one_layer)) continue;
    return Corrupt(
        fmt::format("{}.{}: expected {}, as the weights have, found {}", place, key, stored, ShownQuoted(value)));
  }
  return {};
}

// Sizes must be whole numbers above 0, and the other values that transformers computes or trains with numbers.
Status CheckNumbers(const ConfigNode& tower, std::string_view place) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_channels", "image_size", "patch_size"}) {
    const ConfigNode& value = WordAt(tower, key);
    if (!value.is_null() && value.AsInt().value_or(0) < 1)
      return Corrupt(fmt::format("{}.{}: expected a whole number above 0, found {}", place, key, ShownQuoted(value)));
  }
  // [transformers 5.24 activations.py]
  constexpr std::string_view kActivations[] = {"gelu",
                                               "gelu_10",
                                               "gelu_accurate",
                                               "gelu_fast",
                                               "gelu_new",
                                               "gelu_python",
                                               "gelu_python_tanh",
                                               "gelu_pytorch_tanh",
                                               "laplace",
                                               "leaky_relu",
                                               "linear",
                                               "mish",
                                               "quick_gelu",
                                               "relu",
                                               "relu2",
                                               "relu6",
                                               "sigmoid",
                                               "silu",
                                               "swish",
                                               "tanh"};
  const ConfigNode& act = WordAt(tower, "hidden_act");
  if (!act.is_null() && std::ranges::find(kActivations, act.AsString().value_or("")) == std::end(kActivations))
    return Unsupported(
        fmt::format("{}.hidden_act: expected one that transformers has, found {}", place, ShownQuoted(act)));
  for (const char* key : {"layer_norm_eps", "attention_dropout", "initializer_range", "initializer_factor"}) {
    const ConfigNode& value = WordAt(tower, key);
    if (!value.is_null()) ANEMONE_TRY(CheckNumber(fmt::format("{}.{}", place, key), value));
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

Status CheckTower(const VisionConfig& vision, bool is_of_one_layer, const ModelSymbols& symbols) {
  ANEMONE_TRY(CheckSizes(vision.words, vision.place, &Said::hf, is_of_one_layer, symbols));
  ANEMONE_TRY(CheckPositions(vision, symbols));
  const int64_t width = WordAt(vision.words, "hidden_size").AsInt().value_or(0),
                heads = WordAt(vision.words, "num_attention_heads").AsInt().value_or(1);
  if (width % heads == 0) return {};
  return Corrupt(fmt::format("{}.num_attention_heads: expected a number that divides hidden_size, {}, found {}",
                             vision.place, width, heads));
}

Status CheckSaid(const Checkpoint& checkpoint, const VisionConfig& vision, const ModelSymbols& symbols) {
  const bool is_hf = IsLlava(checkpoint);
  if (!is_hf && checkpoint.config) {
    ANEMONE_TRY(CheckSizes(WordAt(ModelNode(*checkpoint.config), "mm_cfg.vision_encoder"), "mm_cfg.vision_encoder",
                           &Said::nemo, true, symbols));
  }
  if (vision.place.empty()) return {};
  ANEMONE_TRY(CheckNumbers(vision.words, vision.place));
  const ConfigNode none;
  const ConfigNode& layer = is_hf ? WordAt(checkpoint.config->root(), "vision_feature_layer") : none;
  const bool is_of_one = !layer.is_list() || layer.list.size() == 1;
  return CheckTower(vision, is_of_one, symbols);
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
  if (type(vision) == kClipTowerType || type(vision) == kSiglipTowerType) return {};
  return Unsupported(fmt::format("vision_config.model_type: expected {} or {}, found {}", kClipTowerType,
                                 kSiglipTowerType, type(vision)));
}

}  // namespace

Result<ConfigNode> InHfWords(const ConfigNode& root) {
  if (IsOwnLlavaJson(root)) return HfOfOwnLlava(root);
  return root;
}

Result<Checkpoint> LanguageOf(const Checkpoint& checkpoint) {
  Checkpoint language = checkpoint;
  if (IsLlava(checkpoint)) {
    ANEMONE_ASSIGN(const ConfigNode whole, InHfWords(checkpoint.config->root()));
    ANEMONE_ASSIGN(ConfigNode text, TextConfigOf(whole));
    language.config = Config(std::move(text));
  }
  ANEMONE_ASSIGN(const std::optional<Config> kept, KeptHfConfig(checkpoint, IsAnyLlavaJson));
  if (!kept) return language;
  ANEMONE_ASSIGN(const ConfigNode whole, InHfWords(kept->root()));
  ANEMONE_ASSIGN(const ConfigNode text, TextConfigOf(whole));
  for (Artifact& artifact : language.artifacts) {
    if (IsKept(artifact)) artifact.content = Whole(MemorySource(Config(text).ToJson(), artifact.name));
  }
  return language;
}

Result<std::optional<Config>> TakenTowerConfig(const Checkpoint& source, const char* name) {
  const Artifact* artifact = source.FindArtifact(name);
  if (artifact == nullptr) return std::optional<Config>();
  constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
  ANEMONE_ASSIGN(const std::string text, artifact->content.ReadAll(kMaxConfigBytes));
  ANEMONE_ASSIGN(Config config, Config::ParseJson(text, name));
  return std::optional(std::move(config));
}

Result<VisionConfig> VisionConfigOf(const Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(const std::optional<Config> taken, TakenTowerConfig(checkpoint));
  if (taken) return VisionConfig{WholeTower(taken->root()), kTowerConfig};
  if (checkpoint.config && !IsLlava(checkpoint)) {
    const std::string place = fmt::format("mm_cfg.vision_encoder.{}", kTowerConfigKey);
    const ConfigNode& said = WordAt(ModelNode(*checkpoint.config), place);
    if (said.is_map()) return VisionConfig{WholeTower(said), place};
  }
  ANEMONE_ASSIGN(const std::optional<Config> kept, KeptHfConfig(checkpoint, IsAnyLlavaJson));
  if (!IsLlava(checkpoint) && !kept) return VisionConfig();
  const ConfigNode& root = IsLlava(checkpoint) ? checkpoint.config->root() : kept->root();
  ANEMONE_ASSIGN(const ConfigNode json, InHfWords(root));
  const ConfigNode& vision = WordAt(json, "vision_config");
  return VisionConfig{IsOwnLlavaJson(root) ? vision : WholeTower(vision), IsLlava(checkpoint) ? "vision_config" : ""};
}

Status CheckTowerSizes(const VisionConfig& vision, const ModelSymbols& symbols) {
  ANEMONE_TRY(CheckNumbers(vision.words, vision.place));
  return CheckTower(vision, true, symbols);
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

}  // namespace anemone::neva
