#include "cli/program.h"

#ifdef ANEMONE_WITH_MPI
#include "engine/mpi_cluster.h"
constexpr anemone::cli::JoinFn kJoin = anemone::JoinMpi;
#else
constexpr anemone::cli::JoinFn kJoin = nullptr;
#endif

int main(int argc, char** argv) { return anemone::cli::RunProgram(argc, argv, anemone::cli::Host::kOwnProcess, kJoin); }
