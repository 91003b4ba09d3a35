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

Status WalkRange(const Leaf& leaf, int depth, const LeafVisitor& visit);

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

// A `.distcp` is zips one after another [torch distributed/checkpoint/filesystem.py].
Status WalkStreams(const Leaf& leaf, int depth, const LeafVisitor& visit) {
  size_t index = 0;
  for (uint64_t at = 0; at < leaf.content.size; ++index) {
    ANEMONE_ASSIGN(ByteRange item, leaf.content.Sub(at, leaf.content.size - at));
    ANEMONE_ASSIGN(const ByteRange start, item.Sub(0, std::min<uint64_t>(item.size, 4)));
    ANEMONE_ASSIGN(const std::string head, start.ReadAll(4));
    const std::string path = fmt::format("{}/{}", leaf.path, index);
    if (head == "PK\x03\x04") {
      Result<ByteRange> zip = FirstZip(item);
      if (!zip.ok()) return zip.status().In(path);
      item = *zip;
    }
    at += item.size;
    ANEMONE_TRY(WalkRange({path, item, std::nullopt}, depth + 1, visit));
  }
  return {};
}

Status WalkRange(const Leaf& leaf, int depth, const LeafVisitor& visit) {
  if (depth > kMaxDepth) return LimitExceeded("boxes are nested more than 8 deep").In(leaf.path);
  ANEMONE_ASSIGN(const ByteRange start, leaf.content.Sub(0, std::min<uint64_t>(leaf.content.size, 1024)));
  ANEMONE_ASSIGN(const std::string head, start.ReadAll(1024));
  if (head.starts_with("\x1f\x8b") && leaf.content.offset == 0 &&
      leaf.content.size == leaf.content.source->size_bytes()) {
    ANEMONE_ASSIGN(ByteSourcePtr unpacked, OpenGzip(leaf.content.source));
    return WalkRange({leaf.path, Whole(std::move(unpacked)), std::nullopt}, depth + 1, visit);
  }
  if (head.starts_with("PK\x03\x04") && leaf.path.ends_with(".distcp")) return WalkStreams(leaf, depth, visit);
  if (head.starts_with("PK\x03\x04")) {
    const Result<ZipArchive> zip = ZipArchive::Open(leaf.content);
    if (!zip.ok()) return zip.status().In(leaf.path);
    for (const ZipMember& member : zip->members()) {
      ANEMONE_TRY(WalkRange({leaf.path + "/" + member.name, member.content, member.crc32}, depth + 1, visit));
    }
    return {};
  }
  if (LooksLikeTar(head)) {
    const Result<std::vector<TarMember>> members = ReadTar(leaf.content);
    if (!members.ok()) return members.status().In(leaf.path);
    for (const TarMember& member : *members) {
      if (member.is_directory) continue;
      ANEMONE_TRY(WalkRange({leaf.path + "/" + member.name, member.content, std::nullopt}, depth + 1, visit));
    }
    return {};
  }
  return visit(leaf);
}

}  // namespace

Status WalkLeaf(const Leaf& leaf, const LeafVisitor& visit) { return WalkRange(leaf, 0, visit); }

Status Walk(const std::string& path, const LeafVisitor& visit) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    ANEMONE_ASSIGN(ByteSourcePtr file, OpenFile(path));
    return WalkRange({path, Whole(std::move(file)), std::nullopt}, 0, visit);
  }
  std::vector<std::string> files;
  for (std::filesystem::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error)) files.push_back(it->path().string());
  }
  if (error) return ErrnoStatus(error.value(), "cannot list").In(path);
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) ANEMONE_TRY(Walk(file, visit));
  return {};
}

}  // namespace anemone
