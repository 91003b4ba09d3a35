// UnsafePath, IsPlainName: the one rule for paths that a file, an archive or a server states.
#ifndef ANEMONE_BASE_SAFE_PATH_H_
#define ANEMONE_BASE_SAFE_PATH_H_

#include <string_view>

namespace anemone {

// Why `path` may not be read, unpacked or chosen below a folder, as the end of "one that …"; "" when it may. It must be
// relative, stay inside, have no empty, "." or ".." part, and mean the same on every system and terminal (no drive,
// backslash or control character); at most 4096 bytes.
std::string_view UnsafePath(std::string_view path);

// True for a safe path that has one part.
bool IsPlainName(std::string_view name);

}  // namespace anemone

#endif  // ANEMONE_BASE_SAFE_PATH_H_
