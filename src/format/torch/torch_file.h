// A torch file (torch.save): pickle + storages, in the zip or the legacy layout. Reading yields plain values with
// tensors as leaves; writing lays out the zip form that torch 1.13 … 2.15 load with weights_only=True.
#ifndef ANEMONE_FORMAT_TORCH_TORCH_FILE_H_
#define ANEMONE_FORMAT_TORCH_TORCH_FILE_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/value.h"
#include "container/zip.h"
#include "engine/plan.h"
#include "format/format.h"

namespace anemone {

// True for the first bytes of a zip or legacy torch file (a TorchScript archive included).
bool LooksLikeTorchFile(std::string_view head);

struct TorchFile {
  Value root;                // rebuilt tensors and parameters are kTensor nodes; everything else is as pickled
  bool legacy = false;       // the pre-1.6 layout
  bool torchscript = false;  // an archive with code: its tensors are read, its code is not
};

// Reads the pickle and rebuilds every tensor lazily. `range` may be a slice of a larger file (a .nemo, a .distcp);
// `within` then names the slice in messages about damaged records.
// Errors: Corrupt (truncated, storage out of range, lying sizes …), Unsupported (quantised, sparse … by name).
Result<TorchFile> ReadTorchFile(const ByteRange& range, std::string_view within = {});

// `content` with the CRC-32s that it records of its own records, which a plan that moves it then compares; itself where
// it is no zip.
ByteRange WithRecordedCrcs(const ByteRange& content);

// A dict-like value whose keys are strings as a StateDict: tensors stay, `_extra_state` forms become Opaque. Nested
// dicts are flattened with '.', and so are pickled modules (torch.save(model)), whose tensors are their parameters and
// buffers. A value that holds no tensor is left out and named in `left_out`. Errors: Corrupt (non-string keys,
// duplicates), Unsupported (any other value), naming the key.
Result<StateDict> ToStateDict(const Value& value, std::vector<std::string>* left_out = nullptr);

// The state of a pickled torch.nn.Module, a dict with `_parameters`, `_buffers` and `_modules`; null for anything else.
const ValueNode* ModuleState(const ValueNode& node);
// The reverse: an OrderedDict of the items in order (Opaque without data as None).
Value FromStateDict(const StateDict& state);

inline ZipOptions ZipOptionsOf(const LayOutOptions& options) {
  return {.keeps_blocks = options.keeps_blocks, .has_crc32 = options.has_crc32};
}

// Lays `value` out as a torch zip at the end of `file`, archive root `root` ("model_weights", "archive").
Status LayOutTorchFile(const Value& value, std::string_view root, PlanFile& file, const ZipOptions& options = {});

// Converts an OmegaConf DictConfig / plain dict value (Lightning's hyper_parameters) to a config tree, interpolations
// as text. Errors: Unsupported for a value that is no plain data; with `left_out`, such a value below the top is left
// out and named there (null in a list).
Result<ConfigNode> ToConfigNode(const Value& value, std::vector<std::string>* left_out = nullptr);
// The reverse: a DictConfig, ListConfig or AnyNode as OmegaConf 2.1 to 2.4 pickles it. `config` is no null map.
ValueRef ToOmegaConf(const ConfigNode& config, ValueGraph& graph);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_TORCH_FILE_H_
