// Stable Diffusion 1.x and 2.x: a UNet, a VAE and a text encoder, as NeMo stores them and as the single files do that
// CompVis, AUTOMATIC1111, ComfyUI and diffusers' from_single_file read (LDM, latent diffusion models).
//
// Canonical names are LDM's, but those of the text encoder, which are CLIP's. NeMo has the same with a few modules
// spelled otherwise, as its norms are fused with what stands behind them. A block is a level's layers: they have one
// width, and all of them have attention or none.
// Facts: NeMo v2.0.0 and v1.23.0 openaimodel.py, attention.py, autoencoder.py, ddpm.py, encoders/modules.py;
// CompVis/stable-diffusion and Stability-AI/stablediffusion of the same names; a file that NeMo wrote (tests/golden).
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "family/diffusion/diffusers_names.h"
#include "family/diffusion/diffusion_config.h"
#include "family/diffusion/diffusion_symbols.h"
#include "family/diffusion/diffusion_target.h"
#include "family/diffusion/noise_schedule.h"
#include "family/diffusion/stored_names.h"
#include "family/families.h"
#include "family/megatron/megatron_layer.h"
#include "family/mount.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;
using S = Symbol;

// ---- canonical ----

std::vector<C> Pair(const std::string& name, const std::string& weight, const std::string& bias,
                    const std::string& when) {
  return {{name + ".weight", weight, when, ""}, {name + ".bias", bias, when, ""}};
}
std::vector<C> Norm(const std::string& name, const std::string& width, const std::string& when) {
  return Pair(name, width, width, when);
}
std::vector<C> Linear(const std::string& name, const std::string& out, const std::string& in, const std::string& when) {
  return Pair(name, fmt::format("{}, {}", out, in), out, when);
}
std::vector<C> Conv(const std::string& name, const std::string& out, const std::string& in, int side,
                    const std::string& when) {
  return Pair(name, fmt::format("{}, {}, {}, {}", out, in, side, side), out, when);
}
C Weight(const std::string& name, const std::string& out, const std::string& in, const std::string& when) {
  return {name + ".weight", fmt::format("{}, {}", out, in), when, ""};
}

// {P}: the module; {B}: its block; {R}: the layer in it.
std::vector<C> Residual() {
  return Join<C>({Norm("{P}.in_layers.0", "{R}.in", "{B}"), Conv("{P}.in_layers.2", "{B}.width", "{R}.in", 3, "{B}"),
                  Linear("{P}.emb_layers.1", "{B}.width", "4*unet.base", "{B}"),
                  Norm("{P}.out_layers.0", "{B}.width", "{B}"),
                  Conv("{P}.out_layers.3", "{B}.width", "{B}.width", 3, "{B}"),
                  Conv("{P}.skip_connection", "{B}.width", "{R}.in", 1, "{R}.skip")});
}

std::vector<C> Attention(const std::string& name, const std::string& context) {
  const std::string width = "{B}.width", when = "{B}.attn";
  return Join<C>({{Weight(name + ".to_k", width, context, when), Weight(name + ".to_v", width, context, when)},
                  Norm("{P}.transformer_blocks.{i}.norm" + name.substr(name.size() - 1), width, when),
                  {Weight(name + ".to_q", width, width, when)},
                  Linear(name + ".to_out.0", width, width, when)});
}

// A projection is linear, or a convolution of one pixel.
std::vector<C> Projection(const std::string& name) {
  return {{name + ".weight", "{B}.width, {B}.width", "{B}.attn & unet.linear", ""},
          {name + ".conv", "{B}.width, {B}.width, 1, 1", "{B}.attn & !unet.linear", ""},
          {name + ".bias", "{B}.width", "{B}.attn", ""}};
}

std::vector<C> Transformer() {
  const std::string layer = "{P}.transformer_blocks.{i}", width = "{B}.width", when = "{B}.attn";
  return Join<C>({Norm("{P}.norm", width, when), Projection("{P}.proj_in"), Attention(layer + ".attn1", width),
                  Norm(layer + ".norm3", width, when), Linear(layer + ".ff.net.0.proj", "8*{B}.width", width, when),
                  Linear(layer + ".ff.net.2", width, "4*{B}.width", when), Attention(layer + ".attn2", "unet.context"),
                  Projection("{P}.proj_out")});
}

std::vector<C> At(const std::string& module, std::string_view block, int layer, const std::vector<C>& rows) {
  return ForPlaces({{{"{P}", module}, {"{R}", fmt::format("{}.{}", block, layer)}, {"{B}", std::string(block)}}}, rows);
}

// A layer of a level, at `module`.
std::vector<C> Layer(std::string_view module, std::string_view block, int number) {
  return Join<C>({At(fmt::format("{}.0", module), block, number, Residual()),
                  At(fmt::format("{}.1", module), block, number, Transformer())});
}

// The embedding of the time step, the first convolution, and the levels on the way down.
std::vector<C> Down() {
  std::vector<std::vector<C>> rows = {Linear("time_embed.0", "4*unet.base", "unet.base", "unet"),
                                      Linear("time_embed.2", "4*unet.base", "4*unet.base", "unet"),
                                      Conv("input_blocks.0.0", "unet.base", "unet.in", 3, "unet")};
  for (int level = 0; level < kLevels; ++level) {
    const std::string block = DownBlock(level), width = block + ".width", next = DownBlock(level + 1);
    for (int i = 0; i < kDownLayers; ++i)
      rows.push_back(Layer(fmt::format("input_blocks.{}", kUpLayers * level + 1 + i), block, i));
    if (level + 1 < kLevels)
      rows.push_back(Conv(fmt::format("input_blocks.{}.0.op", kUpLayers * (level + 1)), width, width, 3, next));
  }
  return Join<C>(rows);
}

std::vector<C> Middle() {
  return Join<C>({At("middle_block.0", kMiddle, 0, Residual()), At("middle_block.1", kMiddle, 0, Transformer()),
                  At("middle_block.2", kMiddle, 1, Residual())});
}

std::vector<C> Up() {
  std::vector<std::vector<C>> rows;
  for (int level = 0; level < kLevels; ++level) {
    const std::string block = UpBlock(level), width = block + ".width", next = UpBlock(level + 1);
    for (int i = 0; i < kUpLayers; ++i)
      rows.push_back(Layer(fmt::format("output_blocks.{}", kUpLayers * level + i), block, i));
    if (level + 1 == kLevels) continue;
    const std::string last = fmt::format("output_blocks.{}", kUpLayers * (level + 1) - 1);
    rows.push_back(Conv(last + ".1.conv", width, width, 3, fmt::format("{} & !{}.attn", next, block)));
    rows.push_back(Conv(last + ".2.conv", width, width, 3, fmt::format("{} & {}.attn", next, block)));
  }
  rows.push_back(Norm("out.0", "unet.base", "unet"));
  rows.push_back(Conv("out.2", "unet.out", "unet.base", 3, "unet"));
  return Join<C>(rows);
}

std::vector<C> Unet() {
  std::vector<C> unet = ForTower("unet", Join<C>({Down(), Middle(), Up()}));
  for (C& row : unet) row.name.insert(0, kUnetNames);
  return unet;
}

// The output of each block on the way down goes to the UNet's way up through a convolution that begins as zeros.
std::vector<C> ZeroConvs() {
  const auto at = [](int number, const std::string& width, const std::string& when) {
    return Conv(fmt::format("zero_convs.{}.0", number), width, width, 1, when);
  };
  std::vector<std::vector<C>> rows = {at(0, "unet.base", "unet")};
  for (int level = 0; level < kLevels; ++level) {
    const std::string block = DownBlock(level), width = block + ".width";
    for (int i = 0; i < kDownLayers; ++i) rows.push_back(at(kUpLayers * level + 1 + i, width, block));
    if (level + 1 < kLevels) rows.push_back(at(kUpLayers * (level + 1), width, DownBlock(level + 1)));
  }
  return Join<C>(rows);
}

// The picture that controls, brought to the latents' size: convolutions with activations between them.
std::vector<C> Hint() {
  constexpr const char* kChannels[] = {"control.hint", "16", "16", "32", "32", "96", "96", "256", "unet.base"};
  std::vector<std::vector<C>> rows;
  for (size_t i = 0; i + 1 < std::size(kChannels); ++i)
    rows.push_back(Conv(fmt::format("input_hint_block.{}", 2 * i), kChannels[i + 1], kChannels[i], 3, "unet"));
  return Join<C>(rows);
}

// A ControlNet: a copy of the UNet's way down, and what it reads and gives.
std::vector<C> Control() {
  const std::string width = fmt::format("{}.width", kMiddle);
  std::vector<C> control = ForTower(
      "unet", Join<C>({Down(), ZeroConvs(), Hint(), Middle(), Conv("middle_block_out.0", width, width, 1, "unet")}));
  for (C& row : control) {
    row.name.insert(0, kControlNames);
    row.when = Both("control", row.when);
  }
  return control;
}

std::vector<C> VaeBlock(const std::string& name, const std::string& out, const std::string& in, const std::string& when,
                        const std::string& shortcut) {
  return Join<C>({Norm(name + ".norm1", in, when), Conv(name + ".conv1", out, in, 3, when),
                  Norm(name + ".norm2", out, when), Conv(name + ".conv2", out, out, 3, when),
                  shortcut.empty() ? std::vector<C>() : Conv(name + ".nin_shortcut", out, in, 1, shortcut)});
}

std::vector<C> VaeMiddle(const std::string& name) {
  const std::string width = "vae.top", when = "vae";
  return Join<C>({VaeBlock(name + ".block_1", width, width, when, ""), Norm(name + ".attn_1.norm", width, when),
                  Conv(name + ".attn_1.q", width, width, 1, when), Conv(name + ".attn_1.k", width, width, 1, when),
                  Conv(name + ".attn_1.v", width, width, 1, when),
                  Conv(name + ".attn_1.proj_out", width, width, 1, when),
                  VaeBlock(name + ".block_2", width, width, when, "")});
}

// `layers` of a level; the first one's input is that of the level before it.
std::vector<C> VaeLevel(std::string_view module, int level, int layers, const char* from, const char* shortcut) {
  const std::string when = VaeLevelName(level), width = when + ".width";
  std::vector<std::vector<C>> rows;
  for (int i = 0; i < layers; ++i) {
    const bool is_first = i == 0;
    rows.push_back(VaeBlock(fmt::format("{}.{}.block.{}", module, level, i), width,
                            is_first ? fmt::format("{}.{}", when, from) : width, when,
                            is_first ? fmt::format("{}.{}", when, shortcut) : ""));
  }
  return Join<C>(rows);
}

std::vector<C> Vae() {
  std::vector<std::vector<C>> rows = {Conv("encoder.conv_in", "vae.base", "vae.in", 3, "vae")};
  for (int level = 0; level < kLevels; ++level) {
    const std::string width = VaeLevelName(level) + ".width", next = VaeLevelName(level + 1);
    rows.push_back(VaeLevel("encoder.down", level, kDownLayers, "below", "widens"));
    if (level + 1 < kLevels)
      rows.push_back(Conv(fmt::format("encoder.down.{}.downsample.conv", level), width, width, 3, next));
  }
  rows.push_back(VaeMiddle("encoder.mid"));
  rows.push_back(Norm("encoder.norm_out", "vae.top", "vae"));
  rows.push_back(Conv("encoder.conv_out", "2*vae.latent", "vae.top", 3, "vae"));
  rows.push_back(Conv("decoder.conv_in", "vae.top", "vae.latent", 3, "vae"));
  rows.push_back(VaeMiddle("decoder.mid"));
  for (int level = 0; level < kLevels; ++level) {
    const std::string own = VaeLevelName(level), width = own + ".width";
    rows.push_back(VaeLevel("decoder.up", level, kUpLayers, "above", "narrows"));
    if (level > 0) rows.push_back(Conv(fmt::format("decoder.up.{}.upsample.conv", level), width, width, 3, own));
  }
  rows.push_back(Norm("decoder.norm_out", VaeLevelName(0) + ".width", "vae"));
  rows.push_back(Conv("decoder.conv_out", "vae.out", VaeLevelName(0) + ".width", 3, "vae"));
  rows.push_back(Conv("quant_conv", "2*vae.embed", "2*vae.latent", 1, "vae"));
  rows.push_back(Conv("post_quant_conv", "vae.latent", "vae.embed", 1, "vae"));
  std::vector<C> vae = Join<C>(rows);
  for (C& row : vae) row.name.insert(0, kVaeNames);
  return vae;
}

// ---- the text encoder: a CLIP's, of transformers, of OpenCLIP, or NeMo's own ----

// Those whose names are new.
template <typename Named>
void AddNew(std::vector<Named>* all, const std::vector<Named>& more) {
  for (const Named& one : more) {
    if (std::ranges::find(*all, one.name, &Named::name) == all->end()) all->push_back(one);
  }
}

Mounted MountText() {
  struct Kind {
    const char *dialect, *names, *below, *flag;
  };
  constexpr Kind kKinds[] = {{"hf", "transformer.", "text_model.", "text.transformers"},
                             {"openclip", "model.", "", "text.openclip"},
                             {"legacy", "model.", "text_encoder.", "text.megatron"}};
  Mounted all;
  for (const Kind& kind : kKinds) {
    Mounted mounted = Mount(ClipFamily(), kind.dialect, {.tower = "text", .below = kind.below});
    std::erase_if(mounted.rows, [](const R& row) { return row.stage == Stage::kTiedCopy; });
    for (R& row : mounted.rows) {
      const size_t taken = std::string_view(kind.dialect) == "legacy" ? std::string_view(kind.below).size() : 0;
      row.name = fmt::format("{}{}{}", kTextNames, kind.names, std::string_view(row.name).substr(taken));
      row.only = kind.flag;
      row.split = Split::kReplicated;
      row.stage = Stage::kEvery;
    }
    AddNew(&all.symbols, mounted.symbols);
    AddNew(&all.canonical, mounted.canonical);
    all.rows.insert(all.rows.end(), mounted.rows.begin(), mounted.rows.end());
  }
  // Of contrastive training; a text encoder alone is told by its last norm.
  const auto projection = std::ranges::find(all.canonical, "text.projection.weight", &C::name);
  projection->made = 0;
  projection->why = "the projection of a text, with which nothing is computed";
  projection->is_idle = true;
  all.canonical.push_back({.name = "text.logit_scale",
                           .when = "text.openclip",
                           .made = 4.6052,
                           .why = "the scale of logits, with which nothing is computed",
                           .is_idle = true});
  const std::string open = fmt::format("{}model.", kTextNames);
  all.rows.push_back({.name = open + "logit_scale", .canonical = "text.logit_scale"});
  all.rows.push_back({.name = open + "attn_mask", .role = Role::kDrop, .why = "the mask follows from the positions"});
  return all;
}

const Mounted& TextEncoder() {
  static const Mounted text = MountText();
  return text;
}

std::vector<S> Declared() {
  std::vector<S> symbols = LayerSymbols("text", {});
  const auto add = [&](const std::vector<S>& more) { AddNew(&symbols, more); };
  add(TextEncoder().symbols);
  add({S::Flag("text.transformers", "the text encoder is transformers'"),
       S::Flag("text.openclip", "the text encoder is OpenCLIP's"),
       S::Flag("text.megatron", "the text encoder is NeMo's, legacy Megatron"),
       S::Flag("schedule", "the noise schedule is stored"),
       S::Size("timesteps", "of the noise schedule"),
       S::Flag("scale_by_std", "the latents' scale is stored"),
       S::Flag("learn_logvar", "log variances are learned"),
       S::Flag("unet", "the UNet is stored"),
       S::Size("unet.base", "channels of the first layer"),
       S::Size("unet.in", "channels of its input"),
       S::Size("unet.out", "channels of its output"),
       S::Size("unet.context", "of the text encoder's vectors"),
       S::Size("unet.layers", "of each transformer"),
       S::Flag("unet.linear", "projections around a transformer are linear"),
       S::Flag("control", "a ControlNet is stored"),
       S::Size("control.hint", "channels of the picture that controls"),
       S::Flag("vae", "the VAE is stored"),
       S::Size("vae.base", "channels of the first layer"),
       S::Size("vae.in", "channels of a picture"),
       S::Size("vae.out", "channels of a decoded picture"),
       S::Size("vae.latent", "channels of what it encodes to"),
       S::Size("vae.embed", "channels of the latents"),
       S::Size("vae.top", "channels of the last level")});
  for (const UnetBlock& block : UnetBlocks()) {
    add({S::Flag(block.name, "the block is there"), S::Flag(block.name + ".attn", "its layers have attention"),
         S::Size(block.name + ".width", "channels of its layers")});
    for (int i = 0; i < block.layers; ++i)
      add({S::Size(fmt::format("{}.{}.in", block.name, i), "channels of the layer's input"),
           S::Flag(fmt::format("{}.{}.skip", block.name, i), "its input has other channels than its output")});
  }
  for (int level = 0; level < kLevels; ++level) {
    const std::string name = VaeLevelName(level);
    add({S::Flag(name, "the level is there"), S::Size(name + ".width", "channels of its layers"),
         S::Size(name + ".below", "channels of the level before it"),
         S::Flag(name + ".widens", "its input has other channels than its output"),
         S::Size(name + ".above", "channels of the level behind it"),
         S::Flag(name + ".narrows", "its input has other channels than its output")});
  }
  return symbols;
}

// All but the text encoder and a ControlNet.
const std::vector<C>& Canonical() {
  static const std::vector<C> rows = [] {
    std::vector<C> schedule;
    for (const std::string_view name : kScheduleNames)
      schedule.push_back({.name = std::string(name), .shape = "timesteps", .when = "schedule", .is_idle = true});
    return Join<C>({schedule,
                    {{"scale_factor", "", "scale_by_std", ""}, {"logvar", "timesteps", "learn_logvar", ""}},
                    Unet(),
                    Vae()});
  }();
  return rows;
}

// ---- dialects ----

struct Respelling {
  std::string_view ldm, nemo;
};
// NeMo's group norms have their SiLU inside, and its layer norms are modules of what they stand before.
constexpr Respelling kNemo[] = {
    {"in_layers.2.", "in_layers.1."},     {"out_layers.3.", "out_layers.2."}, {"_model.out.2.", "_model.out.1."},
    {"{i}.norm1.", "{i}.attn1.norm."},    {"{i}.norm2.", "{i}.attn2.norm."},  {"{i}.norm3.", "{i}.ff.net.0."},
    {"ff.net.0.proj.", "ff.net.1.proj."}, {"ff.net.2.", "ff.net.3."},
};
constexpr Respelling kNemo123[] = {
    {"in_layers.2.", "in_layers.1."},         {"out_layers.3.", "out_layers.2."},
    {"_model.out.2.", "_model.out.1."},       {"{i}.norm1.", "{i}.attn1.norm_to_q.0."},
    {"{i}.norm2.", "{i}.attn2.norm_to_q.0."}, {"attn1.to_q.", "attn1.norm_to_q.1."},
    {"attn2.to_q.", "attn2.norm_to_q.1."},    {"{i}.norm3.", "{i}.ff.net.0."},
    {"ff.net.0.proj.", "ff.net.1.proj."},     {"ff.net.2.", "ff.net.3."},
};

// Of a canonical row, whose name is LDM's.
R Spelled(const C& row, std::span<const Respelling> respellings) {
  R stored{.name = row.name, .canonical = row.name, .tower = row.tower};
  constexpr std::string_view kConv = ".conv";
  const bool is_projection = row.name.find(".proj_") != std::string::npos && !row.name.starts_with(kVaeNames);
  if (is_projection && row.name.ends_with(kConv)) {
    stored.name.replace(row.name.size() - kConv.size(), kConv.size(), ".weight");
    stored.only = "!unet.linear";
  } else if (is_projection && row.name.ends_with(".weight") && row.tower == "unet" &&
             row.name.find("{i}") == std::string::npos) {
    stored.only = "unet.linear";
  }
  for (const Respelling& r : respellings) {
    if (const size_t at = stored.name.find(r.ldm); at != std::string::npos) {
      stored.name.replace(at, r.ldm.size(), r.nemo);
      break;
    }
  }
  return stored;
}

std::vector<R> Rows(std::span<const Respelling> respellings) {
  const auto spelled = [&](const std::vector<C>& canonical) {
    std::vector<R> rows;
    rows.reserve(canonical.size());
    for (const C& row : canonical) rows.push_back(Spelled(row, respellings));
    return rows;
  };
  return Join<R>({spelled(Canonical()),
                  TextEncoder().rows,
                  spelled(Control()),
                  {{.name = "model_ema.{*}", .role = Role::kDrop, .why = "averages of the weights, beside them"},
                   {.name = std::string(kVaeNames) + "loss.{*}", .role = Role::kDrop, .why = "the VAE's loss"}}});
}

Dialect Nemo(std::string name, std::string title, std::span<const Respelling> respellings) {
  return {.name = std::move(name),
          .title = std::move(title),
          .prefixes = {"model.", "model.module.", "module."},
          .rows = Rows(respellings),
          .is_megatron = true};
}

Dialect Nemo123() {
  Dialect dialect = Nemo("nemo-1.23", "NeMo 1.23 and older", kNemo123);
  dialect.is_read_only = true;
  return dialect;
}

// The same modules under the names of a pipeline [dreambooth.py; ddpm.py: load_from_checkpoint renames them so].
Dialect DreamBooth() {
  Dialect dialect = Nemo(std::string(kDreamBoothDialect), "NeMo's DreamBooth", kNemo);
  dialect.is_read_only = true;
  dialect.never = "scale_by_std, learn_logvar, control";
  constexpr std::pair<std::string_view, std::string_view> kParts[] = {
      {kUnetNames, "unet."}, {kVaeNames, "vae."}, {kTextNames, kPipelineText}};
  for (R& row : dialect.rows) {
    for (const auto& [ours, theirs] : kParts) {
      if (row.name.starts_with(ours)) row.name.replace(0, ours.size(), theirs);
    }
    if (std::ranges::find(kScheduleNames, row.canonical) != std::end(kScheduleNames))
      row.name.insert(0, "noise_scheduler.");
  }
  return dialect;
}

Dialect Ldm() {
  Dialect dialect = {
      .name = "ldm", .title = "CompVis, a single file", .prefixes = {""}, .rows = Rows({}), .never = "learn_logvar"};
  for (R& row : dialect.rows) {
    if (row.name == "logvar")
      row = {.name = "logvar", .role = Role::kDropZeros, .why = "log variances that are learned are NeMo's alone"};
  }
  return dialect;
}

// By the sizes of the UNet; those of one line of models differ in weights alone.
std::string_view PublishedAs(const ModelSymbols& symbols) {
  struct Published {
    std::string_view name;
    uint64_t context, linear, in, control = 0;
  };
  constexpr Published kPublished[] = {{"Stable Diffusion 1.x", 768, 0, 4},
                                      {"Stable Diffusion 1.x with a ControlNet", 768, 0, 4, 1},
                                      {"InstructPix2Pix", 768, 0, 8},
                                      {"Stable Diffusion 1.x, inpainting", 768, 0, 9},
                                      {"Stable Diffusion 2.x", 1024, 1, 4},
                                      {"Stable Diffusion 2.x with a ControlNet", 1024, 1, 4, 1},
                                      {"Stable Diffusion 2.x, depth to image", 1024, 1, 5},
                                      {"Stable Diffusion 2.x, inpainting", 1024, 1, 9}};
  const auto is = [&](const char* symbol, uint64_t value) {
    const Result<uint64_t> found = symbols.Get(symbol);
    return found.ok() && *found == value;
  };
  const auto* found = std::ranges::find_if(kPublished, [&](const Published& p) {
    return is("unet.base", 320) && is("unet.context", p.context) && is("unet.linear", p.linear) &&
           is("unet.in", p.in) && is("control", p.control);
  });
  return found == std::end(kPublished) ? std::string_view() : found->name;
}

std::vector<R> PipelineTextRows() {
  std::vector<R> rows = Mount(ClipFamily(), "hf", {.tower = "text", .below = "text_model."}).rows;
  std::vector<R> bare;
  for (R& row : rows) {
    // As version 5 of transformers stores it.
    R& also = bare.emplace_back(row);
    also.name = std::string(kPipelineText) + also.name.substr(std::string_view("text_model.").size());
    if (also.role == Role::kTensor) also.when = kReadOnly;
    row.name.insert(0, kPipelineText);
  }
  return Join<R>({rows, bare});
}

Dialect Diffusers() {
  return {
      .name = std::string(kPipelineDialect),
      .title = "diffusers, a folder",
      .prefixes = {""},
      .rows = Join<R>(
          {DiffusersRows(Canonical()),
           PipelineTextRows(),
           {{.name = "safety_checker.{*}",
             .role = Role::kDrop,
             .why = "the safety checker, which looks at pictures once they are made"},
            {.name = "image_encoder.{*}", .role = Role::kDrop, .why = "the image encoder, which is an IP-Adapter's"}}}),
      .never = "schedule, scale_by_std, learn_logvar, control"};
}

}  // namespace

const Family& StableDiffusionFamily() {
  static const Family family = {
      .name = "stable_diffusion",
      .title = "Stable Diffusion",
      .symbols = Declared(),
      .canonical = Join<C>({Canonical(), TextEncoder().canonical, Control()}),
      .dialects = {Nemo("nemo", "NeMo", kNemo), Nemo123(), DreamBooth(), Ldm(), Diffusers()},
      .refusals = {{"conditioner.embedders.", "a Stable Diffusion XL"},
                   {".label_emb.", "a Stable Diffusion XL"},
                   {".norm_to_q.layer_norm_weight", "a UNet in fp8 (use_te_fp8)"},
                   {".adapter_layer.", "a LoRA"},
                   {"unet.add_embedding.", "a Stable Diffusion XL"},
                   {"unet.class_embedding.", "a Stable Diffusion that is told a class, or another noise"}},
      .pipeline_warning = "NeMo's Stable Diffusion is not divided: every rank holds all of it",
      .read_symbols = ReadDiffusionSymbols,
      .target = DiffusionTarget,
      .complete = CompleteDiffusion,
      .published_as = PublishedAs,
      // A ControlNet is none: most models have none of it.
      .parts = {{"UNet", std::string(kUnetNames)}, {"VAE", std::string(kVaeNames)}, {"text encoder", "text."}}};
  return family;
}

}  // namespace anemone
