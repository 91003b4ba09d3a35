// Facts: NeMo v2.0.0 examples/multimodal/text_to_image/stable_diffusion/conf/sd_train.yaml, sd2_train.yaml;
// ldm/ddpm.py, encoders/modules.py.
#include "family/diffusion/diffusion_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "config/nodes.h"
#include "family/diffusion/diffusion_symbols.h"
#include "family/diffusion/stored_names.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr std::string_view kTemplate = R"yaml(precision: 32
micro_batch_size: 1
global_batch_size: 1
native_amp_init_scale: 65536.0
linear_start: 0.00085
linear_end: 0.012
num_timesteps_cond: 1
log_every_t: 200
timesteps: 1000
first_stage_key: images
cond_stage_key: captions
image_size: 64
channels: 4
cond_stage_trainable: false
conditioning_key: crossattn
monitor: val/loss_simple_ema
scale_factor: 0.18215
use_ema: false
scale_by_std: false
ckpt_path: null
ignore_keys: []
parameterization: eps
clip_denoised: true
load_only_unet: false
cosine_s: 0.008
given_betas: null
original_elbo_weight: 0
v_posterior: 0
l_simple_weight: 1
use_positional_encodings: false
learn_logvar: false
logvar_init: 0
beta_schedule: linear
loss_type: l2
concat_mode: true
cond_stage_forward: null
text_embedding_dropout_rate: 0.1
fused_opt: true
inductor: false
inductor_cudagraphs: false
capture_cudagraph_iters: -1
channels_last: true
unet_config:
  _target_: nemo.collections.multimodal.modules.stable_diffusion.diffusionmodules.openaimodel.UNetModel
  from_pretrained: null
  from_NeMo: true
  image_size: 32
  in_channels: 4
  out_channels: 4
  model_channels: 320
  attention_resolutions: []
  num_res_blocks: 2
  channel_mult: []
  use_spatial_transformer: true
  use_linear_in_transformer: false
  transformer_depth: 1
  context_dim: 768
  use_checkpoint: false
  legacy: false
  use_flash_attention: false
  unet_precision: fp32
  resblock_gn_groups: 32
  use_te_fp8: false
first_stage_config:
  _target_: nemo.collections.multimodal.models.text_to_image.stable_diffusion.ldm.autoencoder.AutoencoderKL
  from_pretrained: null
  embed_dim: 4
  monitor: val/rec_loss
  ddconfig:
    double_z: true
    z_channels: 4
    resolution: 256
    in_channels: 3
    out_ch: 3
    ch: 128
    ch_mult: []
    num_res_blocks: 2
    attn_resolutions: []
    dropout: 0.0
  lossconfig:
    target: torch.nn.Identity
cond_stage_config: {}
seed: 1234
resume_from_checkpoint: null
apex_transformer_log_level: 30
gradient_as_bucket_view: true
ddp_overlap: true
optim:
  name: fused_adam
  lr: null
  weight_decay: 0.0
  betas:
  - 0.9
  - 0.999
  sched:
    name: WarmupHoldPolicy
    warmup_steps: 10000
    hold_steps: 10000000000000
data:
  num_workers: 16
  synthetic_data: false
  synthetic_data_length: 10000
  train:
    dataset_path: []
    augmentations:
      resize_smallest_side: 512
      center_crop_h_w: 512, 512
      horizontal_flip: false
    filterings: null
  webdataset:
    infinite_sampler: false
    local_root_path: null
target: nemo.collections.multimodal.models.text_to_image.stable_diffusion.ldm.ddpm.MegatronLatentDiffusion
nemo_version: 2.0.0
)yaml";

// Values that readers of single files take, whatever NeMo's config says, and those that NeMo takes where it is silent.
constexpr FixedWord kTaken[] = {{"parameterization", "eps", "eps"},
                                {"conditioning_key", "crossattn", "null"},
                                {"scale_factor", "0.18215", "1.0"},
                                {"beta_schedule", "linear", "linear"},
                                {"linear_start", "0.00085", "0.0001"},
                                {"linear_end", "0.012", "0.02"},
                                {"timesteps", "1000", "1000"},
                                {"only_mid_control", "false", "false"},
                                {"unet_config.resblock_gn_groups", "32", "32"},
                                {"unet_config.disable_self_attentions", "null", "null"},
                                {"unet_config.disable_middle_self_attn", "false", "false"},
                                {"cond_stage_config.max_length", "77", "77"}};
// The same of Stable Diffusion 1.x, and of 2.x, whose projections are linear.
constexpr FixedWord kTakenOf1[] = {{"unet_config.num_heads", "8", "-1"},
                                   {"unet_config.num_head_channels", "-1", "-1"},
                                   {"cond_stage_config.layer", "last", "last"}};
constexpr FixedWord kTakenOf2[] = {{"unet_config.num_head_channels", "64", "-1"},
                                   {"cond_stage_config.layer", "penultimate", "last"}};

// Of transformers' text encoder, and of OpenCLIP's.
constexpr std::pair<std::string_view, std::string_view> kTextConfigs[] = {
    {"text.transformers",
     R"({_target_: nemo.collections.multimodal.modules.stable_diffusion.encoders.modules.FrozenCLIPEmbedder,
 version: openai/clip-vit-large-patch14, device: cuda, max_length: 77})"},
    {"text.openclip",
     R"({_target_: nemo.collections.multimodal.modules.stable_diffusion.encoders.modules.FrozenOpenCLIPEmbedder,
 arch: ViT-H-14, version: laion2b_s32b_b79k, device: cuda, max_length: 77, freeze: true, layer: penultimate})"}};

// Channels of each level as multiples of those of the first layer, while `width` of a level is not 0.
template <typename Width>
Result<ConfigNode> Multiples(std::string_view what, uint64_t base, const Width& width) {
  ConfigNode multiples = ConfigNode::List();
  for (int level = 0; level < kLevels && width(level) > 0; ++level) {
    if (base == 0 || width(level) % base != 0)
      return Corrupt(fmt::format("{}: expected levels as wide as a multiple of the first layer, found {} of {}", what,
                                 width(level), base));
    multiples.list.push_back(SizeNode(width(level) / base));
  }
  return multiples;
}

Status SetUnetOfTensors(const StoredNames& parts, ConfigNode* unet) {
  const auto size = [&](std::string_view name, size_t axis) { return parts.Size(kUnetNames, name, axis); };
  const auto in_level = [](int level, std::string_view name) {
    return fmt::format("input_blocks.{}.{}", kUpLayers * level + 1, name);
  };
  const uint64_t base = size("time_embed.0.weight", 1);
  (*unet)["model_channels"] = SizeNode(base);
  (*unet)["in_channels"] = SizeNode(size("input_blocks.0.0.weight", 1));
  (*unet)["out_channels"] = SizeNode(size("out.2.weight", 0));
  ANEMONE_ASSIGN((*unet)["channel_mult"], Multiples(kUnetNames, base, [&](int level) {
                   return size(in_level(level, "0.out_layers.0.weight"), 0);
                 }));
  ConfigNode resolutions = ConfigNode::List();
  for (int level = kLevels - 1; level >= 0; --level) {
    if (size(in_level(level, "1.norm.weight"), 0) > 0) resolutions.list.push_back(ConfigNode::Int(int64_t{1} << level));
  }
  (*unet)["attention_resolutions"] = std::move(resolutions);
  (*unet)["transformer_depth"] =
      SizeNode(parts.Count(kUnetNames, "middle_block.1.transformer_blocks.{}.attn2.to_k.weight"));
  (*unet)["context_dim"] = SizeNode(size("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1));
  const bool is_linear = parts.Rank(kUnetNames, "middle_block.1.proj_in.weight") == 2;
  (*unet)["use_linear_in_transformer"] = ConfigNode::Bool(is_linear);
  (*unet)[is_linear ? "num_head_channels" : "num_heads"] = ConfigNode::Int(is_linear ? 64 : 8);
  return {};
}

// As NeMo's example of a ControlNet has it, but for `params`, which NeMo 2.0.0 hands on as one argument.
void SetControlOfTensors(const StoredNames& parts, ConfigNode* model) {
  const std::string names = "nemo.collections.multimodal.models.text_to_image.controlnet.controlnet.";
  ConfigNode& unet = *model->Get("unet_config");
  unet["_target_"] = ConfigNode::String(names + "ControlledUnetModel");
  ConfigNode control = ConfigNode::Map();
  control["_target_"] = ConfigNode::String(names + "ControlNet");
  control["from_pretrained_unet"] = ConfigNode::Null();
  control["hint_channels"] = SizeNode(parts.Size(kControlNames, "input_hint_block.0.weight", 1));
  for (const char* key :
       {"image_size", "in_channels", "model_channels", "attention_resolutions", "num_res_blocks", "channel_mult",
        "num_heads", "num_head_channels", "use_spatial_transformer", "use_linear_in_transformer", "transformer_depth",
        "context_dim", "use_checkpoint", "legacy", "use_flash_attention"}) {
    if (const ConfigNode* value = unet.Get(key)) control[key] = *value;
  }
  (*model)["control_key"] = ConfigNode::String("hint");
  (*model)["only_mid_control"] = ConfigNode::Bool(false);
  (*model)["sd_locked"] = ConfigNode::Bool(true);
  (*model)["control_stage_config"] = std::move(control);
  (*model)["target"] = ConfigNode::String(names + "MegatronControlNet");
}

Status SetVaeOfTensors(const StoredNames& parts, ConfigNode* vae) {
  const auto size = [&](std::string_view name, size_t axis) { return parts.Size(kVaeNames, name, axis); };
  ConfigNode& sizes = (*vae)["ddconfig"];
  const uint64_t base = size("encoder.conv_in.weight", 0);
  (*vae)["embed_dim"] = SizeNode(size("post_quant_conv.weight", 1));
  sizes["z_channels"] = SizeNode(size("post_quant_conv.weight", 0));
  sizes["in_channels"] = SizeNode(size("encoder.conv_in.weight", 1));
  sizes["out_ch"] = SizeNode(size("decoder.conv_out.weight", 0));
  sizes["ch"] = SizeNode(base);
  ANEMONE_ASSIGN(sizes["ch_mult"], Multiples(kVaeNames, base, [&](int level) {
                   return size(fmt::format("encoder.down.{}.block.0.norm2.weight", level), 0);
                 }));
  return {};
}

}  // namespace

ConfigNode PublishedConfig() {
  return Config::ParseYaml(kTemplate, "NeMo's configuration of Stable Diffusion")->root();
}

ConfigNode TextEncoderConfig(std::string_view flag) {
  const auto* found = std::ranges::find(kTextConfigs, flag, [](const auto& pair) { return pair.first; });
  return found == std::end(kTextConfigs) ? ConfigNode::Map() : ParseWord(found->second);
}

Result<ConfigNode> ConfigOfTensors(const Checkpoint& ldm) {
  const StoredNames parts(ldm);
  ConfigNode model = PublishedConfig();
  if (parts.Has(kUnetNames)) ANEMONE_TRY(SetUnetOfTensors(parts, model.Get("unet_config")));
  if (parts.Has(kVaeNames)) ANEMONE_TRY(SetVaeOfTensors(parts, model.Get("first_stage_config")));
  if (parts.Has(kControlNames)) {
    if (!parts.Has(kUnetNames))
      return Unsupported(fmt::format("{}: expected a ControlNet beside the Stable Diffusion that it controls, found it "
                                     "alone",
                                     kControlNames),
                         std::string(kWeightsAlone));
    SetControlOfTensors(parts, &model);
  }
  const TextKind* kind = TextKindOf(parts);
  if (kind != nullptr) model["cond_stage_config"] = TextEncoderConfig(kind->flag);
  model["scale_by_std"] = ConfigNode::Bool(parts.has_scale());
  return model;
}

Status CheckPublished(const ConfigNode& model, std::vector<std::string>* notes) {
  const ConfigNode& unet = WordAt(model, "unet_config");
  const bool is_second = unet.Get("num_head_channels") != nullptr;
  const int64_t context = is_second ? 1024 : 768, found = WordAt(unet, "context_dim").AsInt().value_or(0);
  const int64_t channels = WordAt(unet, "in_channels").AsInt().value_or(0);
  const auto unlike = [](std::string what) {
    return Unsupported(std::move(what)).Use("hparams", "FILE", "give NeMo's YAML");
  };
  if (found != context) {
    return unlike(
        fmt::format("context_dim: expected {}, as Stable Diffusion {} has it, found {}: no tensor says how "
                    "many heads it has",
                    context, is_second ? "2" : "1", found));
  }
  if (channels != 4) {
    return unlike(fmt::format("in_channels: expected 4, as MegatronLatentDiffusion has, found {}", channels));
  }
  notes->push_back(fmt::format("no tensor says it: {} is written, and parameterization: eps{}",
                               is_second ? "num_head_channels: 64" : "num_heads: 8",
                               is_second ? " (768-v and its like predict v: set it)" : ""));
  return {};
}

std::string WhatReadersMustBeTold(const ConfigNode& model) {
  std::vector<std::string> told;
  const auto compare = [&](std::span<const FixedWord> words) {
    for (const FixedWord& word : words) {
      const ConfigNode& said = WordAt(model, word.key);
      const ConfigNode value = said.is_null() ? ParseWord(word.silent) : said;
      if (!SameConfig(value, ParseWord(word.value))) told.push_back(fmt::format("{}: {}", word.key, Shown(value)));
    }
  };
  compare(kTaken);
  if (WordAt(model, "unet_config.use_linear_in_transformer").AsBool().value_or(false)) {
    compare(kTakenOf2);
  } else {
    compare(kTakenOf1);
  }
  if (told.empty()) return {};
  return fmt::format("a single file has no config: whoever loads it must be told {}", fmt::join(told, ", "));
}

ConfigNode OfDreamBooth(ConfigNode model) {
  // The noise schedule has a node of its own, and two keys are not there [ddpm.py: load_from_checkpoint adds them].
  const ConfigNode schedule = WordAt(model, "noise_scheduler");
  for (const auto& [key, value] : schedule.map) {
    if (key != "_target_") model[key] = value;
  }
  model.Erase("noise_scheduler");
  const ConfigNode published = PublishedConfig();
  for (const char* key : {"channels_last", "capture_cudagraph_iters"}) {
    if (model.Get(key) == nullptr) model[key] = WordAt(published, key);
  }
  model["target"] = WordAt(published, "target");
  return model;
}

void ForgetPretrained(ConfigNode* model) {
  const auto forget = [](ConfigNode* node, const char* key) {
    if (node != nullptr && node->Get(key) != nullptr) (*node)[key] = ConfigNode::Null();
  };
  for (const char* part : {"unet_config", "first_stage_config"}) forget(model->Get(part), "from_pretrained");
  ConfigNode* control = model->Get("control_stage_config");
  forget(control, "from_pretrained_unet");
  if (control != nullptr) forget(control->Get("params"), "from_pretrained_unet");
}

}  // namespace anemone
