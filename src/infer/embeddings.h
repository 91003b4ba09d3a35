// WriteEmbeddings: features as a file other tools read.
#ifndef ANEMONE_INFER_EMBEDDINGS_H_
#define ANEMONE_INFER_EMBEDDINGS_H_

#include <string>

#include "anemone/clip.h"
#include "anemone/status.h"

namespace anemone {

// Whether `path` can become such a file, to be asked before the work is done. Errors: InvalidArgument (another
// extension); AlreadyExists; with `replace` where what is there holds no embeddings.
Status CheckEmbeddingsPath(const std::string& path, bool replace);

// NAME.safetensors: fp32 tensors `image` [images, d] and `text` [texts, d]; empty ones are left out. NAME.npy: NumPy's
// format 1.0 with one of them, the images' where there are any, else the texts'. Errors: as CheckEmbeddingsPath, as
// Execute.
Status WriteEmbeddings(const std::string& path, const ClipFeatures& images, const ClipFeatures& texts, bool replace);

}  // namespace anemone

#endif  // ANEMONE_INFER_EMBEDDINGS_H_
