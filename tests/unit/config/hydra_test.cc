#include "config/hydra.h"

#include "golden.h"

namespace anemone {
namespace {

using testing::Dump;
using testing::GoldenRows;
using testing::IsOk;
using testing::StatusIs;

TEST(OverrideValue, ParsesWhatTheGrammarParses) {
  for (const ConfigNode& row : GoldenRows("value.jsonl")) {
    const std::string text = row.Get("text")->text;
    const Result<ConfigNode> value = ParseOverrideValue(text);
    if (row.Get("error") != nullptr) {
      EXPECT_FALSE(value.ok()) << "'" << text << "': the grammar refuses it (" << row.Get("error")->text
                               << "), we give " << Dump(*value);
    } else {
      ASSERT_THAT(value, IsOk()) << text;
      EXPECT_TRUE(SameConfig(*value, *row.Get("json")))
          << text << "\nhere:  " << Dump(*value) << "\nthere: " << Dump(*row.Get("json"));
    }
  }
}

}  // namespace
}  // namespace anemone
