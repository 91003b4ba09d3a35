// From a picture to pixels, in the words of each format: preprocessor_config.json (or processor_config.json),
// OpenCLIP's preprocess_cfg, NeMo's fixed transform.
//
// Facts: [transformers models/clip/image_processing_clip.py, models/siglip/image_processing_siglip.py]; [open_clip
// src/open_clip/transform.py]; NeMo v2.0.0 [data/clip/augmentations/augmentations.py].
#ifndef ANEMONE_FAMILY_CLIP_CLIP_PREPROCESS_H_
#define ANEMONE_FAMILY_CLIP_CLIP_PREPROCESS_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/clip.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "family/clip/clip_config.h"

namespace anemone {

// Where a format says it.
enum class PixelRules : uint8_t { kHuggingFace, kOpenClip, kNemo };

// What `checkpoint` says; where it says nothing, the model's own sizes by `rules`. A field of no list is an error with
// `strict`, else a note. Errors: Corrupt (a value without a meaning), Unsupported (a field or value that is not
// supported, by name), both naming the file.
Result<ClipPreprocess> ClipPreprocessOf(const Checkpoint& checkpoint, const ClipArchitecture& spec, PixelRules rules,
                                        bool strict = true, std::vector<std::string>* notes = nullptr);

// preprocessor_config.json. Errors: Unsupported, naming what it has no word for.
Result<ConfigNode> HuggingFacePreprocess(const ClipPreprocess& preprocess, bool siglip);
// OpenCLIP's preprocess_cfg for a tower of `side` pixels. Errors: as above.
Result<ConfigNode> OpenClipPreprocess(const ClipPreprocess& preprocess, uint64_t side);

// What differs from NeMo's fixed transform, one line a field, in the words of the source's file; mean and deviation
// apart, which NeMo's config carries.
std::vector<std::string> BeyondNemo(const ClipPreprocess& preprocess, const ClipArchitecture& spec, PixelRules rules);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CLIP_PREPROCESS_H_
