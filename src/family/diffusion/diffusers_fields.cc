// Facts: diffusers v0.42.1 models/unets/unet_2d_condition.py, models/autoencoders/autoencoder_kl.py,
// schedulers/scheduling_*.py (those of KarrasDiffusionSchedulers),
// pipelines/stable_diffusion/pipeline_stable_diffusion.py.
#include "family/diffusion/diffusers_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "config/nodes.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

using enum DiffusersUse;

constexpr std::string_view kXl = "a Stable Diffusion XL, or another UNet that is told more than a text";
constexpr std::string_view kOther = "another UNet", kOtherVae = "another VAE", kTraining = "only used in training";
constexpr std::string_view kWithin = "nothing without the field that asks for it", kBook = "diffusers' own bookkeeping",
                           kDefaults = "values of the class in place of the file's";

constexpr DiffusersField kPipeline[] = {
    {"_class_name", kNoEffect, "the components' own files say what the model is", "StableDiffusionPipeline"},
    {"_diffusers_version", kNoEffect, kBook, "0.42.1"},
    {"_name_or_path", kNoEffect, kBook},
    {"requires_safety_checker", kNoEffect, "a warning when the checker is missing", "false"},
    {"scheduler", kSampler, "the sampler, by its class", "[diffusers, DDIMScheduler]"},
    {"text_encoder", kOnly, "another text encoder", "[transformers, CLIPTextModel]"},
    {"tokenizer", kNoEffect, "its files are carried", "[transformers, CLIPTokenizer]"},
    {"unet", kOnly, kOther, "[diffusers, UNet2DConditionModel]"},
    {"vae", kOnly, kOtherVae, "[diffusers, AutoencoderKL]"},
    {"feature_extractor", kNoEffect, "prepares pictures for the safety checker", "[null, null]"},
    {"safety_checker", kNoEffect, "looks at pictures once they are made", "[null, null]"},
    {"image_encoder", kNoEffect, "encodes pictures for IP-Adapters, which are no part of the model"},
};

constexpr DiffusersField kUnet[] = {
    {"_class_name", kOnly, kOther, "UNet2DConditionModel"},
    {"_diffusers_version", kNoEffect, kBook, "0.42.1"},
    {"_name_or_path", kNoEffect, kBook},
    {"_use_default_values", kOnly, kDefaults, "[]", false, false},
    {"act_fn", kOnly, kOther, "silu"},
    {"addition_embed_type", kOnly, kXl, "null"},
    {"addition_embed_type_num_heads", kNoEffect, kWithin},
    {"addition_time_embed_dim", kOnly, kXl, "null"},
    {"attention_head_dim", kHonored, "the number of heads, whatever its name says: one, or one for each level"},
    {"attention_type", kOnly, kOther, "default"},
    {"block_out_channels", kHonored, "channels of each level"},
    {"center_input_sample", kOnly, kOther, "false"},
    {"class_embed_type", kOnly, kXl, "null"},
    {"class_embeddings_concat", kOnly, kOther, "false"},
    {"conv_in_kernel", kOnly, kOther, "3"},
    {"conv_out_kernel", kOnly, kOther, "3"},
    {"cross_attention_dim", kHonored, "width of the text encoder's vectors"},
    {"cross_attention_norm", kOnly, kOther, "null"},
    {"down_block_types", kHonored, "which levels attend"},
    {"downsample_padding", kOnly, kOther, "1"},
    {"dropout", kNoEffect, kTraining},
    {"dual_cross_attention", kOnly, kOther, "false"},
    {"encoder_hid_dim", kOnly, kOther, "null"},
    {"encoder_hid_dim_type", kOnly, kOther, "null"},
    {"flip_sin_to_cos", kOnly, kOther, "true"},
    {"freq_shift", kOnly, kOther, "0"},
    {"in_channels", kHonored, "channels of the input"},
    {"layers_per_block", kOnly, kOther, "2"},
    {"mid_block_only_cross_attention", kOnly, kOther, "null"},
    {"mid_block_scale_factor", kOnly, kOther, "1"},
    {"mid_block_type", kOnly, kOther, "UNetMidBlock2DCrossAttn"},
    {"norm_eps", kOnly, kOther, "1e-05"},
    {"norm_num_groups", kOnly, kOther, "32"},
    {"num_attention_heads", kOnly, "refused by diffusers, too", "null"},
    {"num_class_embeds", kOnly, kOther, "null"},
    {"only_cross_attention", kOnly, kOther, "false"},
    {"out_channels", kHonored, "channels of the output"},
    {"projection_class_embeddings_input_dim", kOnly, kXl, "null"},
    {"resnet_out_scale_factor", kOnly, kOther, "1.0"},
    {"resnet_skip_time_act", kOnly, kOther, "false"},
    {"resnet_time_scale_shift", kOnly, kOther, "default"},
    {"reverse_transformer_layers_per_block", kOnly, kOther, "null"},
    {"sample_size", kHonored, "side of the latents of a picture, where no size is asked for"},
    {"time_cond_proj_dim", kOnly, "a consistency model (LCM)", "null"},
    {"time_embedding_act_fn", kOnly, kOther, "null"},
    {"time_embedding_dim", kOnly, kOther, "null"},
    {"time_embedding_type", kOnly, kOther, "positional"},
    {"timestep_post_act", kOnly, kOther, "null"},
    {"transformer_layers_per_block", kHonored, "layers of each transformer"},
    {"up_block_types", kHonored, "as down_block_types, from the last level up"},
    {"upcast_attention", kSampler, "attention in fp32 where the UNet runs in half precision"},
    {"use_linear_projection", kHonored, "linear projections around a transformer"},
};

constexpr DiffusersField kVae[] = {
    {"_class_name", kOnly, kOtherVae, "AutoencoderKL"},
    {"_diffusers_version", kNoEffect, kBook, "0.42.1"},
    {"_name_or_path", kNoEffect, kBook},
    {"_use_default_values", kOnly, kDefaults, "[]", false, false},
    {"act_fn", kOnly, kOtherVae, "silu"},
    {"block_out_channels", kHonored, "channels of each level"},
    {"down_block_types", kHonored, "DownEncoderBlock2D for each level"},
    {"force_upcast", kNoEffect, "read by pipelines of Stable Diffusion XL"},
    {"in_channels", kHonored, "channels of a picture"},
    {"latent_channels", kHonored, "channels of the latents"},
    {"latents_mean", kOnly, kOtherVae, "null"},
    {"latents_std", kOnly, kOtherVae, "null"},
    {"layers_per_block", kOnly, kOtherVae, "2", true},
    {"mid_block_add_attention", kOnly, kOtherVae, "true"},
    {"norm_num_groups", kOnly, kOtherVae, "32"},
    {"out_channels", kHonored, "channels of a decoded picture"},
    {"sample_size", kNoEffect, "from which size on tiles are made, if they are asked for"},
    {"scaling_factor", kHonored, "scale of the latents"},
    {"shift_factor", kOnly, kOtherVae, "null"},
    {"up_block_types", kHonored, "UpDecoderBlock2D for each level"},
    {"use_post_quant_conv", kOnly, kOtherVae, "true"},
    {"use_quant_conv", kOnly, kOtherVae, "true"},
};

constexpr std::string_view kSampling = "how pictures are sampled";

constexpr DiffusersField kScheduler[] = {
    {"_class_name", kSampler, "the sampler", "DDIMScheduler"},
    {"_diffusers_version", kNoEffect, kBook, "0.42.1"},
    {"_name_or_path", kNoEffect, kBook},
    {"_use_default_values", kOnly, kDefaults, "[]", false, false},
    {"algorithm_type", kSampler, kSampling},
    {"beta_end", kHonored, "the last beta"},
    {"beta_schedule", kOnly, "another noise schedule", "scaled_linear", true},
    {"beta_start", kHonored, "the first beta"},
    {"clip_sample", kSampler, kSampling, "false"},
    {"clip_sample_range", kSampler, kSampling},
    {"disable_corrector", kSampler, kSampling},
    {"dynamic_thresholding_ratio", kSampler, kSampling},
    {"euler_at_final", kSampler, kSampling},
    {"final_sigmas_type", kSampler, kSampling},
    {"flow_shift", kNoEffect, kWithin},
    {"interpolation_type", kSampler, kSampling},
    {"lambda_min_clipped", kSampler, kSampling},
    {"lower_order_final", kSampler, kSampling},
    {"num_train_timesteps", kHonored, "steps of the noise schedule"},
    {"predict_x0", kSampler, kSampling},
    {"prediction_type", kHonored, "what the UNet predicts: epsilon, v_prediction or sample"},
    {"rescale_betas_zero_snr", kOnly, "another noise schedule", "false"},
    {"rho", kSampler, kSampling},
    {"sample_max_value", kSampler, kSampling},
    {"set_alpha_to_one", kSampler, kSampling, "false"},
    {"shift_terminal", kNoEffect, kWithin},
    {"sigma_data", kSampler, kSampling},
    {"sigma_max", kSampler, kSampling},
    {"sigma_min", kSampler, kSampling},
    {"sigma_schedule", kSampler, kSampling},
    {"skip_prk_steps", kSampler, kSampling},
    {"solver_order", kSampler, kSampling},
    {"solver_p", kSampler, kSampling},
    {"solver_type", kSampler, kSampling},
    {"steps_offset", kSampler, kSampling, "1"},
    {"thresholding", kSampler, kSampling},
    {"time_shift_type", kNoEffect, kWithin},
    {"timestep_spacing", kSampler, kSampling, "leading"},
    {"timestep_type", kSampler, kSampling},
    {"trained_betas", kOnly, "another noise schedule", "null"},
    {"use_beta_sigmas", kSampler, kSampling},
    {"use_dynamic_shifting", kOnly, "a flow model", "false", false, false},
    {"use_exponential_sigmas", kSampler, kSampling},
    {"use_flow_sigmas", kOnly, "a flow model", "false", false, false},
    {"use_karras_sigmas", kSampler, kSampling},
    {"use_lu_lambdas", kSampler, kSampling},
    {"variance_type", kSampler, kSampling},
};

constexpr DiffusersFile kFiles[] = {{"model_index", "model_index.json", kPipeline},
                                    {"unet", "unet/config.json", kUnet},
                                    {"vae", "vae/config.json", kVae},
                                    {"scheduler", "scheduler/scheduler_config.json", kScheduler}};

Status CheckOnly(const DiffusersField& field, const ConfigNode* value) {
  if (value == nullptr && !field.is_required) return {};
  const ConfigNode wanted = ParseWord(field.value);
  // A flag that is off is as good as one that is not set.
  const bool is_off = value != nullptr && (value->is_null() || value->AsBool() == false);
  const bool wants_none = wanted.is_null() || wanted.AsBool() == false;
  if ((is_off && wants_none) ||
      (value != nullptr && (SameConfig(*value, wanted) || SameConfig(OneForAllLevels(*value), wanted))))
    return {};
  return Unsupported(fmt::format("{}: expected {}, found {}: {}", field.key, InOneLine(wanted),
                                 value == nullptr ? "none" : InOneLine(*value), field.why));
}

Status CheckFile(const DiffusersFile& file, const ConfigNode& config, bool strict, std::vector<std::string>* notes) {
  std::vector<std::string> sampling;
  for (const DiffusersField& field : file.fields) {
    const ConfigNode* value = config.Get(field.key);
    if (field.use == kOnly) ANEMONE_TRY(CheckOnly(field, value));
    const bool says = value != nullptr && !value->is_null() && value->AsBool() != false;
    if (field.use == kSampler && says && file.at != "model_index")
      sampling.push_back(fmt::format("{}: {}", field.key, InOneLine(*value)));
  }
  if (notes != nullptr && !sampling.empty())
    notes->push_back(fmt::format("{}: the result has no place for {}", file.path, fmt::join(sampling, ", ")));
  for (const auto& [key, value] : config.map) {
    const bool is_known = std::ranges::find(file.fields, key, &DiffusersField::key) != file.fields.end();
    if (is_known || value.is_null()) continue;
    if (strict)
      return Unsupported(fmt::format("{}: expected a field that is known to say nothing else of the model, found {}",
                                     key, InOneLine(value)))
          .Use("strict", "false", "go on without it");
    if (notes != nullptr) notes->push_back(fmt::format("{}: {} is not known: left out", file.path, key));
  }
  return {};
}

std::string_view Said(const DiffusersField& field) {
  switch (field.use) {
    case kHonored:
      return "honored";
    case kOnly:
      return "refused";
    case kSampler:
      return "told";
    case kNoEffect:
      return "no effect";
  }
  return {};
}

}  // namespace

std::span<const DiffusersFile> DiffusersFiles() { return kFiles; }

const ConfigNode& OneForAllLevels(const ConfigNode& value) {
  const bool is_one =
      value.is_list() && !value.list.empty() && value.list.front().is_scalar() &&
      std::ranges::all_of(value.list, [&](const ConfigNode& one) { return SameConfig(one, value.list.front()); });
  return is_one ? value.list.front() : value;
}

std::string InOneLine(const ConfigNode& value) { return Config(value).ToJson(-1); }

Status CheckDiffusersFields(const ConfigNode& config, bool strict, std::vector<std::string>* notes) {
  for (const DiffusersFile& file : kFiles) {
    const ConfigNode* own = config.Get(file.at);
    if (own != nullptr && own->is_map()) ANEMONE_TRY(CheckFile(file, *own, strict, notes).In(std::string(file.path)));
  }
  return {};
}

void WriteDiffusersFields(std::string_view at, ConfigNode* config) {
  const auto* file = std::ranges::find(kFiles, at, &DiffusersFile::at);
  for (const DiffusersField& field : file->fields) {
    if (!field.value.empty() && field.is_written) (*config)[field.key] = ParseWord(field.value);
  }
}

std::string DescribeDiffusersFields() {
  std::string text;
  for (const DiffusersFile& file : kFiles) {
    text += fmt::format(
        "\n### {}\n\n| field | what is done | what it changes, or why it changes nothing |\n| --- | --- | --- |\n",
        file.path);
    for (const DiffusersField& field : file.fields) {
      const std::string other = field.use == kOnly ? fmt::format(" unless `{}`", field.value) : "";
      text += fmt::format("| `{}` | {}{} | {} |\n", field.key, Said(field), other, field.why);
    }
  }
  return text + "\n";
}

}  // namespace anemone
