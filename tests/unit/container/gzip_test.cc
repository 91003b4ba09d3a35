#include "container/gzip.h"

#include <atomic>
#include <thread>

#include "container/tar.h"
#include "render.h"
#include "tar_blocks.h"
#include "testing/matchers.h"
#include "zip_records.h"

namespace anemone {
namespace {

using namespace std::string_literals;
using testing::Contents;
using testing::Deflated;
using testing::IsOk;
using testing::StatusIs;

std::string Gzip(const std::string& text) { return Deflated(text, 15 + 16); }
Result<ByteSourcePtr> Open(std::string bytes, const GzipOptions& options = {}) {
  return OpenGzip(MemorySource(std::move(bytes), "x.nemo"), options);
}

// Compresses about four to one and nowhere repeats itself for long.
std::string Noise(size_t size) {
  std::string text(size, '\0');
  uint32_t random = 1;
  for (char& c : text) {
    random = random * 1664525u + 1013904223u;
    c = static_cast<char>('a' + (random >> 30));
  }
  return text;
}

TEST(Gzip, ReadsMembersOneAfterAnother) {  // GZ-5
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source,
                        Open(Gzip("one, ") + Gzip("") + Gzip("two") + std::string(700, '\0')));
  EXPECT_EQ(source->size_bytes(), 8u);
  EXPECT_EQ(source->name(), "x.nemo");
  EXPECT_EQ(Contents(Whole(source)), "one, two");
  EXPECT_EQ(Contents(*Whole(source).Sub(5, 3)), "two");
  EXPECT_EQ(Contents(*Whole(source).Sub(0, 3)), "one");
  std::string beyond(9, '\0');
  EXPECT_THAT(source->ReadAt(0, std::as_writable_bytes(std::span(beyond))),
              StatusIs(ErrorKind::kCorrupt, "found an end at 8"));
}

TEST(Gzip, ReadsHeadersWithEveryField) {
  const std::string plain = Gzip("text");
  const std::string fields = "\x1f\x8b\x08\x1e\0\0\0\0\0\x03\3\0abcname\0comment\0\xaa\xbb"s + plain.substr(10);
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, Open(fields));
  EXPECT_EQ(Contents(Whole(source)), "text");
}

TEST(Gzip, ReadsAtRandomFromAnyThread) {
  const std::string text = Noise(6 << 20);
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, Open(Gzip(text.substr(0, 5 << 20)) + Gzip(text.substr(5 << 20))));
  ASSERT_EQ(source->size_bytes(), text.size());
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([&, seed] {
      uint32_t random = seed;
      for (int i = 0; i < 20; ++i) {
        random = random * 1664525u + 1013904223u;
        std::string part((random >> 8) % 100'000, '\0');
        const uint64_t from = random % (text.size() - part.size());
        const bool ok = source->ReadAt(from, std::as_writable_bytes(std::span(part))).ok();
        if (!ok || text.compare(from, part.size(), part) != 0) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// Blocks of about a kilobyte, a point wanted at each: they are thinned out again and again, and reads stay right.
TEST(Gzip, KeepsItsIndexSmall) {
  const std::string text = Noise(4 << 20);
  const std::string packed = Deflated(text, 15 + 16, /*mem_level=*/1);
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, Open(packed, {.restart_bytes = 512}));
  for (uint64_t from = 7; from < text.size() - 100; from = from * 3 + 1) {
    EXPECT_EQ(Contents(*Whole(source).Sub(text.size() - 100 - from, 100)), text.substr(text.size() - 100 - from, 100));
  }
}

TEST(Gzip, HoldsATar) {
  using testing::TarBlock;
  const std::string tar = testing::TarFile({TarBlock({.name = "./model_config.yaml", .content = "a: 1\n"}, '0')});
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, Open(Gzip(tar)));
  ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> members, ReadTar(Whole(source)));
  ASSERT_EQ(members.size(), 1u);
  EXPECT_EQ(Contents(members[0].content), "a: 1\n");
}

TEST(Gzip, RefusesEachBrokenRule) {
  const std::string text = Noise(5000), good = Gzip(text);
  const auto changed = [&](size_t at, char to) {
    std::string bytes = good;
    bytes[at < good.size() ? at : good.size() + at] = to;
    return bytes;
  };
  struct Case {
    std::string bytes;
    ErrorKind kind;
    std::string words;
  };
  const Case cases[] = {
      {"PK\3\4", ErrorKind::kCorrupt, "expected a gzip stream, found other bytes at 0 [GZ-1]"},
      {changed(2, 7), ErrorKind::kUnsupported, "[GZ-1]"},
      {changed(3, '\x80'), ErrorKind::kUnsupported, "[GZ-1]"},
      {changed(10, '\7'), ErrorKind::kCorrupt, "[GZ-2]"},
      {"", ErrorKind::kCorrupt, "[GZ-3]"},
      {good.substr(0, 5), ErrorKind::kCorrupt, "[GZ-3]"},
      {good.substr(0, good.size() / 2), ErrorKind::kCorrupt, "truncated [GZ-3]"},
      {good.substr(0, good.size() - 8), ErrorKind::kCorrupt, "[GZ-3]"},
      {good.substr(0, good.size() - 1), ErrorKind::kCorrupt, "[GZ-3]"},
      {changed(good.size() - 5, good[good.size() - 5] ^ 1), ErrorKind::kCorrupt,
       "expected the member's CRC, found another"},
      {changed(good.size() - 1, 1), ErrorKind::kCorrupt, "modulo 4 GiB, found 5000 [GZ-4]"},
      {good + "junk", ErrorKind::kCorrupt, "[GZ-5]"},
  };
  for (const Case& c : cases) EXPECT_THAT(Open(c.bytes), StatusIs(c.kind, c.words));
}

TEST(Gzip, BoundsBombs) {  // GZ-6
  const std::string bomb = Gzip(std::string(8 << 20, '\0'));
  EXPECT_THAT(Open(bomb, {.max_ratio = 100, .ratio_free_bytes = 1 << 20}),
              StatusIs(ErrorKind::kLimitExceeded, "[GZ-6]"));
  EXPECT_THAT(Open(bomb), IsOk());
}

}  // namespace
}  // namespace anemone
