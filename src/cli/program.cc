// The program: parses, hands over to one command, and turns its answer into an exit status.
#include "cli/program.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/version.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/manual.h"
#include "cli/signals.h"

namespace anemone::cli {
namespace {

int WriteManual(const CLI::App& app, const std::string& kind, const std::string& directory) {
  const std::vector<ManualFile> files = MakeManual(app, kind);
  if (files.empty()) return Report(InvalidArgument("--manual: expected man, markdown, bash, zsh or fish"));
  for (const ManualFile& file : files) {
    std::ofstream out(directory + "/" + file.name);
    out << file.content;
    if (!out.flush()) return Report(ErrnoStatus(errno, "cannot write").In(directory + "/" + file.name));
  }
  return kDone;
}

// The command that was named below `app`, if any: of `nemo SCRIPT`, the script.
const CLI::App* NamedCommand(const CLI::App* app) {
  for (auto below = app->get_subcommands(); !below.empty(); below = app->get_subcommands()) app = below.front();
  return app;
}

// The parser's complaint in this program's words: what was expected, what was found, in the order it was typed.
Status ExplainParseError(const CLI::ParseError& error, const CLI::App& app) {
  std::string command;
  for (const CLI::App* sub = NamedCommand(&app); sub != &app; sub = sub->get_parent()) {
    command.insert(0, sub->get_name() + " ");
  }
  const std::string hint = fmt::format("see: anemone {}--help", command);
  std::vector<std::string> words = app.remaining(true);
  if (command.empty() && !words.empty()) {
    return InvalidArgument(fmt::format("expected a command, found '{}'", words.front()), hint);
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !words.empty()) {
    return InvalidArgument(fmt::format("{}: unknown argument{} {}", command.substr(0, command.size() - 1),
                                       words.size() == 1 ? "" : "s", fmt::join(words, " ")),
                           hint);
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && error.get_name() == "RequiredError" &&
      std::string_view(error.what()).find("subcommand") != std::string_view::npos) {
    return InvalidArgument(command.empty() ? "expected a command, found nothing"
                                           : fmt::format("{}expected one of its commands, found nothing", command),
                           hint);
  }
  return InvalidArgument(error.what(), hint);
}

int Main(int argc, char** argv, std::unique_ptr<Cluster> cluster) {
  CLI::App app("Reads, writes, converts, reshards and verifies NeMo multimodal checkpoints.", "anemone");
  app.set_version_flag("--version", fmt::format("anemone {}", kVersion));
  app.require_subcommand(1);
  app.fallthrough();
  app.option_defaults()->always_capture_default(false);

  Globals& g = globals();
  g = {};
  if (cluster != nullptr) g.cluster = cluster.get();
  app.add_option("--progress", g.progress, "When to draw a progress bar")
      ->check(CLI::IsMember({"auto", "always", "never"}).description(""))
      ->type_name("auto|always|never")
      ->group("Everywhere");
  app.add_option("--threads", g.threads, "Worker threads (default: one per core; two where files are written)")
      ->type_name("N")
      ->group("Everywhere");
  app.add_flag(
         "-v,--verbose", [&g](int64_t count) { g.verbosity += static_cast<int>(count); }, "Say more")
      ->group("Everywhere");
  app.add_flag(
         "-q,--quiet", [&g](int64_t count) { g.verbosity -= static_cast<int>(count); }, "Only errors")
      ->group("Everywhere");

  std::function<int()> run;
  const Command* chosen = nullptr;
  for (const Command& command : Commands()) {
    CLI::App* sub = app.add_subcommand(std::string(command.name), std::string(command.summary));
    sub->footer(fmt::format("Examples:\n{}", command.examples));
    std::function<int()> action = command.declare(*sub);
    sub->final_callback([&run, &chosen, &command, action = std::move(action)] {
      run = action;
      chosen = &command;
    });
  }

  // What packaging and the documentation are made from: anemone --manual KIND DIR.
  std::vector<std::string> manual;
  app.add_option("--manual", manual)->expected(2)->group("")->each([&app](const std::string&) {
    app.require_subcommand(0);
  });

  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    SpellOutNemo(words);
    std::ranges::reverse(words);  // as the parser takes them
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return Report(ExplainParseError(error, app));
    return IsSpeaker() ? app.exit(error) : static_cast<int>(kDone);  // --help, --version
  }
  if (cluster != nullptr && (chosen == nullptr || !chosen->is_divided)) {
    const bool is_idle = !IsSpeaker();
    g.cluster = &Cluster::Alone();
    cluster.reset();
    if (is_idle) return kDone;
  }
  if (!manual.empty()) return WriteManual(app, manual[0], manual[1]);
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
  const Signals signals(host == Host::kOwnProcess);
  try {
    return Main(argc, argv, join == nullptr || torchrun_rank ? nullptr : join(Job(argc, argv)));
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

}  // namespace anemone::cli
