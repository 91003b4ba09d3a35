// OpenFileEachTime: a file among thousands.
#ifndef ANEMONE_BASE_CLOSED_FILE_H_
#define ANEMONE_BASE_CLOSED_FILE_H_

#include <cstddef>
#include <string>

#include "anemone/bytes.h"

namespace anemone {

// So many files of one checkpoint may be open at once, of the 1024 descriptors that a process usually has.
constexpr size_t kMaxOpenFiles = 256;

// As OpenFile, but takes a descriptor only while it is read. Errors: as OpenFile, when opened and when read.
Result<ByteSourcePtr> OpenFileEachTime(const std::string& path);

}  // namespace anemone

#endif  // ANEMONE_BASE_CLOSED_FILE_H_
