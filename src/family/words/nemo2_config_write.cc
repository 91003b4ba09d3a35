#include "family/words/nemo2_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include "family/words/gemma_words.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_classes.h"
#include "family/words/nemo2_pictures.h"
#include "family/words/nemo2_ssm.h"
#include "family/words/nemo2_tower.h"
#include "family/words/nemo2_words.h"
#include "family/words/neva_config.h"

namespace anemone {
namespace {

using nemo2::FlagOf;
using nemo2::Reference;
using nemo2::Target;
using nemo2::TextOf;

constexpr std::string_view kClip = "nemo.collections.vlm.clip.model.base.";
constexpr std::string_view kNeva = "nemo.collections.vlm.neva.model.";
constexpr std::string_view kFirstLlavaNext = "2.1.0";
constexpr std::string_view kSilu = "torch.nn.functional.silu";

// The values that NeMo 1 takes where its config says nothing.
void SaySilent(const ConfigNode& from, ConfigNode& to) {
  for (const nemo2::Pair& pair : nemo2::kShared) {
    if (pair.silent.empty() || from.Get(pair.nemo1) != nullptr) continue;
    if (auto map = Config::ParseYaml(fmt::format("value: {}", pair.silent), pair.nemo1); map.ok())
      to[std::string(pair.nemo2)] = *map->root().Get("value");
  }
}

bool IsHalf(const ConfigNode& model) {
  const ConfigNode* precision = model.Get("precision");
  return precision != nullptr && precision->ScalarText().starts_with("16");
}

Status TransformerToNemo2(const ConfigNode& from, bool is_half, ConfigNode& to) {
  nemo2::CopyShared(from, &nemo2::Pair::nemo1, &nemo2::Pair::nemo2, to);
  // NeMo 1 turns both off itself [megatron_base_model.py]; Megatron-core refuses them.
  if (ConfigNode* scaling = to.Get("apply_query_key_layer_scaling"); scaling != nullptr && !is_half)
    *scaling = ConfigNode::Bool(false);
  const ConfigNode* ranks = from.Get("tensor_model_parallel_size");
  ConfigNode* sequence = to.Get("sequence_parallel");
  if (sequence != nullptr && (ranks == nullptr || ranks->AsInt().value_or(1) == 1)) *sequence = ConfigNode::Bool(false);
  const std::string norm = TextOf(from, "normalization");
  to["normalization"] = TextNode(norm == "rmsnorm" ? "RMSNorm" : "LayerNorm");
  to["layernorm_zero_centered_gamma"] =
      ConfigNode::Bool(norm == "layernorm1p" || FlagOf(from, "layernorm_zero_centered_gamma"));
  const std::string activation = TextOf(from, "activation");
  const std::string_view wanted = activation.empty() ? "gelu" : std::string_view(activation);
  const auto* found = std::find_if(std::begin(nemo2::kActivations), std::end(nemo2::kActivations),
                                   [&](const nemo2::Activation& a) { return a.name == wanted; });
  if (found == std::end(nemo2::kActivations)) {
    return Unsupported(fmt::format("activation: expected one of NeMo's, found {}", activation));
  }
  to["activation_func"] = Reference(FlagOf(from, "openai_gelu") ? nemo2::kOpenAiGelu : found->function);
  to["gated_linear_unit"] = ConfigNode::Bool(found->gates);
  return {};
}

void PrecisionToNemo2(const ConfigNode& from, ConfigNode& to) {
  const ConfigNode* node = from.Get("precision");
  const std::string precision = node == nullptr ? "32" : node->ScalarText();
  const bool bf16 = precision.starts_with("bf16"), fp16 = precision.starts_with("16");
  to["bf16"] = ConfigNode::Bool(bf16);
  to["fp16"] = ConfigNode::Bool(fp16);
  to["params_dtype"] = Reference(bf16 ? "torch.bfloat16" : fp16 ? "torch.float16" : "torch.float32");
}

// `file`: a SentencePiece model's in context/. Others are known by name, with files of their own beside some.
ConfigNode TokenizerToNemo2(const ConfigNode* from, const std::string& file) {
  if (from != nullptr && from->Get("_target_") != nullptr) return *from;  // NeMo 2's already
  ConfigNode to = ConfigNode::Map();
  const std::string library = from == nullptr ? "" : TextOf(*from, "library");
  std::string name = from == nullptr ? "" : TextOf(*from, "type");
  if (library == "sentencepiece" && !file.empty()) {
    to["_target_"] = TextNode("nemo.collections.common.tokenizers.sentencepiece_tokenizer.SentencePieceTokenizer");
    to["model_path"] = TextNode(file);
    return to;
  }
  const bool is_megatrons = library == "megatron" && name == "GPT2BPETokenizer";
  if (is_megatrons) name = "gpt2";  // [nlp/modules/common/megatron/megatron_utils.py]
  if (name.empty() || (library == "megatron" && !is_megatrons)) return ConfigNode::Null();
  to["_target_"] = TextNode("nemo.collections.common.tokenizers.huggingface.auto_tokenizer.AutoTokenizer");
  // A plain text would be a folder in context/ [NeMo v2.0.0 lightning/io/mixin.py, _artifact_transform_load].
  ConfigNode& artifact = to["pretrained_model_name"] = ConfigNode::Map();
  artifact["_target_"] = TextNode("nemo.lightning.io.artifact.file.DirOrStringArtifact");
  artifact["attr"] = TextNode(name);
  artifact["skip"] = ConfigNode::Bool(true);
  constexpr nemo2::Pair kFiles[] = {{"vocab_file", "vocab_file"}, {"merge_file", "merges_file"}};
  for (const nemo2::Pair& pair : kFiles) {
    constexpr std::string_view kReference = "nemo:";
    const std::string text = TextOf(*from, pair.nemo1);
    if (is_megatrons && text.starts_with(kReference))
      to[std::string(pair.nemo2)] = TextNode(std::string_view(text).substr(kReference.size()));
  }
  return to;
}

void DeepSeekToNemo2(const ConfigNode& model, ConfigNode& config) {
  config["kv_channels"] = WordAt(model, "num_attention_heads");
  const ConfigNode& length = WordAt(model, nemo2::kStretched);
  config["max_position_embeddings"] = length.is_null() ? ConfigNode::Int(nemo2::kStretchedBuiltIn) : length;
  if (length.AsInt().value_or(nemo2::kStretchedBuiltIn) != nemo2::kStretchedBuiltIn) config[nemo2::kStretched] = length;
  const auto fill = [&](const char* key, ConfigNode value) {
    if (config.Get(key) == nullptr) config[key] = std::move(value);
  };
  // As NeMo's importer lists them [deepseek.py, HFDeepSeekImporter.config].
  fill("moe_layer_freq", ExpertsInAllLayers(model));
  fill("moe_router_pre_softmax", ConfigNode::Bool(true));
  for (const char* key : {"q_lora_rank", "moe_shared_expert_intermediate_size", "moe_router_num_groups",
                          "moe_router_group_topk", "moe_router_topk_scaling_factor"}) {
    fill(key, ConfigNode::Null());
  }
}

// The architecture that a config of NeMo 1 describes. Errors: Unsupported, for what NeMo 2 has not.
Result<const nemo2::Architecture*> ArchitectureOf(const ConfigNode& model, const ConfigNode& config) {
  const std::string target = TextOf(model, "target"), name = TextOf(model, "name");
  const std::string class_name = target.substr(target.rfind('.') + 1);
  if (name == kMambaName) return &nemo2::kSsm;
  const bool is_gpt = class_name.empty() || class_name.starts_with("MegatronGPT") || class_name == "MegatronNevaModel";
  if (!is_gpt) return Unsupported(fmt::format("target: expected a GPT or a CLIP, found {}", target));
  if (name == kGemma2Name) return &nemo2::kGemma2;
  if (name == kGemma3Name) return &nemo2::kGemma3;
  if (FlagOf(model, "multi_latent_attention")) return &nemo2::kDeepSeek;
  if (const std::string_view key = KeyBeyondNemo1(model); !key.empty())
    return Unsupported(fmt::format("{}: expected a model that NeMo 2 has, found other experts than DeepSeek's", key));
  if (!name.empty() && name != "te_gpt" && name != "megatron_gpt")
    return Unsupported(fmt::format("name: expected a layer that NeMo 2 builds, found {}", name));
  const std::string block = TextOf(model, "transformer_block_type"),
                    positions = TextOf(config, "position_embedding_type");
  if (!block.empty() && block != "pre_ln")
    return Unsupported(fmt::format("transformer_block_type: expected pre_ln, found {}", block));
  if (positions != "rope" && positions != "learned_absolute" && positions != "none")
    return Unsupported(fmt::format("position_embedding_type: expected rope or learned_absolute, found {}", positions),
                       positions == kYarn ? "no class of NeMo 2's but GPT-OSS scales so; Megatron-Bridge does" : "");
  const bool has_rope = positions == "rope", has_bias = FlagOf(config, "add_bias_linear", true);
  const bool gates = FlagOf(config, "gated_linear_unit"), is_silu = Target(config, "activation_func") == kSilu;
  const bool is_rms = TextOf(config, "normalization") == "RMSNorm";
  const auto is_set = [&](std::string_view key) {
    const ConfigNode* node = config.Get(key);
    return node != nullptr && !node->is_null();
  };
  const auto number = [&](std::string_view key) {
    const ConfigNode* node = config.Get(key);
    return node == nullptr ? 0 : node->AsInt().value_or(0);
  };
  if (is_rms && gates && has_rope && !has_bias) {
    const bool is_scaled = FlagOf(model, "scale_positional_embedding");
    if (FlagOf(model, "apply_embedding_scaling") && !is_scaled) return &nemo2::kGemma;
    // The one class that scales positions so; it builds experts, windows and biases as its fields say.
    if (is_scaled && !FlagOf(model, "apply_embedding_scaling")) return &nemo2::kLlama31;
    if (!is_silu || FlagOf(config, "qk_layernorm")) return &nemo2::kGpt;
    if (is_set("num_moe_experts")) return &nemo2::kMixtral;
    if (FlagOf(config, "add_qkv_bias")) return FlagOf(config, "rotary_interleaved") ? &nemo2::kChatGlm : &nemo2::kQwen2;
    return is_set("window_size") || HasOddHeads(config) ? &nemo2::kMistral : &nemo2::kLlama;
  }
  if (FlagOf(model, "apply_embedding_scaling") || FlagOf(model, "scale_positional_embedding"))
    return Unsupported("expected a model that NeMo 2 has, found scaled embeddings or positions in another");
  if (is_set("num_moe_experts")) return &nemo2::kGpt;
  if (has_rope && !has_bias && TextOf(model, "activation") == "squared-relu" &&
      TextOf(model, "normalization") == "layernorm1p")
    return &nemo2::kNemotron;
  const ConfigNode* part = config.Get("rotary_percent");
  const bool is_partial = part != nullptr && part->AsDouble().value_or(1) != 1;  // GPT-NeoX
  if (!is_rms && has_bias && !gates && has_rope) return is_partial ? &nemo2::kGpt : &nemo2::kStarcoder2;
  if (!is_rms && has_bias && !gates && number("num_query_groups") == 1) return &nemo2::kStarcoder;
  return &nemo2::kGpt;
}

// What the class alone does not say, or NeMo 1's converters have wrong.
void ArchitectureToNemo2(const nemo2::Architecture& architecture, const ConfigNode& model, const Nemo2Request& request,
                         ConfigNode& config, std::vector<std::string>& notes) {
  const auto number = [&](std::string_view key) {
    const ConfigNode* node = model.Get(key);
    return node == nullptr ? int64_t{0} : node->AsInt().value_or(0);
  };
  const int64_t fixed_rows = number("override_vocab_size"),
                ranks = std::max<int64_t>(1, number("tensor_model_parallel_size"));
  const int64_t rows = fixed_rows > 0 ? fixed_rows : static_cast<int64_t>(request.vocab_rows);
  if (architecture.has_vocab_size && rows > 0) {
    config["vocab_size"] = ConfigNode::Int(rows);
  } else if (fixed_rows > 0 && fixed_rows % ranks == 0) {
    // The class has no word for rows of its own: padding to all of them is the same.
    config["make_vocab_size_divisible_by"] = ConfigNode::Int(fixed_rows / ranks);
  }
  if (&architecture == &nemo2::kMixtral && FlagOf(config, "moe_router_pre_softmax")) {
    config["moe_router_pre_softmax"] = ConfigNode::Bool(false);
    notes.emplace_back("moe_router_pre_softmax: written as false, as Mixtral computes; NeMo's converter says true");
  }
  if (&architecture == &nemo2::kLlama31) {
    ConfigNode& factor = config["seq_len_interpolation_factor"];
    if (!factor.is_null())
      notes.emplace_back("seq_len_interpolation_factor: left out, as the class scales positions already");
    factor = ConfigNode::Null();
    for (const PositionFactor& position : PositionFactors()) {
      const auto value = WordAt(model, fmt::format("rope_scaling.{}", position.hf)).AsDouble();
      if (value) config[std::string(position.nemo2)] = NumberWord(*value);
    }
  }
  if (&architecture == &nemo2::kGemma3) GiveGemma3(model, config);
  if (&architecture == &nemo2::kDeepSeek) DeepSeekToNemo2(model, config);
  if (&architecture == &nemo2::kGemma2) GiveGemma2(model, config);
}

// The first version that has the architecture as the config says it, and what that version is told by.
struct FirstVersion {
  std::string_view since, what;
};
FirstVersion FirstVersionOf(const nemo2::Architecture& architecture, const ConfigNode& model) {
  // The first version whose Megatron-core has the key beside `max_position_embeddings`.
  constexpr std::string_view kFirstStretched = "2.5.0";
  const int64_t stretched = WordAt(model, nemo2::kStretched).AsInt().value_or(nemo2::kStretchedBuiltIn);
  if (MtpLayersOf(model) > 0 && nemo2::IsBefore(architecture.since, nemo2::kFirstMtp))
    return {&architecture == &nemo2::kDeepSeek && stretched != nemo2::kStretchedBuiltIn ? kFirstStretched
                                                                                        : nemo2::kFirstMtp,
            "layers that predict several tokens"};
  if (&architecture == &nemo2::kDeepSeek && stretched != nemo2::kStretchedBuiltIn)
    return {kFirstStretched, architecture.model_class};
  if (&architecture == &nemo2::kSsm && HasOwnMambaHeads(model)) return {kFirstMambaHeads, "mamba_num_heads"};
  return {architecture.since, architecture.model_class};
}

Result<ConfigNode> ClipToNemo2(const ConfigNode& from) {
  constexpr FixedWord kCommon[] = {{"use_siglip", "false", "false"}};
  ANEMONE_TRY(CheckFixed(from, kCommon, "NeMo 2's CLIP").Hint("NeMo 1 has SigLIP: OUT.nemo"));
  ConfigNode config = ConfigNode::Map();
  config["_target_"] = TextNode(std::string(kClip) + "CLIPConfig");
  PrecisionToNemo2(from, config);
  for (const bool is_text : {true, false}) {
    const ConfigNode& tower = *from.Get(is_text ? "text" : "vision");
    ConfigNode& to = config[is_text ? "text_transformer_config" : "vision_transformer_config"] = ConfigNode::Map();
    to["_target_"] = TextNode(std::string(kClip) + (is_text ? "CLIPTextModelConfig" : "CLIPViTConfig"));
    if (const Status status = TransformerToNemo2(tower, IsHalf(from), to); !status.ok())
      return status.In(is_text ? "text" : "vision");
    to.Erase("position_embedding_type");  // these classes have no such field
    PrecisionToNemo2(from, to);
    if (is_text) {
      if (const ConfigNode* length = tower.Get("max_position_embeddings")) to["max_seq_length"] = *length;
    } else {
      to["vision_model_type"] = TextNode("clip");
      to["add_class_token"] = ConfigNode::Bool(true);
    }
  }
  return config;
}

// What the written class computes must be what the model is.
Status CheckSameWords(const ConfigNode& model, const ConfigNode& model_yaml) {
  ANEMONE_ASSIGN(const ConfigNode read, ToNemo1Config(model_yaml));
  ANEMONE_ASSIGN(ConfigNode own, WordsOf(model, nullptr));
  ANEMONE_ASSIGN(const ConfigNode written, WordsOf(read, nullptr));
  if (TextOf(model_yaml, "_target_") == nemo2::kMixtral.model_class && !own["moe_router_pre_softmax"].is_null())
    own["moe_router_pre_softmax"] = ConfigNode::Bool(false);  // said in a note
  const std::vector<std::string> lines = DifferingWords(own, written);
  if (lines.empty()) return {};
  return Unsupported(
      fmt::format("expected a model that NeMo 2 has words for, found others: {}", fmt::join(lines, "; ")));
}

// A GPT's config of NeMo 2, and what builds a model of it.
struct Language {
  std::string_view model_class;
  ConfigNode config;
  std::string version;  // that is written for
};

Result<Language> LanguageToNemo2(const ConfigNode& model, const Nemo2Request& request, const nemo2::Model* asked,
                                 std::vector<std::string>& notes) {
  ANEMONE_TRY(CheckMegatronResidual(model));
  ConfigNode config = ConfigNode::Map();
  config["_target_"] = ConfigNode::Null();
  ANEMONE_TRY(TransformerToNemo2(model, IsHalf(model), config));
  SaySilent(model, config);
  PrecisionToNemo2(model, config);
  for (const char* key : {"encoder_seq_length", "max_position_embeddings"}) {
    if (const ConfigNode* length = model.Get(key); length != nullptr && !length->is_null())
      config["seq_length"] = *length;
  }
  ANEMONE_ASSIGN(const nemo2::Architecture* architecture, ArchitectureOf(model, config));
  const std::string_view model_class = asked != nullptr ? asked->model_class : architecture->model_class;
  if ((model_class == nemo2::kMixtral.model_class) != (architecture == &nemo2::kMixtral)) {
    return InvalidArgument(
        fmt::format("expected a {} as asked, found the config of a {}", model_class, architecture->model_class));
  }
  const auto [since, what] = FirstVersionOf(*architecture, model);
  ANEMONE_ASSIGN(std::string version, nemo2::VersionFor(request.version, since, what, notes));
  ArchitectureToNemo2(*architecture, model, request, config, notes);
  if (architecture == &nemo2::kSsm) ANEMONE_TRY(SsmToNemo2(model, config));
  config["_target_"] = TextNode(asked != nullptr ? asked->config_class : architecture->config_class);
  return Language{model_class, std::move(config), std::move(version)};
}

// Its class and config, into `to`.
Status LlavaToNemo2(const ConfigNode& model, const ConfigNode& mm_cfg, Language language, const Nemo2Request& request,
                    std::vector<std::string>& notes, ConfigNode& to) {
  const bool is_next = TextOf(mm_cfg, kPatchMerge) == kUnpad;
  const bool is_megatron = FlagOf(WordAt(mm_cfg, "vision_encoder"), kIsMegatronTower);
  std::string version = std::move(language.version);
  if (is_next) {
    ANEMONE_ASSIGN(version, nemo2::VersionFor(request.version, kFirstLlavaNext, "LLaVA-NeXT", notes));
  } else if (is_megatron) {
    ANEMONE_ASSIGN(version,
                   nemo2::VersionFor(request.version, kFirstMegatronTower, "the layers of such a tower", notes));
  }
  to["_target_"] = TextNode(is_next ? fmt::format("{}llava_next.LlavaNextModel", kLlavaNext)
                                    : fmt::format("{}llava.LlavaModel", kNeva));
  ConfigNode& config = to["config"] = ConfigNode::Map();
  config["_target_"] =
      TextNode(is_next ? fmt::format("{}base.LlavaNextConfig", kLlavaNext) : fmt::format("{}llava.LlavaConfig", kNeva));
  ANEMONE_TRY(SeeingToNemo2(mm_cfg, language.config, version, config));
  if (is_megatron) PrecisionToNemo2(model, config["vision_transformer_config"]);
  config["language_transformer_config"] = std::move(language.config);
  return {};
}

}  // namespace

Result<ConfigNode> ToNemo2Config(const ConfigNode& model_config, const Nemo2Request& request,
                                 std::vector<std::string>* notes) {
  const nemo2::Model* asked = request.id.empty() ? nullptr : nemo2::FindModel(request.id);
  if (!request.id.empty() && asked == nullptr) {
    return InvalidArgument(fmt::format("expected a model NeMo 2 converts, found '{}'", request.id),
                           fmt::format("known are {}", fmt::join(nemo2::ModelIds(), ", ")));
  }
  std::vector<std::string> said;
  ConfigNode to = ConfigNode::Map();
  const ConfigNode *text = model_config.Get("text"), *vision = model_config.Get("vision");
  if (text != nullptr && text->is_map() && vision != nullptr && vision->is_map()) {
    ANEMONE_TRY(nemo2::VersionFor(request.version, nemo2::kFirstClip, "CLIP", said).status());
    to["_target_"] = TextNode(std::string(kClip) + "CLIPModel");
    ANEMONE_ASSIGN(to["config"], ClipToNemo2(model_config));
    to["tokenizer"] = TokenizerToNemo2(model_config.Get("tokenizer"), request.tokenizer);
    if (notes != nullptr) notes->insert(notes->end(), said.begin(), said.end());
    return to;
  }
  if (model_config.Get("num_layers") == nullptr || model_config.Get("hidden_size") == nullptr) {
    const bool is_t5 = model_config.Get("encoder") != nullptr && model_config.Get("decoder") != nullptr;
    return Unsupported(fmt::format("expected the config of a GPT or a CLIP, found {}",
                                   is_t5 ? "that of a T5: NeMo 2.0 has none" : "neither's sizes"));
  }
  ANEMONE_ASSIGN(Language language, LanguageToNemo2(model_config, request, asked, said));
  if (const ConfigNode* seeing = model_config.Get("mm_cfg"); seeing != nullptr && seeing->is_map()) {
    ANEMONE_TRY(LlavaToNemo2(model_config, *seeing, std::move(language), request, said, to));
  } else {
    to["_target_"] = TextNode(language.model_class);
    to["config"] = std::move(language.config);
    ANEMONE_TRY(CheckSameWords(model_config, to));
  }
  to["optim"] = ConfigNode::Null();
  to["tokenizer"] = TokenizerToNemo2(model_config.Get("tokenizer"), request.tokenizer);
  to["model_transform"] = ConfigNode::Null();
  if (notes != nullptr) notes->insert(notes->end(), said.begin(), said.end());
  return to;
}

}  // namespace anemone
