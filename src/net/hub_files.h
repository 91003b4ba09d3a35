// Internal: which files of a repository of the hub a conversion needs.
#ifndef ANEMONE_NET_HUB_FILES_H_
#define ANEMONE_NET_HUB_FILES_H_

#include <string>
#include <vector>

#include "anemone/status.h"

namespace anemone::internal {

// What the hub says of a revision. Names that are no safe paths are left out.
struct HubModel {
  std::string commit;
  std::vector<std::string> files;
};
// Errors: Corrupt (no JSON), Unavailable (no commit).
Result<HubModel> ParseHubModel(const std::string& json, const std::string& name);
// The files that an index of weights names. Errors: Corrupt.
Result<std::vector<std::string>> ShardsOf(const std::string& index, const std::string& path);
// What is taken along beside weights; and with the names that weights may have.
std::vector<std::string> FilesBeside();
std::vector<std::string> FilesOfModels();

// Which of a repository's files a conversion needs. `weights` is empty when there are none we know; an index stands for
// the shards that it names.
struct HubChoice {
  std::vector<std::string> configs;
  std::string weights;
};
HubChoice ChooseFiles(const std::vector<std::string>& names);

}  // namespace anemone::internal

#endif  // ANEMONE_NET_HUB_FILES_H_
