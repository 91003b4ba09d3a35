// Facts: NeMo v2.0.0 scripts/checkpoint_converters/convert_llama_hf_to_nemo.py (--llama31 is `type=bool`, true by
// default and for every text), convert_mistral_7b_hf_to_nemo.py, megatron_gpt_model.py; NeMo v2.0.0 to v2.2.0
// nemo/collections/llm/gpt/model/llama.py (HFLlamaExporter writes no rope_scaling); Transformer Engine's window_size
// leaves the token itself out.
#include "family/gpt/traps.h"

#include <fmt/format.h>

#include "family/words/hf_architectures.h"
#include "family/words/hf_config.h"
#include "family/words/megatron_config.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr int64_t kLongestUnscaled = 8192;  // of a Llama that was trained without scaled positions
constexpr double kLlama3Base = 500'000;

std::string NoteOnScaledPositions(int64_t length) {
  return fmt::format(
      "scale_positional_embedding: true beside a length of {}: NeMo's converter of Llama says so of every Llama unless "
      "told otherwise; of a Llama 2, a Llama 3.0 or a CodeLlama positions are not scaled: set rope_scaling to null in "
      "config.json",
      length);
}

std::string NoteOnUnscaledPositions(int64_t length) {
  return fmt::format(
      "rope_scaling: none beside rope_theta 500000 and a length of {}: a Llama 3.1, 3.2 or 3.3 has llama3 there, which "
      "NeMo 2's converters left out up to 2.2: set rope_scaling if it is one",
      length);
}

std::string NoteOnWindow(int64_t window) {
  return fmt::format(
      "window_size: [{0}, 0], as NeMo's converters write it: NeMo's layers see {0} tokens before a token, "
      "transformers' "
      "window of {0} counts the token itself",
      window);
}

}  // namespace

std::vector<std::string> NotesOnTraps(const Checkpoint& source, ConfigLanguage language, bool has_own_json,
                                      const Checkpoint& result) {
  const bool to_hf = language == ConfigLanguage::kHuggingFace;
  if (!source.config || !result.config || IsMegatronConfig(source.config->root()) || IsOfMegatron(language)) return {};
  const ConfigNode& json = to_hf ? result.config->root() : source.config->root();
  const HfArchitecture* architecture = FindHfArchitecture(json);
  if (architecture == nullptr) return {};
  const Result<ConfigNode> model = Nemo1OfHf(json, nullptr);
  const Result<ConfigNode> words = model.ok() ? WordsOf(*model, nullptr) : model;
  if (!words.ok()) return {};  // it is refused elsewhere
  std::vector<std::string> notes;
  const auto length = WordAt(*words, "max_position_embeddings").AsInt().value_or(0);
  const bool is_scaled = WordAt(*words, "scale_positional_embedding").AsBool().value_or(false);
  const bool is_llama = architecture->model_type == "llama",
             is_of_nemo1 = source.config->root().Get("target") != nullptr;
  if (to_hf && !has_own_json && is_of_nemo1 && is_llama && is_scaled && length <= kLongestUnscaled)
    notes.push_back(NoteOnScaledPositions(length));
  const bool has_linear = !WordAt(*words, "seq_len_interpolation_factor").is_null();
  if (!(to_hf && has_own_json) && is_llama && !is_scaled && !has_linear && length > kLongestUnscaled &&
      WordAt(*words, "rotary_base").AsDouble() == kLlama3Base)
    notes.push_back(NoteOnUnscaledPositions(length));
  if (const auto window = WordAt(*words, "window_size").AsInt()) notes.push_back(NoteOnWindow(*window));
  return notes;
}

}  // namespace anemone
