// The noise schedule that a Stable Diffusion is trained by: twelve buffers that NeMo stores beside the weights.
#ifndef ANEMONE_FAMILY_DIFFUSION_NOISE_SCHEDULE_H_
#define ANEMONE_FAMILY_DIFFUSION_NOISE_SCHEDULE_H_

#include <string_view>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// In the order in which they are stored.
inline constexpr std::string_view kScheduleNames[] = {"betas",
                                                      "alphas_cumprod",
                                                      "alphas_cumprod_prev",
                                                      "sqrt_alphas_cumprod",
                                                      "sqrt_one_minus_alphas_cumprod",
                                                      "log_one_minus_alphas_cumprod",
                                                      "sqrt_recip_alphas_cumprod",
                                                      "sqrt_recipm1_alphas_cumprod",
                                                      "posterior_variance",
                                                      "posterior_log_variance_clipped",
                                                      "posterior_mean_coef1",
                                                      "posterior_mean_coef2"};

// All of them, fp32, by NeMo's config. Errors: Unsupported for a schedule that is not `linear` (diffusers:
// scaled_linear); Corrupt naming the key.
Result<StateDict> NoiseSchedule(const ConfigNode& model);

// A stored schedule is the config's, to the last place of the dtype in which it is stored. Errors: as NoiseSchedule;
// Unsupported for another.
Status CheckStoredSchedule(const Checkpoint& checkpoint, const ConfigNode& model);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_NOISE_SCHEDULE_H_
