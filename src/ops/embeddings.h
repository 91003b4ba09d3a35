// WriteEmbeddings: features as a file other tools read.
#ifndef ANEMONE_OPS_EMBEDDINGS_H_
#define ANEMONE_OPS_EMBEDDINGS_H_

#include <string>

#include "anemone/clip.h"
#include "anemone/status.h"

namespace anemone {

// A safetensors file with fp32 tensors `image` [images, d] and `text` [texts, d]; empty ones are left out. An existing
// file is replaced. Errors: InvalidArgument (another extension), as Execute.
Status WriteEmbeddings(const std::string& path, const ClipFeatures& images, const ClipFeatures& texts);

}  // namespace anemone

#endif  // ANEMONE_OPS_EMBEDDINGS_H_
