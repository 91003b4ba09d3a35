// The configs of a pipeline of diffusers as NeMo's config of the same model, and back.
#ifndef ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_CONFIG_H_
#define ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_CONFIG_H_

#include <string>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"
#include "family/clip/clip_config.h"
#include "schema/symbols.h"

namespace anemone {

// NeMo's config of a pipeline. Parts that it lacks have no levels. `notes`, if given, receives what NeMo's config has
// no word for. Errors: Corrupt, Unsupported, naming file and field.
Result<ConfigNode> NemoOfDiffusers(const ConfigNode& config, bool strict, std::vector<std::string>* notes);

// The text encoder of a pipeline. Errors: as ReadClipArchitecture.
Result<ClipArchitecture> TextOfDiffusers(const ConfigNode& config, bool strict);

// The kind of a text encoder, by NeMo's config of it, and which of its layers are computed with.
struct TextEncoder {
  TowerArchitecture tower;
  bool is_openclip = false;
  bool skips_last = false;
};
// Sizes are those in `symbols`, a single head's width 64 where no published name says more; then a line in `notes`.
// Errors: Unsupported for an encoder or a layer that transformers does not compute.
Result<TextEncoder> TextEncoderOf(const ConfigNode& model, const ModelSymbols& symbols,
                                  std::vector<std::string>* notes);

// The config of a pipeline of NeMo's config; sizes of the text encoder as `symbols` has them, which are the result's.
// Errors: Unsupported naming the key for what diffusers does not compute.
Result<ConfigNode> DiffusersOfNemo(const ConfigNode& model, const TextEncoder& text, const ModelSymbols& symbols,
                                   DType dtype);

// Errors: Corrupt naming every key in which NeMo's config `given` says another model than `own`.
Status CheckSameModel(const ConfigNode& own, const ConfigNode& given, const std::string& name);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_CONFIG_H_
