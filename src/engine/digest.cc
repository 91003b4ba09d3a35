#include "engine/digest.h"

#include <map>
#include <string_view>

#include "base/hasher.h"
#include "tensor/node.h"

namespace anemone {
namespace {

using internal::NodePtr;
using internal::TensorNode;

class PlanHasher {
 public:
  void Add(uint64_t number) { hasher_.Add(std::as_bytes(std::span(&number, 1))); }
  void Add(std::string_view text) {
    Add(text.size());
    hasher_.Add(text);
  }
  template <typename Numbers>
  void AddAll(const Numbers& numbers) {
    Add(numbers.size());
    for (const auto number : numbers) Add(static_cast<uint64_t>(number));
  }

  // A source's name once, then its number. What lies in memory has neither a file nor a version that could stand for
  // it.
  void Add(const ByteSourcePtr& source) {
    if (source == nullptr) return Add(uint64_t{0});
    const auto [known, is_new] = sources_.try_emplace(source.get(), sources_.size() + 1);
    Add(known->second);
    if (!is_new) return;
    Add(std::string_view(source->name()));
    Add(source->size_bytes());
    constexpr uint64_t kMaxInMemory = 16 << 20;
    if (source->fd() < 0 && source->remote_version().empty() && source->size_bytes() <= kMaxInMemory) {
      const Result<std::string> bytes = Whole(source).ReadAll(kMaxInMemory);
      if (bytes.ok()) return Add(std::string_view(*bytes));
    }
    files_.push_back(source);
  }

  void Add(const TensorNode& node) {
    Add(static_cast<uint64_t>(node.kind));
    Add(static_cast<uint64_t>(node.dtype));
    AddAll(node.shape());
    Add(node.source);
    Add(node.offset_bytes);
    AddAll(node.op().numbers);
    AddAll(node.op().element);
    Add(std::bit_cast<uint64_t>(node.op().number));
    Add(node.op().children.size());
    for (const NodePtr& child : node.op().children) Add(*child);
  }

  void Add(const Segment& segment) {
    Add(segment.offset);
    Add(segment.content.index());
    if (const auto* literal = std::get_if<std::string_view>(&segment.content)) Add(*literal);
    if (const auto* tensor = std::get_if<Tensor>(&segment.content)) Add(*TensorNode::Of(*tensor));
    if (const ByteRange* range = segment.range()) {
      Add(range->source);
      Add(range->offset);
      Add(range->size);
    }
  }

  const std::vector<ByteSourcePtr>& files() const { return files_; }

  std::string Hex() { return hasher_.Hex(); }

 private:
  Hasher hasher_{Hasher::Kind::kSha256};
  std::map<const ByteSource*, uint64_t> sources_;
  std::vector<ByteSourcePtr> files_;
};

}  // namespace

std::string Digest(const Plan& plan, std::vector<ByteSourcePtr>* files) {
  PlanHasher hash;
  hash.Add(uint64_t{plan.is_directory});
  if (plan.sharing != Sharing::kAsItFalls) hash.Add(static_cast<uint64_t>(plan.sharing));  // windows follow from it
  for (const std::string& path : plan.empty_directories) hash.Add(std::string_view(path));
  hash.Add(plan.files.size());
  for (const PlanFile& file : plan.files) {
    hash.Add(std::string_view(file.path));
    hash.Add(file.size);
    hash.Add(file.segments.size());
    for (const Segment& segment : file.segments) hash.Add(segment);
    for (const Crc32Slot& slot : file.crcs) {
      hash.Add(slot.offset);
      hash.Add(slot.size);
      hash.AddAll(slot.stores);
    }
  }
  if (files != nullptr) *files = hash.files();
  return hash.Hex();
}

}  // namespace anemone
