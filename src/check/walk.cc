#include "check/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/cancel.h"
#include "base/changed.h"
#include "base/nearest.h"
#include "base/read_at_most.h"
#include "config/weight_map.h"
#include "container/decompress.h"
#include "container/gzip.h"
#include "container/tar.h"
#include "container/zip.h"

namespace anemone {
namespace {

constexpr int kMaxDepth = 8;  // archives inside archives; a checkpoint has three

// A range as a source of its own.
class RangeSource final : public ByteSource {
 public:
  explicit RangeSource(ByteRange range) : range_(std::move(range)) {}
  uint64_t size_bytes() const override { return range_.size; }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    ANEMONE_TRY(range_.Sub(offset, out.size()).status());
    return range_.source->ReadAt(range_.offset + offset, out);
  }
  const std::string& name() const override { return range_.source->name(); }

 private:
  const ByteRange range_;
};

ByteSourcePtr SourceOf(const ByteRange& range) {
  const bool is_whole = range.offset == 0 && range.size == range.source->size_bytes();
  return is_whole ? range.source : std::make_shared<RangeSource>(range);
}

std::string_view KindOfStream(Codec codec) {
  switch (codec) {
    case Codec::kXz:
      return "an xz stream";
    case Codec::kLzma:
      return "an LZMA stream";
    case Codec::kBzip2:
      return "a bzip2 stream";
    default:
      return "a zlib stream";
  }
}

class Walker {
 public:
  Walker(const LeafVisitor& visit, const BrokenVisitor& on_broken, WalkBudget* budget)
      : visit_(visit), on_broken_(on_broken), budget_(budget) {}

  // Opens `leaf`, which is inside `depth` archives, or visits it.
  Status Open(const Leaf& leaf, int depth) {
    if (depth > kMaxDepth) {
      return on_broken_(LimitExceeded("expected archives nested at most 8 deep, found more: not opened").In(leaf.path));
    }
    const Result<std::string> read = Head(leaf);
    if (!read.ok()) return on_broken_(read.status().In(leaf.path));
    const std::string& head = *read;
    // Two bytes occur in tensors as well; with the only method that gzip has they do not. Python reads any flags.
    const bool is_gzip = LooksLikeGzip(head) && head.size() >= 4 && head[2] == 8;
    if (budget_ != nullptr ? is_gzip : LooksLikeGzip(head) && IsWhole(leaf)) return OpenStream(leaf, depth);
    // Python reads an empty zip as one.
    const bool is_zip = LooksLikeZip(head) || (IsEmptyZip(head) && depth == 0);
    const bool is_tar = LooksLikeTar(head);
    if (is_zip && is_tar) {
      ANEMONE_TRY(on_broken_(Corrupt("expected one kind of archive, found a zip that is a tar too").In(leaf.path)));
    } else if (!is_zip && (depth == 0 || budget_ != nullptr)) {
      const Result<bool> ends_in_zip = EndsInZip(leaf.content);
      if (!ends_in_zip.ok()) return on_broken_(ends_in_zip.status().In(leaf.path));
      if (*ends_in_zip)
        ANEMONE_TRY(on_broken_(Corrupt("expected one kind of file, found a zip behind other content").In(leaf.path)));
    }
    if (is_zip && leaf.path.ends_with(".distcp")) return Streams(leaf, depth);
    if (is_zip) return OpenZip(leaf, depth);
    if (is_tar) {
      // The name of the first member may be opcodes: whoever unpickles the file does not care that it is a tar.
      if (budget_ != nullptr) ANEMONE_TRY(visit_(leaf));
      return OpenTar(leaf, depth);
    }
    if (budget_ == nullptr) return visit_(leaf);
    const Codec codec = CodecOf(head);
    if (codec != Codec::kNone) return OpenPacked(leaf, codec, depth);
    const size_t joblib = JoblibHead(head);
    if (joblib == 0 || CodecOf(std::string_view(head).substr(joblib)) != Codec::kZlib) return visit_(leaf);
    ANEMONE_ASSIGN(const ByteRange stream, leaf.content.Sub(joblib, leaf.content.size - joblib));
    return OpenPacked({leaf.path, stream, leaf.crc32}, Codec::kZlib, depth);
  }

 private:
  static bool IsWhole(const Leaf& leaf) {
    return leaf.content.offset == 0 && leaf.content.size == leaf.content.source->size_bytes();
  }
  static Result<std::string> Head(const Leaf& leaf) {
    constexpr uint64_t kHead = 1024;
    ANEMONE_ASSIGN(const ByteRange start, leaf.content.Sub(0, std::min(leaf.content.size, kHead)));
    return start.ReadAll(kHead);
  }
  Status TooMuch(const Leaf& leaf) {
    return on_broken_(LimitExceeded("expected less in archives inside archives, found too much: not opened",
                                    "unpack it and scan its files one by one")
                          .In(leaf.path));
  }

  // One of an archive's members. Compressed ones of moderate size are inflated once, which checks them too.
  Status Member(const Leaf& leaf, bool compressed, int depth) {
    if (budget_ == nullptr) return Open(leaf, depth);
    constexpr uint64_t kInMemory = uint64_t{32} << 20;
    if (!budget_->Spend(compressed ? leaf.content.size : 0)) return TooMuch(leaf);
    if (!compressed || leaf.content.size > kInMemory) return Open(leaf, depth);
    const WalkBudget::Held held(*budget_, leaf.content.size);
    if (!held.ok()) return TooMuch(leaf);
    Result<std::string> bytes = leaf.content.ReadAll(kInMemory);
    if (bytes.ok()) return Open({leaf.path, Whole(MemorySource(*std::move(bytes), leaf.path)), leaf.crc32}, depth);
    ANEMONE_TRY(on_broken_(bytes.status().In(leaf.path)));
    return IsReadFailure(bytes.status()) ? Status() : visit_(leaf);  // its beginning may be whole
  }

  Status OpenZip(const Leaf& leaf, int depth) {
    std::vector<Status> refused;
    const Result<ZipArchive> zip = ZipArchive::Open(leaf.content, budget_ != nullptr ? &refused : nullptr);
    if (!zip.ok()) return on_broken_(zip.status().In(leaf.path));
    for (const Status& problem : refused) ANEMONE_TRY(on_broken_(problem.In(leaf.path)));
    for (const ZipMember& member : zip->members()) {
      const auto stored_in = member.deflated ? std::nullopt : std::optional(leaf.content);
      ANEMONE_TRY(Member({fmt::format("{}/{}", leaf.path, member.name), member.content, member.crc32, stored_in},
                         member.deflated, depth + 1));
    }
    return {};
  }

  Status OpenTar(const Leaf& leaf, int depth) {
    Result<std::vector<TarMember>> members = ReadTar(leaf.content);
    if (!members.ok()) {
      const Status why = members.status();
      if (budget_ == nullptr || IsReadFailure(why)) return on_broken_(why.In(leaf.path));
      std::vector<Status> refused;
      members = ReadDamagedTar(leaf.content, refused);
      if (refused.empty()) refused = {why};
      for (const Status& problem : refused) ANEMONE_TRY(on_broken_(problem.In(leaf.path)));
    }
    for (const TarMember& member : *members) {
      if (member.is_directory) continue;
      ANEMONE_TRY(Member({leaf.path + "/" + member.name, member.content, std::nullopt}, false, depth + 1));
    }
    return {};
  }

  // A gzip stream.
  Status OpenStream(const Leaf& leaf, int depth) {
    GzipOptions options;
    if (budget_ != nullptr) {
      options.ratio_free_bytes = budget_->left();  // and beyond it no ratio is allowed
      options.max_ratio = 0;
    }
    Result<ByteSourcePtr> unpacked = OpenGzip(SourceOf(leaf.content), options);
    if (!unpacked.ok()) return on_broken_(unpacked.status().In(leaf.path));
    const Leaf inside{leaf.path, Whole(*std::move(unpacked)), std::nullopt};
    return Member(inside, true, depth + 1);
  }

  // A stream that is unpacked into memory. What came out before it broke is looked at as well. All but xz begin with
  // bytes that are opcodes of pickles too, and zlib and LZMA with bytes that other data has.
  Status OpenPacked(const Leaf& leaf, Codec codec, int depth) {
    if (codec != Codec::kXz) ANEMONE_TRY(visit_(leaf));
    ByteRange packed = leaf.content;
    if (codec == Codec::kLzma) {
      ANEMONE_ASSIGN(packed, BehindEmptyStreams(packed));
    }
    Decompressed unpacked = Decompress(codec, packed, std::min(budget_->room(), budget_->left()));
    const WalkBudget::Held held(*budget_, unpacked.bytes.size());
    std::string inside = leaf.path;
    const bool is_damaged = !unpacked.status.ok() && unpacked.status.kind() == ErrorKind::kCorrupt;
    if (is_damaged && (codec == Codec::kZlib || codec == Codec::kLzma)) {
      inside += "/inflated";  // what came out is no pickle, whatever the file's name says
    } else if (!unpacked.status.ok()) {
      ANEMONE_TRY(on_broken_(unpacked.status.In(std::string(KindOfStream(codec))).In(leaf.path)));
    }
    if (unpacked.bytes.empty()) return {};
    if (!budget_->Spend(unpacked.bytes.size())) return TooMuch(leaf);
    return Open({inside, Whole(MemorySource(std::move(unpacked.bytes), inside)), std::nullopt}, depth + 1);
  }

  // Eighteen zeros are an LZMA stream of nothing, and many tensors begin with zeros.
  static Result<ByteRange> BehindEmptyStreams(const ByteRange& content) {
    constexpr uint64_t kStream = 18, kWindow = 64 << 10;
    uint64_t zeros = 0;
    while (zeros < content.size) {
      if (CancelRequested()) return Interrupted();
      ANEMONE_ASSIGN(const ByteRange part, content.Sub(zeros, std::min(kWindow, content.size - zeros)));
      ANEMONE_ASSIGN(const std::string bytes, part.ReadAll(kWindow));
      const size_t found = bytes.find_first_not_of('\0');
      zeros += std::min(found, bytes.size());
      if (found != bytes.npos) break;
    }
    const uint64_t from = zeros == content.size ? zeros : zeros - zeros % kStream;
    return content.Sub(from, content.size - from);
  }

  // A `.distcp` is zips one after another [torch distributed/checkpoint/filesystem.py].
  Status Streams(const Leaf& leaf, int depth) {
    size_t index = 0;
    for (uint64_t at = 0; at < leaf.content.size; ++index) {
      ANEMONE_ASSIGN(ByteRange item, leaf.content.Sub(at, leaf.content.size - at));
      ANEMONE_ASSIGN(const ByteRange start, item.Sub(0, std::min<uint64_t>(item.size, 4)));
      const Result<std::string> head = start.ReadAll(4);
      const std::string path = fmt::format("{}/{}", leaf.path, index);
      if (!head.ok()) return on_broken_(head.status().In(path));
      if (LooksLikeZip(*head)) {
        Result<ByteRange> zip = FirstZip(item);
        if (!zip.ok()) return on_broken_(zip.status().In(path));
        item = *zip;
      }
      at += item.size;
      ANEMONE_TRY(Open({path, item, std::nullopt}, depth + 1));
    }
    return {};
  }

  const LeafVisitor& visit_;
  const BrokenVisitor& on_broken_;
  WalkBudget* const budget_;
};

// True for a link that leads out of the folder that it is in, and for one that leads nowhere.
bool LeadsOut(const Location& folder, const std::string& link) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path whole = fs::canonical(folder.string(), error), target = fs::canonical((folder / link).string(), error);
  return error || std::mismatch(whole.begin(), whole.end(), target.begin(), target.end()).first != whole.end();
}

}  // namespace

Status WalkLeaf(const Leaf& leaf, int depth, const LeafVisitor& visit, const BrokenVisitor& on_broken,
                WalkBudget* budget) {
  return Walker(visit, on_broken, budget).Open(leaf, depth);
}

namespace {

Status WalkTree(const Location& place, const LeafVisitor& visit, const BrokenVisitor& on_broken, WalkBudget* budget) {
  ANEMONE_ASSIGN(const bool is_folder, place.IsFolder());
  if (!is_folder) {
    const std::string& path = place.string();
    ANEMONE_ASSIGN(const ByteSourcePtr file, place.files() != nullptr ? place.Open() : OpenGivenFile(path));
    if (budget != nullptr) budget->Grant(file->size_bytes());
    ANEMONE_TRY(WalkLeaf({path, Whole(file), std::nullopt}, 0, visit, on_broken, budget));
    Status same = file->CheckUnchanged();
    if (!SaysChanged(same)) return same;
    return on_broken(Unsupported(same.error().what, "begin anew once it is complete").In(path));
  }
  std::vector<PassedOver> passed_over;
  ANEMONE_ASSIGN(const std::vector<std::string> files, place.FilesBelow(SIZE_MAX, &passed_over));
  for (const PassedOver& entry : passed_over) {
    const bool leads_to_folder = entry.kind == PassedOver::Kind::kLinkToFolder;
    if (leads_to_folder && !LeadsOut(place, entry.name)) continue;  // its files are among these
    ANEMONE_TRY(on_broken(leads_to_folder
                              ? Unsupported("a link to a folder: not followed").In((place / entry.name).string())
                              : place.WhyPassedOver(entry)));
  }
  for (const std::string& file : files) {
    const Status status = WalkTree(place / file, visit, on_broken, budget);
    // One that may not be read, or is gone, hides no other.
    if (status.ok()) continue;
    const bool is_closed = status.kind() == ErrorKind::kNotFound || status.kind() == ErrorKind::kInvalidArgument;
    ANEMONE_TRY(is_closed ? on_broken(status) : status);
  }
  return {};
}

// The files that an index names (model.safetensors.index.json and its like): loading it opens them. A broken index
// names none; the error is that of opening it.
Result<std::vector<Location>> FilesOfIndex(const Location& place) {
  constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
  ANEMONE_ASSIGN(const bool is_folder, place.IsFolder());
  if (is_folder || !place.filename().ends_with(".index.json")) return std::vector<Location>();
  ANEMONE_ASSIGN(ByteSourcePtr file, place.Open());
  const auto text = Whole(std::move(file)).ReadAll(kMaxBytes);
  const auto map = text.ok() ? ReadWeightMap(*text, place.string()) : text.status();
  std::set<std::string> names;
  for (const WeightPlace& weight : map.ok() ? *map : std::vector<WeightPlace>()) names.insert(weight.file);
  std::vector<Location> files;
  files.reserve(names.size());
  for (const std::string& name : names) files.push_back(place.parent() / name);
  return files;
}

}  // namespace

Status Walk(const Location& place, const LeafVisitor& visit, const BrokenVisitor& on_broken, WalkBudget* budget) {
  ANEMONE_TRY(WalkTree(place, visit, on_broken, budget));
  ANEMONE_ASSIGN(const std::vector<Location> named, FilesOfIndex(place));
  for (const Location& file : named) {
    ANEMONE_ASSIGN(const bool is_there, file.Exists());
    if (is_there) ANEMONE_TRY(WalkTree(file, visit, on_broken, budget));
  }
  return {};
}

}  // namespace anemone
