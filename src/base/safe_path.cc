#include "base/safe_path.h"

#include <algorithm>
#include <cstddef>

namespace anemone {

std::string_view UnsafePath(std::string_view path) {
  if (path.empty()) return "is empty";
  if (path.size() > 4096) return "is longer than 4096 bytes";
  if (path[0] == '/' || path[0] == '\\') return "is absolute";
  if (path.size() > 1 && path[1] == ':' && ((path[0] | 0x20) >= 'a' && (path[0] | 0x20) <= 'z')) return "names a drive";
  for (const char c : path) {
    if (c == '\0') return "holds a NUL";
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return "holds a control character";
    if (c == '\\') return "holds a backslash";
  }
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string_view part = path.substr(start, end - start);
    if (part == "..") return "climbs with \"..\"";
    if (part.empty() || part == ".") return "has an empty part";
    start = end + 1;
  }
  return {};
}

bool IsPlainName(std::string_view name) { return name.find('/') == name.npos && UnsafePath(name).empty(); }

}  // namespace anemone
