// Facts: NeMo v2.0.0 ldm/ddpm.py, ldm/autoencoder.py, diffusionmodules/{openaimodel,model}.py.
#include "family/diffusion/diffusion_symbols.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "config/nodes.h"
#include "family/diffusion/stored_names.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

// Keys of one value in every UNet and VAE of NeMo's that the tables describe.
constexpr FixedWord kFixedInUnet[] = {{"num_res_blocks", "2", "null"},
                                      {"use_spatial_transformer", "true", "false"},
                                      {"dims", "2", "2"},
                                      {"conv_resample", "true", "true"},
                                      {"resblock_updown", "false", "false"},
                                      {"use_scale_shift_norm", "false", "false"},
                                      {"num_classes", "null", "null"},
                                      {"n_embed", "null", "null"}};
constexpr FixedWord kFixedInVae[] = {{"num_res_blocks", "2", "null"},       {"double_z", "true", "true"},
                                     {"attn_resolutions", "[]", "null"},    {"attn_type", "vanilla", "vanilla"},
                                     {"use_linear_attn", "false", "false"}, {"resamp_with_conv", "true", "true"},
                                     {"tanh_out", "false", "false"},        {"give_pre_end", "false", "false"}};

// NeMo stores the config of its own CLIP's text encoder here [ddpm.py: save_to].
constexpr std::string_view kClipText = "cond_stage_config.cfg.text";

// A list of sizes; of more levels than there is room for: Unsupported.
Result<std::vector<uint64_t>> SizesOf(const ConfigNode& node, std::string_view key) {
  const ConfigNode& value = WordAt(node, key);
  std::vector<uint64_t> sizes;
  for (const ConfigNode& one : value.list) {
    const int64_t size = one.AsInt().value_or(0);
    if (size < 1) return Corrupt(fmt::format("{}: expected sizes, found {}", key, Shown(one)));
    sizes.push_back(static_cast<uint64_t>(size));
  }
  if (!value.is_list()) return Corrupt(fmt::format("{}: expected a list of sizes, found {}", key, Shown(value)));
  return sizes;
}
Result<std::vector<uint64_t>> LevelsOf(const ConfigNode& node, std::string_view key) {
  ANEMONE_ASSIGN(std::vector<uint64_t> levels, SizesOf(node, key));
  if (levels.empty() || levels.size() > kLevels)
    return Unsupported(fmt::format("{}: expected 1 to {} levels, found {}", key, kLevels, levels.size()));
  return levels;
}
// One size for all: a number, or a list of equal ones.
Result<uint64_t> OneSizeOf(const ConfigNode& node, std::string_view key, std::optional<uint64_t> silent) {
  if (!WordAt(node, key).is_list()) return SizeOf(node, key, silent);
  ANEMONE_ASSIGN(const std::vector<uint64_t> sizes, SizesOf(node, key));
  if (!sizes.empty() && std::ranges::all_of(sizes, [&](uint64_t size) { return size == sizes[0]; })) return sizes[0];
  return Unsupported(fmt::format("{}: expected one size for all levels, found several", key));
}

Result<uint64_t> Times(const ModelSymbols& symbols, std::string_view size, uint64_t factor) {
  return symbols.Compute(fmt::format("{}*{}", factor, size));
}

struct Level {
  uint64_t width = 0;  // 0: there is none
  bool attends = false;
};

// Residual layers read what the one before gave, and on the way up also what its counterpart gave on the way down.
void Walk(const std::array<Level, kLevels>& levels, uint64_t base, uint64_t count, ModelSymbols* symbols) {
  std::vector<uint64_t> passed = {base};
  uint64_t channels = base;
  const auto set_block = [&](const std::string& name, const Level& level) {
    symbols->Set(name, level.width > 0);
    symbols->Set(name + ".width", level.width);
    symbols->Set(name + ".attn", level.attends);
  };
  const auto set_layer = [&](const std::string& block, int layer, uint64_t in, uint64_t out) {
    symbols->Set(fmt::format("{}.{}.in", block, layer), in);
    symbols->Set(fmt::format("{}.{}.skip", block, layer), in != out);
    channels = out;
  };
  for (int l = 0; l < kLevels; ++l) {
    const Level& level = levels[static_cast<size_t>(l)];
    const bool exists = level.width > 0;
    set_block(DownBlock(l), level);
    for (int i = 0; i < kDownLayers; ++i) {
      set_layer(DownBlock(l), i, exists ? channels : 0, level.width);
      if (exists) passed.push_back(channels);
    }
    if (exists && static_cast<uint64_t>(l) + 1 < count) passed.push_back(channels);
  }
  channels = count == 0 ? 0 : levels[count - 1].width;
  set_block(std::string(kMiddle), {channels, channels > 0});
  for (int i = 0; i < 2; ++i) set_layer(std::string(kMiddle), i, channels, channels);
  for (int l = 0; l < kLevels; ++l) {
    const bool exists = static_cast<uint64_t>(l) < count;
    const Level level = exists ? levels[count - 1 - static_cast<size_t>(l)] : Level();
    set_block(UpBlock(l), level);
    for (int i = 0; i < kUpLayers; ++i) {
      const uint64_t in = exists ? channels + passed.back() : 0;
      if (exists) passed.pop_back();
      set_layer(UpBlock(l), i, in, level.width);
    }
  }
}

Status SetUnet(const ConfigNode& unet, ModelSymbols* symbols) {
  ANEMONE_TRY(CheckFixed(unet, kFixedInUnet, "a UNet of Stable Diffusion"));
  constexpr std::pair<const char*, const char*> kSizes[] = {
      {"unet.base", "model_channels"}, {"unet.in", "in_channels"}, {"unet.out", "out_channels"}};
  for (const auto& [symbol, key] : kSizes) {
    ANEMONE_ASSIGN(const uint64_t size, SizeOf(unet, key));
    symbols->Set(symbol, size);
  }
  ANEMONE_ASSIGN(const uint64_t context, OneSizeOf(unet, "context_dim", std::nullopt));
  ANEMONE_ASSIGN(const uint64_t depth, OneSizeOf(unet, "transformer_depth", 1));
  ANEMONE_ASSIGN(const bool linear, FlagOf(unet, "use_linear_in_transformer", false));
  symbols->Set("unet.context", context);
  symbols->Set("unet.layers", depth);
  symbols->Set("unet.linear", linear);
  ANEMONE_ASSIGN(const std::vector<uint64_t> multiples, LevelsOf(unet, "channel_mult"));
  ANEMONE_ASSIGN(const std::vector<uint64_t> attention, SizesOf(unet, "attention_resolutions"));
  std::array<Level, kLevels> levels;
  for (size_t l = 0; l < multiples.size(); ++l) {
    ANEMONE_ASSIGN(levels[l].width, Times(*symbols, "unet.base", multiples[l]));
    if (levels[l].width > UINT32_MAX) return Corrupt("channel_mult: expected levels of fewer than 2^32 channels");
    levels[l].attends = std::ranges::find(attention, uint64_t{1} << l) != attention.end();
  }
  ANEMONE_ASSIGN(const uint64_t base, symbols->Get("unet.base"));
  if (base > UINT32_MAX) return Corrupt(fmt::format("model_channels: expected fewer than 2^32, found {}", base));
  Walk(levels, base, multiples.size(), symbols);
  return {};
}

Status SetVae(const ConfigNode& vae, ModelSymbols* symbols) {
  const ConfigNode& sizes = WordAt(vae, "ddconfig");
  ANEMONE_TRY(CheckFixed(sizes, kFixedInVae, "a VAE of Stable Diffusion"));
  constexpr std::pair<const char*, const char*> kSizes[] = {
      {"vae.base", "ch"}, {"vae.in", "in_channels"}, {"vae.out", "out_ch"}, {"vae.latent", "z_channels"}};
  for (const auto& [symbol, key] : kSizes) {
    ANEMONE_ASSIGN(const uint64_t size, SizeOf(sizes, key));
    symbols->Set(symbol, size);
  }
  ANEMONE_ASSIGN(const uint64_t embed, SizeOf(vae, "embed_dim"));
  symbols->Set("vae.embed", embed);
  ANEMONE_ASSIGN(const std::vector<uint64_t> multiples, LevelsOf(sizes, "ch_mult"));
  std::vector<uint64_t> widths;
  for (const uint64_t multiple : multiples) {
    ANEMONE_ASSIGN(const uint64_t width, Times(*symbols, "vae.base", multiple));
    widths.push_back(width);
  }
  ANEMONE_ASSIGN(const uint64_t base, symbols->Get("vae.base"));
  for (size_t l = 0; l < kLevels; ++l) {
    const std::string name = VaeLevelName(static_cast<int>(l));
    const bool exists = l < widths.size();
    const uint64_t width = exists ? widths[l] : 0;
    const uint64_t below = !exists ? 0 : l == 0 ? base : widths[l - 1];
    const uint64_t above = !exists ? 0 : l + 1 == widths.size() ? width : widths[l + 1];
    symbols->Set(name, exists);
    symbols->Set(name + ".width", width);
    symbols->Set(name + ".below", below);
    symbols->Set(name + ".widens", below != width);
    symbols->Set(name + ".above", above);
    symbols->Set(name + ".narrows", above != width);
  }
  symbols->Set("vae.top", widths.back());
  return {};
}

// A ControlNet's sizes are those of the UNet that it controls.
Status SetControl(const ConfigNode& control, const ConfigNode& unet, ModelSymbols* symbols) {
  symbols->Set("control", control.is_map());
  symbols->Set("control.hint", 0);
  if (!control.is_map()) return {};
  constexpr std::pair<std::string_view, std::string_view> kShared[] = {
      {"in_channels", "null"},  {"model_channels", "null"},   {"attention_resolutions", "null"},
      {"channel_mult", "null"}, {"num_res_blocks", "null"},   {"context_dim", "null"},
      {"num_heads", "-1"},      {"num_head_channels", "-1"},  {"transformer_depth", "1"},
      {"legacy", "true"},       {"resblock_updown", "false"}, {"use_linear_in_transformer", "false"}};
  for (const auto& [key, silent] : kShared) {
    const ConfigNode none = ParseWord(silent);
    const ConfigNode &own = WordOr(control, key, none), &wanted = WordOr(unet, key, none);
    if (!SameConfig(own, wanted))
      return Unsupported(fmt::format("{}: expected {}, as in unet_config, found {}", key, Shown(wanted), Shown(own)));
  }
  ANEMONE_ASSIGN(const uint64_t hint, SizeOf(control, "hint_channels"));
  symbols->Set("control.hint", hint);
  return {};
}

// A UNet or a VAE that a file lacks has no layers.
Status SetNoUnet(ModelSymbols* symbols) {
  for (const char* size : {"base", "in", "out", "context", "layers", "linear"})
    symbols->Set(fmt::format("unet.{}", size), 0);
  Walk({}, 0, 0, symbols);
  return {};
}
Status SetNoVae(ModelSymbols* symbols) {
  for (const char* size : {"base", "in", "out", "latent", "embed", "top"}) symbols->Set(fmt::format("vae.{}", size), 0);
  for (int level = 0; level < kLevels; ++level) {
    for (const char* end : {"", ".width", ".below", ".widens", ".above", ".narrows"})
      symbols->Set(VaeLevelName(level) + end, 0);
  }
  return {};
}

Status SetText(const StoredNames& parts, const ConfigNode& model, ModelSymbols* symbols) {
  const TextKind* kind = TextKindOf(parts);
  for (const TextKind& one : TextKinds()) symbols->Set(one.flag, kind != nullptr && one.flag == kind->flag);
  const auto size = [&](std::string_view name, size_t axis) {
    return kind == nullptr ? 0 : parts.Size(kind->part, name, axis);
  };
  const uint64_t rows = size(kind == nullptr ? "" : kind->tokens, 0);
  symbols->Set("text", kind != nullptr);
  symbols->Set("text.vocab", rows);
  symbols->Set("text.padded_vocab", rows);
  symbols->Set("text.positions", size(kind == nullptr ? "" : kind->positions, 0));
  symbols->Set("text.learned_parameters", 1);
  const bool projects = kind != nullptr && !kind->projection.empty();
  symbols->Set("text.projects", projects);
  // A file without it gets one of the width that published models have.
  const uint64_t projection = projects ? size(kind->projection, kind->projection_axis) : 0;
  symbols->Set("projection", projects && projection == 0 ? size(kind->tokens, 1) : projection);
  // Heads are in no shape: those of published CLIPs are 64 wide. No row divides by them.
  ConfigNode layer = ParseWord(
      "{num_layers: 1, hidden_size: 1, ffn_hidden_size: 1, num_attention_heads: 1, "
      "megatron_legacy: true}");
  if (kind != nullptr) {
    const uint64_t width = size(kind->tokens, 1), ffn = size(fmt::format(fmt::runtime(kind->up), 0), 0);
    if (width == 0 || ffn == 0)
      return Corrupt(fmt::format("{}{}: expected a text encoder's layers, found none", kind->part, kind->tokens));
    constexpr uint64_t kHead = 64;
    layer["hidden_size"] = SizeNode(width);
    layer["num_attention_heads"] = SizeNode(width % kHead == 0 ? width / kHead : 1);
    layer["ffn_hidden_size"] = SizeNode(ffn);
    layer["num_layers"] = SizeNode(parts.Count(kind->part, kind->up));
    // Heads, and the order of queries, keys and values, are in the config of NeMo's own CLIP.
    const ConfigNode& said = WordAt(model, kClipText);
    if (kind->flag == "text.megatron" && said.is_map()) layer = said;
  }
  ANEMONE_TRY(SetLayerSymbols(layer, "text", {}, symbols));
  if (kind == nullptr) symbols->Set("text.layers", 0);
  return {};
}

}  // namespace

std::string DownBlock(int level) { return fmt::format("unet.down.{}", level); }
std::string UpBlock(int level) { return fmt::format("unet.up.{}", level); }
std::string VaeLevelName(int level) { return fmt::format("vae.{}", level); }

std::vector<UnetBlock> UnetBlocks() {
  std::vector<UnetBlock> blocks = {{std::string(kMiddle), 2}};
  for (int level = 0; level < kLevels; ++level) {
    blocks.push_back({DownBlock(level), kDownLayers});
    blocks.push_back({UpBlock(level), kUpLayers});
  }
  return blocks;
}

Status SetDiffusionSymbols(const ConfigNode& model, ModelSymbols* symbols) {
  const ConfigNode &unet = WordAt(model, "unet_config"), &vae = WordAt(model, "first_stage_config");
  const bool has_unet = !WordAt(unet, "channel_mult").list.empty();
  const bool has_vae = !WordAt(vae, "ddconfig.ch_mult").list.empty();
  ANEMONE_TRY((has_unet ? SetUnet(unet, symbols) : SetNoUnet(symbols)).In("unet_config"));
  ANEMONE_TRY((has_vae ? SetVae(vae, symbols) : SetNoVae(symbols)).In("first_stage_config"));
  // NeMo's own examples have the sizes under `params`.
  const ConfigNode &control = WordAt(model, "control_stage_config"), &params = WordAt(control, "params");
  ANEMONE_TRY(SetControl(params.is_map() ? params : control, unet, symbols).In("control_stage_config"));
  symbols->Set("unet", has_unet);
  symbols->Set("vae", has_vae);
  ANEMONE_ASSIGN(const uint64_t timesteps, SizeOf(model, "timesteps", 1000));
  ANEMONE_ASSIGN(const bool scale, FlagOf(model, "scale_by_std", false));
  ANEMONE_ASSIGN(const bool logvar, FlagOf(model, "learn_logvar", false));
  symbols->Set("timesteps", timesteps);
  symbols->Set("scale_by_std", scale);
  symbols->Set("learn_logvar", logvar);
  return {};
}

Status SetStoredParts(const Checkpoint& checkpoint, const ConfigNode& model, bool is_nemo, ModelSymbols* symbols) {
  const StoredNames parts(checkpoint);
  symbols->Set("schedule", is_nemo || parts.has_schedule());
  ANEMONE_ASSIGN(const bool has_control, symbols->Holds("control"));
  if (!has_control && parts.Has(kControlNames))
    return Corrupt(
        fmt::format("expected control_stage_config in the config, as tensors of a ControlNet are stored "
                    "({}), found none",
                    kControlNames));
  ANEMONE_TRY(SetText(parts, model, symbols));
  return is_nemo ? CheckWhole(*symbols) : Status();
}

Status CheckWhole(const ModelSymbols& symbols) {
  constexpr std::pair<const char*, std::string_view> kParts[] = {
      {"unet", kUnetNames}, {"vae", kVaeNames}, {"text", kTextNames}};
  for (const auto& [flag, names] : kParts) {
    ANEMONE_ASSIGN(const bool has, symbols.Holds(flag));
    if (!has) {
      return Unsupported(
          fmt::format("{}: expected a UNet, a VAE and a text encoder, which are restored together, found none of this "
                      "part",
                      names),
          std::string(kWeightsAlone));
    }
  }
  return {};
}

}  // namespace anemone
