// The Python classes of NeMo 2's models, and which version has which.
#ifndef ANEMONE_FAMILY_WORDS_NEMO2_CLASSES_H_
#define ANEMONE_FAMILY_WORDS_NEMO2_CLASSES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"

namespace anemone::nemo2 {

// A model of NeMo 2 that its converter of NeMo 1 checkpoints knows [NeMo v2.0.0
// scripts/checkpoint_converters/convert_nemo1_to_nemo2.py, MODEL_CONFIG_MAPPING].
struct Model {
  std::string_view id;            // "meta-llama/Llama-2-7b-hf"
  std::string_view model_class;   // Python path
  std::string_view config_class;  // Python path
};
const Model* FindModel(std::string_view id);
std::vector<std::string_view> ModelIds();

// A config class that builds any model of an architecture, given all its sizes, and the first version that has it.
// What NeMo 2 builds alike has no class of its own here: a Baichuan 2 is a Llama.
struct Architecture {
  std::string_view model_class, config_class, since;
  bool has_vocab_size = false;  // in every version; rows as they are, never padded
};
extern const Architecture kGpt, kLlama, kLlama31, kMistral, kMixtral, kQwen2, kGemma, kGemma2, kGemma3, kDeepSeek,
    kNemotron, kStarcoder, kStarcoder2, kChatGlm, kSsm;

// The first versions that have them.
inline constexpr std::string_view kFirstClip = "2.2.0", kFirstMtp = "2.3.0";

// Whether a class of NeMo 2's is in the architecture's module: the config's and the model's are in one.
bool IsOf(const Architecture& architecture, std::string_view name);

// True for a class or function of the NeMo modules that the tables here were written from, of Megatron-core and of
// Transformer Engine: its fields tell what it computes. Of a user's own class no file tells it.
bool IsKnownClass(std::string_view name);

// Whether a version is an earlier one.
bool IsBefore(std::string_view version, std::string_view other);
// The version that is written for, `asked` where it is not empty: else 2.0.0, or `since`, told in `notes`. Errors:
// InvalidArgument for what is no version; Unsupported where it lacks the model.
Result<std::string> VersionFor(std::string_view asked, std::string_view since, std::string_view what,
                               std::vector<std::string>& notes);

}  // namespace anemone::nemo2

#endif  // ANEMONE_FAMILY_WORDS_NEMO2_CLASSES_H_
