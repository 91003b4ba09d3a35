#include "cli/declare.h"

#include <utility>

#include "cli/command.h"

namespace anemone::cli {
namespace {

void Declare(CLI::App& app) {
  auto waiting = globals().undeclared.extract(&app);
  if (waiting.empty()) return;
  waiting.mapped()(app);
  RefuseFlagValues(app);
}

}  // namespace

void DeclareOnceNamed(CLI::App& app, std::function<void(CLI::App&)> declare) {
  globals().undeclared.emplace(&app, std::move(declare));
  app.preparse_callback([&app](size_t) { Declare(app); });
}

void DeclareAll() {
  while (!globals().undeclared.empty()) Declare(*globals().undeclared.begin()->first);
}

void RefuseFlagValues(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0) option->disable_flag_override();
  }
}

}  // namespace anemone::cli
