// The families' pages say what the tables say. To write a page's tables anew: ANEMONE_UPDATE_DOCS=1 family_test
#include "family/describe.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "testing/matchers.h"

namespace anemone {
namespace {

constexpr std::string_view kBegin = "<!-- tables: begin -->\n", kEnd = "<!-- tables: end -->";

void ExpectPage(const std::string& name, const std::string& tables) {
  const std::string path = std::string(ANEMONE_SOURCE_DIR) + "/docs/families/" + name + ".md";
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path << ": expected a page";
  std::stringstream stream;
  stream << file.rdbuf();
  std::string page = stream.str();
  const size_t begin = page.find(kBegin), end = page.find(kEnd);
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos)
      << path << ": expected the marks around its tables";
  if (std::getenv("ANEMONE_UPDATE_DOCS") != nullptr) {
    page.replace(begin + kBegin.size(), end - begin - kBegin.size(), tables);
    std::ofstream(path) << page;
  } else {
    EXPECT_EQ(page.substr(begin + kBegin.size(), end - begin - kBegin.size()), tables) << path;
  }
}

TEST(FamilyPageTest, HoldsTheTables) {
  for (const Family* family : Families()) ExpectPage(family->name, DescribeFamily(*family));
}

TEST(DecodersPageTest, HoldsTheTables) { ExpectPage("decoders", DescribeHfArchitectures()); }

}  // namespace
}  // namespace anemone
