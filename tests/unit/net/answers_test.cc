// What servers answer, taken apart.
#include <optional>

#include "net/http.h"
#include "net/hub_files.h"
#include "net/object_listing.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using ::testing::ElementsAre;
using testing::StatusIs;

// RFC 9110, 14.4.
TEST(Answers, AContentRangeIsOfBytesAndSaysTheSize) {
  const std::optional<ContentRange> range = ParseContentRange("bytes 42-1233/1234");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->begin, 42U);
  EXPECT_EQ(range->end, 1234U);
  EXPECT_EQ(range->size, 1234U);
  const std::optional<ContentRange> none = ParseContentRange("bytes */1234");
  ASSERT_TRUE(none);
  EXPECT_EQ(none->end, 0U);
  EXPECT_EQ(none->size, 1234U);
  for (const char* wrong :
       {"", "bytes", "bytes 0-1", "bytes 0-1/*", "bytes 2-1/4", "bytes 0-4/4", "bytes -1/4", "items 0-1/4",
        "bytes 0-1/4 ", "bytes 0-99999999999999999999/100000000000000000000", "bytes */*", "bytes 0 -1/4"})
    EXPECT_FALSE(ParseContentRange(wrong)) << wrong;
}

// docs.aws.amazon.com, ListObjectsV2, "Response Syntax"; the sample with a continuation token.
TEST(Answers, AListingHasKeysAndMayGoOn) {
  const auto page = internal::ParseObjectListing(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<Name>bucket</Name><Prefix></Prefix><NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</"
      "NextContinuationToken><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated><Contents>"
      "<Key>happyface.jpg</Key><Size>11</Size></Contents><Contents><Key>a &amp; b/&#60;&#xe9;&quot;</Key></Contents>"
      "</ListBucketResult>");
  ASSERT_TRUE(page.ok()) << page.status().message();
  EXPECT_THAT(page->keys, ElementsAre("happyface.jpg", "a & b/<\xc3\xa9\""));
  EXPECT_EQ(page->next, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=");
  const auto last =
      internal::ParseObjectListing("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>");
  ASSERT_TRUE(last.ok());
  EXPECT_TRUE(last->keys.empty());
  EXPECT_TRUE(last->next.empty());
  for (const char* wrong :
       {"", "<html></html>", "<Error><Code>AccessDenied</Code></Error>", "<ListBucketResult><Contents><Key>a",
        "<ListBucketResult><Contents></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>&nbsp;</Key></Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"})
    EXPECT_THAT(internal::ParseObjectListing(wrong), StatusIs(ErrorKind::kUnavailable, "expected a listing")) << wrong;
}

TEST(Answers, TheHubsFilesAreSafePaths) {
  const std::string commit(40, 'a');
  const auto model = internal::ParseHubModel(
      R"({"sha": ")" + commit + R"(", "siblings": [{"rfilename": "config.json"}, {"rfilename": "../../x"}, {}]})",
      "org/x");
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->commit, commit);
  EXPECT_THAT(model->files, ElementsAre("config.json"));
  EXPECT_THAT(internal::ParseHubModel("{}", "org/x"), StatusIs(ErrorKind::kUnavailable, "org/x: expected the commit"));
  EXPECT_THAT(internal::ParseHubModel("<html>", "org/x"), StatusIs(ErrorKind::kCorrupt, "org/x"));
}

TEST(Answers, AnOriginHasNoUser) {
  EXPECT_EQ(HttpOrigin("https://user:secret@Host.org:8080/a?b@c"), "https://host.org:8080");
  EXPECT_EQ(HttpOrigin("http://host"), "http://host");
  EXPECT_EQ(HttpOrigin("host/x"), "");
}

}  // namespace
}  // namespace anemone
