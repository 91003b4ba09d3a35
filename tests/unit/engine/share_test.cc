#include "engine/share.h"

#include <cerrno>

#include "base/crc32.h"
#include "base/sys.h"
#include "engine/execute.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::ReadFile;
using ::anemone::testing::StatusIs;
using ::anemone::testing::TempDir;
using ::anemone::testing::WriteFile;

constexpr uint64_t kBytes = 300000;

// A file that records a CRC of itself.
class Recorded final : public ByteSource {
 public:
  Recorded(ByteSourcePtr file, uint32_t crc) : file_(std::move(file)) {
    records_.push_back({0, file_->size_bytes(), crc, Whole(file_), "record"});
  }
  uint64_t size_bytes() const override { return file_->size_bytes(); }
  const std::string& name() const override { return file_->name(); }
  int fd() const override { return file_->fd(); }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override { return file_->ReadAt(offset, out); }
  std::span<const RecordedCrc32> recorded_crcs() const override { return records_; }

 private:
  ByteSourcePtr file_;
  std::vector<RecordedCrc32> records_;
};

class SharedPlan : public ::testing::Test {
 protected:
  SharedPlan() {
    content_.resize(kBytes);
    for (size_t i = 0; i < content_.size(); ++i) content_[i] = static_cast<char>(i * 131 >> 3);
    WriteFile(dir_ / "source", content_);
    crc_ = Crc32(0, std::as_bytes(std::span(content_)));
  }
  ~SharedPlan() override { sys = real_; }

  // A block of header with the CRC in it, the content, a tail.
  Plan Make(Sharing sharing, uint32_t recorded, bool has_slot) {
    Plan plan;
    plan.sharing = sharing;
    PlanFile& file = plan.files.emplace_back();
    file.Append(std::string(kBlockBytes, '\0'));
    file.Append(Whole(std::make_shared<Recorded>(*OpenFile(dir_ / "source"), recorded)));
    file.Append("tail");
    if (has_slot) file.crcs.push_back({kBlockBytes, kBytes, {16}});
    return plan;
  }

  void ExpectWritten(const Plan& plan, bool has_slot, const std::string& what) {
    const std::string path = dir_ / "out";
    ASSERT_THAT(Execute(plan, path, {.replace = true}), IsOk()) << what;
    std::string expected = std::string(kBlockBytes, '\0') + content_ + "tail";
    for (int i = 0; i < 4 && has_slot; ++i) expected[16 + i] = static_cast<char>(crc_ >> (8 * i));
    EXPECT_EQ(ReadFile(path), expected) << what;
  }

  TempDir dir_;
  std::string content_;
  uint32_t crc_ = 0;
  const Sys real_ = sys;
};

TEST_F(SharedPlan, IsWrittenWhateverTheKernelDoes) {
  for (const Sharing sharing : {Sharing::kNever, Sharing::kAsItFalls, Sharing::kPlanned}) {
    for (const bool has_slot : {false, true}) {
      const Plan plan = Make(sharing, crc_, has_slot);
      const std::string what = std::to_string(static_cast<int>(sharing)) + (has_slot ? " with a CRC" : "");
      sys = real_;
      ExpectWritten(plan, has_slot, what);
      sys.copy_range = [](int, off_t, int, off_t, size_t) -> ssize_t { return errno = EXDEV, -1; };
      ExpectWritten(plan, has_slot, what + ", refused");
      static Sys kernel = real_;
      sys.copy_range = [](int from, off_t at, int to, off_t to_at, size_t size) -> ssize_t {
        static int calls = 0;  // a part, then no more
        return calls++ % 2 == 0 ? kernel.copy_range(from, at, to, to_at, size / 3) : 0;
      };
      ExpectWritten(plan, has_slot, what + ", in part");
    }
  }
}

// What is shared is not read; what cannot be shared is, and found damaged.
TEST_F(SharedPlan, DamageIsFoundWhereBytesAreRead) {
  EXPECT_THAT(Execute(Make(Sharing::kPlanned, crc_ + 1, false), dir_ / "shared", {}), IsOk());
  EXPECT_THAT(Execute(Make(Sharing::kPlanned, crc_ + 1, true), dir_ / "read", {}),
              StatusIs(ErrorKind::kCorrupt, "record"));
  sys.copy_range = [](int, off_t, int, off_t, size_t) -> ssize_t { return errno = EXDEV, -1; };
  EXPECT_THAT(Execute(Make(Sharing::kPlanned, crc_ + 1, false), dir_ / "read", {}),
              StatusIs(ErrorKind::kCorrupt, "record"));
  EXPECT_THAT(Execute(Make(Sharing::kNever, crc_ + 1, false), dir_ / "read", {}),
              StatusIs(ErrorKind::kCorrupt, "record"));
}

TEST_F(SharedPlan, SaysHowMuchCanBeShared) {
  constexpr uint64_t kWhole = kBytes / kBlockBytes * kBlockBytes;
  for (const bool is_under_crc : {true, false}) {
    const Shares shares = ShareableBytes(Make(Sharing::kPlanned, crc_, is_under_crc));
    EXPECT_EQ(shares.bytes, kWhole);
    EXPECT_EQ(shares.read_bytes, is_under_crc ? kWhole : 0);
  }
  EXPECT_EQ(ShareableBytes(Make(Sharing::kNever, crc_, true)).bytes, 0u);
  EXPECT_EQ(RecordedCrcOf(Whole(std::make_shared<Recorded>(*OpenFile(dir_ / "source"), 7))), 7u);
  EXPECT_EQ(RecordedCrcOf(Whole(*OpenFile(dir_ / "source"))), std::nullopt);
}

TEST_F(SharedPlan, TheFileSystemIsAsked) {
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir_ / "source"));
  sys.clone_range = [](int, off_t, int, off_t, size_t) { return 0; };
  EXPECT_TRUE(CanShareBlocks(source->fd(), dir_ / "."));
  sys.clone_range = [](int, off_t, int, off_t, size_t) { return errno = EOPNOTSUPP, -1; };
  EXPECT_FALSE(CanShareBlocks(source->fd(), dir_ / "."));
  EXPECT_FALSE(CanShareBlocks(source->fd(), dir_ / "nowhere"));
}

}  // namespace
}  // namespace anemone
