// What a NeVA or a LLaVA stores beside its language model, and what its config says of that.
#ifndef ANEMONE_FAMILY_NEVA_STORED_H_
#define ANEMONE_FAMILY_NEVA_STORED_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "schema/symbols.h"
#include "schema/table.h"

namespace anemone::neva {

constexpr std::string_view kTower = "vision";
// Where a Linear or LayerNorm is in the projector: alone ("linear"), or in a Sequential ("mlp2x_gelu" has 0 and 2,
// "mlp_downsample" a LayerNorm at 1, and 2 and 4).
constexpr std::string_view kProjections[] = {"projector",   "projector.0", "projector.1",
                                             "projector.2", "projector.4", "projector.6"};
constexpr const char* kNewline = "image_newline";
inline bool IsNorm(std::string_view place) { return place == "projector.1"; }

// The flag of a tower that is NeMo's own CLIP, as legacy Megatron has it, and what its names have in common.
constexpr const char* kNemoVision = "vision.nemo";
constexpr std::string_view kNemoModule = ".vision_encoder.backbone.";
// What of that CLIP's config the tower's names and rows follow. mm_cfg.vision_encoder keeps them, beside hf_config.
constexpr const char *kHeadsApart = "megatron_legacy", *kPositions = "position_embedding_type";
// The flags of a tower and of a projector that NeMo 2 builds of Megatron-core.
constexpr const char *kMegatronVision = "vision.mcore", *kMegatronProjector = "projector_mcore";

constexpr const char* kTowerConfig = "vision_tower/config.json";    // of a tower that was taken from elsewhere
constexpr const char* kNemoTowerConfig = "vision_tower/nemo.json";  // of NeMo's own CLIP, what kHeadsApart is of

// What of the tower and the projector is stored, and its shapes: NeVA's config names the tower and says little of it.
struct Stored {
  std::map<std::string, Shape> shapes;  // by canonical row
  uint64_t layers = 0;
  bool has_language = false, has_megatron_tower = false, has_megatron_projector = false, has_nemo_tower = false;
  bool has_learned_positions = false;  // of NeMo's own CLIP: a parameter, no embedding

  bool Has(const std::string& row) const { return shapes.contains(row); }
  uint64_t Axis(const std::string& row, size_t axis) const {
    const auto it = shapes.find(row);
    return it == shapes.end() || it->second.size() <= axis ? 0 : it->second[axis];
  }
};
Stored StoredBesidesLanguage(const Checkpoint& checkpoint, const Dialect& dialect);

void SetProjector(const Stored& stored, ModelSymbols* symbols);
// NeMo's and LLaVA's word for the projector that is stored; "": none is, or no word is for it.
std::string ProjectorType(const ModelSymbols& symbols);

// A config.json of transformers' LLaVA, or of LLaVA's own.
bool IsAnyLlavaJson(const ConfigNode& root);
bool IsLlava(const Checkpoint& checkpoint);
// What NeMo's config of a checkpoint says of the tower; null: it is no checkpoint of NeMo's. As long as the checkpoint.
const ConfigNode& EncoderOf(const Checkpoint& checkpoint);
// What NeMo's config, which a checkpoint of training has below `cfg`, says of seeing, and of the tower.
ConfigNode& MmCfgOf(Config& config);
ConfigNode& EncoderOf(Config& config);
// Whether NeMo builds the tower of its own CLIP [NevaBaseModel.create_vision_encoder_and_processor].
bool IsOfNemosClip(const ConfigNode& encoder);

}  // namespace anemone::neva

#endif  // ANEMONE_FAMILY_NEVA_STORED_H_
