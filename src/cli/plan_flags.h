// What every command that writes something shares: the destination, --plan, --force, --json, and carrying the plan out.
#ifndef ANEMONE_CLI_PLAN_FLAGS_H_
#define ANEMONE_CLI_PLAN_FLAGS_H_

#include <CLI/App.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone::cli {

struct PlanFlags {
  std::string destination;
  bool plan_only = false;
  std::optional<bool> verify_source;  // as asked for
  bool force = false;
  bool json = false;
  bool resume = false;
  bool in_place = false;  // the destination may be the source: the plan carries over all of it

  void Declare(CLI::App& app, const std::string& name, const std::string& help);  // destination as a positional
  void DeclareOutput(CLI::App& app, const std::string& help);                     // destination as -o
  // Prints the plan (--plan) or executes it at `destination`; answers the exit status. `what` it writes is told with
  // the destination's name.
  int Run(const Result<Plan>& plan, const std::string& what = "") const;
  int Run(const Plan& plan, const std::string& what, const Status& planned = {}) const;  // `planned`: why there is none
  void DeclareShared(CLI::App& app);                                                     // without a destination
  void DeclareResume(CLI::App& app);  // --resume, for what may write for long

 private:
  void NoteLeftovers() const;
};

// "NeMo archive, 74 tensors, fp32, TP 2 × PP 1": a checkpoint in a few words, as `format` stores it.
std::string InBrief(const Checkpoint& checkpoint, const Format& format);

// The words of --set: as SplitPairs, and Hydra's `~KEY` goes to `unset`.
Status SplitEdits(const std::vector<std::string>& words, std::vector<std::pair<std::string, std::string>>& set,
                  std::vector<std::string>& unset);
// "key=value" words as pairs. Errors: InvalidArgument for a word without '='; it begins with `place`, "--set: ".
Status SplitPairs(const std::vector<std::string>& words, std::vector<std::pair<std::string, std::string>>& pairs,
                  std::string_view place = "", std::string_view form = "KEY=VALUE");

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_PLAN_FLAGS_H_
