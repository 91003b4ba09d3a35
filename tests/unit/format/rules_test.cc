// A rule in docs/formats without a test naming it, or a test naming a rule that is nowhere written down, is a defect.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

namespace {

std::string ReadFile(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) return {};
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void Collect(const std::string& text, const std::string& pattern, std::set<std::string>& ids) {
  const std::regex regex(pattern);
  for (auto it = std::sregex_iterator(text.begin(), text.end(), regex); it != std::sregex_iterator(); ++it)
    ids.insert((*it)[1]);
}

TEST(Rules, EveryRuleHasATestAndEveryMessageARule) {
  const std::filesystem::path source = ANEMONE_SOURCE_DIR;
  std::set<std::string> documented, tested, quoted, prefixes;
  for (const auto& page : std::filesystem::directory_iterator(source / "docs/formats")) {
    Collect(ReadFile(page.path()), "\\n\\| ([A-Z0-9]+-[0-9]+) ", documented);
    Collect(ReadFile(page.path()), "\\n\\| ([A-Z0-9]+)-[0-9]+ ", prefixes);
  }
  std::string any;
  for (const std::string& prefix : prefixes) any += (any.empty() ? "" : "|") + prefix;
  const std::string rule = "((?:" + any + ")-[0-9]+)";
  for (const auto& file : std::filesystem::recursive_directory_iterator(source / "tests/unit"))
    Collect(ReadFile(file.path()), "\\b" + rule + "\\b", tested);
  for (const auto& file : std::filesystem::recursive_directory_iterator(source / "src"))
    Collect(ReadFile(file.path()), "\\[([A-Z][A-Z0-9]*-[0-9]+)\\]", quoted);
  EXPECT_GT(documented.size(), 130u);
  for (const std::string& id : documented) EXPECT_TRUE(tested.contains(id)) << id << " has no test";
  for (const std::string& id : tested) EXPECT_TRUE(documented.contains(id)) << id << " is not in docs/formats";
  for (const std::string& id : quoted)
    EXPECT_TRUE(documented.contains(id)) << id << " is quoted but not in docs/formats";
}

}  // namespace
