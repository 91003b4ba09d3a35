// The sizes in a Stable Diffusion's tables, from NeMo's config and from the stored tensors.
#ifndef ANEMONE_FAMILY_DIFFUSION_DIFFUSION_SYMBOLS_H_
#define ANEMONE_FAMILY_DIFFUSION_DIFFUSION_SYMBOLS_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "schema/symbols.h"

namespace anemone {

// The tables have room for so many. Every published model has four levels of two layers, and on the way up one more.
inline constexpr int kLevels = 4, kDownLayers = 2, kUpLayers = 3;

// A level of the UNet on the way down or up, or what is between.
struct UnetBlock {
  std::string name;
  int layers = 0;
};
inline constexpr std::string_view kMiddle = "unet.mid";
std::string DownBlock(int level);
std::string UpBlock(int level);  // the first one up is the last one down
std::string VaeLevelName(int level);
std::vector<UnetBlock> UnetBlocks();

// Sets what NeMo's config says. Errors: Corrupt naming the key; Unsupported for a UNet or VAE of another kind.
Status SetDiffusionSymbols(const ConfigNode& model, ModelSymbols* symbols);
// Sets which parts are stored, and the text encoder's sizes, which the config says of NeMo's own CLIP alone. Errors: as
// CheckWhole, where NeMo stored it; Corrupt for tensors of a ControlNet that the config does not tell of.
Status SetStoredParts(const Checkpoint& checkpoint, const ConfigNode& model, bool is_nemo, ModelSymbols* symbols);
// Errors: Unsupported where a part is not stored: NeMo restores all of them.
Status CheckWhole(const ModelSymbols& symbols);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_DIFFUSION_SYMBOLS_H_
