// The config of a Stable Diffusion: NeMo has one, a single file has none.
#ifndef ANEMONE_FAMILY_DIFFUSION_DIFFUSION_CONFIG_H_
#define ANEMONE_FAMILY_DIFFUSION_DIFFUSION_CONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// NeMo's config of a model that is stored as a single file: sizes as its tensors have them, all else as NeMo's
// stable_diffusion configs have it. Errors: Corrupt naming the part whose tensors tell no size.
Result<ConfigNode> ConfigOfTensors(const Checkpoint& ldm);

// NeMo's config of the published Stable Diffusion, without levels; its text encoder by the flag ("text.openclip").
ConfigNode PublishedConfig();
ConfigNode TextEncoderConfig(std::string_view flag);

// A single file says neither heads nor what is predicted. Errors: Unsupported for one that is no published model.
// `notes`: what was taken for granted.
Status CheckPublished(const ConfigNode& model, std::vector<std::string>* notes);
// A line for what NeMo's config says and readers of single files take otherwise; "": nothing.
std::string WhatReadersMustBeTold(const ConfigNode& model);
// The dialect of NeMo's DreamBooth.
inline constexpr std::string_view kDreamBoothDialect = "dreambooth";
// A DreamBooth's config as that of the Stable Diffusion that it is.
ConfigNode OfDreamBooth(ConfigNode model);
// NeMo would look for the files that the model was trained from.
void ForgetPretrained(ConfigNode* model);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_DIFFUSION_CONFIG_H_
