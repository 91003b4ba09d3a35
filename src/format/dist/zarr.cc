// Reading zarr (version 2) folders as Megatron-core wrote them until 2024: a directory for each tensor, raw chunks
// inside. Source of facts: the zarr v2 specification; Megatron-LM core_v0.9.0 dist_checkpointing/strategies/zarr.py.
// Rules ZA-n: docs/formats/zarr.md.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "anemone/config.h"
#include "format/dist/entries.h"
#include "format/torch/torch_file.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxHeaderBytes = 1 << 20;
constexpr size_t kMaxRank = 64;

Result<Shape> ReadSizes(const ConfigNode& root, std::string_view key) {
  const ConfigNode* node = root.Get(key);
  if (node == nullptr || !node->is_list() || node->list.size() > kMaxRank) {
    return Corrupt(fmt::format("[ZA-1] expected a list of sizes as \"{}\"", key));
  }
  Shape sizes;
  for (const ConfigNode& item : node->list) {
    const auto size = item.AsInt();
    if (!size || *size < 0)
      return Corrupt(fmt::format("[ZA-1] expected sizes as \"{}\", found {}", key, item.ScalarText()));
    sizes.push_back(static_cast<uint64_t>(*size));
  }
  return sizes;
}

struct Header {
  DType dtype = DType::kF32;
  Shape shape, chunks;
  char separator = '.';
};

Result<Header> ReadHeader(const Artifact& member) {
  ANEMONE_ASSIGN(const std::string text, member.content.ReadAll(kMaxHeaderBytes));
  ANEMONE_ASSIGN(const Config config, Config::ParseJson(text, member.name));
  const ConfigNode& root = config.root();
  const auto get = [&](std::string_view key) { return root.Get(key); };
  if (const ConfigNode* format = get("zarr_format"); format == nullptr || format->AsInt() != 2) {
    return Unsupported(
        fmt::format("[ZA-1] expected zarr_format 2, found {}", format == nullptr ? "none" : format->ScalarText()));
  }
  for (const std::string_view key : {"compressor", "filters"}) {
    const ConfigNode* codec = get(key);
    if (codec == nullptr || codec->is_null() || (codec->is_list() && codec->list.empty())) continue;
    const ConfigNode& first = codec->is_list() ? codec->list.front() : *codec;
    const ConfigNode* id = first.Get("id");
    return Unsupported(fmt::format("[ZA-2] expected raw chunks, found {} \"{}\"", key,
                                   id == nullptr ? "of some kind" : id->ScalarText()),
                       "Megatron and NeMo write zarr without compression; decompress it with the zarr package first");
  }
  if (const ConfigNode* order = get("order"); order != nullptr && order->AsString() != "C") {
    return Unsupported(fmt::format("[ZA-1] expected order C, found {}", order->ScalarText()));
  }
  Header header;
  if (const ConfigNode* separator = get("dimension_separator"); separator != nullptr && !separator->is_null()) {
    const std::string word = separator->ScalarText();
    if (word != "." && word != "/") return Corrupt(fmt::format("[ZA-1] expected the separator . or /, found {}", word));
    header.separator = word[0];
  }
  const ConfigNode* dtype = get("dtype");
  const std::string word = dtype != nullptr && dtype->AsString() ? *dtype->AsString() : "";
  const auto found = FindDType(&DTypeInfo::numpy, word);
  if (word.empty() || !found)
    return Unsupported(fmt::format("[ZA-3] expected a dtype of numpy or bfloat16, found \"{}\"", word));
  header.dtype = *found;
  ANEMONE_ASSIGN(header.shape, ReadSizes(root, "shape"));
  ANEMONE_ASSIGN(header.chunks, ReadSizes(root, "chunks"));
  if (header.chunks.size() != header.shape.size()) {
    return Corrupt(
        fmt::format("[ZA-1] expected chunks of {} axes, found {}", header.shape.size(), ToString(header.chunks)));
  }
  const auto elements = NumElements(header.shape);
  const auto chunk = NumElements(header.chunks);
  if (!elements || !chunk || *elements > UINT64_MAX / 16 || *chunk > UINT64_MAX / 16)
    return Corrupt("[ZA-1] sizes that overflow");
  if (*chunk == 0 && *elements != 0)
    return Corrupt(fmt::format("[ZA-1] expected chunks, found {}", ToString(header.chunks)));
  return header;
}

Result<DistTensor> ReadArray(const std::vector<Artifact>& members, const Artifact& member, DistMetadata& metadata,
                             std::vector<std::string_view>& used) {
  ANEMONE_ASSIGN(const Header header, ReadHeader(member));
  const std::string folder = member.name.substr(0, member.name.size() - std::string_view(".zarray").size());
  DistTensor tensor{header.dtype, metadata.Keep(header.shape), {}, nullptr};
  if (*NumElements(header.shape) == 0) return tensor;
  const size_t rank = header.shape.size();
  Shape index(rank, 0);
  // As many rounds as there are chunk files: the first one missing ends it.
  while (true) {
    std::string name = rank == 0 ? "0" : "";
    for (size_t axis = 0; axis < rank; ++axis)
      name += (axis == 0 ? "" : std::string(1, header.separator)) + std::to_string(index[axis]);
    const Artifact* chunk = FindMember(members, folder + name);
    if (chunk == nullptr) {
      return Corrupt(fmt::format("[ZA-4] expected the chunk {}, found none", name),
                     "a shard of the checkpoint is missing");
    }
    used.emplace_back(chunk->name);
    const uint64_t size = *NumElements(header.chunks) * SizeBytes(header.dtype);
    if (chunk->content.size != size) {
      return Corrupt(
          fmt::format("[ZA-4] expected {} bytes in the chunk {}, found {}", size, name, chunk->content.size));
    }
    ANEMONE_ASSIGN(Tensor part,
                   Tensor::FromFile(header.dtype, header.chunks, chunk->content.source, chunk->content.offset));
    Shape offsets(rank);
    for (size_t axis = 0; axis < rank; ++axis) {
      offsets[axis] = index[axis] * header.chunks[axis];
      const uint64_t length = std::min(header.chunks[axis], header.shape[axis] - offsets[axis]);
      // ZA-5: chunks at the edge are stored whole.
      if (length != header.chunks[axis]) {
        ANEMONE_ASSIGN(part, part.Narrow(axis, 0, length));
      }
    }
    const Shape* const sizes = metadata.Keep(part.shape());
    tensor.chunks.push_back({metadata.Keep(std::move(offsets)), sizes, {}, std::move(part)});
    size_t axis = rank;
    while (axis > 0) {
      --axis;
      if ((index[axis] + 1) * header.chunks[axis] < header.shape[axis]) {
        ++index[axis];
        break;
      }
      index[axis] = 0;
      if (axis == 0) return tensor;
    }
    if (rank == 0) return tensor;
  }
}

constexpr std::string_view kArray = "/.zarray";

// A chunk lies below its array: "a/b/0.1", or "a/b/0/1".
Status CheckChunksHaveArrays(const std::vector<Artifact>& members) {
  for (const Artifact& member : members) {
    std::string_view folder = member.name;
    bool is_chunk = false, has_array = false;
    for (size_t slash = folder.rfind('/'); slash != std::string_view::npos; slash = folder.rfind('/')) {
      if (folder.substr(slash + 1).find_first_not_of("0123456789.") != std::string_view::npos) break;
      is_chunk = true;
      folder = folder.substr(0, slash);
      has_array = has_array || FindMember(members, fmt::format("{}{}", folder, kArray)) != nullptr;
    }
    if (is_chunk && !has_array)
      return Corrupt(fmt::format("[ZA-1] expected {}{} for the chunk {}, found none", folder, kArray, member.name),
                     "the copy of the folder is not whole");
  }
  return {};
}

// ZA-6: each rank that writes a part of an array locks it by an empty file in a folder beside it.
bool IsLock(const std::vector<Artifact>& members, const Artifact& member) {
  const size_t folder = member.name.find(".sync/");
  return folder != std::string::npos && member.content.size == 0 &&
         FindMember(members, fmt::format("{}{}", member.name.substr(0, folder), kArray)) != nullptr;
}

void DropLocks(std::vector<Artifact>& members) {
  std::vector<bool> locks;
  locks.reserve(members.size());
  for (const Artifact& member : members) locks.push_back(IsLock(members, member));
  size_t at = 0;
  std::erase_if(members, [&](const Artifact&) { return locks[at++]; });
}

}  // namespace

Result<DistMetadata> ReadZarr(std::vector<Artifact>& members, std::vector<std::string_view>& used) {
  DropLocks(members);
  ANEMONE_TRY(CheckChunksHaveArrays(members));
  constexpr std::string_view kObject = ".pt";
  DistMetadata metadata;
  for (Artifact& member : members) {
    if (member.name.ends_with(kArray)) {
      std::string key = member.name.substr(0, member.name.size() - kArray.size());
      used.emplace_back(member.name);
      auto tensor = ReadArray(members, member, metadata, used);
      if (!tensor.ok()) return tensor.status().In(key);
      member.content = {};  // of many files
      metadata.items.push_back({std::move(key), {}, *std::move(tensor)});
    } else if (member.name.ends_with(kObject)) {
      std::string key = member.name.substr(0, member.name.size() - kObject.size());
      if (!SplitObjectKey(key)) continue;
      used.emplace_back(member.name);
      auto file = ReadTorchFile(member.content);
      if (!file.ok()) return file.status().In(member.name);
      metadata.items.push_back({std::move(key), {}, DistObject{{}, std::move(file->root)}});
    }
  }
  return metadata;
}

}  // namespace anemone
