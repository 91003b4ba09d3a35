#include "container/zip_layout.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "base/crc32.h"
#include "base/safe_path.h"
#include "base/utf8.h"
#include "container/text.h"
#include "container/zip_format.h"
#include "engine/share.h"

namespace anemone {
namespace {

using internal::Quoted;
using namespace internal::zip;  // NOLINT(google-build-using-namespace)

constexpr uint16_t kDosDate = 1 << 5 | 1;  // 1 January 1980, the first day zip knows
constexpr size_t kLocalCrcAt = 14, kCentralCrcAt = 16;

void Store(std::string& out, uint64_t value, int width) {
  for (int i = 0; i < width; ++i, value >>= 8) out += static_cast<char>(value & 0xff);
}
uint64_t Narrow(uint64_t value) { return std::min<uint64_t>(value, kFull32); }

// From "version needed" to the uncompressed size: what local and directory headers share (4.4).
void StoreCommon(std::string& out, bool wide, uint32_t crc32, uint64_t size) {
  Store(out, wide ? 45 : 20, 2);
  Store(out, kUtf8, 2);
  Store(out, kStored, 2);
  Store(out, 0, 2);
  Store(out, kDosDate, 2);
  Store(out, crc32, 4);
  Store(out, Narrow(size), 4);
  Store(out, Narrow(size), 4);
}

// Sorted rather than hashed: a layout of a million members keeps no more than their places.
Status CheckDistinct(std::vector<std::string_view> names) {
  const auto is_less = [](std::string_view a, std::string_view b) {
    return std::ranges::lexicographical_compare(a, b, {}, LowerOf, LowerOf);
  };
  std::ranges::stable_sort(names, is_less);
  const auto twice = std::ranges::adjacent_find(names, AnyCaseEqual());
  if (twice == names.end()) return {};
  return InvalidArgument("expected every name once, found " + Quoted(*std::next(twice)) + " again [ZIP-7]");
}

}  // namespace

ZipLayout::ZipLayout(PlanFile& file, const ZipOptions& options, size_t members)
    : file_(file), start_(file.size), first_slot_(file.crcs.size()), options_(options) {
  // A header and a content each, and the blocks of the directory.
  if (members > 0) file_.segments.reserve(file_.segments.size() + 2 * members + members / 64 + 16);
  file_.crcs.reserve(file_.crcs.size() + members);
  names_.reserve(members);
}

Status ZipLayout::Begin(const Head& head) {
  const std::string& name = head.name;
  if (const std::string_view why = UnsafePath(name); !why.empty()) {
    return InvalidArgument("expected a safe member name, found " + Quoted(name) + ", which " + std::string(why) +
                           " [ZIP-7]");
  }
  if (name.ends_with('/') || !internal::IsUtf8(name, false)) {
    return InvalidArgument("expected a file name in UTF-8, found " + Quoted(name) + " [ZIP-7]");
  }
  const uint64_t alignment = head.block_offset ? kBlockBytes : options_.alignment;
  if (alignment == 0 || alignment > 32768 || (alignment & (alignment - 1)) != 0) {
    return Internal("zip alignment of " + std::to_string(alignment));
  }
  const uint64_t size = head.size;
  const bool wide = size >= kFull32;
  std::string extra;
  if (wide) {
    Store(extra, kZip64Id, 2);
    Store(extra, 16, 2);
    Store(extra, size, 8);
    Store(extra, size, 8);
  }
  const uint64_t offset = file_.size - start_;
  const uint64_t bare = offset + kLocalBytes + name.size() + extra.size() + 4;
  const uint64_t padding = (alignment + head.block_offset.value_or(0) - bare % alignment) % alignment;
  Store(extra, kPaddingId, 2);
  Store(extra, padding, 2);
  extra.append(padding, 'Z');

  std::string header;
  Store(header, kLocalMagic, 4);
  StoreCommon(header, wide, head.crc32, size);
  Store(header, name.size(), 2);
  Store(header, extra.size(), 2);
  header += name;
  header += extra;
  file_.Append(std::move(header));

  const bool has_slot = head.has_slot && size > 0;
  if (has_slot) file_.crcs.push_back({file_.size, size, {start_ + offset + kLocalCrcAt}});
  AddToDirectory(head, offset, has_slot);
  return {};
}

void ZipLayout::AddToDirectory(const Head& head, uint64_t offset, bool has_slot) {
  std::string extra;
  if (head.size >= kFull32) {
    Store(extra, head.size, 8);
    Store(extra, head.size, 8);
  }
  if (offset >= kFull32) Store(extra, offset, 8);
  if (!extra.empty()) {
    std::string id;
    Store(id, kZip64Id, 2);
    Store(id, extra.size(), 2);
    extra.insert(0, id);
  }
  if (has_slot) file_.crcs.back().stores.push_back(directory_.size + kCentralCrcAt);
  std::string entry;
  Store(entry, kCentralMagic, 4);
  Store(entry, 45, 2);  // made by
  StoreCommon(entry, !extra.empty(), head.crc32, head.size);
  Store(entry, head.name.size(), 2);
  Store(entry, extra.size(), 2);
  Store(entry, 0, 2);  // comment
  Store(entry, 0, 2);  // disk
  Store(entry, 0, 2);  // internal attributes
  Store(entry, 0, 4);  // external attributes
  Store(entry, Narrow(offset), 4);
  entry += head.name;
  entry += extra;
  const std::string_view kept = directory_.literals.Keep(std::move(entry));
  directory_.AppendKept(kept);
  names_.push_back(kept.substr(kCentralBytes, head.name.size()));
}

Status ZipLayout::Add(std::string name, std::string literal) {
  const uint32_t crc32 = Crc32(0, std::as_bytes(std::span(literal)));
  ANEMONE_TRY(Begin({.name = std::move(name), .size = literal.size(), .crc32 = crc32}));
  file_.Append(std::move(literal));
  return {};
}

Status ZipLayout::Add(std::string name, const Tensor& tensor) {
  Head head{.name = std::move(name), .size = tensor.size_bytes(), .has_slot = options_.has_crc32};
  if (options_.keeps_blocks) {
    head.block_offset = BestPlace(tensor);
    const std::optional<uint32_t> known = RecordedCrcOf(tensor);
    if (known && head.has_slot) {
      head.crc32 = *known;
      head.has_slot = false;
    }
  }
  ANEMONE_TRY(Begin(head));
  file_.Append(tensor);
  return {};
}

Status ZipLayout::Add(std::string name, ByteRange content) {
  ANEMONE_TRY(Begin({.name = std::move(name), .size = content.size, .has_slot = true}));
  file_.Append(std::move(content));
  return {};
}

Status ZipLayout::Finish() {
  const uint64_t directory_at = file_.size - start_, size = directory_.size, count = names_.size();
  ANEMONE_TRY(CheckDistinct(std::move(names_)));
  for (size_t slot = first_slot_; slot < file_.crcs.size(); ++slot)
    *std::prev(file_.crcs[slot].stores.end()) += file_.size;
  std::string end;
  if (size >= kFull32 || directory_at >= kFull32 || count >= kFull16) {
    const uint64_t end64_at = directory_at + size;
    Store(end, kEnd64Magic, 4);
    Store(end, kEnd64Bytes - 12, 8);
    Store(end, 45, 2);
    Store(end, 45, 2);
    Store(end, 0, 8);  // disks
    Store(end, count, 8);
    Store(end, count, 8);
    Store(end, size, 8);
    Store(end, directory_at, 8);
    Store(end, kLocatorMagic, 4);
    Store(end, 0, 4);
    Store(end, end64_at, 8);
    Store(end, 1, 4);
  }
  Store(end, kEndMagic, 4);
  Store(end, 0, 4);  // disks
  Store(end, std::min<uint64_t>(count, kFull16), 2);
  Store(end, std::min<uint64_t>(count, kFull16), 2);
  Store(end, Narrow(size), 4);
  Store(end, Narrow(directory_at), 4);
  Store(end, 0, 2);  // comment
  directory_.Append(std::move(end));
  AppendFile(file_, std::move(directory_));
  return {};
}

}  // namespace anemone
