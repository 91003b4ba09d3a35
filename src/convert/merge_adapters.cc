// MergeAdapters: adapters of low rank become part of the weights that they adapt.
//
// Before:  `identity` is known, or says why not.
// After:   every adapter that the user names is merged, in order; names and dtypes are as they were.
// Notes:   how many matrices of each, and its scale.
#include <string>

#include "adapter/adapter_merge.h"
#include "convert/pass.h"

namespace anemone {

Status MergeAdapters(Work& work) {
  if (work.options.lora.empty()) return {};
  if (!work.identity.ok()) return work.identity.status();
  work.LeaveTraining("it belongs to the weights without the adapter");
  ANEMONE_TRY(work.Merge());
  for (const std::string& path : work.options.lora)
    ANEMONE_TRY(MergeAdapter(path, *work.identity, work.options.progress, &work.result()));
  return {};
}

}  // namespace anemone
