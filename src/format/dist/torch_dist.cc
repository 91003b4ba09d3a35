// Reading torch_dist folders: `.metadata` says where each chunk lies; an item is a complete torch file inside a
// `.distcp`.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/cores.h"
#include "base/for_each.h"
#include "base/little_endian.h"
#include "format/dist/entries.h"
#include "format/dist/torch_dist_metadata.h"
#include "format/torch/torch_file.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxMetadataBytes = uint64_t{1} << 30;

// A file while its items are opened, one after another. A parser reads a zip's end, then headers here and there: two
// windows, one for an item's end and one for its beginning, make that two reads an item. Drop() frees them; the tensors
// that refer to this source then read the file as it is. It records the CRCs of all items, which would else each have a
// source of its own.
class ItemReader final : public ByteSource {
 public:
  explicit ItemReader(const Artifact& member) : file_(member.content), member_(member.name) {}
  uint64_t size_bytes() const override { return file_.source->size_bytes(); }
  const std::string& name() const override { return file_.source->name(); }
  int fd() const override { return file_.source->fd(); }
  Status CheckUnchanged() const override { return file_.source->CheckUnchanged(); }
  std::string_view remote_version() const override { return file_.source->remote_version(); }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    const uint64_t end = file_.offset + file_.size;
    if (!opening_ || out.size() > kLargest || offset > end || out.size() > end - offset) {
      return file_.source->ReadAt(offset, out);
    }
    for (Window& window : windows_) {
      if (offset < window.start || offset + out.size() > window.start + window.bytes.size()) continue;
      std::memcpy(out.data(), window.bytes.data() + (offset - window.start), out.size());
      recent_ = &window;
      return {};
    }
    Window& window = recent_ == &windows_[0] ? windows_[1] : windows_[0];
    recent_ = &window;
    window.start = offset;
    window.bytes.resize(std::min<uint64_t>(end - offset, std::max<uint64_t>(out.size(), kAhead)));
    if (Status status = file_.source->ReadAt(offset, window.bytes); !status.ok()) {
      window.bytes.clear();
      return status;
    }
    std::memcpy(out.data(), window.bytes.data(), out.size());
    return {};
  }
  std::span<const RecordedCrc32> recorded_crcs() const override { return crcs_; }
  std::string NameOfRecord(const RecordedCrc32& record) const override {
    const std::string place = fmt::format("record at byte {}", record.offset - file_.offset);
    return name().ends_with(member_) ? place : fmt::format("{}: {}", member_, place);
  }
  // The same tensor in this source, where it is one record of it.
  Result<Tensor> Take(const Tensor& tensor, const std::shared_ptr<ItemReader>& self) {
    const std::optional<ByteRange> range = tensor.AsByteRange();
    const auto crcs = range ? range->source->recorded_crcs() : std::span<const RecordedCrc32>();
    if (crcs.size() != 1 || crcs[0].offset != range->offset || crcs[0].size != range->size) return tensor;
    if (range->source->StoredOf(crcs[0]).source != self) return tensor;
    crcs_.push_back(crcs[0]);
    return Tensor::FromFile(tensor.dtype(), tensor.shape(), self, range->offset);
  }
  void Drop() {
    opening_ = false;
    for (Window& window : windows_) window.bytes = {};
    std::ranges::sort(crcs_, {}, &RecordedCrc32::offset);
  }

 private:
  // A zip's end record is searched for in the last 64 KiB and a bit.
  static constexpr uint64_t kLargest = 128 << 10, kAhead = 1024;
  struct Window {
    uint64_t start = 0;
    std::vector<std::byte> bytes;
  };
  ByteRange file_;
  std::string member_;
  std::vector<RecordedCrc32> crcs_;
  bool opening_ = true;  // by one thread
  mutable Window windows_[2];
  mutable Window* recent_ = &windows_[0];
};

struct Item {
  DistItem* item;
  DistChunk* chunk;  // null: an object
  const DistLocation& location() const {
    return chunk != nullptr ? chunk->location : std::get<DistObject>(item->content).location;
  }
};

// The last object that is None, by itself or in a list, as most are: one value serves all that have its bytes. Others
// may be changed by who loads them, and stay apart.
struct LastNone {
  std::string bytes;
  Value value;
};

bool IsNone(const ValueNode& node) {
  const bool is_listed = node.kind == ValueNode::Kind::kList && node.items.size() == 1;
  return (is_listed ? *node.items[0] : node).kind == ValueNode::Kind::kNone;
}

Result<Value> ReadObject(const ByteRange& range, LastNone& last) {
  constexpr uint64_t kSmall = 4096;
  std::string bytes;
  if (range.size <= kSmall) {
    ANEMONE_ASSIGN(bytes, range.ReadAll(kSmall));
    if (bytes == last.bytes) return last.value;
  }
  ANEMONE_ASSIGN(TorchFile file, ReadTorchFile(range));
  if (!bytes.empty() && IsNone(*file.root.node)) last = {std::move(bytes), file.root};
  return std::move(file.root);
}

// SerializationFormat.SAFETENSORS has a whole safetensors file at the place of each tensor [torch filesystem.py,
// _write_files_from_queue].
bool IsSafetensors(const ByteRange& range) {
  std::string head(9, 0);
  const uint64_t left = range.source->size_bytes() - range.offset;
  if (left < head.size() || !range.source->ReadAt(range.offset, std::as_writable_bytes(std::span(head))).ok())
    return false;
  return internal::LittleEndian(head.substr(0, 8)) <= left - 8 && head[8] == '{';
}

Status ReadItem(const ByteRange& range, const std::shared_ptr<ItemReader>& reader, const Item& at, LastNone& last) {
  if (at.chunk == nullptr) {
    ANEMONE_ASSIGN(std::get<DistObject>(at.item->content).value, ReadObject(range, last));
    return {};
  }
  Result<TorchFile> opened = ReadTorchFile(range);
  if (!opened.ok() && IsSafetensors(range)) {
    return Unsupported(
        "[TD-10] expected tensors saved by torch.save, found a safetensors file (SerializationFormat.SAFETENSORS), "
        "which torch's FileSystemReader does not load either",
        fmt::format("copy it from byte {} on, and the other .distcp alike, to files that end in .safetensors; "
                    "torch.distributed.checkpoint._consolidate_hf_safetensors.consolidate_safetensors_files makes a "
                    "checkpoint of them",
                    at.location().offset));
  }
  ANEMONE_ASSIGN(TorchFile file, std::move(opened));
  const DType dtype = std::get<DistTensor>(at.item->content).dtype;
  if (file.root.node->kind != ValueNode::Kind::kTensor)
    return Corrupt("[TD-10] expected a tensor, found another object");
  const Tensor& found = *file.root.node->tensor;
  if (found.dtype() != dtype || found.shape() != *at.chunk->sizes) {
    return Corrupt(fmt::format("[TD-10] expected {} {}, found {} {}", Name(dtype), ToString(*at.chunk->sizes),
                               Name(found.dtype()), ToString(found.shape())));
  }
  ANEMONE_ASSIGN(at.chunk->tensor, reader->Take(found, reader));
  return {};
}

// Items of one file, in the order they lie in it.
Status ReadItems(const Artifact& member, std::span<const Item> items) {
  const auto source = std::make_shared<ItemReader>(member);
  LastNone last;
  for (const Item& at : items) {
    const DistLocation& location = at.location();
    const uint64_t size = member.content.size;
    if (location.offset > size || location.length > size - location.offset) {
      return Corrupt(fmt::format("[TD-5] truncated: expected {} bytes at {}, found {} bytes in all", location.length,
                                 location.offset, size))
          .In(at.item->key)
          .In(member.name);
    }
    const ByteRange range{source, member.content.offset + location.offset, location.length};
    ANEMONE_TRY(
        ReadItem(range, source, at, last).In(at.item->key).In(fmt::format("{} at {}", member.name, location.offset)));
  }
  source->Drop();
  return {};
}

// Some of a file's items, read one after another, as they lie beside each other.
struct Run {
  const Artifact* member;
  std::span<const Item> items;
};
constexpr size_t kItemsOfRun = 64;

Status ReadRuns(const std::vector<Run>& runs) {
  const bool is_remote = !runs.empty() && !runs.front().member->content.source->remote_version().empty();
  const auto workers = std::min(is_remote ? kWorkersAtAServer : UsableCores(), static_cast<unsigned>(runs.size()));
  return ForEach(runs.size(), workers, [&](uint64_t i, unsigned) { return ReadItems(*runs[i].member, runs[i].items); });
}

}  // namespace

Result<DistMetadata> ReadTorchDist(const std::vector<Artifact>& members, std::vector<std::string_view>& used) {
  const Artifact* index = FindMember(members, ".metadata");
  if (index == nullptr) {
    return NotFound("[TD-1] expected .metadata, found none",
                    "the save did not finish, or hidden files were left out of a copy");
  }
  used.emplace_back(index->name);
  ANEMONE_ASSIGN(std::string pickle, index->content.ReadAll(kMaxMetadataBytes));
  auto parsed = ParseDistMetadata(std::move(pickle));
  if (!parsed.ok()) return parsed.status().In(".metadata");
  DistMetadata& metadata = *parsed;

  std::vector<std::vector<Item>> by_file(metadata.files.size());
  for (DistItem& item : metadata.items) {
    if (const auto* object = std::get_if<DistObject>(&item.content)) {
      by_file[object->location.file].push_back({&item, nullptr});
      continue;
    }
    for (DistChunk& chunk : std::get<DistTensor>(item.content).chunks)
      by_file[chunk.location.file].push_back({&item, &chunk});
  }
  std::vector<Run> runs;
  for (size_t f = 0; f < metadata.files.size(); ++f) {
    if (by_file[f].empty()) continue;
    const Artifact* member = FindMember(members, metadata.files[f]);
    if (member == nullptr) {
      return NotFound(fmt::format("[TD-5] expected the file {}, found none", metadata.files[f]),
                      "a shard of the checkpoint is missing");
    }
    used.emplace_back(member->name);
    std::ranges::sort(by_file[f], {}, [](const Item& item) { return item.location().offset; });
    const std::span<const Item> items = by_file[f];
    for (size_t at = 0; at < items.size(); at += kItemsOfRun)
      runs.push_back({member, items.subspan(at, std::min(kItemsOfRun, items.size() - at))});
  }
  ANEMONE_TRY(ReadRuns(runs));
  return parsed;
}

}  // namespace anemone
