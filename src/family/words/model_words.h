// A decoder's words: what its config says that changes what it computes.
//
// They are a flat map in the keys of NeMo 1's model_config.yaml, which all tables of this folder speak, each with the
// value that NeMo takes where the config is silent, and one spelling for what has several. Two configs whose words are
// the same are of the same model, whoever wrote them.
#ifndef ANEMONE_FAMILY_WORDS_MODEL_WORDS_H_
#define ANEMONE_FAMILY_WORDS_MODEL_WORDS_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// The words of a config in NeMo 1's keys; a size that it does not have is null. `notes`: a line for what it says twice.
// Errors: Corrupt naming the key, for a value that makes no sense.
Result<ConfigNode> WordsOf(const ConfigNode& model, std::vector<std::string>* notes);

// Every word in which two models differ, with both values: "rotary_base: 10000 and 500000".
std::vector<std::string> DifferingWords(const ConfigNode& a, const ConfigNode& b);

// What NeMo takes for a word that a config does not have; nullptr: the key is no word, or its value follows from
// others.
const ConfigNode* SilentWord(std::string_view key);

// `name` of a Gemma 3, which NeMo 1 does not have: NeMo 2's config in the same keys.
inline constexpr std::string_view kGemma3Name = "gemma3";

// The words that say something of multi-latent attention alone, and whether one does.
const std::vector<std::string_view>& LatentWords();
bool IsLatentWord(std::string_view key);

// How many layers that predict several tokens such a config has, NeMo's or Megatron-LM's; 0 where it says none.
int64_t MtpLayersOf(const ConfigNode& model);
// The type of positions that YaRN scales, and the words that say how.
inline constexpr std::string_view kYarn = "yarn";
const std::vector<std::string_view>& YarnWords();

// Whether a config says heads that are not `hidden_size` wide together.
bool HasOddHeads(const ConfigNode& config);

// The first key that says what no model of NeMo 1's computes: multi-latent attention, layers with and without experts,
// experts that all tokens share, routers of DeepSeek's; empty: none.
std::string_view KeyBeyondNemo1(const ConfigNode& model);

// How positions are scaled as Llama 3.1's are, where `scale_positional_embedding` holds. NeMo 1 has the values built
// in; others are words below `rope_scaling`, by transformers' names, which no config of NeMo 1 has.
struct PositionFactor {
  std::string_view hf, nemo2;
  double built_in;
};
std::span<const PositionFactor> PositionFactors();
// Errors: Unsupported for attention and MLP that read the same input, which GPT-NeoX alone has.
Status CheckMegatronResidual(const ConfigNode& model);
// Errors: Unsupported naming a factor or a model that NeMo 1 does not compute.
Status CheckNemo1Factors(const ConfigNode& model);

// The value at a key, which may be dotted; null where it is not there.
const ConfigNode& WordAt(const ConfigNode& map, std::string_view key);
// `silent` where there is none, or null.
const ConfigNode& WordOr(const ConfigNode& map, std::string_view key, const ConfigNode& silent);
// `moe_layer_freq` where all of `num_layers` have experts, as NeMo's and Bridge's importers of DeepSeek list them.
ConfigNode ExpertsInAllLayers(const ConfigNode& model);
// True where version 5 of transformers wrote a config.json.
bool IsOfTransformers5(const ConfigNode& config_json);
// A scalar in YAML: "null", "1e-5".
ConfigNode ParseWord(std::string_view yaml);
// A number; a whole one as an integer.
ConfigNode NumberWord(double value);

// A key that has one value in whatever a class computes, and the value that a silent config stands for; both in YAML.
struct FixedWord {
  std::string_view key, value, silent;
};
inline constexpr std::string_view kWeightsAlone = "OUT.safetensors holds the weights alone";  // a hint
// Errors: Unsupported, naming the first key that has another value. `who` computes the fixed one.
Status CheckFixed(const ConfigNode& config, std::span<const FixedWord> words, std::string_view who);
// Errors: Corrupt, naming `key`, where its value is none that Python computes with: true and false are 1 and 0 there.
Status CheckNumber(std::string_view key, const ConfigNode& value);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_MODEL_WORDS_H_
