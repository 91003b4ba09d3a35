#include "format/torch/storage_id.h"

#include <fmt/format.h>

#include "format/torch/pickled.h"

namespace anemone {

bool IsModuleClass(const ValueNode& node) {
  const auto* parts = node.items.size() == 1 ? Sequence(node.items[0]) : nullptr;
  return parts != nullptr && !parts->empty() && Text((*parts)[0]).value_or("") == "module";
}

Result<StorageId> ParseStorageId(const ValueNode* node) {
  if (node == nullptr || node->kind != ValueNode::Kind::kPersistent || node->items.size() != 1) {
    return Corrupt("[TZ-10] expected a storage");
  }
  const auto* parts = Sequence(node->items[0]);
  if (parts == nullptr || parts->empty()) return Corrupt("[TZ-10] expected a tuple as persistent id");
  const std::string_view tag = Text((*parts)[0]).value_or("");
  if (tag != "storage" || parts->size() < 5 || parts->size() > 6) {
    return Corrupt("[TZ-10] expected ('storage', type, key, location, numel) as persistent id");
  }
  StorageId id;
  const std::string_view type = GlobalName((*parts)[1]);
  const size_t space = type.rfind(' ');
  const std::string_view word = space == std::string_view::npos ? std::string_view() : type.substr(space + 1);
  if (type == "torch.storage UntypedStorage" || type == "torch UntypedStorage") {
    // numel counts bytes
  } else if (!word.empty() &&
             (type.starts_with("torch ") || type.starts_with("torch.cuda ") || type.starts_with("torch.storage "))) {
    id.dtype = FindDType(&DTypeInfo::storage, word);
    if (!id.dtype) return Unsupported(fmt::format("[TZ-11] a storage of type {}", type));
  } else {
    return Corrupt(fmt::format("[TZ-11] expected a storage type, found \"{}\"", type));
  }
  const auto key = Text((*parts)[2]);
  if (!key) return Corrupt("[TZ-10] expected a string as storage key");
  id.key = *key;
  ANEMONE_ASSIGN(id.numel, Unsigned((*parts)[4], "storage size"));
  if (parts->size() == 6 &&
      (*parts)[5]->kind != ValueNode::Kind::kNone) {  // (view key, offset, size) of the root storage
    const auto* view = Sequence((*parts)[5]);
    if (view == nullptr || view->size() != 3) return Corrupt("[TL-4] expected (key, offset, size) as storage view");
    ANEMONE_ASSIGN(id.view_offset, Unsigned((*view)[1], "view offset"));
    ANEMONE_ASSIGN(const uint64_t size, Unsigned((*view)[2], "view size"));
    uint64_t end = 0;
    if (__builtin_add_overflow(id.view_offset, size, &end) || end > id.numel) {
      return Corrupt(
          fmt::format("[TL-4] a view of elements [{}, +{}) of a storage of {}", id.view_offset, size, id.numel));
    }
    id.numel = size;
  }
  return id;
}

}  // namespace anemone
