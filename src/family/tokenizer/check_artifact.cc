#include "family/tokenizer/check_artifact.h"

#include <simdjson.h>

#include <string>
#include <string_view>

#include "anemone/config.h"
#include "config/companions.h"
#include "config/nodes.h"
#include "family/tokenizer/tokenizer_size.h"

namespace anemone {
namespace {

std::string_view LastOf(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Without a tree of nodes: published tokenizer.json have a million entries. False for JSON of Python's alone, too.
bool IsPlainObject(const std::string& text) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  return parser.parse(text).get(root) == simdjson::SUCCESS && root.is_object();
}

}  // namespace

bool IsCompanion(const Artifact& artifact) { return FindCompanion(LastOf(artifact.name)) != nullptr; }

Status CheckArtifact(const Artifact& artifact) {
  constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
  if (artifact.name.ends_with(".model")) return CountTokensIn(artifact.content, artifact.name).status();
  if (!artifact.name.ends_with(".json") || artifact.content.size > kMaxBytes) return {};
  ANEMONE_ASSIGN(const std::string text, artifact.content.ReadAll(kMaxBytes));
  if (IsPlainObject(text)) return {};
  ANEMONE_ASSIGN(const Config config, ParseJsonList(text, artifact.name));
  if (config.root().is_map() || !IsCompanion(artifact)) return {};
  return Corrupt("expected a JSON object").In(artifact.name);
}

}  // namespace anemone
