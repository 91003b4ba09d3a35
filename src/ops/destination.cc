#include "ops/destination.h"

#include <fmt/format.h>

#include <filesystem>

namespace anemone {

Result<const Format*> DestinationFormat(const std::string& destination, const std::string& to,
                                        const Checkpoint& source) {
  // What people call a torch file.
  constexpr std::string_view kTorchExtensions[] = {".bin", ".pth"};
  std::string known;
  const Format* named = to.empty() ? nullptr : FindFormat(to);
  for (const std::string_view extension : kTorchExtensions) {
    if (to.empty() && destination.ends_with(extension)) named = FindFormat("pytorch");
  }
  for (const Format* format : Formats()) {
    if (format->lay_out == nullptr) continue;
    if (format == named) return format;
    if (to.empty() && !format->extension.empty() && destination.ends_with(format->extension)) return format;
    known += (known.empty() ? "" : ", ") + std::string(format->name);
  }
  if (!to.empty()) return InvalidArgument(fmt::format("--to {}: expected one of {}", to, known));
  if (!std::filesystem::path(destination).has_extension()) {
    if (const Format* format = FindFormat(source.flavour);
        format != nullptr && format->lay_out != nullptr && format->is_directory) {
      return format;
    }
  }
  return InvalidArgument(fmt::format("{}: cannot tell the format to write from this name", destination),
                         fmt::format("add --to with one of {}", known));
}

}  // namespace anemone
