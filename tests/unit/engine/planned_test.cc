// A planned file is read as Execute would write it.
#include "engine/planned.h"

#include <random>

#include "anemone/convert.h"
#include "anemone/plan.h"
#include "base/crc32.h"
#include "engine/execute.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::Golden;
using ::anemone::testing::IsOk;
using ::anemone::testing::ReadFile;
using ::anemone::testing::StatusIs;
using ::anemone::testing::TempDir;
using ::anemone::testing::WriteFile;

std::string Read(const ByteSource& source, uint64_t offset, uint64_t size) {
  std::string bytes(size, '?');
  EXPECT_THAT(source.ReadAt(offset, std::as_writable_bytes(std::span(bytes))), IsOk());
  return bytes;
}

class Planned : public ::testing::TestWithParam<std::pair<const char*, const char*>> {
 protected:
  TempDir dir_;
};

TEST_P(Planned, HasTheBytesThatExecuteWrites) {
  const auto& [source, to] = GetParam();
  ConvertOptions options;
  options.to = to;
  options.tp = options.to == "nemo" ? std::optional(2) : std::nullopt;
  options.reflink = Reflink::kNever;
  const Result<Conversion> conversion = PlanConversion(Golden(source), dir_ / "out", options);
  ASSERT_THAT(conversion.status(), IsOk());
  const Plan& plan = *conversion->plan;
  ASSERT_THAT(Execute(plan, dir_ / "out", {}), IsOk());
  std::mt19937 random(7);
  for (size_t i = 0; i < plan.files.size(); ++i) {
    SCOPED_TRACE(plan.files[i].path);
    const std::string written = ReadFile(plan.is_directory ? dir_ / ("out/" + plan.files[i].path) : dir_ / "out");
    ASSERT_EQ(written.size(), plan.files[i].size);
    // In pieces first, before any CRC is known: they begin and end within headers, CRCs and tensors.
    const ByteSourcePtr pieces = OpenPlanned(conversion->plan, i);
    for (int k = 0; k < 300 && !written.empty(); ++k) {
      const uint64_t from = random() % written.size();
      const uint64_t size = std::min<uint64_t>(1 + random() % (k % 3 == 0 ? 5000 : 7), written.size() - from);
      ASSERT_EQ(Read(*pieces, from, size), written.substr(from, size)) << from;
    }
    EXPECT_TRUE(Read(*OpenPlanned(conversion->plan, i), 0, written.size()) == written);
    std::byte beyond;
    EXPECT_THAT(pieces->ReadAt(written.size(), std::span(&beyond, 1)), StatusIs(ErrorKind::kCorrupt, "bytes in all"));
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Planned,
                         ::testing::Values(std::pair("clip/hf", "nemo"), std::pair("clip/mcore.nemo", "nemo"),
                                           std::pair("decoders/llama/hf", "nemo2"), std::pair("clip/hf", "ckpt"),
                                           std::pair("clip/mcore.nemo", "hf")));

// A source that records a CRC, and counts what is read of it.
class Recorded final : public ByteSource {
 public:
  Recorded(std::string bytes, uint32_t crc) : bytes_(MemorySource(std::move(bytes), "recorded")) {
    records_.push_back({0, bytes_->size_bytes(), crc});
  }
  uint64_t size_bytes() const override { return bytes_->size_bytes(); }
  const std::string& name() const override { return bytes_->name(); }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    ++reads;
    return bytes_->ReadAt(offset, out);
  }
  Status CheckUnchanged() const override { return is_changed ? Corrupt("it changed") : Status(); }
  std::span<const RecordedCrc32> recorded_crcs() const override { return records_; }
  std::string NameOfRecord(const RecordedCrc32& /*record*/) const override { return "record"; }

  mutable int reads = 0;
  bool is_changed = false;

 private:
  ByteSourcePtr bytes_;
  std::vector<RecordedCrc32> records_;
};

class OfARecord : public ::testing::Test {
 protected:
  // Eight bytes with the CRC in them, then the content.
  ByteSourcePtr Open() {
    auto plan = std::make_shared<Plan>();
    PlanFile& file = plan->files.emplace_back();
    file.Append(std::string(8, '\0'));
    file.Append(ByteRange{recorded_, 0, size_});
    file.crcs.push_back({8, size_, {2}});
    return OpenPlanned(std::move(plan), 0);
  }

  std::shared_ptr<Recorded> recorded_ = std::make_shared<Recorded>("content", 0x04030201U);
  uint64_t size_ = 7;
};

TEST_F(OfARecord, ACrcIsTakenAsItIsRecorded) {
  EXPECT_EQ(Read(*Open(), 0, 8), std::string("\0\0\1\2\3\4\0\0", 8));
  EXPECT_EQ(recorded_->reads, 0) << "what is known is not computed";
}

TEST_F(OfARecord, ACrcOfOtherBytesIsComputedOnce) {
  size_ = 6;
  const uint32_t crc = Crc32(0, std::as_bytes(std::span("conten", 6)));
  const ByteSourcePtr file = Open();
  const std::string bytes = Read(*file, 0, 8);
  for (int k = 0; k < 4; ++k) EXPECT_EQ(static_cast<uint8_t>(bytes[2 + k]), (crc >> (8 * k)) & 0xff);
  EXPECT_EQ(Read(*file, 4, 2), bytes.substr(4, 2));
  EXPECT_EQ(recorded_->reads, 1);
}

TEST_F(OfARecord, AChangeOfTheSourceIsTold) {
  const ByteSourcePtr file = Open();
  EXPECT_THAT(file->CheckUnchanged(), IsOk());
  recorded_->is_changed = true;
  EXPECT_THAT(file->CheckUnchanged(), StatusIs(ErrorKind::kCorrupt, "it changed"));
}

}  // namespace
}  // namespace anemone
