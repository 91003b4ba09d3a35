#include "ops/verify.h"

#include <fmt/format.h>
#include <libdeflate.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "anemone/checkpoint.h"
#include "format/format.h"
#include "ops/canonical.h"
#include "ops/model_class.h"
#include "ops/walk.h"

namespace anemone {
namespace {

constexpr uint64_t kChunkBytes = uint64_t{4} << 20;

uint64_t BytesUnder(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    const uint64_t size = std::filesystem::file_size(path, error);
    return error ? 0 : size;
  }
  uint64_t total = 0;
  for (std::filesystem::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error)) total += it->file_size(error);
  }
  return total;
}

bool IsAnswer(const Status& status) {
  return status.kind() == ErrorKind::kCorrupt || status.kind() == ErrorKind::kUnsupported ||
         status.kind() == ErrorKind::kLimitExceeded || status.kind() == ErrorKind::kInvalidArgument;
}

// Reads every byte once; compares with the box's checksum where there is one.
class Reader {
 public:
  Reader(Verification& result, const ProgressFn& progress, uint64_t total)
      : result_(result), progress_(progress), total_(total) {}

  Status Visit(const Leaf& leaf) {
    uint32_t crc = 0;
    std::string chunk;
    for (uint64_t at = 0; at < leaf.content.size; at += chunk.size()) {
      chunk.resize(std::min(kChunkBytes, leaf.content.size - at));
      const Status status =
          leaf.content.source->ReadAt(leaf.content.offset + at, std::as_writable_bytes(std::span(chunk)));
      if (!status.ok()) {
        if (!IsAnswer(status)) return status.In(leaf.path);
        result_.problems.push_back(status.In(leaf.path).message());
        return {};
      }
      if (leaf.crc32) crc = libdeflate_crc32(crc, chunk.data(), chunk.size());
      result_.bytes_read += chunk.size();
      if (progress_ && !progress_("verifying", std::min(result_.bytes_read, total_), total_)) {
        return {ErrorKind::kInterrupted, "interrupted"};
      }
    }
    if (leaf.crc32 && crc != *leaf.crc32) {
      result_.problems.push_back(
          fmt::format("{}: expected CRC-32 {:08x}, found {:08x}: the bytes have changed", leaf.path, *leaf.crc32, crc));
    }
    return {};
  }

 private:
  Verification& result_;
  const ProgressFn& progress_;
  uint64_t total_;
};

void CheckReferences(const Checkpoint& checkpoint, const ConfigNode& node, const std::string& path,
                     std::vector<std::string>& problems) {
  for (const auto& [key, child] : node.map) {
    CheckReferences(checkpoint, child, path.empty() ? key : path + "." + key, problems);
  }
  for (size_t i = 0; i < node.list.size(); ++i) {
    CheckReferences(checkpoint, node.list[i], fmt::format("{}[{}]", path, i), problems);
  }
  const std::optional<std::string> text = node.AsString();
  if (text && text->starts_with("nemo:") && checkpoint.FindArtifact(text->substr(5)) == nullptr) {
    problems.push_back(fmt::format("{}: {}: expected the artifact '{}' in the checkpoint, found none", checkpoint.path,
                                   path, text->substr(5)));
  }
}

}  // namespace

Result<Verification> Verify(const std::string& path, const ProgressFn& progress) {
  Verification result;
  Reader reader(result, progress, BytesUnder(path));
  const auto on_broken = [&result](const Status& problem) -> Status {
    if (!IsAnswer(problem)) return problem;
    result.problems.push_back(problem.message());
    return {};
  };
  ANEMONE_TRY(Walk(
      path, [&reader](const Leaf& leaf) { return reader.Visit(leaf); }, on_broken));

  const Result<Checkpoint> checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok()) {
    if (!IsAnswer(checkpoint.status())) return checkpoint.status();
    // A broken box was already named by the walk.
    if (result.problems.empty()) result.problems.push_back(checkpoint.status().message());
    return result;
  }
  for (const Shard& shard : checkpoint->shards) {
    result.tensors += shard.weights.size();
    for (const StateDict& chunk : shard.chunks) result.tensors += chunk.size();
  }
  if (checkpoint->config) CheckReferences(*checkpoint, checkpoint->config->root(), "", result.problems);
  // What no family knows is checked as far as its containers go.
  if (FamilyOf(*checkpoint) != nullptr) {
    const Result<Checkpoint> canonical = Canonical(*checkpoint);
    if (!canonical.ok()) result.problems.push_back(canonical.status().In(path).message());
  }
  return result;
}

}  // namespace anemone
