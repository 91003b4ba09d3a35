#include <sysexits.h>
#include <unistd.h>

#include <new>
#include <string_view>

#include "cli/program.h"

#ifdef ANEMONE_WITH_MPI
#include "engine/mpi_cluster.h"
constexpr anemone::cli::JoinFn kJoin = anemone::JoinMpi;
#else
constexpr anemone::cli::JoinFn kJoin = nullptr;
#endif

namespace {

void EndWithoutMemory() {
  constexpr std::string_view kSaid = "anemone: out of memory\n";
  (void)!write(STDERR_FILENO, kSaid.data(), kSaid.size());
  _exit(EX_OSERR);
}

// Static initializers, CLI11's and those of libraries, take memory before main can catch std::bad_alloc. This function
// is called before all of them [ELF: DT_PREINIT_ARRAY].
void Begin() { std::set_new_handler(EndWithoutMemory); }
[[gnu::section(".preinit_array"), gnu::used]] void (*const kBegin)() = Begin;

}  // namespace

int main(int argc, char** argv) {
  std::set_new_handler(nullptr);
  return anemone::cli::RunProgram(argc, argv, anemone::cli::Host::kOwnProcess, kJoin);
}
