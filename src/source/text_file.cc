#include "source/text_file.h"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

#include "anemone/bytes.h"
#include "base/nearest.h"
#include "config/scalar.h"

namespace anemone {

Result<Config> ReadYaml(const std::string& path) {
  constexpr uint64_t kMaxBytes = uint64_t{16} << 20;
  ANEMONE_ASSIGN(ByteSourcePtr file, OpenGivenFile(path));
  ANEMONE_ASSIGN(const std::string text, Whole(std::move(file)).ReadAll(kMaxBytes));
  return Config::ParseYaml(text, path);
}

std::vector<std::string> Lines(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find_first_of("\r\n");  // as Python's text files; blank lines are left out anyway
    const std::string_view line = text.substr(0, end);
    if (line.find_first_not_of(" \t") != std::string_view::npos) lines.emplace_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

Result<std::vector<std::string>> ReadLines(const std::string& path) {
  constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
  ANEMONE_ASSIGN(ByteSourcePtr file, OpenGivenFile(path));
  ANEMONE_ASSIGN(const std::string all, Whole(std::move(file)).ReadAll(kMaxBytes));
  // A zero byte would end a path early.
  if (all.find('\0') != std::string::npos) {
    return InvalidArgument("expected UTF-8 text, found zero bytes", "save it as UTF-8: UTF-16 is not read").In(path);
  }
  return Lines(all);
}

Result<std::vector<std::string>> ReadTexts(const std::string& path, std::string_view what) {
  ANEMONE_ASSIGN(std::vector<std::string> lines, ReadLines(path));
  if (lines.empty()) return InvalidArgument(fmt::format("expected {} on each line, found none", what)).In(path);
  for (const std::string& line : lines) {
    if (!internal::ValidUtf8(line))
      return InvalidArgument(fmt::format("expected UTF-8 text, found '{}'", line), "save it as UTF-8").In(path);
  }
  return lines;
}

}  // namespace anemone
