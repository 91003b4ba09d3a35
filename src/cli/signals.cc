#include "cli/signals.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace anemone::cli {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ};
constexpr size_t kAsking = 3;  // of these, the first so many ask the run to end

std::atomic<int> caught = 0;
std::atomic<bool> heeded = false;
std::atomic<bool> owns = false;
std::array<struct sigaction, kSignals.size()> before;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void OnSignal(int signal) {
  if (owns && !heeded) _exit(128 + signal);
  if (caught.exchange(signal) == 0) return;
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
}

Signals::~Signals() {
  caught = 0;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before[i], nullptr);
}

int Heed() {
  heeded = true;
  return caught;
}

int CaughtSignal() { return caught; }

}  // namespace anemone::cli
