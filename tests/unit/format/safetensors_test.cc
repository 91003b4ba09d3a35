#include "format/huggingface/safetensors.h"

#include <fmt/format.h>

#include "support.h"

namespace anemone {
namespace {

using testing::Bytes;
using testing::ExpectSameTensor;
using testing::Golden;
using testing::IsOk;
using testing::Numbers;
using testing::Range;
using testing::ReadFile;
using testing::StatusIs;

std::string File(const std::string& header, const std::string& buffer) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + buffer;
}

TEST(Safetensors, ReadsTheWorkedExampleOfItsPage) {
  std::map<std::string, std::string> metadata;
  ANEMONE_ASSERT_ASSIGN(
      const StateDict state,
      ReadSafetensors(
          Range(File(R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}})",
                     std::string("\x00\x3c\x00\xc0", 4))),
          &metadata));
  ASSERT_EQ(state.size(), 1u);
  EXPECT_EQ(state.items()[0].name, "w");
  const Tensor& w = *state.items()[0].tensor();
  EXPECT_EQ(w.dtype(), DType::kF16);
  EXPECT_EQ(w.shape(), (Shape{2, 1}));
  EXPECT_EQ(*w.Read(), std::string("\x00\x3c\x00\xc0", 4));
  EXPECT_EQ(metadata.at("format"), "pt");
}

TEST(Safetensors, MetadataThatIsNullIsNone) {  // ST-4, as the library
  EXPECT_THAT(ReadSafetensors(Range(File(R"({"__metadata__":null})", ""))), IsOk());
}

// torch.distributed.checkpoint's HuggingFaceStorageWriter writes parts of tensors for each rank.
TEST(Safetensors, RefusesOneRanksParts) {
  const std::string header =
      R"({"__metadata__":{"format":"pt","DCP_SHARDING_INFO":"{\"w\": {\"saved_offsets\": [2]}}","DCP_VERSION":"1.0"},)"
      R"("w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  EXPECT_THAT(ReadSafetensors(Range(File(header, "ab"))), StatusIs(ErrorKind::kUnsupported, "[ST-11]"));
}

TEST(Safetensors, AcceptsScalarsEmptyTensorsAndNoTensors) {
  ANEMONE_ASSERT_ASSIGN(const StateDict state,
                        ReadSafetensors(Range(File(R"({"e":{"dtype":"F32","shape":[3,0],"data_offsets":[0,0]},)"
                                                   R"("s":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})",
                                                   "x"))));
  EXPECT_EQ(state.Find("e")->tensor()->num_elements(), 0u);
  EXPECT_EQ(state.Find("s")->tensor()->num_elements(), 1u);
  EXPECT_THAT(ReadSafetensors(Range(File("{}", ""))), IsOk());
  EXPECT_THAT(ReadSafetensors(Range(File("{}      ", ""))), IsOk());
}

TEST(Safetensors, RefusesEveryBrokenFile) {
  const std::string one = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  struct Case {
    const char* what;
    std::string bytes;
    ErrorKind kind;
    const char* words;
  };
  const Case cases[] = {
      {"nothing", "", ErrorKind::kCorrupt, "[ST-1]"},
      {"7 bytes", "1234567", ErrorKind::kCorrupt, "[ST-1]"},
      {"header beyond the end", File("{}", "").substr(0, 9), ErrorKind::kCorrupt, "[ST-1]"},
      {"giant header", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{", 9), ErrorKind::kLimitExceeded, "[ST-2]"},
      {"no JSON", File("{nope}", ""), ErrorKind::kCorrupt, "[ST-3]"},
      {"a list", File("[]", ""), ErrorKind::kCorrupt, "[ST-3]"},
      {"leading blank", File(" {}", ""), ErrorKind::kCorrupt, "[ST-3]"},
      {"empty header", File("", ""), ErrorKind::kCorrupt, "[ST-3]"},
      {"not UTF-8", File("{\"\xff\":{}}", ""), ErrorKind::kCorrupt, "[ST-3]"},
      {"metadata no map", File(R"({"__metadata__":3})", ""), ErrorKind::kCorrupt, "[ST-4]"},
      {"metadata no strings", File(R"({"__metadata__":{"a":1}})", ""), ErrorKind::kCorrupt, "[ST-4]"},
      {"metadata twice", File(R"({"__metadata__":{},"__metadata__":{}})", ""), ErrorKind::kCorrupt, "[ST-4]"},
      {"row no map", File(R"({"a":1})", ""), ErrorKind::kCorrupt, "[ST-5]"},
      {"field missing", File(R"({"a":{"dtype":"U8","shape":[0]}})", ""), ErrorKind::kCorrupt, "[ST-5]"},
      {"field twice", File(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""),
       ErrorKind::kCorrupt, "[ST-5]"},
      {"field unknown", File(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", ""), ErrorKind::kCorrupt,
       "[ST-5]"},
      {"negative size", File(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})", ""), ErrorKind::kCorrupt,
       "[ST-5]"},
      {"three offsets", File(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}})", ""), ErrorKind::kCorrupt,
       "[ST-5]"},
      {"float offset", File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1.0]}})", "x"), ErrorKind::kCorrupt,
       "[ST-5]"},
      {"unknown dtype", File(R"({"a":{"dtype":"F7","shape":[0],"data_offsets":[0,0]}})", ""), ErrorKind::kUnsupported,
       "[ST-6]"},
      {"hole", File("{" + one + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}})", "123456"),
       ErrorKind::kCorrupt, "[ST-7]"},
      {"overlap", File("{" + one + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", "123456"),
       ErrorKind::kCorrupt, "[ST-7]"},
      {"reversed", File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "1"), ErrorKind::kCorrupt,
       "[ST-7]"},
      {"surplus", File("{" + one + "}", "12345"), ErrorKind::kCorrupt, "[ST-7]"},
      {"cut", File("{" + one + "}", "123"), ErrorKind::kCorrupt, "download it again"},
      {"too few bytes", File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "1234"), ErrorKind::kCorrupt,
       "[ST-8]"},
      {"overflow", File(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", ""),
       ErrorKind::kCorrupt, "[ST-8]"},
      {"a long name",
       File("{\"" + std::string(5000, 'n') + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""),
       ErrorKind::kLimitExceeded, "[ST-9]"},
      {"half a byte", File(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", "1"), ErrorKind::kCorrupt,
       "[ST-8]"},
      {"name twice",
       File(
           R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
           ""),
       ErrorKind::kCorrupt, "[ST-10]"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(ReadSafetensors(Range(c.bytes)), StatusIs(c.kind, c.words)) << c.what;
  }
}

// A name is a key, no path: any text is read, written and read again.
TEST(Safetensors, ANameIsAnyText) {
  NamedTensors tensors;
  for (const char* name : {"", "../../etc/passwd", "/a", "a\\b", "a\"b\n", "\x01", "\u00fc"})
    tensors.emplace_back(name, Numbers(DType::kU8, {1}, "1"));
  PlanFile file;
  ASSERT_THAT(LayOutSafetensors(tensors, {}, file), IsOk());
  ANEMONE_ASSERT_ASSIGN(const StateDict state, ReadSafetensors(Range(Bytes(file))));
  for (const auto& [name, tensor] : tensors) EXPECT_NE(state.Find(name), nullptr) << name;
  for (const char* name : {"__metadata__", "\xff"}) {
    PlanFile refused;
    EXPECT_THAT(LayOutSafetensors({{name, Numbers(DType::kU8, {1}, "1")}}, {}, refused),
                StatusIs(ErrorKind::kUnsupported, "[ST-9]"));
  }
}

// Elements smaller than a byte: shapes count elements, the bytes stay as they are.
TEST(Safetensors, CarriesElementsThatShareBytes) {
  const struct {
    const char* word;
    DType dtype;
    std::string bytes;
  } cases[] = {{"F4", DType::kF4E2M1, "\x01\x23\x45\x67"},
               {"F6_E2M3", DType::kF6E2M3, "abcdef"},
               {"F6_E3M2", DType::kF6E3M2, "fedcba"}};
  for (const auto& [word, dtype, bytes] : cases) {
    const std::string header =
        fmt::format(R"({{"t":{{"dtype":"{}","shape":[2,4],"data_offsets":[0,{}]}}}})", word, bytes.size());
    ANEMONE_ASSERT_ASSIGN(const StateDict state, ReadSafetensors(Range(File(header, bytes))));
    const Tensor& tensor = *state.Find("t")->tensor();
    EXPECT_EQ(tensor.dtype(), dtype);
    EXPECT_EQ(tensor.shape(), (Shape{2, 4}));
    EXPECT_EQ(*tensor.Read(), bytes);
    PlanFile file;
    ASSERT_THAT(LayOutSafetensors({{"t", tensor}}, {}, file), IsOk());
    ANEMONE_ASSERT_ASSIGN(const StateDict again, ReadSafetensors(Range(Bytes(file))));
    ExpectSameTensor(*again.Find("t")->tensor(), tensor, word);
    EXPECT_THAT(tensor.Narrow(0, 0, 1), StatusIs(ErrorKind::kUnsupported, "share bytes"));
    EXPECT_THAT(tensor.Cast(DType::kF32), StatusIs(ErrorKind::kInvalidArgument, "cannot cast"));
  }
}

TEST(Safetensors, RefusesEveryTruncationAndSurplus) {
  PlanFile file;
  ASSERT_THAT(
      LayOutSafetensors({{"a", Numbers(DType::kU8, {7}, "1234567")}, {"b", Numbers(DType::kF32, {2}, "12345678")}},
                        {{"format", "pt"}}, file),
      IsOk());
  const std::string bytes = Bytes(file);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ReadSafetensors(Range(bytes.substr(0, size))).ok()) << size;
  }
  EXPECT_THAT(ReadSafetensors(Range(bytes)), IsOk());
  EXPECT_THAT(ReadSafetensors(Range(bytes + "x")), StatusIs(ErrorKind::kCorrupt, "[ST-7]"));
}

TEST(Safetensors, WritesTheseExactBytes) {
  PlanFile file;
  ASSERT_THAT(LayOutSafetensors({{"b", Numbers(DType::kU8, {1}, "x")}, {"a", Numbers(DType::kF32, {}, "1234")}},
                                {{"format", "pt"}}, file),
              IsOk());
  const std::string header = R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}})";
  EXPECT_EQ(Bytes(file), File(header + std::string((8 - header.size() % 8) % 8, ' '), "1234x"));
}

TEST(Safetensors, RewritesTransformersFileByteForByte) {
  const std::string path = Golden("clip/hf/model.safetensors");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(path));
  EXPECT_EQ(checkpoint.flavour, "safetensors");
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("safetensors")->lay_out(checkpoint, {}));
  EXPECT_TRUE(Bytes(plan) == ReadFile(path));
}

TEST(Safetensors, RefusesWhatItCannotHold) {
  PlanFile file;
  EXPECT_THAT(LayOutSafetensors({{"c", Numbers(DType::kC128, {1}, std::string(16, '\0'))}}, {}, file),
              StatusIs(ErrorKind::kUnsupported, "[ST-6]"));
  EXPECT_THAT(LayOutSafetensors({{"c", Numbers(DType::kU8, {1}, "x")}, {"c", Numbers(DType::kU8, {1}, "x")}}, {}, file),
              StatusIs(ErrorKind::kInvalidArgument, "[ST-10]"));
  Checkpoint checkpoint;
  checkpoint.shards.resize(2);
  EXPECT_THAT(PlainTensors(checkpoint, {}), StatusIs(ErrorKind::kInvalidArgument, "2 ranks"));
  checkpoint.shards.resize(1);
  ASSERT_THAT(checkpoint.weights().Add("x._extra_state", Opaque{Opaque::Form::kOther, {}, true}), IsOk());
  EXPECT_THAT(PlainTensors(checkpoint, {}), StatusIs(ErrorKind::kUnsupported, "FP8"));
  EXPECT_THAT(PlainTensors(checkpoint, {.extra_state = ExtraState::kDrop}), IsOk());
}

}  // namespace
}  // namespace anemone
