#include "cli/signals.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <string_view>

#include "base/cancel.h"

namespace anemone::cli {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ};
constexpr size_t kAsking = 3;  // of these, the first so many ask the run to end

std::atomic<int> caught = 0;
std::atomic<bool> heeded = false;
std::atomic<bool> owns = false;
std::array<struct sigaction, kSignals.size()> before;
struct sigaction before_alarm;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

// A run that was asked to end is looked at after 0.3 s, and every 0.1 s from then on.
void SetAlarm(bool on) {
  constexpr itimerval kAlarm = {.it_interval = {0, 100'000}, .it_value = {0, 300'000}}, kNone = {};
  setitimer(ITIMER_REAL, on ? &kAlarm : &kNone, nullptr);
}

// A run that computes for long without asking (Heed) ends here, unless there is something to clean up.
void OnAlarm(int /*signal*/) {
  if (caught == 0 || NeedsCleanup::Any()) return;
  constexpr std::string_view kSaid = "anemone: interrupted\n";
  (void)!write(STDERR_FILENO, kSaid.data(), kSaid.size());
  _exit(128 + caught);
}

void OnSignal(int signal) {
  if (owns && !heeded) _exit(128 + signal);
  if (caught.exchange(signal) == 0) {
    if (owns) SetAlarm(true);
    return;
  }
  for (size_t i = 0; i < kAsking; ++i) {
    if (kSignals[i] != signal) continue;
    struct sigaction action = before[i];
    if (action.sa_handler == SIG_IGN) action.sa_handler = SIG_DFL;  // whoever insists is served
    sigaction(signal, &action, nullptr);
  }
  raise(signal);
}

}  // namespace

Signals::Signals(bool owns_process) {
  caught = 0;
  heeded = false;
  owns = owns_process;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &before[i]);
    struct sigaction action = {};
    action.sa_handler = i < kAsking ? OnSignal : SIG_IGN;
    action.sa_flags = SA_RESTART;
    if (kSignals[i] == SIGHUP && before[i].sa_handler == SIG_IGN) continue;  // nohup
    sigaction(kSignals[i], &action, nullptr);
  }
  if (!owns_process) return;
  struct sigaction action = {};
  action.sa_handler = OnAlarm;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, &before_alarm);
}

Signals::~Signals() {
  caught = 0;
  if (owns) {
    SetAlarm(false);
    sigaction(SIGALRM, &before_alarm, nullptr);
  }
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before[i], nullptr);
}

int Heed() {
  heeded = true;
  return caught;
}

int CaughtSignal() { return caught; }

}  // namespace anemone::cli
