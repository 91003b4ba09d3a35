#include "container/zip.h"
#include "container/zip_layout.h"

#include <zlib.h>

#include <filesystem>

#include "render.h"
#include "testing/matchers.h"
#include "zip_records.h"

namespace anemone {
namespace {

using namespace std::string_literals;
using testing::Contents;
using testing::Deflated;
using ::testing::ElementsAre;
using testing::IsOk;
using testing::Memory;
using testing::Render;
using testing::StatusIs;
using testing::ZipEntry;
using testing::ZipFile;

std::vector<std::string> Names(const ZipArchive& zip) {
  std::vector<std::string> names;
  for (const ZipMember& member : zip.members()) names.emplace_back(member.name);
  return names;
}

TEST(Zip, WritesEveryNameOnce) {  // ZIP-7
  PlanFile file;
  ZipLayout zip(file);
  for (const char* name : {"w/data/1", "w/data/2", "W/DATA/1"}) EXPECT_THAT(zip.Add(name, "x"s), IsOk());
  EXPECT_THAT(zip.Finish(), StatusIs(ErrorKind::kInvalidArgument, "found \"W/DATA/1\" again [ZIP-7]"));
}

TEST(Zip, ReadsWhatItWrites) {  // ZIP-10, ZIP-11
  PlanFile file;
  file.Append("a tar header would be here"s);
  const uint64_t start = file.size;
  ZipLayout zip(file);
  ANEMONE_ASSERT_ASSIGN(const Tensor tensor, Tensor::FromBytes(DType::kU8, {5}, "hello"));
  EXPECT_THAT(zip.Add("w/data.pkl", "\x80\2N."s), IsOk());
  EXPECT_THAT(zip.Add("w/data/0", tensor), IsOk());
  EXPECT_THAT(zip.Add("w/data/1", Memory(std::string(1000, 'x'))), IsOk());
  EXPECT_THAT(zip.Add("w/data/2", Memory("")), IsOk());
  EXPECT_THAT(zip.Add("../x", ""s), StatusIs(ErrorKind::kInvalidArgument, "[ZIP-7]"));
  EXPECT_THAT(zip.Finish(), IsOk());
  EXPECT_THAT(Check(Plan{.files = {file}, .is_directory = false, .empty_directories = {}}), IsOk());

  const std::string bytes = Render(file);
  ANEMONE_ASSERT_ASSIGN(const ByteRange slice, Memory(bytes).Sub(start, bytes.size() - start));
  ANEMONE_ASSERT_ASSIGN(const ZipArchive read, ZipArchive::Open(slice));
  EXPECT_THAT(Names(read), ElementsAre("w/data.pkl", "w/data/0", "w/data/1", "w/data/2"));
  EXPECT_EQ(Contents(read.Find("w/data/0")->content), "hello");
  EXPECT_EQ(Contents(read.Find("w/data.pkl")->content), "\x80\2N."s);
  EXPECT_EQ(Contents(read.Find("w/data/2")->content), "");
  EXPECT_EQ(read.Find("nothing"), nullptr);
  for (const ZipMember& member : read.members()) {
    EXPECT_EQ((member.content.offset - start) % 64, 0u) << member.name;
    EXPECT_EQ(member.crc32, crc32(0, reinterpret_cast<const Bytef*>(Contents(member.content).data()),
                                  static_cast<uInt>(member.size)));
  }
}

// Nothing is executed: the headers of a plan with 5 GiB in it, at the places the plan says.
TEST(Zip, LaysOutMembersAndOffsetsBeyond4GiB) {  // ZIP-12
  PlanFile file;
  ZipLayout zip(file);
  const uint64_t huge = (uint64_t{5} << 30) + 3;
  ANEMONE_ASSERT_ASSIGN(const Tensor tensor, Tensor::Fill(DType::kU8, {huge}, 0));
  ANEMONE_ASSERT_ASSIGN(const Tensor edge, Tensor::Fill(DType::kU8, {0xffffffff}, 0));
  EXPECT_THAT(zip.Add("small", "s"s), IsOk());
  EXPECT_THAT(zip.Add("huge", tensor), IsOk());
  EXPECT_THAT(zip.Add("behind", "b"s), IsOk());
  EXPECT_THAT(zip.Add("edge", edge), IsOk());
  EXPECT_THAT(zip.Finish(), IsOk());
  EXPECT_THAT(Check(Plan{.files = {file}, .is_directory = false, .empty_directories = {}}), IsOk());
  // A source that holds the plan's literals and is zero elsewhere.
  struct Sparse final : ByteSource {
    explicit Sparse(const PlanFile& f) : file(f) {}
    uint64_t size_bytes() const override { return file.size; }
    Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
      std::ranges::fill(out, std::byte{0});
      for (const Segment& segment : file.segments) {
        const auto* literal = std::get_if<std::string_view>(&segment.content);
        for (uint64_t i = 0; literal != nullptr && i < segment.size; ++i) {
          const uint64_t at = segment.offset + i;
          if (at >= offset && at < offset + out.size()) out[at - offset] = static_cast<std::byte>((*literal)[i]);
        }
      }
      return {};
    }
    const std::string& name() const override { return file.path; }
    const PlanFile& file;
  };
  ANEMONE_ASSERT_ASSIGN(const ZipArchive read, ZipArchive::Open(Whole(std::make_shared<Sparse>(file))));
  EXPECT_THAT(Names(read), ElementsAre("small", "huge", "behind", "edge"));
  EXPECT_EQ(read.Find("huge")->size, huge);
  EXPECT_EQ(read.Find("edge")->size, 0xffffffffu);
  EXPECT_EQ(Contents(read.Find("behind")->content), "b");
  EXPECT_GT(read.Find("behind")->content.offset, huge);
}

TEST(Zip, ReadsWhatOthersWrite) {
  // Descriptors as torch writes them, deflated members, directories, a comment, local extra fields the directory lacks.
  const std::string text(100'000, 'd');
  const std::string archive =
      ZipFile({{.name = "archive/data.pkl", .content = "N.", .descriptor = true, .local_extra = "FB\3\0ZZZ"s},
               {.name = "archive/", .content = ""},
               {.name = "archive/", .content = ""},
               {.name = "archive/version", .content = "3\n"},
               {.name = "archive/data/0", .content = Deflated(text), .method = 8, .size = text.size(), .crc_of = text}},
              {.comment = "made by hand"});
  ANEMONE_ASSERT_ASSIGN(const ZipArchive zip, ZipArchive::Open(Memory(archive)));
  EXPECT_THAT(Names(zip), ElementsAre("archive/data.pkl", "archive/version", "archive/data/0"));
  EXPECT_EQ(Contents(zip.members()[0].content), "N.");
  EXPECT_TRUE(zip.members()[2].deflated);
  EXPECT_EQ(Contents(zip.members()[2].content), text);
  ANEMONE_ASSERT_ASSIGN(const ByteRange middle, zip.members()[2].content.Sub(50'000, 10));
  EXPECT_EQ(Contents(middle), "dddddddddd");
  EXPECT_THAT(ZipArchive::Open(Memory(ZipFile({}, {}))), IsOk());
  EXPECT_THAT(ZipArchive::Open(Memory(ZipFile({{.name = "a", .content = "1"}}, {.zip64 = true}))), IsOk());
}

// Directories hold nothing and may come again, even under a file's name (ZIP-7). Some writers leave every number of the
// end record to zip64 (ZIP-3, ZIP-9).
TEST(Zip, ReadsRepeatedDirectoriesAndFullEndRecords) {
  const std::string twice = testing::ZipFile(
      {{.name = "a/"}, {.name = "a/b", .content = "x"}, {.name = "a/"}, {.name = "a/b/"}, {.name = "a/c"}}, {});
  ANEMONE_ASSERT_ASSIGN(const ZipArchive directories, ZipArchive::Open(Memory(twice)));
  EXPECT_THAT(Names(directories), ElementsAre("a/b", "a/c"));

  const std::string dotted =
      testing::ZipFile({{.name = "./"}, {.name = "./a/"}, {.name = "./a/b", .content = "x"}}, {});
  ANEMONE_ASSERT_ASSIGN(const ZipArchive of_bsdtar, ZipArchive::Open(Memory(dotted)));
  EXPECT_THAT(Names(of_bsdtar), ElementsAre("./a/b"));

  std::string full = testing::ZipFile({{.name = "a", .content = "x"}}, {.zip64 = true});
  for (size_t at = full.size() - 18; at < full.size() - 2; ++at) full[at] = '\xff';
  ANEMONE_ASSERT_ASSIGN(const ZipArchive zip64, ZipArchive::Open(Memory(full)));
  EXPECT_THAT(Names(zip64), ElementsAre("a"));
  std::string alone = testing::ZipFile({{.name = "a", .content = "x"}}, {});
  for (size_t at = alone.size() - 18; at < alone.size() - 2; ++at) alone[at] = '\xff';
  EXPECT_THAT(ZipArchive::Open(Memory(alone)), StatusIs(ErrorKind::kUnsupported, "[ZIP-9]"));
}

// `scan` wants what can be read all the same.
TEST(Zip, ListsTheRestOfWhatItRefuses) {
  std::vector<Status> refused;
  const std::string bytes = testing::ZipFile({{.name = "secret", .content = "x", .flags = 1},
                                              {.name = "../up", .content = "y"},
                                              {.name = "plain", .content = "z"}},
                                             {});
  ANEMONE_ASSERT_ASSIGN(const ZipArchive zip, ZipArchive::Open(Memory(bytes), &refused));
  EXPECT_THAT(Names(zip), ElementsAre("../up", "plain"));
  ASSERT_EQ(refused.size(), 2u);
  EXPECT_THAT(refused[0], StatusIs(ErrorKind::kUnsupported, "secret"));
  EXPECT_THAT(refused[1], StatusIs(ErrorKind::kCorrupt, "../up"));
}

TEST(Zip, RefusesEachBrokenRule) {
  struct Case {
    std::string archive;
    ErrorKind kind;
    std::string words;
  };
  const ZipEntry a{.name = "a", .content = "12345"};
  const std::string good = ZipFile({a}, {});
  std::string fake_end = "PK\5\6"s + std::string(18, '\0');
  const auto with = [](ZipEntry entry) { return ZipFile({entry}, {}); };
  const Case cases[] = {
      {"", ErrorKind::kCorrupt, "[ZIP-1]"},
      {good.substr(0, good.size() - 1), ErrorKind::kCorrupt, "[ZIP-1]"},
      {good.substr(0, 20), ErrorKind::kCorrupt, "too few bytes [ZIP-1]"},
      {good + "x", ErrorKind::kCorrupt, "found one that other bytes follow [ZIP-1]"},
      {ZipFile({a}, {.comment = "see " + fake_end}), ErrorKind::kCorrupt, "[ZIP-2]"},
      {"x" + good, ErrorKind::kCorrupt, "expected the directory to end"},
      {ZipFile({a}, {.count = 2}), ErrorKind::kCorrupt, "[ZIP-3]"},
      {ZipFile({a, a}, {.count = 1}), ErrorKind::kCorrupt, "[ZIP-3]"},
      {ZipFile({a}, {.zip64 = true, .count64 = 7}), ErrorKind::kCorrupt, "expected both end records to agree"},
      {ZipFile({a}, {.full_offset = true}), ErrorKind::kCorrupt, "expected a zip64 end record, found none [ZIP-3]"},
      {with({.name = "a", .content = "1", .size = 0xffffffff}), ErrorKind::kCorrupt, "[ZIP-4]"},
      {with({.name = "a", .content = "12", .size = 1}), ErrorKind::kCorrupt, "[ZIP-4]"},
      {with({.name = "a", .content = "1", .central_extra = "\1\0\377\377"s}), ErrorKind::kCorrupt, "[ZIP-4]"},
      {with({.name = "a", .content = "1", .local_name = "b"}), ErrorKind::kCorrupt, "[ZIP-5]"},
      {with({.name = "a", .content = "1", .local_size = 2}), ErrorKind::kCorrupt, "[ZIP-5]"},
      {with({.name = "a", .content = "1", .local_crc = 2}), ErrorKind::kCorrupt, "[ZIP-5]"},
      {with({.name = "a", .content = "1", .local_method = 8}), ErrorKind::kCorrupt, "[ZIP-5]"},
      {with({.name = "a", .content = "1", .offset = 3}), ErrorKind::kCorrupt, "[ZIP-5]"},
      {with({.name = "a", .content = "1", .offset = 1 << 30}), ErrorKind::kCorrupt, "[ZIP-5]"},
      {with({.name = "a", .content = "1", .descriptor = true, .descriptor_crc = 7}), ErrorKind::kCorrupt, "[ZIP-5]"},
      {ZipFile({a, {.name = "a", .content = "2"}}, {}), ErrorKind::kCorrupt, "[ZIP-7]"},
      {ZipFile({a, {.name = "A", .content = "2"}}, {}), ErrorKind::kCorrupt, "[ZIP-7]"},
      {with({.name = "../a", .content = "1"}), ErrorKind::kCorrupt, "[ZIP-7]"},
      {with({.name = "/a", .content = "1"}), ErrorKind::kCorrupt, "[ZIP-7]"},
      {with({.name = "a\0b"s, .content = "1"}), ErrorKind::kCorrupt, "[ZIP-7]"},
      {with({.name = "d/", .content = "1"}), ErrorKind::kCorrupt, "[ZIP-7]"},
      {with({.name = "a", .content = "1", .method = 8, .size = 1 << 20}), ErrorKind::kCorrupt, "[ZIP-8]"},
      {with({.name = "a", .content = "1", .flags = 1}), ErrorKind::kUnsupported, "[ZIP-9]"},
      {with({.name = "a", .content = "1", .method = 14}), ErrorKind::kUnsupported, "[ZIP-9]"},
  };
  for (const Case& c : cases) EXPECT_THAT(ZipArchive::Open(Memory(c.archive)), StatusIs(c.kind, c.words));
}

TEST(Zip, RefusesDamagedDeflatedMembersWhenRead) {
  const std::string text = "the quick brown fox jumps over the lazy dog, again and again and again";
  const auto read = [&](ZipEntry entry) {
    entry.name = "a";
    entry.method = 8;
    const Result<ZipArchive> zip = ZipArchive::Open(Memory(ZipFile({entry}, {})));
    return zip.ok() ? zip->members()[0].content.ReadAll(1 << 20).status() : zip.status();
  };
  EXPECT_THAT(read({.content = Deflated(text), .size = text.size(), .crc_of = text}), IsOk());
  EXPECT_THAT(read({.content = Deflated(text), .size = text.size(), .crc_of = "other"}),
              StatusIs(ErrorKind::kCorrupt, "CRC"));
  EXPECT_THAT(read({.content = Deflated(text), .size = text.size() - 1, .crc_of = text}),
              StatusIs(ErrorKind::kCorrupt, "[ZIP-8]"));
  EXPECT_THAT(read({.content = Deflated(text), .size = text.size() + 1, .crc_of = text}),
              StatusIs(ErrorKind::kCorrupt, "[ZIP-8]"));
  EXPECT_THAT(read({.content = Deflated(text).substr(0, 20), .size = text.size(), .crc_of = text}),
              StatusIs(ErrorKind::kCorrupt, "truncated"));
  EXPECT_THAT(read({.content = "\xff\xff\xff", .size = text.size(), .crc_of = text}),
              StatusIs(ErrorKind::kCorrupt, "[ZIP-8]"));
}

TEST(Zip, ReadsEveryTorchFileOfTheGoldenSet) {
  size_t archives = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(testing::Golden(""))) {
    const auto extension = entry.path().extension();
    if (!entry.is_regular_file() || (extension != ".pt" && extension != ".bin" && extension != ".ckpt")) continue;
    if (entry.path().stem() == "truncated") continue;  // broken on purpose
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(entry.path()));
    if (file->size_bytes() < 4 || Contents(*Whole(file).Sub(0, 4)) != "PK\3\4") continue;
    ANEMONE_ASSERT_ASSIGN(const ZipArchive zip, ZipArchive::Open(Whole(file)));
    for (const ZipMember& member : zip.members()) {
      if (!member.name.ends_with("/data.pkl")) continue;
      const std::string pickle = Contents(member.content);
      EXPECT_EQ(member.crc32, crc32(0, reinterpret_cast<const Bytef*>(pickle.data()), static_cast<uInt>(pickle.size())))
          << entry.path();
      ++archives;
    }
  }
  EXPECT_GT(archives, 10u);
}

}  // namespace
}  // namespace anemone
