// Functions on plans that only the library needs. Plan itself is public (anemone/plan.h).
#ifndef ANEMONE_ENGINE_PLAN_H_
#define ANEMONE_ENGINE_PLAN_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "anemone/plan.h"
#include "anemone/status.h"

namespace anemone {

// Appends a laid-out file at the end of `to`: its segments and CRC slots move along, its path is forgotten. So a size
// that comes first (a tar header's) can be known before what it counts is laid out.
void AppendFile(PlanFile& to, PlanFile&& part);

// What files of one kind have around a tensor each. The file that they are appended to keeps it once; where two follow
// each other, the end of one and the beginning of the next are one literal.
struct Surroundings {
  std::string_view before, after;
  std::vector<Crc32Slot> crcs;
};
// Of a file of literals around at most one tensor.
Surroundings TakeSurroundings(const PlanFile& part, PlanFile& to);
// `crc32`: the tensor's, where it is known: it is stored at once instead of computed.
void AppendWithin(const Surroundings& around, const Tensor& tensor, PlanFile& to,
                  std::optional<uint32_t> crc32 = std::nullopt);

// The law: segments ascend, do not overlap, lie inside the file, have the size of their content; CRC ranges are covered
// and their stores are literals; paths are relative, distinct and free of "..". Errors: Internal, naming file and byte.
Status Check(const Plan& plan);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_PLAN_H_
