// The sizes and flags of a NeVA or a LLaVA, as its tables ask for them, and the configs that tell them.
#ifndef ANEMONE_FAMILY_NEVA_NEVA_SYMBOLS_H_
#define ANEMONE_FAMILY_NEVA_NEVA_SYMBOLS_H_

#include <optional>
#include <string>
#include <string_view>

#include "family/family.h"
#include "family/neva/stored.h"

namespace anemone::neva {

// Errors: as ReadGptSymbols; Unsupported (a decoder or a tower of another class); Corrupt (a config that is not of the
// weights); NotFound (nothing says how a stored tower's heads lie).
Status ReadNevaSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                       ModelSymbols* symbols);

// A config.json of transformers' LLaVA or of LLaVA's own in transformers' words. Errors: as HfOfOwnLlava.
Result<ConfigNode> InHfWords(const ConfigNode& root);
// The checkpoint with the config of its language model alone. Errors: as InHfWords, as TextConfigOf.
Result<Checkpoint> LanguageOf(const Checkpoint& checkpoint);
// The config of a tower that was taken from elsewhere; empty: none was. Errors: as reading and parsing it.
Result<std::optional<Config>> TakenTowerConfig(const Checkpoint& source, const char* name = kTowerConfig);

// The config of the image tower in transformers' words, and where the checkpoint says it; LLaVA's own tells sizes by a
// name alone. Empty where nothing does; one that came along says nothing of weights that changed since.
struct VisionConfig {
  ConfigNode words = {};
  std::string place = {};
};
// Errors: as TakenTowerConfig, as InHfWords.
Result<VisionConfig> VisionConfigOf(const Checkpoint& checkpoint);
// A tower's config, found at `place`, is of the stored weights. Errors: Corrupt (it is not).
Status CheckTowerSizes(const VisionConfig& vision, const ModelSymbols& symbols);

}  // namespace anemone::neva

#endif  // ANEMONE_FAMILY_NEVA_NEVA_SYMBOLS_H_
