#include "parallel/layout.h"

#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

std::vector<uint64_t> Counts(uint64_t layers, const Layout& layout, const ConfigNode* config = nullptr) {
  std::vector<uint64_t> counts;
  auto ranges = DivideLayers(layers, layout, config, "vision");
  EXPECT_THAT(ranges, IsOk());
  if (!ranges.ok()) return counts;
  uint64_t next = 0;
  for (const LayerRange& range : *ranges) {
    EXPECT_EQ(range.begin, next);
    next = range.end;
    counts.push_back(range.size());
  }
  EXPECT_EQ(next, layers);
  return counts;
}

TEST(DivideLayersTest, Evenly) {
  EXPECT_EQ(Counts(12, {.pp = 4}), (std::vector<uint64_t>{3, 3, 3, 3}));
  EXPECT_EQ(Counts(8, {.pp = 2, .vp = 2}), (std::vector<uint64_t>{2, 2, 2, 2}));
  EXPECT_THAT(DivideLayers(12, {.pp = 5}, nullptr, "text"),
              StatusIs(ErrorKind::kInvalidArgument, "12 layers of the text tower"));
}

TEST(DivideLayersTest, UnevenAsTheConfigSays) {
  ConfigNode config = ConfigNode::Map();
  config["first_pipeline_num_layers"] = ConfigNode::Int(2);
  EXPECT_EQ(Counts(3, {.pp = 2}, &config), (std::vector<uint64_t>{2, 1}));
  EXPECT_EQ(Counts(8, {.pp = 4}, &config), (std::vector<uint64_t>{2, 2, 2, 2}));
  config["last_pipeline_num_layers"] = ConfigNode::Int(1);
  EXPECT_EQ(Counts(9, {.pp = 4}, &config), (std::vector<uint64_t>{2, 3, 3, 1}));
  EXPECT_THAT(DivideLayers(10, {.pp = 4}, &config, "vision"),
              StatusIs(ErrorKind::kInvalidArgument, "with 2 on the first"));
  EXPECT_EQ(Counts(9, {.pp = 1}, &config), (std::vector<uint64_t>{9}));
}

TEST(PlaceOfTest, ChunksComeBeforeStages) {
  const Layout layout{.pp = 2, .vp = 2};
  EXPECT_EQ(PlaceOf(1, layout).stage, 1);
  EXPECT_EQ(PlaceOf(2, layout).stage, 0);
  EXPECT_EQ(PlaceOf(2, layout).chunk, 1);
}

}  // namespace
}  // namespace anemone
