#include "format/torch/torch_zip.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <vector>

#include "base/crc32.h"
#include "base/text_hash.h"
#include "container/pickle.h"
#include "container/zip.h"
#include "format/torch/rebuild.h"

namespace anemone {
namespace {

// The file of a zip, with the CRCs that the zip's directory records.
class ZipSource final : public ByteSource {
 public:
  // `within` is how messages call the zip; "": it is the file.
  ZipSource(ByteRange archive, std::vector<RecordedCrc32> crcs, std::string_view within)
      : crcs_(std::move(crcs)), archive_(std::move(archive)), within_(within) {}
  uint64_t size_bytes() const override { return archive_.source->size_bytes(); }
  const std::string& name() const override { return archive_.source->name(); }
  int fd() const override { return archive_.source->fd(); }
  Status CheckUnchanged() const override { return archive_.source->CheckUnchanged(); }
  std::string_view remote_version() const override { return archive_.source->remote_version(); }
  std::span<const RecordedCrc32> recorded_crcs() const override { return crcs_; }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    return archive_.source->ReadAt(offset, out);
  }
  ByteRange StoredOf(const RecordedCrc32& record) const override {
    return {archive_.source, record.offset, record.size};
  }
  // Names are read when one is asked for: messages rarely name a record.
  std::string NameOfRecord(const RecordedCrc32& record) const override {
    std::call_once(has_names_, [this] {
      const Result<ZipArchive> zip = ZipArchive::Open(archive_);
      for (const ZipMember& member : zip.ok() ? zip->members() : std::vector<ZipMember>()) {
        if (!member.deflated && member.size > 0) names_.emplace(member.content.offset, member.name);
      }
    });
    const auto found = names_.find(record.offset);
    const std::string name = found != names_.end() ? found->second : fmt::format("record at byte {}", record.offset);
    return within_.empty() ? name : fmt::format("{}: {}", within_, name);
  }

 private:
  std::vector<RecordedCrc32> crcs_;
  ByteRange archive_;
  std::string within_;
  mutable std::once_flag has_names_;
  mutable internal::NumberMap<std::string> names_;  // by where the records begin
};

// The content of a deflated record.
class DeflatedSource final : public ByteSource {
 public:
  DeflatedSource(const ZipMember& member, std::string_view within)
      : content_(member.content.source),
        crc_{member.content.offset, member.size, *member.crc32},
        name_(within.empty() ? std::string(member.name) : fmt::format("{}: {}", within, member.name)) {}
  uint64_t size_bytes() const override { return content_->size_bytes(); }
  const std::string& name() const override { return content_->name(); }
  Status CheckUnchanged() const override { return content_->CheckUnchanged(); }
  std::string_view remote_version() const override { return content_->remote_version(); }
  std::span<const RecordedCrc32> recorded_crcs() const override { return {&crc_, 1}; }
  std::string NameOfRecord(const RecordedCrc32& /*record*/) const override { return name_; }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override { return content_->ReadAt(offset, out); }

 private:
  ByteSourcePtr content_;
  RecordedCrc32 crc_;
  std::string name_;
};

// `file` with the CRCs of the records that lie in it as they are.
ByteSourcePtr WithCrcsOf(const ZipArchive& zip, std::string_view prefix, const ByteRange& archive,
                         std::string_view within) {
  const auto has_crc = [&](const ZipMember& member) {
    return !member.deflated && member.crc32 && member.size > 0 && member.name.starts_with(prefix);
  };
  std::vector<RecordedCrc32> crcs;
  crcs.reserve(static_cast<size_t>(std::ranges::count_if(zip.members(), has_crc)));
  for (const ZipMember& member : zip.members()) {
    if (has_crc(member)) crcs.push_back({member.content.offset, member.size, *member.crc32});
  }
  if (crcs.empty()) return archive.source;
  std::ranges::sort(crcs, {}, &RecordedCrc32::offset);
  return std::make_shared<ZipSource>(archive, std::move(crcs), within);
}

// Storages by key, in sources with the CRCs of their records: stored ones in one source, deflated ones each in its own.
FindRecord RecordsIn(const ZipArchive& zip, const std::string& prefix, const ByteRange& archive,
                     std::string_view within) {
  return [&zip, prefix, within,
          checked = WithCrcsOf(zip, prefix, archive, within)](const std::string& key) -> std::optional<ByteRange> {
    const ZipMember* member = zip.Find(prefix + key);
    if (member == nullptr) return std::nullopt;
    ByteRange content = member->content;
    if (!member->deflated) {
      content.source = checked;
    } else if (member->crc32 && member->size > 0) {
      content.source = std::make_shared<DeflatedSource>(*member, within);
    }
    return content;
  };
}

// What torch reads [caffe2/serialize/versions.h].
Status CheckVersion(const ZipMember& version) {
  constexpr int kFirst = 1, kLast = 10;
  ANEMONE_ASSIGN(const std::string text, version.content.ReadAll(64));
  int number = 0;
  const bool is_number = std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc();
  if (is_number && number >= kFirst && number <= kLast) return {};
  return Unsupported(fmt::format("[TZ-3] expected a version from {} to {}, found \"{}\"", kFirst, kLast, text),
                     "a torch newer than this program wrote it, or none")
      .In(version.name);
}

constexpr std::string_view kOtherZip = "a zip, but not one that torch.save wrote: unpack it and give what it holds";

// Names a zip without data.pkl, and the way out.
std::string OtherZip(const ZipArchive& zip, const std::string& root) {
  const bool is_compiled = std::ranges::any_of(
      zip.members(), [&](const auto& member) { return member.name.starts_with(root + "data/aotinductor/"); });
  if (is_compiled) return "a compiled program of AOTInductor: give the weights of the model that it was made of";
  if (zip.Find(root + "archive_format") != nullptr)
    return "a program of torch.export: torch.save the state_dict of what torch.export.load gives";
  if (zip.Find(root + ".data/extern_modules") != nullptr)
    return "an archive of torch.package: torch.save the state_dict() of what its PackageImporter loads";
  return std::string(kOtherZip);
}

}  // namespace

Result<TorchFile> ReadTorchZip(const ByteRange& range, std::string_view within) {
  ANEMONE_ASSIGN(const ZipArchive zip, ZipArchive::Open(range));
  if (zip.members().empty()) return Corrupt("[TZ-1] an empty zip");
  const std::string_view first = zip.members().front().name;
  const size_t slash = first.find('/');
  if (slash == std::string::npos) {
    return Corrupt(fmt::format("[TZ-1] expected records under one root folder, found \"{}\"", first),
                   first.ends_with(".npy") ? "numpy's .npz, which is not read" : std::string(kOtherZip));
  }
  const std::string root(first.substr(0, slash + 1));
  const ZipMember* data = zip.Find(root + "data.pkl");
  if (data == nullptr) {
    return Corrupt(fmt::format("[TZ-2] expected a record {}data.pkl", root), OtherZip(zip, root));
  }
  const ZipMember* version = zip.Find(root + "version");
  if (version == nullptr) version = zip.Find(root + ".data/version");
  if (version == nullptr) return Corrupt(fmt::format("[TZ-3] expected a record {}version", root));
  ANEMONE_TRY(CheckVersion(*version));
  TorchFile file;
  file.torchscript = zip.Find(root + "constants.pkl") != nullptr;
  bool big_endian = false;
  if (const ZipMember* order = zip.Find(root + "byteorder")) {
    ANEMONE_ASSIGN(const std::string word, order->content.ReadAll(64));
    if (word != "little" && word != "big")
      return Corrupt(fmt::format("[TZ-4] expected little or big as byteorder, found \"{}\"", word));
    big_endian = word == "big";
  }
  const FindRecord find_record = RecordsIn(zip, root + "data/", range, within);
  // Only hand-made files deflate it, and then by little.
  const uint64_t max_bytes = std::min(kMaxPickleBytes, (uint64_t{64} << 20) + 64 * data->stored_size);
  auto pickle = data->content.ReadAll(max_bytes);
  if (!pickle.ok()) return pickle.status().In(data->name);
  if (data->crc32 && Crc32(0, std::as_bytes(std::span(*pickle))) != *data->crc32) {
    return Corrupt("[TZ-5] the pickle does not match its CRC-32").In(data->name);
  }
  auto value = ReadPickle(*pickle, {.stored_bytes = data->stored_size}, nullptr,
                          RebuildTensors(find_record, big_endian, &file.longer_record));
  if (!value.ok()) return value.status().In(data->name);
  file.root = *std::move(value);
  return file;
}

ByteRange WithRecordedCrcs(const ByteRange& content) {
  constexpr uint64_t kHead = 4;
  const Result<ByteRange> start = content.Sub(0, std::min(content.size, kHead));
  const Result<std::string> head = start.ok() ? start->ReadAll(kHead) : start.status();
  if (!head.ok() || !LooksLikeZip(*head)) return content;
  const Result<ZipArchive> zip = ZipArchive::Open(content);
  if (!zip.ok()) return content;
  return {WithCrcsOf(*zip, "", content, ""), content.offset, content.size};
}

}  // namespace anemone
