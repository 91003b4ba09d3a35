// A torch file that Megatron-LM saved: arguments, weights, an optimizer. Rules (MEG-n): docs/formats/megatron.md.
#ifndef ANEMONE_FORMAT_TORCH_MEGATRON_FILE_H_
#define ANEMONE_FORMAT_TORCH_MEGATRON_FILE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

// What messages call the config of a checkpoint by Megatron-LM.
inline constexpr std::string_view kMegatronArgs = "args";

// The arguments of the training (argparse's Namespace, or vars() of it) in a dictionary that Megatron-LM saved; null:
// it has none.
ValueRef MegatronArgsOf(const Value& root);
inline bool IsMegatronTraining(const Value& root) { return MegatronArgsOf(root) != nullptr; }

// The arguments as a config: dtypes as "torch.bfloat16"; objects are left out and named in `left_out`. REQUIRES:
// MegatronArgsOf(root). Errors: as ToConfigNode.
Result<ConfigNode> ReadMegatronArgs(const Value& root, std::vector<std::string>* left_out);

// How many ranks the arguments speak of; sizes they do not have are 1. Errors: Corrupt naming the argument.
Result<Layout> LayoutOfMegatronArgs(const ConfigNode& args);

// Tensors of a rank's model, weights or an optimizer's of the same shapes, under the names and in the order of rows
// that Megatron's newest code has for them: MEG-5, MEG-6. `root` says what they were stored by. Errors: Corrupt.
Result<StateDict> InTodaysWords(const StateDict& stored, const Value& root, const ConfigNode& args);

// One rank's weights, under the names and in the order of rows that Megatron's newest code has for them: see MEG-5.
// Errors: Corrupt, Unsupported.
Result<Shard> ReadMegatronShard(const Value& root, const ConfigNode& args, std::vector<std::string>* notes);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_MEGATRON_FILE_H_
