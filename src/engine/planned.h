// ReadPlanned: bytes of a planned file from where they come.
#ifndef ANEMONE_ENGINE_PLANNED_H_
#define ANEMONE_ENGINE_PLANNED_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "anemone/status.h"
#include "engine/plan.h"
#include "tensor/fill.h"

namespace anemone {

// Fills `out` with bytes [begin, begin + out.size()) of a file, zeros where CRCs are stored. `segment`: the first that
// ends after `begin`. `observer`, if any, is told of what is read. Errors: as the sources.
Status ReadPlanned(const PlanFile& file, size_t segment, uint64_t begin, std::span<std::byte> out,
                   ReadObserver* observer);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_PLANNED_H_
