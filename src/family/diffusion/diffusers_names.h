// The tables of a Stable Diffusion in the names of diffusers and transformers.
#ifndef ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_NAMES_H_
#define ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_NAMES_H_

#include <string_view>
#include <vector>

#include "schema/table.h"

namespace anemone {

inline constexpr std::string_view kPipelineDialect = "diffusers";

// Of the UNet and the VAE, for canonical rows in LDM's names; other rows have none.
std::vector<StoredRow> DiffusersRows(const std::vector<CanonicalRow>& canonical);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_NAMES_H_
