// PlanSave: a checkpoint in memory, written in any format.
//
//   Checkpoint own;                       // one's own tensors and config
//   own.config = Config(root);
//   ANEMONE_TRY(own.shards.emplace_back().weights.Add("w", *Tensor::FromBytes(DType::kF32, {2}, bytes)));
//   ANEMONE_ASSIGN(auto conversion, PlanSave(own, "own.nemo", {}));
//   ANEMONE_TRY(RunConversion(conversion, {}));
#ifndef ANEMONE_SAVE_H_
#define ANEMONE_SAVE_H_

#if __cplusplus < 202002L
#error "anemone needs C++20: -std=c++20"
#endif

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/convert.h"
#include "anemone/status.h"

namespace anemone {

// Plans a checkpoint that was opened and changed, or made of one's own tensors, as PlanConversion plans a stored one;
// RunConversion writes it. Ownership: the conversion shares the tensors' sources. Threads: reentrant. Cost: reads no
// weights but for small copies that ranks share. Errors: as PlanConversion; Corrupt (no tensors), InvalidArgument (the
// format needs a config).
Result<Conversion> PlanSave(const Checkpoint& checkpoint, const std::string& destination,
                            const ConvertOptions& options);

}  // namespace anemone

#endif  // ANEMONE_SAVE_H_
