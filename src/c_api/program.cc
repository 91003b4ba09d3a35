// The program, for those who carry it inside them.
#include "cli/program.h"

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "c_api/c_progress.h"
#include "c_api/call.h"
#include "cli/command.h"
#include "cli/commands.h"

using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

namespace {

// Words as main() has them: that may be written to, and end with a null.
class Words {
 public:
  Words(int argc, const char* const* argv) : copies_(argv, argv + argc) {
    words_.reserve(copies_.size() + 1);
    for (std::string& word : copies_) words_.push_back(word.data());
    words_.push_back(nullptr);
  }
  char** argv() { return words_.data(); }

 private:
  std::vector<std::string> copies_;
  std::vector<char*> words_;
};

}  // namespace

int anemone_main(int argc, const char* const* argv) {
  int exit_status = 0;
  anemone_status* failed = Guarded([&]() -> anemone::Status {
    Words words(argc, argv);
    exit_status = anemone::cli::RunProgram(argc, words.argv(), anemone::cli::Host::kGuest);
    return {};
  });
  if (failed == nullptr) return exit_status;
  constexpr int kNoMemory = 71;  // as the program's own
  anemone_status_free(failed);
  return kNoMemory;
}

anemone_status* anemone_command(int argc, const char* const* argv, anemone_progress* progress, int* exit_status,
                                char** output) {
  return Guarded(progress, [&]() -> anemone::Status {
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    anemone::cli::Capture capture;
    capture.progress = [report = ToProgressFn(progress)](std::string_view stage, uint64_t done, uint64_t total) {
      return !report || report(stage, done, total);
    };
    Words words(argc, argv);
    const int status = anemone::cli::RunCaptured(argc, words.argv(), &capture);
    ANEMONE_TRY(capture.failure);
    *output = CopyText(capture.output);
    *exit_status = status;
    return {};
  });
}

anemone_status* anemone_nemo_scripts(char** json) {
  return Guarded([&] {
    anemone::ConfigNode list = anemone::ConfigNode::List();
    for (const auto& [name, summary] : anemone::cli::NemoScripts()) {
      list.list.push_back(
          anemone::ConfigNode::List({anemone::ConfigNode::String(name), anemone::ConfigNode::String(summary)}));
    }
    return GiveJson(list, json);
  });
}
