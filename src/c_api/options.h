// Options: a JSON object into the fields of a struct.
#ifndef ANEMONE_C_API_OPTIONS_H_
#define ANEMONE_C_API_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone::c_api {

// A key and where its value goes.
struct Option {
  std::string_view name;
  std::variant<std::string*, bool*, int*, unsigned*, uint64_t*, std::optional<int>*,
               std::function<Status(const ConfigNode& value)>>
      field;
};

// Null text: nothing is set; a null value: likewise. Errors: InvalidArgument naming the key.
Status ReadOptions(const char* json, std::span<const Option> options);

// "KEY: expected WHAT, found …".
Status WrongType(std::string_view key, std::string_view expected, const ConfigNode& found);

}  // namespace anemone::c_api

#endif  // ANEMONE_C_API_OPTIONS_H_
