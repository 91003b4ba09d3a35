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
  std::set<std::string> documented, tested, quoted;
  for (const char* page : {"tar.md", "zip.md", "gzip.md", "pickle.md"}) {
    Collect(ReadFile(source / "docs/formats" / page), R"(\n\| ((?:TAR|ZIP|GZ|PKL)-[0-9]+) )", documented);
  }
  for (const auto& file : std::filesystem::directory_iterator(source / "tests/unit/container")) {
    Collect(ReadFile(file.path()), R"(\b((?:TAR|ZIP|GZ|PKL)-[0-9]+)\b)", tested);
  }
  for (const auto& file : std::filesystem::directory_iterator(source / "src/container")) {
    Collect(ReadFile(file.path()), R"(\[((?:TAR|ZIP|GZ|PKL)-[0-9]+)\])", quoted);
  }
  EXPECT_GT(documented.size(), 40u);
  for (const std::string& id : documented) EXPECT_TRUE(tested.contains(id)) << id << " has no test";
  for (const std::string& id : tested) EXPECT_TRUE(documented.contains(id)) << id << " is not in docs/formats";
  for (const std::string& id : quoted)
    EXPECT_TRUE(documented.contains(id)) << id << " is quoted but not in docs/formats";
}

}  // namespace
