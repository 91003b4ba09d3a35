// fetch REPO[@REVISION] …: what a conversion needs of a model of the hub, into the Hugging Face cache.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/tree.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/paths.h"
#include "net/hub.h"

namespace anemone::cli {

namespace {

Result<Answer> Run(const std::string& repository) {
  const RepoId repo = SplitRepoId(repository);
  ANEMONE_TRY(KindOf(repository).status());  // what cannot be looked at may be a path
  if (!LooksLikeRepoId(repository))
    return InvalidArgument(fmt::format("expected a hub id, org/name, found '{}'", repository));
  ANEMONE_ASSIGN(const std::string path,
                 FetchModel(repo.name, repo.revision, HubOptions::FromEnvironment(), MakeProgress()));
  Print(path + "\n");
  return Answer{};
}

}  // namespace

std::function<int()> DeclareFetch(CLI::App& app) {
  auto repositories = std::make_shared<std::vector<std::string>>();
  app.add_option("REPO", *repositories, "Hub ids: org/name or org/name@revision")->required();
  return [repositories] { return AnswerEach(*repositories, false, Run); };
}

}  // namespace anemone::cli
