// completion SHELL: what a shell reads to complete the program's words.
#include <CLI/App.hpp>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/declare.h"
#include "cli/describe.h"
#include "cli/manual.h"

namespace anemone::cli {

std::function<int()> DeclareCompletion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  OneOf(app.add_option("SHELL", *shell, "bash, zsh or fish")->required(), {"bash", "zsh", "fish"});
  return [shell, &app] {
    DeclareAll();
    for (const ManualFile& file : MakeManual(*app.get_parent(), *shell)) Print(file.content);
    return static_cast<int>(kDone);
  };
}

}  // namespace anemone::cli
