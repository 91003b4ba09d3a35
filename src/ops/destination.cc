#include "ops/destination.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace anemone {

Result<const Format*> DestinationFormat(const std::string& destination, const std::string& to,
                                        const Checkpoint& source) {
  std::string known;
  const Format* named = to.empty() ? nullptr : FindFormat(to);
  const auto has = [&](std::string_view extension) { return !extension.empty() && destination.ends_with(extension); };
  for (const Format* format : Formats()) {
    if (format->lay_out == nullptr) continue;
    if (format == named) return format;
    if (to.empty() && (has(format->extension) || std::ranges::any_of(format->other_extensions, has))) return format;
    known += (known.empty() ? "" : ", ") + std::string(format->name);
  }
  if (!to.empty()) return WrongOption("to", fmt::format("expected one of {}, found '{}'", known, to));
  if (!std::filesystem::path(destination).has_extension()) {
    if (const Format* format = source.format; format != nullptr && format->lay_out != nullptr && format->is_directory) {
      return format;
    }
  }
  return InvalidArgument(fmt::format("{}: cannot tell the format to write from this name", destination))
      .Use("to", "FORMAT", fmt::format("name it: one of {}", known));
}

}  // namespace anemone
