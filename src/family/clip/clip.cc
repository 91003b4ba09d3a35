// CLIP and SigLIP: two towers of pre-norm transformer blocks with a projection each.
//
// Read the tables top to bottom as the model: canonical names and shapes first, then each dialect in the order its own
// writer stores the tensors. docs/families/clip.md says the same in prose.
// Facts: NeMo v2.0.0 convert_clip_hf_to_nemo.py, convert_external_clip_to_nemo.py, convert_siglip_hf_to_nemo.py; names
// and order as in files that NeMo wrote (tests/golden).
#include <fmt/format.h>

#include "family/clip/clip_config.h"
#include "family/clip/clip_fields.h"
#include "family/clip/clip_processor.h"
#include "family/clip/clip_symbols.h"
#include "family/clip/clip_target.h"
#include "family/clip/clip_transforms.h"
#include "family/families.h"
#include "family/megatron/megatron_layer.h"

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
          .role = Role::kDropCount,
          .why = "positions are counted, not learned",
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

std::string ForeignClip(const Config& config) {
  return KindOfClipConfig(config) == ClipConfigKind::kHuggingFace ? ForeignClipModel(config.root()) : "";
}

constexpr const char* kPipelineWarning = "NeMo 2.0.0 loads a CLIP of several pipeline stages but cannot run it";

}  // namespace

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
