// Every allocation of a run fails in turn, on whatever thread: alone, or with all that follow. Whatever happens: the
// run answers or throws bad_alloc in the calling thread, the destination is absent, old or complete, and no temporary
// name is left.
#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/execute.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace {

std::atomic<bool> armed = false;
std::atomic<bool> stays = false;  // all later ones fail, too
std::atomic<long> left = 0;       // until one fails

void* Allocate(std::size_t size, std::size_t align) {
  if (armed) {
    const long before = left--;
    if (before == 0 || (before < 0 && stays)) throw std::bad_alloc();
  }
  void* const memory =
      align == 0 ? std::malloc(size == 0 ? 1 : size) : std::aligned_alloc(align, (size + align - 1) / align * align);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return Allocate(size, 0); }
void* operator new[](std::size_t size) { return Allocate(size, 0); }
void* operator new(std::size_t size, std::align_val_t align) { return Allocate(size, static_cast<std::size_t>(align)); }
void* operator new[](std::size_t size, std::align_val_t align) {
  return Allocate(size, static_cast<std::size_t>(align));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::TempDir;
using ::anemone::testing::Tree;
using ::anemone::testing::WriteFile;
using Files = std::map<std::string, std::string>;

TEST(MemorySweep, LeavesTheDestinationAbsentOldOrComplete) {
  const TempDir dir;
  WriteFile(dir / "source", std::string(12 << 20, 's'));
  std::filesystem::create_directory(dir / "place");
  Plan plan;
  plan.is_directory = true;
  for (const char* name : {"weights/a", "b"}) {
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
    PlanFile& file = plan.files.emplace_back();
    file.path = name;
    file.Append(*Tensor::FromFile(DType::kF32, {1024, 1024}, source, 0)->Permute({1, 0})->Cast(DType::kF16));
    file.crcs.push_back({0, file.size, {}});
    file.Append(ByteRange{source, 0, 9 << 20});
  }
  for (const bool resume : {false, true}) {
    ExecuteOptions options;
    options.threads = 3;
    options.window_bytes = 1 << 20;
    options.resume = resume;
    options.journal_bytes = 4 << 20;
    std::filesystem::remove_all(dir / "place/out");
    ASSERT_THAT(Execute(plan, dir / "place/out", options), IsOk());
    const Files complete = Tree(dir / "place");
    for (const bool all : {false, true}) {
      int failures = 0;
      for (long n = 0;; n += 1 + n / 40) {
        std::filesystem::remove_all(dir / "place");
        std::filesystem::create_directory(dir / "place");
        stays = all;
        left = n;
        bool done = false, thrown = false;
        Status status;
        armed = true;
        try {
          status = Execute(plan, dir / "place/out", options);
          done = status.ok();
        } catch (const std::bad_alloc&) {
          thrown = true;
        }
        armed = false;
        const bool reached = left < 0;
        if (!done) {
          ++failures;
          if (!thrown) {
            EXPECT_EQ(status.kind(), ErrorKind::kOutOfMemory) << n << ": " << status.message();
          }
        }
        const Files now = Tree(dir / "place");
        const bool is_clean = now.empty() || now == complete;
        // What --resume goes on from stays.
        ASSERT_TRUE(is_clean || (resume && !now.contains("out/"))) << n << (all ? " and all later ones" : "");
        if (!reached) break;
      }
      EXPECT_GT(failures, 20);
    }
  }
}

}  // namespace
}  // namespace anemone
