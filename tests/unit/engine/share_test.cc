#include "engine/share.h"

#include <cerrno>

#include "base/crc32.h"
#include "base/sys.h"
#include "engine/execute.h"
#include "engine/windows.h"
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
    records_.push_back({0, file_->size_bytes(), crc});
  }
  uint64_t size_bytes() const override { return file_->size_bytes(); }
  const std::string& name() const override { return file_->name(); }
  int fd() const override { return file_->fd(); }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override { return file_->ReadAt(offset, out); }
  std::span<const RecordedCrc32> recorded_crcs() const override { return records_; }
  std::string NameOfRecord(const RecordedCrc32& /*record*/) const override { return "record"; }

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

// Rows of two tensors of a file by turns, as q, k and v of heads are; the second tensor is `gap` bytes behind the
// first.
class Turns : public SharedPlan {
 protected:
  static constexpr uint64_t kRow = 64 << 10, kRows = 2;

  Tensor Make(uint64_t gap, uint64_t row_bytes) {
    std::string content(2 * kRows * kRow + gap + 64, '\0');
    for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761U >> 24);
    WriteFile(dir_ / "turns", content);
    source_ = *OpenFile(dir_ / "turns");
    const Shape shape = {kRows, 1, row_bytes};
    const uint64_t second = 64 + kRows * row_bytes + gap;
    const std::vector<Tensor> parts = {*Tensor::FromFile(DType::kU8, shape, source_, 64),
                                       *Tensor::FromFile(DType::kU8, shape, source_, second)};
    return *Tensor::Concat(parts, 1)->Reshape({2 * kRows, row_bytes});
  }
  // The tensor, and what a writer puts around it.
  static Plan PlanOf(const Tensor& tensor, uint64_t place, bool is_under_crc) {
    Plan plan;
    plan.sharing = Sharing::kPlanned;
    PlanFile& file = plan.files.emplace_back();
    file.Append(std::string(kBlockBytes + place, '\0'));
    file.Append(tensor);
    file.Append("tail");
    if (is_under_crc) file.crcs.push_back({kBlockBytes + place, tensor.size_bytes(), {16}});
    return plan;
  }

  ByteSourcePtr source_;
};

TEST_F(Turns, AreLargePieces) {
  const Tensor tensor = Make(0, kRow);
  const std::vector<Piece> pieces = Shareable(tensor);
  ASSERT_EQ(pieces.size(), 2 * kRows);
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i].at, i * kRow);
    EXPECT_EQ(pieces[i].range.source, source_);
    EXPECT_EQ(pieces[i].range.offset, 64 + (i % 2) * kRows * kRow + i / 2 * kRow);
    EXPECT_EQ(pieces[i].range.size, kRow);
  }
  Places places;
  AddPlaces(pieces, 0, places);
  EXPECT_EQ(BestPlace(places), 64U);
  EXPECT_TRUE(Shareable(Make(0, kRow / 2)).empty());  // too small
  EXPECT_TRUE(Shareable(*tensor.Cast(DType::kF16)).empty());
  EXPECT_EQ(Shareable(*tensor.Pad(0, 0, 1)).size(), 2 * kRows);  // zeros are made, the rest lies in the file
  EXPECT_EQ(Shareable(*tensor.Narrow(0, 1, 2)).size(), 2U);
}

TEST_F(Turns, AreSharedWhereTheirBlocksAgree) {
  constexpr uint64_t kShared = kRow - kBlockBytes;  // of a row that begins within a block
  for (const auto& [gap, rows] :
       {std::pair{uint64_t{0}, 2 * kRows}, {uint64_t{8}, kRows}, {uint64_t{kBlockBytes}, 2 * kRows}}) {
    const Tensor tensor = Make(gap, kRow);
    const std::string expected = *tensor.Read();
    for (const bool is_under_crc : {false, true}) {
      const Plan plan = PlanOf(tensor, 64, is_under_crc);
      EXPECT_EQ(ShareableBytes(plan).bytes, rows * kShared) << gap;
      EXPECT_EQ(ShareableBytes(plan).read_bytes, is_under_crc ? rows * kShared : 0) << gap;
      static Sys kernel = real_;
      static uint64_t moved;
      moved = 0;
      sys.copy_range = [](int from, off_t at, int to, off_t to_at, size_t size) -> ssize_t {
        EXPECT_EQ(at % kBlockBytes, 0U);
        EXPECT_EQ(to_at % kBlockBytes, 0U);
        moved += size;
        return kernel.copy_range(from, at, to, to_at, size);
      };
      ASSERT_THAT(Execute(plan, dir_ / "out", {.threads = 1, .replace = true}), IsOk());
      EXPECT_EQ(moved, rows * kShared) << gap;
      const std::string written = ReadFile(dir_ / "out");
      EXPECT_EQ(written.substr(kBlockBytes + 64), expected + "tail") << gap;
      uint32_t crc = 0;
      for (int i = 0; i < 4; ++i) crc |= static_cast<uint32_t>(static_cast<unsigned char>(written[16 + i])) << (8 * i);
      EXPECT_EQ(crc, is_under_crc ? Crc32(0, std::as_bytes(std::span(expected))) : 0) << gap;
      sys.copy_range = [](int from, off_t at, int to, off_t to_at, size_t size) -> ssize_t {
        static int calls = 0;  // all, a part, nothing, then it is refused for good
        switch (calls++ % 4) {
          case 0:
            return kernel.copy_range(from, at, to, to_at, size);
          case 1:
            return kernel.copy_range(from, at, to, to_at, size / 3);
          case 2:
            return 0;
          default:
            return errno = EXDEV, -1;
        }
      };
      ASSERT_THAT(Execute(plan, dir_ / "failing", {.threads = 1, .replace = true}), IsOk());
      EXPECT_EQ(ReadFile(dir_ / "failing"), written) << gap;
    }
    EXPECT_EQ(ShareableBytes(PlanOf(tensor, 72, false)).bytes, gap == 8 ? kRows * kShared : 0) << gap;
  }
}

// What a checkpoint becomes of which one small tensor is another: large ones with small ones and headers between, as
// far apart as in the source.
class Seams : public SharedPlan {
 protected:
  static constexpr uint64_t kLarge = (80 << 10) + 12, kSmall = 5000, kAhead = 2 * kBlockBytes, kTensors = 5;
  static constexpr uint64_t kStep = kLarge + kSmall;

  Seams() {
    source_content_.resize(kAhead + kTensors * kStep);
    for (size_t i = 0; i < source_content_.size(); ++i) source_content_[i] = static_cast<char>(i * 2654435761U >> 24);
    WriteFile(dir_ / "seams", source_content_);
    source_ = *OpenFile(dir_ / "seams");
  }
  // A block further on than in the source. Small tensor `changed` is another, and the one behind it is made anew.
  Plan Make(uint64_t changed, std::optional<uint64_t> under_crc = {}) {
    Plan plan;
    plan.sharing = Sharing::kPlanned;
    PlanFile& file = plan.files.emplace_back();
    file.Append(std::string(kAhead + kBlockBytes, '\0'));
    expected_ = std::string(kAhead + kBlockBytes, '\0');
    for (uint64_t i = 0; i < kTensors; ++i) {
      const uint64_t at = kAhead + i * kStep;
      file.Append(*Tensor::FromFile(DType::kU8, {kLarge}, source_, at));
      std::string small = source_content_.substr(at + kLarge, kSmall);
      if (i == changed) small[kSmall / 2] = static_cast<char>(small[kSmall / 2] + 1);
      if (under_crc == i) file.crcs.push_back({file.size, kSmall, {16}});
      expected_ += source_content_.substr(at, kLarge) + small;
      if (under_crc == i) {
        const uint32_t crc = Crc32(0, std::as_bytes(std::span(small)));
        for (int k = 0; k < 4; ++k) expected_[16 + static_cast<size_t>(k)] = static_cast<char>(crc >> (8 * k));
      }
      if (i == changed + 1) {
        file.Append(*Tensor::FromFile(DType::kU8, {kSmall}, source_, at + kLarge));
      } else {
        file.Append(std::move(small));
      }
    }
    return plan;
  }

  std::string source_content_, expected_;
  ByteSourcePtr source_;
};

TEST_F(Seams, AreMovedWithWhatIsAroundThemAndWrittenWhereTheyDiffer) {
  static Sys kernel = real_;
  static int moves;
  static std::vector<std::pair<uint64_t, uint64_t>> writes;
  sys.copy_range = [](int from, off_t at, int to, off_t to_at, size_t size) -> ssize_t {
    ++moves;
    return kernel.copy_range(from, at, to, to_at, size);
  };
  sys.pwrite = [](int fd, const void* bytes, size_t size, off_t at) -> ssize_t {
    writes.emplace_back(static_cast<uint64_t>(at), static_cast<uint64_t>(at) + size);
    return kernel.pwrite(fd, bytes, size, at);
  };
  for (uint64_t changed = 0; changed <= kTensors; ++changed) {
    const Plan plan = Make(changed, 1);
    moves = 0;
    writes.clear();
    ASSERT_THAT(Execute(plan, dir_ / "out", {.threads = 1, .replace = true}), IsOk());
    EXPECT_EQ(ReadFile(dir_ / "out"), expected_) << changed;
    EXPECT_EQ(moves, 1) << changed;
    // What is before the first one, the CRC, what is behind the last one, and what is another.
    EXPECT_EQ(writes.size(), changed < kTensors - 1 ? 4U : 3U) << changed;
    uint64_t blocks = 0;  // seams are whole blocks, and no promise
    for (uint64_t i = 0; i < kTensors; ++i) {
      const uint64_t begin = kAhead + i * kStep, end = begin + kLarge;
      blocks += end / kBlockBytes - (begin + kBlockBytes - 1) / kBlockBytes;
    }
    EXPECT_EQ(ShareableBytes(plan).bytes, blocks * kBlockBytes);
  }
}

// The kernel moves a part, stops anywhere, and refuses in every way.
TEST_F(Seams, AreWrittenWhateverTheKernelDoes) {
  static Sys kernel = real_;
  static size_t most;
  static int refusal, calls_left;
  sys.copy_range = [](int from, off_t at, int to, off_t to_at, size_t size) -> ssize_t {
    if (calls_left-- == 0) return errno = refusal, refusal == 0 ? 0 : -1;
    return kernel.copy_range(from, at, to, to_at, std::min(size, most));
  };
  for (const int error : {0, EXDEV, EINVAL, EOPNOTSUPP, ENOSPC, EDQUOT, EIO, EBADF, ETXTBSY, ENOMEM}) {
    for (int call = 0; call < 3; ++call) {
      for (most = 1; most < source_content_.size(); most = most * 5 + 3000) {
        refusal = error;
        calls_left = call;
        const Plan plan = Make(2, 1);
        ASSERT_THAT(Execute(plan, dir_ / "out", {.threads = 2, .replace = true}), IsOk());
        ASSERT_EQ(ReadFile(dir_ / "out"), expected_) << error << ' ' << call << ' ' << most;
      }
    }
  }
}

// Files that do not lie alike have no seams.
TEST_F(Seams, AreBetweenWhatLiesAlike) {
  Plan plan;
  plan.sharing = Sharing::kPlanned;
  PlanFile& file = plan.files.emplace_back();
  for (const uint64_t i : {0, 1, 3, 4, 2}) file.Append(ByteRange{source_, i * 25 * kBlockBytes, 25 * kBlockBytes});
  WindowCursor cursor(plan, 1 << 20, true);
  std::vector<std::pair<uint64_t, uint64_t>> windows;
  while (const std::optional<Window> window = cursor.Next()) {
    ASSERT_TRUE(window->range);
    EXPECT_TRUE(window->seams.empty());
    windows.emplace_back(window->range->offset / kBlockBytes, (window->end - window->begin) / kBlockBytes);
  }
  EXPECT_EQ(windows, (std::vector<std::pair<uint64_t, uint64_t>>{{0, 50}, {75, 50}, {50, 25}}));
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
