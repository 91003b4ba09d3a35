#include "base/hasher.h"

#include "testing/matchers.h"

namespace anemone {
namespace {

// The examples of FIPS 180.
TEST(Hasher, KnowsTheStandardsExamples) {
  Hasher sha1(Hasher::Kind::kSha1);
  ASSERT_TRUE(sha1.is_available());
  sha1.Add("abc");
  EXPECT_EQ(sha1.Hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
  Hasher sha256(Hasher::Kind::kSha256);
  sha256.Add("a");
  sha256.Add("bc");
  EXPECT_EQ(sha256.Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace anemone
