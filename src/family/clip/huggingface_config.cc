// config.json of a CLIP or a SigLIP: a table of its fields, by which it is read and written.
//
// Facts: transformers configuration_utils.py, models/clip/configuration_clip.py, modeling_clip.py,
// models/siglip/configuration_siglip.py.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "family/clip/clip_fields.h"
#include "family/clip/config_languages.h"
#include "family/words/hf_numbers.h"

namespace anemone {
namespace {

using Clip = ClipArchitecture;
using Tower = TowerArchitecture;

using enum FieldUse;

constexpr std::string_view kOwnWidth = "both towers project to the model's own width";

// transformers' word, and what is computed. The first word of several is the one that is written.
constexpr std::pair<std::string_view, std::string_view> kActivations[] = {
    {"quick_gelu", "quick_gelu"},       {"gelu", "gelu"},          {"gelu_python", "gelu"},
    {"gelu_pytorch_tanh", "gelu_tanh"}, {"gelu_new", "gelu_tanh"}, {"gelu_fast", "gelu_tanh"},
};

void ReadActivation(const FieldRead& at) {
  const std::string word = at.in.Text(at.field.name, at.spec.siglip ? "gelu_pytorch_tanh" : "quick_gelu");
  const auto* found = std::ranges::find(kActivations, word, [](const auto& pair) { return pair.first; });
  const bool is_known = found != std::end(kActivations);
  if (!is_known) at.in.Refuse(at.field.name, "quick_gelu, gelu or gelu_pytorch_tanh", word);
  at.tower->activation = is_known ? found->second : "";
}

std::optional<ConfigNode> WriteActivation(const FieldWrite& at) {
  const auto* found =
      std::ranges::find(kActivations, at.tower->activation, [](const auto& pair) { return pair.second; });
  return TextNode(found == std::end(kActivations) ? at.tower->activation : found->first);
}

// What is written is square.
void ReadImageSize(const FieldRead& at) { at.spec.image_height = at.spec.image_width = at.in.Size(at.field.name, 224); }
std::optional<ConfigNode> WriteImageSize(const FieldWrite& at) { return SizeNode(at.spec.image_height); }

// 2 was written by mistake and means the largest id [CLIPTextTransformer].
constexpr int64_t kLargestId = 2;
void ReadEndOfText(const FieldRead& at) {
  const auto id = static_cast<int64_t>(at.in.Size(at.field.name, 49407));
  if (!at.spec.siglip && id != kLargestId) at.spec.eos_token = id;
}
std::optional<ConfigNode> WriteEndOfText(const FieldWrite& at) {
  if (at.spec.siglip) return std::nullopt;
  return ConfigNode::Int(at.spec.eos_token.value_or(kLargestId));
}

void ReadProjectionSize(const FieldRead& at) { at.spec.projection = at.in.Size(at.field.name, at.spec.text.width); }

std::optional<ConfigNode> WriteVisionType(const FieldWrite& at) {
  return TextNode(at.spec.siglip ? "siglip_vision_model" : "clip_vision_model");
}
std::optional<ConfigNode> WriteTextType(const FieldWrite& at) {
  return TextNode(at.spec.siglip ? "siglip_text_model" : "clip_text_model");
}

constexpr ClipField kVisionFields[] = {
    {"attention_dropout", kNoEffect, kTraining, Real(0)},
    {"dropout", kNoEffect, kTraining, OfClip(Real(0))},
    {"hidden_act", kHonored, "the activation", {ReadActivation, WriteActivation}},
    {"hidden_size", kHonored, "hidden size", Number<&Tower::width>(768)},
    {"initializer_factor", kNoEffect, kTraining, OfClip(Real(1))},
    {"initializer_range", kNoEffect, kTraining, OfClip(Real(0.02))},
    {"intermediate_size", kHonored, "size of the feed-forward layer", Number<&Tower::ffn>(3072)},
    {"layer_norm_eps", kHonored, "epsilon of every norm", Number<&Tower::epsilon>(1e-5, 1e-6)},
    {"num_attention_heads", kHonored, "attention heads", Number<&Tower::heads>(12)},
    {"num_hidden_layers", kHonored, "number of blocks", Number<&Tower::layers>(12)},
    {"projection_dim", kNoEffect, kOwnWidth, OfClip(Written<&Clip::projection>())},
    {"image_size", kHonored, "side of the picture", {ReadImageSize, WriteImageSize}},
    {"model_type", kNoEffect, "the model's own counts", {nullptr, WriteVisionType}},
    {"num_channels", kHonored, "channels of the picture", Number<&Clip::channels>(3)},
    {"patch_size", kHonored, "side of a patch", Number<&Clip::patch>(32, 16)},
    {"vision_use_head", kOnly, "SigLIP without its pooling head", "[true]"},
    {"hidden_dropout", kNoEffect, kTraining},
};

constexpr ClipField kTextFields[] = {
    {"attention_dropout", kNoEffect, kTraining, Real(0)},
    {"dropout", kNoEffect, kTraining, OfClip(Real(0))},
    {"hidden_act", kHonored, "the activation", {ReadActivation, WriteActivation}},
    {"hidden_size", kHonored, "hidden size", Number<&Tower::width>(512, 768)},
    {"initializer_factor", kNoEffect, kTraining, OfClip(Real(1))},
    {"initializer_range", kNoEffect, kTraining, OfClip(Real(0.02))},
    {"intermediate_size", kHonored, "size of the feed-forward layer", Number<&Tower::ffn>(2048, 3072)},
    {"layer_norm_eps", kHonored, "epsilon of every norm", Number<&Tower::epsilon>(1e-5, 1e-6)},
    {"num_attention_heads", kHonored, "attention heads", Number<&Tower::heads>(8, 12)},
    {"num_hidden_layers", kHonored, "number of blocks", Number<&Tower::layers>(12)},
    {"projection_dim", kNoEffect, kOwnWidth, OfClip(Written<&Clip::projection>())},
    {"max_position_embeddings", kHonored, "positions of a text", Number<&Clip::context>(77, 64)},
    {"model_type", kNoEffect, "the model's own counts", {nullptr, WriteTextType}},
    {"vocab_size", kHonored, "rows of the embedding table", Number<&Clip::vocab>(49408, 32000)},
    {"projection_size", kHonored, "width of SigLIP's features",
     OfSiglip({ReadProjectionSize, WriteNumber<&Clip::projection>})},
    {"bos_token_id", kNoEffect, "the tokenizer begins each text", OfClip(Whole(49406))},
    {"eos_token_id",
     kHonored,
     "CLIP's pooled token: the largest id where it is 2, else the first that equals it",
     {ReadEndOfText, WriteEndOfText}},
    {"pad_token_id", kNoEffect, "padding follows the pooled token, which does not see it", OfClip(Whole(1))},
    {"hidden_dropout", kNoEffect, kTraining},
};

constexpr ClipField kTopFields[] = {
    {"initializer_factor", kNoEffect, kTraining, Real(1)},
    {"initializer_range", kNoEffect, kTraining},
    {"logit_scale_init_value", kNoEffect, kInitial, OfClip(Real(2.6592))},
    // The towers' own copies are often wrong; nobody reads them.
    {"projection_dim", kHonored, "width of CLIP's features", OfClip(Number<&Clip::projection>(512))},
    {"text_config", kHonored, "the text tower"},
    {"vision_config", kHonored, "the image tower"},
    {"text_config_dict", kHonored, "wins over text_config, as in transformers"},
    {"vision_config_dict", kHonored, "wins over vision_config, as in transformers"},
    {"text_config_path", kOnly, "names another config", "[]"},
    {"vision_config_path", kOnly, "names another config", "[]"},
};

// Older files have both `text_config` and `text_config_dict`; transformers lets the second one win.
ConfigNode SectionOf(const ConfigNode& root, std::string_view key) {
  ConfigNode node = ConfigNode::Map();
  for (const std::string_view suffix : {"", "_dict"}) {
    const ConfigNode* child = root.Get(fmt::format("{}{}", key, suffix));
    if (child == nullptr || !child->is_map()) continue;
    for (const auto& [name, value] : child->map) node[name] = value;
  }
  return node;
}

// Which towers there are is said by `model_type` and `architectures` together, so that no row can say it.
Result<Clip> ReadParts(const ConfigNode& root, FieldReader& top) {
  const std::string type = top.Text("model_type", "clip");
  if (const std::string other = ForeignClipModel(root); !other.empty()) {
    const bool by_type = other == type || root.Get("model_type") == nullptr;
    return Unsupported(
        fmt::format("{}: expected clip or siglip, found {}", by_type ? "model_type" : "architectures", other));
  }
  Clip spec;
  spec.siglip = type.starts_with("siglip");
  spec.has_vision = !type.ends_with("_text_model");
  spec.has_text = !type.ends_with("_vision_model");
  // A tower alone: CLIPTextModel and CLIPTextModelWithProjection say the same otherwise.
  if (const ConfigNode* classes = top.Get("architectures"); type.starts_with("clip_") && classes != nullptr) {
    const bool is_one = classes->is_list() && classes->list.size() == 1;
    spec.projects = !is_one || classes->list.front().AsString().value_or("").ends_with("WithProjection");
  }
  spec.class_tokens = spec.siglip ? 0 : 1;
  return spec;
}

std::string ClassOf(const Clip& spec) {
  const bool is_whole = spec.has_vision && spec.has_text;
  return fmt::format("{}{}Model{}", spec.siglip ? "Siglip" : "CLIP",
                     is_whole          ? ""
                     : spec.has_vision ? "Vision"
                                       : "Text",
                     is_whole || spec.siglip || !spec.projects ? "" : "WithProjection");
}

}  // namespace

std::span<const ClipField> HuggingFaceFields() { return kTopFields; }
std::span<const ClipField> HuggingFaceVisionFields() { return kVisionFields; }
std::span<const ClipField> HuggingFaceTextFields() { return kTextFields; }

Result<ClipArchitecture> ReadHuggingFaceClip(const Config& config, bool strict, std::vector<std::string>* notes) {
  const ConfigNode& root = config.root();
  ANEMONE_TRY(CheckHfNumbers(root));
  FieldReader top(&root, "");
  ANEMONE_ASSIGN(Clip spec, ReadParts(root, top));
  ANEMONE_TRY(CheckClipConfigFields(config, strict, notes));
  // A tower alone has its fields at the top.
  const ConfigNode vision_node = spec.has_text ? SectionOf(root, "vision_config") : root;
  const ConfigNode text_node = spec.has_vision ? SectionOf(root, "text_config") : root;
  FieldReader vision(&vision_node, "vision_config."), text(&text_node, "text_config.");
  ReadFields(kVisionFields, vision, spec, &spec.vision);
  ReadFields(kTextFields, text, spec, &spec.text);
  ReadFields(kTopFields, top, spec);
  for (const FieldReader* reader : {&top, &vision, &text}) ANEMONE_TRY(reader->status());
  ANEMONE_TRY(CheckArchitecture(spec));
  return spec;
}

Result<Config> HuggingFaceConfig(const ClipArchitecture& spec, DType dtype) {
  if (spec.eos_token == kLargestId) {
    return Unsupported("text_cfg.eos_id: expected another than 2, which Hugging Face reads as the largest id, found 2");
  }
  if (spec.image_height != spec.image_width) {
    return Unsupported(
        fmt::format("expected a square image for Hugging Face, found {}×{}", spec.image_height, spec.image_width));
  }
  ConfigNode text = ConfigNode::Map(), vision = ConfigNode::Map(), root = ConfigNode::Map();
  WriteFields(kTextFields, spec, &spec.text, text);
  WriteFields(kVisionFields, spec, &spec.vision, vision);
  root["architectures"] = ConfigNode::List({TextNode(ClassOf(spec))});
  const ConfigNode dtype_word = TextNode(Info(dtype).torch);
  if (!spec.has_vision || !spec.has_text) {
    for (auto& [key, value] : (spec.has_vision ? vision : text).map) root[key] = std::move(value);
    root["torch_dtype"] = dtype_word;
    return Config(std::move(root));
  }
  WriteFields(kTopFields, spec, nullptr, root);
  root["model_type"] = TextNode(spec.siglip ? "siglip" : "clip");
  root["text_config"] = std::move(text);
  root["torch_dtype"] = dtype_word;
  root["vision_config"] = std::move(vision);
  // As transformers sorts them.
  std::ranges::sort(root.map, {}, [](const auto& entry) { return entry.first; });
  return Config(std::move(root));
}

}  // namespace anemone
