#include "base/cancel.h"
#include "base/progress.h"

#include <atomic>
#include <thread>

#include "base/for_each.h"
#include "testing/matchers.h"

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
