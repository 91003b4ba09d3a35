#include "format/artifacts.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <span>

#include "base/stand_in.h"

namespace anemone {

Status AddArtifacts(const Checkpoint& checkpoint, std::string_view title, std::vector<PlanFile>& files,
                    const std::function<std::string(const std::string& name)>& place) {
  std::set<std::string> paths, folders;
  // Whether a file can lie at `path`.
  const auto take = [&](const std::string& path) {
    bool is_free = paths.insert(path).second && !folders.contains(path);
    for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
      folders.insert(path.substr(0, slash));
      is_free = is_free && !paths.contains(path.substr(0, slash));
    }
    return is_free;
  };
  for (const PlanFile& file : files) take(file.path);
  for (const Artifact& artifact : checkpoint.artifacts) {
    std::string path = place ? place(artifact.name) : artifact.name;
    if (path.empty()) continue;
    if (!take(path)) {
      return Unsupported(fmt::format("a file {} travels with the model, and a {} has one of its own", path, title),
                         "give it another name in the source");
    }
    PlanFile& file = files.emplace_back();
    file.path = std::move(path);
    file.Append(artifact.content);
  }
  return {};
}

namespace {

// Looks at both ends only, as a file of a tokenizer may be long.
Status CheckWhole(const Artifact& artifact) {
  constexpr uint64_t kEnd = 256;
  const ByteRange& content = artifact.content;
  const bool is_json = artifact.name.ends_with(".json");
  if (content.size == 0 && (is_json || artifact.name.ends_with("merges.txt")))
    return Corrupt("an empty file", std::string(kCutShort));
  const uint64_t size = std::min(content.size, kEnd);
  std::string head(size, 0), tail(size, 0);
  ANEMONE_TRY(content.source->ReadAt(content.offset, std::as_writable_bytes(std::span(head))));
  ANEMONE_TRY(CheckNoStandIn(head));
  if (!is_json) return {};
  ANEMONE_TRY(content.source->ReadAt(content.offset + content.size - size, std::as_writable_bytes(std::span(tail))));
  const size_t first = head.find_first_not_of(kTextBlanks), last = tail.find_last_not_of(kTextBlanks);
  if (first == std::string::npos || last == std::string::npos) return {};
  const char closing = head[first] == '{' ? '}' : head[first] == '[' ? ']' : tail[last];
  if (tail[last] == closing) return {};
  return Corrupt(fmt::format("expected '{}' at its end, found none", closing), std::string(kCutShort));
}

}  // namespace

Status CheckFetched(const Checkpoint& checkpoint) {
  for (const Artifact& artifact : checkpoint.artifacts) ANEMONE_TRY(CheckWhole(artifact).In(artifact.name));
  return {};
}

}  // namespace anemone
