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
  std::string image_list;           // a file of paths, one a line
  std::vector<std::string> texts;
  std::string labels;                 // a file of texts, one a line
  std::string templates;              // a file of prompts, one a line, {} being the label
  std::string dataset;                // a folder a class: accuracy instead of a line an image
  bool imagenet = false;              // ImageNet's names and templates where none are given
  std::string embeddings;             // where to write features; empty: nowhere
  std::optional<double> logit_scale;  // empty: the checkpoint's own
  std::string html;                   // where to write a page; empty: nowhere
  std::string preset;                 // a size by name, for a CLIP without a config
  std::string compute = "fp32";       // or "bf16", "int8"
  uint64_t batch = 16;
  bool strict = false;  // the first picture that cannot be read ends the run
  bool force = false;   // replace existing `embeddings` and `html`
  bool json = false;
  bool csv = false;
  // A table of the most likely labels in place of NeMo's line; 0: as many as a terminal shows well, on one only.
  uint64_t top = 0;
  bool nemo = false;           // NeMo's line, on a terminal too
  bool leave_unknown = false;  // go on without fields and tensors that nobody knows
};

// Prints one line an image, or the accuracy on a data set, and answers how many pictures could not be read: each is a
// warning. Errors name the model, the picture or the text; no picture at all could be read.
Result<uint64_t> Infer(InferOptions options);
// The exit status of that.
int InferStatus(const Result<uint64_t>& unread);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_INFER_H_
