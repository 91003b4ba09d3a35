// unmount DIR: ends a mount.
#include <CLI/App.hpp>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/commands.h"
#include "mount/mount.h"

namespace anemone::cli {

std::function<int()> DeclareUnmount(CLI::App& app) {
  auto directory = std::make_shared<std::string>();
  app.add_option("DIR", *directory, "Where anemone mount shows files")->required();
  return [directory] {
    const Status status = Unmount(*directory);
    return status.ok() ? static_cast<int>(kDone) : Report(status);
  };
}

}  // namespace anemone::cli
