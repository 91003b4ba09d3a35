// ClipSource: a CLIP checkpoint of any format and dialect, ready to answer questions.
#ifndef ANEMONE_OPS_CLIP_SOURCE_H_
#define ANEMONE_OPS_CLIP_SOURCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/clip.h"
#include "anemone/status.h"
#include "clip/tokenizer.h"

namespace anemone {

struct ClipSource {
  ClipModel model;
  Tokenizer tokenizer;
};

// Merges and translates the checkpoint, reads its architecture from the config, its preprocessing from
// preprocessor_config.json (Hugging Face), preprocess_cfg (OpenCLIP) or NeMo's rules, and its tokenizer from the files
// that travel with it; a .nemo without them, as NeMo writes it, gets CLIP's public vocabulary. Errors: Unsupported (no
// CLIP), Corrupt (no config, sizes that disagree), as Canonical.
Result<ClipSource> LoadClip(const Checkpoint& checkpoint, const ClipOptions& options = {});

// One picture file → fp32 pixels [3, image_size, image_size]. Errors carry the path.
Result<std::vector<float>> LoadPixels(const std::string& path, const ClipSpec& spec);

}  // namespace anemone

#endif  // ANEMONE_OPS_CLIP_SOURCE_H_
