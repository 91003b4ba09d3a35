// LayOutFiles: the files of the result, to the byte.
//
// Before:  the result is what the format can hold.
// After:   `plan` is set and checked; no two of its files have one name.
// Notes:   none.
#include <fmt/format.h>

#include <set>
#include <string_view>
#include <utility>

#include "convert/pass.h"
#include "engine/plan.h"

namespace anemone {
namespace {

// A file that travels with a model may be called as one that the format itself has.
Status ArtifactsHaveRoom(const Plan& plan, const Format& format) {
  std::set<std::string_view> paths, folders;
  for (const PlanFile& file : plan.files) {
    for (size_t slash = file.path.find('/'); slash != std::string::npos; slash = file.path.find('/', slash + 1))
      folders.insert(std::string_view(file.path).substr(0, slash));
  }
  for (const PlanFile& file : plan.files) {
    if (paths.insert(file.path).second && !folders.contains(file.path)) continue;
    return Unsupported(
        fmt::format("a file {} travels with the model, and a {} has one of its own", file.path, format.title),
        "give it another name in the source");
  }
  return {};
}

}  // namespace

Status LayOutFiles(Work& work) {
  work.lay_out.extra_state = work.options.extra_state;
  work.lay_out.max_shard_bytes = work.options.max_shard_bytes;
  ANEMONE_ASSIGN(Plan plan, work.format->lay_out(work.result(), work.lay_out));
  ANEMONE_TRY(ArtifactsHaveRoom(plan, *work.format));
  ANEMONE_TRY(Check(plan));
  work.conversion.plan = std::make_shared<const Plan>(std::move(plan));
  return {};
}

}  // namespace anemone
