#include "cli/program.h"

int main(int argc, char** argv) { return anemone::cli::RunProgram(argc, argv); }
