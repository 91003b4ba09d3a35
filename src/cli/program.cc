// The program: parses, hands over to one command, and turns its answer into an exit status.
#include "cli/program.h"

#include <execinfo.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/version.h"
#include "base/cancel.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/declare.h"
#include "cli/describe.h"
#include "cli/help.h"
#include "cli/manual.h"
#include "cli/parse_error.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "engine/execute.h"

namespace anemone::cli {
namespace {

constexpr const char* kEverywhere = "Options of every command";

int WriteManual(const CLI::App& app, const std::string& kind, const std::string& directory) {
  const std::vector<ManualFile> files = MakeManual(app, kind);
  if (files.empty()) return Report(InvalidArgument("--manual: expected man, markdown, bash, zsh or fish"));
  for (const ManualFile& file : files) {
    Plan plan;
    plan.files.emplace_back().Append(file.content);
    const Status status = Execute(plan, directory + "/" + file.name, {.replace = true});
    if (!status.ok()) return Report(status);
  }
  return kDone;
}

// "help convert" is "convert --help", "help" is "--help".
void SpellOutHelp(std::vector<std::string>& words) {
  if (words.empty() || words.front() != "help") return;
  words.erase(words.begin());
  words.emplace_back("--help");
}

// "Options:" and the other lines that stand out to the left and end so.
std::string PaintHeadings(const std::string& help) {
  std::string painted;
  for (const auto& [line, is_code] : LinesOf(help)) {
    const bool is_heading = !line.starts_with(' ') && line.ends_with(':') && line.find(". ") == line.npos;
    painted += is_heading ? Paint(Style::kBold, line) : std::string(line);
    painted += '\n';
  }
  return painted;
}

void DeclareGlobalOptions(CLI::App& app, Globals& g) {
  Topic(app, kEverywhere);
  app.set_help_flag("-h,--help", "Print help");
  app.set_version_flag("-V,--version", fmt::format("anemone {}", kVersion), "Print the version");
  app.require_subcommand(1);
  app.fallthrough();
  app.option_defaults()->always_capture_default(false);
  OneOf(app.add_option("--progress", g.progress, "When to draw a progress bar (default: auto, on a terminal)"),
        {"auto", "always", "never"});
  OneOf(app.add_option("--color", g.color, "When to color output (default: auto, on a terminal without NO_COLOR)"),
        {"auto", "always", "never"});
  app.add_option("--threads", g.threads, "Worker threads (default: one per core; two per core where files are written)")
      ->type_name("N");
  app.add_flag(
      "-v,--verbose", [&g](int64_t count) { g.verbosity += static_cast<int>(count); }, "Print more: what was decided");
  app.add_flag(
      "-q,--quiet", [&g](int64_t count) { g.verbosity -= static_cast<int>(count); }, "Print errors only");
}

// Prints why the parser stopped: help, the version, or an error in the words.
int ReportStop(const CLI::ParseError& error, CLI::App& app) {
  if (error.get_exit_code() != 0) return Report(ExplainParseError(error, app));
  const bool wants_help = dynamic_cast<const CLI::CallForHelp*>(&error) != nullptr;
  const std::vector<std::string> rest = app.remaining();
  if (wants_help && std::ranges::any_of(rest, [](const std::string& word) { return !word.starts_with('-'); }))
    return Report(ExplainParseError(error, app));  // help for a command that there is not
  Print(wants_help ? PaintHeadings(HelpText(Describe(*NamedCommand(&app)), Describe(app), TextWidth()))
                   : fmt::format("anemone {}\n", kVersion));
  Flush();
  return kDone;
}

int Main(int argc, char** argv, std::unique_ptr<Cluster> cluster, bool has_mpi, Capture* capture) {
  CLI::App app("Load, save, convert, reshard and verify NVIDIA NeMo checkpoints", "anemone");
  Globals& g = globals();
  g = {};
  if (cluster != nullptr) g.cluster = cluster.get();
  g.has_mpi = has_mpi;
  g.capture = capture;
  DeclareGlobalOptions(app, g);

  std::function<int()> run;
  const Command* chosen = nullptr;
  for (const Command& command : Commands()) {
    DeclareOnceNamed(*app.add_subcommand(std::string(command.name), std::string(command.summary)),
                     [&run, &chosen, &command](CLI::App& sub) {
                       Topic(sub, "Options");
                       std::function<int()> action = command.declare(sub);
                       sub.final_callback([&run, &chosen, &command, action = std::move(action)] {
                         run = action;
                         chosen = &command;
                       });
                     });
  }

  TakeValuesAsTheyAre(app);

  // What packaging and the documentation are made from: anemone --manual KIND DIR.
  std::vector<std::string> manual;
  app.add_option("--manual", manual)->expected(2)->group("")->each([&app](const std::string&) {
    app.require_subcommand(0);
  });

  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    SpellOutHelp(words);
    SpellOutNemo(words);
    MarkBrackets(words);
    std::ranges::reverse(words);  // as the parser takes them
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    return ReportStop(error, app);
  }
  if (cluster != nullptr && (chosen == nullptr || !chosen->is_divided)) {
    const bool is_idle = !IsSpeaker();
    g.cluster = &Cluster::Alone();
    cluster.reset();
    if (is_idle) return kDone;
  }
  if (!manual.empty()) {
    DeclareAll();
    return WriteManual(app, manual[0], manual[1]);
  }
  g.command = NamedCommand(&app);
  const int status = run ? run() : kUsage;
  Flush();
  return status;
}

// Under torchrun the process of rank 0 does all the work; the launcher waits for the others, which have nothing to do.
std::optional<int> TorchrunRank() {
  const char* rank = std::getenv("RANK");
  const bool is_launched = std::getenv("LOCAL_WORLD_SIZE") != nullptr && std::getenv("GROUP_RANK") != nullptr;
  return rank != nullptr && is_launched ? std::optional(std::atoi(rank)) : std::nullopt;
}

// Lists of a million tensors double as they grow. By default glibc keeps what they leave behind, in blocks of up to
// 32 MiB, and much of it is of no use to what comes later [mallopt(3), M_MMAP_THRESHOLD].
void GiveBackLargeBlocks() {
  constexpr int kLarge = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kLarge);
  mallopt(M_TRIM_THRESHOLD, 2 * kLarge);  // as glibc relates them
}

// glibc looks for libgcc when an exception first leaves pthread_once, which std::call_once and RE2 use, and ends the
// process where it has no memory for that: it looks now.
void FindUnwinder() {
  void* frame = nullptr;
  (void)backtrace(&frame, 1);
}

// A file that is opened gets the lowest free number: where stdin, stdout or stderr is closed, messages would go into
// it. Such a number is given to a descriptor that can be neither read nor written [open(2), O_PATH].
void OccupyStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) < 0) (void)open("/", O_PATH);
  }
}

// What ranks that work together have in common, and those that each have work of their own have not.
std::string Job(int argc, char** argv) {
  std::error_code ignored;
  std::string job = std::filesystem::current_path(ignored).string();
  for (int i = 1; i < argc; ++i) job += '\0' + std::string(argv[i]);
  return job;
}

}  // namespace

int RunProgram(int argc, char** argv, Host host, JoinFn join) {
  const std::optional<int> torchrun_rank = TorchrunRank();
  if (torchrun_rank.value_or(0) != 0) return kDone;
  OccupyStandardStreams();
  if (host == Host::kOwnProcess) GiveBackLargeBlocks();
  FindUnwinder();
  const Signals signals(host == Host::kOwnProcess);
  const CancelScope scope([] { return CaughtSignal() != 0; });
  try {
    return Main(argc, argv, join == nullptr || torchrun_rank ? nullptr : join(Job(argc, argv)), join != nullptr,
                nullptr);
  } catch (const Stop& stop) {
    return stop.status;
  } catch (const std::bad_alloc&) {
    std::fputs("anemone: out of memory\n", stderr);
    return kNoMemory;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "anemone: internal error: %s\nhint: this is a bug in anemone; please report it\n",
                 error.what());
  }
  return kSoftware;
}

int RunCaptured(int argc, char** argv, Capture* capture) {
  const struct Reset {
    ~Reset() { globals() = {}; }
  } reset;
  try {
    return Main(argc, argv, nullptr, false, capture);
  } catch (const Stop& stop) {
    return stop.status;
  }
}

}  // namespace anemone::cli
