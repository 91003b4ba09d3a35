// Folders as transformers and OpenCLIP save them. Rules (HF-n): docs/formats/huggingface.md.
#ifndef ANEMONE_FORMAT_HUGGINGFACE_HUGGINGFACE_H_
#define ANEMONE_FORMAT_HUGGINGFACE_HUGGINGFACE_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "base/location.h"

namespace anemone {

// To weights that were opened by their own path: the config and the tokenizer's files beside them, if such a folder
// calls its weights so; of one shard of several, the index that names all. Errors: as opening the folder.
Status AddFolderOf(const Location& weights, Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_HUGGINGFACE_HUGGINGFACE_H_
