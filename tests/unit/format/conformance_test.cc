// What every format that is written must do: each tensor comes back to the bit, or is refused by name; what is damaged
// is never read as something else.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>

#include "anemone/check.h"
#include "engine/share.h"
#include "support.h"

namespace anemone {
namespace {

using testing::ExpectSameTensor;
using testing::IsOk;
using testing::Numbers;
using testing::ReadFile;
using testing::StatusIs;
using testing::TempDir;
using testing::Tree;
using testing::Write;
using testing::WriteFile;

std::string Pattern(uint64_t bytes, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random() & 1);  // valid in every dtype, bool included
  return text;
}

Tensor Patterned(DType dtype, const Shape& shape) {
  return Numbers(dtype, shape, Pattern(*BytesOfElements(dtype, *NumElements(shape))));
}

class Conformance : public ::testing::TestWithParam<const Format*> {
 protected:
  static const Format& format() { return *GetParam(); }

  // A model of this format with a config in its language.
  static Checkpoint Model(std::vector<std::pair<std::string, Tensor>> tensors) {
    Checkpoint checkpoint;
    checkpoint.shards.emplace_back();
    for (auto& [name, tensor] : tensors) EXPECT_THAT(checkpoint.weights().Add(name, std::move(tensor)), IsOk());
    const char* const texts[] = {
        "",
        "target: a.b.C\nhidden_size: 4\n",
        "_target_: a.b.C\nconfig:\n  hidden_size: 4\n",
        R"({"model_type": "x", "hidden_size": 4})",
        R"({"model_cfg": {"embed_dim": 4}})",
        "num_attention_heads: 1\npadded_vocab_size: 8\ntensor_model_parallel_size: 1\nworld_size: 1\n",
        "model: {_target_: megatron.bridge.models.gpt_provider.GPTModelProvider}\n"};
    const char* text = texts[static_cast<size_t>(format().traits.language)];
    if (*text != '\0') checkpoint.config = *Config::ParseYaml(text, "config");
    return checkpoint;
  }

  // Written to a fresh place, which is returned.
  Status Save(const Checkpoint& checkpoint, std::string* path) {
    *path = dir_ / fmt::format("out{}{}", ++outputs_, format().extension);
    ANEMONE_ASSIGN(Plan plan, format().lay_out(checkpoint, lay_out_));
    if (lay_out_.keeps_blocks) plan.sharing = Sharing::kPlanned;
    ANEMONE_TRY(Check(plan));
    ExecuteOptions options;
    options.threads = 1;
    return Execute(plan, *path, options);
  }

  // There and back. A tensor that the format cannot hold is refused by its name, and nothing is written.
  bool ComesBack(const std::string& name, const Tensor& tensor) {
    std::string path;
    const Status status = Save(Model({{"model.first", Patterned(DType::kF32, {2})}, {name, tensor}}), &path);
    if (!status.ok()) {
      // NeMo 2 calls `model.` `module.`.
      EXPECT_THAT(status.message(), ::testing::HasSubstr(name.substr(name.find('.') + 1, 5))) << format().name;
      EXPECT_FALSE(std::filesystem::exists(path));
      return false;
    }
    const Result<Checkpoint> back = OpenCheckpoint(path);
    EXPECT_THAT(back, IsOk()) << name;
    if (!back.ok()) return false;
    const StateDict::Item* item = back->weights().Find(name);
    EXPECT_TRUE(item != nullptr && item->tensor() != nullptr) << format().name << ": '" << name << "' is lost";
    if (item != nullptr && item->tensor() != nullptr) ExpectSameTensor(*item->tensor(), tensor, name);
    return true;
  }

  TempDir dir_;
  LayOutOptions lay_out_;
  int outputs_ = 0;
};

TEST_P(Conformance, EveryDTypeComesBackOrIsRefused) {
  std::set<DType> held;
  for (const DTypeInfo& info : DTypes()) {
    if (ComesBack("model.weight", Patterned(info.dtype, {2, 4}))) held.insert(info.dtype);
  }
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64, DType::kI32, DType::kI16,
                            DType::kI8, DType::kU8, DType::kBool})
    EXPECT_TRUE(held.contains(dtype)) << Name(dtype);
}

// Without a tensor there is no model: that is said when it is written, or when it is read.
TEST_P(Conformance, NothingComesBackAsNothingOrIsRefused) {
  std::string path;
  const Status status = Save(Model({}), &path);
  EXPECT_EQ(status.ok(), std::filesystem::exists(path));
  if (!status.ok()) return;
  const Result<Checkpoint> back = OpenCheckpoint(path);
  if (back.ok()) {
    EXPECT_TRUE(back->weights().items().empty());
  } else {
    EXPECT_NE(back.status().kind(), ErrorKind::kInternal) << back.status().message();
  }
}

// Of what holds no dictionary of that name, torch file or not.
TEST_P(Conformance, AKeyThatNamesNothingIsRefused) {
  std::string path;
  ASSERT_THAT(Save(Model({{"model.first", Patterned(DType::kF32, {2})}}), &path), IsOk());
  EXPECT_THAT(OpenCheckpoint(path, {.key = "ema"}), StatusIs(ErrorKind::kInvalidArgument, "\"ema\""));
}

TEST_P(Conformance, EveryShapeComesBack) {
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{1}, Shape{3, 0, 2}, Shape{0, 0}, Shape{1, 1, 1, 1, 1, 1, 1, 1},
                             Shape{7, 5, 3}, Shape{100003}})
    EXPECT_TRUE(ComesBack("model.table", Patterned(DType::kF16, shape))) << ToString(shape);
}

TEST_P(Conformance, TensorsThatAreNoRangeOfAFileComeBack) {
  const Tensor base = Patterned(DType::kF32, {6, 4, 5});
  EXPECT_TRUE(ComesBack("model.turned", *base.Permute({2, 0, 1})));
  EXPECT_TRUE(ComesBack("model.part", *base.Narrow(1, 1, 2)));
  EXPECT_TRUE(ComesBack("model.padded", *base.Pad(0, 1, 2)));
  EXPECT_TRUE(ComesBack("model.cast", *base.Cast(DType::kBF16)));
}

TEST_P(Conformance, AnyNameComesBackOrIsRefused) {
  size_t held = 0;
  const std::string names[] = {"model.a-b:c",
                               "model.\xc3\xa9t\xc3\xa9",
                               "model.with space",
                               "model/slash",
                               "model..twice",
                               "model.trailing.",
                               "0",
                               "model.\"quoted\"",
                               "model.back\\",
                               "model.\n.line",
                               "model.'",
                               std::string(300, 'n')};
  for (const std::string& name : names) held += ComesBack(name, Patterned(DType::kF32, {3})) ? 1 : 0;
  // Without a dot there is no component's name.
  EXPECT_GE(held, std::size(names) - (format().name == std::string_view("diffusers") ? 3 : 2));
}

TEST_P(Conformance, RandomSlicesReadWhatTheWholeSays) {
  const Shape shape = {9, 8, 7};
  std::string path;
  const Tensor whole = Patterned(DType::kI32, shape);
  ASSERT_THAT(Save(Model({{"model.weight", whole}}), &path), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, OpenCheckpoint(path));
  const Tensor stored = *back.weights().Find("model.weight")->tensor();
  std::mt19937 random(7);
  for (int i = 0; i < 50; ++i) {
    Tensor expected = whole, found = stored;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      const uint64_t start = random() % shape[axis], length = 1 + random() % (shape[axis] - start);
      expected = *expected.Narrow(axis, start, length);
      found = *found.Narrow(axis, start, length);
    }
    ExpectSameTensor(found, expected, ToString(expected.shape()));
  }
}

// Every cut at a segment's border and one byte beside it, and every file taken away: an error, or all as it was.
TEST_P(Conformance, DamageAtEveryBorderIsNeverReadAsLess) {
  const Checkpoint before = Model({{"model.a", Patterned(DType::kF32, {5, 3})},
                                   {"model.b", Patterned(DType::kBF16, {70})},
                                   {"model.c", Patterned(DType::kI64, {})}});
  ANEMONE_ASSERT_ASSIGN(const Plan plan, format().lay_out(before, {}));
  std::string path;
  ASSERT_THAT(Save(before, &path), IsOk());
  const auto is_as_it_was = [&]() -> Result<bool> {
    ANEMONE_ASSIGN(const Checkpoint found, OpenCheckpoint(path));
    for (const StateDict::Item& item : before.weights().items()) {
      const StateDict::Item* other = found.weights().Find(item.name);
      if (other == nullptr || other->tensor() == nullptr) return false;
      ANEMONE_ASSIGN(const std::string bytes, other->tensor()->Read());
      if (bytes != *item.tensor()->Read() || other->tensor()->shape() != item.tensor()->shape()) return false;
    }
    return true;
  };
  size_t refused = 0;
  for (const PlanFile& file : plan.files) {
    const std::string target = plan.is_directory ? path + "/" + file.path : path;
    const std::string whole = ReadFile(target);
    std::set<uint64_t> cuts = {0, 1, file.size - 1};
    for (const Segment& segment : file.segments) {
      for (const uint64_t border : {segment.offset, segment.offset + segment.size})
        for (const uint64_t at : {border - 1, border, border + 1}) cuts.insert(at);
    }
    for (const uint64_t cut : cuts) {
      if (cut >= whole.size()) continue;
      WriteFile(target, whole.substr(0, cut));
      const Result<bool> same = is_as_it_was();
      refused += same.ok() ? 0 : 1;
      EXPECT_TRUE(!same.ok() || *same) << format().name << ": " << file.path << " of " << cut << " bytes";
    }
    std::filesystem::remove(target);
    const Result<bool> same = is_as_it_was();
    EXPECT_TRUE(!same.ok() || *same) << format().name << ": without " << file.path;
    WriteFile(target, whole);
  }
  EXPECT_GT(refused, 10u);
  EXPECT_TRUE(*is_as_it_was());
}

// Writes a plan's literals and leaves holes for what a source would fill, but for the bytes around `marks` in it.
void WriteSparsely(const Plan& plan, const std::string& path, const std::vector<uint64_t>& marks) {
  for (const PlanFile& file : plan.files) {
    const std::string target = plan.is_directory ? path + "/" + file.path : path;
    std::filesystem::create_directories(std::filesystem::path(target).parent_path());
    const int fd = open(target.c_str(), O_CREAT | O_WRONLY, 0644);
    ASSERT_GE(fd, 0) << target;
    ASSERT_EQ(ftruncate(fd, static_cast<off_t>(file.size)), 0);
    const auto put = [&](std::string_view bytes, uint64_t offset) {
      ASSERT_EQ(pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)), static_cast<ssize_t>(bytes.size()));
    };
    for (const Segment& segment : file.segments) {
      if (const auto* literal = std::get_if<std::string_view>(&segment.content)) {
        put(*literal, segment.offset);
        continue;
      }
      const Tensor* tensor = std::get_if<Tensor>(&segment.content);
      const std::optional<ByteRange> range =
          tensor != nullptr ? tensor->AsByteRange() : std::optional(*segment.range());
      if (segment.size < 4096) {
        put(tensor != nullptr ? *tensor->Read() : *range->ReadAll(4096), segment.offset);
        continue;
      }
      ASSERT_TRUE(range.has_value());
      for (const uint64_t mark : marks) {
        if (mark < range->offset || mark >= range->offset + range->size) continue;
        put(*(*range->Sub(mark - range->offset, 1)).ReadAll(1), segment.offset + mark - range->offset);
      }
    }
    close(fd);
  }
}

// Wherever in a block a source's tensors lie; and again from what was written, whose CRCs are taken over. Where formats
// can (all whose tensors need not touch), they lie at the same place.
TEST_P(Conformance, WhatIsLaidOutToShareBlocksComesBack) {
  lay_out_.keeps_blocks = true;
  const uint64_t count = 50000;
  WriteFile(dir_ / "source", Pattern(3 * 4 * count + 9000));
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir_ / "source"));
  const uint64_t offsets[] = {8, 4 * count + 4096, 8 * count + 4936};
  std::vector<std::pair<std::string, Tensor>> tensors = {{"model.small", Patterned(DType::kF32, {3})}};
  for (size_t i = 0; i < std::size(offsets); ++i) {
    ANEMONE_ASSERT_ASSIGN(const Tensor tensor, Tensor::FromFile(DType::kF32, {count}, source, offsets[i]));
    tensors.emplace_back(fmt::format("model.t{}", i), tensor);
  }
  const bool is_free =
      std::ranges::count(std::array{"hf", "openclip", "peft", "diffusers", "safetensors"}, format().name) == 0;
  Checkpoint model = Model(tensors);
  const bool is_archive = std::string_view("nemo") == format().name;
  constexpr uint64_t kPlace = 1536;  // of an artifact, in its block
  if (is_archive) model.artifacts.push_back({"vocab.txt", {source, kBlockBytes + kPlace, kMinMoveBytes}});
  std::vector<Checkpoint> alive;
  for (const bool has_crc32 : {true, false, true}) {
    lay_out_.has_crc32 = has_crc32;
    std::string path;
    ASSERT_THAT(Save(model, &path), IsOk());
    alive.push_back(model);
    ANEMONE_ASSERT_ASSIGN(model, OpenCheckpoint(path));
    if (is_archive) {
      ASSERT_NE(model.FindArtifact("vocab.txt"), nullptr);
      EXPECT_EQ(model.FindArtifact("vocab.txt")->content.offset % kBlockBytes, kPlace);
    }
    for (const auto& [name, tensor] : tensors) {
      const StateDict::Item* item = model.weights().Find(name);
      ASSERT_TRUE(item != nullptr && item->tensor() != nullptr) << name;
      ExpectSameTensor(*item->tensor(), tensor, name);
      const std::optional<ByteRange> before = alive.back().weights().Find(name)->tensor()->AsByteRange();
      const std::optional<ByteRange> after = item->tensor()->AsByteRange();
      if (is_free && before && before->size >= kMinMoveBytes) {
        EXPECT_EQ(after->offset % kBlockBytes, before->offset % kBlockBytes) << format().name << " " << name;
      }
      if (is_free) {
        EXPECT_EQ(after->source->recorded_crcs().size() > 2, has_crc32);
      }
    }
    ANEMONE_ASSERT_ASSIGN(const Verification verified, Verify(path, {}));
    EXPECT_THAT(verified.problems, ::testing::IsEmpty());
  }
}

TEST_P(Conformance, ATensorOver4GiBComesBack) {
  constexpr uint64_t kSize = (uint64_t{1} << 32) + 4099;
  const std::vector<uint64_t> marks = {0, (uint64_t{1} << 32) - 1, uint64_t{1} << 32, kSize - 1};
  const std::string source = dir_ / "source";
  WriteFile(source, "");
  std::filesystem::resize_file(source, kSize);
  const int fd = open(source.c_str(), O_WRONLY);
  for (size_t i = 0; i < marks.size(); ++i) {
    const char byte = static_cast<char>(i + 1);
    ASSERT_EQ(pwrite(fd, &byte, 1, static_cast<off_t>(marks[i])), 1);
  }
  close(fd);
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(source));
  ANEMONE_ASSERT_ASSIGN(const Tensor big, Tensor::FromFile(DType::kU8, {kSize}, file, 0));
  const Tensor behind = Patterned(DType::kF32, {5});
  ANEMONE_ASSERT_ASSIGN(const Plan plan, format().lay_out(Model({{"model.big", big}, {"model.behind", behind}}), {}));
  ASSERT_THAT(Check(plan), IsOk());
  const std::string path = dir_ / fmt::format("big{}", format().extension);
  WriteSparsely(plan, path, marks);

  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, OpenCheckpoint(path));
  const Tensor found = *back.weights().Find("model.big")->tensor();
  EXPECT_EQ(found.shape(), Shape{kSize});
  for (size_t i = 0; i < marks.size(); ++i)
    EXPECT_EQ(*(*found.Narrow(0, marks[i], 1)).Read(), std::string(1, static_cast<char>(i + 1))) << marks[i];
  ExpectSameTensor(*back.weights().Find("model.behind")->tensor(), behind, "behind");
}

std::vector<const Format*> Written() {
  std::vector<const Format*> written;
  std::ranges::copy_if(Formats(), std::back_inserter(written),
                       [](const Format* format) { return format->lay_out != nullptr; });
  return written;
}

INSTANTIATE_TEST_SUITE_P(Formats, Conformance, ::testing::ValuesIn(Written()), [](const auto& of) {
  std::string name(of.param->name);
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace anemone
