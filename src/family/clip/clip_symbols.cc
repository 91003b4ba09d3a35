#include "family/clip/clip_symbols.h"

#include <fmt/format.h>

#include <optional>

#include "family/clip/clip_config.h"
#include "family/clip/clip_preprocess.h"
#include "family/families.h"
#include "family/megatron/megatron_layer.h"

namespace anemone {
namespace {

// OpenAI's own files carry no config: its code reads the sizes off the shapes, and knows that heads are 64 wide, that
// an MLP is four times as wide, and that the activation is quick GELU [openai/CLIP clip/model.py, build_model].
std::optional<ClipArchitecture> OpenAiArchitecture(const Checkpoint& checkpoint) {
  if (checkpoint.shards.size() != 1) return std::nullopt;
  const StateDict& weights = checkpoint.weights();
  if (!checkpoint.origin.is_torch_script && weights.Find("input_resolution") == nullptr) return std::nullopt;
  const auto shape = [&weights](std::string_view name, size_t rank) {
    const StateDict::Item* item = weights.Find(name);
    const bool fits = item != nullptr && item->tensor() != nullptr && item->tensor()->shape().size() == rank;
    return fits ? item->tensor()->shape() : Shape();
  };
  const Shape patch = shape("visual.conv1.weight", 4);
  const Shape positions = shape("visual.positional_embedding", 2);
  const Shape tokens = shape("token_embedding.weight", 2);
  const Shape context = shape("positional_embedding", 2);
  const Shape projection = shape("text_projection", 2);
  if (patch.empty() || positions.empty() || tokens.empty() || context.empty() || projection.empty())
    return std::nullopt;
  const auto tower = [&weights](std::string_view prefix, uint64_t width) {
    TowerArchitecture result;
    result.width = width;
    result.heads = width / 64;
    result.ffn = 4 * width;
    result.activation = "quick_gelu";
    result.layers = 0;
    while (weights.Find(fmt::format("{}transformer.resblocks.{}.ln_1.weight", prefix, result.layers)) != nullptr) {
      ++result.layers;
    }
    return result;
  };
  ClipArchitecture spec;
  spec.vision = tower("visual.", patch[0]);
  spec.text = tower("", tokens[1]);
  spec.patch = patch[3];
  uint64_t grid = 0;
  while ((grid + 1) * (grid + 1) < positions[0]) ++grid;
  spec.image_height = spec.image_width = grid * spec.patch;
  spec.channels = patch[1];
  spec.context = context[0];
  spec.vocab = tokens[0];
  spec.projection = projection[1];
  const bool makes_sense = spec.vision.heads > 0 && spec.text.heads > 0 && spec.vision.layers > 0 &&
                           spec.text.layers > 0 && grid > 0 && spec.vision.width % 64 == 0 && spec.text.width % 64 == 0;
  return makes_sense ? std::optional(spec) : std::nullopt;
}

// A preset says the sizes of what is not OpenAI's as well; here it may only agree. Under the plain name it leaves the
// activation open.
Status CheckPreset(const ClipArchitecture& spec, const std::string& preset) {
  const std::optional<ClipArchitecture> named = ClipPreset(preset);
  if (!named) return {};
  const auto sizes = [](const ClipArchitecture& a) {
    return fmt::format("{} layers of {} for {}-pixel images in patches of {}, {} layers of {} for texts",
                       a.vision.layers, a.vision.width, a.image_height, a.patch, a.text.layers, a.text.width);
  };
  if (sizes(*named) == sizes(spec)) return {};
  return Corrupt(fmt::format("{}: expected {}, found {}", preset, sizes(*named), sizes(spec)),
                 "leave the preset out: the archive's own sizes are known")
      .OfOption("preset");
}

// Hugging Face says beside the config how pixels are normalised. Who looks at pictures says what is wrong with it.
void ReadPixels(const Checkpoint& checkpoint, ClipArchitecture* spec) {
  const bool has_file = checkpoint.FindArtifact("preprocessor_config.json") != nullptr ||
                        checkpoint.FindArtifact("processor_config.json") != nullptr;
  if (!has_file && !spec->siglip) return;
  const Result<ClipPreprocess> pixels = ClipPreprocessOf(checkpoint, *spec, PixelRules::kHuggingFace, false);
  if (!pixels.ok()) return;
  spec->mean = pixels->mean;
  spec->deviation = pixels->std;
}

Status SetSizes(const ClipArchitecture& spec, ModelSymbols* symbols) {
  const bool siglip = symbols->Declares("vision.head");
  symbols->Set("both", spec.has_vision && spec.has_text);
  for (const std::string_view name : {"vision", "text"}) {
    const TowerArchitecture& tower = name == "vision" ? spec.vision : spec.text;
    const bool has = name == "vision" ? spec.has_vision : spec.has_text;
    const auto set = [&](std::string_view key, uint64_t value) { symbols->Set(InTower(name, key), value); };
    symbols->Set(name, has);
    if (name == "text" || !siglip) set("projects", has && spec.projects);
    set("layers", has ? tower.layers : 0);
    set("width", tower.width);
    set("heads", tower.heads);
    set("groups", tower.heads);
    set("head_dim", tower.heads == 0 ? 0 : tower.width / tower.heads);
    ANEMONE_ASSIGN(const uint64_t qkv_rows, symbols->Compute(TowerText(name, "3*{T}.width")));
    set("qkv_rows", qkv_rows);
    set("ffn", tower.ffn);
    set("up_rows", tower.ffn);
    for (const std::string_view flag : {"bias", "qkv_bias", "norm_bias"}) set(flag, 1);
    // NeMo's configs say otherwise (SetNemoFlags).
    for (const std::string_view flag : {"qkv_stacked", "learned_parameters"}) {
      if (!siglip) set(flag, 0);
    }
  }
  if (siglip) symbols->Set("vision.head", spec.has_vision);
  symbols->Set("vision.positions", spec.has_vision ? spec.positions() : 0);
  symbols->Set("text.positions", spec.context);
  symbols->Set("patch", spec.patch);
  symbols->Set("channels", spec.channels);
  symbols->Set("projection", spec.projection);
  return {};
}

// The vocabulary of a NeMo checkpoint: its table may have padding rows. Its config says how many are real where anemone
// wrote it; CLIP's own tokenizer is known; otherwise all rows are real.
uint64_t NemoVocab(const ClipArchitecture& spec, uint64_t rows, const ConfigNode& model) {
  if (spec.vocab && *spec.vocab <= rows) return *spec.vocab;
  const bool pads = rows > kClipVocab && rows < kClipVocab + uint64_t{128} * 64;
  return pads && NamesClipTokenizer(model) ? kClipVocab : rows;
}

}  // namespace

Result<ClipArchitecture> ClipArchitectureOf(const Checkpoint& checkpoint, const TranslateOptions& options,
                                            std::string* name, std::vector<std::string>* notes) {
  if (checkpoint.config && KindOfClipConfig(*checkpoint.config) != ClipConfigKind::kNone) {
    *name = checkpoint.config_name;
    auto spec = ReadClipArchitecture(*checkpoint.config, options.strict, notes);
    if (!spec.ok()) return spec.status().In(*name);
    const bool hugging_face = KindOfClipConfig(*checkpoint.config) == ClipConfigKind::kHuggingFace;
    if (hugging_face) ReadPixels(checkpoint, &*spec);
    return spec;
  }
  if (const auto spec = OpenAiArchitecture(checkpoint)) {
    *name = "OpenAI's archive";
    ANEMONE_TRY(CheckPreset(*spec, options.preset));
    return *spec;
  }
  if (!options.preset.empty()) {
    *name = options.preset;
    if (auto spec = ClipPreset(options.preset)) return *std::move(spec);
    return InvalidArgument(
        fmt::format("expected a size by name ({}), found '{}'", fmt::join(ClipPresetNames(), ", "), options.preset));
  }
  if (options.hparams) {
    *name = options.hparams_name;
    auto spec = ReadClipArchitecture(*options.hparams, options.strict, notes);
    if (!spec.ok()) return spec.status().In(*name);
    return spec;
  }
  return NotFound("expected the config of these weights, found none")
      .Use("preset", "ViT-L-14", "name the model's size")
      .Use("hparams", "FILE",
           "give it: NeMo's YAML, or config.json or open_clip_config.json of weights that have its names");
}

Status SetNemoFlags(const Config& config, ModelSymbols* symbols) {
  if (!symbols->Declares("text.qkv_stacked")) return {};
  ANEMONE_ASSIGN(const ConfigNode model, NemoModelNode(config));
  for (const std::string_view tower : {"vision", "text"}) {
    const ConfigNode* node = model.Get(tower);
    const ConfigNode* legacy = node == nullptr ? nullptr : node->Get("megatron_legacy");
    symbols->Set(InTower(tower, "qkv_stacked"), legacy != nullptr && legacy->AsBool().value_or(false) ? 1 : 0);
    const ConfigNode* type = node == nullptr ? nullptr : node->Get("position_embedding_type");
    symbols->Set(InTower(tower, "learned_parameters"),
                 type != nullptr && type->AsString() == "learned_parameters" ? 1 : 0);
  }
  return {};
}

Status ReadClipSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                       ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ClipArchitecture spec, ClipArchitectureOf(checkpoint, options, &name));
  ANEMONE_TRY(SetSizes(spec, symbols).In(name));
  ANEMONE_ASSIGN(uint64_t rows, StoredVocabRows(checkpoint, dialect, "text.token_embedding.weight"));
  if (rows == 0) rows = spec.vocab.value_or(kClipVocab);
  if (!dialect.is_megatron) {
    symbols->Set("text.vocab", spec.vocab.value_or(rows));
    symbols->Set("text.padded_vocab", spec.vocab.value_or(rows));
    symbols->Set("text.vocab_is_known", 1);
    return {};
  }
  const Config& config = checkpoint.config ? *checkpoint.config : *options.hparams;
  ANEMONE_TRY(SetNemoFlags(config, symbols).In(name));
  ANEMONE_ASSIGN(const ConfigNode model, NemoModelNode(config));
  const uint64_t vocab = NemoVocab(spec, rows, model);
  symbols->Set("text.vocab", vocab);
  symbols->Set("text.vocab_is_known", vocab != rows || spec.vocab.has_value() || rows == kClipVocab);
  symbols->Set("text.padded_vocab", rows);
  return {};
}

}  // namespace anemone
