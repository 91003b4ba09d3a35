// Rows of tests/unit/config/golden/*.jsonl, written by real OmegaConf (tools/make_config_golden.py).
#ifndef ANEMONE_TESTS_UNIT_CONFIG_GOLDEN_H_
#define ANEMONE_TESTS_UNIT_CONFIG_GOLDEN_H_

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "anemone/config.h"
#include "testing/matchers.h"

namespace anemone::testing {

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::vector<ConfigNode> RowsOf(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::vector<ConfigNode> rows;
  for (std::string line; std::getline(file, line);) {
    Result<Config> row = Config::ParseJson(line, path);
    EXPECT_TRUE(row.ok()) << row.status().message() << "\n" << line;
    if (row.ok()) rows.push_back(row->root());
  }
  EXPECT_FALSE(rows.empty());
  return rows;
}
inline std::vector<ConfigNode> GoldenRows(const std::string& name) {
  return RowsOf(std::string(ANEMONE_SOURCE_DIR) + "/tests/unit/config/golden/" + name);
}

// The same values as if made here: numbers lose the spelling of the JSON they came from.
inline ConfigNode WithoutSpelling(ConfigNode node) {
  if (node.kind != ConfigNode::Kind::kString) node.text.clear();
  for (auto& [key, child] : node.map) child = WithoutSpelling(std::move(child));
  for (ConfigNode& child : node.list) child = WithoutSpelling(std::move(child));
  return node;
}

inline std::string Dump(const ConfigNode& node) { return Config(node).ToJson(-1); }

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_CONFIG_GOLDEN_H_
