#include "anemone/bytes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/closed_file.h"
#include "base/packed_source.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::ReadFile;
using ::anemone::testing::StatusIs;
using ::anemone::testing::TempDir;
using ::anemone::testing::WriteFile;

struct Change {
  const char* name;
  std::function<void(const std::string& path, const std::string& other)> make;
  const char* open_says;    // "": no change
  const char* closed_says;  // where the file is opened for each read
};

void SetTimesBack(const std::string& path, const struct stat& before) {
  const struct timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

void Rewrite(const std::string& path, const std::string& /*other*/) {
  struct stat before;
  ASSERT_EQ(stat(path.c_str(), &before), 0);
  WriteFile(path, "new");
  SetTimesBack(path, before);
}

TEST(FileSourceTest, ChangesAreSeenAndWhatChangesNoContentIsNone) {
  constexpr const char* kChanged = "changed while it was read";
  constexpr const char* kSetBack = "changed while it was read: its ctime is another, though its mtime is not";
  const Change changes[] = {
      {"none", [](auto&, auto&) {}, "", ""},
      {"read", [](auto& path, auto&) { EXPECT_EQ(ReadFile(path), "old"); }, "", ""},
      {"written", [](auto& path, auto&) { WriteFile(path, "longer"); }, kChanged, kChanged},
      {"rewritten, times set back", Rewrite, kSetBack, kSetBack},
      {"replaced",
       [](auto& path, auto& other) {
         WriteFile(other, "old");
         std::filesystem::rename(other, path);
       },
       kChanged, kChanged},
      {"replaced by a copy of the same times",
       [](auto& path, auto& other) {
         struct stat before;
         ASSERT_EQ(stat(path.c_str(), &before), 0);
         WriteFile(other, "new");
         SetTimesBack(other, before);
         std::filesystem::rename(other, path);
       },
       kChanged, kChanged},
      {"mode", [](auto& path, auto&) { ASSERT_EQ(chmod(path.c_str(), 0400), 0); }, "", ""},
      {"linked", [](auto& path, auto& other) { std::filesystem::create_hard_link(path, other); }, "", ""},
      {"moved away", [](auto& path, auto& other) { std::filesystem::rename(path, other); }, "", kChanged},
      {"removed", [](auto& path, auto&) { std::filesystem::remove(path); }, "", kChanged},
      {"rewritten, then moved away",
       [](auto& path, auto& other) {
         WriteFile(path, "longer");
         std::filesystem::rename(path, other);
       },
       kChanged, kChanged},
  };
  for (const Change& change : changes) {
    SCOPED_TRACE(change.name);
    const TempDir dir;
    const std::string path = dir / "source";
    WriteFile(path, "old");
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr open, OpenFile(path));
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr closed, OpenFileEachTime(path));
    usleep(20'000);  // the file system's clock ticks
    change.make(path, dir / "other");
    for (const auto& [source, says] : {std::pair(open, change.open_says), std::pair(closed, change.closed_says)}) {
      const Status status = source->CheckUnchanged();
      if (*says == '\0') {
        EXPECT_THAT(status, IsOk());
      } else {
        EXPECT_THAT(status, StatusIs(ErrorKind::kIo, says));
        EXPECT_EQ(status.error().what.size(), std::string_view(says).size()) << status.error().what;
      }
    }
  }
}

TEST(PackedSourceTest, GivesAnyRangeOfItsBytes) {
  std::string bytes;
  for (int i = 0; i < 5000; ++i) bytes += "item " + std::to_string(i) + ", ";
  for (const std::string& text : {bytes, std::string("short"), std::string()}) {
    const ByteSourcePtr source = PackedSource(text, "index");
    EXPECT_EQ(source->name(), "index");
    ASSERT_EQ(source->size_bytes(), text.size());
    EXPECT_EQ(*Whole(source).ReadAll(text.size()), text);
    const uint64_t last = std::min<uint64_t>(text.size(), 20);
    EXPECT_EQ(*ByteRange({source, text.size() - last, last}).ReadAll(last), text.substr(text.size() - last));
    std::byte more;
    EXPECT_THAT(source->ReadAt(text.size(), std::span(&more, 1)), StatusIs(ErrorKind::kCorrupt, ""));
  }
}

}  // namespace
}  // namespace anemone
