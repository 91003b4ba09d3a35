#include "container/tar.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>

#include "base/safe_path.h"
#include "base/text_hash.h"
#include "container/tar_format.h"
#include "container/text.h"

namespace anemone {

std::string internal::tar::Normalised(std::string_view name) {
  std::string out;
  if (name.starts_with('/')) return std::string(name);
  while (!name.empty()) {
    const size_t slash = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, slash);
    if (!part.empty() && part != ".") out.append(out.empty() ? "" : "/").append(part);
    name.remove_prefix(std::min(slash + 1, name.size()));
  }
  return out;
}

namespace {

using internal::Quoted;
using namespace internal::tar;  // NOLINT(google-build-using-namespace)

constexpr const char* kWithoutSparse = "pack it again with tar, without -S";
constexpr uint64_t kMaxExtension = 1 << 20;  // of one PAX or GNU long-name block

std::string_view Get(std::string_view block, Field field) { return block.substr(field.offset, field.width); }
std::string_view GetText(std::string_view block, Field field) {
  const std::string_view text = Get(block, field);
  return text.substr(0, text.find('\0'));
}

// Octal digits between blanks, or big-endian binary when the first bit is set (GNU); a blank field is 0.
std::optional<uint64_t> GetNumber(std::string_view field) {
  if ((field[0] & 0x80) != 0) {
    if (static_cast<uint8_t>(field[0]) != 0x80) return std::nullopt;  // negative, or beyond any size
    uint64_t value = 0;
    for (const char c : field.substr(1)) {
      if (value >> 56 != 0) return std::nullopt;
      value = value << 8 | static_cast<uint8_t>(c);
    }
    return value;
  }
  const size_t start = std::min(field.find_first_not_of(' '), field.size());
  field = field.substr(start, std::min(field.find_first_of(std::string_view(" \0", 2), start), field.size()) - start);
  uint64_t value = 0;
  for (const char c : field) {
    if (c < '0' || c > '7') return std::nullopt;
    value = value << 3 | static_cast<uint64_t>(c - '0');  // at most 12 digits
  }
  return value;
}

// The sum of the block's bytes with blanks for the checksum field; some old writers summed signed bytes.
bool ChecksumIsRight(std::string_view block) {
  const std::optional<uint64_t> stored = GetNumber(Get(block, kChecksum));
  uint64_t sum = 0;
  int64_t signed_sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const char c = i - kChecksum.offset < kChecksum.width ? ' ' : block[i];
    sum += static_cast<uint8_t>(c);
    signed_sum += static_cast<signed char>(c);
  }
  return stored && (*stored == sum || static_cast<int64_t>(*stored) == signed_sum);
}

bool IsZero(std::string_view block) { return block.find_first_not_of('\0') == std::string_view::npos; }

// What extension blocks say of the member that follows them.
struct Extension {
  std::optional<std::string> path;
  std::optional<std::string> link;
  std::optional<uint64_t> size;
};

// "<length> <key>=<value>\n" records. A global block may hold anything but what changes where members lie.
Status ParsePax(std::string_view text, bool global, Extension& extension) {
  while (!text.empty()) {
    uint64_t length = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    const size_t digits = static_cast<size_t>(end - text.data());
    const bool whole = error == std::errc() && digits > 0 && length <= text.size() && length > digits + 2 &&
                       text[digits] == ' ' && text[length - 1] == '\n';
    const std::string_view record = whole ? text.substr(digits + 1, length - digits - 2) : std::string_view();
    const size_t equals = record.find('=');
    if (!whole || equals == std::string_view::npos || equals == 0) {
      return Corrupt("expected a PAX record \"<length> key=value\\n\", found " + Quoted(text.substr(0, 40)) +
                     " [TAR-8]");
    }
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key.starts_with("GNU.sparse."))
      return Unsupported("expected whole files, found a sparse one [TAR-5]", kWithoutSparse);
    if (global && (key == "path" || key == "linkpath" || key == "size")) {
      return Corrupt("expected names and sizes beside their members, found a global " + std::string(key) + " [TAR-8]");
    }
    if (key == "path") extension.path = value;
    if (key == "linkpath") extension.link = value;
    if (key == "size") {
      uint64_t size = 0;
      const auto parsed = std::from_chars(value.data(), value.data() + value.size(), size);
      if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size()) {
        return Corrupt("expected a decimal size, found " + Quoted(value) + " [TAR-8]");
      }
      extension.size = size;
    }
    text.remove_prefix(length);
  }
  return {};
}

std::string_view TypeName(char type) {
  switch (type) {
    case '3':
      return "a character device";
    case '4':
      return "a block device";
    case '6':
      return "a fifo";
    case 'S':
      return "a sparse file";
    case 'V':
      return "a volume label";
    case 'M':
      return "a part of a multi-volume file";
    default:
      return "an entry of a type anemone does not know";
  }
}

constexpr uint64_t kMaxMembers = 4'000'000;

class Reader {
 public:
  Reader(const ByteRange& archive, uint64_t max_members, std::vector<Status>* refused)
      : archive_(archive), max_members_(max_members), refused_(refused) {}

  uint64_t at() const { return at_; }

  Result<std::vector<TarMember>> Run() {
    while (at_ < archive_.size) {
      const Result<bool> more = Next();
      if (!more.ok() && !Refuse(more.status())) return more.status();
      if (!more.ok() || !*more) break;
    }
    if (refused_ != nullptr) return std::move(members_);
    if (extended_) {
      return At(Corrupt("expected a member after its PAX or long-name header, found the end of the archive [TAR-3]"));
    }
    if (at_ == 0) return Corrupt("expected a tar archive, found nothing [TAR-1]");
    ANEMONE_TRY(Follow());
    // A name below a file could be unpacked in no way.
    for (const TarMember& member : members_) {
      for (size_t slash = member.name.find('/'); slash != std::string::npos; slash = member.name.find('/', slash + 1)) {
        const auto parent = index_.find(member.name.substr(0, slash));
        if (parent != index_.end() && !members_[parent->second].is_directory) {
          return Corrupt("expected a directory above " + Quoted(member.name) + ", found a file " +
                         Quoted(parent->first) + " [TAR-7]");
        }
      }
    }
    return std::move(members_);
  }

 private:
  Status At(const Status& status) const { return status.In("byte " + std::to_string(at_)); }
  // True when the caller wants what can be read all the same.
  bool Refuse(const Status& status) {
    if (refused_ != nullptr) refused_->push_back(status);
    return refused_ != nullptr;
  }

  Status Truncated(std::string_view what, uint64_t end) const {
    return Corrupt("expected at least " + std::to_string(end) + " bytes for " + std::string(what) + ", found " +
                       std::to_string(archive_.size) + ": truncated [TAR-3]",
                   "the archive was not copied whole");
  }

  // Reads the header at at_ and moves behind its content. False at the end marker.
  Result<bool> Next() {
    if (archive_.size - at_ < kBlock) return At(Truncated("a header", at_ + kBlock));
    std::string block(kBlock, '\0');
    ANEMONE_TRY(archive_.source->ReadAt(archive_.offset + at_, std::as_writable_bytes(std::span(block))));
    if (IsZero(block)) return false;
    if (!ChecksumIsRight(block)) {
      return At(Corrupt(at_ == 0 ? "expected a tar header, found other bytes [TAR-1]"
                                 : "expected a tar header, found a wrong checksum: damaged [TAR-1]"));
    }
    const char type = block[kType.offset];
    const std::optional<uint64_t> header_size = GetNumber(Get(block, kSize));
    if (!header_size)
      return At(Corrupt("expected a size in octal or base 256, found " + Quoted(Get(block, kSize)) + " [TAR-2]"));

    if (type == 'x' || type == 'X' || type == 'g' || type == 'L' || type == 'K') {
      ANEMONE_TRY(ReadExtension(type, *header_size));
      return true;
    }
    // GNU tar's label of the archive. Python's tarfile takes one for a file, so that it may stand nowhere else.
    if (type == 'V' && at_ == 0 && *header_size == 0) {
      at_ += kBlock;
      return true;
    }
    const uint64_t header = at_, size = extension_.size.value_or(*header_size);
    Status status = ReadMember(block, type, size);
    if (!status.ok()) {
      if (!Refuse(status)) return status;
      const bool has_content = type == '0' || type == '\0' || type == '7';
      if (at_ == header) ANEMONE_TRY(Advance("the content", has_content ? size : 0));
    }
    extension_ = {};
    extended_ = false;
    return true;
  }

  Status ReadExtension(char type, uint64_t size) {
    if (size > kMaxExtension) {
      return At(
          LimitExceeded("expected at most 1 MiB of extended header, found " + std::to_string(size) + " bytes [TAR-8]"));
    }
    ANEMONE_TRY(Advance("an extended header", size));
    const uint64_t start = at_ - size - Padding(size, kBlock);
    ANEMONE_ASSIGN(const ByteRange range, archive_.Sub(start, size));
    ANEMONE_ASSIGN(const std::string text, range.ReadAll(kMaxExtension));
    if (type == 'L') extension_.path = text.substr(0, text.find('\0'));
    if (type == 'K') extension_.link = text.substr(0, text.find('\0'));
    if (type == 'x' || type == 'X' || type == 'g') ANEMONE_TRY(At(ParsePax(text, type == 'g', extension_)));
    extended_ = extended_ || type != 'g';
    return {};
  }

  Status ReadMember(std::string_view block, char type, uint64_t size) {
    std::string raw(GetText(block, kName));
    // GNU's own header keeps times where ustar keeps the prefix.
    const bool ustar = Get(block, kMagic).starts_with(kUstar.substr(0, 6));
    if (const std::string_view prefix = GetText(block, kPrefix); ustar && !prefix.empty())
      raw = std::string(prefix) + "/" + raw;
    if (extension_.path) raw = *extension_.path;

    TarMember member;
    member.name = Normalised(raw);
    const uint64_t header = at_;
    const auto at = [&](const Status& status) {
      return status.In("byte " + std::to_string(header)).In("member " + Quoted(raw));
    };
    const bool is_link = type == '1' || type == '2';
    const bool is_file = type == '0' || type == '\0' || type == '7' || is_link;
    member.is_directory = type == '5' || (is_file && !is_link && raw.ends_with('/'));
    if (is_link) size = 0;  // some writers repeat the size of what is linked; no content follows
    if (!is_file && type != '5') {
      return at(Unsupported("expected files and directories, found " + std::string(TypeName(type)) + " [TAR-5]",
                            type == 'S' ? kWithoutSparse : ""));
    }
    if (raw.empty()) return at(Corrupt("expected a name, found none [TAR-6]"));
    if (raw.find('\0') != std::string::npos)
      return at(Corrupt("expected a safe name, found one that holds a NUL [TAR-6]"));
    if (!member.name.empty() || !member.is_directory) {
      if (const std::string_view why = UnsafePath(member.name); !why.empty()) {
        return at(Corrupt("expected a safe name, found one that " + std::string(why) + " [TAR-6]"));
      }
    }
    if (member.is_directory && size != 0) {
      return at(Corrupt("expected a directory without content, found " + std::to_string(size) + " bytes [TAR-10]"));
    }
    member.mode =
        static_cast<uint32_t>(GetNumber(Get(block, kMode)).value_or(member.is_directory ? 0755 : 0644) & 07777);
    if (Status status = Advance("the content", size); !status.ok()) return at(status);
    member.content = {archive_.source, archive_.offset + header + kBlock, size};
    if (member.is_directory) member.content = {};

    const auto [place, added] = index_.emplace(member.name, members_.size());
    if (!added) {
      TarMember& earlier = members_[place->second];
      if (member.is_directory && earlier.is_directory) return {};
      if (member.is_directory != earlier.is_directory) {
        if (refused_ != nullptr) members_.push_back(member);  // both are looked at
        return at(Corrupt("expected every name once, found " + Quoted(member.name) + " again [TAR-7]"));
      }
      earlier.is_replaced = true;  // `tar -r`: whoever unpacks it keeps the last
      place->second = members_.size();
    }
    if (is_link) {
      const std::string link = extension_.link.value_or(std::string(GetText(block, kLink)));
      Result<std::string> target = TargetOf(member.name, link, type == '2');
      if (!target.ok()) return at(target.status());
      links_.emplace(members_.size(), *std::move(target));
    }
    if (members_.size() >= max_members_)
      return at(LimitExceeded("expected at most " + std::to_string(max_members_) + " members, found more [TAR-11]"));
    members_.push_back(std::move(member));
    return {};
  }

  // The member a link names: a hard link from the archive's top, a symbolic one from where it is.
  static Result<std::string> TargetOf(std::string_view name, std::string_view link, bool is_symbolic) {
    const auto outside = [&] {
      return Unsupported("expected a link to a member of the archive, found one to " + Quoted(link) + " [TAR-5]",
                         "pack it again with: tar --dereference --hard-dereference");
    };
    if (link.empty() || link.find('\0') != std::string_view::npos) return outside();
    if (link.starts_with('/')) return outside();
    std::vector<std::string_view> parts;
    const auto add = [&](std::string_view path) {
      while (!path.empty()) {
        const size_t slash = std::min(path.find('/'), path.size());
        const std::string_view part = path.substr(0, slash);
        if (part == "..") {
          if (parts.empty()) return false;
          parts.pop_back();
        } else if (!part.empty() && part != ".") {
          parts.push_back(part);
        }
        path.remove_prefix(std::min(slash + 1, path.size()));
      }
      return true;
    };
    if (is_symbolic && !add(name.substr(0, name.rfind('/') == std::string_view::npos ? 0 : name.rfind('/'))))
      return outside();
    if (!add(link)) return outside();
    std::string target;
    for (const std::string_view part : parts) target.append(target.empty() ? "" : "/").append(part);
    return target;
  }

  // Links read as the member they point to, which may be a link itself.
  Status Follow() {
    constexpr int kMaxHops = 40;  // as Linux
    for (const auto& [place, first] : links_) {
      TarMember& member = members_[place];
      std::string target = first;
      for (int hop = 0;; ++hop) {
        const auto found = index_.find(target);
        const bool is_file = found != index_.end() && !members_[found->second].is_directory;
        if (!is_file || hop == kMaxHops) {
          return Unsupported("expected a link to a file of the archive, found one to " + Quoted(target) + " [TAR-5]",
                             "pack it again with: tar --dereference --hard-dereference")
              .In("member " + Quoted(member.name));
        }
        const auto next = links_.find(found->second);
        if (next == links_.end()) {
          member.content = members_[found->second].content;
          break;
        }
        target = next->second;
      }
    }
    return {};
  }

  // Moves behind a header, `size` bytes of content and their padding.
  Status Advance(std::string_view what, uint64_t size) {
    const uint64_t left = archive_.size - at_ - kBlock;
    if (size > left || Padding(size, kBlock) > left - size) {
      if (size > ~uint64_t{0} / 2)
        return Corrupt("expected a size within the archive, found " + std::to_string(size) + " [TAR-3]");
      return Truncated(what, at_ + kBlock + size + Padding(size, kBlock));
    }
    at_ += kBlock + size + Padding(size, kBlock);
    return {};
  }

  const ByteRange& archive_;
  const uint64_t max_members_;
  std::vector<Status>* const refused_;
  uint64_t at_ = 0;
  Extension extension_;
  bool extended_ = false;                // an extension waits for its member
  std::map<size_t, std::string> links_;  // of members_ → the name of the member they point to
  std::vector<TarMember> members_;
  internal::TextMap<size_t> index_;
};

}  // namespace

bool LooksLikeTar(std::string_view head) {
  if (head.size() < kBlock) return false;
  head = head.substr(0, kBlock);
  return Get(head, kMagic).starts_with(kUstar.substr(0, 5)) || (!IsZero(head) && ChecksumIsRight(head));
}

Result<std::vector<TarMember>> ReadTar(const ByteRange& archive, uint64_t max_members) {
  return Reader(archive, max_members, nullptr).Run();
}

Result<uint64_t> TarEnd(const ByteRange& archive) {
  Reader reader(archive, kMaxMembers, nullptr);
  ANEMONE_TRY(reader.Run().status());
  return reader.at();
}

std::vector<TarMember> ReadDamagedTar(const ByteRange& archive, std::vector<Status>& refused) {
  return *Reader(archive, kMaxMembers, &refused).Run();
}

}  // namespace anemone
