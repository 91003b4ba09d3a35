#include "anemone/status.h"

#include <gtest/gtest.h>

namespace anemone {
namespace {

TEST(StatusTest, SuccessStaysSuccess) {
  const Status ok = Status().In("a").Hint("b").Use("c", "true", "d").OfOption("e").As(ErrorKind::kIo);
  EXPECT_TRUE(ok.ok());
  EXPECT_EQ(ok.message(), "ok");
}

TEST(StatusTest, AnOptionThatIsWrongStandsBehindThePlaces) {
  const Status status = WrongOption("split_rank", "expected 1, found 2").In("x.nemo");
  EXPECT_EQ(status.kind(), ErrorKind::kInvalidArgument);
  EXPECT_EQ(status.message(), "x.nemo: split_rank: expected 1, found 2");
  EXPECT_EQ(status.error().what, "expected 1, found 2");
}

TEST(StatusTest, AdviceIsTheHintAndThenEachRemedy) {
  EXPECT_EQ(Advice(Corrupt("x").error()), "");
  EXPECT_EQ(Advice(Corrupt("x", "wait").error()), "wait");
  const Status one = Corrupt("x").Use("force", "true", "replace it");
  EXPECT_EQ(Advice(one.error()), "use force=true to replace it");
  const Status two =
      Corrupt("x", "wait").Use("artifact", "KEY=FILE", "supply one").Use("set", "KEY=null", "do without");
  EXPECT_EQ(Advice(two.error()), "wait; use artifact=KEY=FILE to supply one, or set=KEY=null to do without");
  const auto flags = [](const Remedy& remedy) { return "--" + remedy.option; };
  EXPECT_EQ(Advice(one.error(), flags), "use --force to replace it");
}

TEST(StatusTest, APlaceIsNamedOnce) {
  EXPECT_EQ(Corrupt("found nothing").In("a/b").In("a/b").In("a").message(), "a: a/b: found nothing");
  EXPECT_TRUE(Status().In("a").ok());
}

TEST(StatusTest, TheFirstAdviceStands) {
  const Status hinted = Corrupt("x", "first").Hint("second");
  EXPECT_EQ(Advice(hinted.error()), "first");
  const Status remedied = Corrupt("x").Use("key", "a", "take a").Hint("second").Use("key", "b", "take b");
  EXPECT_EQ(Advice(remedied.error()), "use key=a to take a");
}

}  // namespace
}  // namespace anemone
