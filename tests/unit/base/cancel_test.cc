#include "base/cancel.h"
#include "base/progress.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <span>
#include <thread>

#include "anemone/bytes.h"
#include "base/for_each.h"
#include "base/sys.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::StatusIs;

TEST(Cancel, IsAskedOfEveryScopeAround) {
  EXPECT_FALSE(CancelRequested());
  bool outer = false, inner = false;
  {
    const CancelScope a([&outer] { return outer; });
    {
      const CancelScope b([&inner] { return inner; });
      const CancelScope never({});
      EXPECT_FALSE(CancelRequested());
      outer = true;
      EXPECT_TRUE(CancelRequested());
      outer = false;
      inner = true;
      EXPECT_TRUE(CancelRequested());
    }
    EXPECT_FALSE(CancelRequested());
    outer = true;
    EXPECT_TRUE(CancelRequested());
  }
  EXPECT_FALSE(CancelRequested());
}

TEST(Cancel, ReachesTheThreadsOfForEachAndNoOthers) {
  std::atomic<int> begun = 0;
  const CancelScope scope([&begun] { return begun == 4; });
  const auto wait = [&begun](uint64_t, unsigned) -> Status {
    ++begun;
    while (!CancelRequested()) std::this_thread::yield();
    return {ErrorKind::kInterrupted, "interrupted"};
  };
  EXPECT_THAT(ForEach(4, 4, wait), StatusIs(ErrorKind::kInterrupted, "interrupted"));
  EXPECT_TRUE(CancelRequested());
  bool elsewhere = true;
  std::thread([&elsewhere] { elsewhere = CancelRequested(); }).join();
  EXPECT_FALSE(elsewhere);
  EXPECT_THAT(ForEach(8, 4, [](uint64_t, unsigned) -> Status { return {}; }), IsOk());
}

TEST(Cancel, EndsCallsThatAreInterruptedAgainAndAgain) {
  const testing::TempDir dir;
  testing::WriteFile(dir / "file", "content");
  const Result<ByteSourcePtr> file = OpenFile(dir / "file");
  ASSERT_THAT(file, IsOk());
  const Sys real = sys;
  sys.pread = [](int, void*, size_t, off_t) -> ssize_t {
    errno = EINTR;
    return -1;
  };
  sys.pwrite = [](int, const void*, size_t, off_t) -> ssize_t {
    errno = EINTR;
    return -1;
  };
  int asked = 0;
  const CancelScope scope([&asked] { return ++asked % 10 == 0; });
  std::byte byte{};
  EXPECT_FALSE((*file)->ReadAt(0, std::span(&byte, 1)).ok());
  EXPECT_FALSE(WriteAll(0, std::span(&byte, 1), 0));
  EXPECT_EQ(errno, EINTR);
  EXPECT_EQ(asked, 20);
  sys = real;
}

TEST(Cancel, AsksAProgressFunctionFromOneThreadAtATime) {
  std::atomic<int> inside = 0, calls = 0;
  const auto cancelled = CancelledBy(
      [&](std::string_view stage, uint64_t done, uint64_t total) {
        EXPECT_EQ(++inside, 1);
        EXPECT_EQ(stage, "waiting");
        EXPECT_EQ(done + total, 0U);
        --inside;
        return ++calls < 3;
      },
      "waiting");
  const CancelScope scope(cancelled);
  EXPECT_THAT(ForEach(4, 4,
                      [](uint64_t, unsigned) -> Status {
                        while (!CancelRequested()) std::this_thread::yield();
                        return {};
                      }),
              IsOk());
  EXPECT_EQ(calls, 3);
  EXPECT_FALSE(CancelledBy(nullptr, "waiting"));
}

}  // namespace
}  // namespace anemone
