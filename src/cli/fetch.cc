// fetch REPO[@REVISION]: what a conversion needs of a model of the hub, into the Hugging Face cache.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "format/hub.h"

namespace anemone::cli {

std::function<int()> DeclareFetch(CLI::App& app) {
  auto repository = std::make_shared<std::string>();
  app.add_option("REPO", *repository, "A hub id, org/name or org/name@revision")->required();
  return [repository] {
    const RepoId repo = SplitRepoId(*repository);
    if (!LooksLikeRepoId(*repository)) {
      return Report(InvalidArgument(fmt::format("expected a hub id, org/name, found '{}'", *repository)));
    }
    const Result<std::string> path =
        FetchModel(repo.name, repo.revision, HubOptions::FromEnvironment(), MakeProgress());
    if (!path.ok()) return Report(path.status());
    Print(*path + "\n");
    return static_cast<int>(kDone);
  };
}

}  // namespace anemone::cli
