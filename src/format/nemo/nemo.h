// .nemo: a tar (or a folder) of model_config.yaml, weights and artifacts. Rules and ids (NEMO-n): docs/formats/nemo.md.
#ifndef ANEMONE_FORMAT_NEMO_NEMO_H_
#define ANEMONE_FORMAT_NEMO_NEMO_H_

#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// A config value `nemo:NAME`, which stands for the member NAME.
struct ArtifactReference {
  std::string config_path;
  std::string name;
};
std::vector<ArtifactReference> ArtifactReferences(const ConfigNode& root);
// Those of a checkpoint's config whose member is not there.
std::vector<ArtifactReference> MissingReferences(const Checkpoint& checkpoint);

// Every `nemo:` reference of the config has its artifact. Errors: Corrupt, naming all that do not [NEMO-12].
Status CheckArtifactReferences(const Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_NEMO_NEMO_H_
