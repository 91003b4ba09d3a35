// version: this program, what it was built with, and what it found on this machine.
#include "anemone/version.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <string>
#include <utility>
#include <vector>

#include "anemone/clip.h"
#include "base/cores.h"
#include "base/shared_library.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/text.h"
#include "clip/gemm.h"

namespace anemone::cli {
namespace {

std::string Processor() {
  std::string text = fmt::format("{} cores", UsableCores());
#if defined(__x86_64__)
  for (const auto& [name, has] : {std::pair{"SSE4.2", __builtin_cpu_supports("sse4.2") != 0},
                                  {"AVX2", __builtin_cpu_supports("avx2") != 0},
                                  {"AVX-512", __builtin_cpu_supports("avx512f") != 0}}) {
    if (has) text.append(", ").append(name);
  }
#endif
  return text + (ClipHasBf16() ? ", multiplies bf16" : "") + (ClipHasInt8() ? ", multiplies int8" : "");
}

// Libraries that are loaded at first use.
std::string Found(const Result<SharedLibrary>& library, const char* name) {
  return library.ok() ? std::string(name) : fmt::format("not found: {}", name);
}

std::string Blas() {
  const Result<SharedLibrary> library = SharedLibrary::Open({"libopenblas.so.0", "libopenblas.so"});
  char* (*config)() = nullptr;
  if (!library.ok() || !library->Find("openblas_get_config", config).ok()) return Found(library, "libopenblas.so.0");
  return config();
}

// What a ViT-L/14 would be multiplied by, and why.
Result<std::string> Products() {
  const Result<internal::GemmChoice> choice = internal::ChooseGemm(internal::kGemmOfVitL14);
  if (choice.ok()) return choice->ToString();
  if (choice.status().kind() == ErrorKind::kUnavailable) return "none: " + choice.status().message();
  return choice.status();
}

int Run() {
  Print(fmt::format("anemone {}\n", kVersion));
  if (globals().verbosity < 1) return kDone;
  const Result<std::string> products = Products();
  if (!products.ok()) return Report(products.status());
  Print(Columns({{"compiler", __VERSION__},
                 {"processor", Processor()},
                 {"mpi", globals().has_mpi ? "built in" : "not built in (-DANEMONE_WITH_MPI=ON)"},
                 {"products", *products},
                 {"blas", Blas()},
                 {"bf16", Found(SharedLibrary::Open({"libdnnl.so.2"}), "libdnnl.so.2")},
                 {"tiff", Found(SharedLibrary::Open({"libtiff.so.6"}), "libtiff.so.6")},
                 {"hub", Found(SharedLibrary::Open({"libcurl.so.4"}), "libcurl.so.4")}}));
  return kDone;
}

}  // namespace

std::function<int()> DeclareVersion(CLI::App&) { return Run; }

}  // namespace anemone::cli
