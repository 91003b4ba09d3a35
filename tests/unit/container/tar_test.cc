#include "container/tar.h"
#include "container/tar_layout.h"

#include <filesystem>

#include "engine/share.h"
#include "render.h"
#include "tar_blocks.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using namespace std::string_literals;
using testing::Contents;
using ::testing::ElementsAre;
using testing::IsOk;
using testing::Memory;
using testing::Render;
using testing::StatusIs;
using testing::TarBlock;
using testing::TarFile;
using testing::TarPax;

std::vector<std::string> Names(const std::vector<TarMember>& members) {
  std::vector<std::string> names;
  for (const TarMember& member : members) names.push_back(member.is_directory ? member.name + "/" : member.name);
  return names;
}

TEST(Tar, ReadsWhatItWrites) {  // TAR-12
  PlanFile file;
  EXPECT_THAT(AppendTarDirectory(file, ""), IsOk());
  EXPECT_THAT(AppendTarDirectory(file, "mp_rank_00"), IsOk());
  EXPECT_THAT(AppendTarHeader(file, "mp_rank_00/model_weights.ckpt", 5), IsOk());
  file.Append("hello"s);
  PadTarMember(file);
  EXPECT_THAT(AppendTarHeader(file, "model_config.yaml", 0), IsOk());
  PadTarMember(file);
  EndTar(file);
  EXPECT_THAT(Check(Plan{.files = {file}, .is_directory = false, .empty_directories = {}}), IsOk());
  EXPECT_EQ(file.size, 10240u);  // TAR-14
  const std::string bytes = Render(file);
  EXPECT_EQ(bytes.substr(0, 2), "./");
  EXPECT_EQ(bytes.substr(1024, 31), "./mp_rank_00/model_weights.ckpt");
  EXPECT_EQ(bytes.substr(1024 + 100, 8), "0000644\0"s);
  EXPECT_EQ(bytes.substr(1024 + 257, 8), "ustar\00000"s);
  EXPECT_TRUE(LooksLikeTar(bytes.substr(0, 512)));
  ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> members, ReadTar(Memory(bytes)));
  EXPECT_THAT(Names(members), ElementsAre("/", "mp_rank_00/", "mp_rank_00/model_weights.ckpt", "model_config.yaml"));
  EXPECT_EQ(Contents(members[2].content), "hello");
  EXPECT_EQ(members[2].mode, 0644u);
  EXPECT_EQ(members[1].mode, 0755u);
}

// TAR-13: wherever in a block content is asked to begin, beside the other records that a header may need.
TEST(TarWriter, ContentBeginsWhereItIsAsked) {
  for (const size_t lead : {0, 512, 5120}) {
    for (uint64_t offset = 0; offset < kBlockBytes; offset += 512) {
      for (const std::string& name : {std::string("short"), std::string(200, 'n')}) {
        PlanFile file;
        if (lead > 0) {
          EXPECT_THAT(AppendTarHeader(file, "lead", lead), IsOk());
          file.Append(std::string(lead, 'l'));
          PadTarMember(file);
        }
        ASSERT_THAT(AppendTarHeader(file, name, 3, offset), IsOk());
        EXPECT_EQ(file.size % kBlockBytes, offset);
        file.Append("abc");
        PadTarMember(file);
        EndTar(file);
        ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> members, ReadTar(Memory(Render(file))));
        EXPECT_EQ(members.back().name, name);
        EXPECT_EQ(Contents(members.back().content), "abc");
      }
    }
  }
  PlanFile file;
  EXPECT_THAT(AppendTarHeader(file, "x", 3, 100), StatusIs(ErrorKind::kInternal, "of a block"));
}

TEST(Tar, WritesLongNamesAndHugeSizes) {  // TAR-13
  const std::string split = std::string(120, 'd') + "/" + std::string(90, 'n');
  const std::string pax = std::string(200, 'n');
  PlanFile file;
  EXPECT_THAT(AppendTarHeader(file, split, 0), IsOk());
  EXPECT_EQ(file.size, 512u);  // by the prefix field alone
  EXPECT_THAT(AppendTarHeader(file, pax, 0), IsOk());
  const uint64_t huge = uint64_t{1} << 33;
  EXPECT_THAT(AppendTarHeader(file, "huge", huge), IsOk());
  const std::string headers = Render(file);
  EXPECT_NE(headers.find("19 size=8589934592\n"), std::string::npos);
  // Content of that size without bytes: only the header is looked at.
  EXPECT_THAT(ReadTar(Memory(headers)), StatusIs(ErrorKind::kCorrupt, "expected at least 8589938176 bytes"));
  ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> members, ReadTar(Memory(headers.substr(0, 512 * 4))));
  EXPECT_THAT(Names(members), ElementsAre(split, pax));
  PlanFile edge;
  EXPECT_THAT(AppendTarHeader(edge, "edge", huge - 1), IsOk());
  EXPECT_EQ(edge.size, 512u);
  EXPECT_EQ(Render(edge).substr(124, 12), "77777777777\0"s);
}

TEST(Tar, ReadsEveryDialect) {
  // PAX as CPython writes it, GNU long names, base 256, the prefix field, an old header without magic.
  const std::string long_name(120, 'g');
  const std::string archive = TarFile({
      TarPax('g', "16 comment=text\n"s),
      TarPax('x', "30 mtime=1700000000.123456789\n"s),
      TarBlock({.name = "./"}, '5'),
      TarPax('x', "24 path=./from/pax/name\n"s),
      TarBlock({.name = "short", .content = "pax"}, '0'),
      TarBlock({.name = "././@LongLink", .content = long_name + "\0"s}, 'L'),
      TarBlock({.name = "ggg", .content = "gnu", .magic = "ustar  \0"s}, '0'),
      TarBlock({.name = "file", .content = "prefixed", .prefix = "some/folder"}, '0'),
      TarBlock({.name = "base256", .content = "b256", .base256 = true}, '0'),
      TarBlock({.name = "./old", .content = "v7", .magic = ""}, '\0'),
      TarPax('x', "10 size=3\n"s),
      TarBlock({.name = "sized", .content = "abc", .size = 0}, '0'),
  });
  ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> members, ReadTar(Memory(archive)));
  EXPECT_THAT(Names(members),
              ElementsAre("/", "from/pax/name", long_name, "some/folder/file", "base256", "old", "sized"));
}

TEST(Tar, AcceptsAMissingEnd) {  // TAR-4
  const std::string block = TarBlock({.name = "a", .content = "x"}, '0');
  EXPECT_THAT(ReadTar(Memory(block)), IsOk());
  EXPECT_THAT(ReadTar(Memory(block + std::string(512, '\0'))), IsOk());
  EXPECT_THAT(ReadTar(Memory(block + std::string(100, '\0'))), StatusIs(ErrorKind::kCorrupt, "[TAR-3]"));
}

TEST(Tar, SaysWhatATruncatedFileLacks) {
  const std::string archive =
      TarFile({TarBlock({.name = "model_weights.ckpt", .content = std::string(5000, 'w')}, '0')});
  EXPECT_THAT(ReadTar(Memory(archive.substr(0, 3000))),
              StatusIs(ErrorKind::kCorrupt,
                       "member \"model_weights.ckpt\": byte 0: expected at least 5632 bytes for the content, "
                       "found 3000: truncated [TAR-3]"));
}

TEST(Tar, RefusesEachBrokenRule) {
  struct Case {
    std::string archive;
    ErrorKind kind;
    std::string words;
  };
  std::string damaged = TarBlock({.name = "a", .content = "x"}, '0');
  damaged[3] = 'b';
  const std::string a = TarBlock({.name = "a", .content = "x"}, '0');
  const Case cases[] = {
      {"", ErrorKind::kCorrupt, "[TAR-1]"},
      {damaged, ErrorKind::kCorrupt, "[TAR-1]"},
      {a + damaged, ErrorKind::kCorrupt, "byte 1024: expected a tar header, found a wrong checksum"},
      {TarBlock({.name = "a", .octal_size = "0000000009x"}, '0'), ErrorKind::kCorrupt, "[TAR-2]"},
      {TarBlock({.name = "a", .octal_size = std::string(12, '\xff')}, '0'), ErrorKind::kCorrupt, "[TAR-2]"},
      {TarBlock({.name = "a", .octal_size = "\x80\0\0\0"s + std::string(8, '\xff')}, '0'), ErrorKind::kCorrupt,
       "[TAR-3]"},
      {TarPax('x', "9 path=b\n"), ErrorKind::kCorrupt,
       "after its PAX or long-name header, found the end of the archive [TAR-3]"},
      {TarPax('x', "999 path=b\n") + a, ErrorKind::kCorrupt, "[TAR-8]"},
      {TarPax('x', "9 path=bb\n") + a, ErrorKind::kCorrupt, "[TAR-8]"},
      {TarPax('x', "10 size=x\n") + a, ErrorKind::kCorrupt, "[TAR-8]"},
      {TarPax('g', "10 path=b\n") + a, ErrorKind::kCorrupt, "[TAR-8]"},
      {TarPax('x', std::string((1 << 20) + 1, ' ')) + a, ErrorKind::kLimitExceeded, "[TAR-8]"},
      {TarBlock({.name = "././@LongLink", .content = std::string((1 << 20) + 1, 'n')}, 'L') + a,
       ErrorKind::kLimitExceeded, "[TAR-8]"},
      {TarPax('x', "26 GNU.sparse.major=1\n   \n") + a, ErrorKind::kUnsupported, "[TAR-5]"},
      {TarBlock({.name = "d", .content = "x"}, '5'), ErrorKind::kCorrupt, "[TAR-10]"},
      {a + TarBlock({.name = "./a"}, '5'), ErrorKind::kCorrupt, "[TAR-7]"},
      {a + TarBlock({.name = "a/b"}, '0'), ErrorKind::kCorrupt, "[TAR-7]"},
      {TarBlock({.name = "a/b"}, '0') + a, ErrorKind::kCorrupt, "[TAR-7]"},
      {TarBlock({.name = ""}, '0'), ErrorKind::kCorrupt, "[TAR-6]"},
      {TarBlock({.name = "."}, '0'), ErrorKind::kCorrupt, "[TAR-6]"},
  };
  for (const Case& c : cases) EXPECT_THAT(ReadTar(Memory(c.archive)), StatusIs(c.kind, c.words));
  for (const std::string& sparse :
       {TarPax('x', "26 GNU.sparse.major=1\n   \n") + a, TarBlock({.name = "s", .content = "x"}, 'S')}) {
    const auto read = ReadTar(Memory(sparse));
    ASSERT_THAT(read, StatusIs(ErrorKind::kUnsupported, "sparse"));
    EXPECT_THAT(read.status().error().hint, ::testing::HasSubstr("without -S"));
  }
}

// `tar -V` begins an archive with its label, which is no member.
TEST(Tar, PassesOverALabel) {  // TAR-5
  const std::string label = TarBlock({.name = "my model"}, 'V'), a = TarBlock({.name = "./a", .content = "1"}, '0');
  ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> members, ReadTar(Memory(TarFile({label, a}))));
  ASSERT_EQ(members.size(), 1U);
  EXPECT_EQ(members[0].name, "a");
  const std::string with_content = TarBlock({.name = "model_config.yaml", .content = "a: 1\n"}, 'V');
  EXPECT_THAT(ReadTar(Memory(with_content + a)), StatusIs(ErrorKind::kUnsupported, "a volume label [TAR-5]"));
}

// As `tar -r` leaves it, and as whoever unpacks it sees it.
TEST(Tar, OfAFileNamedTwiceTheLastOneCounts) {  // TAR-7
  const auto block = [](const char* name, const char* content) {
    return TarBlock({.name = name, .content = content}, '0');
  };
  ANEMONE_ASSERT_ASSIGN(const auto members,
                        ReadTar(Memory(TarFile({block("./a", "old"), block("b", "2"), block("a", "new")}))));
  ASSERT_EQ(members.size(), 3u);
  EXPECT_TRUE(members[0].is_replaced);
  EXPECT_FALSE(members[2].is_replaced);
  EXPECT_EQ(Contents(members[2].content), "new");
}

TEST(Tar, ALinkIsTheFileItPointsTo) {  // TAR-5
  const std::string a = TarBlock({.name = "d/a", .content = "text"}, '0');
  const std::string links = TarBlock({.name = "hard", .link = "./d/a"}, '1') +
                            TarBlock({.name = "d/soft", .link = "a"}, '2') +
                            TarBlock({.name = "d/e/up", .link = "../../d/soft"}, '2') +
                            TarBlock({.name = "sized", .link = "d/a", .size = 4}, '1');
  for (const std::string& archive : {TarFile({a, links}), TarFile({links, a})}) {
    ANEMONE_ASSERT_ASSIGN(const auto members, ReadTar(Memory(archive)));
    ASSERT_EQ(members.size(), 5u);
    for (const TarMember& member : members) EXPECT_EQ(Contents(member.content), "text") << member.name;
  }
  const char* elsewhere[] = {"/etc/passwd", "../x", "d/../../x", "nothing", "d", ""};
  for (const char* link : elsewhere) {
    EXPECT_THAT(ReadTar(Memory(a + TarBlock({.name = "l", .link = link}, '2'))),
                StatusIs(ErrorKind::kUnsupported, "[TAR-5]"))
        << link;
  }
  EXPECT_THAT(ReadTar(Memory(TarBlock({.name = "x", .link = "y"}, '2') + TarBlock({.name = "y", .link = "x"}, '2'))),
              StatusIs(ErrorKind::kUnsupported, "[TAR-5]"));
}

TEST(Tar, HoldsItsLimit) {
  const std::string two = TarBlock({.name = "a"}, '0') + TarBlock({.name = "b"}, '0');
  EXPECT_THAT(ReadTar(Memory(two), 2), IsOk());
  EXPECT_THAT(ReadTar(Memory(two), 1), StatusIs(ErrorKind::kLimitExceeded, "at most 1 members, found more [TAR-11]"));
}

TEST(Tar, KnowsATarByItsFirstBlock) {
  EXPECT_TRUE(LooksLikeTar(TarBlock({.name = "a"}, '0')));
  EXPECT_TRUE(LooksLikeTar(TarBlock({.name = "a", .magic = ""}, '0')));
  EXPECT_FALSE(LooksLikeTar(std::string(512, '\0')));
  EXPECT_FALSE(LooksLikeTar("PK\3\4" + std::string(600, 'x')));
  EXPECT_FALSE(LooksLikeTar("ustar"));
}

TEST(Tar, ReadsEveryNemoFileOfTheGoldenSet) {
  size_t archives = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(testing::Golden(""))) {
    if (!entry.is_regular_file() || entry.path().extension() != ".nemo") continue;
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(entry.path()));
    ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> members, ReadTar(Whole(file)));
    EXPECT_THAT(Names(members), ::testing::Contains("model_config.yaml")) << entry.path();
    ++archives;
  }
  EXPECT_GT(archives, 10u);
}

}  // namespace
}  // namespace anemone
