// Files inside a .nemo as NeMo names them: "<32 hex>_<base name>", referred to from the config as "nemo:" of that
// [NeMo nemo/core/connectors/save_restore_connector.py, register_artifact].
#ifndef ANEMONE_FAMILY_TOKENIZER_NEMO_ARTIFACT_H_
#define ANEMONE_FAMILY_TOKENIZER_NEMO_ARTIFACT_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

inline constexpr std::string_view kNemoReference = "nemo:";

// The artifact a config value refers to; nullptr when the value is none or the artifact is missing.
const Artifact* FollowReference(const ConfigNode* value, const std::vector<Artifact>& artifacts);

// The name NeMo gives such a member: 32 hex digits before its own name. NeMo draws them at random; here they come from
// the content, so that the same conversion gives the same file. Errors: as reading.
Result<std::string> MemberName(const ByteRange& content, const std::string& name);

// "tokenizer.model" of "0123…_tokenizer.model"; a name without the 32 digits stays.
std::string_view WithoutMemberPrefix(std::string_view name);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_TOKENIZER_NEMO_ARTIFACT_H_
