// extract SRC.nemo DIR: unpacks an archive, whole or some members.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/plan_flags.h"
#include "edit/archive.h"

namespace anemone::cli {

std::function<int()> DeclareExtract(CLI::App& app) {
  struct Options {
    std::string source;
    std::vector<std::string> members;
    PlanFlags plan;
  };
  auto options = std::make_shared<Options>();
  app.add_option("SRC", options->source, "A .nemo archive, here or at an address")->required();
  options->plan.Declare(app, "DIR", "The folder to make");
  app.add_option("--member", options->members,
                 "Only this member (a file, or a folder with its content); may be repeated")
      ->type_name("NAME")
      ->allow_extra_args(false);
  return [options] { return options->plan.Run(PlanExtract(options->source, options->members)); };
}

}  // namespace anemone::cli
