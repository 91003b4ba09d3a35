// Hydra's command-line overrides for a config [hydra docs, advanced/override_grammar/basic].
//
//   key=value    set an existing key          +key=value   add a new key       ++key=value   set or add
//   ~key         delete                       ~key=value   delete if it has that value
//
// A dict merges into the map that is there; everything else replaces. Sweeps (`a=1,2`), functions (`range(1,3)`) and
// choices from groups (`group@package=`) are refused.
#ifndef ANEMONE_CONFIG_HYDRA_H_
#define ANEMONE_CONFIG_HYDRA_H_

#include <optional>
#include <string>
#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

struct Override {
  enum class Kind : uint8_t { kSet, kAdd, kForce, kDelete };
  Kind kind = Kind::kSet;
  std::string key;                  // dotted path
  std::optional<ConfigNode> value;  // absent for `~key` only
};

// Errors: InvalidArgument (grammar), Unsupported (sweeps, functions, groups). The text is in the message.
Result<Override> ParseOverride(std::string_view text);
// Errors: NotFound (set or delete what is not there), AlreadyExists (add what is), InvalidArgument (see Config::Set).
Status ApplyOverride(const Override& override_, Config* config);

}  // namespace anemone

#endif  // ANEMONE_CONFIG_HYDRA_H_
