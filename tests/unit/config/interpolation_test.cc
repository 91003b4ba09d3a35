#include "golden.h"

namespace anemone {
namespace {

using testing::Dump;
using testing::GoldenRows;
using testing::IsOk;
using testing::StatusIs;

Config Yaml(std::string_view text) {
  Result<Config> config = Config::ParseYaml(text, "test.yaml");
  EXPECT_THAT(config, IsOk());
  return *std::move(config);
}

TEST(Interpolation, ResolvesWhatOmegaConfResolves) {
  const std::vector<ConfigNode> rows = GoldenRows("resolve.jsonl");
  const Config config = Yaml(rows[0].Get("yaml")->text);
  for (size_t i = 1; i < rows.size(); ++i) {
    const std::string path = rows[i].Get("path")->text;
    const Result<ConfigNode> value = config.Resolve(path);
    if (rows[i].Get("error") != nullptr) {
      EXPECT_FALSE(value.ok()) << path << ": OmegaConf refuses (" << rows[i].Get("error")->text << "), we give "
                               << Dump(*value);
    } else {
      ASSERT_THAT(value, IsOk()) << path;
      EXPECT_TRUE(SameConfig(*value, *rows[i].Get("json")))
          << path << "\nhere:  " << Dump(*value) << "\nthere: " << Dump(*rows[i].Get("json"));
    }
  }
}

}  // namespace
}  // namespace anemone
