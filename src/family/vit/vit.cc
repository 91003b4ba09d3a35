// ViT that classifies pictures: NeMo's, in legacy Megatron's layers, and transformers'.
//
// Facts: NeMo v2.0.0 and v1.23.0 megatron_vit_classification_models.py, vit_backbone.py, vision_transformer.py;
// transformers 4.44.2 and 5.24 modeling_vit.py; a file that NeMo wrote (tests/golden). NeMo's own has eight class
// tokens and a head of two layers; transformers has one token and one layer, which NeMo calls `finetune: true`.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "family/clip/clip_transforms.h"
#include "family/families.h"
#include "family/megatron/megatron_layer.h"
#include "family/megatron/rows.h"
#include "family/vit/vit_config.h"
#include "family/words/kept_config.h"
#include "family/words/model_words.h"
#include "tensor/fill.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr LayerParts kParts = {};

std::vector<Symbol> Declared() {
  return Join<Symbol>({
      LayerSymbols("", kParts),
      {
          Symbol::Size("class_tokens", "before the patches"),
          Symbol::Size("positions", "class tokens and patches"),
          Symbol::Size("channels", "of a picture"),
          Symbol::Size("patch", "pixels of a patch's side"),
          Symbol::Size("classes", "that are told"),
          Symbol::Flag("learned_parameters", "positions are a parameter, not an embedding's weight"),
          Symbol::Flag("pre_norm", "a norm stands before the layers"),
          Symbol::Flag("layer_scale", "what attention and MLP add is scaled by learned numbers"),
          Symbol::Flag("mlp_head", "the head has two layers"),
      },
  });
}

std::vector<C> Canonical() {
  return Join<C>({
      {
          {"class_embedding", "1, class_tokens, width", "", ""},
          {"patch_embedding.weight", "width, channels, patch, patch", "", ""},
          {.name = "patch_embedding.bias", .shape = "width", .made = 0, .why = "NeMo projects patches without a bias"},
          {"position_embedding.weight", "positions, width", "", ""},
      },
      CanonicalNorm("pre_norm", "pre_norm"),
      CanonicalLayer("", kParts),
      {
          {"layers.{i}.attn.scale", "width", "layer_scale", ""},
          {"layers.{i}.mlp.scale", "width", "layer_scale", ""},
      },
      CanonicalNorm("final_norm"),
      CanonicalLinear("head.dense", "width", "mlp_head"),
      CanonicalLinear("head.out", "classes"),
  });
}

// NeMo 1.23 and older projected patches with a linear layer.
std::vector<R> LinearPatches() {
  R weight = PlainRow("backbone.linear_encoder.weight", "patch_embedding.weight", Stage::kFirst);
  weight.transform = &kPatchLinear;
  R bias = PlainRow("backbone.linear_encoder.bias", "patch_embedding.bias", Stage::kFirst);
  weight.when = bias.when = kReadOnly;
  return {weight, bias};
}

Dialect Legacy() {
  const std::string layer = "backbone.transformer.layers.{i}";
  return {
      "legacy",
      "NeMo ViT, legacy Megatron",
      {"model.", "model.module.", "module.", ""},
      Join<R>({
          {PlainRow("backbone.cls_token", "class_embedding", Stage::kFirst),
           PlainRow("backbone.position_embeddings", "position_embedding.weight", Stage::kFirst, "learned_parameters"),
           PlainRow("backbone.conv1.weight", "patch_embedding.weight", Stage::kFirst)},
          LinearPatches(),
          {PlainRow("backbone.position_embeddings.weight", "position_embedding.weight", Stage::kFirst,
                    "!learned_parameters")},
          WeightAndBias("backbone.preprocess_layernorm", "pre_norm", Stage::kFirst),
          LegacyLayer("", layer, kParts),
          {PlainRow(layer + ".post_attention_layerscale.gamma", "layers.{i}.attn.scale", Stage::kLayer),
           PlainRow(layer + ".post_mlp_layerscale.gamma", "layers.{i}.mlp.scale", Stage::kLayer)},
          WeightAndBias("backbone.transformer.final_layernorm", "final_norm", Stage::kLast),
          WeightAndBias("head.dense_in", "head.dense", Stage::kLast),
          WeightAndBias("head.dense_out", "head.out", Stage::kLast, "mlp_head"),
          WeightAndBias("head", "head.out", Stage::kLast, "!mlp_head"),
      }),
      true};
}

Dialect HuggingFace() {
  const std::string layer = "vit.encoder.layer.{i}.";
  const auto both = [](std::string_view name, std::string_view canonical) {
    return WeightAndBias(name, canonical, Stage::kEvery);
  };
  std::vector<R> qkv = both(layer + "attention.attention.{query,key,value}", "layers.{i}.attn.qkv");
  for (R& row : qkv) row.transform = &kStack;
  return {.name = "hf",
          .title = "Hugging Face transformers, ViTForImageClassification",
          .prefixes = {""},
          .rows = Join<R>({
              {PlainRow("vit.embeddings.cls_token", "class_embedding", Stage::kEvery),
               {.name = "vit.embeddings.position_embeddings",
                .canonical = "position_embedding.weight",
                .transform = &kReshape,
                .shape = "1, positions, width"}},
              both("vit.embeddings.patch_embeddings.projection", "patch_embedding"),
              std::move(qkv),
              both(layer + "attention.output.dense", "layers.{i}.attn.out"),
              both(layer + "intermediate.dense", "layers.{i}.mlp.up"),
              both(layer + "output.dense", "layers.{i}.mlp.down"),
              both(layer + "layernorm_before", "layers.{i}.norm1"),
              both(layer + "layernorm_after", "layers.{i}.norm2"),
              both("vit.layernorm", "final_norm"),
              both("classifier", "head.out"),
          }),
          .never = "pre_norm, layer_scale, mlp_head",
          .language = ConfigLanguage::kHuggingFace};
}

// NeMo's config of the checkpoint, whatever it is stored as.
Result<ConfigNode> NemoModel(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name) {
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, name));
  if (!IsVitJson(config->root())) return ModelNode(*config);
  Result<ConfigNode> model = NemoVitConfig(config->root(), DType::kF32);
  if (!model.ok()) return model.status().In(*name);
  return model;
}

Status SetVitSymbols(const ConfigNode& model, ModelSymbols* symbols) {
  ANEMONE_TRY(SetLayerSymbols(model, "", kParts, symbols));
  constexpr uint64_t kNemoTokens = 8;
  ANEMONE_ASSIGN(const uint64_t tokens, SizeOf(model, "class_token_length", kNemoTokens));
  ANEMONE_ASSIGN(const uint64_t patch, SizeOf(model, "patch_dim"));
  ANEMONE_ASSIGN(const uint64_t height, SizeOf(model, "img_h"));
  ANEMONE_ASSIGN(const uint64_t width, SizeOf(model, "img_w"));
  ANEMONE_ASSIGN(const uint64_t channels, SizeOf(model, "num_channels", 3));
  ANEMONE_ASSIGN(const uint64_t classes, SizeOf(model, "num_classes"));
  ANEMONE_ASSIGN(const std::string positions, TextOf(model, "position_embedding_type", "learned_absolute"));
  ANEMONE_ASSIGN(const bool pre_norm, FlagOf(model, "preprocess_layernorm", false));
  ANEMONE_ASSIGN(const bool layer_scale, FlagOf(model, "layerscale", false));
  ANEMONE_ASSIGN(const bool finetune, FlagOf(model, "finetune", false));
  symbols->Set("class_tokens", tokens);
  symbols->Set("patch", patch);
  symbols->Set("channels", channels);
  symbols->Set("classes", classes);
  const uint64_t rows = height / patch, columns = width / patch;
  if (rows == 0 || columns == 0 || rows > UINT32_MAX || columns > UINT32_MAX || tokens > UINT32_MAX)
    return Corrupt(
        fmt::format("img_h, img_w: expected whole patches of {} pixels, found {} by {}", patch, height, width));
  symbols->Set("positions", rows * columns + tokens);
  symbols->Set("learned_parameters", positions == "learned_parameters");
  symbols->Set("pre_norm", pre_norm);
  symbols->Set("layer_scale", layer_scale);
  symbols->Set("mlp_head", !finetune);
  return {};
}

Status ReadVitSymbols(const Checkpoint& checkpoint, const Dialect&, const TranslateOptions& options,
                      ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, NemoModel(checkpoint, options, &name));
  return SetVitSymbols(model, symbols).In(name);
}

Result<Target> ToHuggingFace(const Checkpoint& source, const Dialect& from, const ModelSymbols& symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, NemoModel(source, {}, &name));
  // Each class gets a name: as many as there are.
  ANEMONE_ASSIGN(const uint64_t classes, symbols.Get("classes"));
  ANEMONE_ASSIGN(const uint64_t rows, StoredVocabRows(source, from, "head.out.weight"));
  if (classes != rows)
    return Corrupt(fmt::format("num_classes: expected {}, the rows of the head, found {}", rows, classes)).In(name);
  ANEMONE_ASSIGN(const std::optional<Config> kept, KeptHfConfig(source, IsVitJson));
  const DType dtype = kept ? DTypeBy(kept->root(), source) : DTypeOf(source);
  Result<ConfigNode> json = HfVitConfig(model, kept ? &kept->root() : nullptr, dtype);
  if (!json.ok()) return json.status().In(name);
  return Target{symbols, Config(*std::move(json)), "config.json", {}};
}

// Most published models have one, which NeMo's patches have no place for.
Status CheckPatchBias(const Checkpoint& source) {
  constexpr const char* kName = "vit.embeddings.patch_embeddings.projection.bias";
  const StateDict::Item* item = source.weights().Find(kName);
  if (item == nullptr || item->tensor() == nullptr) return {};
  ANEMONE_ASSIGN(const Tensor wide, item->tensor()->Cast(DType::kF64));
  std::vector<double> values(wide.num_elements());
  ANEMONE_TRY(Fill(wide, 0, std::as_writable_bytes(std::span(values))));
  if (std::ranges::all_of(values, [](double value) { return value == 0; })) return {};
  return Unsupported(fmt::format("{}: expected zeros, as NeMo projects patches without a bias, found others", kName),
                     std::string(kWeightsAlone));
}

Result<Target> VitTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                         const TranslateOptions& options, const ModelSymbols& symbols) {
  if (from.is_megatron && !to.is_megatron) return ToHuggingFace(source, from, symbols);
  Target target{symbols, options.hparams ? options.hparams : source.config,
                options.hparams ? options.hparams_name : source.config_name};
  if (from.is_megatron || !to.is_megatron) return target;
  if (options.strict) ANEMONE_TRY(CheckPatchBias(source));
  if (options.hparams || !source.config) return target;
  Result<ConfigNode> model = NemoVitConfig(source.config->root(), DTypeOf(source), &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  target.config = Config(*std::move(model));
  target.config_name = "model_config.yaml";
  return target;
}

// A config.json of another class, whose tensors are called alike.
std::string ForeignVit(const Config& config) {
  const ConfigNode& root = config.root();
  return IsVitJson(root) ? "" : ClassNamedIn(root);
}

}  // namespace

const Family& VitFamily() {
  static const Family family = {.name = "vit",
                                .title = "ViT",
                                .symbols = Declared(),
                                .canonical = Canonical(),
                                .dialects = {Legacy(), HuggingFace()},
                                .refusals = {{"vit.pooler.", "a ViT without a classifier"},
                                             {"distillation_classifier.", "a DeiT with a teacher's head"},
                                             {"cls_classifier.", "a DeiT with a teacher's head"},
                                             {"embeddings.mask_token", "a ViT that fills in masked patches"}},
                                .pipeline_warning = "NeMo's ViT is documented for one pipeline stage alone",
                                .read_symbols = ReadVitSymbols,
                                .target = VitTarget,
                                .foreign = ForeignVit};
  return family;
}

}  // namespace anemone
