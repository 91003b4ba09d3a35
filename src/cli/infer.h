// What `infer` and `nemo megatron_clip_infer` share.
#ifndef ANEMONE_CLI_INFER_H_
#define ANEMONE_CLI_INFER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "anemone/status.h"

namespace anemone::cli {

struct InferOptions {
  std::string model;
  std::vector<std::string> images;  // files, or directories of pictures
  std::vector<std::string> texts;
  std::string labels;                 // a file of texts, one a line
  std::string embeddings;             // where to write features; empty: nowhere
  std::optional<double> logit_scale;  // empty: the checkpoint's own
  uint64_t batch = 16;
  bool force = false;  // replace an existing `embeddings`
  bool json = false;
};

// Prints one line an image. Errors name the model, the picture or the text.
Status Infer(InferOptions options);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_INFER_H_
