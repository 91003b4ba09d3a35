// CLIP and SigLIP: two towers of pre-norm transformer blocks with a projection each.
//
// Read the tables top to bottom as the model: canonical names and shapes first, then each dialect in the order its own
// writer stores the tensors. docs/families/clip.md says the same in prose.
// Facts: NeMo v2.0.0 convert_clip_hf_to_nemo.py, convert_external_clip_to_nemo.py, convert_siglip_hf_to_nemo.py; names
// and order as in files that NeMo wrote (tests/golden).
#include <algorithm>

#include <fmt/format.h>

#include "family/clip/clip_config.h"
#include "family/clip/clip_fields.h"
#include "family/clip/clip_preprocess.h"
#include "family/clip/clip_processor.h"
#include "family/clip/clip_transforms.h"
#include "family/families.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/kept_config.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

// ---- symbols ----

std::vector<Symbol> Declared(bool siglip) {
  using S = Symbol;
  const auto tower = [siglip](std::string_view name) {
    return Join<S>({
        LayerSymbols(name, {.legacy = !siglip}),
        ForTower(name, std::vector<S>{S::Flag("{T}", "it has this tower"), S::Size("{T}.positions", "of a sequence")}),
        siglip ? std::vector<S>()
               : ForTower(name, std::vector<S>{S::Flag("{T}.learned_parameters",
                                                       "legacy NeMo's positions are no embedding")}),
    });
  };
  return Join<S>({
      tower("vision"),
      tower("text"),
      {siglip ? S::Flag("vision.head", "attention over the image's patches makes its vector")
              : S::Flag("vision.projects", "a projection is behind it")},
      {
          S::Flag("text.projects", "a projection is behind it"),
          S::Flag("both", "it has both towers"),
          S::Size("channels", "of an image"),
          S::Size("patch", "pixels along its side"),
          S::Size("text.vocab", "tokens"),
          S::Size("text.padded_vocab", "rows of the stored embedding"),
          S::Flag("text.vocab_is_known", "the config or the tokenizer says how many tokens there are"),
          S::Size("projection", "of the vector that both towers make"),
      },
  });
}

// ---- canonical ----

std::vector<C> CanonicalText() {
  return Join<C>({
      ForTower("text",
               {
                   {"text.token_embedding.weight", "text.vocab, text.width", "text", ""},
                   {"text.position_embedding.weight", "text.positions, text.width", "text", ""},
               }),
      CanonicalLayer("text", {}),
      ForTower("text",
               {
                   {"text.final_norm.weight", "text.width", "text", ""},
                   {"text.final_norm.bias", "text.width", "text", ""},
                   {"text.projection.weight", "projection, text.width", "text.projects", ""},
               }),
  });
}

std::vector<C> ClipCanonical() {
  return Join<C>({
      {{"logit_scale", "", "both", ""}},
      ForTower("vision",
               {
                   {"vision.class_embedding", "vision.width", "vision", ""},
                   {"vision.patch_embedding.weight", "vision.width, channels, patch, patch", "vision", ""},
                   {"vision.position_embedding.weight", "vision.positions, vision.width", "vision", ""},
                   {"vision.pre_norm.weight", "vision.width", "vision", ""},
                   {"vision.pre_norm.bias", "vision.width", "vision", ""},
               }),
      CanonicalLayer("vision", {}),
      ForTower("vision",
               {
                   {"vision.post_norm.weight", "vision.width", "vision", ""},
                   {"vision.post_norm.bias", "vision.width", "vision", ""},
                   {"vision.projection.weight", "projection, vision.width", "vision.projects", ""},
               }),
      CanonicalText(),
  });
}

std::vector<C> SiglipCanonical() {
  return Join<C>({
      {{"logit_scale", "", "both", ""}, {"logit_bias", "", "both", ""}},
      ForTower("vision",
               {
                   {"vision.patch_embedding.weight", "vision.width, channels, patch, patch", "vision", ""},
                   {"vision.patch_embedding.bias", "vision.width", "vision", ""},
                   {"vision.position_embedding.weight", "vision.positions, vision.width", "vision", ""},
               }),
      CanonicalLayer("vision", {}),
      ForTower("vision",
               {
                   {"vision.post_norm.weight", "vision.width", "vision", ""},
                   {"vision.post_norm.bias", "vision.width", "vision", ""},
                   {"vision.head.probe", "1, 1, vision.width", "vision.head", ""},
                   {"vision.head.attn.qkv.weight", "3*vision.width, vision.width", "vision.head", ""},
                   {"vision.head.attn.qkv.bias", "3*vision.width", "vision.head", ""},
                   {"vision.head.attn.out.weight", "vision.width, vision.width", "vision.head", ""},
                   {"vision.head.attn.out.bias", "vision.width", "vision.head", ""},
                   {"vision.head.norm.weight", "vision.width", "vision.head", ""},
                   {"vision.head.norm.bias", "vision.width", "vision.head", ""},
                   {"vision.head.mlp.up.weight", "vision.ffn, vision.width", "vision.head", ""},
                   {"vision.head.mlp.up.bias", "vision.ffn", "vision.head", ""},
                   {"vision.head.mlp.down.weight", "vision.width, vision.ffn", "vision.head", ""},
                   {"vision.head.mlp.down.bias", "vision.width", "vision.head", ""},
               }),
      CanonicalText(),
      ForTower("text", {{"text.projection.bias", "projection", "text", ""}}),
  });
}

// ---- Hugging Face ----

std::vector<R> HfLayer(std::string_view tower) {
  return ForTower(
      tower,
      {
          {.name = "{P}.self_attn.{q,k,v}_proj.weight", .canonical = "{C}.attn.qkv.weight", .transform = &kStack},
          {.name = "{P}.self_attn.{q,k,v}_proj.bias", .canonical = "{C}.attn.qkv.bias", .transform = &kStack},
          {.name = "{P}.self_attn.out_proj.weight", .canonical = "{C}.attn.out.weight"},
          {.name = "{P}.self_attn.out_proj.bias", .canonical = "{C}.attn.out.bias"},
          {.name = "{P}.layer_norm1.weight", .canonical = "{C}.norm1.weight"},
          {.name = "{P}.layer_norm1.bias", .canonical = "{C}.norm1.bias"},
          {.name = "{P}.mlp.fc1.weight", .canonical = "{C}.mlp.up.weight"},
          {.name = "{P}.mlp.fc1.bias", .canonical = "{C}.mlp.up.bias"},
          {.name = "{P}.mlp.fc2.weight", .canonical = "{C}.mlp.down.weight"},
          {.name = "{P}.mlp.fc2.bias", .canonical = "{C}.mlp.down.bias"},
          {.name = "{P}.layer_norm2.weight", .canonical = "{C}.norm2.weight"},
          {.name = "{P}.layer_norm2.bias", .canonical = "{C}.norm2.bias"},
      },
      {{"{P}", "{T}_model.encoder.layers.{i}"}, {"{C}", "{T}.layers.{i}"}});
}

R HfPositionIds(std::string_view tower) {
  return {.name = fmt::format("{}_model.embeddings.position_ids", tower),
          .role = Role::kDrop,
          .why = "position_ids only count up; nobody reads them",
          .tower = std::string(tower)};
}

std::vector<R> HfText() {
  return Join<R>({
      {HfPositionIds("text")},
      ForTower("text",
               {
                   {.name = "text_model.embeddings.token_embedding.weight", .canonical = "text.token_embedding.weight"},
                   {.name = "text_model.embeddings.position_embedding.weight",
                    .canonical = "text.position_embedding.weight"},
               }),
      HfLayer("text"),
      ForTower("text",
               {
                   {.name = "text_model.final_layer_norm.weight", .canonical = "text.final_norm.weight"},
                   {.name = "text_model.final_layer_norm.bias", .canonical = "text.final_norm.bias"},
               }),
  });
}

// transformers 5 saves a CLIPTextModel or CLIPVisionModel, which have nothing beside their tower, without its name.
std::vector<OmittedPrefix> AloneWithoutPrefix() { return {{"text_model.", "!vision"}, {"vision_model.", "!text"}}; }

Dialect ClipHf() {
  return {"hf",
          "Hugging Face CLIP",
          {"", "module."},
          Join<R>({
              {{.name = "logit_scale", .canonical = "logit_scale", .transform = &kReshape}},
              HfText(),
              {HfPositionIds("vision")},
              ForTower("vision",
                       {
                           {.name = "vision_model.embeddings.class_embedding", .canonical = "vision.class_embedding"},
                           {.name = "vision_model.embeddings.patch_embedding.weight",
                            .canonical = "vision.patch_embedding.weight"},
                           {.name = "vision_model.embeddings.position_embedding.weight",
                            .canonical = "vision.position_embedding.weight"},
                           {.name = "vision_model.pre_layrnorm.weight", .canonical = "vision.pre_norm.weight"},
                           {.name = "vision_model.pre_layrnorm.bias", .canonical = "vision.pre_norm.bias"},
                       }),
              HfLayer("vision"),
              ForTower("vision",
                       {
                           {.name = "vision_model.post_layernorm.weight", .canonical = "vision.post_norm.weight"},
                           {.name = "vision_model.post_layernorm.bias", .canonical = "vision.post_norm.bias"},
                           {.name = "visual_projection.weight", .canonical = "vision.projection.weight"},
                       }),
              ForTower("text",
                       {
                           {.name = "text_projection.weight", .canonical = "text.projection.weight"},
                       }),
          }),
          false,
          AloneWithoutPrefix(),
          {},
          ConfigLanguage::kHuggingFace};
}

Dialect SiglipHf() {
  return {
      "hf",
      "Hugging Face SigLIP",
      {"", "module."},
      Join<R>({
          {{.name = "logit_scale", .canonical = "logit_scale", .transform = &kReshape, .shape = "1"},
           {.name = "logit_bias", .canonical = "logit_bias", .transform = &kReshape, .shape = "1"}},
          HfText(),
          ForTower("text",
                   {
                       {.name = "text_model.head.weight", .canonical = "text.projection.weight"},
                       {.name = "text_model.head.bias", .canonical = "text.projection.bias"},
                   }),
          {HfPositionIds("vision")},
          ForTower(
              "vision",
              {
                  {.name = "vision_model.embeddings.patch_embedding.weight",
                   .canonical = "vision.patch_embedding.weight"},
                  {.name = "vision_model.embeddings.patch_embedding.bias", .canonical = "vision.patch_embedding.bias"},
                  {.name = "vision_model.embeddings.position_embedding.weight",
                   .canonical = "vision.position_embedding.weight"},
              }),
          HfLayer("vision"),
          ForTower(
              "vision",
              {
                  {.name = "vision_model.post_layernorm.weight", .canonical = "vision.post_norm.weight"},
                  {.name = "vision_model.post_layernorm.bias", .canonical = "vision.post_norm.bias"},
                  {.name = "vision_model.head.probe", .canonical = "vision.head.probe"},
                  {.name = "vision_model.head.attention.in_proj_weight", .canonical = "vision.head.attn.qkv.weight"},
                  {.name = "vision_model.head.attention.in_proj_bias", .canonical = "vision.head.attn.qkv.bias"},
                  {.name = "vision_model.head.attention.out_proj.weight", .canonical = "vision.head.attn.out.weight"},
                  {.name = "vision_model.head.attention.out_proj.bias", .canonical = "vision.head.attn.out.bias"},
                  {.name = "vision_model.head.layernorm.weight", .canonical = "vision.head.norm.weight"},
                  {.name = "vision_model.head.layernorm.bias", .canonical = "vision.head.norm.bias"},
                  {.name = "vision_model.head.mlp.fc1.weight", .canonical = "vision.head.mlp.up.weight"},
                  {.name = "vision_model.head.mlp.fc1.bias", .canonical = "vision.head.mlp.up.bias"},
                  {.name = "vision_model.head.mlp.fc2.weight", .canonical = "vision.head.mlp.down.weight"},
                  {.name = "vision_model.head.mlp.fc2.bias", .canonical = "vision.head.mlp.down.bias"},
              }),
      }),
      false,
      AloneWithoutPrefix(),
      {},
      ConfigLanguage::kHuggingFace};
}

// ---- OpenCLIP, and OpenAI's own files ----

std::vector<R> OpenClipLayer(std::string_view tower, std::string_view prefix) {
  return ForTower(tower,
                  {
                      {.name = "{P}.ln_1.weight", .canonical = "{C}.norm1.weight"},
                      {.name = "{P}.ln_1.bias", .canonical = "{C}.norm1.bias"},
                      {.name = "{P}.attn.in_proj_weight", .canonical = "{C}.attn.qkv.weight"},
                      {.name = "{P}.attn.in_proj_bias", .canonical = "{C}.attn.qkv.bias"},
                      {.name = "{P}.attn.out_proj.weight", .canonical = "{C}.attn.out.weight"},
                      {.name = "{P}.attn.out_proj.bias", .canonical = "{C}.attn.out.bias"},
                      {.name = "{P}.ln_2.weight", .canonical = "{C}.norm2.weight"},
                      {.name = "{P}.ln_2.bias", .canonical = "{C}.norm2.bias"},
                      {.name = "{P}.mlp.c_fc.weight", .canonical = "{C}.mlp.up.weight"},
                      {.name = "{P}.mlp.c_fc.bias", .canonical = "{C}.mlp.up.bias"},
                      {.name = "{P}.mlp.c_proj.weight", .canonical = "{C}.mlp.down.weight"},
                      {.name = "{P}.mlp.c_proj.bias", .canonical = "{C}.mlp.down.bias"},
                  },
                  {{"{P}", std::string(prefix) + "transformer.resblocks.{i}"}, {"{C}", "{T}.layers.{i}"}});
}

R Derived(std::string_view name) {
  return {.name = std::string(name), .role = Role::kDrop, .why = "sizes and masks that the config says as well"};
}

Dialect ClipOpenClip() {
  return {"openclip",
          "OpenCLIP",
          {"", "module."},
          Join<R>({
              ForTower("text",
                       {
                           {.name = "positional_embedding", .canonical = "text.position_embedding.weight"},
                           {.name = "text_projection", .canonical = "text.projection.weight", .transform = &kTranspose},
                       }),
              {{.name = "logit_scale", .canonical = "logit_scale", .transform = &kReshape},
               {.name = "logit_bias",
                .role = Role::kDrop,
                .why = "logit_bias, trained with SigLIP's loss: a softmax over texts is the same without it"}},
              {Derived("attn_mask"), Derived("input_resolution"), Derived("context_length"), Derived("vocab_size")},
              ForTower("vision",
                       {
                           {.name = "visual.class_embedding", .canonical = "vision.class_embedding"},
                           {.name = "visual.positional_embedding", .canonical = "vision.position_embedding.weight"},
                           {.name = "visual.proj", .canonical = "vision.projection.weight", .transform = &kTranspose},
                           {.name = "visual.conv1.weight", .canonical = "vision.patch_embedding.weight"},
                           {.name = "visual.ln_pre.weight", .canonical = "vision.pre_norm.weight"},
                           {.name = "visual.ln_pre.bias", .canonical = "vision.pre_norm.bias"},
                       }),
              OpenClipLayer("vision", "visual."),
              ForTower("vision",
                       {
                           {.name = "visual.ln_post.weight", .canonical = "vision.post_norm.weight"},
                           {.name = "visual.ln_post.bias", .canonical = "vision.post_norm.bias"},
                       }),
              OpenClipLayer("text", ""),
              ForTower("text",
                       {
                           {.name = "token_embedding.weight", .canonical = "text.token_embedding.weight"},
                           {.name = "ln_final.weight", .canonical = "text.final_norm.weight"},
                           {.name = "ln_final.bias", .canonical = "text.final_norm.bias"},
                       }),
          }),
          false,
          {},
          {},
          ConfigLanguage::kOpenClip};
}

// ---- NeMo ----

// Keys start with `model.`, also under megatron_amp_O2; `model.module.` and bare names occur in foreign files.
std::vector<std::string> NemoPrefixes() { return {"model.", "model.module.", "module.", ""}; }

std::vector<R> McoreText() {
  return Join<R>({
      ForTower(
          "text",
          {
              VocabTable("text_encoder.embedding.word_embeddings.weight", "text.token_embedding.weight", Stage::kFirst),
              {.name = "text_encoder.embedding.position_embeddings.weight",
               .canonical = "text.position_embedding.weight",
               .stage = Stage::kFirst},
          }),
      McoreLayer("text", "text_encoder.decoder.layers.{i}", {}),
      ForTower("text",
               {
                   {.name = "text_encoder.final_layernorm.weight", .canonical = "text.final_norm.weight"},
                   {.name = "text_encoder.final_layernorm.bias", .canonical = "text.final_norm.bias"},
                   StateRow("text_encoder.final_layernorm._extra_state", kReadOnly),
                   {.name = "text_encoder.head.weight", .canonical = "text.projection.weight"},
               }),
  });
}

Dialect ClipMcore() {
  return {"mcore", "NeMo CLIP, Megatron-core", NemoPrefixes(),
          Join<R>({
              {{.name = "logit_scale", .canonical = "logit_scale", .transform = &kReshape}},
              ForTower("vision",
                       {
                           {.name = "vision_encoder.class_token",
                            .canonical = "vision.class_embedding",
                            .transform = &kReshape,
                            .shape = "1, 1, vision.width"},
                           {.name = "vision_encoder.conv1.weight", .canonical = "vision.patch_embedding.weight"},
                           {.name = "vision_encoder.position_embeddings.weight",
                            .canonical = "vision.position_embedding.weight"},
                           {.name = "vision_encoder.ln_pre.weight", .canonical = "vision.pre_norm.weight"},
                           {.name = "vision_encoder.ln_pre.bias", .canonical = "vision.pre_norm.bias"},
                           StateRow("vision_encoder.ln_pre._extra_state", kReadOnly),
                       }),
              McoreLayer("vision", "vision_encoder.decoder.layers.{i}", {}),
              ForTower("vision",
                       {
                           {.name = "vision_encoder.final_layernorm.weight", .canonical = "vision.post_norm.weight"},
                           {.name = "vision_encoder.final_layernorm.bias", .canonical = "vision.post_norm.bias"},
                           StateRow("vision_encoder.final_layernorm._extra_state", kReadOnly),
                           {.name = "vision_encoder.head.weight", .canonical = "vision.projection.weight"},
                       }),
              McoreText(),
          }),
          true};
}

Dialect SiglipMcore() {
  return {
      "mcore", "NeMo SigLIP, Megatron-core", NemoPrefixes(),
      Join<R>({
          {{.name = "logit_scale", .canonical = "logit_scale", .transform = &kReshape},
           {.name = "logit_bias", .canonical = "logit_bias", .transform = &kReshape}},
          ForTower("vision",
                   {
                       {.name = "vision_encoder.conv1.weight", .canonical = "vision.patch_embedding.weight"},
                       {.name = "vision_encoder.conv1.bias", .canonical = "vision.patch_embedding.bias"},
                       {.name = "vision_encoder.position_embeddings.weight",
                        .canonical = "vision.position_embedding.weight"},
                   }),
          McoreLayer("vision", "vision_encoder.decoder.layers.{i}", {}),
          ForTower(
              "vision",
              {
                  {.name = "vision_encoder.final_layernorm.weight", .canonical = "vision.post_norm.weight"},
                  {.name = "vision_encoder.final_layernorm.bias", .canonical = "vision.post_norm.bias"},
                  StateRow("vision_encoder.final_layernorm._extra_state", kReadOnly),
                  {.name = "{P}.probe", .canonical = "vision.head.probe"},
                  StateRow("{P}.cross_attention.core_attention._extra_state", kReadOnly),
                  StateRow("{P}.cross_attention.core_attention.fused_attention._extra_state", kReadOnly),
                  {.name = "{P}.cross_attention.linear_proj.weight",
                   .canonical = "vision.head.attn.out.weight",
                   .split = Split::kRows},
                  {.name = "{P}.cross_attention.linear_proj.bias", .canonical = "vision.head.attn.out.bias"},
                  StateRow("{P}.cross_attention.linear_proj._extra_state"),
                  {.name = "{P}.cross_attention.linear_{q,kv}.weight",
                   .canonical = "vision.head.attn.qkv.weight",
                   .transform = &kQueryKeyValue,
                   .split = Split::kColumns},
                  {.name = "{P}.cross_attention.linear_{q,kv}.bias",
                   .canonical = "vision.head.attn.qkv.bias",
                   .transform = &kQueryKeyValue,
                   .split = Split::kColumns},
                  StateRow("{P}.cross_attention.linear_q._extra_state"),
                  StateRow("{P}.cross_attention.linear_kv._extra_state"),
                  {.name = "{P}.mlp.linear_fc1.layer_norm_weight", .canonical = "vision.head.norm.weight"},
                  {.name = "{P}.mlp.linear_fc1.layer_norm_bias", .canonical = "vision.head.norm.bias"},
                  {.name = "{P}.mlp.linear_fc1.weight",
                   .canonical = "vision.head.mlp.up.weight",
                   .split = Split::kColumns},
                  {.name = "{P}.mlp.linear_fc1.bias", .canonical = "vision.head.mlp.up.bias", .split = Split::kColumns},
                  StateRow("{P}.mlp.linear_fc1._extra_state"),
                  {.name = "{P}.mlp.linear_fc2.weight",
                   .canonical = "vision.head.mlp.down.weight",
                   .split = Split::kRows},
                  {.name = "{P}.mlp.linear_fc2.bias", .canonical = "vision.head.mlp.down.bias"},
                  StateRow("{P}.mlp.linear_fc2._extra_state"),
              },
              {{"{P}", "vision_encoder.head"}}),
          McoreText(),
          ForTower("text",
                   {
                       {.name = "text_encoder.head.bias", .canonical = "text.projection.bias"},
                   }),
      }),
      true};
}

// Long as it is data: a row for each name.
Dialect ClipLegacy() {
  return {
      "legacy", "NeMo CLIP, legacy Megatron", NemoPrefixes(),
      Join<R>({
          {{.name = "logit_scale", .canonical = "logit_scale", .transform = &kReshape}},
          ForTower(
              "vision",
              {
                  {.name = "{P}.cls_token",
                   .canonical = "vision.class_embedding",
                   .transform = &kReshape,
                   .stage = Stage::kFirst,
                   .shape = "1, 1, vision.width"},
                  {.name = "{P}.position_embeddings",
                   .canonical = "vision.position_embedding.weight",
                   .stage = Stage::kFirst,
                   .when = "vision.learned_parameters"},
                  {.name = "{P}.conv1.weight", .canonical = "vision.patch_embedding.weight", .stage = Stage::kFirst},
                  // NeMo 1.23 projected patches with a linear layer.
                  {.name = "{P}.linear_encoder.weight",
                   .canonical = "vision.patch_embedding.weight",
                   .transform = &kPatchLinear,
                   .stage = Stage::kFirst,
                   .when = std::string(kReadOnly)},
                  {.name = "{P}.linear_encoder.bias",
                   .role = Role::kDropZeros,
                   .stage = Stage::kFirst,
                   .why = "a trained bias of NeMo 1.23's patch projection has no place in later models"},
                  {.name = "{P}.position_embeddings.weight",
                   .canonical = "vision.position_embedding.weight",
                   .stage = Stage::kFirst,
                   .when = "!vision.learned_parameters"},
                  {.name = "{P}.preprocess_layernorm.weight",
                   .canonical = "vision.pre_norm.weight",
                   .stage = Stage::kFirst},
                  {.name = "{P}.preprocess_layernorm.bias",
                   .canonical = "vision.pre_norm.bias",
                   .stage = Stage::kFirst},
              },
              {{"{P}", "vision_encoder.backbone"}}),
          LegacyLayer("vision", "vision_encoder.backbone.transformer.layers.{i}", {}),
          ForTower("vision",
                   {
                       {.name = "vision_encoder.backbone.transformer.final_layernorm.weight",
                        .canonical = "vision.post_norm.weight",
                        .stage = Stage::kLast},
                       {.name = "vision_encoder.backbone.transformer.final_layernorm.bias",
                        .canonical = "vision.post_norm.bias",
                        .stage = Stage::kLast},
                       {.name = "vision_encoder.head.weight",
                        .canonical = "vision.projection.weight",
                        .stage = Stage::kLast},
                   }),
          ForTower("text",
                   {
                       {.name = "{P}.embedding.position_embeddings",
                        .canonical = "text.position_embedding.weight",
                        .stage = Stage::kFirst,
                        .when = "text.learned_parameters"},
                       VocabTable("{P}.embedding.word_embeddings.weight", "text.token_embedding.weight", Stage::kFirst),
                       {.name = "{P}.embedding.position_embeddings.weight",
                        .canonical = "text.position_embedding.weight",
                        .stage = Stage::kFirst,
                        .when = "!text.learned_parameters"},
                   },
                   {{"{P}", "text_encoder.language_model"}}),
          LegacyLayer("text", "text_encoder.language_model.encoder.layers.{i}", {}),
          ForTower(
              "text",
              {
                  {.name = "text_encoder.language_model.encoder.final_layernorm.weight",
                   .canonical = "text.final_norm.weight",
                   .stage = Stage::kLast},
                  {.name = "text_encoder.language_model.encoder.final_layernorm.bias",
                   .canonical = "text.final_norm.bias",
                   .stage = Stage::kLast},
                  VocabTable("text_encoder.word_embeddings.weight", "text.token_embedding.weight", Stage::kTiedCopy),
                  {.name = "text_encoder.head.weight", .canonical = "text.projection.weight", .stage = Stage::kLast},
              }),
      }),
      true};
}

// ---- sizes ----

constexpr const char* kPipelineWarning = "NeMo 2.0.0 loads a CLIP of several pipeline stages but cannot run it";

// Flags that only NeMo's configs have. SigLIP has no legacy models.
Status SetNemoFlags(const Config& config, ModelSymbols* symbols) {
  if (!symbols->Declares("text.qkv_stacked")) return {};
  ANEMONE_ASSIGN(const ConfigNode model, NemoModelNode(config));
  for (const std::string_view tower : {"vision", "text"}) {
    const ConfigNode* node = model.Get(tower);
    const ConfigNode* legacy = node == nullptr ? nullptr : node->Get("megatron_legacy");
    symbols->Set(InTower(tower, "qkv_stacked"), legacy != nullptr && legacy->AsBool().value_or(false) ? 1 : 0);
    const ConfigNode* type = node == nullptr ? nullptr : node->Get("position_embedding_type");
    symbols->Set(InTower(tower, "learned_parameters"),
                 type != nullptr && type->AsString() == "learned_parameters" ? 1 : 0);
  }
  return {};
}

uint64_t Padded(uint64_t vocab, const ConfigNode& model) {
  uint64_t divisor = 128;
  if (const ConfigNode* node = model.Get("make_vocab_size_divisible_by");
      node != nullptr && node->AsInt().value_or(0) > 0) {
    divisor = static_cast<uint64_t>(*node->AsInt());
  }
  return (vocab + divisor - 1) / divisor * divisor;
}

Status SetSizes(const ClipArchitecture& spec, ModelSymbols* symbols) {
  const bool siglip = symbols->Declares("vision.head");
  symbols->Set("both", spec.has_vision && spec.has_text);
  for (const std::string_view name : {"vision", "text"}) {
    const TowerArchitecture& tower = name == "vision" ? spec.vision : spec.text;
    const bool has = name == "vision" ? spec.has_vision : spec.has_text;
    const auto set = [&](std::string_view key, uint64_t value) { symbols->Set(InTower(name, key), value); };
    symbols->Set(name, has);
    if (name == "text" || !siglip) set("projects", has && spec.projects);
    set("layers", has ? tower.layers : 0);
    set("width", tower.width);
    set("heads", tower.heads);
    set("groups", tower.heads);
    set("head_dim", tower.heads == 0 ? 0 : tower.width / tower.heads);
    ANEMONE_ASSIGN(const uint64_t qkv_rows, symbols->Compute(TowerText(name, "3*{T}.width")));
    set("qkv_rows", qkv_rows);
    set("ffn", tower.ffn);
    set("up_rows", tower.ffn);
    for (const std::string_view flag : {"bias", "qkv_bias", "norm_bias"}) set(flag, 1);
    // NeMo's configs say otherwise (SetNemoFlags).
    for (const std::string_view flag : {"qkv_stacked", "learned_parameters"}) {
      if (!siglip) set(flag, 0);
    }
  }
  if (siglip) symbols->Set("vision.head", spec.has_vision);
  symbols->Set("vision.positions", spec.has_vision ? spec.positions() : 0);
  symbols->Set("text.positions", spec.context);
  symbols->Set("patch", spec.patch);
  symbols->Set("channels", spec.channels);
  symbols->Set("projection", spec.projection);
  return {};
}

// The vocabulary of a NeMo checkpoint: its table may have padding rows. Its config says how many are real where anemone
// wrote it; CLIP's own tokenizer is known; otherwise all rows are real.
uint64_t NemoVocab(const ClipArchitecture& spec, uint64_t rows, const ConfigNode& model) {
  if (spec.vocab && *spec.vocab <= rows) return *spec.vocab;
  const bool pads = rows > kClipVocab && rows < kClipVocab + uint64_t{128} * 64;
  return pads && NamesClipTokenizer(model) ? kClipVocab : rows;
}

Status ReadClipSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                       ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ClipArchitecture spec, ClipArchitectureOf(checkpoint, options, &name));
  ANEMONE_TRY(SetSizes(spec, symbols).In(name));
  ANEMONE_ASSIGN(uint64_t rows, StoredVocabRows(checkpoint, dialect, "text.token_embedding.weight"));
  if (rows == 0) rows = spec.vocab.value_or(kClipVocab);
  if (!dialect.is_megatron) {
    symbols->Set("text.vocab", spec.vocab.value_or(rows));
    symbols->Set("text.padded_vocab", spec.vocab.value_or(rows));
    symbols->Set("text.vocab_is_known", 1);
    return {};
  }
  const Config& config = checkpoint.config ? *checkpoint.config : *options.hparams;
  ANEMONE_TRY(SetNemoFlags(config, symbols).In(name));
  ANEMONE_ASSIGN(const ConfigNode model, NemoModelNode(config));
  const uint64_t vocab = NemoVocab(spec, rows, model);
  symbols->Set("text.vocab", vocab);
  symbols->Set("text.vocab_is_known", vocab != rows || spec.vocab.has_value() || rows == kClipVocab);
  symbols->Set("text.padded_vocab", rows);
  return {};
}

// A model's own config that came along inside a .nemo, as long as what NeMo's says is still the same model. Its dtype
// is that of the weights as they are now.
std::optional<Config> KeptConfig(const Checkpoint& source, const std::string& file, uint64_t vocab) {
  std::optional<Config> config = source.config ? ReadKeptConfig(source, file) : std::nullopt;
  if (!config) return std::nullopt;
  const Result<ClipArchitecture> spec = ReadClipArchitecture(*config, false);
  if (!spec.ok() || spec->vocab != vocab) return std::nullopt;
  const bool agrees =
      NemoConfigFromHparams(*source.config, source.config_name, *spec, file, NemoClipKind::kMcore, nullptr).ok();
  if (!agrees) return std::nullopt;
  SetHuggingFaceDType(config->root(), DTypeOf(source));
  return *std::move(config);
}

PixelRules RulesOf(const Checkpoint& source, const Dialect& dialect) {
  if (dialect.is_megatron) return PixelRules::kNemo;
  const bool open = source.config && KindOfClipConfig(*source.config) == ClipConfigKind::kOpenClip;
  return open || dialect.language == ConfigLanguage::kOpenClip ? PixelRules::kOpenClip : PixelRules::kHuggingFace;
}

// NeMo's transform, tokenizer and pooling are fixed: what the model has otherwise is told, or refused where every text
// would be pooled elsewhere.
Status SayWhatNemoCannot(const Checkpoint& source, const ClipArchitecture& spec, const Dialect& from,
                         const TranslateOptions& options, std::vector<std::string>* notes) {
  if (from.is_megatron) return {};
  const PixelRules rules = RulesOf(source, from);
  const bool open = rules == PixelRules::kOpenClip;
  ANEMONE_ASSIGN(const ClipPreprocess pixels, ClipPreprocessOf(source, spec, rules, options.strict, notes));
  for (std::string& line : BeyondNemo(pixels, spec, rules)) notes->push_back(std::move(line));
  if (spec.siglip) return {};
  const uint64_t vocab = spec.vocab.value_or(kClipVocab);
  const std::string_view eos_key = open ? "model_cfg.text_cfg.eos_id" : "text_config.eos_token_id";
  if (spec.eos_token && static_cast<uint64_t>(*spec.eos_token) + 1 != vocab) {
    if (*spec.eos_token + 1 != static_cast<int64_t>(kClipVocab)) {
      return Unsupported(fmt::format("{}: expected {}, the largest id, at which NeMo pools a text, found {}", eos_key,
                                     vocab - 1, *spec.eos_token));
    }
    notes->push_back(
        fmt::format("{}: the model pools a text at token {}, NeMo at its largest id: texts with tokens "
                    "beyond {} differ",
                    eos_key, *spec.eos_token, *spec.eos_token));
  }
  if (vocab != kClipVocab && spec.tokenizer.empty()) {
    notes->push_back(
        fmt::format("{}: the model has {} tokens, the tokenizer that NeMo's config names has {}; the "
                    "model's own files, where there are some, are in tokenizer/",
                    open ? "model_cfg.text_cfg.vocab_size" : "text_config.vocab_size", vocab, kClipVocab));
  }
  return {};
}

Result<Target> ClipTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                          const TranslateOptions& options, const ModelSymbols& symbols) {
  std::string name;
  std::vector<std::string> notes;
  ANEMONE_ASSIGN(ClipArchitecture spec, ClipArchitectureOf(source, options, &name, &notes));
  ANEMONE_ASSIGN(const uint64_t vocab, symbols.Get("text.vocab"));
  spec.vocab = vocab;
  Target target{symbols, std::nullopt, {}, std::move(notes)};
  target.symbols.Set("text.padded_vocab", vocab);
  if (!to.is_megatron) {
    if (&from == &to && source.config) return Target{symbols, source.config, source.config_name};
    const bool hugging_face = to.language == ConfigLanguage::kHuggingFace;
    // A 49408-token vocabulary ends with <|endoftext|>; others are pooled at their largest id, as NeMo and OpenCLIP do.
    if (!spec.eos_token && vocab == kClipVocab) spec.eos_token = kClipVocab - 1;
    target.config_name = hugging_face ? "config.json" : "open_clip_config.json";
    target.config = KeptConfig(source, target.config_name, vocab);
    if (target.config) return target;
    if (hugging_face && !spec.tokenizer.empty()) {
      target.notes.push_back(
          fmt::format("model_cfg.text_cfg.hf_tokenizer_name: the model's tokenizer is {}; a CLIP of "
                      "Hugging Face names none: put its files beside the weights",
                      spec.tokenizer));
    }
    if (hugging_face) {
      ANEMONE_ASSIGN(target.config, HuggingFaceConfig(spec, DTypeOf(source)));
    } else {
      ANEMONE_ASSIGN(const ClipPreprocess pixels,
                     ClipPreprocessOf(source, spec, RulesOf(source, from), options.strict));
      ANEMONE_ASSIGN(ConfigNode preprocess, OpenClipPreprocess(pixels, spec.image_height));
      ANEMONE_ASSIGN(target.config, OpenClipConfig(spec, std::move(preprocess)));
    }
    // The user's own says more, where it is of this kind.
    const ClipConfigKind kind = options.hparams ? KindOfClipConfig(*options.hparams) : ClipConfigKind::kNone;
    if (kind == (hugging_face ? ClipConfigKind::kHuggingFace : ClipConfigKind::kOpenClip)) {
      for (const auto& [key, value] : options.hparams->root().map) target.config->root()[key] = value;
    }
    return target;
  }
  if (!spec.has_vision || !spec.has_text) {
    return Unsupported(fmt::format("expected both towers for {}, found the {} tower alone", to.title,
                                   spec.has_vision ? "image" : "text"));
  }
  ANEMONE_TRY(SayWhatNemoCannot(source, spec, from, options, &target.notes));
  const NemoClipKind kind = to.name == "mcore" ? NemoClipKind::kMcore : NemoClipKind::kLegacy;
  target.config_name = "model_config.yaml";
  // A YAML is the result's; the config of OpenCLIP or Hugging Face only says what weights without one are.
  const bool describes_source =
      options.hparams && !source.config && KindOfClipConfig(*options.hparams) != ClipConfigKind::kNemo;
  if (options.hparams && !describes_source) {
    ANEMONE_ASSIGN(target.config,
                   NemoConfigFromHparams(*options.hparams, options.hparams_name, spec, name, kind, nullptr));
  } else if (&from == &to) {
    return Target{symbols, source.config, source.config_name};
  } else if (from.is_megatron) {
    ANEMONE_ASSIGN(target.config, NemoConfigFromHparams(*source.config, source.config_name, spec, name, kind, nullptr));
    // Megatron-core knows one kind of position table, NeMo's published legacy YAMLs the other.
    if (kind == NemoClipKind::kLegacy) {
      for (const std::string_view tower : {"text", "vision"}) {
        target.config->root()[tower]["position_embedding_type"] = ConfigNode::String("learned_parameters");
      }
    }
  } else {
    target.config = NemoConfigFromArchitecture(spec, kind);
  }
  ANEMONE_TRY(SetNemoFlags(*target.config, &target.symbols));
  ConfigNode& root = target.config->root();
  const uint64_t padded = Padded(vocab, root);
  target.symbols.Set("text.padded_vocab", padded);
  // Without it nobody could tell padding from tokens later; NeMo does not read the key.
  if (padded != vocab) root["text"]["vocab_size"] = ConfigNode::Int(static_cast<int64_t>(vocab));
  return target;
}

const std::vector<Refusal>& ClipRefusals() {
  static const std::vector<Refusal> refusals = {
      {"visual.trunk.", "a timm image tower"},
      {"visual.layer1.", "a ResNet CLIP"},
      {"visual.attnpool.", "a ResNet CLIP"},
      {"text_decoder.", "a CoCa"},
      {"visual.attn_pool", "a CoCa (attentional pooling)"},
      {"text.transformer.encoder.", "a custom text model"},
      {"text.transformer.embeddings.", "a custom text model"},
      {"text.transformer.resblocks.", "OpenCLIP's CustomTextCLIP"},
      {".ls_1.gamma", "a ViT with layer scale"},
      {".attn.ln_", "attention with norms inside"},
      {".ln_attn.", "attention with norms inside"},
      {"qformer.", "a BLIP-2"},
  };
  return refusals;
}

}  // namespace

namespace {

// OpenAI's own files carry no config: its code reads the sizes off the shapes, and knows that heads are 64 wide, that
// an MLP is four times as wide, and that the activation is quick GELU [openai/CLIP clip/model.py, build_model].
std::optional<ClipArchitecture> OpenAiArchitecture(const Checkpoint& checkpoint) {
  if (checkpoint.shards.size() != 1) return std::nullopt;
  const StateDict& weights = checkpoint.weights();
  if (!checkpoint.origin.is_torch_script && weights.Find("input_resolution") == nullptr) return std::nullopt;
  const auto shape = [&weights](std::string_view name, size_t rank) {
    const StateDict::Item* item = weights.Find(name);
    const bool fits = item != nullptr && item->tensor() != nullptr && item->tensor()->shape().size() == rank;
    return fits ? item->tensor()->shape() : Shape();
  };
  const Shape patch = shape("visual.conv1.weight", 4);
  const Shape positions = shape("visual.positional_embedding", 2);
  const Shape tokens = shape("token_embedding.weight", 2);
  const Shape context = shape("positional_embedding", 2);
  const Shape projection = shape("text_projection", 2);
  if (patch.empty() || positions.empty() || tokens.empty() || context.empty() || projection.empty())
    return std::nullopt;
  const auto tower = [&weights](std::string_view prefix, uint64_t width) {
    TowerArchitecture result;
    result.width = width;
    result.heads = width / 64;
    result.ffn = 4 * width;
    result.activation = "quick_gelu";
    result.layers = 0;
    while (weights.Find(fmt::format("{}transformer.resblocks.{}.ln_1.weight", prefix, result.layers)) != nullptr) {
      ++result.layers;
    }
    return result;
  };
  ClipArchitecture spec;
  spec.vision = tower("visual.", patch[0]);
  spec.text = tower("", tokens[1]);
  spec.patch = patch[3];
  uint64_t grid = 0;
  while ((grid + 1) * (grid + 1) < positions[0]) ++grid;
  spec.image_height = spec.image_width = grid * spec.patch;
  spec.channels = patch[1];
  spec.context = context[0];
  spec.vocab = tokens[0];
  spec.projection = projection[1];
  const bool makes_sense = spec.vision.heads > 0 && spec.text.heads > 0 && spec.vision.layers > 0 &&
                           spec.text.layers > 0 && grid > 0 && spec.vision.width % 64 == 0 && spec.text.width % 64 == 0;
  return makes_sense ? std::optional(spec) : std::nullopt;
}

// A preset says the sizes of what is not OpenAI's as well; here it may only agree. Under the plain name it leaves the
// activation open.
Status CheckPreset(const ClipArchitecture& spec, const std::string& preset) {
  const std::optional<ClipArchitecture> named = ClipPreset(preset);
  if (!named) return {};
  const auto sizes = [](const ClipArchitecture& a) {
    return fmt::format("{} layers of {} for {}-pixel images in patches of {}, {} layers of {} for texts",
                       a.vision.layers, a.vision.width, a.image_height, a.patch, a.text.layers, a.text.width);
  };
  if (sizes(*named) == sizes(spec)) return {};
  return Corrupt(fmt::format("{}: expected {}, found {}", preset, sizes(*named), sizes(spec)),
                 "leave the preset out: the archive's own sizes are known")
      .OfOption("preset");
}

std::string ForeignClip(const Config& config) {
  return KindOfClipConfig(config) == ClipConfigKind::kHuggingFace ? ForeignClipModel(config.root()) : "";
}

// Hugging Face says beside the config how pixels are normalised. Who looks at pictures says what is wrong with it.
void ReadPixels(const Checkpoint& checkpoint, ClipArchitecture* spec) {
  const bool has_file = checkpoint.FindArtifact("preprocessor_config.json") != nullptr ||
                        checkpoint.FindArtifact("processor_config.json") != nullptr;
  if (!has_file && !spec->siglip) return;
  const Result<ClipPreprocess> pixels = ClipPreprocessOf(checkpoint, *spec, PixelRules::kHuggingFace, false);
  if (!pixels.ok()) return;
  spec->mean = pixels->mean;
  spec->deviation = pixels->std;
}

}  // namespace

Result<ClipArchitecture> ClipArchitectureOf(const Checkpoint& checkpoint, const TranslateOptions& options,
                                            std::string* name, std::vector<std::string>* notes) {
  if (checkpoint.config && KindOfClipConfig(*checkpoint.config) != ClipConfigKind::kNone) {
    *name = checkpoint.config_name;
    auto spec = ReadClipArchitecture(*checkpoint.config, options.strict, notes);
    if (!spec.ok()) return spec.status().In(*name);
    const bool hugging_face = KindOfClipConfig(*checkpoint.config) == ClipConfigKind::kHuggingFace;
    if (hugging_face) ReadPixels(checkpoint, &*spec);
    return spec;
  }
  if (const auto spec = OpenAiArchitecture(checkpoint)) {
    *name = "OpenAI's archive";
    ANEMONE_TRY(CheckPreset(*spec, options.preset));
    return *spec;
  }
  if (!options.preset.empty()) {
    *name = options.preset;
    if (auto spec = ClipPreset(options.preset)) return *std::move(spec);
    return InvalidArgument(
        fmt::format("expected a size by name ({}), found '{}'", fmt::join(ClipPresetNames(), ", "), options.preset));
  }
  if (options.hparams) {
    *name = options.hparams_name;
    auto spec = ReadClipArchitecture(*options.hparams, options.strict, notes);
    if (!spec.ok()) return spec.status().In(*name);
    return spec;
  }
  return NotFound("expected a config beside the weights, found none")
      .Use("preset", "ViT-L-14", "name the model's size")
      .Use("hparams", "FILE", "give NeMo's YAML");
}

const Family& ClipFamily() {
  static const Family family = {.name = "clip",
                                .title = "CLIP",
                                .symbols = Declared(false),
                                .canonical = ClipCanonical(),
                                .dialects = {ClipHf(), ClipOpenClip(), ClipMcore(), ClipLegacy()},
                                .refusals = ClipRefusals(),
                                .pipeline_warning = kPipelineWarning,
                                .read_symbols = ReadClipSymbols,
                                .target = ClipTarget,
                                .foreign = ForeignClip,
                                .complete = AddProcessor,
                                .presets = ClipPresetNames,
                                .has_preset = [](std::string_view name) { return ClipPreset(name).has_value(); }};
  return family;
}

const Family& SiglipFamily() {
  static const Family family = {.name = "siglip",
                                .title = "SigLIP",
                                .symbols = Declared(true),
                                .canonical = SiglipCanonical(),
                                .dialects = {SiglipHf(), SiglipMcore()},
                                .refusals = {},
                                .pipeline_warning = kPipelineWarning,
                                .read_symbols = ReadClipSymbols,
                                .target = ClipTarget,
                                .foreign = ForeignClip,
                                .complete = AddProcessor};
  return family;
}

}  // namespace anemone
