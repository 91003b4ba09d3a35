// Which class of transformers computes what a decoder's config says (hf_config.h).
#include <fmt/format.h>

#include "family/words/config_languages.h"
#include "family/words/hf_config.h"
#include "family/words/hf_keys.h"
#include "family/words/model_words.h"

namespace anemone {

using internal::IsTrue;
using internal::Text;

std::string internal::KnownHfClasses() {
  std::vector<std::string_view> known;
  for (const HfArchitecture& a : HfArchitectures()) known.push_back(a.name);
  return fmt::format("known are {}", fmt::join(known, ", "));
}

Result<const HfArchitecture*> HfArchitectureNamed(std::string_view name) {
  if (const HfArchitecture* found = FindHfArchitecture(name)) return found;
  // A model of pictures and texts, of which this is the language model.
  constexpr std::string_view kOfPictures = "ForConditionalGeneration";
  const std::string language = std::string(name.substr(0, name.rfind(kOfPictures))) + "ForCausalLM";
  if (name.ends_with(kOfPictures) && FindHfArchitecture(language) != nullptr) {
    return WrongOption("architecture", fmt::format("expected the class of a language model alone, found {}", name),
                       fmt::format("that is {}", language));
  }
  return WrongOption("architecture",
                     fmt::format("expected the class of a language model that is known, found {}", name),
                     internal::KnownHfClasses());
}

Result<const HfArchitecture*> HfArchitectureOf(const ConfigNode& model) {
  ANEMONE_ASSIGN(const ConfigNode words, WordsOf(model, nullptr));
  const auto text = [&](std::string_view word) { return Text(WordAt(words, word)); };
  const auto is = [&](std::string_view word) { return IsTrue(WordAt(words, word)); };
  const auto has = [&](std::string_view word) { return !WordAt(words, word).is_null(); };
  const auto number = [&](std::string_view word) { return WordAt(words, word).AsInt().value_or(0); };
  const std::string norm = text("normalization"), activation = text("activation"), name = text("name");
  const std::string positions = text("position_embedding_type");
  const bool rope = positions == "rope" || positions == kYarn, learned = positions == "learned_absolute",
             is_partial = WordAt(words, "rotary_percentage").AsDouble() != 1.0;
  std::string_view found;
  if (is("multi_latent_attention")) {
    found = text("moe_router_score_function") == "sigmoid" ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM";
  } else if (name == "megatron_gemma2") {
    found = "Gemma2ForCausalLM";
  } else if (name == kGemma3Name) {
    found = "Gemma3ForCausalLM";
  } else if (name == "megatron_falcon_gpt") {
    found = "FalconForCausalLM";
  } else if (rope && norm == "rmsnorm" && activation == "geglu" && is("apply_embedding_scaling")) {
    found = "GemmaForCausalLM";
  } else if (rope && norm == "rmsnorm" && activation.ends_with("glu")) {
    found = has("num_moe_experts")     ? is("qk_layernorm") ? "Qwen3MoeForCausalLM" : "MixtralForCausalLM"
            : is("qk_layernorm")       ? "Qwen3ForCausalLM"
            : is("rotary_interleaved") ? "ChatGLMForConditionalGeneration"
            : is_partial               ? "Phi3ForCausalLM"
            : is("bias")               ? "LlamaForCausalLM"
            : is("qkv_bias")           ? "Qwen2ForCausalLM"
            : has("window_size") || HasOddHeads(words) ? "MistralForCausalLM"
                                                       : "LlamaForCausalLM";
  } else if (rope && norm == "layernorm" &&
             (activation == "squared-relu" || (activation == "gelu" && is("layernorm_zero_centered_gamma")))) {
    found = "NemotronForCausalLM";
  } else if (rope && norm == "layernorm" && activation == "gelu") {
    found = is_partial || is("parallel_residual") ? "GPTNeoXForCausalLM" : "Starcoder2ForCausalLM";
  } else if (learned && norm == "layernorm" && activation == "gelu") {
    found = number("num_query_groups") == 1 && number("num_attention_heads") > 1 ? "GPTBigCodeForCausalLM"
                                                                                 : "GPT2LMHeadModel";
  }
  if (const HfArchitecture* architecture = found.empty() ? nullptr : FindHfArchitecture(found)) return architecture;
  return Unsupported(
      fmt::format("expected a model that a class of transformers computes, found positions {}, norms {}, activation {}",
                  positions, norm, activation),
      std::string(kWeightsAlone));
}

}  // namespace anemone
