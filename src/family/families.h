// The families of this folder, one function a file. For family.cc's list; others use family.h.
#ifndef ANEMONE_FAMILY_FAMILIES_H_
#define ANEMONE_FAMILY_FAMILIES_H_

#include "family/family.h"

namespace anemone {

const Family& ClipFamily();             // clip.cc
const Family& SiglipFamily();           // clip.cc
const Family& GptFamily();              // gpt.cc
const Family& BertFamily();             // bert.cc
const Family& NevaFamily();             // neva.cc
const Family& T5Family();               // t5.cc
const Family& VitFamily();              // vit.cc
const Family& MambaFamily();            // mamba.cc
const Family& GriffinFamily();          // griffin.cc
const Family& StableDiffusionFamily();  // stable_diffusion.cc

// The config that says a Megatron model's sizes: the checkpoint's own, or the one given. Errors: NotFound.
Result<const Config*> SizesConfig(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name);

// Whether a stored name has `part` in it.
bool HasName(const Checkpoint& checkpoint, std::string_view part);

// The class that a config.json names, or its kind of model; empty: neither.
std::string ClassNamedIn(const ConfigNode& config_json);

// The dtype of its first matrix; fp32 where it has none.
DType DTypeOf(const Checkpoint& checkpoint);
// The dtype that a config.json says, where some of the weights have it; else that of the weights.
DType DTypeBy(const ConfigNode& config_json, const Checkpoint& checkpoint);
// The stored tensor of a dialect's row for a canonical one, of the first layer and part; nullptr: none.
const Tensor* FindStored(const StateDict& dict, const NameMatcher& names, std::string_view canonical);

// Rows of the stored vocabulary table over all tensor ranks; 0 when it is not there. For the families' `read_symbols`.
// Errors: Corrupt beyond 64 bits.
Result<uint64_t> StoredVocabRows(const Checkpoint& checkpoint, const Dialect& dialect, std::string_view canonical);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_FAMILIES_H_
