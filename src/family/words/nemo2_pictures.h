// What a LLaVA's config has besides its language model's, in the words of NeMo 1 and of NeMo 2.
#ifndef ANEMONE_FAMILY_WORDS_NEMO2_PICTURES_H_
#define ANEMONE_FAMILY_WORDS_NEMO2_PICTURES_H_

#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

inline constexpr std::string_view kLlavaNext = "nemo.collections.vlm.llava_next.model.";

// NeMo 1's `mm_cfg`. Errors: Unsupported for a tower or a projector that NeMo 1 does not build.
Result<ConfigNode> SeeingToNemo1(const ConfigNode& config);

// Into a LLaVA's `config`, which has its language model's already, of which `language` is a copy. Errors: Unsupported
// for what that version of NeMo 2 does not build.
Status SeeingToNemo2(const ConfigNode& mm_cfg, const ConfigNode& language, std::string_view version,
                     ConfigNode& config);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_NEMO2_PICTURES_H_
