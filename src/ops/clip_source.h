// A CLIP checkpoint of any format and dialect, ready to answer questions.
#ifndef ANEMONE_OPS_CLIP_SOURCE_H_
#define ANEMONE_OPS_CLIP_SOURCE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/clip.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "clip/tokenizer.h"

namespace anemone {

// What a checkpoint without a config needs to be understood.
struct ClipLoad {
  std::string preset = {};             // a size by name ("ViT-L-14")
  std::optional<Config> hparams = {};  // NeMo's YAML
  std::string hparams_name = {};       // for messages
};

// Merges and translates the checkpoint, reads its architecture from the config and its preprocessing from
// preprocessor_config.json (Hugging Face), preprocess_cfg (OpenCLIP) or NeMo's rules. Errors: Unsupported (no CLIP),
// NotFound (no config and no preset), Corrupt (sizes that disagree), as Canonical.
Result<ClipModel> LoadClip(const Checkpoint& checkpoint, const ClipOptions& options = {}, const ClipLoad& load = {});

// The tokenizer, from the files that travel with the model; a .nemo without them, as NeMo writes it, gets CLIP's public
// vocabulary. Errors: Corrupt (damaged files, more tokens than the embedding has rows), Unsupported.
Result<Tokenizer> LoadTokenizer(const Checkpoint& checkpoint, const ClipSpec& spec);

// One picture file → fp32 pixels [3, image_size, image_size]. Errors carry the path.
Result<std::vector<float>> LoadPixels(const std::string& path, const ClipSpec& spec);
// Several, side by side, decoded by all threads. Errors: the first picture's that has one.
Result<std::vector<float>> LoadPixels(const std::vector<std::string>& paths, const ClipSpec& spec);

}  // namespace anemone

#endif  // ANEMONE_OPS_CLIP_SOURCE_H_
