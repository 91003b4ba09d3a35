// A command of the program: its words, its options, and what it does. One file each, listed in commands.cc.
//
// A command parses, calls one library function, prints, and answers an exit status. Nothing else prints or exits. Of a
// cluster's ranks only rank 0 prints: what is done by the others only, or differs between them, goes through Agree.
#ifndef ANEMONE_CLI_COMMAND_H_
#define ANEMONE_CLI_COMMAND_H_

#include <unistd.h>

#include <CLI/App.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "anemone/progress.h"
#include "anemone/status.h"
#include "engine/cluster.h"

namespace anemone::cli {

// Exit statuses beyond 0 [sysexits.h]; kNo is an answer, not a failure.
enum Exit : int {
  kDone = 0,
  kNo = 1,
  kUsage = 64,
  kDataError = 65,
  kNoInput = 66,
  kUnavailable = 69,
  kSoftware = 70,
  kNoMemory = 71,
  kCannotCreate = 73,
  kIoError = 74,
  kInterrupted = 130,  // by SIGINT; 128 and its number by another signal, 143 by SIGTERM
};
int ExitStatus(ErrorKind kind);

// Whether this process prints: it is alone or rank 0.
bool IsSpeaker();

// Prints "anemone: where: what" and at most one "hint:" line to stderr, flags as the running command calls them;
// answers the exit status.
int Report(const Status& status);

// What a command would print, for a caller who runs it inside another program (program.h).
struct Capture {
  std::string output;
  Status failure;       // the first that was reported
  ProgressFn progress;  // the caller's
};

// What every command can be told.
struct Globals {
  int verbosity = 0;  // -v adds, -q subtracts
  std::string progress = "auto";
  std::string color = "auto";
  unsigned threads = 0;
  const CLI::App* command = nullptr;                               // the one that runs
  std::map<CLI::App*, std::function<void(CLI::App&)>> undeclared;  // declare.h
  Cluster* cluster = &Cluster::Alone();
  bool has_mpi = false;        // built with it
  Capture* capture = nullptr;  // null: it prints
};
Globals& globals();

enum class Style : uint8_t { kBold, kDim, kRed, kGreen, kYellow, kCyan };
// `text` as a terminal shows it in a style, where the stream `fd` is one that shows colors; else as it is.
std::string Paint(Style style, std::string_view text, int fd = STDOUT_FILENO);
// The first word of every line that begins with one.
std::string PaintLabels(std::string_view text);

// A progress bar (what is done, rate, time left) where one is wanted, cancelled by a signal; otherwise only the
// cancelling.
ProgressFn MakeProgress();

// A note for the user on stderr; shown unless -q. Notes at `level` 1 need -v.
void Note(std::string_view text, int level = 0);
// Something is missing from the answer; said with -q, too.
void Warn(std::string_view text);

// The number of items printed of a list of `count` that was not asked for as such: the first twenty; all with -v.
size_t Shown(size_t count);
// "… 80 more notes (-v lists all)" below such a list of 100; nothing where all are printed.
std::string AndMore(size_t count, std::string_view things = {});
// Such a list of notes.
void Notes(std::span<const std::string> notes, int level = 0);

// Writes to stdout. Throws Stop where that fails: quietly where nobody reads any more, else reported.
void Print(std::string_view text);
// Likewise what is still in stdout's buffer.
void Flush();

// Ends the run with this exit status; RunProgram catches it.
struct Stop {
  int status;
};

struct Command {
  std::string_view name;
  std::string_view summary;
  std::string_view details = {};  // paragraphs; a line that begins with two blanks stays as it is
  std::string_view examples;      // two, one a line
  // Declares options on `app` and answers what runs once they are parsed.
  std::function<int()> (*declare)(CLI::App& app);
  bool is_divided = false;  // among a cluster's ranks; otherwise rank 0 runs it and the others are done
};

std::span<const Command> Commands();

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_COMMAND_H_
