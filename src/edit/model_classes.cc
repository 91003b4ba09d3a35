// The model classes of NeMo v2.0.0 [NeMo nemo/collections/multimodal/models, nemo/collections/vision/models; model
// types: examples/multimodal/convert_ckpt_to_nemo.py, examples/vision/convert_ckpt_to_nemo.py,
// examples/nlp/language_modeling/megatron_ckpt_to_nemo.py].
#include <algorithm>

#include "anemone/model.h"

namespace anemone {
namespace {

#define ANEMONE_MULTIMODAL "nemo.collections.multimodal.models."
#define ANEMONE_LANGUAGE "nemo.collections.nlp.models.language_modeling."

constexpr ModelClass kClasses[] = {
    {"MegatronCLIPModel",
     ANEMONE_MULTIMODAL "vision_language_foundation.clip.megatron_clip_models.MegatronCLIPModel",
     "CLIP, and SigLIP as NeMo builds it",
     {"megatron_clip"},
     {"clip", "siglip"}},
    {"MegatronContentFilteringModel",
     ANEMONE_MULTIMODAL "vision_language_foundation.megatron_nsfw_clip_models.MegatronContentFilteringModel",
     "NSFW content filter: a CLIP image encoder and a classifier"},
    // NeMo's script converts DreamBooth trainings as the Stable Diffusion they are afterwards.
    {"MegatronLatentDiffusion",
     ANEMONE_MULTIMODAL "text_to_image.stable_diffusion.ldm.ddpm.MegatronLatentDiffusion",
     "Stable Diffusion",
     {"stable_diffusion", "dreambooth"},
     {"stable_diffusion"}},
    {"MegatronDiffusionEngine",
     ANEMONE_MULTIMODAL "text_to_image.stable_diffusion.diffusion_engine.MegatronDiffusionEngine",
     "Stable Diffusion XL"},
    {"MegatronLatentDiffusionEdit",
     ANEMONE_MULTIMODAL "text_to_image.instruct_pix2pix.ldm.ddpm_edit.MegatronLatentDiffusionEdit",
     "InstructPix2Pix",
     {"instruct_pix2pix"},
     {"stable_diffusion"}},
    {"MegatronControlNet",
     ANEMONE_MULTIMODAL "text_to_image.controlnet.controlnet.MegatronControlNet",
     "ControlNet",
     {"controlnet"},
     {"stable_diffusion"}},
    {"MegatronDreamBooth", ANEMONE_MULTIMODAL "text_to_image.dreambooth.dreambooth.MegatronDreamBooth", "DreamBooth"},
    {"MegatronImagen", ANEMONE_MULTIMODAL "text_to_image.imagen.imagen.MegatronImagen", "Imagen", {"imagen"}},
    {"DreamFusion", ANEMONE_MULTIMODAL "nerf.dreamfusion.DreamFusion", "DreamFusion: text to 3D"},
    {"ModularAudioGPTModel", "nemo.collections.multimodal.speech_llm.models.modular_models.ModularAudioGPTModel",
     "SALM: a GPT with audio input"},
    {"ModularizedAudioT5Model",
     "nemo.collections.multimodal.speech_llm.models.modular_t5_models.ModularizedAudioT5Model",
     "BESTOW: a T5 with audio input"},
    {"MegatronVitClassificationModel",
     "nemo.collections.vision.models.megatron_vit_classification_models.MegatronVitClassificationModel",
     "ViT image classification",
     {"vit_classification"},
     {"vit"}},
    {"MegatronGPTModel", ANEMONE_LANGUAGE "megatron_gpt_model.MegatronGPTModel", "GPT", {"gpt"}, {"gpt"}},
    {"MegatronGPTSFTModel",
     ANEMONE_LANGUAGE "megatron_gpt_sft_model.MegatronGPTSFTModel",
     "GPT, fine-tuned",
     {"sft"},
     {"gpt"}},
    // Its tables are the GPT's where neither the tower nor the projector is stored.
    {"MegatronNevaModel",
     ANEMONE_MULTIMODAL "multimodal_llm.neva.neva_model.MegatronNevaModel",
     "NeVA (LLaVA), Video NeVA and VILA: a language model with image input",
     {},
     {"neva", "gpt"}},
    {"MegatronBertModel", ANEMONE_LANGUAGE "megatron_bert_model.MegatronBertModel", "BERT", {"bert"}, {"bert"}},
    {"MegatronGriffinModel",
     ANEMONE_LANGUAGE "megatron_griffin_model.MegatronGriffinModel",
     "Griffin",
     {},
     {"griffin"}},
    {"MegatronT5Model", ANEMONE_LANGUAGE "megatron_t5_model.MegatronT5Model", "T5", {"t5"}, {"t5"}},
};

}  // namespace

std::span<const ModelClass> ModelClasses() { return kClasses; }

const ModelClass* FindModelClass(std::string_view target) {
  const auto* found =
      std::find_if(std::begin(kClasses), std::end(kClasses), [&](const ModelClass& c) { return c.target == target; });
  return found == std::end(kClasses) ? nullptr : found;
}

const ModelClass* FindModelClassByName(std::string_view name) {
  if (name.empty()) return nullptr;
  const auto* found = std::find_if(std::begin(kClasses), std::end(kClasses), [&](const ModelClass& c) {
    return c.name == name || std::find(c.model_types.begin(), c.model_types.end(), name) != c.model_types.end();
  });
  return found == std::end(kClasses) ? nullptr : found;
}

}  // namespace anemone
