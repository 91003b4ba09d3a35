// Internal: which files of a repository of the hub a conversion needs.
#ifndef ANEMONE_NET_HUB_FILES_H_
#define ANEMONE_NET_HUB_FILES_H_

#include <string>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone::internal {

// A revision as the hub describes it. File names that are no safe paths are left out.
struct HubModel {
  std::string commit;
  std::vector<std::string> files;
};
// Errors: Corrupt (no JSON), Unavailable (no commit).
Result<HubModel> ParseHubModel(const std::string& json, const std::string& name);
// The files that an index of weights names. Errors: Corrupt; as reading.
Result<std::vector<std::string>> ShardsOf(const std::string& index, const std::string& path);
Result<std::vector<std::string>> ReadShards(ByteSourcePtr index);
// File names: of configs and tokenizers, which are taken along; of these and of weights.
std::vector<std::string> FilesBeside();
std::vector<std::string> FilesOfModels();

// The files of a repository that a conversion needs. `weights` is empty when no known name is there; an index stands
// for the shards that it names.
struct HubChoice {
  std::vector<std::string> configs;
  std::string weights;
};
HubChoice ChooseFiles(const std::vector<std::string>& names);

}  // namespace anemone::internal

#endif  // ANEMONE_NET_HUB_FILES_H_
