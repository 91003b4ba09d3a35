// What one torch file of a checkpoint holds: a bare state dict, Lightning's training dictionary, or another trainer's.
// Rules (PTL-n, TZ-n): docs/formats/lightning.md, pytorch.md.
#ifndef ANEMONE_FORMAT_TORCH_RANK_FILE_H_
#define ANEMONE_FORMAT_TORCH_RANK_FILE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

struct RankFile {
  Shard shard;                        // ranks are left 0
  std::optional<ConfigNode> hparams;  // of ReadHparams
  bool lightning = false;
  bool torchscript = false;
  bool megatron = false;  // of Megatron-LM; hparams are its arguments
  std::vector<std::string> notes;
};

// A hint about DeepSpeed's checkpoints.
inline constexpr std::string_view kOneRank = "only one model-parallel rank without pipeline stages is read";

struct RankFileOptions {
  std::string_view within = {};    // as ReadTorchFile
  std::string_view if_empty = {};  // what to do about a file without a tensor
  std::string_view key = {};  // the dictionary that holds the weights ("a.b": of a dictionary); empty: what is in it
};

// Reads headers only. Errors: as ReadTorchFile and ToStateDict; Corrupt when there is no tensor to be found;
// InvalidArgument when several dictionaries may be meant, or none is called `key`; Unsupported where ZeRO-3 kept the
// weights elsewhere.
Result<RankFile> ReadRankFile(const ByteRange& range, const RankFileOptions& options = {});

// The config in a training dictionary's hyper_parameters, from under `cfg` where it has that; nullopt without one. What
// is no plain value is left out and named in `left_out`. Errors: as ToConfigNode.
Result<std::optional<ConfigNode>> ReadHparams(const Value& training, std::vector<std::string>* left_out);

// Strips `from` where every name has it, replacing it by `to`; says so. Used for `module.` (DistributedDataParallel)
// and `model.module.` (NeMo's Float16Module).
Status RenamePrefix(StateDict& state, std::string_view from, std::string_view to, std::vector<std::string>& notes);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_RANK_FILE_H_
