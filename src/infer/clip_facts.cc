#include "infer/clip_facts.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>

#include "anemone/config.h"
#include "family/clip/clip_config.h"
#include "family/words/json_artifact.h"

namespace anemone {
namespace {

// Where each format says a fact, and what it is where nothing is said. An empty path: the format fixes it. An empty
// default: it is not told.
struct FactRow {
  std::string_view fact;
  std::string_view hugging_face, hugging_face_default, siglip_default;
  std::string_view open_clip, open_clip_default;
  std::string_view nemo, nemo_default;
};

// Files other than the config come first in a path: "preprocessor:size".
constexpr std::string_view kPixels = "pixels:";

constexpr FactRow kRows[] = {
    {"vision.epsilon", "vision_config.layer_norm_eps", "1e-05", "1e-06", "model_cfg.vision_cfg.norm_kwargs.eps",
     "1e-05", "vision.layernorm_epsilon", "1e-05"},
    {"text.epsilon", "text_config.layer_norm_eps", "1e-05", "1e-06", "model_cfg.text_cfg.norm_kwargs.eps", "1e-05",
     "text.layernorm_epsilon", "1e-05"},
    {"vision.heads", "vision_config.num_attention_heads", "12", "12", "", "", "vision.num_attention_heads", ""},
    {"text.heads", "text_config.num_attention_heads", "8", "12", "model_cfg.text_cfg.heads", "8",
     "text.num_attention_heads", ""},
    {"text.sees tokens behind", "", "false", "", "model_cfg.text_cfg.no_causal_mask", "false", "", "false"},
    {"vision.pooling", "", "tok", "", "model_cfg.vision_cfg.pool_type", "tok", "", "tok"},
    {"vision.norm before the blocks left out", "", "false", "", "model_cfg.vision_cfg.no_ln_pre", "false", "", "false"},
    {"pixels.bilinear", "pixels:resample", "3", "3", "preprocess_cfg.interpolation", "bicubic", "", "bicubic"},
    {"pixels.normalized", "pixels:do_normalize", "true", "true", "", "", "", ""},
    {"pixels.rescaled", "pixels:do_rescale", "true", "true", "", "true", "", "true"},
};

// The same word for what formats write in different words.
std::string Word(std::string_view fact, const std::string& text) {
  if (fact == "pixels.bilinear") return text == "2" || text == "bilinear" ? "true" : "false";
  return text;
}

// Numbers by their value, whatever their spelling.
std::string Text(const ConfigNode& node) {
  if (const std::optional<bool> flag = node.AsBool()) return *flag ? "true" : "false";
  if (const std::optional<double> number = node.AsDouble()) return fmt::format("{}", *number);
  return node.ScalarText();
}

const ConfigNode* At(const Config& config, std::string_view path) {
  const ConfigNode* node = config.Find(path);
  return node == nullptr || node->is_null() ? nullptr : node;
}

// The way a picture comes to its size: what each format says in several fields.
std::string Resizing(ClipConfigKind kind, const Config& config, const std::optional<Config>& pixels) {
  if (kind == ClipConfigKind::kNemo) return "shortest";
  if (kind == ClipConfigKind::kOpenClip) {
    const ConfigNode* mode = At(config, "preprocess_cfg.resize_mode");
    return mode == nullptr ? "shortest" : mode->ScalarText();
  }
  if (!pixels) return "";
  if (const ConfigNode* resizes = At(*pixels, "do_resize"); resizes != nullptr && resizes->AsBool() == false)
    return "none";
  return At(*pixels, "size.height") != nullptr ? "squash" : "shortest";
}

std::string Pooling(ClipConfigKind kind, const Config& config) {
  if (kind == ClipConfigKind::kNemo) return "largest id";
  const bool open = kind == ClipConfigKind::kOpenClip;
  const ConfigNode* type = At(config, "model_cfg.text_cfg.pool_type");
  if (open && (type == nullptr || type->AsString() == "argmax")) return "largest id";
  if (open && type->AsString() != "eos") return type->ScalarText();
  const ConfigNode* node = At(config, open ? "model_cfg.text_cfg.eos_id" : "text_config.eos_token_id");
  const ConfigNode* rows = At(config, open ? "model_cfg.text_cfg.vocab_size" : "text_config.vocab_size");
  const int64_t eos = node == nullptr ? 49407 : node->AsInt().value_or(-1);
  const int64_t vocab = rows == nullptr ? 49408 : rows->AsInt().value_or(0);
  if ((!open && eos == 2) || eos + 1 == vocab) return "largest id";
  return fmt::format("the first {}", eos);
}

}  // namespace

Result<ClipFacts> ClipFactsOf(const Checkpoint& checkpoint) {
  ClipFacts facts;
  if (!checkpoint.config) return facts;
  const ClipConfigKind kind = KindOfClipConfig(*checkpoint.config);
  if (kind == ClipConfigKind::kNone) return facts;
  Config config = *checkpoint.config;
  if (kind == ClipConfigKind::kNemo) {
    ANEMONE_ASSIGN(ConfigNode model, NemoModelNode(config));
    config = Config(std::move(model));
  }
  const bool hugging_face = kind == ClipConfigKind::kHuggingFace;
  const ConfigNode* type = At(config, "model_type");
  const bool siglip = type != nullptr && type->ScalarText().starts_with("siglip");
  const ConfigNode* nemo_siglip = At(config, "use_siglip");
  const bool any_siglip = siglip || (nemo_siglip != nullptr && nemo_siglip->AsBool() == true);
  // A tower alone has no sections.
  if (hugging_face && At(config, "vision_config") == nullptr && At(config, "text_config") == nullptr) return facts;
  std::optional<Config> pixels;
  if (hugging_face) {
    ANEMONE_ASSIGN(const std::optional<Config> processor, ReadJsonArtifact(checkpoint, "processor_config.json"));
    ANEMONE_ASSIGN(pixels, ReadJsonArtifact(checkpoint, "preprocessor_config.json"));
    if (const ConfigNode* inner = processor ? At(*processor, "image_processor") : nullptr) pixels = Config(*inner);
  }
  for (const FactRow& row : kRows) {
    const bool open = kind == ClipConfigKind::kOpenClip;
    std::string_view path = hugging_face ? row.hugging_face : open ? row.open_clip : row.nemo;
    const std::string_view otherwise = hugging_face ? (siglip ? row.siglip_default : row.hugging_face_default)
                                       : open       ? row.open_clip_default
                                                    : row.nemo_default;
    const ConfigNode* node = nullptr;
    if (path.starts_with(kPixels)) {
      if (!pixels) continue;
      node = At(*pixels, path.substr(kPixels.size()));
    } else if (!path.empty()) {
      node = At(config, path);
    }
    const std::string text = node != nullptr ? Text(*node) : std::string(otherwise);
    if (!text.empty()) facts[std::string(row.fact)] = Word(row.fact, text);
  }
  if (!any_siglip) {
    if (const std::string how = Resizing(kind, config, pixels); !how.empty()) facts["pixels.resizing"] = how;
    facts["text.pooling"] = Pooling(kind, config);
  }
  return facts;
}

}  // namespace anemone
