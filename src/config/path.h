// Dotted paths of OmegaConf: "a.b[0]", "betas.0", "[a].b", with `\.` `\[` `\]` `\=` inside a key
// [omegaconf/_key_path.py].
#ifndef ANEMONE_CONFIG_PATH_H_
#define ANEMONE_CONFIG_PATH_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"

namespace anemone::internal {

std::vector<std::string> SplitPath(std::string_view path);
// Appends one key, escaped, to a dotted path; an index as "[3]".
std::string JoinPath(std::string_view parent, std::string_view key);
std::string JoinPath(std::string_view parent, size_t index);
// The child of a map by key or of a list by index; nullptr when there is none.
const ConfigNode* Child(const ConfigNode& node, std::string_view key);

}  // namespace anemone::internal

#endif  // ANEMONE_CONFIG_PATH_H_
