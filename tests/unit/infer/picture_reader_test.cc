// PictureReader: batches of pictures, read ahead.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "infer/clip_source.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

// Gray pictures of one pixel each, of different brightness; every third file is none.
std::vector<std::string> Files(const std::string& folder, size_t count) {
  std::vector<std::string> paths;
  for (size_t i = 0; i < count; ++i) {
    paths.push_back(folder + "/" + std::to_string(i) + ".pgm");
    std::ofstream(paths.back()) << (i % 3 == 1 ? "no picture" : "P5 1 1 255\n" + std::string(1, static_cast<char>(i)));
  }
  return paths;
}

ClipSpec Spec() {
  ClipSpec spec;
  spec.image_size = spec.preprocess.shortest_edge = spec.preprocess.crop_height = spec.preprocess.crop_width = 2;
  return spec;
}

TEST(PictureReader, GivesWhatReadingEachBatchGives) {
  const testing::TempDir dir;
  const std::vector<std::string> paths = Files(dir.path(), 10);
  for (const size_t batch : {1, 3, 4, 10, 64}) {
    PictureReader reader(paths, batch, Spec());
    for (size_t at = 0; at < paths.size(); at += batch) {
      const size_t end = std::min(paths.size(), at + batch);
      const std::vector<std::string> part(paths.begin() + static_cast<ptrdiff_t>(at),
                                          paths.begin() + static_cast<ptrdiff_t>(end));
      ANEMONE_ASSERT_ASSIGN(const Pictures expected, LoadPictures(part, Spec()));
      ANEMONE_ASSERT_ASSIGN(const Pictures found, reader.Next());
      EXPECT_EQ(found.pixels, expected.pixels);
      EXPECT_EQ(found.loaded, expected.loaded);
      ASSERT_EQ(found.failures.size(), expected.failures.size());
      for (size_t i = 0; i < found.failures.size(); ++i) {
        EXPECT_EQ(found.failures[i].message(), expected.failures[i].message());
      }
      EXPECT_EQ(found.loaded.size() + found.failures.size(), part.size());
    }
  }
}

TEST(PictureReader, MayEndBeforeAllIsRead) {
  const testing::TempDir dir;
  PictureReader reader(Files(dir.path(), 6), 2, Spec());
  ANEMONE_ASSERT_ASSIGN(const Pictures first, reader.Next());
  EXPECT_EQ(first.loaded, std::vector<size_t>{0});
  const PictureReader of_none({}, 2, Spec());
}

// oneTBB keeps something of each thread that comes to it, so that a thread for each batch took time of their square.
TEST(PictureReader, ReadsAllBatchesOnOneThread) {
  const testing::TempDir dir;
  const size_t most = 2 + std::thread::hardware_concurrency();  // this one, the reader, and oneTBB's
  const size_t batches = 8 * most;
  PictureReader reader(Files(dir.path(), batches), 1, Spec());
  std::set<std::string> threads;
  for (size_t i = 0; i < batches; ++i) {
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) threads.insert(thread.path());
    ASSERT_THAT(reader.Next(), testing::IsOk());
  }
  EXPECT_LE(threads.size(), most);
}

// Also what is read ahead, on a thread of its own.
TEST(PictureReader, EndsOnceItsCallerIsCancelled) {
  const testing::TempDir dir;
  std::atomic<int> asked = 0;
  const CancelScope scope([&asked] { return ++asked > 2; });
  PictureReader reader(Files(dir.path(), 6), 6, Spec());
  EXPECT_THAT(reader.Next(), testing::StatusIs(ErrorKind::kInterrupted, "interrupted"));
}

}  // namespace
}  // namespace anemone
