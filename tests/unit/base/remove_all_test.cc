// Removing a folder: on a file system that gives an open file another name when it is removed (NFS, FUSE), too.
#include <dirent.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/sys.h"
#include "testing/temp_dir.h"

namespace {

// Files in `held` are renamed when they are removed, at most so many times.
std::string held;
int hidden = 0;
constexpr int kFiles = 50, kMostHidden = 10 * kFiles;

bool has_memory = true;

}  // namespace

// In place of libc's: what libstdc++ calls, too.
extern "C" __attribute__((visibility("default"))) int unlinkat(int directory, const char* path, int flags) noexcept {
  std::error_code error;
  const std::filesystem::path folder =
      std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(directory), error);
  if (held.empty() || folder != held || flags != 0 || hidden == kMostHidden)
    return static_cast<int>(syscall(SYS_unlinkat, directory, path, flags));
  const std::string name = ".hidden" + std::to_string(hidden++);
  return renameat(directory, path, directory, name.c_str());
}

// In place of libc's: it takes memory.
extern "C" __attribute__((visibility("default"))) DIR* fdopendir(int fd) noexcept {
  if (!has_memory) {
    errno = ENOMEM;
    return nullptr;
  }
  static const auto real = reinterpret_cast<DIR* (*)(int)>(dlsym(RTLD_NEXT, "fdopendir"));
  return real(fd);
}

namespace anemone {
namespace {

using ::anemone::testing::TempDir;
using ::anemone::testing::WriteFile;

TEST(RemoveAll, RemovesFilesFoldersAndLinksThemselves) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "tree/a/b");
  WriteFile(dir / "tree/a/file", "1");
  WriteFile(dir / "kept", "1");
  std::filesystem::create_symlink(dir / "kept", dir / "tree/a/b/link");
  std::filesystem::create_directory_symlink(dir.path(), dir / "tree/up");
  EXPECT_EQ(sys.remove_all((dir / "tree").c_str()), 0);
  EXPECT_FALSE(std::filesystem::exists(dir / "tree"));
  EXPECT_EQ(sys.remove_all((dir / "none").c_str()), 0);
  EXPECT_TRUE(std::filesystem::exists(dir / "kept"));
}

TEST(RemoveAll, NeedsNoMemory) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "tree/a");
  WriteFile(dir / "tree/a/file", "1");
  has_memory = false;
  EXPECT_EQ(sys.remove_all((dir / "tree").c_str()), 0);
  has_memory = true;
  EXPECT_FALSE(std::filesystem::exists(dir / "tree"));
}

TEST(RemoveAll, EndsWhereRemovedFilesComeBackUnderOtherNames) {
  const TempDir dir;
  const std::string place = std::filesystem::canonical(dir.path()).string() + "/folder";
  held = place + "/output";
  std::filesystem::create_directories(held);
  for (int i = 0; i < kFiles; ++i) WriteFile(held + "/" + std::to_string(i), "1");
  EXPECT_EQ(sys.remove_all(place.c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  EXPECT_LE(hidden, 2 * kFiles);
  held.clear();
  EXPECT_EQ(sys.remove_all(place.c_str()), 0);
}

}  // namespace
}  // namespace anemone
