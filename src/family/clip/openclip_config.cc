// open_clip_config.json: a table of its fields, by which it is read and written.
//
// Facts: open_clip src/open_clip/model.py, CLIP, CLIPVisionCfg, CLIPTextCfg; transform.py, PreprocessCfg.
#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

#include "family/clip/clip_fields.h"
#include "family/clip/config_languages.h"

namespace anemone {
namespace {

using Clip = ClipArchitecture;
using Tower = TowerArchitecture;

using enum FieldUse;

constexpr std::string_view kOtherModel = "another model than two towers of transformer blocks";
constexpr std::string_view kTimm = "only read with timm_model_name, which is refused";
constexpr std::string_view kHfText = "only read with hf_model_name, which is refused";
constexpr std::string_view kModern = "only read with text_arch modern, which is refused";
constexpr std::string_view kBlocks = "norms and scales inside a block";

constexpr double kEpsilon = 1e-5;
constexpr uint64_t kHeadWidth = 64;
constexpr uint64_t kRatio = 4;

bool IsQuick(const Tower& tower) { return tower.activation == "quick_gelu"; }

ConfigNode Single(std::string_view key, ConfigNode value) {
  ConfigNode map = ConfigNode::Map();
  map[key] = std::move(value);
  return map;
}

void ReadQuickGelu(const FieldRead& at) {
  at.spec.vision.activation = at.spec.text.activation = at.in.Bool(at.field.name, false) ? "quick_gelu" : "gelu";
}
std::optional<ConfigNode> WriteQuickGelu(const FieldWrite& at) {
  return IsQuick(at.spec.vision) ? std::optional(ConfigNode::Bool(true)) : std::nullopt;
}

void ReadHeadWidth(const FieldRead& at) {
  const uint64_t width = at.in.Size(at.field.name, kHeadWidth);
  at.tower->heads = width == 0 ? 0 : at.tower->width / width;
}
std::optional<ConfigNode> WriteHeadWidth(const FieldWrite& at) {
  if (at.tower->width == kHeadWidth * at.tower->heads) return std::nullopt;
  return SizeNode(at.tower->width / at.tower->heads);
}

// OpenCLIP stores the ratio and truncates the product.
uint64_t Product(const Tower& tower, double ratio) {
  return static_cast<uint64_t>(static_cast<double>(tower.width) * ratio);
}
void ReadMlpRatio(const FieldRead& at) {
  at.tower->ffn = Product(*at.tower, at.in.Real(at.field.name, static_cast<double>(kRatio)));
}
std::optional<ConfigNode> WriteMlpRatio(const FieldWrite& at) {
  const Tower& tower = *at.tower;
  if (tower.ffn == kRatio * tower.width) return std::nullopt;
  const double ratio = static_cast<double>(tower.ffn) / static_cast<double>(tower.width);
  return ConfigNode::Float(Product(tower, ratio) == tower.ffn ? ratio : ratio + 1e-9);
}

// nn.LayerNorm's arguments, of which eps is read.
void ReadNorm(const FieldRead& at) {
  at.tower->epsilon = kEpsilon;
  const std::string_view name = at.field.name;
  const ConfigNode* node = at.in.Get(name);
  if (node == nullptr) return;
  for (const auto& [key, value] : node->map) {
    if (key != "eps") at.in.Refuse(name, "eps alone", key);
  }
  const ConfigNode* eps = node->Get("eps");
  if (!node->is_map() || (eps != nullptr && !eps->AsDouble())) at.in.Fail(name, "a number as eps", "another");
  if (eps != nullptr) at.tower->epsilon = eps->AsDouble().value_or(kEpsilon);
}
std::optional<ConfigNode> WriteNorm(const FieldWrite& at) {
  if (at.tower->epsilon == kEpsilon) return std::nullopt;
  return Single("eps", ConfigNode::Float(at.tower->epsilon));
}

// nn.GELU's arguments. Quick GELU takes none.
void ReadGelu(const FieldRead& at) {
  const ConfigNode* node = at.in.Get(at.field.name);
  if (node == nullptr || (node->is_map() && node->map.empty())) return;
  const ConfigNode* approximate = node->Get("approximate");
  const std::string word = approximate == nullptr ? "" : approximate->AsString().value_or("");
  const bool known = at.tower->activation == "gelu" && node->map.size() == 1 && (word == "tanh" || word == "none");
  if (!known) {
    at.in.Refuse(at.field.name, "approximate alone, tanh or none, without quick_gelu", Config(*node).ToJson(-1));
  }
  if (word == "tanh") at.tower->activation = "gelu_tanh";
}
std::optional<ConfigNode> WriteGelu(const FieldWrite& at) {
  if (at.tower->activation != "gelu_tanh") return std::nullopt;
  return Single("approximate", TextNode("tanh"));
}

// A side, or height and width.
void ReadImageSize(const FieldRead& at) {
  const ConfigNode* size = at.in.Get(at.field.name);
  if (size != nullptr && size->is_list() && size->list.size() == 2) {
    at.spec.image_height = static_cast<uint64_t>(size->list[0].AsInt().value_or(0));
    at.spec.image_width = static_cast<uint64_t>(size->list[1].AsInt().value_or(0));
  } else {
    at.spec.image_height = at.spec.image_width = at.in.Size(at.field.name, 224);
  }
}
std::optional<ConfigNode> WriteImageSize(const FieldWrite& at) {
  const ConfigNode height = SizeNode(at.spec.image_height);
  if (at.spec.image_height == at.spec.image_width) return height;
  return ConfigNode::List({height, SizeNode(at.spec.image_width)});
}

// A side, or height and width, which are the same.
void ReadPatch(const FieldRead& at) {
  const ConfigNode* size = at.in.Get(at.field.name);
  const bool is_square = size != nullptr && size->is_list() && size->list.size() == 2 &&
                         size->list[0].AsInt().value_or(0) > 0 && size->list[0].AsInt() == size->list[1].AsInt();
  at.spec.patch = is_square ? static_cast<uint64_t>(*size->list[0].AsInt()) : at.in.Size(at.field.name, 16);
}
std::optional<ConfigNode> WritePatch(const FieldWrite& at) { return SizeNode(at.spec.patch); }

// The largest id, where it ends the vocabulary, is found by OpenCLIP's own rule.
bool PoolsAtId(const Clip& spec) {
  return spec.eos_token && static_cast<uint64_t>(*spec.eos_token) + 1 != spec.vocab.value_or(kClipVocab);
}
std::optional<ConfigNode> WritePooling(const FieldWrite& at) {
  return PoolsAtId(at.spec) ? std::optional(TextNode("eos")) : std::nullopt;
}
void ReadEndOfText(const FieldRead& at) {
  if (at.in.Text("pool_type", "argmax") == "eos") at.spec.eos_token = static_cast<int64_t>(at.in.Size(at.field.name));
}
std::optional<ConfigNode> WriteEndOfText(const FieldWrite& at) {
  return PoolsAtId(at.spec) ? std::optional(ConfigNode::Int(at.spec.eos_token.value_or(0))) : std::nullopt;
}

void ReadTokenizer(const FieldRead& at) { at.spec.tokenizer = at.in.Text(at.field.name, ""); }
std::optional<ConfigNode> WriteTokenizer(const FieldWrite& at) {
  return at.spec.tokenizer.empty() ? std::nullopt : std::optional(TextNode(at.spec.tokenizer));
}

constexpr ClipField kModelFields[] = {
    {"embed_dim", kHonored, "width of the features", Number<&Clip::projection>()},
    {"quick_gelu", kHonored, "x·sigmoid(1.702x) instead of the exact GELU", {ReadQuickGelu, WriteQuickGelu}},
    {"vision_cfg", kHonored, "the image tower"},
    {"text_cfg", kHonored, "the text tower"},
    {"custom_text", kOnly, "OpenCLIP's CustomTextCLIP, whose names and options differ", "[false]"},
    {"multimodal_cfg", kOnly, "a CoCa", "[]"},
    {"audio_cfg", kOnly, kOtherModel, "[]"},
    {"audio_naflex_cfg", kOnly, kOtherModel, "[]"},
    {"genlip_cfg", kOnly, kOtherModel, "[]"},
    {"genlap_cfg", kOnly, kOtherModel, "[]"},
    {"init_logit_scale", kNoEffect, kInitial},
    {"init_logit_bias", kNoEffect, kInitial},
    {"nonscalar_logit_scale", kNoEffect, "a scale of shape [1] is read as a scalar"},
    {"cast_dtype", kNoEffect, "towers run in fp32"},
    {"output_dict", kNoEffect, "the form of the answer"},
};

constexpr ClipField kVisionFields[] = {
    {"image_size", kHonored, "side of the picture", {ReadImageSize, WriteImageSize}},
    {"layers", kHonored, "number of blocks; a list is a ResNet CLIP and refused", Number<&Tower::layers>(12)},
    {"width", kHonored, "hidden size", Number<&Tower::width>(768)},
    {"head_width", kHonored, "hidden size of an attention head", {ReadHeadWidth, WriteHeadWidth}},
    {"mlp_ratio", kHonored, "size of the feed-forward layer", {ReadMlpRatio, WriteMlpRatio}},
    {"patch_size", kHonored, "side of a patch", {ReadPatch, WritePatch}},
    {"act_kwargs", kHonored, "`approximate` of the GELU; other keys are refused", {ReadGelu, WriteGelu}},
    {"norm_kwargs", kHonored, "`eps` of every norm; other keys are refused", {ReadNorm, WriteNorm}},
    {"pool_type", kOnly, "which tokens stand for the picture", R"(["tok"])"},
    {"final_ln_after_pool", kNoEffect, "with pool_type tok the norm of the token is the same before and after"},
    {"no_ln_pre", kOnly, "leaves out the norm before the blocks", "[false]"},
    {"pos_embed_type", kOnly, "how positions are embedded", R"(["learnable"])"},
    {"attentional_pool", kOnly, "a pooler that attends, as CoCa's", "[false]"},
    {"attn_pooler_queries", kNoEffect, "only read with attentional_pool, which is refused"},
    {"attn_pooler_heads", kNoEffect, "only read with attentional_pool, which is refused"},
    {"ls_init_value", kOnly, "layer scale", "[]"},
    {"patch_dropout", kNoEffect, kTraining},
    {"output_tokens", kOnly, "answers every token beside the features", "[false]"},
    {"image_seq_len", kNoEffect, "only read by captioning models"},
    {"in_chans", kOnly, "channels of the picture", "[3]"},
    {"block_type", kOnly, kBlocks, R"(["default"])"},
    {"qk_norm", kOnly, kBlocks, "[false]"},
    {"scaled_cosine_attn", kOnly, kBlocks, "[false]"},
    {"scale_heads", kOnly, kBlocks, "[false]"},
    {"scale_attn_inner", kOnly, kBlocks, "[false]"},
    {"scale_attn", kOnly, kBlocks, "[false]"},
    {"scale_fc", kOnly, kBlocks, "[false]"},
    {"timm_model_name", kOnly, "a timm image tower", R"([""])"},
    {"timm_model_pretrained", kNoEffect, kTimm},
    {"timm_pool", kNoEffect, kTimm},
    {"timm_proj", kNoEffect, kTimm},
    {"timm_proj_bias", kNoEffect, kTimm},
    {"timm_drop", kNoEffect, kTimm},
    {"timm_drop_path", kNoEffect, kTimm},
    {"timm_model_kwargs", kNoEffect, kTimm},
};

constexpr ClipField kTextFields[] = {
    {"context_length", kHonored, "positions of a text", Number<&Clip::context>(77)},
    {"vocab_size", kHonored, "rows of the embedding table", Number<&Clip::vocab>(kClipVocab)},
    {"width", kHonored, "hidden size", Number<&Tower::width>(512)},
    {"heads", kHonored, "attention heads", Number<&Tower::heads>(8)},
    {"layers", kHonored, "number of blocks", Number<&Tower::layers>(12)},
    {"mlp_ratio", kHonored, "size of the feed-forward layer", {ReadMlpRatio, WriteMlpRatio}},
    {"act_kwargs", kHonored, "`approximate` of the GELU; other keys are refused", {ReadGelu, WriteGelu}},
    {"norm_kwargs", kHonored, "`eps` of every norm; other keys are refused", {ReadNorm, WriteNorm}},
    {"pool_type", kOnly, "which token stands for the text", R"(["argmax", "eos"])", {nullptr, WritePooling}},
    {"eos_id", kHonored, "the token that pool_type eos looks for", {ReadEndOfText, WriteEndOfText}},
    {"hf_tokenizer_name",
     kHonored,
     "the tokenizer; one that is not CLIP's is refused where texts are read",
     {ReadTokenizer, WriteTokenizer}},
    {"tokenizer_kwargs", kOnly, "how texts are cleaned before they are cut", R"([{}, {"clean": "lower"}])"},
    {"tokenizer_mode", kOnly, "another tokenizer", "[]"},
    {"tokenizer_type", kOnly, "another tokenizer", R"([""])"},
    {"tiktoken_name", kNoEffect, "only read with tokenizer_type tiktoken, which is refused"},
    {"no_causal_mask", kOnly, "every token sees those behind it, and the padding", "[false]"},
    {"embed_cls", kOnly, "a class token at the end, as CoCa's", "[false]"},
    {"pad_id", kNoEffect, "padding follows the pooled token, which does not see it"},
    {"bos_id", kNoEffect, "only read by tokenizer_type tiktoken, which is refused"},
    {"proj_type", kOnly, "the projection to the features", R"(["linear"])"},
    {"proj_bias", kOnly, "a bias of the projection", "[false]"},
    {"final_ln_after_pool", kNoEffect, "OpenCLIP's text tower does not read it"},
    {"ls_init_value", kOnly, "layer scale", "[]"},
    {"output_tokens", kNoEffect, "CLIP does not read it"},
    {"variable_text", kOnly, "another text tower", "[false]"},
    {"text_arch", kOnly, "another text tower", R"(["clip"])"},
    {"block_type", kOnly, kBlocks, R"(["default"])"},
    {"qk_norm", kOnly, kBlocks, "[false]"},
    {"scaled_cosine_attn", kOnly, kBlocks, "[false]"},
    {"scale_heads", kOnly, kBlocks, "[false]"},
    {"scale_attn_inner", kOnly, kBlocks, "[false]"},
    {"scale_attn", kOnly, kBlocks, "[false]"},
    {"scale_fc", kOnly, kBlocks, "[false]"},
    {"attention_mode", kNoEffect, kModern},
    {"pos_embed", kNoEffect, kModern},
    {"rope_temperature", kNoEffect, kModern},
    {"mlp_type", kNoEffect, kModern},
    {"norm_type", kNoEffect, kModern},
    {"norm_eps", kNoEffect, kModern},
    {"attn_gated", kNoEffect, kModern},
    {"pre_norm", kNoEffect, kModern},
    {"norm_placement", kNoEffect, kModern},
    {"zero_init_residual", kNoEffect, kModern},
    {"reg_tokens", kNoEffect, kModern},
    {"value_residual", kNoEffect, kModern},
    {"attention_bias", kNoEffect, kModern},
    {"mlp_bias", kNoEffect, kModern},
    {"gate_bias", kNoEffect, kModern},
    {"hf_model_name", kOnly, "a custom text model", R"([""])"},
    {"hf_model_pretrained", kNoEffect, kHfText},
    {"hf_proj_type", kNoEffect, kHfText},
    {"hf_pooler_type", kNoEffect, kHfText},
    {"hf_model_config", kNoEffect, kHfText},
};

}  // namespace

std::span<const ClipField> OpenClipModelFields() { return kModelFields; }
std::span<const ClipField> OpenClipVisionFields() { return kVisionFields; }
std::span<const ClipField> OpenClipTextFields() { return kTextFields; }

Result<ClipArchitecture> ReadOpenClip(const Config& config, bool strict, std::vector<std::string>* notes) {
  const ConfigNode& root = config.root();
  const ConfigNode* model = root.Get("model_cfg");
  const ConfigNode* vision_node = model->Get("vision_cfg");
  const ConfigNode* text_node = model->Get("text_cfg");
  FieldReader top(model, "model_cfg."), vision(vision_node, "model_cfg.vision_cfg."),
      text(text_node, "model_cfg.text_cfg."), preprocess(root.Get("preprocess_cfg"), "preprocess_cfg.");
  if (vision_node == nullptr || text_node == nullptr)
    return Corrupt("model_cfg: expected vision_cfg and text_cfg, found one missing");
  if (const ConfigNode* layers = vision.Get("layers"); layers != nullptr && layers->is_list()) {
    return Unsupported("expected a ViT CLIP, found a ResNet CLIP (model_cfg.vision_cfg.layers is a list)");
  }
  ANEMONE_TRY(CheckClipConfigFields(config, strict, notes));
  ClipArchitecture spec;
  ReadFields(kModelFields, top, spec);
  ReadFields(kVisionFields, vision, spec, &spec.vision);
  ReadFields(kTextFields, text, spec, &spec.text);
  ReadFields(OpenClipPreprocessFields(), preprocess, spec);
  for (const FieldReader* reader : {&top, &vision, &text}) ANEMONE_TRY(reader->status());
  ANEMONE_TRY(CheckArchitecture(spec));
  return spec;
}

Result<Config> OpenClipConfig(const ClipArchitecture& spec, std::optional<ConfigNode> preprocess) {
  if (spec.siglip) return Unsupported("expected a CLIP for OpenCLIP, found a SigLIP");
  if (IsQuick(spec.vision) != IsQuick(spec.text)) {
    return Unsupported(fmt::format("expected quick_gelu in both towers or in none for OpenCLIP, found {} and {}",
                                   spec.vision.activation, spec.text.activation));
  }
  ConfigNode root = ConfigNode::Map();
  ConfigNode& model = root["model_cfg"] = ConfigNode::Map();
  WriteFields(kModelFields, spec, nullptr, model);
  WriteFields(kVisionFields, spec, &spec.vision, model["vision_cfg"] = ConfigNode::Map());
  WriteFields(kTextFields, spec, &spec.text, model["text_cfg"] = ConfigNode::Map());
  if (!preprocess) WriteFields(OpenClipPreprocessFields(), spec, nullptr, preprocess.emplace(ConfigNode::Map()));
  root["preprocess_cfg"] = *std::move(preprocess);
  return Config(std::move(root));
}

}  // namespace anemone
