#include "anemone/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>

#include "anemone/checkpoint.h"
#include "base/cancel.h"
#include "base/cores.h"
#include "base/crc32.h"
#include "base/for_each.h"
#include "check/walk.h"
#include "edit/model_class.h"
#include "engine/direct.h"
#include "family/family.h"
#include "family/tokenizer/check_artifact.h"
#include "format/format.h"
#include "format/nemo/nemo.h"
#include "inspect/summary.h"
#include "source/canonical.h"
#include "source/source.h"
#include "source/wrappers.h"

namespace anemone {
namespace {

constexpr uint64_t kChunkBytes = uint64_t{1} << 20;

uint64_t BytesUnder(const Location& place) {
  uint64_t total = 0;
  const auto add = [&total](const Location& file) {
    const Result<ByteSourcePtr> opened = file.Open();
    total += opened.ok() ? (*opened)->size_bytes() : 0;
  };
  if (const Result<bool> is_folder = place.IsFolder(); is_folder.ok() && !*is_folder) add(place);
  const Result<std::vector<std::string>> files = place.FilesBelow();
  for (const std::string& file : files.ok() ? *files : std::vector<std::string>()) add(place / file);
  return total;
}

bool IsAnswer(const Status& status) {
  return status.kind() == ErrorKind::kCorrupt || status.kind() == ErrorKind::kUnsupported ||
         status.kind() == ErrorKind::kLimitExceeded || status.kind() == ErrorKind::kInvalidArgument;
}

// Reads every byte once, several chunks at a time; compares with the archive's checksum where there is one.
class Reader {
 public:
  Reader(Verification& result, const ProgressFn& progress, uint64_t total)
      : result_(result), progress_(progress), total_(total) {}

  Status Visit(const Leaf& leaf) {
    const uint64_t size = leaf.content.size;
    std::optional<DirectReader> direct;  // not worth its opening for less
    if (size >= kChunkBytes) direct.emplace(*leaf.content.source);
    std::atomic<uint32_t> crc = 0;
    const auto read = [&](uint64_t chunk, unsigned worker) -> Status {
      const uint64_t from = chunk * kChunkBytes, to = std::min(from + kChunkBytes, size);
      const std::span<std::byte> bytes = buffers_[worker].At(leaf.content.offset + from, to - from);
      const uint64_t at = leaf.content.offset + from;
      const Status status = direct ? direct->ReadAt(at, bytes) : leaf.content.source->ReadAt(at, bytes);
      if (!status.ok()) return status.In(leaf.path);
      if (leaf.crc32) crc ^= Crc32Shift(Crc32(0, bytes), size - to);
      return Advance(to - from);
    };
    Status status = ForEach((size + kChunkBytes - 1) / kChunkBytes, static_cast<unsigned>(buffers_.size()), read);
    if (!status.ok()) {
      if (!IsAnswer(status)) return status;
      result_.problems.push_back(status.message());
    } else if (leaf.crc32 && crc != *leaf.crc32) {
      result_.problems.push_back(fmt::format("{}: expected CRC-32 {:08x}, found {:08x}: the bytes have changed",
                                             leaf.path, *leaf.crc32, crc.load()));
    }
    return {};
  }

  bool IsCancelled() { return !Advance(0).ok(); }

 private:
  Status Advance(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    result_.bytes_read += bytes;
    if (!progress_ || progress_("verifying", std::min(result_.bytes_read, total_), total_)) return {};
    return Interrupted();
  }

  Verification& result_;
  const ProgressFn& progress_;
  const uint64_t total_;
  // One a worker; half of the workers wait for the disk, and more than eight wait for the memory.
  std::vector<BlockBuffer> buffers_{std::min(2 * UsableCores(), 8u)};
  std::mutex mutex_;  // of bytes_read and progress_
};

Status CheckArtifacts(const Checkpoint& checkpoint, std::vector<std::string>& problems) {
  for (const Artifact& artifact : checkpoint.artifacts) {
    Status status = CheckArtifact(artifact);
    if (!status.ok() && !IsAnswer(status)) return status;
    if (!status.ok()) problems.push_back(status.In(checkpoint.path).message());
  }
  return {};
}

}  // namespace

Result<Verification> Verify(const std::string& path, const ProgressFn& progress) {
  ANEMONE_ASSIGN(const Location place, FindSource(path, progress));
  Verification result;
  Reader reader(result, progress, BytesUnder(place));
  const CancelScope scope([&reader] { return reader.IsCancelled(); });
  const auto on_broken = [&result](const Status& problem) -> Status {
    if (!IsAnswer(problem)) return problem;
    result.problems.push_back(problem.message());
    return {};
  };
  ANEMONE_TRY(Walk(
      place, [&reader](const Leaf& leaf) { return reader.Visit(leaf); }, on_broken));

  Result<Checkpoint> checkpoint = OpenPlace(place);
  if (!checkpoint.ok()) {
    const bool is_ambiguous =
        checkpoint.status().kind() == ErrorKind::kInvalidArgument && !checkpoint.status().error().remedies.empty();
    if (!IsAnswer(checkpoint.status()) || is_ambiguous) return checkpoint.status();
    // A broken archive was already named by the walk.
    if (result.problems.empty()) result.problems.push_back(checkpoint.status().message());
    return result;
  }
  ANEMONE_TRY(TakeOffWrappers(&*checkpoint));
  for (const Shard& shard : checkpoint->shards) {
    result.tensors += shard.weights.size();
    for (const StateDict& chunk : shard.chunks) result.tensors += chunk.size();
  }
  for (const Summary::Part& part : Summarize(*checkpoint).parts)
    result.parts.emplace_back(part.name, part.amount.tensors);
  ANEMONE_TRY(CheckArtifacts(*checkpoint, result.problems));
  for (const ArtifactReference& reference : MissingReferences(*checkpoint)) {
    result.problems.push_back(fmt::format("{}: {}: expected the artifact '{}' in the checkpoint, found none",
                                          checkpoint->path, reference.config_path, reference.name));
  }
  // What no family knows is checked as far as its containers go.
  std::string foreign;
  const bool known = FamilyOf(*checkpoint, &foreign) != nullptr;
  const std::string& whole = checkpoint->origin.part_of;
  const Status names = known && whole.empty() ? Canonical(*checkpoint).status() : Status();
  // Weights without a config may be whole.
  if (!names.ok() && (names.kind() == ErrorKind::kUnsupported || names.kind() == ErrorKind::kNotFound)) {
    result.unchecked = names.message();
  } else if (!names.ok()) {
    result.problems.push_back(names.In(path).message());
  } else if (!whole.empty()) {
    result.unchecked = fmt::format("one part of several: {} names all", whole);
  } else if (!known) {
    ANEMONE_ASSIGN(const std::string several, SeveralModels(*checkpoint));
    if (foreign.empty()) foreign = StoredAs(*checkpoint);
    if (!several.empty()) foreign = several;
    result.unchecked = foreign.empty() ? "its family is not known" : "its family is not known: " + foreign;
  }
  return result;
}

}  // namespace anemone
