// The program, for those who carry it inside them.
#include "cli/program.h"

#include <string>
#include <vector>

#include "c_api/call.h"
#include "cli/commands.h"

using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

int anemone_main(int argc, const char* const* argv) {
  int exit_status = 0;
  anemone_status* failed = Guarded([&]() -> anemone::Status {
    std::vector<std::string> copies(argv, argv + argc);
    std::vector<char*> words;
    words.reserve(copies.size() + 1);
    for (std::string& word : copies) words.push_back(word.data());
    words.push_back(nullptr);
    exit_status = anemone::cli::RunProgram(argc, words.data(), anemone::cli::Host::kGuest);
    return {};
  });
  if (failed == nullptr) return exit_status;
  constexpr int kNoMemory = 71;  // as the program's own
  anemone_status_free(failed);
  return kNoMemory;
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
