#include <algorithm>
#include <fstream>
#include <iterator>

#include "container/pickle.h"
#include "format/dist/torch_dist_metadata.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;

std::string Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

Result<DistMetadata> ParseFile(const std::string& path) { return ParseDistMetadata(Slurp(path)); }
Result<DistMetadata> ParseCorpus(const std::string& name) {
  return ParseFile(std::string(ANEMONE_SOURCE_DIR) + "/fuzz/corpus/dist_metadata/" + name);
}

const DistItem* Find(const DistMetadata& metadata, std::string_view key) {
  for (const DistItem& item : metadata.items) {
    if (item.key == key) return &item;
  }
  return nullptr;
}

TEST(DistMetadata, ReadsWhatMegatronWrote) {
  ANEMONE_ASSERT_ASSIGN(const DistMetadata metadata,
                        ParseFile(Golden("dist/torch_dist_small/nemo_extracted/model_weights/.metadata")));
  EXPECT_EQ(metadata.items.size(), 17u);
  EXPECT_THAT(metadata.files, ::testing::UnorderedElementsAre("__0_0.distcp", "__0_1.distcp"));
  const DistItem* fc1 = Find(metadata, "model.decoder.layers.mlp.linear_fc1.weight");
  ASSERT_NE(fc1, nullptr);
  const auto& tensor = std::get<DistTensor>(fc1->content);
  EXPECT_EQ(tensor.dtype, DType::kF32);
  EXPECT_EQ(*tensor.shape, (Shape{2, 192, 40}));
  ASSERT_EQ(tensor.chunks.size(), 4u);
  EXPECT_EQ(*tensor.chunks[1].offsets, (Shape{0, 96, 0}));
  EXPECT_EQ(*tensor.chunks[1].sizes, (Shape{1, 96, 40}));
  EXPECT_EQ(tensor.chunks[0].location.offset, 170076u);
  EXPECT_EQ(tensor.chunks[0].location.length, 31900u);
  const DistItem* object = Find(metadata, "model.decoder.layers.mlp.linear_fc1._extra_state/shard_1_2");
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(std::get<DistObject>(object->content).location.length, 1824u);
}

TEST(DistMetadata, KnowsTheShapeBeforeFlattening) {
  ANEMONE_ASSERT_ASSIGN(
      const DistMetadata metadata,
      ParseFile(Golden("gpt_mcore_dist_optim/megatron_gpt--val_loss=5.35-step=2-consumed_samples=8.0-last/.metadata")));
  const DistItem* item = Find(metadata, "optimizer.state.exp_avg.model.decoder.layers.mlp.linear_fc1.weight");
  ASSERT_NE(item, nullptr);
  const auto& tensor = std::get<DistTensor>(item->content);
  EXPECT_EQ(*tensor.shape, (Shape{2, 2, 1, 1344}));
  ASSERT_NE(tensor.original_shape, nullptr);
  EXPECT_EQ(*tensor.original_shape, (Shape{2, 112, 24}));
}

TEST(DistMetadata, ReadsTheNewestTorch) {
  ANEMONE_ASSERT_ASSIGN(const DistMetadata metadata, ParseFile(Golden("dist_torch_2.15/plain_dcp/.metadata")));
  const DistItem* item = Find(metadata, "model.proj.weight");
  ASSERT_NE(item, nullptr);
  EXPECT_THAT(item->path, ::testing::ElementsAre(DistStep("model"), DistStep("proj"), DistStep("weight")));
  EXPECT_EQ(std::get<DistTensor>(item->content).chunks.size(), 2u);
}

TEST(DistMetadata, EveryProtocolAndVersionSaysTheSame) {
  for (const char* name :
       {"good_protocol2", "good_protocol4", "good_protocol5", "good_torch22", "good_mcore15", "good_plans"}) {
    ANEMONE_ASSERT_ASSIGN(const DistMetadata metadata, ParseCorpus(name));
    EXPECT_EQ(metadata.items.size(), 2u);
    EXPECT_EQ(std::get<DistTensor>(metadata.items[0].content).chunks[1].location.offset, 512u);
  }
  EXPECT_THAT(ParseCorpus("good_scalar"), IsOk());
  EXPECT_THAT(ParseCorpus("good_flattened"), IsOk());
}

struct Broken {
  const char* file;
  ErrorKind kind;
  const char* words;
};

class BrokenMetadata : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenMetadata, IsRefused) {
  EXPECT_THAT(ParseCorpus(GetParam().file), StatusIs(GetParam().kind, GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Corpus, BrokenMetadata,
    ::testing::Values(
        Broken{"bad_system_root", ErrorKind::kCorrupt,
               "[TD-2] expected only the classes of torch.distributed.checkpoint"},
        Broken{"bad_system_planner", ErrorKind::kCorrupt, "[TD-2]"},
        Broken{"bad_class", ErrorKind::kCorrupt,
               "[TD-2] expected only the classes of torch.distributed.checkpoint, found"},
        Broken{"bad_system_extra", ErrorKind::kCorrupt, "[TD-2]"},
        Broken{"bad_overlap", ErrorKind::kCorrupt,
               "[TD-4] expected chunks that cover 12 elements once, found more than 12"},
        Broken{"bad_hole", ErrorKind::kCorrupt, "[TD-4] expected chunks that cover 12 elements once, found 6"},
        Broken{"bad_outside", ErrorKind::kCorrupt, "[TD-4] expected chunks inside [4, 3]"},
        Broken{"bad_overflow", ErrorKind::kCorrupt, "[TD-4] a size that overflows"},
        Broken{"bad_unstored", ErrorKind::kCorrupt, "[TD-5]"},
        Broken{"bad_shared_chunks", ErrorKind::kCorrupt, "[TD-5]"},
        Broken{"bad_negative", ErrorKind::kCorrupt, "[TD-3] expected an offset"},
        Broken{"bad_transform", ErrorKind::kUnsupported,
               "[TD-6] expected items as torch.save wrote them, found them transformed (\"zstd\")"},
        Broken{"bad_path0", ErrorKind::kCorrupt, "[TD-7]"}, Broken{"bad_path1", ErrorKind::kCorrupt, "[TD-7]"},
        Broken{"bad_path2", ErrorKind::kCorrupt, "[TD-7]"}, Broken{"bad_path3", ErrorKind::kCorrupt, "[TD-7]"},
        Broken{"bad_path4", ErrorKind::kCorrupt, "[TD-7]"}, Broken{"bad_path5", ErrorKind::kCorrupt, "[TD-7]"},
        Broken{"bad_flattened", ErrorKind::kCorrupt, "[TD-8]"}),
    [](const auto& test) { return std::string(test.param.file); });

TEST(DistMetadata, CompressedItemsAreNamed) {
  std::string pickle = Slurp(std::string(ANEMONE_SOURCE_DIR) + "/fuzz/corpus/dist_metadata/bad_transform");
  const std::string from = "\x8c\4zstd", to = "\x8c\15stream.zstd/1";
  ASSERT_NE(pickle.find(from), std::string::npos);
  pickle.replace(pickle.find(from), from.size(), to);
  pickle.erase(2, 9);  // the frame, whose size is another now
  EXPECT_THAT(ParseDistMetadata(pickle), StatusIs(ErrorKind::kUnsupported, "found them compressed by zstd"));
}

// Places are put where they belong while they are read; those of items that come later, afterwards.
TEST(DistMetadata, AttributesComeInAnyOrder) {
  const std::string pickle = Slurp(Golden("dist/torch_dist_small/nemo_extracted/model_weights/.metadata"));
  ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle(pickle));
  ValueList& attributes = value.node->state->items;
  std::ranges::reverse(attributes);
  for (size_t i = 0; i + 1 < attributes.size(); i += 2) std::swap(attributes[i], attributes[i + 1]);
  ANEMONE_ASSERT_ASSIGN(const std::string reversed, WritePickle(value));
  ANEMONE_ASSERT_ASSIGN(const DistMetadata expected, ParseDistMetadata(pickle));
  ANEMONE_ASSERT_ASSIGN(const DistMetadata found, ParseDistMetadata(reversed));
  ASSERT_EQ(found.items.size(), expected.items.size());
  for (size_t i = 0; i < found.items.size(); ++i) {
    EXPECT_EQ(found.items[i].key, expected.items[i].key);
    const auto* tensor = std::get_if<DistTensor>(&found.items[i].content);
    if (tensor == nullptr) continue;
    for (size_t chunk = 0; chunk < tensor->chunks.size(); ++chunk) {
      const DistChunk& other = std::get<DistTensor>(expected.items[i].content).chunks[chunk];
      EXPECT_EQ(*tensor->chunks[chunk].offsets, *other.offsets);
      EXPECT_EQ(tensor->chunks[chunk].location.offset, other.location.offset);
    }
  }
}

TEST(DistMetadata, SharedNodesAreNotMultiplied) {
  EXPECT_THAT(ParseCorpus("memo_bomb"), StatusIs(ErrorKind::kCorrupt, "[TD-3] expected a key, found a list"));
}

TEST(DistMetadata, ACutPickleIsRefusedEverywhere) {
  const std::string whole = Slurp(std::string(ANEMONE_SOURCE_DIR) + "/fuzz/corpus/dist_metadata/good_protocol4");
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(ParseDistMetadata(whole.substr(0, size)).ok()) << size;
}

}  // namespace
}  // namespace anemone
