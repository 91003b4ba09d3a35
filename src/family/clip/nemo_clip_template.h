// The keys of the `model` part of NeMo v2.0.0's published CLIP YAML (megatron_clip_VIT-L-14.yaml), interpolations
// resolved, sizes of ViT-L/14: what a config derived from other sources starts from. NeMo's legacy classes read most of
// them.
#ifndef ANEMONE_FAMILY_CLIP_NEMO_CLIP_TEMPLATE_H_
#define ANEMONE_FAMILY_CLIP_NEMO_CLIP_TEMPLATE_H_

#include "anemone/config.h"

namespace anemone {

ConfigNode NemoClipTemplate();

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_NEMO_CLIP_TEMPLATE_H_
