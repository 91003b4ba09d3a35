#include "format/rank_file.h"
#include "format/torch_file.h"
#include "support.h"

namespace anemone {
namespace {

using testing::Bytes;
using testing::ExpectSameTensors;
using testing::Golden;
using testing::IsOk;
using testing::Numbers;
using testing::Range;
using testing::StatusIs;
using testing::TempDir;
using Kind = ValueNode::Kind;

TEST(Pytorch, ABinOfTransformersHoldsTheSafetensorsTensors) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint bin, OpenCheckpoint(Golden("clip/hf_with_position_ids.bin")));
  EXPECT_EQ(bin.flavour, "pytorch");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint safetensors, OpenCheckpoint(Golden("clip/hf/model.safetensors")));
  StateDict shared;
  for (const auto& item : bin.weights().items()) {
    if (item.name.find("position_ids") == std::string::npos) {
      ASSERT_THAT(shared.Add(item.name, item.entry), IsOk());
    }
  }
  EXPECT_LT(shared.size(), bin.weights().size());
  ExpectSameTensors(safetensors.weights(), shared);
}

// One weight `name` below `keys`, outermost first, beside an epoch.
std::string Nested(std::initializer_list<std::string> keys, const std::string& name) {
  StateDict state;
  EXPECT_THAT(state.Add(name, Numbers(DType::kF32, {1}, "1234")), IsOk());
  const Value weights = FromStateDict(state);
  Value value{std::make_shared<ValueGraph>(), weights.node};
  std::vector<std::string> reversed(keys);
  for (auto key = reversed.rbegin(); key != reversed.rend(); ++key) {
    ValueRef dict = value.graph->New(Kind::kDict), word = value.graph->New(Kind::kString),
             epoch = value.graph->New(Kind::kString), number = value.graph->New(Kind::kInt);
    word->text = *key;
    epoch->text = "epoch";
    dict->items = {epoch, number, word, value.node};
    value.node = dict;
  }
  PlanFile file;
  EXPECT_THAT(LayOutTorchFile(value, "archive", file), IsOk());
  return Bytes(std::move(file));
}

TEST(Pytorch, FindsTheWeightsOfOtherTrainers) {
  for (const char* key : {"state_dict", "model", "model_state_dict", "module"}) {
    ANEMONE_ASSERT_ASSIGN(const RankFile file, ReadRankFile(Range(Nested({key}, "w"))));
    EXPECT_NE(file.shard.weights.Find("w"), nullptr) << key;
    EXPECT_TRUE(file.shard.training.has_value());
    EXPECT_FALSE(file.lightning);
    EXPECT_THAT(file.notes, ::testing::Contains(::testing::HasSubstr(key)));
  }
}

TEST(Pytorch, StripsDistributedDataParallel) {
  ANEMONE_ASSERT_ASSIGN(const RankFile file, ReadRankFile(Range(Nested({"state_dict"}, "module.visual.proj"))));
  EXPECT_NE(file.shard.weights.Find("visual.proj"), nullptr);
  EXPECT_THAT(file.notes, ::testing::Contains(::testing::HasSubstr("\"module.\"")));
}

TEST(Pytorch, RefusesAFileWithoutTensors) {
  PlanFile file;
  ASSERT_THAT(LayOutTorchFile(FromStateDict({}), "archive", file), IsOk());
  EXPECT_THAT(ReadRankFile(Range(Bytes(std::move(file)))), StatusIs(ErrorKind::kCorrupt, "[TZ-22]"));
}

TEST(Pytorch, WritesAStateDict) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenCheckpoint(Golden("clip/hf/model.safetensors")));
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("pytorch")->lay_out(before, {}));
  TempDir dir;
  testing::Write(plan, dir / "x.bin");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(dir / "x.bin"));
  ExpectSameTensors(before.weights(), after.weights());
}

}  // namespace
}  // namespace anemone
