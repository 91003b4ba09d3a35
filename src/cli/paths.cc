#include "cli/paths.h"

#include <algorithm>
#include <utility>

#include "cli/command.h"

namespace anemone::cli {

int AnswerEach(const std::vector<std::string>& paths, bool json,
               const std::function<Result<Answer>(const std::string& path)>& ask) {
  int worst = kDone;
  ConfigNode list = ConfigNode::List();
  for (const std::string& path : paths) {
    Result<Answer> answer = ask(path);
    if (answer.ok()) {
      worst = std::max(worst, answer->status);
      list.list.push_back(std::move(answer->json));
      continue;
    }
    worst = std::max(worst, Report(answer.status()));
    if (answer.status().kind() == ErrorKind::kInterrupted) return worst;
    ConfigNode node = ConfigNode::Map();
    node["path"] = ConfigNode::String(path);
    node["error"] = ConfigNode::String(answer.status().message());
    list.list.push_back(std::move(node));
  }
  if (!json) return worst;
  if (paths.size() > 1) {
    Print(Config(std::move(list)).ToJson() + "\n");
  } else if (list.list.front().Get("error") == nullptr) {
    Print(Config(std::move(list.list.front())).ToJson() + "\n");
  }
  return worst;
}

}  // namespace anemone::cli
