#include "ops/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "container/gzip.h"
#include "container/tar.h"
#include "container/zip.h"

namespace anemone {
namespace {

constexpr int kMaxDepth = 8;  // boxes inside boxes; a checkpoint has three

// The first complete zip at the start of `range`, which may be followed by others. Its end record says where it ends,
// and bytes that look like one inside a tensor do not open. Errors: as ZipArchive::Open, as reading.
Result<ByteRange> FirstZip(const ByteRange& range) {
  constexpr uint64_t kWindow = uint64_t{4} << 20;
  constexpr uint64_t kEndRecord = 22;
  constexpr std::string_view kEndSignature = "PK\x05\x06";
  for (uint64_t at = 0; at < range.size; at += kWindow) {
    ANEMONE_ASSIGN(const ByteRange part, range.Sub(at, std::min(kWindow + kEndRecord, range.size - at)));
    ANEMONE_ASSIGN(const std::string bytes, part.ReadAll(kWindow + kEndRecord));
    for (size_t found = bytes.find(kEndSignature); found != std::string::npos && found < kWindow;
         found = bytes.find(kEndSignature, found + 1)) {
      if (at + found + kEndRecord > range.size) break;
      ANEMONE_ASSIGN(const ByteRange candidate, range.Sub(0, at + found + kEndRecord));
      if (ZipArchive::Open(candidate).ok()) return candidate;
    }
  }
  const Result<ZipArchive> whole = ZipArchive::Open(range);
  return whole.ok() ? Result<ByteRange>(range) : whole.status();
}

// Whether software that looks for a zip from its end (Python's zipfile) finds one here.
Result<bool> EndsInZip(const ByteRange& range) {
  constexpr uint64_t kMaxTail = 22 + 65535;
  const uint64_t size = std::min(range.size, kMaxTail);
  ANEMONE_ASSIGN(const ByteRange part, range.Sub(range.size - size, size));
  ANEMONE_ASSIGN(const std::string tail, part.ReadAll(kMaxTail));
  for (size_t at = tail.rfind("PK\x05\x06"); at != std::string::npos;
       at = at == 0 ? at - 1 : tail.rfind("PK\x05\x06", at - 1)) {
    if (at + 22 > tail.size()) continue;
    const size_t comment =
        static_cast<uint8_t>(tail[at + 20]) | static_cast<size_t>(static_cast<uint8_t>(tail[at + 21])) << 8;
    if (at + 22 + comment == tail.size()) return true;
  }
  return false;
}

struct Walker {
  const LeafVisitor& visit;
  const BrokenVisitor& on_broken;

  // A `.distcp` is zips one after another [torch distributed/checkpoint/filesystem.py].
  Status Streams(const Leaf& leaf, int depth) {
    size_t index = 0;
    for (uint64_t at = 0; at < leaf.content.size; ++index) {
      ANEMONE_ASSIGN(ByteRange item, leaf.content.Sub(at, leaf.content.size - at));
      ANEMONE_ASSIGN(const ByteRange start, item.Sub(0, std::min<uint64_t>(item.size, 4)));
      ANEMONE_ASSIGN(const std::string head, start.ReadAll(4));
      const std::string path = fmt::format("{}/{}", leaf.path, index);
      if (head == "PK\x03\x04") {
        Result<ByteRange> zip = FirstZip(item);
        if (!zip.ok()) return on_broken(zip.status().In(path));
        item = *zip;
      }
      at += item.size;
      ANEMONE_TRY(Range({path, item, std::nullopt}, depth + 1));
    }
    return {};
  }

  Status Range(const Leaf& leaf, int depth) {
    if (depth > kMaxDepth) return on_broken(LimitExceeded("boxes are nested more than 8 deep").In(leaf.path));
    ANEMONE_ASSIGN(const ByteRange start, leaf.content.Sub(0, std::min<uint64_t>(leaf.content.size, 1024)));
    ANEMONE_ASSIGN(const std::string head, start.ReadAll(1024));
    if (head.starts_with("\x1f\x8b") && leaf.content.offset == 0 &&
        leaf.content.size == leaf.content.source->size_bytes()) {
      Result<ByteSourcePtr> unpacked = OpenGzip(leaf.content.source);
      if (!unpacked.ok()) return on_broken(unpacked.status().In(leaf.path));
      return Range({leaf.path, Whole(*std::move(unpacked)), std::nullopt}, depth + 1);
    }
    const bool is_zip = head.starts_with("PK\x03\x04"), is_tar = LooksLikeTar(head);
    if (is_zip && is_tar) {
      ANEMONE_TRY(on_broken(Corrupt("expected one kind of archive, found a zip that is a tar too").In(leaf.path)));
    } else if (!is_zip && depth == 0) {
      ANEMONE_ASSIGN(const bool ends_in_zip, EndsInZip(leaf.content));
      if (ends_in_zip)
        ANEMONE_TRY(on_broken(Corrupt("expected one kind of file, found a zip behind other content").In(leaf.path)));
    }
    if (is_zip && leaf.path.ends_with(".distcp")) return Streams(leaf, depth);
    if (is_zip) {
      const Result<ZipArchive> zip = ZipArchive::Open(leaf.content);
      if (!zip.ok()) return on_broken(zip.status().In(leaf.path));
      for (const ZipMember& member : zip->members()) {
        ANEMONE_TRY(Range({leaf.path + "/" + member.name, member.content, member.crc32}, depth + 1));
      }
      return {};
    }
    if (is_tar) {
      const Result<std::vector<TarMember>> members = ReadTar(leaf.content);
      if (!members.ok()) return on_broken(members.status().In(leaf.path));
      for (const TarMember& member : *members) {
        if (member.is_directory) continue;
        ANEMONE_TRY(Range({leaf.path + "/" + member.name, member.content, std::nullopt}, depth + 1));
      }
      return {};
    }
    return visit(leaf);
  }
};

}  // namespace

Status WalkLeaf(const Leaf& leaf, const LeafVisitor& visit, const BrokenVisitor& on_broken) {
  return Walker{visit, on_broken}.Range(leaf, 0);
}

Status Walk(const std::string& path, const LeafVisitor& visit, const BrokenVisitor& on_broken) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    ANEMONE_ASSIGN(ByteSourcePtr file, OpenFile(path));
    return WalkLeaf({path, Whole(std::move(file)), std::nullopt}, visit, on_broken);
  }
  std::vector<std::string> files;
  for (std::filesystem::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error)) files.push_back(it->path().string());
  }
  if (error) return ErrnoStatus(error.value(), "cannot list").In(path);
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) ANEMONE_TRY(Walk(file, visit, on_broken));
  return {};
}

}  // namespace anemone
