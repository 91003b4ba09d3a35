// Answers of servers to a source that is read in place: a Content-Range, a page of an object store's listing, the
// hub's word on a revision. Never crash; what is accepted is within bounds.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/safe_path.h"
#include "net/http.h"
#include "net/hub_files.h"
#include "net/object_listing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const std::optional<ContentRange> range = ParseContentRange(text)) {
    const bool is_unsatisfied = range->begin == 0 && range->end == 0;
    if (!is_unsatisfied && (range->begin >= range->end || range->end > range->size)) std::abort();
  }
  if (const auto listing = internal::ParseObjectListing(text); listing.ok()) {
    size_t bytes = 0;  // a token may lie around keys
    for (const std::string& key : listing->keys) bytes += key.size();
    if (bytes > size || listing->next.size() > size) std::abort();
  }
  if (const auto model = internal::ParseHubModel(text, "fuzz"); model.ok()) {
    if (model->commit.size() != 40) std::abort();
    for (const std::string& file : model->files) {
      if (!UnsafePath(file).empty()) std::abort();
    }
    internal::ChooseFiles(model->files);
  }
  if (const auto shards = internal::ShardsOf(text, "fuzz"); shards.ok()) {
    for (const std::string& file : *shards) {
      if (!UnsafePath(file).empty()) std::abort();
    }
  }
  return 0;
}
