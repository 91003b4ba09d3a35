// Which format a destination is to be written in.
#ifndef ANEMONE_EDIT_DESTINATION_H_
#define ANEMONE_EDIT_DESTINATION_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "format/format.h"

namespace anemone {

// Formats that are written, by the names that `--to` takes.
std::vector<std::string> WritableFormats();

// By `to` (a format's name) if given, else by the destination's extension; "x.nemo/" is a folder.
// Errors: InvalidArgument listing the formats that are written, and for "-".
Result<const Format*> DestinationFormat(const std::string& destination, const std::string& to);

// Refuses "-", which is no file's name to those who type it.
Status CheckIsNoStream(std::string_view destination);
// Refuses "x/" for what is a file.
Status CheckIsFolder(std::string_view destination, bool is_directory);

// Refuses the name of another format for what is a .nemo.
Status CheckIsNoOtherFormats(const std::string& destination);

}  // namespace anemone

#endif  // ANEMONE_EDIT_DESTINATION_H_
