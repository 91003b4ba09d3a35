// LayOutFiles: the files of the result, to the byte.
//
// Before:  the result is what the format can hold.
// After:   `plan` is set and checked; no two of its files have one name.
// Notes:   none.
#include <utility>

#include "convert/pass.h"
#include "engine/plan.h"
#include "ops/destination.h"

namespace anemone {
Status LayOutFiles(Work& work) {
  work.lay_out.extra_state = work.options.extra_state;
  work.lay_out.max_shard_bytes = work.options.max_shard_bytes;
  ANEMONE_ASSIGN(Plan plan, work.format->lay_out(work.result(), work.lay_out));
  ANEMONE_TRY(CheckIsFolder(work.conversion.destination, plan.is_directory));
  ANEMONE_TRY(Check(plan));
  work.conversion.plan = std::make_shared<const Plan>(std::move(plan));
  return {};
}

}  // namespace anemone
