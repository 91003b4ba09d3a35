#include "container/zip.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>

#include "base/checked.h"
#include "base/crc32.h"
#include "base/little_endian.h"
#include "base/safe_path.h"
#include "base/text_hash.h"
#include "container/inflate.h"
#include "container/text.h"
#include "container/zip_format.h"

namespace anemone {
namespace {

using internal::Quoted;
using namespace internal::zip;  // NOLINT(google-build-using-namespace)

constexpr uint64_t kMaxDirectory = uint64_t{1} << 30;
constexpr uint64_t kMaxDeflateRatio = 1032;  // no deflate stream does better [zlib technical details]

uint16_t Load16(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(internal::LittleEndian(bytes.substr(at, 2)));
}
uint32_t Load32(std::string_view bytes, size_t at) {
  return static_cast<uint32_t>(internal::LittleEndian(bytes.substr(at, 4)));
}
uint64_t Load64(std::string_view bytes, size_t at) { return internal::LittleEndian(bytes.substr(at, 8)); }

std::string At(uint64_t byte) { return "byte " + std::to_string(byte); }
std::string FoundFor(std::string_view expected, uint64_t want, uint64_t found, std::string_view rule) {
  return "expected " + std::string(expected) + " " + std::to_string(want) + ", found " + std::to_string(found) + " [" +
         std::string(rule) + "]";
}

Result<std::string> ReadBytes(const ByteRange& archive, uint64_t offset, uint64_t count) {
  ANEMONE_ASSIGN(const ByteRange part, archive.Sub(offset, count));
  return part.ReadAll(count);
}

struct Directory {
  uint64_t count = 0, offset = 0, size = 0;
};

// The zip64 record that a locator before the end record names; it must say what the end record says where that is not
// full.
Status ReadEnd64(const ByteRange& archive, uint64_t end_at, std::string_view locator, Directory& directory,
                 uint64_t& directory_end) {
  const uint64_t at = Load64(locator, 8), locator_at = end_at - kLocatorBytes;
  if (Load32(locator, 4) != 0 || Load32(locator, 16) > 1)
    return Unsupported("expected one disk, found several [ZIP-9]");
  if (!Within(at, kEnd64Bytes, locator_at)) {
    return Corrupt("expected a zip64 end record before byte " + std::to_string(locator_at) +
                   ", found it said to be at " + std::to_string(at) + " [ZIP-3]");
  }
  ANEMONE_ASSIGN(const std::string record, ReadBytes(archive, at, kEnd64Bytes));
  if (Load32(record, 0) != kEnd64Magic)
    return Corrupt("expected a zip64 end record, found other bytes [ZIP-3]").In(At(at));
  if (Load64(record, 4) != locator_at - at - 12) {
    return Corrupt("expected the zip64 end record to reach its locator, found a length of " +
                   std::to_string(Load64(record, 4)) + " [ZIP-3]")
        .In(At(at));
  }
  if (Load32(record, 16) != 0 || Load32(record, 20) != 0)
    return Unsupported("expected one disk, found several [ZIP-9]");
  const Directory wide{Load64(record, 32), Load64(record, 48), Load64(record, 40)};
  const auto differs = [](uint64_t narrow, uint64_t full, uint64_t value) { return narrow != full && narrow != value; };
  if (Load64(record, 24) != wide.count || differs(directory.count, kFull16, wide.count) ||
      differs(directory.size, kFull32, wide.size) || differs(directory.offset, kFull32, wide.offset)) {
    return Corrupt("expected both end records to agree, found different directories [ZIP-3]").In(At(end_at));
  }
  directory = wide;
  directory_end = at;
  return {};
}

// The end record, behind which only its comment may lie.
struct EndRecord {
  std::string tail;  // the archive's last bytes
  uint64_t tail_at = 0;
  std::optional<uint64_t> at;  // in `tail`
  bool seen = false;           // one that other bytes follow, perhaps
};
Result<EndRecord> FindEnd(const ByteRange& archive) {
  EndRecord end;
  if (archive.size < kEndBytes) return end;
  const uint64_t tail_size = std::min<uint64_t>(archive.size, kEndBytes + kFull16 + kLocatorBytes);
  end.tail_at = archive.size - tail_size;
  ANEMONE_ASSIGN(end.tail, ReadBytes(archive, end.tail_at, tail_size));
  const std::string& tail = end.tail;
  // memrchr: a folder of thousands of small archives is opened in the time this search takes.
  for (size_t left = tail_size - kEndBytes + 1; left > 0;) {
    const void* p = ::memrchr(tail.data(), 'P', left);
    if (p == nullptr) break;
    const size_t at = left = static_cast<size_t>(static_cast<const char*>(p) - tail.data());
    if (Load32(tail, at) != kEndMagic) continue;
    end.seen = true;
    if (Load16(tail, at + 20) != tail_size - at - kEndBytes) continue;
    if (end.at)
      return Corrupt("expected one end record, found a second inside the comment [ZIP-2]").In(At(end.tail_at + at));
    end.at = at;
  }
  return end;
}

// The directory, which ends right before the end records.
Result<Directory> FindDirectory(const ByteRange& archive) {
  ANEMONE_ASSIGN(const EndRecord record, FindEnd(archive));
  const std::optional<uint64_t> found = record.at;
  const std::string& tail = record.tail;
  if (!found) {
    const std::string_view what = record.tail.empty() ? "too few bytes"
                                  : record.seen       ? "one that other bytes follow"
                                                      : "none";
    return Corrupt("expected a zip end record in the last bytes of " + std::to_string(archive.size) + ", found " +
                       std::string(what) + " [ZIP-1]",
                   record.seen ? "the archive was cut short, or something was written behind its end"
                               : "the archive was cut short or is not a zip");
  }

  const std::string_view end = std::string_view(tail).substr(*found, kEndBytes);
  const uint64_t end_at = record.tail_at + *found;
  Directory directory{Load16(end, 10), Load32(end, 16), Load32(end, 12)};
  const bool has_locator = *found >= kLocatorBytes && Load32(tail, *found - kLocatorBytes) == kLocatorMagic;
  // Full numbers are said by the zip64 record (4.4.1.4), and some writers fill all of them.
  const auto differs_from = [&](size_t at, uint64_t value) {
    return Load16(end, at) != value && !(has_locator && Load16(end, at) == kFull16);
  };
  if (differs_from(4, 0) || differs_from(6, 0) || differs_from(8, directory.count)) {
    return Unsupported("expected one disk, found several [ZIP-9]").In(At(end_at));
  }
  uint64_t directory_end = end_at;
  if (has_locator) {
    const std::string_view locator = std::string_view(tail).substr(*found - kLocatorBytes, kLocatorBytes);
    ANEMONE_TRY(ReadEnd64(archive, end_at, locator, directory, directory_end));
  } else if (directory.size == kFull32 || directory.offset == kFull32) {
    return Corrupt("expected a zip64 end record, found none [ZIP-3]").In(At(end_at));
  }
  if (!Within(directory.offset, directory.size, directory_end) || directory.offset + directory.size != directory_end) {
    return Corrupt("expected the directory to end at byte " + std::to_string(directory_end) + ", found " +
                       std::to_string(directory.size) + " bytes from " + std::to_string(directory.offset) + " [ZIP-3]",
                   "bytes were put before or into the archive, or are missing");
  }
  if (directory.count > directory.size / kCentralBytes) {
    return Corrupt(FoundFor("at most as many members as fit the directory,", directory.size / kCentralBytes,
                            directory.count, "ZIP-3"));
  }
  if (directory.size > kMaxDirectory) {
    return LimitExceeded("expected a directory of at most 1 GiB, found " + std::to_string(directory.size) +
                         " bytes [ZIP-3]");
  }
  return directory;
}

// What one header, local or central, says.
struct Entry {
  std::string_view name;  // in the directory
  uint16_t flags = 0, method = 0;
  uint32_t crc32 = 0;
  uint64_t size = 0, stored_size = 0;  // uncompressed, compressed
  uint64_t local_at = 0;               // central only
  uint64_t payload_at = 0, end = 0;    // filled from the local header
};

// The zip64 extra field (4.5.3) holds, in this order, those of size, compressed size, offset that are full.
Status ApplyZip64(std::string_view extra, Entry& entry, bool central) {
  const bool wanted = entry.size == kFull32 || entry.stored_size == kFull32 || (central && entry.local_at == kFull32);
  bool seen = false;
  while (extra.size() >= 4) {
    const uint16_t id = Load16(extra, 0);
    const size_t length = Load16(extra, 2);
    if (length > extra.size() - 4)
      return Corrupt("expected extra fields within their header, found a longer one [ZIP-4]");
    std::string_view field = extra.substr(4, length);
    extra.remove_prefix(4 + length);
    if (id != kZip64Id || !wanted) continue;
    if (seen) return Corrupt("expected one zip64 extra field, found two [ZIP-4]");
    seen = true;
    for (uint64_t* value : {&entry.size, &entry.stored_size, &entry.local_at}) {
      if (*value != kFull32 || (value == &entry.local_at && !central)) continue;
      if (field.size() < 8)
        return Corrupt("expected eight bytes for each full size, found fewer in the zip64 field [ZIP-4]");
      *value = Load64(field, 0);
      field.remove_prefix(8);
    }
  }
  if (wanted && !seen) return Corrupt("expected a zip64 extra field, found none [ZIP-4]");
  return {};
}

Result<Entry> ParseCentral(std::string_view directory, uint64_t& at) {
  const std::string_view rest = directory.substr(at);
  if (rest.size() < kCentralBytes || Load32(rest, 0) != kCentralMagic) {
    return Corrupt("expected a directory header, found other bytes [ZIP-3]");
  }
  Entry entry;
  entry.flags = Load16(rest, 8);
  entry.method = Load16(rest, 10);
  entry.crc32 = Load32(rest, 16);
  entry.stored_size = Load32(rest, 20);
  entry.size = Load32(rest, 24);
  entry.local_at = Load32(rest, 42);
  const size_t name = Load16(rest, 28), extra = Load16(rest, 30), comment = Load16(rest, 32);
  if (rest.size() - kCentralBytes < name + extra + comment) {
    return Corrupt("expected a directory header within the directory, found a longer one [ZIP-3]");
  }
  entry.name = rest.substr(kCentralBytes, name);
  at += kCentralBytes + name + extra + comment;
  const auto in = [&](const Status& status) { return status.In("member " + Quoted(entry.name)); };
  if (Load16(rest, 34) != 0) return in(Unsupported("expected one disk, found several [ZIP-9]"));
  if (Status status = ApplyZip64(rest.substr(kCentralBytes + name, extra), entry, true); !status.ok())
    return in(status);
  if ((entry.flags & kEncrypted) != 0) return in(Unsupported("expected plain content, found it encrypted [ZIP-9]"));
  if ((entry.flags & kPatch) != 0 || (entry.method != kStored && entry.method != kDeflated)) {
    return in(
        Unsupported("expected content stored or deflated, found method " + std::to_string(entry.method) + " [ZIP-9]"));
  }
  if (entry.method == kStored && entry.size != entry.stored_size) {
    return in(Corrupt(FoundFor("a stored member of", entry.size, entry.stored_size, "ZIP-4")));
  }
  if (entry.method == kDeflated && entry.size / kMaxDeflateRatio > entry.stored_size) {
    return in(Corrupt("expected a size that deflate can reach, found " + std::to_string(entry.size) + " bytes from " +
                      std::to_string(entry.stored_size) + " [ZIP-8]"));
  }
  return entry;
}

// The local header must say what the directory says; with a data descriptor, zeros (or full fields) may stand for what
// was not known yet (4.4.4). Fills payload_at and end.
Status CheckLocal(const ByteRange& archive, uint64_t directory_at, Entry& entry) {
  const auto past = [&] {
    return Corrupt("expected the member before the directory at " + std::to_string(directory_at) + ", found it at " +
                   std::to_string(entry.local_at) + " with " + std::to_string(entry.stored_size) + " bytes [ZIP-5]");
  };
  if (!Within(entry.local_at, kLocalBytes, directory_at)) return past();
  const uint64_t before = directory_at - entry.local_at;
  const uint64_t guess = std::min<uint64_t>(before, kLocalBytes + entry.name.size() + 128);
  ANEMONE_ASSIGN(std::string header, ReadBytes(archive, entry.local_at, guess));
  if (Load32(header, 0) != kLocalMagic) return Corrupt("expected a local header, found other bytes [ZIP-5]");
  const size_t name = Load16(header, 26), extra = Load16(header, 28);
  const uint64_t header_size = kLocalBytes + name + extra;
  if (header_size > before) return past();
  if (header_size > header.size()) {
    ANEMONE_ASSIGN(header, ReadBytes(archive, entry.local_at, header_size));
  }
  Entry local;
  local.flags = Load16(header, 6);
  local.method = Load16(header, 8);
  local.crc32 = Load32(header, 14);
  local.stored_size = Load32(header, 18);
  local.size = Load32(header, 22);
  const std::string_view local_name = std::string_view(header).substr(kLocalBytes, name);
  if (local_name != entry.name) {
    return Corrupt("expected the directory's name in the local header, found " + Quoted(local_name) + " [ZIP-5]");
  }
  const bool late = (local.flags & kHasDescriptor) != 0;
  ANEMONE_TRY(ApplyZip64(std::string_view(header).substr(kLocalBytes + name, extra), local, false));
  if (((local.flags ^ entry.flags) & (kEncrypted | kPatch | kHasDescriptor)) != 0 || local.method != entry.method) {
    return Corrupt("expected the directory's flags and method in the local header, found others [ZIP-5]");
  }
  const auto agrees = [&](uint64_t here, uint64_t there) { return here == there || (late && here == 0); };
  if (!agrees(local.size, entry.size) || !agrees(local.stored_size, entry.stored_size)) {
    return Corrupt(FoundFor("the directory's size in the local header,", entry.size, local.size, "ZIP-5"));
  }
  if (!agrees(local.crc32, entry.crc32))
    return Corrupt("expected the directory's CRC in the local header, found another [ZIP-5]");

  entry.payload_at = entry.local_at + header_size;
  if (entry.stored_size > directory_at - entry.payload_at) return past();
  entry.end = entry.payload_at + entry.stored_size;
  if (!late || directory_at - entry.end < 16) return {};
  ANEMONE_ASSIGN(const std::string descriptor,
                 ReadBytes(archive, entry.end, std::min<uint64_t>(24, directory_at - entry.end)));
  if (Load32(descriptor, 0) != kDescriptorMagic)
    return {};  // the signature is optional, and without one nothing is certain
  const bool narrow = Load32(descriptor, 8) == static_cast<uint32_t>(entry.stored_size) &&
                      Load32(descriptor, 12) == static_cast<uint32_t>(entry.size);
  const bool wide =
      descriptor.size() == 24 && Load64(descriptor, 8) == entry.stored_size && Load64(descriptor, 16) == entry.size;
  if (Load32(descriptor, 4) != entry.crc32 || (!narrow && !wide)) {
    return Corrupt("expected the directory's CRC and sizes in the data descriptor, found others [ZIP-5]");
  }
  entry.end += wide ? 24 : 16;
  return {};
}

ZipMember MemberOf(const ByteRange& archive, const Entry& entry, std::string& names) {
  const ByteRange payload{archive.source, archive.offset + entry.payload_at, entry.stored_size};
  const bool deflated = entry.method == kDeflated;
  const bool has_crc = entry.crc32 != 0 || entry.size == 0 || deflated;
  names += entry.name;
  return {std::string_view(names).substr(names.size() - entry.name.size()),
          has_crc ? std::optional(entry.crc32) : std::nullopt,
          deflated,
          entry.size,
          deflated ? Whole(internal::InflateMember(payload, entry.size, entry.crc32)) : payload,
          entry.stored_size};
}

struct AnyCaseHash {
  size_t operator()(std::string_view name) const {
    std::string lower(name);
    std::ranges::transform(lower, lower.begin(), LowerOf);
    return internal::HashOf(lower);
  }
};
using AnyCaseNames = std::unordered_set<std::string_view, AnyCaseHash, AnyCaseEqual>;

}  // namespace

bool LooksLikeZip(std::string_view head) { return head.size() >= 4 && Load32(head, 0) == kLocalMagic; }
bool IsEmptyZip(std::string_view head) { return head.size() >= 4 && Load32(head, 0) == kEndMagic; }

Result<bool> EndsInZip(const ByteRange& range) {
  const Result<EndRecord> end = FindEnd(range);
  if (!end.ok()) return end.status().kind() == ErrorKind::kCorrupt ? Result<bool>(true) : end.status();
  return end->at.has_value();
}

namespace {

Status CheckSideBySide(std::vector<Entry> entries) {
  std::ranges::sort(entries, {}, &Entry::local_at);
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].local_at >= entries[i - 1].end) continue;
    return Corrupt("expected members side by side, found it inside " + Quoted(entries[i - 1].name) + " [ZIP-6]")
        .In(At(entries[i].local_at))
        .In("member " + Quoted(entries[i].name));
  }
  return {};
}

}  // namespace

Result<ZipArchive> ZipArchive::Open(const ByteRange& archive, std::vector<Status>* refused) {
  ANEMONE_ASSIGN(const Directory where, FindDirectory(archive));
  ANEMONE_ASSIGN(const std::string directory, ReadBytes(archive, where.offset, where.size));
  const auto refuse = [&](const Status& status) {
    if (refused != nullptr) refused->push_back(status);
    return refused != nullptr;
  };
  std::vector<Entry> entries;
  entries.reserve(where.count);
  uint64_t at = 0;
  for (uint64_t i = 0; i < where.count; ++i) {
    const uint64_t start = at;
    Result<Entry> entry = ParseCentral(directory, at);
    if (entry.ok()) {
      entries.push_back(*std::move(entry));
    } else if (at == start || !refuse(entry.status())) {  // nothing tells where the next header is
      return entry.status().In(At(where.offset + start));
    }
  }
  if (at != directory.size()) {
    return Corrupt(FoundFor("a directory of", directory.size(), at, "ZIP-3")).In(At(where.offset));
  }

  ZipArchive zip;
  const auto kept = std::make_shared<std::string>();
  size_t names_size = 0;
  for (const Entry& entry : entries) names_size += entry.name.size();
  kept->reserve(names_size);  // so that no name moves
  zip.names_ = kept;
  zip.members_.reserve(entries.size());
  zip.by_name_.reserve(entries.size());
  AnyCaseNames names;
  const auto add = [&](Entry& entry) -> Status {
    ANEMONE_TRY(CheckLocal(archive, where.offset, entry));
    std::string_view name = entry.name;
    const bool is_directory = name.ends_with('/');
    if (is_directory) name.remove_suffix(1);
    while (name.starts_with("./")) name.remove_prefix(2);  // as other tools than torch write them
    if (const std::string_view why = UnsafePath(name); !why.empty() && !(is_directory && name == ".")) {
      return Corrupt("expected a safe name, found one that " + std::string(why) + " [ZIP-7]");
    }
    if (is_directory) {  // holds nothing and is skipped, whatever else has its name
      return entry.size == 0 ? Status() : Corrupt("expected a directory without content, found some [ZIP-7]");
    }
    if (!names.insert(name).second) {  // torch would take two such for one
      return Corrupt("expected every name once, found it again [ZIP-7]");
    }
    zip.by_name_.push_back(static_cast<uint32_t>(zip.members_.size()));
    zip.members_.push_back(MemberOf(archive, entry, *kept));
    return {};
  };
  for (Entry& entry : entries) {
    const Status status = add(entry);
    if (status.ok()) continue;
    Status named = status.In(At(entry.local_at)).In("member " + Quoted(entry.name));
    if (!refuse(named)) return named;
    if (entry.payload_at != 0) zip.members_.push_back(MemberOf(archive, entry, *kept));
  }
  std::ranges::sort(zip.by_name_, {}, [&](size_t i) { return zip.members_[i].name; });
  if (refused == nullptr) ANEMONE_TRY(CheckSideBySide(std::move(entries)));
  return zip;
}

const ZipMember* ZipArchive::Find(std::string_view name) const {
  const auto name_of = [&](size_t i) { return members_[i].name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return found == by_name_.end() || name_of(*found) != name ? nullptr : &members_[*found];
}

Result<ByteRange> FirstZip(const ByteRange& range) {
  constexpr uint64_t kFirstWindow = 4096, kLastWindow = uint64_t{4} << 20;  // most zips of many are small
  constexpr int kMaxTries = 1000;                                           // each reads a directory
  int tries = 0;
  uint64_t window = kFirstWindow;
  for (uint64_t at = 0; at < range.size; at += std::exchange(window, std::min(4 * window, kLastWindow))) {
    ANEMONE_ASSIGN(const ByteRange part, range.Sub(at, std::min(window + kEndBytes, range.size - at)));
    ANEMONE_ASSIGN(const std::string bytes, part.ReadAll(window + kEndBytes));
    for (size_t found = bytes.find(kEndMark); found != std::string::npos && found < window;
         found = bytes.find(kEndMark, found + 1)) {
      if (at + found + kEndBytes > range.size) break;
      if (++tries > kMaxTries) return Corrupt("expected a zip, found a thousand end records and none that ends one");
      ANEMONE_ASSIGN(const ByteRange candidate, range.Sub(0, at + found + kEndBytes));
      if (ZipArchive::Open(candidate).ok()) return candidate;
    }
  }
  const Result<ZipArchive> whole = ZipArchive::Open(range);
  return whole.ok() ? Result<ByteRange>(range) : whole.status();
}

}  // namespace anemone
