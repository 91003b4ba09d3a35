// The configs of a pipeline of diffusers as NeMo's config of the same model, and back.
#ifndef ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_CONFIG_H_
#define ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_CONFIG_H_

#include <string>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"
#include "family/diffusion/text_encoder.h"
#include "schema/symbols.h"

namespace anemone {

// NeMo's config of a pipeline. Parts that it lacks have no levels. `notes`, if given, receives what NeMo's config has
// no word for. Errors: Corrupt, Unsupported, naming file and field.
Result<ConfigNode> NemoOfDiffusers(const ConfigNode& config, bool strict, std::vector<std::string>* notes);

// The config of a pipeline of NeMo's config; sizes of the text encoder as `symbols` has them, which are the result's.
// Errors: Unsupported naming the key for what diffusers does not compute.
Result<ConfigNode> DiffusersOfNemo(const ConfigNode& model, const TextEncoder& text, const ModelSymbols& symbols,
                                   DType dtype);

// Errors: Corrupt naming every key in which NeMo's config `given` says another model than `own`.
Status CheckSameModel(const ConfigNode& own, const ConfigNode& given, const std::string& name);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_CONFIG_H_
