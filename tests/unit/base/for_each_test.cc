#include "base/for_each.h"

#include <atomic>
#include <new>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "testing/matchers.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::StatusIs;

TEST(ForEach, DoesEveryItemOnceAndKeepsWorkersApart) {
  for (const unsigned workers : {1U, 2U, 7U}) {
    std::vector<std::atomic<int>> done(1000);
    std::vector<int> by_worker(workers);  // not atomic: the thread sanitizer would see two at once
    EXPECT_THAT(ForEach(done.size(), workers,
                        [&](uint64_t item, unsigned worker) -> Status {
                          ++done[item];
                          ++by_worker[worker];
                          return {};
                        }),
                IsOk());
    for (const std::atomic<int>& count : done) EXPECT_EQ(count, 1);
    EXPECT_EQ(std::accumulate(by_worker.begin(), by_worker.end(), 0), 1000);
  }
  EXPECT_THAT(ForEach(0, 4, [](uint64_t, unsigned) -> Status { return Corrupt("never"); }), IsOk());
}

TEST(ForEach, BeginsNothingAfterAFailure) {
  std::atomic<uint64_t> begun = 0;
  EXPECT_THAT(ForEach(1'000'000, 3,
                      [&](uint64_t item, unsigned) -> Status {
                        ++begun;
                        return item == 5 ? Corrupt("item 5") : Status();
                      }),
              StatusIs(ErrorKind::kCorrupt, "item 5"));
  EXPECT_LT(begun, 1'000'000U);
}

TEST(ForEach, ThrowsInTheCallerWhatAWorkerThrows) {
  for (const unsigned workers : {1U, 4U}) {
    std::atomic<int> begun = 0;
    EXPECT_THROW(static_cast<void>(ForEach(1'000'000, workers,
                                           [&](uint64_t item, unsigned) -> Status {
                                             ++begun;
                                             if (item >= 3) throw std::runtime_error("item");
                                             return {};
                                           })),
                 std::runtime_error);
    EXPECT_LT(begun, 1'000'000) << workers;
  }
}

TEST(ForEach, SaysThatMemoryRanOut) {
  for (const unsigned workers : {1U, 4U}) {
    EXPECT_THAT(ForEach(1000, workers, [](uint64_t, unsigned) -> Status { throw std::bad_alloc(); }),
                StatusIs(ErrorKind::kOutOfMemory, "out of memory"));
  }
}

}  // namespace
}  // namespace anemone
