// safetensors: 8 bytes of header length, a JSON header, one buffer. Rules and ids (ST-n): docs/formats/safetensors.md.
#ifndef ANEMONE_FORMAT_HUGGINGFACE_SAFETENSORS_H_
#define ANEMONE_FORMAT_HUGGINGFACE_SAFETENSORS_H_

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "engine/plan.h"
#include "format/format.h"

namespace anemone {

using NamedTensors = std::vector<std::pair<std::string_view, Tensor>>;

// True when `head` starts a safetensors file of `size_bytes` bytes.
bool LooksLikeSafetensors(std::string_view head, uint64_t size_bytes);

// Reads the header; the tensors of the result lie in `range`, in the order of their bytes. `metadata`, if given,
// receives
// `__metadata__`. Errors: Corrupt with the rule's id, Unsupported (a dtype we do not know), LimitExceeded (header above
// 100 MB). Cost: two reads.
Result<StateDict> ReadSafetensors(const ByteRange& range, std::map<std::string, std::string>* metadata = nullptr);

// Adds the names that `metadata` maps to a stored tensor and that are not there: of a tensor with several names (an
// embedding and the output layer), safetensors' save_model stores one.
Status AddTiedNames(const std::map<std::string, std::string>& metadata, StateDict& state);

// Lays `tensors` out as one file at the end of `file` as the reference implementation does: larger dtypes first, then
// by name. Errors: Unsupported (a dtype safetensors has no word for), InvalidArgument (a name twice).
Status LayOutSafetensors(NamedTensors tensors, const std::map<std::string, std::string>& metadata, PlanFile& file,
                         bool keeps_blocks = false);

// The tensors of an unsharded checkpoint, which must outlast them, in stored order. Entries that are no tensors are
// left out when they hold no data. Errors: InvalidArgument (several ranks), Unsupported (an `_extra_state` with data,
// unless `options` drops them).
Result<NamedTensors> PlainTensors(const Checkpoint& checkpoint, const LayOutOptions& options);

// Adds `STEM.safetensors` to the plan, or `STEM-0000i-of-0000n.safetensors` and `STEM.safetensors.index.json` when it
// would exceed options.max_shard_bytes, as transformers splits.
Status AddSafetensorsFiles(const Checkpoint& checkpoint, const LayOutOptions& options, std::string_view stem,
                           const std::map<std::string, std::string>& metadata, Plan& plan);
// transformers refuses files without it.
inline const std::map<std::string, std::string> kFormatMetadata = {{"format", "pt"}};

}  // namespace anemone

#endif  // ANEMONE_FORMAT_HUGGINGFACE_SAFETENSORS_H_
