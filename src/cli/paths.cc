#include "cli/paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/command.h"

namespace anemone::cli {

namespace {

// A node inside `depth` others, as Config::ToJson writes it there.
std::string JsonOf(ConfigNode node, size_t depth) {
  const std::string text = Config(std::move(node)).ToJson();
  std::string deeper;
  for (const char c : text) {
    deeper += c;
    if (c == '\n') deeper.append(2 * depth, ' ');
  }
  return deeper;
}

void PrintList(const JsonList& list, size_t depth) {
  const std::string line = "\n" + std::string(2 * depth, ' ');
  Print(fmt::format(",{}\"{}\": [", line, list.key));
  bool is_first = true;
  list.for_each([&](ConfigNode item) {
    Print(fmt::format("{}{}  {}", is_first ? "" : ",", line, JsonOf(std::move(item), depth + 1)));
    is_first = false;
  });
  Print(is_first ? "]" : line + "]");
}

void PrintJson(Answer&& answer, size_t depth) {
  const std::string text = JsonOf(std::move(answer.json), depth);
  const size_t end = answer.last ? text.rfind('\n') : text.size();  // before the bracket that closes the map
  Print(text.substr(0, end));
  if (answer.last) PrintList(*answer.last, depth + 1);
  Print(text.substr(end));
}

}  // namespace

int AnswerEach(const std::vector<std::string>& paths, bool json,
               const std::function<Result<Answer>(const std::string& path)>& ask) {
  int worst = kDone;
  std::vector<Answer> answers;
  for (const std::string& path : paths) {
    Result<Answer> answer = ask(path);
    if (answer.ok()) {
      worst = std::max(worst, answer->status);
      answers.push_back(*std::move(answer));
      continue;
    }
    worst = std::max(worst, Report(answer.status()));
    if (answer.status().kind() == ErrorKind::kInterrupted) return worst;
    ConfigNode node = ConfigNode::Map();
    node["path"] = ConfigNode::String(path);
    node["error"] = ConfigNode::String(answer.status().message());
    answers.push_back({.json = std::move(node)});
  }
  if (!json) return worst;
  if (paths.size() == 1) {
    if (answers.front().json.Get("error") != nullptr) return worst;
    PrintJson(std::move(answers.front()), 0);
    Print("\n");
    return worst;
  }
  for (Answer& answer : answers) {
    Print(&answer == answers.data() ? "[\n  " : ",\n  ");
    PrintJson(std::move(answer), 1);
  }
  Print("\n]\n");
  return worst;
}

}  // namespace anemone::cli
