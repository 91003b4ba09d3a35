// Config keys that somebody may have meant.
#ifndef ANEMONE_EDIT_CONFIG_KEYS_H_
#define ANEMONE_EDIT_CONFIG_KEYS_H_

#include <string>
#include <string_view>

#include "anemone/config.h"

namespace anemone {

// The path in `config` nearest to one that it does not have: "optim.lr" for "optm.lr", "vision.hidden_size" for
// "hidden_size" where it is the only one. Empty where none is near.
std::string NearestPath(const Config& config, std::string_view path);

}  // namespace anemone

#endif  // ANEMONE_EDIT_CONFIG_KEYS_H_
