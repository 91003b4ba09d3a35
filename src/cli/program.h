// RunProgram: all of the anemone program but `main`, for those who carry it inside them: the program, the Python
// module.
#ifndef ANEMONE_CLI_PROGRAM_H_
#define ANEMONE_CLI_PROGRAM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "engine/cluster.h"

namespace anemone::cli {

struct Capture;  // command.h

// Joins the processes that were started together to do `job`, the same words in the same folder; null: there are none.
using JoinFn = std::unique_ptr<Cluster> (*)(const std::string& job);

// Whose process it is. A guest leaves it as it was: signal handlers are put back.
enum class Host : uint8_t { kOwnProcess, kGuest };

// As main(): argv[0] is the program's name. Prints to stdout and stderr; answers the exit status. Does not throw.
int RunProgram(int argc, char** argv, Host host, JoinFn join = nullptr);
// The same for a caller who wants what a command prints, and its failure, as values: nothing is printed, and no signal
// is handled. One at a time, and not while RunProgram runs.
int RunCaptured(int argc, char** argv, Capture* capture);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_PROGRAM_H_
