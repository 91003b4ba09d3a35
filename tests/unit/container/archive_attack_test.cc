// Archives that try to escape, to say two things at once, or to cost more than they weigh.
#include "container/tar.h"
#include "container/tar_layout.h"
#include "container/zip.h"
#include "container/zip_layout.h"
#include "render.h"
#include "tar_blocks.h"
#include "testing/matchers.h"
#include "zip_records.h"

namespace anemone {
namespace {

using namespace std::string_literals;
using testing::Deflated;
using testing::IsOk;
using testing::Memory;
using testing::StatusIs;
using testing::TarBlock;
using testing::TarPax;
using testing::ZipEntry;
using testing::ZipFile;

const char* const kUnsafeNames[] = {"../x",  "a/../../x", "a/..",     "..",  "/etc/passwd", "//host/x",
                                    "C:\\x", "c:/x",      "a\\..\\x", "\\x", "a\nb",        "a\x1b[2J"};

TEST(TarAttack, NamesThatEscapeAreRefused) {
  for (const std::string name : kUnsafeNames) {
    EXPECT_THAT(ReadTar(Memory(TarBlock({.name = name}, '0'))), StatusIs(ErrorKind::kCorrupt, "[TAR-6]")) << name;
    const std::string record = " path=" + name + "\n";
    const size_t length = record.size() + 2 - (record.size() + 1 < 10 ? 1 : 0);
    EXPECT_THAT(ReadTar(Memory(TarPax('x', std::to_string(length) + record) + TarBlock({.name = "a"}, '0'))),
                StatusIs(ErrorKind::kCorrupt, "[TAR-6]"))
        << name;
    EXPECT_THAT(ReadTar(Memory(TarBlock({.name = "L", .content = name}, 'L') + TarBlock({.name = "a"}, '0'))),
                StatusIs(ErrorKind::kCorrupt, "[TAR-6]"))
        << name;
    PlanFile file;
    EXPECT_THAT(AppendTarHeader(file, name, 0), StatusIs(ErrorKind::kInvalidArgument, "[TAR-6]")) << name;
  }
  EXPECT_THAT(ReadTar(Memory(TarBlock({.name = "x", .prefix = ".."}, '0'))), StatusIs(ErrorKind::kCorrupt, "[TAR-6]"));
  EXPECT_THAT(ReadTar(Memory(TarPax('x', "12 path=a\0b\n"s) + TarBlock({.name = "a"}, '0'))),
              StatusIs(ErrorKind::kCorrupt, "NUL [TAR-6]"));
}

TEST(TarAttack, WhatIsNoFileIsRefused) {
  const std::string a = TarBlock({.name = "a", .content = "1"}, '0');  // a label may be the first
  for (const char type : "12346SMVDZ"s) {
    EXPECT_THAT(ReadTar(Memory(a + TarBlock({.name = "model_weights.ckpt", .link = "/etc/passwd"}, type))),
                StatusIs(ErrorKind::kUnsupported, "[TAR-5]"));
  }
}

TEST(TarAttack, AMemberIsWhereEveryReaderFindsIt) {
  const std::string a = TarBlock({.name = "a", .content = "1"}, '0');
  // A directory or link with a size hides what follows from readers that skip it.
  EXPECT_THAT(ReadTar(Memory(TarBlock({.name = "d", .size = 512}, '5') + a)),
              StatusIs(ErrorKind::kCorrupt, "[TAR-10]"));
  // The PAX size wins over the header's [POSIX pax].
  ANEMONE_ASSERT_ASSIGN(const auto members,
                        ReadTar(Memory(TarPax('x', "12 size=512\n") +
                                       TarBlock({.name = "h", .content = std::string(512, 'h'), .size = 0}, '0') + a)));
  EXPECT_EQ(members.size(), 2u);
  EXPECT_THAT(ReadTar(Memory(TarPax('g', "12 size=512\n") + a)), StatusIs(ErrorKind::kCorrupt, "[TAR-8]"));
  // Two spellings of one name: unpacking keeps the last.
  ANEMONE_ASSERT_ASSIGN(const auto twice, ReadTar(Memory(a + TarBlock({.name = ".//./a", .content = "2"}, '0'))));
  EXPECT_TRUE(twice[0].is_replaced);
  EXPECT_FALSE(twice[1].is_replaced);
  EXPECT_THAT(ReadTar(Memory(TarPax('x', "29 size=18446744073709551615\n"s) + a)),
              StatusIs(ErrorKind::kCorrupt, "[TAR-3]"));
}

TEST(ZipAttack, NamesThatEscapeAreRefused) {
  for (const std::string name : kUnsafeNames) {
    EXPECT_THAT(ZipArchive::Open(Memory(ZipFile({{.name = name, .content = "1"}}, {}))),
                StatusIs(ErrorKind::kCorrupt, "[ZIP-7]"))
        << name;
    PlanFile file;
    ZipLayout layout(file);
    EXPECT_THAT(layout.Add(name, ""s), StatusIs(ErrorKind::kInvalidArgument, "[ZIP-7]")) << name;
  }
}

// A scanner that walks local headers and a loader that walks the directory must see one archive.
TEST(ZipAttack, DirectoryAndLocalHeadersMustAgree) {
  const ZipEntry lies[] = {
      {.name = "archive/data.pkl", .content = "evil", .local_name = "archive/data.txt"},
      {.name = "archive/data.pkl", .content = "evil", .local_size = 2},
      {.name = "archive/data.pkl", .content = "evil", .local_crc = 7},
      {.name = "archive/data.pkl", .content = "evil", .local_method = 8},
      {.name = "archive/data.pkl", .content = "evil", .descriptor = true, .descriptor_crc = 7},
  };
  for (const ZipEntry& lie : lies)
    EXPECT_THAT(ZipArchive::Open(Memory(ZipFile({lie}, {}))), StatusIs(ErrorKind::kCorrupt, "[ZIP-5]"));
}

TEST(ZipAttack, OneDirectoryOnly) {
  const std::string inner = ZipFile({{.name = "a", .content = "good"}}, {});
  EXPECT_THAT(ZipArchive::Open(Memory(ZipFile({{.name = "a", .content = "evil"}}, {.comment = inner}))),
              StatusIs(ErrorKind::kCorrupt, "[ZIP-2]"));
  EXPECT_THAT(ZipArchive::Open(Memory(inner + ZipFile({{.name = "a", .content = "evil"}}, {}))),
              StatusIs(ErrorKind::kCorrupt, "[ZIP-3]"));
  EXPECT_THAT(ZipArchive::Open(Memory(ZipFile({{.name = "a", .content = "evil"}}, {.zip64 = true, .count64 = 0}))),
              StatusIs(ErrorKind::kCorrupt, "[ZIP-3]"));
}

// "A better zip bomb": many members over the same bytes.
TEST(ZipAttack, OverlappingMembersAreRefused) {
  const ZipEntry first{.name = "same", .content = "12345"};
  EXPECT_THAT(ZipArchive::Open(
                  Memory(ZipFile({first, {.name = "same2", .content = "12345", .local_name = "x", .offset = 0}}, {}))),
              StatusIs(ErrorKind::kCorrupt, "[ZIP-5]"));
  // A member whose payload holds another's local header, both honest: the outer one is quoted whole.
  const std::string inner_file = ZipFile({{.name = "in", .content = "7"}}, {});
  const std::string local = inner_file.substr(0, 30 + 2 + 1);
  const ZipEntry outer{.name = "ou", .content = local}, inner{.name = "in", .content = "7", .offset = 30 + 2};
  const std::string file = ZipFile({outer, inner}, {});
  EXPECT_THAT(ZipArchive::Open(Memory(file)), StatusIs(ErrorKind::kCorrupt, "found it inside \"ou\" [ZIP-6]"));
}

TEST(ZipAttack, BombsAreBounded) {
  EXPECT_THAT(
      ZipArchive::Open(Memory(ZipFile({{.name = "b", .content = Deflated("x"), .method = 8, .size = 0x7fffffff}}, {}))),
      StatusIs(ErrorKind::kCorrupt, "[ZIP-8]"));
  EXPECT_THAT(ZipArchive::Open(Memory(ZipFile({}, {.count = 65535}))), StatusIs(ErrorKind::kCorrupt, "[ZIP-3]"));
}

}  // namespace
}  // namespace anemone
