// Signals: what a run makes of them while it lasts. Whoever carries the program inside has its own back afterwards.
#ifndef ANEMONE_CLI_SIGNALS_H_
#define ANEMONE_CLI_SIGNALS_H_

namespace anemone::cli {

// While it lives: SIGINT, SIGTERM and SIGHUP ask the run to end (the first one; the second does what it did before);
// writing to a closed pipe or beyond the file size limit fails with an error instead of ending the process. One at a
// time.
class Signals {
 public:
  // `owns_process`: a signal ends the process at once until the run has called Heed, since before there is nothing to
  // clean up; later, 0.3 s after it, as soon as there is nothing to clean up (NeedsCleanup).
  explicit Signals(bool owns_process);
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
};

// The signal that has asked this run to end; 0: none has. Called again and again from the first call on.
int Heed();
// The same, without a promise to ask again.
int CaughtSignal();

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_SIGNALS_H_
