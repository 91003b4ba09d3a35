// RunProgram: all of the anemone program but `main`, for those who carry it inside them: the program, the Python
// module.
#ifndef ANEMONE_CLI_PROGRAM_H_
#define ANEMONE_CLI_PROGRAM_H_

namespace anemone::cli {

// As main(): argv[0] is the program's name. Prints to stdout and stderr; answers the exit status. Does not throw.
int RunProgram(int argc, char** argv);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_PROGRAM_H_
