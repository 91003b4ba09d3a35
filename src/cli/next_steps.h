// What people who hold such a checkpoint most often want next.
#ifndef ANEMONE_CLI_NEXT_STEPS_H_
#define ANEMONE_CLI_NEXT_STEPS_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "inspect/summary.h"

namespace anemone::cli {

struct Step {
  std::string command;
  std::string_view purpose;
};

// Commands that work; none where there is nothing to propose. Errors: as reading.
Result<std::vector<Step>> NextSteps(const Checkpoint& checkpoint, const Summary& summary, const WholeModel& whole);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_NEXT_STEPS_H_
