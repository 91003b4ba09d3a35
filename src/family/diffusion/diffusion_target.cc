#include "family/diffusion/diffusion_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/listing.h"
#include "config/companions.h"
#include "config/nodes.h"
#include "family/clip/clip_vocabulary.h"
#include "family/diffusion/diffusers_config.h"
#include "family/diffusion/diffusers_names.h"
#include "family/diffusion/diffusion_config.h"
#include "family/diffusion/diffusion_symbols.h"
#include "family/diffusion/noise_schedule.h"
#include "family/diffusion/stored_names.h"
#include "family/diffusion/text_encoder.h"
#include "family/families.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/json_artifact.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr std::string_view kTokenizer = "tokenizer/";
// The tokens that fill up a text: OpenCLIP's of id 0, and OpenAI's.
constexpr std::string_view kOpenClipPad = "!", kEndOfText = "<|endoftext|>";

// The logarithm of 100, which training ends at.
constexpr double kLogitScale = 4.6052;

// [NeMo v2.0.0 encoders/modules.py: FrozenCLIPEmbedder, FrozenMegatronCLIPEmbedder; FrozenOpenCLIPEmbedder does not]
constexpr std::string_view kFilledUp =
    "NeMo fills up a text's 77 vectors with zeros to 80, which its UNet attends to; others do not: pictures differ a "
    "little (diffusers computes the same of prompt_embeds with these zeros)";

bool IsPipeline(const Dialect& dialect) { return dialect.name == kPipelineDialect; }

// NeMo's config of the model: its own, what the user gives, or what a pipeline's files and a single file's tensors say.
Result<ConfigNode> ModelOf(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                           std::string* name, std::vector<std::string>* notes = nullptr) {
  if (dialect.is_megatron) {
    ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, name));
    return dialect.name == kDreamBoothDialect ? OfDreamBooth(ModelNode(*config)) : ModelNode(*config);
  }
  if (IsPipeline(dialect)) {
    if (!checkpoint.config) return NotFound("expected the components' configs, found none");
    return NemoOfDiffusers(checkpoint.config->root(), options.strict, notes);
  }
  if (!options.hparams) return ConfigOfTensors(checkpoint);
  *name = options.hparams_name;
  return ModelNode(*options.hparams);
}

// The text encoder is as its config says. Errors: Corrupt, naming what is not.
Status CheckText(const ConfigNode& config, bool strict, const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const bool has_text, symbols.Holds("text"));
  if (!has_text) return {};
  ANEMONE_ASSIGN(const ClipArchitecture spec, TextOfDiffusers(config, strict));
  const std::pair<const char*, std::pair<const char*, uint64_t>> sizes[] = {
      {"num_hidden_layers", {"text.layers", spec.text.layers}},
      {"hidden_size", {"text.width", spec.text.width}},
      {"intermediate_size", {"text.ffn", spec.text.ffn}},
      {"max_position_embeddings", {"text.positions", spec.context}},
      {"vocab_size", {"text.vocab", spec.vocab.value_or(0)}}};
  for (const auto& [key, said] : sizes) {
    ANEMONE_ASSIGN(const uint64_t stored, symbols.Get(said.first));
    if (stored != said.second)
      return Corrupt(fmt::format("{}: expected {}, as the tensors have it, found {}", key, stored, said.second))
          .In("text_encoder/config.json");
  }
  return {};
}

// NeMo's own CLIP by the names that readers of single files know: OpenAI's are transformers', the others OpenCLIP's.
Status RenameNemosText(const ConfigNode& model, DType dtype, Target* target) {
  ANEMONE_ASSIGN(const TextEncoder text, TextEncoderOf(model, target->symbols, &target->notes));
  const bool is_openais = text.tower.activation == "quick_gelu" && !text.skips_last;
  if (!is_openais && (text.tower.activation != "gelu" || !text.skips_last)) {
    return Unsupported(
               fmt::format(
                   "cond_stage_config: expected a CLIP that readers of single files know (quick-gelu and layer: "
                   "last, or gelu and layer: penultimate), found {} and layer: {}",
                   text.tower.activation, text.skips_last ? "penultimate" : "last"))
        .Use("to", "diffusers", "write a folder of diffusers, which says what it is");
  }
  target->symbols.Set("text.megatron", 0);
  target->symbols.Set(is_openais ? "text.transformers" : "text.openclip", 1);
  if (is_openais) {
    target->symbols.Set("text.projects", 0);
    target->symbols.Set("projection", 0);
    return {};
  }
  ANEMONE_ASSIGN(Tensor scale, Tensor::Fill(dtype, {}, kLogitScale));
  target->notes.push_back("made 1 tensor: the scale of logits, with which nothing is computed");
  return target->made.Add("text.logit_scale", std::move(scale));
}

Result<Target> ToLdm(const ConfigNode& model, DType dtype, Target target) {
  ANEMONE_ASSIGN(const bool is_megatron, target.symbols.Holds("text.megatron"));
  if (is_megatron) ANEMONE_TRY(RenameNemosText(model, dtype, &target));
  if (std::string note = WhatReadersMustBeTold(model); !note.empty()) target.notes.push_back(std::move(note));
  return target;
}

// The class that a YAML names stores its text encoder by the names of the one that is stored. Errors: Unsupported.
Status CheckTextClass(const ConfigNode& given, const ModelSymbols& symbols, const std::string& name) {
  const Result<std::string_view> flag = TextFlagOf(given);
  if (!flag.ok()) return flag.status().In(name);
  ANEMONE_ASSIGN(const bool fits, symbols.Holds(*flag));
  if (fits) return {};
  return Unsupported(fmt::format("cond_stage_config: expected the class of the text encoder that is stored, found {}",
                                 Shown(WordAt(given, "cond_stage_config._target_"))))
      .In(name);
}

// Without a YAML, NeMo's model is the published one. It builds a text encoder by its name.
Status CheckPublishedParts(const ConfigNode& model, const ClipArchitecture& text, bool is_openclip) {
  const ConfigNode& channels = WordAt(model, "unet_config.in_channels");
  if (channels.AsInt() != 4) {
    return Unsupported(
               fmt::format("in_channels: expected 4, as MegatronLatentDiffusion has, found {}", Shown(channels)))
        .In("unet/config.json")
        .Use("hparams", "FILE", "give NeMo's YAML");
  }
  const ClipArchitecture known = *ClipPreset(is_openclip ? "ViT-H-14" : "ViT-L-14");
  const uint64_t layers = text.text.layers + (is_openclip ? 1 : 0);
  const bool fits = layers == known.text.layers && text.text.width == known.text.width &&
                    text.text.heads == known.text.heads && text.text.ffn == known.text.ffn &&
                    text.vocab == known.vocab && text.context == known.context;
  if (fits) return {};
  return Unsupported(
             fmt::format("expected the text encoder of {}, which NeMo builds by its name, found one of {} layers of {} "
                         "and {} tokens",
                         is_openclip ? "OpenCLIP's ViT-H-14 (without its last layer)" : "openai/clip-vit-large-patch14",
                         text.text.layers, text.text.width, text.vocab.value_or(0)))
      .In("text_encoder/config.json")
      .Use("hparams", "FILE", "give NeMo's YAML");
}

// OpenCLIP's text encoder as others than transformers store it: with a layer behind the last one that is computed with,
// and with what contrastive training needed.
Status MakeOpenClip(DType dtype, Target* target) {
  ANEMONE_ASSIGN(const uint64_t used, target->symbols.Get("text.layers"));
  ANEMONE_ASSIGN(const uint64_t width, target->symbols.Get("text.width"));
  for (const auto& [symbol, value] : {std::pair<const char*, uint64_t>{"text.transformers", 0},
                                      {"text.openclip", 1},
                                      {"text.projects", 1},
                                      {"projection", width},
                                      {"text.layers", used + 1}})
    target->symbols.Set(symbol, value);
  const std::string last = fmt::format("text.layers.{}.", used);
  ANEMONE_TRY(ForEachTensor(StableDiffusionFamily().canonical, target->symbols,
                            [&](std::string name, const Shape& shape) -> Status {
                              const bool is_scale = name == "text.logit_scale";
                              if (!is_scale && name != "text.projection.weight" && !name.starts_with(last)) return {};
                              ANEMONE_ASSIGN(Tensor tensor, Tensor::Fill(dtype, shape, is_scale ? kLogitScale : 0));
                              return target->made.Add(std::move(name), std::move(tensor));
                            }));
  target->notes.push_back(
      fmt::format("made {} tensors of the text encoder, with which nothing is computed: its last layer, its projection "
                  "and the scale of logits",
                  target->made.size()));
  return {};
}

Status AddSchedule(Target* target) {
  ANEMONE_ASSIGN(const StateDict schedule, NoiseSchedule(target->config->root()));
  for (const StateDict::Item& item : schedule.items()) ANEMONE_TRY(target->made.Add(item.name, item.entry));
  target->notes.push_back(
      fmt::format("made {} tensors: the noise schedule of linear_start, linear_end and timesteps", schedule.size()));
  target->symbols.Set("schedule", 1);
  return {};
}

// NeMo tokenizes as OpenAI's CLIP or OpenCLIP do, whatever lies in the folder.
Status NoteOtherTokenizer(const Checkpoint& source, bool is_openclip, std::vector<std::string>* notes) {
  constexpr uint64_t kMost = uint64_t{16} << 20;
  const auto without_end = [](std::string_view text) { return text.substr(0, text.find_last_not_of(" \r\n") + 1); };
  if (const Artifact* merges = source.FindArtifact(std::string(kTokenizer) + "merges.txt")) {
    ANEMONE_ASSIGN(const std::string text, merges->content.ReadAll(kMost));
    if (without_end(text) != without_end(ClipMerges()))
      notes->push_back("tokenizer/merges.txt: they are not CLIP's, by which NeMo tokenizes: texts get other tokens");
  }
  ANEMONE_ASSIGN(const std::optional<Config> config,
                 ReadJsonArtifact(source, std::string(kTokenizer) + "tokenizer_config.json"));
  if (!config) return {};
  const ConfigNode* pad = config->root().Get("pad_token");
  if (pad != nullptr && pad->is_map()) pad = pad->Get("content");
  const std::string_view wanted = is_openclip ? kOpenClipPad : kEndOfText;
  const std::string found = pad == nullptr ? "" : pad->AsString().value_or("");
  if (!found.empty() && found != wanted) {
    notes->push_back(fmt::format(
        "tokenizer/tokenizer_config.json: pad_token: a text is filled up with {}, by NeMo with {}", found, wanted));
  }
  return {};
}

Result<Target> FromPipeline(const Checkpoint& source, const Dialect& from, const Dialect& to,
                            const TranslateOptions& options, const ModelSymbols& symbols) {
  std::string name;
  Target target{.symbols = symbols, .config = std::nullopt, .config_name = {}};
  ANEMONE_TRY(CheckWhole(symbols));
  const ConfigNode& config = source.config->root();
  if (!WordAt(config, "scheduler").is_map())
    return NotFound("expected scheduler/scheduler_config.json, which says what the UNet predicts, found none");
  ANEMONE_ASSIGN(ConfigNode model, ModelOf(source, from, options, &name, &target.notes));
  ANEMONE_ASSIGN(const ClipArchitecture text, TextOfDiffusers(config, options.strict));
  if (text.text.activation != "gelu" && text.text.activation != "quick_gelu") {
    return Unsupported(fmt::format("hidden_act: expected quick_gelu or gelu, found {}", text.text.activation))
        .In("text_encoder/config.json");
  }
  bool is_openclip = text.text.activation == "gelu";
  if (options.hparams) {
    const ConfigNode given = ModelNode(*options.hparams);
    ANEMONE_TRY(CheckSameModel(model, given, options.hparams_name));
    ANEMONE_ASSIGN(const TextEncoder said, TextEncoderOf(given, symbols, nullptr));
    if (said.flag == "text.megatron") {
      return Unsupported(
                 "cond_stage_config: expected FrozenCLIPEmbedder or FrozenOpenCLIPEmbedder, found "
                 "FrozenMegatronCLIPEmbedder")
          .In(options.hparams_name);
    }
    is_openclip = said.flag == "text.openclip";
    if (is_openclip && !said.skips_last)
      return Unsupported("cond_stage_config.layer: expected penultimate, found last").In(options.hparams_name);
    model = given;
  } else {
    model["cond_stage_config"] = TextEncoderConfig(is_openclip ? "text.openclip" : "text.transformers");
    if (to.is_megatron) ANEMONE_TRY(CheckPublishedParts(model, text, is_openclip));
  }
  if (is_openclip) ANEMONE_TRY(MakeOpenClip(DTypeOf(source), &target));
  if (!to.is_megatron) return ToLdm(model, DTypeOf(source), std::move(target));
  ANEMONE_TRY(NoteOtherTokenizer(source, is_openclip, &target.notes));
  target.config = Config(std::move(model));
  target.config_name = options.hparams ? options.hparams_name : "model_config.yaml";
  ForgetPretrained(&target.config->root());
  ANEMONE_TRY(AddSchedule(&target));
  return target;
}

Result<Target> ToPipeline(const Checkpoint& source, const ConfigNode& model, const Dialect& from,
                          const TranslateOptions& options, const ModelSymbols& symbols) {
  Target target{.symbols = symbols, .config = std::nullopt, .config_name = "model_index.json"};
  ANEMONE_TRY(CheckWhole(symbols));
  ANEMONE_ASSIGN(const bool has_control, symbols.Holds("control"));
  if (has_control) {
    return Unsupported("control_stage_config: expected a Stable Diffusion without a ControlNet, found one with it")
        .Use("dialect", "ldm", "write a single file, which diffusers' ControlNetModel.from_single_file reads");
  }
  if (!from.is_megatron && !options.hparams) ANEMONE_TRY(CheckPublished(model, &target.notes));
  ANEMONE_TRY(CheckStoredSchedule(source, model));
  ANEMONE_ASSIGN(const TextEncoder text, TextEncoderOf(model, symbols, &target.notes));
  for (const auto& [symbol, value] : {std::pair<const char*, uint64_t>{"text.transformers", 1},
                                      {"text.openclip", 0},
                                      {"text.megatron", 0},
                                      {"text.projects", 0},
                                      {"projection", 0},
                                      {"text.layers", text.tower.layers},
                                      {"schedule", 0}})
    target.symbols.Set(symbol, value);
  ANEMONE_ASSIGN(ConfigNode config, DiffusersOfNemo(model, text, target.symbols, DTypeOf(source)));
  target.config = Config(std::move(config));
  return target;
}

void AddFile(const std::string& name, std::string bytes, Checkpoint* checkpoint) {
  checkpoint->artifacts.push_back({name, Whole(MemorySource(std::move(bytes), name))});
}

// CLIP's own, which NeMo takes by name.
Status AddTokenizer(Checkpoint* result) {
  for (const char* file : {"vocab.json", "tokenizer.json"}) {
    if (result->FindArtifact(file) != nullptr || result->FindArtifact(std::string(kTokenizer) + file) != nullptr)
      return {};
  }
  const ConfigNode& text = WordAt(result->config->root(), "text_encoder");
  if (WordAt(text, "vocab_size").AsInt() != static_cast<int64_t>(kClipVocab)) {
    result->notes.push_back(
        "no tokenizer is written: put the files of the one that the text encoder was trained with into tokenizer/");
    return {};
  }
  ConfigNode config = ConfigNode::Map();
  config["tokenizer_class"] = ConfigNode::String("CLIPTokenizer");
  config["bos_token"] = ConfigNode::String("<|startoftext|>");
  for (const char* key : {"eos_token", "unk_token"}) config[key] = TextNode(kEndOfText);
  config["pad_token"] = TextNode(WordAt(text, "hidden_act").AsString() == "gelu" ? kOpenClipPad : kEndOfText);
  config["do_lower_case"] = ConfigNode::Bool(true);
  config["model_max_length"] = WordAt(text, "max_position_embeddings");
  AddFile(std::string(kTokenizer) + "vocab.json", ClipVocabJson(), result);
  AddFile(std::string(kTokenizer) + "merges.txt", std::string(ClipMerges()), result);
  AddFile(std::string(kTokenizer) + "tokenizer_config.json", Config(std::move(config)).ToJson() + "\n", result);
  return {};
}

Result<Target> TargetOf(const Checkpoint& source, const Dialect& from, const Dialect& to,
                        const TranslateOptions& options, const ModelSymbols& symbols) {
  if (IsPipeline(from) && &from == &to) return Target{symbols, source.config, source.config_name};
  if (IsPipeline(from)) return FromPipeline(source, from, to, options, symbols);
  std::string name;
  ANEMONE_ASSIGN(ConfigNode model, ModelOf(source, from, options, &name));
  if (IsPipeline(to)) return ToPipeline(source, model, from, options, symbols);
  if (!to.is_megatron) {
    Target plain{.symbols = symbols, .config = std::nullopt, .config_name = {}};
    return from.is_megatron ? ToLdm(model, DTypeOf(source), std::move(plain)) : plain;
  }
  Target target{symbols,
                Config(options.hparams ? ModelNode(*options.hparams) : model),
                options.hparams ? options.hparams_name : "model_config.yaml",
                {}};
  if (from.is_megatron && &from == &to) {
    if (!options.hparams) target.config = source.config;
    return target;
  }
  if (!from.is_megatron) {
    ANEMONE_TRY(CheckWhole(symbols));
    ANEMONE_TRY(options.hparams ? CheckTextClass(model, symbols, options.hparams_name)
                                : CheckPublished(model, &target.notes));
  }
  ForgetPretrained(&target.config->root());
  ANEMONE_ASSIGN(const bool has_schedule, symbols.Holds("schedule"));
  if (!has_schedule) ANEMONE_TRY(AddSchedule(&target));
  return target;
}

}  // namespace

Status ReadDiffusionSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                            ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, ModelOf(checkpoint, dialect, options, &name));
  ANEMONE_TRY(SetDiffusionSymbols(model, symbols).In(name));
  ANEMONE_TRY(SetStoredParts(checkpoint, model, dialect.is_megatron, symbols));
  return IsPipeline(dialect) ? CheckText(checkpoint.config->root(), options.strict, *symbols) : Status();
}

Result<Target> DiffusionTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                               const TranslateOptions& options, const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(Target target, TargetOf(source, from, to, options, symbols));
  if (from.is_megatron == to.is_megatron) return target;
  for (const char* flag : {"text.transformers", "text.megatron"}) {
    ANEMONE_ASSIGN(const bool is_filled_up, (from.is_megatron ? symbols : target.symbols).Holds(flag));
    if (is_filled_up) target.notes.emplace_back(kFilledUp);
  }
  return target;
}

Status CompleteDiffusion(const Checkpoint& source, ConfigLanguage /*language*/, const TranslateOptions& /*options*/,
                         Checkpoint* result) {
  if (result->config && result->config->root().Get("model_index") != nullptr) return AddTokenizer(result);
  if (!source.config || source.config->root().Get("model_index") == nullptr) return {};
  // Files of components that only a pipeline has.
  std::vector<std::string> left;
  std::erase_if(result->artifacts, [&](const Artifact& artifact) {
    const size_t slash = artifact.name.find('/');
    const bool is_other = slash != std::string::npos && !artifact.name.starts_with(kTokenizer);
    if (is_other) left.push_back(artifact.name);
    return is_other;
  });
  if (!left.empty()) result->notes.push_back("left out files that only a pipeline has: " + Listing(left));
  return {};
}

}  // namespace anemone
