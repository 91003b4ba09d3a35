// An adapter of low rank as others store it, without the weights that it adapts.
#ifndef ANEMONE_ADAPTER_ADAPTER_CONVERT_H_
#define ANEMONE_ADAPTER_ADAPTER_CONVERT_H_

#include "adapter/adapter.h"
#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// The model that is adapted: its config in NeMo 1's keys, and its spelling in transformers.
struct AdaptedModel {
  const Family* family = nullptr;
  ModelSymbols symbols;
  const Dialect* hf = nullptr;
};
// By NeMo's config alone. `hf`: the spelling, where it is known; else the one of the class that the config tells.
Result<AdaptedModel> AdaptedModelOf(const Config& nemo1, const Dialect* hf, const TranslateOptions& options);

// PEFT's folder: adapter_config.json and a pair of matrices for each module. Errors: Unsupported naming what PEFT does
// not have; as RowsOf.
Result<Checkpoint> AdapterToPeft(const Adapter& adapter, const AdaptedModel& model, const std::string& base);

// NeMo's, in a checkpoint that has the base's config and files: `peft` is added to a config of NeMo 1,
// `model_transform` to one of NeMo 2. Every layer gets the same modules, those that are not adapted zeros. Errors:
// Unsupported naming what NeMo does not have; as RowsOf.
Status AdapterToNemo(const Adapter& adapter, const AdaptedModel& model, const std::string& base,
                     Checkpoint* checkpoint);

}  // namespace anemone

#endif  // ANEMONE_ADAPTER_ADAPTER_CONVERT_H_
