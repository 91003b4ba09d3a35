// The code that a JSON file beside a model makes programs import or run.
#ifndef ANEMONE_CHECK_SCAN_JSON_H_
#define ANEMONE_CHECK_SCAN_JSON_H_

#include <functional>
#include <string>
#include <string_view>

#include "anemone/check.h"
#include "anemone/config.h"

namespace anemone {

// True for a file's path, in small letters, whose content such programs look at.
bool IsJudgedJson(std::string_view path);

// Calls `add` for each name of code, inert ones included.
using AddCode =
    std::function<void(std::string_view what, const std::string& name, const std::string& where, Danger danger)>;
void FindCodeInJson(std::string_view path, const ConfigNode& root, const AddCode& add);

}  // namespace anemone

#endif  // ANEMONE_CHECK_SCAN_JSON_H_
