#include "anemone/open.h"

#include "family/family.h"
#include "format/format.h"
#include "parallel/reshard.h"
#include "source/canonical.h"
#include "source/source.h"

namespace anemone {

Result<Checkpoint> Open(const std::string& path, const SourceOptions& options) {
  return OpenSource(path, options.progress, {options.key});
}

Result<Checkpoint> InDialect(const Checkpoint& checkpoint, std::string_view dialect) {
  if (dialect == "canonical") return Canonical(checkpoint);
  ANEMONE_ASSIGN(const Checkpoint merged, MergeShards(checkpoint));
  return Translate(merged, dialect);
}

std::vector<FormatInfo> ListFormats() {
  std::vector<FormatInfo> list;
  list.reserve(Formats().size());
  for (const Format* format : Formats()) {
    list.push_back({format->name, format->title, format->extension, format->lay_out != nullptr});
  }
  return list;
}

}  // namespace anemone
