#include "ops/walk.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "container/gzip.h"
#include "container/tar.h"
#include "container/zip.h"

namespace anemone {
namespace {

constexpr int kMaxDepth = 8;  // boxes inside boxes; a checkpoint has three

Status WalkRange(const Leaf& leaf, int depth, const LeafVisitor& visit) {
  if (depth > kMaxDepth) return LimitExceeded("boxes are nested more than 8 deep").In(leaf.path);
  ANEMONE_ASSIGN(const ByteRange start, leaf.content.Sub(0, std::min<uint64_t>(leaf.content.size, 1024)));
  ANEMONE_ASSIGN(const std::string head, start.ReadAll(1024));
  if (head.starts_with("\x1f\x8b") && leaf.content.offset == 0 &&
      leaf.content.size == leaf.content.source->size_bytes()) {
    ANEMONE_ASSIGN(ByteSourcePtr unpacked, OpenGzip(leaf.content.source));
    return WalkRange({leaf.path, Whole(std::move(unpacked)), std::nullopt}, depth + 1, visit);
  }
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
