// What a decoder's config says that NeMo's own converters are known to have wrong, and no file can tell.
#ifndef ANEMONE_FAMILY_GPT_TRAPS_H_
#define ANEMONE_FAMILY_GPT_TRAPS_H_

#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "config/language.h"

namespace anemone {

// A line for each, with what to do, of a conversion between NeMo and Hugging Face. `has_own_json`: the source is
// NeMo's, and the config.json that the model came from is in it.
std::vector<std::string> NotesOnTraps(const Checkpoint& source, ConfigLanguage language, bool has_own_json,
                                      const Checkpoint& result);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_GPT_TRAPS_H_
