// PackedSource: bytes held in memory, deflated. Of text that repeats itself that is a tenth.
#ifndef ANEMONE_BASE_PACKED_SOURCE_H_
#define ANEMONE_BASE_PACKED_SOURCE_H_

#include <string>
#include <string_view>

#include "anemone/bytes.h"

namespace anemone {

// Each read inflates all of them: for blocks of some ten thousand bytes. Where they do not become fewer they are kept
// as they are.
ByteSourcePtr PackedSource(std::string_view bytes, std::string name);

}  // namespace anemone

#endif  // ANEMONE_BASE_PACKED_SOURCE_H_
