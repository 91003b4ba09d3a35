// CheckFiles: the files that travel with the model are whole.
//
// Before:  the result's files are those that are written.
// After:   those that loaders look for by name are JSON where they are called so, if the format holds them.
// Notes:   none.
#include <algorithm>
#include <string>

#include "convert/pass.h"
#include "family/tokenizer/check_artifact.h"

namespace anemone {
namespace {

// The file's name in the source: the result may have it in another folder.
std::string NameOf(const Artifact& artifact, const Checkpoint& source) {
  const auto is_same = [&](const Artifact& other) {
    return other.content.source == artifact.content.source && other.content.offset == artifact.content.offset;
  };
  const auto found = std::ranges::find_if(source.artifacts, is_same);
  return found == source.artifacts.end() ? artifact.name : found->name;
}

}  // namespace

Status CheckFiles(Work& work) {
  const bool holds_files = work.format->is_directory || work.traits().is_nemo1_archive();
  if (!holds_files) return {};
  for (const Artifact& artifact : work.result().artifacts) {
    if (IsCompanion(artifact)) ANEMONE_TRY(CheckArtifact({NameOf(artifact, work.conversion.source), artifact.content}));
  }
  return {};
}

}  // namespace anemone
