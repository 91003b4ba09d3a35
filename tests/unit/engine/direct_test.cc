#include "engine/direct.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <span>
#include <string>
#include <utility>
#include <vector>

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
using ::anemone::testing::Tree;
using ::anemone::testing::WriteFile;

// Any file system has direct writes here: an ordinary descriptor takes them, which only this test knows.
std::atomic<int> direct_fd = -1;
std::atomic<uint64_t> direct_bytes = 0;
std::atomic<bool> is_aligned = true;
std::atomic<int> refused_with = 0;
std::atomic<uint64_t> other_bytes = 0, turns = 0;  // bytes of ordinary writes; how often a direct one came behind one
std::atomic<bool> was_direct = true;

class Direct : public ::testing::Test {
 protected:
  Direct() : real_(sys) {
    direct_fd = -1;
    direct_bytes = 0;
    is_aligned = true;
    refused_with = 0;
    other_bytes = turns = 0;
    was_direct = true;
    sys.reopen_direct = [](int fd, unsigned) { return direct_fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 0); };
    sys.pwrite = [](int fd, const void* bytes, size_t size, off_t offset) -> ssize_t {
      if (fd == direct_fd) {
        if (refused_with != 0) {
          errno = refused_with;
          return -1;
        }
        direct_bytes += size;
        if (reinterpret_cast<uintptr_t>(bytes) % kDirectBlock != 0 || size % kDirectBlock != 0 ||
            static_cast<uint64_t>(offset) % kDirectBlock != 0)
          is_aligned = false;
        if (!was_direct.exchange(true)) ++turns;
      } else {
        other_bytes += size;
        was_direct = false;
      }
      return ::pwrite(fd, bytes, size, offset);
    };
  }
  ~Direct() override { sys = real_; }

  const Sys real_;
  TempDir dir_;
};

// Bytes under a CRC that is stored in their midst and at the end, beginning off any block.
Plan Checked(uint64_t size, std::string* bytes) {
  PlanFile file;
  file.Append(std::string(100, 'h'));
  bytes->clear();
  for (uint64_t i = 0; bytes->size() < size; ++i) *bytes += "line " + std::to_string(i * 2654435761U) + "\n";
  const uint64_t half = bytes->size() / 2;
  file.Append(bytes->substr(0, half));
  const uint64_t store = file.size;
  file.Append(std::string(4, '\0'));
  const uint64_t second = file.size;
  file.Append(bytes->substr(half));
  const uint64_t last = file.size;
  file.Append(std::string(4, '\0'));
  file.crcs.push_back({100, half, {store}});
  file.crcs.push_back({second, bytes->size() - half, {last}});
  *bytes = std::string(100, 'h') + bytes->substr(0, half) + "...." + bytes->substr(half) + "....";
  Plan plan;
  plan.files.push_back(std::move(file));
  return plan;
}

// `found` is `expected` but for the CRCs.
void ExpectSameButCrcs(std::string found, const std::string& expected, const PlanFile& file) {
  ASSERT_EQ(found.size(), expected.size());
  for (const Crc32Slot& slot : file.crcs) {
    EXPECT_NE(found.substr(slot.stores[0], 4), std::string(4, '\0'));
    found.replace(slot.stores[0], 4, "....");
  }
  EXPECT_TRUE(found == expected);
}

TEST_F(Direct, WholeBlocksOfLargeFilesGoPastTheCache) {
  std::string bytes;
  const Plan plan = Checked(80 << 20, &bytes);
  ASSERT_THAT(Execute(plan, dir_ / "out", {}), IsOk());
  EXPECT_TRUE(is_aligned);
  EXPECT_GT(direct_bytes, bytes.size() - (1 << 20));
  EXPECT_EQ(turns, 0u);
  ExpectSameButCrcs(ReadFile(dir_ / "out"), bytes, plan.files[0]);
}

TEST_F(Direct, WhatIsRefusedGoesTheOrdinaryWay) {
  std::string bytes;
  const Plan plan = Checked(80 << 20, &bytes);
  refused_with = EINVAL;
  ASSERT_THAT(Execute(plan, dir_ / "out", {}), IsOk());
  EXPECT_EQ(direct_bytes, 0u);
  ExpectSameButCrcs(ReadFile(dir_ / "out"), bytes, plan.files[0]);
}

TEST_F(Direct, SmallFilesStayInTheCache) {
  std::string bytes;
  ASSERT_THAT(Execute(Checked(8 << 20, &bytes), dir_ / "out", {}), IsOk());
  EXPECT_EQ(direct_fd, -1);
}

// Of which nearly all shares its blocks: the little that is left need not wait for the device.
TEST_F(Direct, WhatIsSharedStaysInTheCache) {
  constexpr uint64_t kMoved = 80 << 20, kLittle = 8 << 20, kMuch = 24 << 20;
  WriteFile(dir_ / "source", std::string(kMoved, '\0'));
  for (const uint64_t written : {kLittle, kMuch}) {
    direct_fd = -1;
    PlanFile file;
    file.Append(std::string(written, 'w'));
    file.Append(Whole(*OpenFile(dir_ / "source")));
    Plan plan;
    plan.files.push_back(std::move(file));
    plan.sharing = Sharing::kPlanned;
    ASSERT_THAT(Execute(plan, dir_ / "out", {.replace = true}), IsOk());
    EXPECT_EQ(direct_fd >= 0, written == kMuch);
    const std::string found = ReadFile(dir_ / "out");
    EXPECT_TRUE(found == std::string(written, 'w') + std::string(kMoved, '\0'));
  }
}

// The kernel would copy it through the cache. It begins off a block, so that it has two edges, and no more.
TEST_F(Direct, WhatIsNotSharedGoesPastTheCache) {
  constexpr uint64_t kSize = 80 << 20;
  WriteFile(dir_ / "source", std::string(kSize, 's'));
  PlanFile file;
  file.Append("head");
  file.Append(Whole(*OpenFile(dir_ / "source")));
  Plan plan;
  plan.files.push_back(std::move(file));
  plan.sharing = Sharing::kAsItFalls;
  ASSERT_THAT(Execute(plan, dir_ / "out", {}), IsOk());
  EXPECT_TRUE(is_aligned);
  EXPECT_EQ(direct_bytes, kSize - kDirectBlock);
  EXPECT_EQ(other_bytes, 4 + kDirectBlock);
  EXPECT_EQ(turns, 0u);
  EXPECT_TRUE(ReadFile(dir_ / "out") == "head" + std::string(kSize, 's'));
}

// The CRCs of records that are in memory as a whole stand there before they are written; the others, and those of the
// directory at the end, are stored once all is known.
TEST_F(Direct, CrcsOfSmallRecordsAreWrittenWithThem) {
  constexpr uint64_t kRecords = 2000, kSmall = 40'000, kLarge = 3 << 20;
  PlanFile file;
  std::vector<uint64_t> heads;
  for (uint64_t i = 0; i < kRecords; ++i) {
    heads.push_back(file.size);
    file.Append(std::string(30 + i % 7, '\0'));
    const uint64_t size = i % 500 == 1 ? kLarge : kSmall;
    file.crcs.push_back({file.size, size, {}});
    file.Append(std::string(size, static_cast<char>('a' + i % 26)));
  }
  for (uint64_t i = 0; i < kRecords; ++i) {
    file.crcs[i].stores = {heads[i] + 14, file.size};
    file.Append(std::string(4, '\0'));
  }
  Plan plan;
  plan.files.push_back(std::move(file));
  ASSERT_THAT(Execute(plan, dir_ / "past", {}), IsOk());
  EXPECT_TRUE(is_aligned);
  EXPECT_GT(direct_fd, -1);
  EXPECT_LT(other_bytes, plan.files[0].size / 32);  // the directory, and records that two windows share
  sys.reopen_direct = [](int, unsigned) { return -1; };
  ASSERT_THAT(Execute(plan, dir_ / "through", {}), IsOk());
  EXPECT_TRUE(ReadFile(dir_ / "past") == ReadFile(dir_ / "through"));
}

// A journal says what is in the file, so that small writes are no longer kept.
TEST_F(Direct, AnInterruptedRunGoesOnWithAllItsSmallWrites) {
  std::string bytes;
  const Plan plan = Checked(80 << 20, &bytes);
  ExecuteOptions options{.resume = true, .journal_bytes = 4 << 20};
  options.progress = [](std::string_view, uint64_t done, uint64_t total) { return done < total / 4 * 3; };
  ASSERT_THAT(Execute(plan, dir_ / "out", options), StatusIs(ErrorKind::kInterrupted, "interrupted"));
  const uint64_t before = direct_bytes;
  EXPECT_GT(before, bytes.size() / 2);
  options.progress = {};
  ASSERT_THAT(Execute(plan, dir_ / "out", options), IsOk());
  EXPECT_LT(direct_bytes - before, bytes.size() / 2);
  ExpectSameButCrcs(ReadFile(dir_ / "out"), bytes, plan.files[0]);
}

TEST(SmallWritesTest, AreWrittenManyAtOnce) {
  std::vector<std::pair<uint64_t, size_t>> written;
  Status answer;
  SmallWrites small([&](uint64_t offset, std::span<const std::byte> bytes) {
    written.emplace_back(offset, bytes.size());
    return answer;
  });
  const std::vector<std::byte> block(4096);
  ASSERT_THAT(small.Add(8192, block), IsOk());
  ASSERT_THAT(small.Add(100, std::span(block).first(7)), IsOk());
  EXPECT_THAT(written, ::testing::IsEmpty());
  ASSERT_THAT(small.Flush(), IsOk());
  EXPECT_THAT(written, ::testing::ElementsAre(std::pair(8192, 4096), std::pair(100, 7)));
  ASSERT_THAT(small.Flush(), IsOk());
  EXPECT_EQ(written.size(), 2u);
  for (uint64_t i = 0; written.size() == 2; ++i) {
    ASSERT_LT(i, 1000u);  // 4 MiB: it does not keep all of a large file
    ASSERT_THAT(small.Add(i * 8192, block), IsOk());
  }
  EXPECT_GT(written.size(), 100u);
  answer = Status(ErrorKind::kIo, "the disk is full");
  ASSERT_THAT(small.Add(0, block), IsOk());
  EXPECT_THAT(small.Flush(), StatusIs(ErrorKind::kIo, "the disk is full"));
}

TEST_F(Direct, NoRoomToReserveIsADiskFull) {
  sys.reserve = [](int, off_t) {
    errno = ENOSPC;
    return -1;
  };
  std::string bytes;
  EXPECT_THAT(Execute(Checked(80 << 20, &bytes), dir_ / "out", {}), StatusIs(ErrorKind::kIo, "out"));
  EXPECT_TRUE(Tree(dir_.path()).empty());
}

// The device itself, where this file system has direct writes.
TEST(DirectWrites, AreReadBack) {
  const TempDir dir;
  std::string bytes;
  const Plan plan = Checked(80 << 20, &bytes);
  ASSERT_THAT(Execute(plan, dir / "out", {}), IsOk());
  ExpectSameButCrcs(ReadFile(dir / "out"), bytes, plan.files[0]);
}

// Any range, in the cache or not, and what lies behind the end.
TEST(DirectReads, AreTheFilesBytes) {
  const TempDir dir;
  std::string bytes;
  for (uint64_t i = 0; bytes.size() < (3 << 20) + 77; ++i) bytes += std::to_string(i * 2654435761U);
  testing::WriteFile(dir / "file", bytes);
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "file"));
  ASSERT_EQ(::fsync(source->fd()), 0);
  const DirectReader reader(*source);
  BlockBuffer buffer;
  const auto read = [&](uint64_t offset, uint64_t size) {
    const std::span<std::byte> out = buffer.At(offset, size);
    EXPECT_THAT(reader.ReadAt(offset, out), IsOk());
    return std::string(reinterpret_cast<const char*>(out.data()), out.size());
  };
  for (const bool cached : {false, true}) {
    for (const auto& [offset, size] : std::vector<std::pair<uint64_t, uint64_t>>{
             {0, 1 << 20}, {1, 1 << 20}, {4095, 70000}, {8192, 65536}, {100, 200}, {bytes.size() - 70001, 70001}}) {
      if (!cached) ::posix_fadvise(source->fd(), 0, 0, POSIX_FADV_DONTNEED);
      EXPECT_TRUE(read(offset, size) == bytes.substr(offset, size)) << offset << " " << size << " " << cached;
    }
    EXPECT_TRUE(read(0, bytes.size()) == bytes);
  }
  EXPECT_THAT(reader.ReadAt(bytes.size() - 10, buffer.At(bytes.size() - 10, 70000)),
              StatusIs(ErrorKind::kCorrupt, "truncated"));
}

// What is not in the cache is read past it, by whole blocks; what is in it is not.
TEST_F(Direct, ReadsGoPastTheCacheWhereItHoldsNothing) {
  testing::WriteFile(dir_ / "file", std::string(1 << 20, 'x'));
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir_ / "file"));
  sys.pread = [](int fd, void* out, size_t size, off_t offset) -> ssize_t {
    if (fd == direct_fd) {
      direct_bytes += size;
      if (reinterpret_cast<uintptr_t>(out) % kDirectBlock != 0 || size % kDirectBlock != 0) is_aligned = false;
    }
    return ::pread(fd, out, size, offset);
  };
  const DirectReader reader(*source);
  BlockBuffer buffer;
  sys.is_cached = [](int, off_t, size_t) { return true; };
  EXPECT_THAT(reader.ReadAt(5000, buffer.At(5000, 100'000)), IsOk());
  EXPECT_EQ(direct_bytes, 0U);
  sys.is_cached = [](int, off_t, size_t) { return false; };
  EXPECT_THAT(reader.ReadAt(5000, buffer.At(5000, 100'000)), IsOk());
  EXPECT_EQ(direct_bytes, 25U * 4096);  // blocks 1 to 25
  EXPECT_TRUE(is_aligned);
}

TEST(FirstPart, BlocksThatAreWrittenTwiceStandAlone) {
  const TempDir dir;
  const int fd = ::open((dir / "file").c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_GE(fd, 0);
  const Sys real = sys;
  sys.reopen_direct = [](int of, unsigned) { return ::fcntl(of, F_DUPFD_CLOEXEC, 0); };
  PlanFile file;
  file.AppendZeros(100 << 20);
  file.crcs.push_back({0, 10, {(1 << 20) + 4094}});  // in two blocks
  {
    DirectFile direct;
    ASSERT_TRUE(direct.Open(file, fd));
    const auto part = [&](uint64_t begin, uint64_t end) {
      const DirectFile::Part first = direct.FirstPart(begin, end);
      return std::pair(first.end, first.fd >= 0);
    };
    constexpr uint64_t kMiB = 1 << 20;
    EXPECT_EQ(part(0, 2 * kMiB), std::pair(kMiB, true));                            // up to the first such block
    EXPECT_EQ(part(kMiB, 2 * kMiB), std::pair(kMiB + 4096, false));                 // it
    EXPECT_EQ(part(kMiB + 4096, 2 * kMiB), std::pair(kMiB + 8192, false));          // the second
    EXPECT_EQ(part(kMiB + 8192, 2 * kMiB), std::pair(2 * kMiB, true));              // the rest
    EXPECT_EQ(part(100, 2 * kMiB), std::pair(uint64_t{4096}, false));               // to the block's end
    EXPECT_EQ(part(0, 100), std::pair(uint64_t{100}, false));                       // less than a block
    EXPECT_EQ(part(4096, 4096 + 32768), std::pair(uint64_t{4096 + 32768}, false));  // not worth a wait
    EXPECT_EQ(part(2 * kMiB, 3 * kMiB + 5), std::pair(3 * kMiB, true));
  }
  sys = real;
  ::close(fd);
}

}  // namespace
}  // namespace anemone
