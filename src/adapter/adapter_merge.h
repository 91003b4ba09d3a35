// LoRA: adapters of low rank as Hugging Face's PEFT, NeMo 1 and NeMo 2 store them, merged into the weights they adapt.
#ifndef ANEMONE_ADAPTER_ADAPTER_MERGE_H_
#define ANEMONE_ADAPTER_ADAPTER_MERGE_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// Adds B · A · alpha / r of each adapted module to its weight, in double and rounded once, whatever the names of either
// side. `model` is the base's; it has one shard. Errors: NotFound (no adapter there), Unsupported naming what of the
// adapter is not carried, Corrupt for shapes that do not fit the base.
Status MergeAdapter(const std::string& path, const ModelIdentity& model, const ProgressFn& progress, Checkpoint* base);

}  // namespace anemone

#endif  // ANEMONE_ADAPTER_ADAPTER_MERGE_H_
