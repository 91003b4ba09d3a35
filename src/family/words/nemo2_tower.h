// The config of an image tower that NeMo 2 builds of Megatron-core (CLIPViTConfig), and transformers' of the same one.
#ifndef ANEMONE_FAMILY_WORDS_NEMO2_TOWER_H_
#define ANEMONE_FAMILY_WORDS_NEMO2_TOWER_H_

#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// The first version whose tower ends at the layer that the config names.
constexpr std::string_view kFirstMegatronTower = "2.1.0";

// Whether a `vision_transformer_config` is of such a class.
bool IsMegatronTower(const ConfigNode& vision);

// transformers' `vision_config`. Errors: Corrupt for a size that is not there; Unsupported naming the key for what
// neither its CLIP nor its SigLIP computes.
Result<ConfigNode> HfTowerOfNemo2(const ConfigNode& vision);

// The way back; `whole`: of WholeTower. `place`: the module of the class, with a dot. Errors: as above, for what NeMo 2
// does not compute.
Result<ConfigNode> Nemo2TowerOfHf(const ConfigNode& whole, std::string_view place);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_NEMO2_TOWER_H_
