// Commands that take many paths: an answer each, and the worst exit status.
#ifndef ANEMONE_CLI_PATHS_H_
#define ANEMONE_CLI_PATHS_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone::cli {

// A list in JSON whose items are made when they are printed: a checkpoint may have a million tensors.
struct JsonList {
  using Visit = std::function<void(ConfigNode item)>;
  std::string key;
  std::function<void(const Visit& visit)> for_each;
};

struct Answer {
  int status = 0;
  ConfigNode json = {};               // with --json, a map; text is printed by who answers
  std::optional<JsonList> last = {};  // what the map ends with
};

// Asks for each path. An error is reported, and the next path asked, until the run is interrupted. With `json` prints
// the answer to one path, or a list of the answers to several, {"path", "error"} for an error. Answers the worst exit
// status: an error before an answer of no, the higher of two errors.
int AnswerEach(const std::vector<std::string>& paths, bool json,
               const std::function<Result<Answer>(const std::string& path)>& ask);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_PATHS_H_
