// Folders as transformers and OpenCLIP save them. Rules (HF-n): docs/formats/huggingface.md.
#ifndef ANEMONE_FORMAT_HUGGINGFACE_HUGGINGFACE_H_
#define ANEMONE_FORMAT_HUGGINGFACE_HUGGINGFACE_H_

#include <string>
#include <string_view>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "base/location.h"
#include "format/format.h"

namespace anemone {

// True where `name` is that of `weights` saved with variant="fp16" or the like: "model.fp16.safetensors",
// "model.safetensors.index.fp16.json".
bool IsVariantOf(std::string_view name, std::string_view weights);

// Reads a file that holds a JSON object. Errors: as Config::ParseJson; Corrupt by `rule` ("HF-2") for other JSON.
Result<Config> ReadJsonObject(const Location& place, std::string_view rule);

// Adds the files of tokenizers and preprocessors in the folder as artifacts, their names behind `prefix` [HF-7].
Status AddCompanions(const Probe& folder, std::string_view prefix, Checkpoint& checkpoint);

// True if a folder holds weights under a name that transformers reads.
bool HoldsHuggingFaceWeights(const Probe& folder);

// To weights without a config that a trainer keeps in or below a model's folder (DeepSpeed's, FSDP's): the config.json
// and the tokenizer's files of that folder, if it has the former. Errors: Corrupt.
Status AddModelFolder(const Probe& folder, Checkpoint& checkpoint);

// To weights that were opened by their own path: the config and the tokenizer's files beside them, if such a folder
// calls its weights so; of one shard of several, the index that names all. Errors: as opening the folder.
Status AddFolderOf(const Location& weights, Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_HUGGINGFACE_HUGGINGFACE_H_
