// What a Stable Diffusion's text encoder is, by the config of a pipeline or by NeMo's.
#ifndef ANEMONE_FAMILY_DIFFUSION_TEXT_ENCODER_H_
#define ANEMONE_FAMILY_DIFFUSION_TEXT_ENCODER_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"
#include "family/clip/clip_config.h"
#include "schema/symbols.h"

namespace anemone {

// The text encoder of a pipeline. Errors: as ReadClipArchitecture.
Result<ClipArchitecture> TextOfDiffusers(const ConfigNode& config, bool strict);

// The kind of a text encoder, by NeMo's config of it, and which of its layers are computed with.
struct TextEncoder {
  TowerArchitecture tower;
  std::string_view flag;  // of the symbols: by which names it is stored
  bool skips_last = false;
};
// That of the class that NeMo's config names. Errors: Unsupported.
Result<std::string_view> TextFlagOf(const ConfigNode& model);
// Sizes are those in `symbols`, a single head's width 64 where no published name says more; then a line in `notes`.
// Errors: Unsupported for an encoder or a layer that transformers does not compute; NotFound for NeMo's own CLIP
// without its config.
Result<TextEncoder> TextEncoderOf(const ConfigNode& model, const ModelSymbols& symbols,
                                  std::vector<std::string>* notes);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_TEXT_ENCODER_H_
