#include "edit/destination.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/lower_case.h"
#include "base/nearest.h"

namespace anemone {
namespace {

const Format* WritableByName(std::string_view name) {
  const Format* format = FindFormat(LowerCase(name));
  return format != nullptr && format->lay_out != nullptr ? format : nullptr;
}

// `name` without slashes at its end.
const Format* ByExtension(std::string_view name, bool is_folder) {
  if (is_folder && EndsWith(name, ".nemo")) return WritableByName("nemo-dir");
  const auto has = [name](std::string_view extension) { return !extension.empty() && EndsWith(name, extension); };
  const auto formats = Formats();
  const auto found = std::ranges::find_if(formats, [&](const Format* format) {
    return format->lay_out != nullptr && (has(format->extension) || std::ranges::any_of(format->other_extensions, has));
  });
  return found == formats.end() ? nullptr : *found;
}

// What other programs call a file of this name; "" where that is unknown.
std::string_view OthersFormat(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kEndings[] = {{".engine", "a TensorRT engine"},
                                                                        {".gguf", "GGUF"},
                                                                        {".ggml", "GGML"},
                                                                        {".h5", "HDF5"},
                                                                        {".keras", "Keras"},
                                                                        {".msgpack", "MessagePack"},
                                                                        {".npy", "NumPy"},
                                                                        {".npz", "NumPy"},
                                                                        {".onnx", "ONNX"},
                                                                        {".pb", "TensorFlow"},
                                                                        {".tflite", "TFLite"}};
  const auto* found = std::ranges::find_if(kEndings, [&](const auto& ending) { return EndsWith(name, ending.first); });
  return found == std::end(kEndings) ? std::string_view() : found->second;
}

}  // namespace

std::vector<std::string> WritableFormats() {
  std::vector<std::string> names;
  for (const Format* format : Formats()) {
    if (format->lay_out != nullptr) names.emplace_back(format->name);
  }
  return names;
}

Status CheckIsNoStream(std::string_view destination) {
  if (destination != "-") return {};
  return InvalidArgument("-: expected the name of a file or folder to write, found the sign for standard output",
                         "checkpoints are not written to a stream; ./- is a file of that name");
}

Status CheckIsFolder(std::string_view destination, bool is_directory) {
  if (is_directory || !destination.ends_with('/')) return {};
  return InvalidArgument(fmt::format("{}: expected the name of a file, found a folder's", destination),
                         "leave out the / at its end");
}

Status CheckIsNoOtherFormats(const std::string& destination) {
  const Format* const format = ByExtension(destination, false);
  if (format == nullptr || format->traits.is_nemo1_archive()) return {};
  return InvalidArgument(
      fmt::format("{}: expected the name of a .nemo, found that of a {}", destination, format->title),
      "convert writes other formats");
}

Result<const Format*> DestinationFormat(const std::string& destination, const std::string& to) {
  ANEMONE_TRY(CheckIsNoStream(destination));
  const std::vector<std::string> known = WritableFormats();
  const std::string name = destination.substr(0, destination.find_last_not_of('/') + 1);
  const bool is_folder = name.size() < destination.size();
  const Format* const format = to.empty() ? ByExtension(name, is_folder) : WritableByName(to);
  if (format == nullptr && !to.empty()) {
    return WrongOption("to", fmt::format("expected one of {}, found '{}'", fmt::join(known, ", "), to),
                       DidYouMean(to, known));
  }
  if (format == nullptr) {
    const std::string_view other = OthersFormat(name);
    return InvalidArgument(fmt::format("{}: cannot tell the format to write from this name{}", destination,
                                       other.empty() ? "" : fmt::format(": {} is not written", other)))
        .Use("to", "FORMAT", fmt::format("name it: one of {}", fmt::join(known, ", ")));
  }
  return format;
}

}  // namespace anemone
