#include "format/torch/extra_state.h"

#include <string>

#include "container/pickle.h"
#include "format/torch/pickled.h"
#include "format/torch/torch_file.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// Whether the bytes of an extra state say "nothing": a torch.save of None.
bool IsSavedNone(std::string bytes) {
  if (bytes.empty()) return true;
  auto file = ReadTorchFile(Whole(MemorySource(std::move(bytes), "_extra_state")));
  return file.ok() && file->root.node->kind == Kind::kNone;
}

bool IsPickledNone(const Tensor& tensor) {
  constexpr uint64_t kAtMost = 4096;  // a pickle of None has 4 bytes; FP8 state has more
  if (tensor.size_bytes() > kAtMost) return false;
  auto bytes = tensor.Read(kAtMost);
  if (!bytes.ok()) return false;
  if (bytes->empty()) return true;
  auto value = ReadPickle(*bytes);
  return value.ok() && value->node->kind == Kind::kNone;
}

}  // namespace

Opaque ToOpaque(const Value& owner, ValueRef node) {
  Opaque opaque{Opaque::Form::kOther, {owner.graph, node}, true};
  if (node->kind == Kind::kNone) {
    opaque = {Opaque::Form::kNone, {}, false};
  } else if (node->kind == Kind::kTensor && node->tensor->dtype() == DType::kU8) {
    opaque.form = Opaque::Form::kUint8;
    opaque.holds_data = !IsPickledNone(*node->tensor);
  } else if (Callee(*node) == "_io BytesIO") {
    opaque.form = Opaque::Form::kBytesIO;
    const auto* state = Sequence(node->state);
    const ValueNode* bytes = state != nullptr && !state->empty() ? (*state)[0] : nullptr;
    opaque.holds_data = bytes == nullptr || bytes->kind != Kind::kBytes || !IsSavedNone(bytes->text);
  }
  return opaque;
}

}  // namespace anemone
