// Text files that the user names: YAML, lists of lines.
#ifndef ANEMONE_SOURCE_TEXT_FILE_H_
#define ANEMONE_SOURCE_TEXT_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// Errors: as OpenFile and Config::ParseYaml; LimitExceeded.
Result<Config> ReadYaml(const std::string& path);

// The lines of a text as they stand, without their ends. A byte order mark and blank lines are left out.
std::vector<std::string> Lines(std::string_view text);
// Errors: as OpenFile; LimitExceeded; InvalidArgument for zero bytes, as in UTF-16.
Result<std::vector<std::string>> ReadLines(const std::string& path);
// The same of a file with one of `what` ("a label") on each line. Errors: also InvalidArgument for a file without any,
// and for what is not UTF-8.
Result<std::vector<std::string>> ReadTexts(const std::string& path, std::string_view what);

}  // namespace anemone

#endif  // ANEMONE_SOURCE_TEXT_FILE_H_
