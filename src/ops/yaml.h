// A YAML file the user names.
#ifndef ANEMONE_OPS_YAML_H_
#define ANEMONE_OPS_YAML_H_

#include <string>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// Errors: as OpenFile and Config::ParseYaml; LimitExceeded.
Result<Config> ReadYaml(const std::string& path);

}  // namespace anemone

#endif  // ANEMONE_OPS_YAML_H_
