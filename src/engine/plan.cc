#include "engine/plan.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/checked.h"
#include "base/crc32.h"
#include "base/safe_path.h"
#include "base/text_hash.h"
#include "engine/share.h"
#include "tensor/fill.h"

namespace anemone {

std::string_view Literals::Keep(std::string text) {
  constexpr size_t kBlock = 64 << 10;
  const auto has_room = [&](const std::shared_ptr<std::string>& block) {
    return block.use_count() == 1 && block->capacity() - block->size() >= text.size();
  };
  if (blocks_.empty() || !has_room(blocks_.back())) {
    const size_t last = blocks_.empty() ? 0 : blocks_.back()->capacity();
    std::string& block = *blocks_.emplace_back(std::make_shared<std::string>());
    if (text.size() >= kBlock) return block = std::move(text);
    block.reserve(std::clamp(2 * last, text.size(), kBlock));
  }
  std::string& block = *blocks_.back();
  block += text;
  return std::string_view(block).substr(block.size() - text.size());
}

void Literals::Take(Literals&& other) {
  std::ranges::move(other.blocks_, std::back_inserter(blocks_));
  other.blocks_.clear();
}

void PlanFile::Append(std::string literal) {
  if (!literal.empty()) AppendKept(literals.Keep(std::move(literal)));
}

void PlanFile::AppendKept(std::string_view literal) {
  if (literal.empty()) return;
  std::string_view* last = segments.empty() ? nullptr : std::get_if<std::string_view>(&segments.back().content);
  const bool is_next = last != nullptr && segments.back().offset + segments.back().size == size &&
                       last->data() + last->size() == literal.data();
  if (is_next) {
    *last = {last->data(), last->size() + literal.size()};
    segments.back().size += literal.size();
  } else {
    segments.push_back({size, literal.size(), literal});
  }
  size += literal.size();
}

void PlanFile::Append(const Tensor& tensor) {
  if (tensor.num_elements() == 0) return;
  segments.push_back({size, tensor.size_bytes(), tensor});
  size += tensor.size_bytes();
}

void PlanFile::Append(ByteRange range) {
  if (range.size == 0) return;
  const uint64_t count = range.size;
  segments.push_back({size, count, std::make_shared<const ByteRange>(std::move(range))});
  size += count;
}

namespace {

// Appends `more`. The longer list stays where it is, as a million segments would be there twice.
template <typename T>
void Join(std::vector<T>& list, std::vector<T> more) {
  const bool is_first = list.size() >= more.size();
  if (!is_first) list.swap(more);
  // For long lists no more than it must; for many short ones the room doubles.
  const size_t size = list.size() + more.size();
  if (size > list.capacity()) list.reserve(std::max(size, 2 * list.capacity()));
  list.insert(is_first ? list.end() : list.begin(), std::make_move_iterator(more.begin()),
              std::make_move_iterator(more.end()));
}

}  // namespace

void AppendFile(PlanFile& to, PlanFile&& part) {
  for (Segment& segment : part.segments) segment.offset += to.size;
  for (Crc32Slot& slot : part.crcs) {
    slot.offset += to.size;
    for (uint64_t& store : slot.stores) store += to.size;
  }
  Join(to.segments, std::move(part.segments));
  Join(to.crcs, std::move(part.crcs));
  to.size += part.size;
  to.literals.Take(std::move(part.literals));
  part = {};
}

Surroundings TakeSurroundings(const PlanFile& part, PlanFile& to) {
  const auto is_tensor = [](const Segment& segment) { return std::holds_alternative<Tensor>(segment.content); };
  const auto tensor = std::ranges::find_if(part.segments, is_tensor);
  const bool is_found = tensor != part.segments.end();
  const uint64_t begin = is_found ? tensor->offset : part.size, end = is_found ? begin + tensor->size : begin;
  const uint64_t after = part.size - end;
  std::string text(after + begin, '\0');
  for (const Segment& segment : part.segments) {
    const auto* literal = std::get_if<std::string_view>(&segment.content);
    if (literal == nullptr) continue;
    const uint64_t at = segment.offset < begin ? after + segment.offset : segment.offset - end;
    text.replace(at, literal->size(), *literal);
  }
  const std::string_view kept = to.literals.Keep(std::move(text));
  return {kept.substr(after), kept.substr(0, after), part.crcs};
}

namespace {

// Appends `text`, which begins at byte `at` of a part, with `crc` where the part's CRCs are stored.
void AppendStoring(std::string_view text, uint64_t at, const std::vector<Crc32Slot>& crcs, std::string_view crc,
                   PlanFile& to) {
  uint64_t done = at;
  for (const Crc32Slot& slot : crcs) {
    for (const uint64_t store : slot.stores) {
      if (store < done || store >= at + text.size()) continue;
      to.AppendKept(text.substr(done - at, store - done));
      to.AppendKept(crc);
      done = store + crc.size();
    }
  }
  to.AppendKept(text.substr(done - at));
}

}  // namespace

void AppendWithin(const Surroundings& around, const Tensor& tensor, PlanFile& to, std::optional<uint32_t> crc32) {
  if (crc32) {
    const std::array<std::byte, 4> bytes = Crc32Bytes(*crc32);
    const std::string_view crc =
        to.literals.Keep(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    AppendStoring(around.before, 0, around.crcs, crc, to);
    to.Append(tensor);
    return AppendStoring(around.after, around.before.size() + tensor.size_bytes(), around.crcs, crc, to);
  }
  for (Crc32Slot slot : around.crcs) {
    slot.offset += to.size;
    for (uint64_t& store : slot.stores) store += to.size;
    to.crcs.push_back(slot);
  }
  to.AppendKept(around.before);
  to.Append(tensor);
  to.AppendKept(around.after);
}

uint64_t Plan::bytes_written() const {
  uint64_t sum = 0;
  for (const PlanFile& file : files) sum += file.size;
  return sum;
}

// Blocks that the output will have in common with its sources take no room.
uint64_t Plan::bytes_shared() const { return sharing == Sharing::kPlanned ? ShareableBytes(*this).bytes : 0; }

uint64_t Plan::num_tensors() const {
  uint64_t count = 0;
  for (const PlanFile& file : files) {
    for (const Segment& segment : file.segments) count += std::holds_alternative<Tensor>(segment.content) ? 1 : 0;
  }
  return count;
}

uint64_t Plan::bytes_read() const {
  uint64_t sum = 0;
  for (const PlanFile& file : files) {
    for (const Segment& segment : file.segments) {
      if (const Tensor* tensor = std::get_if<Tensor>(&segment.content)) sum += SourceBytes(*tensor);
      if (segment.range() != nullptr) sum += segment.size;
    }
  }
  return sum;
}

namespace {

uint64_t ContentSize(const Segment& segment) {
  if (const auto* literal = std::get_if<std::string_view>(&segment.content)) return literal->size();
  if (const auto* tensor = std::get_if<Tensor>(&segment.content)) return tensor->size_bytes();
  return segment.range()->size;
}

std::string At(uint64_t byte) { return "byte " + std::to_string(byte); }

Status CheckSegments(const PlanFile& file) {
  uint64_t end = 0;
  for (const Segment& segment : file.segments) {
    if (segment.offset < end) return Internal("segment overlaps the one before").In(At(segment.offset));
    if (!Within(segment.offset, segment.size, file.size))
      return Internal("segment of " + std::to_string(segment.size) + " bytes ends beyond the file's " +
                      std::to_string(file.size))
          .In(At(segment.offset));
    if (ContentSize(segment) != segment.size)
      return Internal("segment of " + std::to_string(segment.size) + " bytes holds " +
                      std::to_string(ContentSize(segment)))
          .In(At(segment.offset));
    if (const ByteRange* range = segment.range()) {
      if (range->source == nullptr || !Within(range->offset, range->size, range->source->size_bytes()))
        return Internal("segment's source range does not lie in its source").In(At(segment.offset));
    }
    end = segment.offset + segment.size;
  }
  return {};
}

Status CheckCrcs(const PlanFile& file) {
  // The first segment that ends beyond a byte.
  const auto segment_at = [&](uint64_t byte) {
    return std::ranges::partition_point(file.segments, [&](const Segment& s) { return s.offset + s.size <= byte; });
  };
  uint64_t end = 0;
  for (const Crc32Slot& slot : file.crcs) {
    if (slot.offset < end) return Internal("CRC range overlaps the one before").In(At(slot.offset));
    if (!Within(slot.offset, slot.size, file.size))
      return Internal("CRC range ends beyond the file").In(At(slot.offset));
    end = slot.offset + slot.size;
    uint64_t covered = slot.offset;
    for (auto segment = segment_at(covered); covered < end; ++segment) {
      if (segment == file.segments.end() || segment->offset > covered)
        return Internal("CRC range is not covered by segments").In(At(covered));
      covered = segment->offset + segment->size;
    }
  }
  for (const Crc32Slot& slot : file.crcs) {
    for (const uint64_t store : slot.stores) {
      const auto segment = segment_at(store);
      const std::string_view* literal =
          segment == file.segments.end() ? nullptr : std::get_if<std::string_view>(&segment->content);
      if (literal == nullptr || store < segment->offset || !Within(store - segment->offset, 4, segment->size))
        return Internal("CRC is stored outside literal bytes").In(At(store));
      if (literal->substr(store - segment->offset, 4) != std::string_view("\0\0\0\0", 4))
        return Internal("CRC is stored over bytes other than zeros").In(At(store));
      const auto covering = std::ranges::partition_point(
          file.crcs, [&](const Crc32Slot& other) { return other.offset + other.size <= store; });
      if (covering != file.crcs.end() && covering->offset < store + 4)
        return Internal("CRC is stored inside a CRC range").In(At(store));
    }
  }
  return {};
}

}  // namespace

Status Check(const Plan& plan) {
  if (!plan.is_directory) {
    if (plan.files.size() != 1 || !plan.files.front().path.empty() || !plan.empty_directories.empty())
      return Internal("a plan of one file has one file, without a path");
  }
  internal::TextViewSet paths;      // of files and of empty directories
  internal::TextViewSet ancestors;  // of them all: directories that will hold something
  const auto add = [&](std::string_view path) -> Status {
    if (const std::string_view why = UnsafePath(path); !why.empty())
      return Internal("expected a relative path without '..', found one that " + std::string(why)).In(path);
    if (!paths.insert(path).second) return Internal("expected distinct paths").In(path);
    for (size_t slash = path.rfind('/'); slash != path.npos; slash = path.rfind('/', slash - 1)) {
      ancestors.insert(path.substr(0, slash));
    }
    return {};
  };
  if (plan.is_directory) {
    for (const PlanFile& file : plan.files) ANEMONE_TRY(add(file.path));
    for (const std::string& path : plan.empty_directories) ANEMONE_TRY(add(path));
    for (const std::string_view path : paths) {
      if (ancestors.contains(path)) return Internal("path is both a file or empty and a directory").In(path);
    }
  }
  for (const PlanFile& file : plan.files) {
    Status status = CheckSegments(file);
    if (status.ok()) status = CheckCrcs(file);
    if (!status.ok()) return file.path.empty() ? status : status.In(file.path);
  }
  return {};
}

}  // namespace anemone
