// What the program says to people: errors, notes, the progress bar.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/declare.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "net/hub_options.h"

namespace anemone::cli {
namespace {

// The terminal's width.
size_t Columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

// Options of the library that some command, NeMo's scripts above all, calls by another name, and the word that such a
// flag takes for true.
struct OtherFlag {
  std::string_view option;
  const char* flag;
  std::string_view word = {};
};
constexpr OtherFlag kOtherFlags[] = {
    {"artifacts", "--artifact"},
    {"only_weights", "--only", " weights"},
    {"max_shard_bytes", "--max-shard-size"},
    {"hparams", "--hparams_file"},
    {"tp", "--target_tensor_model_parallel_size"},
    {"tp", "--tensor_model_parallel_size"},
    {"pp", "--target_pipeline_model_parallel_size"},
    {"pp", "--pipeline_model_parallel_size"},
    {"split_rank", "--target_pipeline_model_parallel_split_rank"},
};

std::string Dashed(std::string_view option) {
  std::string flag = "--" + std::string(option);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

// The flag by which `command` takes the library's `option`; empty if it has none.
std::string FlagIn(const CLI::App& command, std::string_view option) {
  std::string flag = Dashed(option);
  if (command.get_option_no_throw(flag) != nullptr) return flag;
  for (const OtherFlag& other : kOtherFlags) {
    if (other.option == option && command.get_option_no_throw(other.flag) != nullptr)
      return other.flag + std::string(other.word);
  }
  return {};
}

// A remedy in the words of `command`; empty if it has none for it.
std::string SpellIn(const CLI::App& command, const Remedy& remedy) {
  if (remedy.value == "false") {
    if (std::string flag = FlagIn(command, "no_" + remedy.option); !flag.empty()) return flag;
  }
  std::string flag = FlagIn(command, remedy.option);
  if (flag.empty() || remedy.value == "true") return flag;
  return remedy.value == "false" ? "no " + flag : fmt::format("{} {}", flag, remedy.value);
}

// A remedy in the words of the command that runs, or else of one that has the option: convert above all.
std::string Spell(const Remedy& remedy) {
  const CLI::App* app = globals().command;
  if (app == nullptr) return Dashed(remedy.option);
  if (std::string words = SpellIn(*app, remedy); !words.empty()) return words;
  while (app->get_parent() != nullptr) app = app->get_parent();
  DeclareAll();
  std::vector<const CLI::App*> others = app->get_subcommands([](const CLI::App*) { return true; });
  std::stable_partition(others.begin(), others.end(),
                        [](const CLI::App* other) { return other->get_name() == "convert"; });
  for (const CLI::App* other : others) {
    const std::string words = SpellIn(*other, remedy);
    if (!words.empty()) return fmt::format("anemone {} {}", other->get_name(), words);
  }
  return Dashed(remedy.option);
}

// The failure in one line, an option that is wrong as the running command calls it.
std::string Message(const Status& status) {
  const std::string& option = status.error().option;
  if (option.empty()) return status.message();
  const CLI::App* command = globals().command;
  const std::string flag = command == nullptr ? std::string() : FlagIn(*command, option);
  return status.OfOption(flag.empty() ? Dashed(option) : flag).message();
}

// What a stage counts, if not bytes.
constexpr std::pair<std::string_view, std::string_view> kUnits[] = {
    {"images", "pictures"}, {"texts", "texts"}, {"computing", "steps"}, {"statistics", "elements"}};

std::string Amounts(std::string_view stage, uint64_t done, uint64_t total, double rate) {
  const auto* unit =
      std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& u) { return u.first == stage; });
  if (unit == std::end(kUnits)) {
    return fmt::format("{} of {}  {}/s", HumanBytes(done), HumanBytes(total), HumanBytes(static_cast<uint64_t>(rate)));
  }
  return fmt::format("{} of {} {}  {:.1f}/s", done, total, unit->second, rate);
}

// One line at the end of stderr, drawn over and over. Whatever else is printed clears it first.
class ProgressBar {
 public:
  void Update(std::string_view stage, uint64_t done, uint64_t total) {
    if (total == 0) return;
    const std::lock_guard lock(mutex_);
    if (stage != stage_) {
      stage_ = stage;
      start_ = Clock::now();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (seconds < 0.3) return;  // what is over at once needs no bar
    const double rate = static_cast<double>(done) / seconds;
    const double left = rate > 0 ? static_cast<double>(total - done) / rate : 0;
    const std::string before = fmt::format("{} ", stage);
    const std::string after =
        fmt::format(" {:3}%  {}  {:.0f} s left", 100 * done / total, Amounts(stage, done, total, rate), left);
    // The bar takes what room there is; a line that wrapped could not be drawn over.
    const size_t columns = Columns(), words = before.size() + after.size();
    std::string line = before;
    if (words + 8 < columns) {
      const size_t width = std::min<size_t>(columns - words - 3, 24);
      const size_t filled =
          static_cast<size_t>(static_cast<double>(width) * static_cast<double>(done) / static_cast<double>(total));
      line += '[' + std::string(filled, '=') + std::string(width - filled, ' ') + ']' + after;
    } else {
      line += after.substr(1);
    }
    if (line.size() >= columns) line.resize(columns - 1);
    std::fputs(("\r" + line + "\033[K").c_str(), stderr);
    drawn_ = true;
  }

  void Clear() {
    const std::lock_guard lock(mutex_);
    if (drawn_) std::fputs("\r\033[K", stderr);
    drawn_ = false;
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::mutex mutex_;
  bool drawn_ = false;
  std::string stage_;
  Clock::time_point start_;
};

ProgressBar& Bar() {
  static ProgressBar bar;
  return bar;
}

// TERM=dumb: an editor's or a log's window, which shows escape codes as they are.
bool IsTerminal(int fd) {
  const char* const term = std::getenv("TERM");
  return isatty(fd) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

// [no-color.org].
bool ShowsColors(int fd) {
  if (globals().capture != nullptr) return false;
  const std::string& color = globals().color;
  if (color != "auto") return color == "always";
  const char* const none = std::getenv("NO_COLOR");
  return (none == nullptr || *none == 0) && IsTerminal(fd);
}

// A message in one line. What a file says may be in it, of any length: its beginning is shown, and all with -v.
std::string MessageLine(std::string_view text) {
  constexpr size_t kMost = 2000;
  std::string line = OneLine(text);
  return globals().verbosity > 0 || Width(line) <= kMost ? line : Leading(line, kMost) + "… (-v shows all)";
}

// What is said on stderr, where the bar is.
void Say(const std::string& text) {
  Bar().Clear();
  std::fputs(text.c_str(), stderr);
}

}  // namespace

int ExitStatus(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kNotFound:
      return kNoInput;
    case ErrorKind::kAlreadyExists:
    case ErrorKind::kCannotCreate:
      return kCannotCreate;
    case ErrorKind::kInvalidArgument:
      return kUsage;
    case ErrorKind::kCorrupt:
    case ErrorKind::kUnsupported:
    case ErrorKind::kLimitExceeded:
      return kDataError;
    case ErrorKind::kIo:
      return kIoError;
    case ErrorKind::kUnavailable:
      return kUnavailable;
    case ErrorKind::kInterrupted:
      return CaughtSignal() == 0 ? static_cast<int>(kInterrupted) : 128 + CaughtSignal();
    case ErrorKind::kOutOfMemory:
      return kNoMemory;
    case ErrorKind::kInternal:
      return kSoftware;
  }
  return kSoftware;
}

bool IsSpeaker() { return globals().cluster->rank() == 0; }

int Report(const Status& status) {
  if (!IsSpeaker()) return ExitStatus(status.kind());
  if (Capture* capture = globals().capture; capture != nullptr) {
    if (capture->failure.ok()) capture->failure = status;
    return ExitStatus(status.kind());
  }
  const auto paint = [](Style style, std::string_view word) { return Paint(style, word, STDERR_FILENO); };
  Say(fmt::format("{} {}\n", paint(Style::kRed, "anemone:"), MessageLine(Message(status))));
  const std::string advice = Advice(status.error(), Spell);
  if (!advice.empty()) Say(fmt::format("{} {}\n", paint(Style::kCyan, "hint:"), MessageLine(advice)));
  return ExitStatus(status.kind());
}

std::string Paint(Style style, std::string_view text, int fd) {
  constexpr std::string_view kCodes[] = {"1", "2", "1;31", "32", "33", "36"};
  if (text.empty() || !ShowsColors(fd)) return std::string(text);
  return fmt::format("\033[{}m{}\033[0m", kCodes[static_cast<size_t>(style)], text);
}

std::string PaintLabels(std::string_view text) {
  if (!ShowsColors(STDOUT_FILENO)) return std::string(text);
  std::string painted;
  for (const auto& [line, is_code] : LinesOf(text)) {
    const size_t end = std::min(line.find("  "), line.size());
    painted += Paint(Style::kCyan, line.substr(0, end));
    painted.append(line.substr(end)).append("\n");
  }
  return painted;
}

Globals& globals() {
  static Globals instance;
  return instance;
}

ProgressFn MakeProgress() {
  const Globals& g = globals();
  if (g.capture != nullptr) return g.capture->progress;
  const bool wanted = !IsTrueInEnvironment("HF_HUB_DISABLE_PROGRESS_BARS");
  const bool visible =
      IsSpeaker() &&
      (g.progress == "always" || (g.progress == "auto" && wanted && g.verbosity >= 0 && IsTerminal(STDERR_FILENO)));
  return [visible](std::string_view stage, uint64_t done, uint64_t total) {
    if (visible) Bar().Update(stage, done, total);
    return Heed() == 0;
  };
}

void Note(std::string_view text, int level) {
  if (!IsSpeaker() || globals().capture != nullptr || globals().verbosity < level) return;
  Say(fmt::format("{} {}\n", Paint(Style::kDim, "anemone: note:", STDERR_FILENO), MessageLine(text)));
}

size_t Shown(size_t count) {
  constexpr size_t kShown = 20;
  return globals().verbosity > 0 ? count : std::min(count, kShown);
}

std::string AndMore(size_t count, std::string_view things) {
  const size_t shown = Shown(count);
  return shown == count ? std::string()
                        : fmt::format("… {} more{}{} (-v lists all)", count - shown, things.empty() ? "" : " ", things);
}

void Notes(std::span<const std::string> notes, int level) {
  for (const std::string& note : notes.first(Shown(notes.size()))) Note(note, level);
  if (const std::string more = AndMore(notes.size(), "notes"); !more.empty()) Note(more, level);
}

void Warn(std::string_view text) {
  if (!IsSpeaker() || globals().capture != nullptr) return;
  Say(fmt::format("{} {}\n", Paint(Style::kYellow, "anemone: warning:", STDERR_FILENO), MessageLine(text)));
}

namespace {

[[noreturn]] void StopPrinting(int error) {
  std::clearerr(stdout);
  if (error == EPIPE) throw Stop{128 + SIGPIPE};  // as a program that the signal ends
  throw Stop{Report(ErrnoStatus(error, "cannot write to standard output"))};
}

}  // namespace

void Print(std::string_view text) {
  if (!IsSpeaker()) return;
  if (Capture* capture = globals().capture; capture != nullptr) {
    capture->output += text;
    return;
  }
  Bar().Clear();
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) StopPrinting(errno);
}

void Flush() {
  if (globals().capture != nullptr) return;
  Bar().Clear();
  if (std::fflush(stdout) != 0) StopPrinting(errno);
}

}  // namespace anemone::cli
