#include "family/clip/clip_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "family/clip/clip_fields.h"
#include "family/clip/nemo_clip_template.h"

namespace anemone {
namespace {

constexpr std::string_view kTarget =
    "nemo.collections.multimodal.models.vision_language_foundation.clip.megatron_clip_models.MegatronCLIPModel";
constexpr std::string_view kNemoVersion = "2.0.0";  // whose reading of the config we write for
constexpr uint64_t kMaxSize = uint64_t{1} << 32;

ConfigNode Int(uint64_t value) { return ConfigNode::Int(static_cast<int64_t>(value)); }
ConfigNode Str(std::string_view text) { return ConfigNode::String(std::string(text)); }

// Reads fields of one map, remembering the first failure.
class Fields {
 public:
  Fields(const ConfigNode* node, std::string where) : node_(node), where_(std::move(where)) {}

  const ConfigNode* Get(std::string_view key) const {
    const ConfigNode* child = node_ == nullptr ? nullptr : node_->Get(key);
    return child == nullptr || child->is_null() ? nullptr : child;
  }
  uint64_t Size(std::string_view key, std::optional<uint64_t> fallback = std::nullopt) {
    const ConfigNode* child = Get(key);
    if (child == nullptr) {
      if (!fallback) Fail(key, "a number", "nothing");
      return fallback.value_or(1);
    }
    const auto value = child->AsInt();
    if (!value || *value < 0 || static_cast<uint64_t>(*value) > kMaxSize) {
      Fail(key, "a size", child->ScalarText());
      return 1;
    }
    return static_cast<uint64_t>(*value);
  }
  double Real(std::string_view key, double fallback) {
    const ConfigNode* child = Get(key);
    if (child == nullptr) return fallback;
    const auto value = child->AsDouble();
    if (!value) Fail(key, "a number", child->ScalarText());
    return value.value_or(fallback);
  }
  bool Bool(std::string_view key, bool fallback) {
    const ConfigNode* child = Get(key);
    if (child == nullptr) return fallback;
    const auto value = child->AsBool();
    if (!value) Fail(key, "true or false", child->ScalarText());
    return value.value_or(fallback);
  }
  std::string Text(std::string_view key, std::string_view fallback) {
    const ConfigNode* child = Get(key);
    if (child == nullptr) return std::string(fallback);
    const auto value = child->AsString();
    if (!value) Fail(key, "a word", child->ScalarText());
    return value.value_or(std::string(fallback));
  }
  void Fail(std::string_view key, std::string_view expected, std::string_view found) {
    if (status_.ok()) status_ = Corrupt(fmt::format("{}{}: expected {}, found {}", where_, key, expected, found));
  }
  const Status& status() const { return status_; }

 private:
  const ConfigNode* node_;
  std::string where_;
  Status status_;
};

Status CheckTower(const TowerArchitecture& tower, std::string_view name) {
  if (tower.layers == 0 || tower.width == 0 || tower.heads == 0 || tower.ffn == 0) {
    return Corrupt(fmt::format("{}: expected layers, width, heads and feed-forward size above 0, found {}, {}, {}, {}",
                               name, tower.layers, tower.width, tower.heads, tower.ffn));
  }
  if (tower.width % tower.heads != 0) {
    return Corrupt(fmt::format("{}: expected a width that {} heads divide, found {}", name, tower.heads, tower.width));
  }
  return {};
}

Result<ClipArchitecture> Checked(ClipArchitecture spec) {
  if (spec.has_vision) {
    ANEMONE_TRY(CheckTower(spec.vision, "vision"));
    if (spec.patch == 0 || spec.image_height < spec.patch || spec.image_width < spec.patch ||
        // Hugging Face's SigLIP crops what does not fill a patch; NeMo asserts that nothing is left.
        (!spec.siglip && (spec.image_height % spec.patch != 0 || spec.image_width % spec.patch != 0))) {
      return Corrupt(fmt::format("vision: expected an image size that patch {} divides, found {}×{}", spec.patch,
                                 spec.image_height, spec.image_width));
    }
  }
  if (spec.has_text) ANEMONE_TRY(CheckTower(spec.text, "text"));
  return spec;
}

// ---- Hugging Face ----

struct ActivationWords {
  std::string_view hugging_face, canonical;
};
constexpr ActivationWords kHuggingFaceActivations[] = {
    {"quick_gelu", "quick_gelu"},       {"gelu", "gelu"},          {"gelu_python", "gelu"},
    {"gelu_pytorch_tanh", "gelu_tanh"}, {"gelu_new", "gelu_tanh"}, {"gelu_fast", "gelu_tanh"},
};

std::string ReadHfActivation(Fields& fields, std::string_view fallback) {
  const std::string word = fields.Text("hidden_act", fallback);
  for (const auto& a : kHuggingFaceActivations) {
    if (a.hugging_face == word) return std::string(a.canonical);
  }
  fields.Fail("hidden_act", "quick_gelu, gelu or gelu_pytorch_tanh", word);
  return {};
}

struct TowerDefaults {
  uint64_t width, ffn, layers, heads;
  std::string_view activation;
  double epsilon;
};

TowerArchitecture ReadHfTower(Fields& fields, const TowerDefaults& defaults) {
  TowerArchitecture tower;
  tower.width = fields.Size("hidden_size", defaults.width);
  tower.ffn = fields.Size("intermediate_size", defaults.ffn);
  tower.layers = fields.Size("num_hidden_layers", defaults.layers);
  tower.heads = fields.Size("num_attention_heads", defaults.heads);
  tower.activation = ReadHfActivation(fields, defaults.activation);
  tower.epsilon = fields.Real("layer_norm_eps", defaults.epsilon);
  return tower;
}

Result<ClipArchitecture> ReadHuggingFace(const Config& config, bool strict, std::vector<std::string>* notes) {
  const ConfigNode& root = config.root();
  Fields top(&root, "");
  const std::string type = top.Text("model_type", "clip");
  ClipArchitecture spec;
  spec.siglip = type.starts_with("siglip");
  if (const std::string other = ForeignClipModel(root); !other.empty()) {
    const bool by_type = other == type || root.Get("model_type") == nullptr;
    return Unsupported(
        fmt::format("{}: expected clip or siglip, found {}", by_type ? "model_type" : "architectures", other));
  }
  ANEMONE_TRY(CheckClipConfigFields(config, strict, notes));
  spec.has_vision = !type.ends_with("_text_model");
  spec.has_text = !type.ends_with("_vision_model");
  // A tower alone: CLIPTextModel and CLIPTextModelWithProjection say the same otherwise.
  if (const ConfigNode* classes = top.Get("architectures"); type.starts_with("clip_") && classes != nullptr) {
    const bool is_one = classes->is_list() && classes->list.size() == 1;
    spec.projects = !is_one || classes->list.front().AsString().value_or("").ends_with("WithProjection");
  }
  // Older files have both `text_config` and `text_config_dict`; transformers lets the second one win.
  const auto tower_node = [&](std::string_view key, bool alone) -> ConfigNode {
    if (alone) return root;
    ConfigNode node = ConfigNode::Map();
    for (const std::string_view suffix : {"", "_dict"}) {
      const ConfigNode* child = root.Get(std::string(key) + std::string(suffix));
      if (child == nullptr || !child->is_map()) continue;
      for (const auto& [name, value] : child->map) node[name] = value;
    }
    return node;
  };
  const ConfigNode vision_node = tower_node("vision_config", spec.has_vision && !spec.has_text);
  const ConfigNode text_node = tower_node("text_config", spec.has_text && !spec.has_vision);
  Fields vision(&vision_node, "vision_config."), text(&text_node, "text_config.");
  const bool s = spec.siglip;
  spec.vision = ReadHfTower(vision, s ? TowerDefaults{768, 3072, 12, 12, "gelu_pytorch_tanh", 1e-6}
                                      : TowerDefaults{768, 3072, 12, 12, "quick_gelu", 1e-5});
  spec.text = ReadHfTower(text, s ? TowerDefaults{768, 3072, 12, 12, "gelu_pytorch_tanh", 1e-6}
                                  : TowerDefaults{512, 2048, 12, 8, "quick_gelu", 1e-5});
  spec.image_height = spec.image_width = vision.Size("image_size", 224);
  spec.patch = vision.Size("patch_size", s ? 16 : 32);
  spec.channels = vision.Size("num_channels", 3);
  spec.class_tokens = s ? 0 : 1;
  spec.context = text.Size("max_position_embeddings", s ? 64 : 77);
  spec.vocab = text.Size("vocab_size", s ? 32000 : 49408);
  // 2 was written by mistake and means the largest id [transformers modeling_clip.py, CLIPTextTransformer].
  const auto eos = static_cast<int64_t>(text.Size("eos_token_id", 49407));
  if (!s && eos != 2) spec.eos_token = eos;
  if (s) {
    spec.projection = text.Size("projection_size", spec.text.width);
  } else {
    spec.projection = top.Size("projection_dim", 512);  // the towers' own copies are often wrong; nobody reads them
  }
  for (const Fields* fields : {&top, &vision, &text}) ANEMONE_TRY(fields->status());
  return Checked(std::move(spec));
}

// ---- OpenCLIP ----

// nn.LayerNorm's arguments, of which eps is carried.
double ReadOpenClipEpsilon(Fields& fields) {
  const ConfigNode* node = fields.Get("norm_kwargs");
  if (node == nullptr) return 1e-5;
  for (const auto& [key, value] : node->map) {
    if (key != "eps") fields.Fail("norm_kwargs", "eps alone", key);
  }
  const ConfigNode* eps = node->Get("eps");
  if (!node->is_map() || (eps != nullptr && !eps->AsDouble())) fields.Fail("norm_kwargs", "a number as eps", "another");
  return eps == nullptr ? 1e-5 : eps->AsDouble().value_or(1e-5);
}

// nn.GELU's arguments. Quick GELU takes none.
std::string ReadOpenClipActivation(Fields& fields, const std::string& activation) {
  const ConfigNode* node = fields.Get("act_kwargs");
  if (node == nullptr || (node->is_map() && node->map.empty())) return activation;
  const ConfigNode* approximate = node->Get("approximate");
  const std::string word = approximate == nullptr ? "" : approximate->AsString().value_or("");
  const bool known = activation == "gelu" && node->map.size() == 1 && (word == "tanh" || word == "none");
  if (!known)
    fields.Fail("act_kwargs", "approximate alone, tanh or none, without quick_gelu", Config(*node).ToJson(-1));
  return word == "tanh" ? "gelu_tanh" : activation;
}

Result<ClipArchitecture> ReadOpenClip(const Config& config, bool strict, std::vector<std::string>* notes) {
  const ConfigNode& root = config.root();
  const ConfigNode* model = root.Get("model_cfg");
  const ConfigNode* vision_node = model->Get("vision_cfg");
  const ConfigNode* text_node = model->Get("text_cfg");
  Fields top(model, "model_cfg."), vision(vision_node, "model_cfg.vision_cfg."), text(text_node, "model_cfg.text_cfg.");
  if (vision_node == nullptr || text_node == nullptr)
    return Corrupt("model_cfg: expected vision_cfg and text_cfg, found one missing");
  if (const ConfigNode* layers = vision.Get("layers"); layers != nullptr && layers->is_list()) {
    return Unsupported("expected a ViT CLIP, found a ResNet CLIP (model_cfg.vision_cfg.layers is a list)");
  }
  ANEMONE_TRY(CheckClipConfigFields(config, strict, notes));
  ClipArchitecture spec;
  const std::string activation = top.Bool("quick_gelu", false) ? "quick_gelu" : "gelu";
  spec.vision.layers = vision.Size("layers", 12);
  spec.vision.width = vision.Size("width", 768);
  const uint64_t head_width = vision.Size("head_width", 64);
  spec.vision.heads = head_width == 0 ? 0 : spec.vision.width / head_width;
  spec.vision.ffn = static_cast<uint64_t>(static_cast<double>(spec.vision.width) * vision.Real("mlp_ratio", 4.0));
  spec.text.layers = text.Size("layers", 12);
  spec.text.width = text.Size("width", 512);
  spec.text.heads = text.Size("heads", 8);
  spec.text.ffn = static_cast<uint64_t>(static_cast<double>(spec.text.width) * text.Real("mlp_ratio", 4.0));
  for (auto [fields, tower] : {std::pair(&vision, &spec.vision), std::pair(&text, &spec.text)}) {
    tower->activation = ReadOpenClipActivation(*fields, activation);
    tower->epsilon = ReadOpenClipEpsilon(*fields);
  }
  if (text.Text("pool_type", "argmax") == "eos") spec.eos_token = static_cast<int64_t>(text.Size("eos_id"));
  spec.tokenizer = text.Text("hf_tokenizer_name", "");
  if (const ConfigNode* size = vision.Get("image_size"); size != nullptr && size->is_list() && size->list.size() == 2) {
    spec.image_height = static_cast<uint64_t>(size->list[0].AsInt().value_or(0));
    spec.image_width = static_cast<uint64_t>(size->list[1].AsInt().value_or(0));
  } else {
    spec.image_height = spec.image_width = vision.Size("image_size", 224);
  }
  spec.patch = vision.Size("patch_size", 16);
  spec.context = text.Size("context_length", 77);
  spec.vocab = text.Size("vocab_size", 49408);
  spec.projection = top.Size("embed_dim");
  if (const ConfigNode* preprocess = root.Get("preprocess_cfg")) {
    spec.mean = ReadRgb(preprocess->Get("mean"));
    spec.deviation = ReadRgb(preprocess->Get("std"));
  }
  for (const Fields* fields : {&top, &vision, &text}) ANEMONE_TRY(fields->status());
  return Checked(std::move(spec));
}

// ---- NeMo ----

// NeMo's `approx-gelu` is OpenAI's quick GELU; fused bias and GELU is the tanh form [fused_bias_gelu.py].
std::string ReadNemoActivation(Fields& fields) {
  const std::string word = fields.Text("activation", "gelu");
  if (fields.Bool("openai_gelu", false)) return "gelu_tanh";
  if (word == "approx-gelu") return "quick_gelu";
  if (word == "gelu")
    return fields.Bool("bias_activation_fusion", true) && fields.Get("bias_activation_fusion") != nullptr ? "gelu_tanh"
                                                                                                          : "gelu";
  fields.Fail("activation", "gelu or approx-gelu", word);
  return {};
}

TowerArchitecture ReadNemoTower(Fields& fields) {
  TowerArchitecture tower;
  tower.layers = fields.Size("num_layers");
  tower.width = fields.Size("hidden_size");
  tower.heads = fields.Size("num_attention_heads");
  tower.ffn = fields.Size("ffn_hidden_size", 4 * tower.width);
  tower.activation = ReadNemoActivation(fields);
  tower.epsilon = fields.Real("layernorm_epsilon", 1e-5);
  const uint64_t per_head = tower.heads == 0 ? 0 : tower.width / tower.heads;
  if (const uint64_t channels = fields.Size("kv_channels", per_head); channels != per_head) {
    fields.Fail("kv_channels", fmt::format("null or {}", per_head), std::to_string(channels));
  }
  if (const uint64_t groups = fields.Size("num_query_groups", tower.heads); groups != tower.heads) {
    fields.Fail("num_query_groups", fmt::format("null or {}", tower.heads), std::to_string(groups));
  }
  if (const std::string norm = fields.Text("normalization", "layernorm"); norm != "layernorm")
    fields.Fail("normalization", "layernorm", norm);
  return tower;
}

Result<ClipArchitecture> ReadNemo(const ConfigNode& model) {
  Fields top(&model, ""), vision(model.Get("vision"), "vision."), text(model.Get("text"), "text.");
  ClipArchitecture spec;
  spec.siglip = top.Bool("use_siglip", false);
  spec.vision = ReadNemoTower(vision);
  spec.text = ReadNemoTower(text);
  spec.image_height = vision.Size("img_h");
  spec.image_width = vision.Size("img_w");
  spec.patch = vision.Size("patch_dim");
  spec.channels = vision.Size("num_channels", 3);
  spec.class_tokens = vision.Size("class_token_length", spec.siglip ? 0 : 1);
  spec.context = text.Size("max_position_embeddings", text.Size("encoder_seq_length", 77));
  spec.projection = top.Size("output_dim");
  spec.mean = ReadRgb(vision.Get("img_mean"));
  spec.deviation = ReadRgb(vision.Get("img_std"));
  if (text.Get("vocab_size") != nullptr) spec.vocab = text.Size("vocab_size");
  for (const Fields* fields : {&top, &vision, &text}) ANEMONE_TRY(fields->status());
  return Checked(std::move(spec));
}

// ---- presets ----

struct Preset {
  std::string_view name;
  uint64_t projection, image, patch;
  uint64_t vision_layers, vision_width, vision_heads, vision_ffn;
  uint64_t text_layers, text_width, text_heads;
};
// [open_clip src/open_clip/model_configs/*.json]; e/14 as in NeMo's list of sizes.
constexpr Preset kPresets[] = {
    {"ViT-B-32", 512, 224, 32, 12, 768, 12, 3072, 12, 512, 8},
    {"ViT-B-32-256", 512, 256, 32, 12, 768, 12, 3072, 12, 512, 8},
    {"ViT-B-16", 512, 224, 16, 12, 768, 12, 3072, 12, 512, 8},
    {"ViT-L-14", 768, 224, 14, 24, 1024, 16, 4096, 12, 768, 12},
    {"ViT-L-14-336", 768, 336, 14, 24, 1024, 16, 4096, 12, 768, 12},
    {"ViT-H-14", 1024, 224, 14, 32, 1280, 16, 5120, 24, 1024, 16},
    {"ViT-g-14", 1024, 224, 14, 40, 1408, 16, 6144, 24, 1024, 16},
    {"ViT-bigG-14", 1280, 224, 14, 48, 1664, 16, 8192, 32, 1280, 20},
    {"ViT-e-14", 1280, 224, 14, 56, 1792, 16, 15360, 36, 1280, 20},
};

std::string NormalPresetName(std::string_view name) {
  std::string result;
  for (const char c : name) {
    if (c == '/' || c == '@' || c == '_') {
      result += '-';
    } else {
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  if (result.ends_with("-336px")) result.resize(result.size() - 2);
  return result;
}

// ---- writing ----

void SetNemoActivation(ConfigNode& tower, std::string_view activation) {
  tower["activation"] = Str(activation == "quick_gelu" ? "approx-gelu" : "gelu");
  tower["openai_gelu"] = ConfigNode::Bool(activation == "gelu_tanh");
  tower["bias_activation_fusion"] = ConfigNode::Bool(false);
}

void SetNemoTower(ConfigNode& node, const TowerArchitecture& tower, uint64_t projection) {
  node["output_dim"] = Int(projection);
  node["num_layers"] = Int(tower.layers);
  node["hidden_size"] = Int(tower.width);
  node["ffn_hidden_size"] = Int(tower.ffn);
  node["num_attention_heads"] = Int(tower.heads);
  node["layernorm_epsilon"] = ConfigNode::Float(tower.epsilon);
  SetNemoActivation(node, tower.activation);
}

}  // namespace

void CompleteNemoConfig(ConfigNode& model) {
  if (model.Get("target") == nullptr) model["target"] = Str(kTarget);
  if (model.Get("nemo_version") == nullptr) model["nemo_version"] = Str(kNemoVersion);
}

namespace {

// What the converters set before they build the model, and what the model appends when it is saved.
void SetConverterKeys(ConfigNode& model, NemoClipKind kind) {
  if (kind == NemoClipKind::kMcore) {
    model["mcore_gpt"] = ConfigNode::Bool(true);
    model["transformer_engine"] = ConfigNode::Bool(true);
    for (const std::string_view tower : {"text", "vision"})
      model[tower]["position_embedding_type"] = Str("learned_absolute");
  } else {
    // With either of them NeMo builds layers of other names.
    for (const std::string_view key : {"mcore_gpt", "transformer_engine"}) {
      const ConfigNode* flag = model.Get(key);
      if (flag != nullptr && flag->AsBool().value_or(false)) model[key] = ConfigNode::Bool(false);
    }
  }
  CompleteNemoConfig(model);
}

// Numbers and booleans lose the spelling a person gave them, as in a file that OmegaConf wrote anew.
void ForgetSpelling(ConfigNode& node) {
  const bool big_integer =
      node.kind == ConfigNode::Kind::kFloat && node.text.find_first_of(".eEn") == std::string::npos;
  if (node.kind != ConfigNode::Kind::kString && !big_integer) node.text.clear();
  for (ConfigNode& child : node.list) ForgetSpelling(child);
  for (auto& [key, child] : node.map) ForgetSpelling(child);
}

std::string Number(double value) { return fmt::format("{}", value); }

std::string RgbText(const Rgb& rgb) { return fmt::format("[{}]", fmt::join(rgb, ", ")); }

// NeMo reads these two keys, which its YAMLs do not have, and not image_mean and image_std, which they do
// [clip_dataset.py; augmentations.py].
void SetNemoPixels(const ClipArchitecture& spec, ConfigNode& vision) {
  if (spec.mean.value_or(kClipMean) != kClipMean) vision["img_mean"] = RgbNode(*spec.mean);
  if (spec.deviation.value_or(kClipDeviation) != kClipDeviation) vision["img_std"] = RgbNode(*spec.deviation);
}

}  // namespace

std::optional<Rgb> ReadRgb(const ConfigNode* node) {
  if (node == nullptr || (node->is_list() && node->list.size() != 3)) return std::nullopt;
  Rgb rgb;
  for (size_t i = 0; i < rgb.size(); ++i) {
    const std::optional<double> value = (node->is_list() ? node->list[i] : *node).AsDouble();
    if (!value) return std::nullopt;
    rgb[i] = *value;
  }
  return rgb;
}

ConfigNode RgbNode(const Rgb& rgb) {
  return ConfigNode::List({ConfigNode::Float(rgb[0]), ConfigNode::Float(rgb[1]), ConfigNode::Float(rgb[2])});
}

bool IsClipTokenizer(std::string_view name) {
  return name.starts_with("openai/clip-") || name.starts_with("laion/CLIP-");
}

bool NamesClipTokenizer(const ConfigNode& nemo_model) {
  const ConfigNode* tokenizer = nemo_model.Get("tokenizer");
  const ConfigNode* type = tokenizer == nullptr ? nullptr : tokenizer->Get("type");
  const std::string word = type == nullptr ? "" : type->AsString().value_or("");
  return IsClipTokenizer(word);
}

std::string OtherTokenizer(const Config& config) {
  std::string name;
  if (KindOfClipConfig(config) == ClipConfigKind::kOpenClip) {
    const ConfigNode* node = config.Find("model_cfg.text_cfg.hf_tokenizer_name");
    name = node == nullptr ? "" : node->AsString().value_or("");
  } else if (KindOfClipConfig(config) == ClipConfigKind::kNemo) {
    const Result<ConfigNode> model = NemoModelNode(config);
    const ConfigNode* tokenizer = model.ok() ? model->Get("tokenizer") : nullptr;
    for (const std::string_view key : {"type", "model"}) {
      const ConfigNode* node = tokenizer == nullptr ? nullptr : tokenizer->Get(key);
      if (name.empty() && node != nullptr) name = node->AsString().value_or("");
    }
  }
  return IsClipTokenizer(name) ? "" : name;
}

ClipConfigKind KindOfClipConfig(const Config& config) {
  const ConfigNode& root = config.root();
  const ConfigLanguage language = DetectLanguage(root);
  if (language == ConfigLanguage::kOpenClip) return ClipConfigKind::kOpenClip;
  if (language == ConfigLanguage::kHuggingFace) return ClipConfigKind::kHuggingFace;
  const ConfigNode* model = &root;
  for (const std::string_view key : {"model", "cfg"}) {
    if (root.Get("vision") == nullptr && root.Get(key) != nullptr) model = root.Get(key);
  }
  if (model->Get("vision") != nullptr && model->Get("text") != nullptr) return ClipConfigKind::kNemo;
  return ClipConfigKind::kNone;
}

Result<ClipArchitecture> ReadClipArchitecture(const Config& config, bool strict, std::vector<std::string>* notes) {
  switch (KindOfClipConfig(config)) {
    case ClipConfigKind::kHuggingFace:
      return ReadHuggingFace(config, strict, notes);
    case ClipConfigKind::kOpenClip:
      return ReadOpenClip(config, strict, notes);
    case ClipConfigKind::kNemo: {
      ANEMONE_ASSIGN(const ConfigNode model, NemoModelNode(config));
      return ReadNemo(model);
    }
    case ClipConfigKind::kNone:
      break;
  }
  return Corrupt(
      "expected the config of a CLIP (config.json, open_clip_config.json or NeMo's YAML), found none of them");
}

std::vector<std::string_view> ClipPresetNames() {
  std::vector<std::string_view> names;
  for (const Preset& preset : kPresets) names.push_back(preset.name);
  return names;
}

std::optional<ClipArchitecture> ClipPreset(std::string_view name) {
  std::string wanted = NormalPresetName(name);
  constexpr std::string_view kQuick = "-quickgelu";
  const bool quick = wanted.ends_with(kQuick);
  if (quick) wanted.resize(wanted.size() - kQuick.size());
  for (const Preset& p : kPresets) {
    if (NormalPresetName(p.name) != wanted) continue;
    ClipArchitecture spec;
    spec.projection = p.projection;
    spec.image_height = spec.image_width = p.image;
    spec.patch = p.patch;
    const std::string activation = quick ? "quick_gelu" : "gelu";
    spec.vision = {p.vision_layers, p.vision_width, p.vision_heads, p.vision_ffn, activation, 1e-5};
    spec.text = {p.text_layers, p.text_width, p.text_heads, 4 * p.text_width, activation, 1e-5};
    spec.vocab = 49408;
    return spec;
  }
  return std::nullopt;
}

Result<Config> NemoConfigFromHparams(const Config& hparams, const std::string& hparams_name,
                                     const ClipArchitecture& spec, const std::string& spec_name, NemoClipKind kind,
                                     std::vector<std::string>* notes) {
  auto node = NemoModelNode(hparams);
  // A key that an interpolation misses is the YAML's fault, no missing input.
  if (!node.ok() && node.status().kind() == ErrorKind::kNotFound) node = node.status().As(ErrorKind::kCorrupt);
  if (!node.ok()) return node.status().In(hparams_name);
  ConfigNode model = *std::move(node);
  auto read = ReadNemo(model);
  if (!read.ok()) return read.status().In(hparams_name);
  const ClipArchitecture& yaml = *read;

  // One line per field: what the weights' config says, what the YAML says.
  std::vector<std::string> differences, fixes;
  const auto compare = [&](std::string_view field, const std::string& expected, const std::string& found) {
    if (expected == found) return;
    differences.push_back(fmt::format("{}: expected {}, found {}", field, expected, found));
    fixes.push_back(fmt::format("{}={}", field, expected));
  };
  const auto size = [&](std::string_view field, uint64_t expected, uint64_t found) {
    compare(field, std::to_string(expected), std::to_string(found));
  };
  const auto tower = [&](std::string_view name, const TowerArchitecture& from, const TowerArchitecture& to) {
    size(fmt::format("{}.num_layers", name), from.layers, to.layers);
    size(fmt::format("{}.hidden_size", name), from.width, to.width);
    size(fmt::format("{}.ffn_hidden_size", name), from.ffn, to.ffn);
    size(fmt::format("{}.num_attention_heads", name), from.heads, to.heads);
    if (from.activation != to.activation) {
      // Two keys say it: the fix names the one to change.
      const auto nemo_word = [](std::string_view a) { return a == "quick_gelu" ? "approx-gelu" : "gelu"; };
      if (from.activation == "gelu_tanh" || to.activation == "gelu_tanh") {
        differences.push_back(fmt::format("{}.openai_gelu: expected {} ({}), found {} ({})", name,
                                          from.activation == "gelu_tanh", from.activation, to.activation == "gelu_tanh",
                                          to.activation));
        fixes.push_back(fmt::format("{}.openai_gelu={}", name, from.activation == "gelu_tanh"));
      } else {
        differences.push_back(fmt::format("{}.activation: expected {} ({}), found {} ({})", name,
                                          nemo_word(from.activation), from.activation, nemo_word(to.activation),
                                          to.activation));
        fixes.push_back(fmt::format("{}.activation={}", name, nemo_word(from.activation)));
      }
    }
    if (std::abs(from.epsilon - to.epsilon) > 1e-3 * from.epsilon) {
      const std::string field = fmt::format("{}.layernorm_epsilon", name);
      if (spec.siglip) {
        // NeMo's own SigLIP YAML says 1e-5 where the models have 1e-6; it is what its users convert with.
        if (notes != nullptr)
          notes->push_back(fmt::format("{}: {} says {}, {} says {}; kept", field, spec_name, Number(from.epsilon),
                                       hparams_name, Number(to.epsilon)));
      } else {
        compare(field, Number(from.epsilon), Number(to.epsilon));
      }
    }
  };
  if (spec.siglip != yaml.siglip) compare("use_siglip", spec.siglip ? "true" : "false", yaml.siglip ? "true" : "false");
  size("output_dim", spec.projection, yaml.projection);
  if (spec.has_vision) {
    tower("vision", spec.vision, yaml.vision);
    size("vision.patch_dim", spec.patch, yaml.patch);
    const bool same_grid = spec.patch > 0 && spec.image_height / spec.patch == yaml.image_height / spec.patch &&
                           spec.image_width / spec.patch == yaml.image_width / spec.patch;
    if (!spec.siglip || !same_grid) {
      size("vision.img_h", spec.image_height, yaml.image_height);
      size("vision.img_w", spec.image_width, yaml.image_width);
    }
    size("vision.num_channels", spec.channels, yaml.channels);
    size("vision.class_token_length", spec.class_tokens, yaml.class_tokens);
    const auto pixels = [&](std::string_view field, const std::optional<Rgb>& expected,
                            const std::optional<Rgb>& found) {
      if (expected && found) compare(field, RgbText(*expected), RgbText(*found));
    };
    pixels("vision.img_mean", spec.mean, yaml.mean);
    pixels("vision.img_std", spec.deviation, yaml.deviation);
    Fields fields(model.Get("vision"), "vision.");
    if (!spec.siglip)
      compare("vision.preprocess_layernorm", "true", fields.Bool("preprocess_layernorm", true) ? "true" : "false");
    compare("vision.global_average_pool", "false", fields.Bool("global_average_pool", false) ? "true" : "false");
    size("vision.output_dim", spec.projection, fields.Size("output_dim", spec.projection));
    ANEMONE_TRY(fields.status());
  }
  if (spec.has_text) {
    tower("text", spec.text, yaml.text);
    size("text.max_position_embeddings", spec.context, yaml.context);
    Fields fields(model.Get("text"), "text.");
    size("text.encoder_seq_length", spec.context, fields.Size("encoder_seq_length", spec.context));
    size("text.output_dim", spec.projection, fields.Size("output_dim", spec.projection));
    ANEMONE_TRY(fields.status());
  }
  if (!differences.empty()) {
    return Corrupt(
        fmt::format("{}: disagrees with {} in {} field{}: {}", hparams_name, spec_name, differences.size(),
                    differences.size() == 1 ? "" : "s", fmt::join(differences, "; ")),
        fmt::format("set {}, or leave the YAML out and have a complete config derived", fmt::join(fixes, " ")));
  }

  SetNemoPixels(spec, model["vision"]);
  SetConverterKeys(model, kind);
  // As the model's constructor does at tensor parallel 1 and at one chunk a stage.
  if (ConfigNode* sequence = model.Get("sequence_parallel")) *sequence = ConfigNode::Bool(false);
  if (ConfigNode* virtual_size = model.Get("virtual_pipeline_model_parallel_size");
      virtual_size != nullptr && virtual_size->AsInt() == 1) {
    *virtual_size = ConfigNode::Null();
  }
  if (ConfigNode* precision = model.Get("precision"); precision == nullptr || precision->is_null())
    model["precision"] = Int(32);
  if (const ConfigNode* optim = model.Get("optim"); optim == nullptr || optim->is_null()) {
    model["optim"] = ConfigNode::Map();
  }
  ForgetSpelling(model);
  return Config(std::move(model));
}

Config NemoConfigFromArchitecture(const ClipArchitecture& spec, NemoClipKind kind) {
  ConfigNode model = NemoClipTemplate();
  model["output_dim"] = Int(spec.projection);
  ConfigNode& vision = model["vision"];
  SetNemoTower(vision, spec.vision, spec.projection);
  vision["patch_dim"] = Int(spec.patch);
  vision["img_h"] = Int(spec.image_height - spec.image_height % spec.patch);
  vision["img_w"] = Int(spec.image_width - spec.image_width % spec.patch);
  vision["num_channels"] = Int(spec.channels);
  vision["class_token_length"] = Int(spec.class_tokens);
  vision["encoder_seq_length"] = Int(spec.positions() - spec.class_tokens);
  vision["max_position_embeddings"] = Int(spec.positions() - spec.class_tokens);
  ConfigNode& text = model["text"];
  SetNemoTower(text, spec.text, spec.projection);
  text["encoder_seq_length"] = Int(spec.context);
  text["max_position_embeddings"] = Int(spec.context);
  SetNemoPixels(spec, vision);
  if (!spec.tokenizer.empty()) model["tokenizer"]["type"] = Str(spec.tokenizer);
  if (spec.siglip) {
    model["use_siglip"] = ConfigNode::Bool(true);
    model["tokenizer"]["type"] = Str("google/siglip-so400m-patch14-384");
  }
  SetConverterKeys(model, kind);
  return Config(std::move(model));
}

Result<Config> HuggingFaceConfig(const ClipArchitecture& spec, DType dtype) {
  if (spec.eos_token == 2) {
    return Unsupported("text_cfg.eos_id: expected another than 2, which Hugging Face reads as the largest id, found 2");
  }
  if (spec.image_height != spec.image_width) {
    return Unsupported(
        fmt::format("expected a square image for Hugging Face, found {}×{}", spec.image_height, spec.image_width));
  }
  const bool s = spec.siglip;
  const auto tower = [&](const TowerArchitecture& t) {
    ConfigNode node = ConfigNode::Map();
    node["attention_dropout"] = ConfigNode::Float(0.0);
    if (!s) node["dropout"] = ConfigNode::Float(0.0);
    node["hidden_act"] = Str(t.activation == "gelu_tanh" ? "gelu_pytorch_tanh" : t.activation);
    node["hidden_size"] = Int(t.width);
    if (!s) {
      node["initializer_factor"] = ConfigNode::Float(1.0);
      node["initializer_range"] = ConfigNode::Float(0.02);
    }
    node["intermediate_size"] = Int(t.ffn);
    node["layer_norm_eps"] = ConfigNode::Float(t.epsilon);
    node["num_attention_heads"] = Int(t.heads);
    node["num_hidden_layers"] = Int(t.layers);
    if (!s) node["projection_dim"] = Int(spec.projection);
    return node;
  };
  ConfigNode text = tower(spec.text);
  text["max_position_embeddings"] = Int(spec.context);
  text["model_type"] = Str(s ? "siglip_text_model" : "clip_text_model");
  text["vocab_size"] = Int(spec.vocab.value_or(s ? 32000 : 49408));
  if (s) {
    text["projection_size"] = Int(spec.projection);
  } else {
    text["bos_token_id"] = ConfigNode::Int(49406);
    text["eos_token_id"] = ConfigNode::Int(spec.eos_token.value_or(2));
    text["pad_token_id"] = ConfigNode::Int(1);
  }
  ConfigNode vision = tower(spec.vision);
  vision["image_size"] = Int(spec.image_height);
  vision["model_type"] = Str(s ? "siglip_vision_model" : "clip_vision_model");
  vision["num_channels"] = Int(spec.channels);
  vision["patch_size"] = Int(spec.patch);

  ConfigNode root = ConfigNode::Map();
  const std::string dtype_word(Info(dtype).torch);
  if (spec.has_vision && spec.has_text) {
    root["architectures"] = ConfigNode::List({Str(s ? "SiglipModel" : "CLIPModel")});
    root["initializer_factor"] = ConfigNode::Float(1.0);
    if (!s) {
      root["logit_scale_init_value"] = ConfigNode::Float(2.6592);
    }
    root["model_type"] = Str(s ? "siglip" : "clip");
    if (!s) root["projection_dim"] = Int(spec.projection);
    root["text_config"] = std::move(text);
    root["torch_dtype"] = Str(dtype_word);
    root["vision_config"] = std::move(vision);
  } else {
    root["architectures"] =
        ConfigNode::List({Str(fmt::format("{}{}Model{}", s ? "Siglip" : "CLIP", spec.has_vision ? "Vision" : "Text",
                                          s || !spec.projects ? "" : "WithProjection"))});
    for (const auto& [key, value] : (spec.has_vision ? vision : text).map) root[key] = value;
    root["torch_dtype"] = Str(dtype_word);
  }
  return Config(std::move(root));
}

Result<Config> OpenClipConfig(const ClipArchitecture& spec, std::optional<ConfigNode> preprocess) {
  if (spec.siglip) return Unsupported("expected a CLIP for OpenCLIP, found a SigLIP");
  const auto is_quick = [](const TowerArchitecture& tower) { return tower.activation == "quick_gelu"; };
  if (is_quick(spec.vision) != is_quick(spec.text)) {
    return Unsupported(fmt::format("expected quick_gelu in both towers or in none for OpenCLIP, found {} and {}",
                                   spec.vision.activation, spec.text.activation));
  }
  // OpenCLIP stores the ratio and truncates the product.
  const auto ratio = [](const TowerArchitecture& tower) {
    const double value = static_cast<double>(tower.ffn) / static_cast<double>(tower.width);
    return static_cast<uint64_t>(static_cast<double>(tower.width) * value) == tower.ffn ? value : value + 1e-9;
  };
  ConfigNode vision = ConfigNode::Map();
  if (spec.image_height == spec.image_width) {
    vision["image_size"] = Int(spec.image_height);
  } else {
    vision["image_size"] = ConfigNode::List({Int(spec.image_height), Int(spec.image_width)});
  }
  vision["layers"] = Int(spec.vision.layers);
  vision["width"] = Int(spec.vision.width);
  if (spec.vision.width != 64 * spec.vision.heads) vision["head_width"] = Int(spec.vision.width / spec.vision.heads);
  if (spec.vision.ffn != 4 * spec.vision.width) vision["mlp_ratio"] = ConfigNode::Float(ratio(spec.vision));
  vision["patch_size"] = Int(spec.patch);
  ConfigNode text = ConfigNode::Map();
  text["context_length"] = Int(spec.context);
  text["vocab_size"] = Int(spec.vocab.value_or(49408));
  text["width"] = Int(spec.text.width);
  text["heads"] = Int(spec.text.heads);
  text["layers"] = Int(spec.text.layers);
  if (spec.text.ffn != 4 * spec.text.width) text["mlp_ratio"] = ConfigNode::Float(ratio(spec.text));
  for (auto [node, tower] : {std::pair(&vision, &spec.vision), std::pair(&text, &spec.text)}) {
    if (tower->activation == "gelu_tanh") {
      (*node)["act_kwargs"] = ConfigNode::Map();
      (*node)["act_kwargs"]["approximate"] = Str("tanh");
    }
    if (tower->epsilon != 1e-5) {
      (*node)["norm_kwargs"] = ConfigNode::Map();
      (*node)["norm_kwargs"]["eps"] = ConfigNode::Float(tower->epsilon);
    }
  }
  // The largest id, where it ends the vocabulary, is found by OpenCLIP's own rule.
  if (spec.eos_token && static_cast<uint64_t>(*spec.eos_token) + 1 != spec.vocab.value_or(kClipVocab)) {
    text["pool_type"] = Str("eos");
    text["eos_id"] = ConfigNode::Int(*spec.eos_token);
  }
  if (!spec.tokenizer.empty()) text["hf_tokenizer_name"] = Str(spec.tokenizer);
  ConfigNode model = ConfigNode::Map();
  model["embed_dim"] = Int(spec.projection);
  if (is_quick(spec.vision)) model["quick_gelu"] = ConfigNode::Bool(true);
  model["vision_cfg"] = std::move(vision);
  model["text_cfg"] = std::move(text);
  if (!preprocess) {
    preprocess = ConfigNode::Map();
    (*preprocess)["mean"] = RgbNode(spec.mean.value_or(kClipMean));
    (*preprocess)["std"] = RgbNode(spec.deviation.value_or(kClipDeviation));
  }
  ConfigNode root = ConfigNode::Map();
  root["model_cfg"] = std::move(model);
  root["preprocess_cfg"] = *std::move(preprocess);
  return Config(std::move(root));
}

}  // namespace anemone
