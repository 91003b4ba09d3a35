#include "format/torch/torch_legacy.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/text_hash.h"
#include "container/pickle.h"
#include "container/pickle_opcodes.h"
#include "format/torch/pickled.h"
#include "format/torch/rebuild.h"
#include "format/torch/storage_id.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// LONG1 of 0x1950A86A20F9469CFC6C and STOP [pytorch torch/serialization.py, MAGIC_NUMBER]. Before it PROTO, and from
// protocol 4 on FRAME with its length.
constexpr std::string_view kLegacyMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 13);
// The same under protocols 0 and 1, which have no PROTO.
constexpr std::string_view kLegacyTextMagic = "L119547037146038801333356L\n.";

// Reads pickles one after another from a file whose pickled part has no known length: as much is read ahead as the next
// pickle needs, and half of it more.
class PickleSequence {
 public:
  explicit PickleSequence(const ByteRange& range) : range_(range) {}
  Result<Value> Next(const ObjectVisitor& visitor = {}) {
    ANEMONE_TRY(ReadToStop());
    uint64_t consumed = 0;
    auto value = ReadPickle(std::string_view(bytes_).substr(position_), {}, &consumed, visitor);
    position_ += consumed;
    return value;
  }
  // The pickle at a position that was passed.
  Result<Value> Again(uint64_t position, const ObjectVisitor& visitor) const {
    return ReadPickle(std::string_view(bytes_).substr(position), {}, nullptr, visitor);
  }
  uint64_t position() const { return position_; }

 private:
  // Reads until the pickle at `position_` is whole, or there is no more.
  Status ReadToStop() {
    const uint64_t limit = std::min(range_.size, kMaxPickleBytes);
    for (size_t at = position_; !internal::SkipToStop(bytes_, at) && bytes_.size() < limit;) {
      const size_t had = bytes_.size();
      bytes_.resize(std::min<uint64_t>(limit, std::max<uint64_t>(had + had / 2, 1 << 18)));
      const auto more = std::as_writable_bytes(std::span(bytes_).subspan(had));
      ANEMONE_TRY(range_.source->ReadAt(range_.offset + had, more));
    }
    return {};
  }

  const ByteRange& range_;
  std::string bytes_;
  uint64_t position_ = 0;
};

struct Storage {
  uint64_t item_bytes = 0;
  uint64_t offset = 0, size = 0;  // of its bytes in the file
  bool is_listed = false;
};
using Storages = internal::TextMap<Storage>;  // by key

// Finds the bytes of the storages, which stand from `position` on in the order of `keys`, each behind its number of
// elements.
Status PlaceStorages(const ValueNode& keys, bool is_little, const ByteRange& range, uint64_t position,
                     Storages& storages) {
  for (const ValueNode* node : keys.items) {
    const std::string_view key = Text(node).value_or("");
    const auto found = storages.find(key);
    if (found == storages.end()) return Corrupt(fmt::format("[TL-3] storage {} is listed but never used", key));
    Storage& storage = found->second;
    auto count_range = range.Sub(position, 8);
    if (!count_range.ok())
      return Corrupt(fmt::format("[TL-3] the file ends before storage {}", key), "the file is cut short");
    ANEMONE_ASSIGN(const std::string count_bytes, count_range->ReadAll(8));
    uint64_t count = 0;
    for (size_t i = 0; i < 8; ++i) {
      const size_t at = is_little ? i : 7 - i;
      count |= uint64_t{static_cast<unsigned char>(count_bytes[at])} << (8 * i);
    }
    position += 8;
    if (std::exchange(storage.is_listed, true)) return Corrupt(fmt::format("[TL-3] storage {} is listed twice", key));
    if (__builtin_mul_overflow(count, storage.item_bytes, &storage.size) || storage.size > range.size - position) {
      return Corrupt(fmt::format("[TL-3] expected {} elements in storage {}, found {} bytes up to the end", count, key,
                                 range.size - position),
                     "the file is cut short");
    }
    storage.offset = position;
    position += storage.size;
  }
  return {};
}

}  // namespace

bool HasLegacyMagic(std::string_view head) {
  if (head.substr(0, kLegacyTextMagic.size()) == kLegacyTextMagic) return true;
  if (head.size() < 2 || head[0] != '\x80' || head[1] < 2 || head[1] > 5) return false;
  head.remove_prefix(2);
  if (head.size() > 9 && head[0] == '\x95') head.remove_prefix(9);
  return head.substr(0, kLegacyMagic.size()) == kLegacyMagic;
}

Result<TorchFile> ReadTorchLegacy(const ByteRange& range) {
  PickleSequence pickles(range);
  ANEMONE_ASSIGN(const Value magic, pickles.Next());
  ANEMONE_ASSIGN(const Value protocol, pickles.Next());
  if (protocol.node->kind != Kind::kInt || protocol.node->integer != 1001) {
    return Corrupt("[TL-1] expected 1001 as protocol version");
  }
  ANEMONE_ASSIGN(const Value system, pickles.Next());
  const ValueNode* little = DictEntries(*system.node) ? Lookup(*system.node, "little_endian") : nullptr;
  if (little == nullptr || little->kind != Kind::kBool)
    return Corrupt("[TL-2] expected little_endian in the system description");
  TorchFile file;
  file.legacy = true;
  // The element size of a storage is only said where it is used; the first use wins. The object is read once for that,
  // and again once it is known where the storages are.
  Storages storages;
  const auto see = [&](ValueNode& node) -> Result<bool> {
    if (node.kind != Kind::kPersistent) return IsTensorCall(node);
    if (IsModuleClass(node)) return false;
    ANEMONE_ASSIGN(const StorageId id, ParseStorageId(&node));
    storages.emplace(id.key, Storage{.item_bytes = id.dtype ? SizeBytes(*id.dtype) : 1});
    return false;
  };
  const uint64_t object_at = pickles.position();
  if (auto seen = pickles.Next({.object = see, .pair = {}}); !seen.ok()) return seen.status().In("the object's pickle");
  {
    auto keys = pickles.Next();
    if (!keys.ok()) return keys.status().In("the storage keys");
    if (keys->node->kind != Kind::kList) return Corrupt("[TL-3] expected a list of storage keys");
    ANEMONE_TRY(PlaceStorages(*keys->node, little->integer != 0, range, pickles.position(), storages));
  }
  const FindRecord find_record = [&](const std::string& key) -> std::optional<ByteRange> {
    const auto found = storages.find(key);
    if (found == storages.end() || !found->second.is_listed) return std::nullopt;
    return ByteRange{range.source, range.offset + found->second.offset, found->second.size};
  };
  auto root = pickles.Again(object_at, RebuildTensors(find_record, little->integer == 0));
  if (!root.ok()) return root.status().In("the object's pickle");
  file.root = *std::move(root);
  return file;
}

}  // namespace anemone
