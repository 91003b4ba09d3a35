// Functions on plans that only the library needs. Plan itself is public (anemone/plan.h).
#ifndef ANEMONE_ENGINE_PLAN_H_
#define ANEMONE_ENGINE_PLAN_H_

#include "anemone/plan.h"
#include "anemone/status.h"

namespace anemone {

// Appends a laid-out file at the end of `to`: its segments and CRC slots move along, its path is forgotten. So a size
// that comes first (a tar header's) can be known before what it counts is laid out.
void AppendFile(PlanFile& to, PlanFile&& part);

// Appends what is alike at `first` and at `second`, `size` bytes each, with another tensor in it: literals, around one
// tensor with at most one CRC. Many items of one dtype and shape share their literals, and where the two lie side by
// side, a tail and the head behind it are one.
void AppendAlike(PlanFile& file, uint64_t first, uint64_t second, uint64_t size, const Tensor& tensor);

// The law: segments ascend, do not overlap, lie inside the file, have the size of their content; CRC ranges are covered
// and their stores are literals; paths are relative, distinct and free of "..". Errors: Internal, naming file and byte.
Status Check(const Plan& plan);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_PLAN_H_
