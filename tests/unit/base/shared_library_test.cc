#include "base/shared_library.h"

#include <gtest/gtest.h>

#include "testing/matchers.h"

namespace anemone {
namespace {

TEST(SharedLibraryTest, SaysWhichPackageIsMissing) {
  EXPECT_THAT(SharedLibrary::Open({"libanemone_has_none.so.7", "libanemone_has_none.so"}),
              testing::StatusIs(ErrorKind::kUnavailable, "apt-get install libanemone_has_none7"));
  EXPECT_THAT(SharedLibrary::Open({"libanemone2.so.1.0"}),
              testing::StatusIs(ErrorKind::kUnavailable, "apt-get install libanemone2-1.0"));
}

}  // namespace
}  // namespace anemone
