// Facts: NeMo v2.0.0 encoders/modules.py, ldm/ddpm.py (save_to).
#include "family/diffusion/text_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>

#include "config/nodes.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

// NeMo's names for text encoders.
struct TextClass {
  std::string_view name, flag;
};
constexpr TextClass kTextClasses[] = {{"FrozenCLIPEmbedder", "text.transformers"},
                                      {"FrozenOpenCLIPEmbedder", "text.openclip"},
                                      {"FrozenMegatronCLIPEmbedder", "text.megatron"}};

// The heads and the activation of a published encoder are known by its name: no tensor says them.
Result<TowerArchitecture> PublishedText(const ConfigNode& said, bool is_openclip, const ModelSymbols& symbols,
                                        std::vector<std::string>* notes) {
  TowerArchitecture tower;
  for (const auto& [key, member] : {std::pair{"layers", &TowerArchitecture::layers},
                                    {"width", &TowerArchitecture::width},
                                    {"ffn", &TowerArchitecture::ffn}}) {
    ANEMONE_ASSIGN(tower.*member, symbols.Of("text", key));
  }
  const std::string name = WordAt(said, is_openclip ? "arch" : "version").AsString().value_or("");
  const bool is_openais = !is_openclip && name.ends_with("clip-vit-large-patch14");
  const std::optional<ClipArchitecture> known = ClipPreset(is_openais ? "ViT-L-14-quickgelu" : is_openclip ? name : "");
  const bool fits = known && known->text.layers == tower.layers && known->text.width == tower.width;
  constexpr uint64_t kHead = 64;
  tower.heads = fits ? known->text.heads : std::max<uint64_t>(1, tower.width / kHead);
  tower.activation = known ? known->text.activation : is_openclip ? "gelu" : "quick_gelu";
  tower.epsilon = 1e-5;
  if (tower.width % tower.heads != 0) tower.heads = 1;
  if (!fits && notes != nullptr) {
    notes->push_back(
        fmt::format("no tensor says it of the text encoder: num_attention_heads: {} and hidden_act: {} are written",
                    tower.heads, tower.activation));
  }
  return tower;
}

// NeMo's own CLIP, whose config is stored with it [ddpm.py: save_to].
Result<TowerArchitecture> NemosText(const ConfigNode& said) {
  const ConfigNode& clip = WordAt(said, "cfg");
  if (!clip.is_map()) {
    return NotFound(
        "cond_stage_config.cfg: expected the CLIP's config, which MegatronLatentDiffusion.save_to stores there, found "
        "none",
        "put the CLIP's model_config.yaml there, in the model's own");
  }
  const Result<ClipArchitecture> spec = ReadClipArchitecture(Config(clip));
  if (!spec.ok()) return spec.status().In("cond_stage_config.cfg");
  if (spec->text.epsilon != 1e-5)
    return Unsupported(
        fmt::format("cond_stage_config.cfg.text.layernorm_epsilon: expected 1e-05, found {}", spec->text.epsilon));
  return spec->text;
}

}  // namespace

Result<ClipArchitecture> TextOfDiffusers(const ConfigNode& config, bool strict) {
  const std::string name = "text_encoder/config.json";
  const ConfigNode& text = WordAt(config, "text_encoder");
  if (!text.is_map()) return NotFound("expected the text encoder's config, found none").In(name);
  Result<ClipArchitecture> spec = ReadClipArchitecture(Config(text), strict);
  if (!spec.ok()) return spec.status().In(name);
  if (spec->has_vision || !spec->has_text || spec->siglip || spec->projects)
    return Unsupported("architectures: expected CLIPTextModel, found another model").In(name);
  if (spec->text.epsilon != 1e-5)
    return Unsupported(fmt::format("layer_norm_eps: expected 1e-05, found {}", spec->text.epsilon)).In(name);
  return spec;
}

Result<std::string_view> TextFlagOf(const ConfigNode& model) {
  const std::string type = WordAt(model, "cond_stage_config._target_").AsString().value_or("");
  const std::string class_name = type.substr(type.rfind('.') + 1);
  const auto* found = std::ranges::find(kTextClasses, class_name, &TextClass::name);
  if (found != std::end(kTextClasses)) return found->flag;
  return Unsupported(
      fmt::format("cond_stage_config: expected FrozenCLIPEmbedder, FrozenOpenCLIPEmbedder or "
                  "FrozenMegatronCLIPEmbedder, found {}",
                  class_name.empty() ? "none" : class_name));
}

Result<TextEncoder> TextEncoderOf(const ConfigNode& model, const ModelSymbols& symbols,
                                  std::vector<std::string>* notes) {
  const ConfigNode& said = WordAt(model, "cond_stage_config");
  TextEncoder text;
  ANEMONE_ASSIGN(text.flag, TextFlagOf(model));
  const bool can_skip = text.flag != "text.transformers";
  const std::string layer = WordAt(said, "layer").AsString().value_or("last");
  text.skips_last = can_skip && layer == "penultimate";
  if (layer != "last" && !text.skips_last)
    return Unsupported(fmt::format(
        "cond_stage_config.layer: expected one whose vectors the last norm is applied to (last{}), found {}",
        can_skip ? ", penultimate" : "", layer));
  if (text.flag == "text.megatron") {
    ANEMONE_ASSIGN(text.tower, NemosText(said));
  } else {
    ANEMONE_ASSIGN(text.tower, PublishedText(said, text.flag == "text.openclip", symbols, notes));
  }
  if (text.skips_last && text.tower.layers > 0) --text.tower.layers;
  return text;
}

}  // namespace anemone
