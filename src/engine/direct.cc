#include "engine/direct.h"

#include <algorithm>

#include "base/sys.h"

namespace anemone {
namespace {

constexpr uint64_t kMinFileBytes = uint64_t{64} << 20;  // smaller ones are read again while the cache holds them
constexpr uint64_t kMinPartBytes = 64 << 10;            // less is not worth a wait for the device
constexpr size_t kMaxKeptBytes = 1 << 20;               // of small writes

}  // namespace

std::span<std::byte> BlockBuffer::At(uint64_t offset, uint64_t size) {
  const uint64_t lead = offset % kDirectBlock;
  if (lead + size > size_) {
    size_ = RoundUp(lead + size, kDirectBlock);
    bytes_.reset();
    bytes_.reset(new (std::align_val_t{kDirectBlock}) std::byte[size_]);
  }
  return {bytes_.get() + lead, size};
}

DirectReader::DirectReader(const ByteSource& source) : source_(source) {
  if (source.fd() >= 0) direct_ = Descriptor(sys.reopen_direct(source.fd(), kDirectBlock));
}

Status DirectReader::ReadAt(uint64_t offset, std::span<std::byte> out) const {
  if (direct_.is_open() && out.size() >= kMinPartBytes &&
      !sys.is_cached(source_.fd(), static_cast<off_t>(offset), out.size())) {
    const uint64_t lead = offset % kDirectBlock, blocks = RoundUp(lead + out.size(), kDirectBlock);
    const ssize_t got = sys.pread(direct_.get(), out.data() - lead, blocks, static_cast<off_t>(offset - lead));
    if (got >= static_cast<ssize_t>(lead + out.size())) return {};
  }
  return source_.ReadAt(offset, out);  // also where that failed: it says why
}

bool DirectFile::Open(const PlanFile& file, int fd) {
  if (file.size < kMinFileBytes) return false;
  direct_ = Descriptor(sys.reopen_direct(fd, kDirectBlock));
  if (!direct_.is_open()) return false;
  const auto for_each_store = [&file](const auto& visit) {
    for (const Crc32Slot& slot : file.crcs) {
      for (const uint64_t store : slot.stores) visit(store);
    }
  };
  for_each_store([this](uint64_t store) {
    for (uint64_t block = RoundDown(store, kDirectBlock); block < store + sizeof(uint32_t); block += kDirectBlock) {
      // One has those of many small tensors.
      if (crc_blocks_.empty() || crc_blocks_.back() != block) crc_blocks_.push_back(block);
    }
  });
  std::ranges::sort(crc_blocks_);
  crc_blocks_.erase(std::unique(crc_blocks_.begin(), crc_blocks_.end()), crc_blocks_.end());
  left_ = std::vector<std::atomic<uint32_t>>(crc_blocks_.size());
  for_each_store([this](uint64_t store) {
    for (auto [i, end] = BlocksOf(store); i < end; ++i) ++left_[i];
  });
  return true;
}

size_t DirectFile::BlockFrom(uint64_t offset) const {
  return static_cast<size_t>(std::ranges::lower_bound(crc_blocks_, offset) - crc_blocks_.begin());
}

void DirectFile::NoteStored(uint64_t offset) {
  for (auto [i, end] = BlocksOf(offset); i < end; ++i) --left_[i];
}

bool DirectFile::IsLeftToStore(uint64_t offset) const {
  if (!is_open()) return true;
  for (auto [i, end] = BlocksOf(offset); i < end; ++i) {
    if (left_[i] > 0) return true;
  }
  return false;
}

DirectFile::Part DirectFile::FirstPart(uint64_t begin, uint64_t end) const {
  if (!direct_.is_open()) return {end, -1};
  if (begin % kDirectBlock != 0) return {std::min(end, RoundDown(begin, kDirectBlock) + kDirectBlock), -1};
  size_t twice = BlockFrom(begin);
  while (twice < left_.size() && crc_blocks_[twice] < end && left_[twice] == 0) ++twice;
  const uint64_t next = twice < left_.size() ? crc_blocks_[twice] : end;
  if (next == begin) return {std::min(end, begin + kDirectBlock), -1};
  const uint64_t stop = std::min(RoundDown(end, kDirectBlock), next);
  if (stop == begin) return {end, -1};
  return {stop, stop - begin >= kMinPartBytes ? direct_.get() : -1};
}

Status SmallWrites::Add(uint64_t offset, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  places_.push_back({offset, bytes.size()});
  return bytes_.size() < kMaxKeptBytes ? Status() : FlushLocked();
}

Status SmallWrites::Flush() {
  const std::lock_guard lock(mutex_);
  return FlushLocked();
}

Status SmallWrites::FlushLocked() {
  std::span<const std::byte> rest = bytes_;
  for (const auto& [offset, size] : places_) {
    ANEMONE_TRY(write_(offset, rest.first(size)));
    rest = rest.subspan(size);
  }
  bytes_.clear();
  places_.clear();
  return {};
}

}  // namespace anemone
