#include "family/words/nemo2_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <span>

namespace anemone::nemo2 {
namespace {

#define ANEMONE_LLM "nemo.collections.llm.gpt.model."

constexpr Model kModels[] = {
    {"meta-llama/Llama-2-7b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config7B"},
    {"meta-llama/Llama-2-13b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config13B"},
    {"meta-llama/Llama-2-70b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config70B"},
    {"meta-llama/Meta-Llama-3-8B", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama3Config8B"},
    {"meta-llama/Meta-Llama-3-70B", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama3Config70B"},
    {"mistralai/Mixtral-8x7B-v0.1", ANEMONE_LLM "mixtral.MixtralModel", ANEMONE_LLM "mixtral.MixtralConfig8x7B"},
    {"mistralai/Mixtral-8x22B-v0.1", ANEMONE_LLM "mixtral.MixtralModel", ANEMONE_LLM "mixtral.MixtralConfig8x22B"},
    {"mistralai/Mistral-7B-v0.1", ANEMONE_LLM "mistral.MistralModel", ANEMONE_LLM "mistral.MistralConfig7B"},
    {"nvidia/nemotron-3-8b-base-4k", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron3Config8B"},
    {"nemotron4-22b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config22B"},
    {"nemotron4-15b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config15B"},
    {"nemotron4-340b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config340B"},
};

// Modules of nemo.collections.llm.gpt.model. Left out on purpose: llama_embedding, reranker and hf_llama_embedding,
// which attend in both directions; hyena.
constexpr std::string_view kKnownDecoders[] = {
    "baichuan.", "base.",    "chatglm.",  "deepseek.", "gemma.", "gemma2.", "gemma3.", "llama.",     "llama_nemotron.",
    "mistral.",  "mixtral.", "nemotron.", "phi3mini.", "qwen2.", "qwen3.",  "ssm.",    "starcoder.", "starcoder2.",
};
constexpr std::string_view kKnownModules[] = {
    "nemo.collections.vlm.clip.model.",
    "nemo.collections.vlm.layer_specs.",
    "nemo.collections.vlm.llava_next.model.",
    "nemo.collections.vlm.neva.model.",
    "nemo.collections.vlm.vision.",
    "megatron.core.",
    "transformer_engine.",
};

// Numbers between dots, to be compared; of anything else none.
std::vector<int64_t> ParseVersion(std::string_view text) {
  std::vector<int64_t> numbers(1, 0);
  for (const char c : text) {
    if (c == '.') {
      numbers.push_back(0);
    } else if (c >= '0' && c <= '9' && numbers.back() < 10'000) {
      numbers.back() = 10 * numbers.back() + (c - '0');
    } else {
      return {};
    }
  }
  return numbers;
}

}  // namespace

const Architecture kGpt = {ANEMONE_LLM "base.GPTModel", ANEMONE_LLM "base.GPTConfig", "2.0.0"};
const Architecture kLlama = {ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.LlamaConfig", "2.0.0"};
const Architecture kLlama31 = {ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama31Config", "2.0.0"};
const Architecture kMistral = {ANEMONE_LLM "mistral.MistralModel", ANEMONE_LLM "mistral.MistralConfig7B", "2.0.0"};
const Architecture kMixtral = {ANEMONE_LLM "mixtral.MixtralModel", ANEMONE_LLM "mixtral.MixtralConfig", "2.0.0"};
const Architecture kQwen2 = {ANEMONE_LLM "qwen2.Qwen2Model", ANEMONE_LLM "qwen2.Qwen2Config", "2.0.0", true};
const Architecture kGemma = {ANEMONE_LLM "gemma.GemmaModel", ANEMONE_LLM "gemma.GemmaConfig", "2.0.0"};
const Architecture kGemma2 = {ANEMONE_LLM "gemma2.Gemma2Model", ANEMONE_LLM "gemma2.Gemma2Config", "2.1.0", true};
const Architecture kGemma3 = {ANEMONE_LLM "gemma3.Gemma3Model", ANEMONE_LLM "gemma3.Gemma3Config", "2.4.0", true};
const Architecture kDeepSeek = {ANEMONE_LLM "deepseek.DeepSeekModel", ANEMONE_LLM "deepseek.DeepSeekConfig", "2.2.0"};
const Architecture kNemotron = {ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.NemotronConfig", "2.0.0"};
const Architecture kStarcoder = {ANEMONE_LLM "starcoder.StarcoderModel", ANEMONE_LLM "starcoder.StarcoderConfig",
                                 "2.0.0"};
const Architecture kStarcoder2 = {ANEMONE_LLM "starcoder2.Starcoder2Model", ANEMONE_LLM "starcoder2.Starcoder2Config",
                                  "2.0.0"};
const Architecture kChatGlm = {ANEMONE_LLM "chatglm.ChatGLMModel", ANEMONE_LLM "chatglm.ChatGLMConfig", "2.0.0"};
const Architecture kSsm = {ANEMONE_LLM "ssm.MambaModel", ANEMONE_LLM "ssm.SSMConfig", "2.3.0"};

bool IsOf(const Architecture& architecture, std::string_view name) {
  const auto module = [](std::string_view path) { return path.substr(0, path.rfind('.')); };
  return module(name) == module(architecture.model_class);
}

bool IsKnownClass(std::string_view name) {
  constexpr std::string_view kDecoders = ANEMONE_LLM;
  const auto is_in = [](std::string_view of, std::span<const std::string_view> modules) {
    return std::ranges::any_of(modules, [&](std::string_view module) { return of.starts_with(module); });
  };
  return name.starts_with(kDecoders) ? is_in(name.substr(kDecoders.size()), kKnownDecoders)
                                     : is_in(name, kKnownModules);
}

bool IsBefore(std::string_view version, std::string_view other) { return ParseVersion(version) < ParseVersion(other); }

Result<std::string> VersionFor(std::string_view asked, std::string_view since, std::string_view what,
                               std::vector<std::string>& notes) {
  constexpr std::string_view kDefault = "2.0.0";
  if (asked.empty()) {
    if (!IsBefore(kDefault, since)) return std::string(kDefault);
    notes.push_back(fmt::format("written for NeMo {}, the first that has {}", since, what));
    return std::string(since);
  }
  if (ParseVersion(asked).size() < 2 || IsBefore(asked, kDefault))
    return InvalidArgument(fmt::format("expected a version of NeMo 2 such as 2.0.0, found '{}'", asked));
  if (IsBefore(asked, since))
    return Unsupported(fmt::format("expected NeMo {} or later, which has {}, found {}", since, what, asked));
  return std::string(asked);
}

const Model* FindModel(std::string_view id) {
  const auto* found = std::find_if(std::begin(kModels), std::end(kModels), [&](const Model& m) { return m.id == id; });
  return found == std::end(kModels) ? nullptr : found;
}

std::vector<std::string_view> ModelIds() {
  std::vector<std::string_view> ids;
  for (const Model& model : kModels) ids.push_back(model.id);
  return ids;
}

}  // namespace anemone::nemo2
