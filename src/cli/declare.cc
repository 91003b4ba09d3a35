#include "cli/declare.h"

#include <utility>

#include "cli/command.h"

namespace anemone::cli {
namespace {

constexpr char kMark = '\x1f';  // no one types it

void Declare(CLI::App& app) {
  auto waiting = globals().undeclared.extract(&app);
  if (waiting.empty()) return;
  waiting.mapped()(app);
  TakeValuesAsTheyAre(app);
}

}  // namespace

void DeclareOnceNamed(CLI::App& app, std::function<void(CLI::App&)> declare) {
  globals().undeclared.emplace(&app, std::move(declare));
  app.preparse_callback([&app](size_t) { Declare(app); });
}

void DeclareAll() {
  while (!globals().undeclared.empty()) Declare(*globals().undeclared.begin()->first);
}

void TakeValuesAsTheyAre(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0) {
      option->disable_flag_override();
    } else {
      option->transform(Unmarked);
    }
  }
}

void MarkBrackets(std::vector<std::string>& words) {
  for (std::string& word : words) {
    const size_t begin = word.starts_with("--") && word.find('=') != word.npos ? word.find('=') + 1 : 0;
    if (begin < word.size() && word[begin] == '[' && word.back() == ']') word.insert(begin, 1, kMark);
  }
}

std::string Unmarked(std::string word) {
  std::erase(word, kMark);
  return word;
}

}  // namespace anemone::cli
