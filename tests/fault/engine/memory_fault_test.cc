// Every allocation of a run fails in turn, on whatever thread: alone, or with all that follow. Whatever happens: the
// run answers or throws bad_alloc in the calling thread, the destination is absent, old or complete, and no temporary
// name is left.
#include <atomic>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/sys.h"
#include "base/tree.h"
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
// The library's temporary buffers ask this way, and fall back on less where it fails.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return Allocate(size, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t& nothrow) noexcept { return operator new(size, nothrow); }
void* operator new(std::size_t size, std::align_val_t align) { return Allocate(size, static_cast<std::size_t>(align)); }
void* operator new[](std::size_t size, std::align_val_t align) {
  return Allocate(size, static_cast<std::size_t>(align));
}
// GCC inlines one half of the pair and takes the other for the standard's.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

#pragma GCC diagnostic pop

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::TempDir;
using ::anemone::testing::Tree;
using ::anemone::testing::WriteFile;
using Files = std::map<std::string, std::string>;

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// Enough for two threads: a cast, a transpose, a CRC and a range for the kernel in each of two files.
Plan SomePlan(const ByteSourcePtr& source) {
  Plan plan;
  plan.is_directory = true;
  for (const char* name : {"weights/a", "b"}) {
    PlanFile& file = plan.files.emplace_back();
    file.path = name;
    file.Append(*Tensor::FromFile(DType::kF32, {1024, 1024}, source, 0)->Permute({1, 0})->Cast(DType::kF16));
    file.crcs.push_back({0, file.size, {}});
    file.Append(ByteRange{source, 0, 3 << 20});
  }
  return plan;
}

enum class Mode { kNew, kReplace, kResume };

class ExecuteMemory : public ::testing::TestWithParam<Mode> {};

TEST_P(ExecuteMemory, LeavesTheDestinationAbsentOldOrComplete) {
  const TempDir dir;
  WriteFile(dir / "source", std::string(4 << 20, 's'));
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
  const Plan plan = SomePlan(source);
  const std::string place = dir / "place", out = place + "/out";
  const bool replace = GetParam() == Mode::kReplace, resume = GetParam() == Mode::kResume;
  const auto real_fsync = std::exchange(sys.fsync, [](int) { return 0; });  // durability is not what is tested
  const auto prepare = [&] {
    std::filesystem::remove_all(place);
    std::filesystem::create_directories(replace ? out : place);
    if (replace) WriteFile(out + "/old", "old");
  };
  ExecuteOptions options;
  options.threads = 3;
  options.window_bytes = 1 << 20;
  options.journal_bytes = 2 << 20;
  prepare();
  std::filesystem::remove_all(out);
  ASSERT_THAT(Execute(plan, out, options), IsOk());
  const Files complete = Tree(place);
  prepare();
  const Files before = Tree(place);
  options.resume = resume;
  options.replace = replace;
  options.may_replace = [](const std::string&) { return Status(); };
  for (const bool all : {false, true}) {
    int failures = 0;
    for (long n = 0;; n += 1 + n / 20) {
      prepare();
      const size_t descriptors = OpenDescriptors();
      const std::string moment = "allocation " + std::to_string(n) + (all ? " and all later ones" : "");
      stays = all;
      left = n;
      bool thrown = false;
      Status status;
      armed = true;
      try {
        status = Execute(plan, out, options);
      } catch (const std::bad_alloc&) {
        thrown = true;
      }
      armed = false;
      const bool reached = left < 0;
      if (thrown || !status.ok()) ++failures;
      if (!thrown && !status.ok()) {
        ASSERT_EQ(status.kind(), ErrorKind::kOutOfMemory) << moment << ": " << status.message();
      }
      const Files now = Tree(place);
      // What --resume goes on from stays.
      const bool is_clean = now == complete || now == before || (resume && !now.contains("out/"));
      ASSERT_TRUE(is_clean) << moment;
      ASSERT_TRUE(thrown || !status.ok() || now == complete) << moment;
      ASSERT_EQ(OpenDescriptors(), descriptors) << moment;
      if (!reached) break;
    }
    EXPECT_GT(failures, 20);
  }
  sys.fsync = real_fsync;
}

// std::filesystem's iterators end the process.
TEST(MemorySweep, AFolderIsListedOrThrows) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "place/a folder with a long name/inside");
  WriteFile(dir / "place/a folder with a long name/inside/a file with a long name", "x");
  std::filesystem::create_symlink("a folder with a long name", dir / "place/link");
  std::filesystem::create_symlink("nothing", dir / "place/dangling");
  const auto names = [&] {
    std::string all;
    const Result<std::vector<TreeEntry>> entries = ListTree(dir / "place");
    for (const TreeEntry& entry : *entries) all += entry.name + (S_ISDIR(entry.info.st_mode) ? "/\n" : "\n");
    return all;
  };
  EXPECT_EQ(names(),
            "a folder with a long name/\ndangling\nlink\na folder with a long name/inside/\n"
            "a folder with a long name/inside/a file with a long name\n");
  int thrown = 0;
  for (long n = 0;; ++n) {
    const size_t descriptors = OpenDescriptors();
    left = n;
    armed = true;
    try {
      static_cast<void>(names());
    } catch (const std::bad_alloc&) {
      ++thrown;
    }
    armed = false;
    ASSERT_EQ(OpenDescriptors(), descriptors) << n;
    if (left >= 0) break;
  }
  EXPECT_GT(thrown, 10);
}

INSTANTIATE_TEST_SUITE_P(All, ExecuteMemory, ::testing::Values(Mode::kNew, Mode::kReplace, Mode::kResume));

}  // namespace
}  // namespace anemone
