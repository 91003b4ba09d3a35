// What a checkpoint of Megatron-LM (its arguments) or Megatron-Bridge (run_config.yaml) says of its model, in NeMo 1's
// keys. Every key that changes what a model computes is in a table (megatron_config.cc): it becomes NeMo 1's, or has
// the one value that can be carried, or is refused by its name. docs/formats/megatron.md lists them.
#ifndef ANEMONE_FAMILY_WORDS_MEGATRON_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_MEGATRON_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"
#include "config/language.h"

namespace anemone {

// Whether these are the arguments of Megatron-LM, or Megatron-Bridge's run_config.yaml.
bool IsMegatronArgs(const ConfigNode& root);
bool IsBridgeConfig(const ConfigNode& root);
inline bool IsMegatronConfig(const ConfigNode& root) { return IsMegatronArgs(root) || IsBridgeConfig(root); }

// Refuses, by its key, what Megatron-core computes and nothing here has words for: in Megatron-LM's arguments, in a
// provider of Megatron-Bridge, in a config of NeMo 2. `is_mamba`: layers of Mamba 2 have words.
Status CheckCarried(const ConfigNode& fields, bool is_mamba);

// Puts into NeMo 1's `words`, which have the activation, that Transformer Engine computes it where the fields of
// Megatron-core's config say so.
void TakeActivationOfTe(const ConfigNode& fields, ConfigNode* words);

// NeMo 1's keys of the same model, those that Megatron has words for. Errors: Unsupported naming the key, Corrupt.
// `notes`: what is not looked at; null: not wanted.
Result<ConfigNode> Nemo1OfMegatron(const ConfigNode& config, std::vector<std::string>* notes);

// What a config does not say of a model to be written.
struct MegatronFacts {
  uint64_t vocab_rows = 0;  // of the stored embedding
  DType dtype = DType::kF32;
  std::string tokenizer = {};  // the name or the folder that it is loaded by; empty: not known
};
// The arguments of Megatron-LM, or Megatron-Bridge's run_config.yaml, of a model in NeMo 1's keys. `kept`: those of the
// checkpoint that it comes from, whose other values stay; null, or in another language: none. Errors: Unsupported
// naming what they have no key for; Corrupt.
Result<ConfigNode> ToMegatronArgs(const ConfigNode& model, const ConfigNode* kept, const MegatronFacts& facts);
Result<ConfigNode> ToBridgeConfig(const ConfigNode& model, const ConfigNode* kept, const MegatronFacts& facts);

struct MegatronTarget {
  bool names = false;                               // those of NeMo's modules, and its words for a tokenizer
  ConfigLanguage language = ConfigLanguage::kNone;  // of the config to come
};
// The checkpoint as NeMo 1 has it: the config it restores a model from and, where asked, names and tokenizer. Errors:
// as Nemo1OfMegatron; as reading.
Status TakeMegatronCheckpoint(const MegatronTarget& target, Checkpoint* checkpoint, std::vector<std::string>* notes);

struct MegatronRequest {
  ConfigLanguage language = ConfigLanguage::kMegatron;  // or kBridge
  std::string folder;                                   // where the checkpoint's files will be
};
// The reverse, for a whole checkpoint in NeMo 1's words: names without NeMo's prefix, as distributed checkpoints of
// Megatron have them, the config, and the tokenizer's files in `tokenizer/`. Errors: Unsupported naming what Megatron
// has no word for.
Status GiveMegatronCheckpoint(const MegatronRequest& request, const Checkpoint& source, Checkpoint* checkpoint,
                              std::vector<std::string>* notes);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_MEGATRON_CONFIG_H_
