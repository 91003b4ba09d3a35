// Which format a destination is to be written in.
#ifndef ANEMONE_OPS_DESTINATION_H_
#define ANEMONE_OPS_DESTINATION_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "format/format.h"

namespace anemone {

// By `to` (a format's name) if given, else by the destination's extension, else the source's own format.
// Errors: InvalidArgument listing the formats that are written.
Result<const Format*> DestinationFormat(const std::string& destination, const std::string& to,
                                        const Checkpoint& source);

}  // namespace anemone

#endif  // ANEMONE_OPS_DESTINATION_H_
