// Reading torch_dist folders: `.metadata` says where each chunk lies; an item is a complete torch file inside a
// `.distcp`.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "format/dist_entries.h"
#include "format/torch_dist_metadata.h"
#include "format/torch_file.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxMetadataBytes = uint64_t{1} << 30;

// A file read item after item. A zip's directory lies at its end and the next zip begins right there: one window read
// across each seam serves both, so an item costs about one read however many its parser makes. Drop() ends that and
// frees the window; the tensors that refer to this source then read the file as it is.
class SeamReader final : public ByteSource {
 public:
  explicit SeamReader(ByteRange file) : file_(std::move(file)) {}
  uint64_t size_bytes() const override { return file_.source->size_bytes(); }
  const std::string& name() const override { return file_.source->name(); }
  int fd() const override { return file_.source->fd(); }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (!reading_ahead_ || out.size() > kWindow / 2) return file_.source->ReadAt(offset, out);
    if (offset < start_ || offset + out.size() > start_ + window_.size()) {
      const uint64_t end = file_.offset + file_.size;
      if (offset < file_.offset || offset > end || out.size() > end - offset) return file_.source->ReadAt(offset, out);
      // Centred on the end of what is wanted: the tail of one item, the head of the next.
      const uint64_t middle = offset + out.size();
      start_ = middle - std::min<uint64_t>(middle - file_.offset, kWindow / 2);
      window_.resize(std::min<uint64_t>(end - start_, kWindow));
      if (Status status = file_.source->ReadAt(start_, window_); !status.ok()) {
        window_.clear();
        return status;
      }
    }
    std::memcpy(out.data(), window_.data() + (offset - start_), out.size());
    return {};
  }
  void Drop() {
    reading_ahead_ = false;
    window_ = {};
  }

 private:
  static constexpr uint64_t kWindow = 4096;
  ByteRange file_;
  bool reading_ahead_ = true;  // while one thread opens the folder
  mutable uint64_t start_ = 0;
  mutable std::vector<std::byte> window_;
};

struct Item {
  size_t entry, chunk;  // chunk: npos for an object
  DistLocation location;
};

Status ReadItem(const ByteRange& range, const DistItem& declared, const Item& item, DistEntry& entry) {
  ANEMONE_ASSIGN(TorchFile file, ReadTorchFile(range));
  if (std::holds_alternative<DistLocation>(declared.content)) {
    entry.content = std::move(file.root);
    return {};
  }
  const DistTensor& tensor = std::get<DistTensor>(declared.content);
  const DistChunk& chunk = tensor.chunks[item.chunk];
  if (file.root.node->kind != ValueNode::Kind::kTensor)
    return Corrupt("[TD-10] expected a tensor, found another object");
  const Tensor& found = *file.root.node->tensor;
  if (found.dtype() != tensor.dtype || found.shape() != chunk.sizes) {
    return Corrupt(fmt::format("[TD-10] expected {} {}, found {} {}", Name(tensor.dtype), ToString(chunk.sizes),
                               Name(found.dtype()), ToString(found.shape())));
  }
  std::get<ChunkedTensor>(entry.content).chunks[item.chunk].tensor = found;
  return {};
}

// The items of one file, in the order they lie in it.
Status ReadItems(const Artifact& member, const std::vector<DistItem>& declared, const std::vector<Item>& items,
                 std::vector<DistEntry>& entries) {
  const auto source = std::make_shared<SeamReader>(member.content);
  for (const Item& item : items) {
    const DistItem& of = declared[item.entry];
    const uint64_t size = member.content.size;
    if (item.location.offset > size || item.location.length > size - item.location.offset) {
      return Corrupt(fmt::format("[TD-5] truncated: expected {} bytes at {}, found {} bytes in all",
                                 item.location.length, item.location.offset, size))
          .In(of.key)
          .In(member.name);
    }
    const ByteRange range{source, member.content.offset + item.location.offset, item.location.length};
    ANEMONE_TRY(ReadItem(range, of, item, entries[item.entry])
                    .In(of.key)
                    .In(fmt::format("{} at {}", member.name, item.location.offset)));
  }
  source->Drop();
  return {};
}

}  // namespace

Result<std::vector<DistEntry>> ReadTorchDist(const std::vector<Artifact>& members, std::vector<std::string>& used) {
  const Artifact* index = FindMember(members, ".metadata");
  if (index == nullptr) {
    return NotFound("[TD-1] expected .metadata, found none",
                    "the save did not finish, or hidden files were left out of a copy");
  }
  used.push_back(index->name);
  ANEMONE_ASSIGN(const std::string pickle, index->content.ReadAll(kMaxMetadataBytes));
  auto parsed = ParseDistMetadata(pickle);
  if (!parsed.ok()) return parsed.status().In(".metadata");
  const DistMetadata& metadata = *parsed;

  std::vector<DistEntry> entries(metadata.items.size());
  std::vector<std::vector<Item>> by_file(metadata.files.size());
  // Stands in for a chunk until its item is read.
  ANEMONE_ASSIGN(const Tensor unread, Tensor::FromBytes(DType::kU8, {0}, {}));
  for (size_t i = 0; i < metadata.items.size(); ++i) {
    const DistItem& item = metadata.items[i];
    entries[i].key = item.key;
    entries[i].path = item.path;
    if (const auto* location = std::get_if<DistLocation>(&item.content)) {
      by_file[location->file].push_back({i, std::string::npos, *location});
      continue;
    }
    const DistTensor& tensor = std::get<DistTensor>(item.content);
    ChunkedTensor& chunked = entries[i].content.emplace<ChunkedTensor>();
    chunked.dtype = tensor.dtype;
    chunked.shape = tensor.shape;
    chunked.original_shape = tensor.original_shape;
    for (size_t c = 0; c < tensor.chunks.size(); ++c) {
      chunked.chunks.push_back({tensor.chunks[c].offsets, unread});
      by_file[tensor.chunks[c].location.file].push_back({i, c, tensor.chunks[c].location});
    }
  }
  for (size_t f = 0; f < metadata.files.size(); ++f) {
    if (by_file[f].empty()) continue;
    const Artifact* member = FindMember(members, metadata.files[f]);
    if (member == nullptr) {
      return NotFound(fmt::format("[TD-5] expected the file {}, found none", metadata.files[f]),
                      "a shard of the checkpoint is missing");
    }
    used.push_back(member->name);
    std::ranges::sort(by_file[f], {}, [](const Item& item) { return item.location.offset; });
    ANEMONE_TRY(ReadItems(*member, metadata.items, by_file[f], entries));
  }
  return entries;
}

}  // namespace anemone
