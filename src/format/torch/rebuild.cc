#include "format/torch/rebuild.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/rounding.h"
#include "format/torch/pickled.h"
#include "format/torch/storage_id.h"
#include "format/torch/swapped.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

enum class Rebuild : uint8_t { kV1, kV2, kV3, kOldState, kNumpy };

struct Callable {
  std::string_view name;
  Rebuild rebuild;
  size_t min_args, max_args;
};
// Argument lists: docs/formats/pytorch.md. kOldState finds them in the BUILD state.
constexpr Callable kCallables[] = {
    {"torch._utils _rebuild_tensor", Rebuild::kV1, 4, 4},
    {"torch._utils _rebuild_tensor_v2", Rebuild::kV2, 6, 7},
    {"torch._utils _rebuild_tensor_v3", Rebuild::kV3, 7, 8},
    {"torch._utils _rebuild_device_tensor_from_numpy", Rebuild::kNumpy, 4, 4},
    {"torch._utils _rebuild_xla_tensor", Rebuild::kNumpy, 4, 4},
};
// Callables whose first argument is the tensor.
constexpr std::string_view kWrappers[] = {
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._utils _rebuild_device_tensor_from_cpu_tensor",
};

const Callable* FindCallable(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kCallables), std::end(kCallables), [&](const Callable& c) { return c.name == name; });
  return found == std::end(kCallables) ? nullptr : found;
}

bool IsOldTensorClass(std::string_view name) {
  if (name == "torch.nn.parameter Parameter" || name == "torch Tensor") return true;
  return (name.starts_with("torch ") || name.starts_with("torch.cuda ")) && name.size() > 12 &&
         name.substr(name.size() - 6) == "Tensor";
}

constexpr int kMaxNestedTensors = 4;  // a pickle may make one hold itself

struct Rebuilder {
  FindRecord find_record;  // by storage key
  bool big_endian;
  std::string* longer_record;

  // The tensor a node describes; nullopt when it describes something else.
  Result<std::optional<Tensor>> operator()(const ValueNode& start, int nested = 0) const {
    const ValueNode* node = &start;
    for (int depth = 0; depth < 16; ++depth) {
      if (node->kind == Kind::kTensor) return std::optional(*node->tensor);
      const std::string_view callee = Callee(*node);
      if (callee.empty()) return std::optional<Tensor>();
      if (IsWrapper(callee)) {
        if (node->items.empty()) return Corrupt(fmt::format("[TZ-12] {} without arguments", callee));
        node = node->items[0];
        continue;
      }
      if (callee == "torch._tensor _rebuild_from_type_v2" || callee == "torch._tensor _rebuild_from_type") {
        // (function, type, arguments, state): a call inside a call; Python attributes are dropped
        const auto* args = node->items.size() == 4 ? Sequence(node->items[2]) : nullptr;
        if (args == nullptr)
          return Corrupt(fmt::format("[TZ-12] expected (function, type, arguments, state) for {}", callee));
        const std::string_view inner = GlobalName(node->items[0]);
        if (IsWrapper(inner) && !args->empty()) {
          node = (*args)[0];
          continue;
        }
        if (const Callable* callable = FindCallable(inner)) return Call(*callable, *args);
        return LocalTensor(*node, nested);
      }
      if (const Callable* callable = FindCallable(callee)) return Call(*callable, node->items);
      if (IsOldTensorClass(callee)) {
        const auto* args = Sequence(node->state);
        if (args == nullptr || args->empty()) return std::optional<Tensor>();
        if ((*args)[0]->kind != Kind::kPersistent) {  // Parameter: (tensor, requires_grad, hooks)
          node = (*args)[0];
          continue;
        }
        return Call({callee, Rebuild::kOldState, 4, 6}, *args);
      }
      return std::optional<Tensor>();
    }
    return LimitExceeded("a tensor wrapped more than 16 times");
  }

 private:
  // A DTensor's local part, where that is the whole: on a mesh of one, or replicated. `call` is (function, class,
  // (class, dtype, size, …), (None, {"_local_tensor": …, "_spec": …})) [pytorch torch/_tensor.py, _reduce_ex_internal].
  Result<std::optional<Tensor>> LocalTensor(const ValueNode& call, int nested) const {
    if (nested >= kMaxNestedTensors) return LimitExceeded("[TZ-12] distributed tensors nested in each other");
    const auto* args = Sequence(call.items[2]);
    const auto* states = Sequence(call.items[3]);
    const ValueNode* state = states != nullptr && states->size() == 2 ? (*states)[1] : call.items[3];
    const ValueNode* local = DictEntries(*state) != nullptr ? Lookup(*state, "_local_tensor") : nullptr;
    if (local == nullptr || args->size() < 3 || !GlobalName(call.items[1]).ends_with(" DTensor"))
      return std::optional<Tensor>();
    const ValueNode* spec = Lookup(*state, "_spec");
    const ValueNode* placements =
        spec != nullptr && spec->state != nullptr ? Lookup(*spec->state, "placements") : nullptr;
    const auto* placed = Sequence(placements);
    const bool is_sum = placed == nullptr || std::ranges::any_of(*placed, [](const ValueNode* placement) {
                          return Callee(*placement).find("Partial") != std::string_view::npos;
                        });
    ANEMONE_ASSIGN(const Shape whole, UnsignedList((*args)[2], "size"));
    ANEMONE_ASSIGN(std::optional<Tensor> tensor, (*this)(*local, nested + 1));
    return tensor && !is_sum && tensor->shape() == whole ? tensor : std::optional<Tensor>();
  }

  Result<std::optional<Tensor>> Call(const Callable& callable, const ValueList& args) const {
    if (args.size() < callable.min_args || args.size() > callable.max_args) {
      return Corrupt(fmt::format("[TZ-12] {} with {} arguments", callable.name, args.size()));
    }
    auto tensor = callable.rebuild == Rebuild::kNumpy ? FromNumpy(args) : FromStorage(callable, args);
    if (!tensor.ok()) return tensor.status();
    return std::optional(*std::move(tensor));
  }

  // Of a rebuilt tensor's elements: what its call says, or its storage; of neither, bytes.
  static Result<DType> DTypeIn(const Callable& callable, const ValueList& args, const StorageId& id) {
    if (callable.rebuild != Rebuild::kV3) return id.dtype.value_or(DType::kU8);
    const std::string_view name = GlobalName(args[6]);
    if (!name.starts_with("torch ")) return Corrupt("[TZ-12] expected a dtype");
    const std::optional<DType> dtype = FindDType(&DTypeInfo::torch, name.substr(6));
    if (!dtype) return Unsupported(fmt::format("[TZ-11] elements of type {}", name));
    return *dtype;
  }

  static Status CheckFlags(const Callable& callable, const ValueList& args) {
    const size_t metadata = callable.rebuild == Rebuild::kV3 ? 7 : 6;
    if (callable.rebuild == Rebuild::kOldState || args.size() <= metadata) return {};
    for (const std::string_view flag : {"conj", "neg"}) {
      const ValueNode* value = DictEntries(*args[metadata]) ? Lookup(*args[metadata], flag) : nullptr;
      if (value != nullptr && value->kind == Kind::kBool && value->integer != 0) {
        return Unsupported(fmt::format("[TZ-13] a tensor saved with its {} bit set", flag),
                           fmt::format("save resolve_{}() of it", flag));
      }
    }
    return {};
  }

  // The farthest element lies in a storage of so many.
  static Status CheckExtent(const Shape& shape, const std::vector<uint64_t>& strides, uint64_t offset,
                            const StorageId& id, uint64_t available) {
    uint64_t last = offset;
    bool overflow = false;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      uint64_t reach = 0;
      overflow |= __builtin_mul_overflow(shape[axis] - 1, strides[axis], &reach);
      overflow |= __builtin_add_overflow(last, reach, &last);
    }
    if (!overflow && last < available) return {};
    return Corrupt(fmt::format("[TZ-15] {} with strides {} from element {} leaves storage {} of {} elements",
                               ToString(shape), ToString(strides), offset, id.key, available));
  }

  Result<Tensor> FromStorage(const Callable& callable, const ValueList& args) const {
    ANEMONE_ASSIGN(const StorageId id, ParseStorageId(args[0]));
    ANEMONE_ASSIGN(const uint64_t offset, Unsigned(args[1], "storage offset"));
    ANEMONE_ASSIGN(Shape shape, UnsignedList(args[2], "size"));
    ANEMONE_ASSIGN(std::vector<uint64_t> strides, UnsignedList(args[3], "stride"));
    if (shape.size() != strides.size()) {
      return Corrupt(fmt::format("[TZ-12] size {} with {} strides", ToString(shape), strides.size()));
    }
    ANEMONE_ASSIGN(const DType dtype, DTypeIn(callable, args, id));
    ANEMONE_TRY(CheckFlags(callable, args));
    const std::optional<ByteRange> found = find_record(id.key);
    if (!found) return Corrupt(fmt::format("[TZ-14] storage {} has no record", id.key));
    const ByteRange& record = *found;
    const uint64_t item = SizeBytes(dtype);
    const Shape stored_shape = shape;

    // The record holds the storage, the storage the tensor's extent.
    const uint64_t unit = id.dtype ? SizeBytes(*id.dtype) : 1;
    uint64_t elements = 0, storage_bytes = 0, begin = 0;
    if (__builtin_add_overflow(id.view_offset, id.numel, &elements) ||
        __builtin_mul_overflow(elements, unit, &storage_bytes) || storage_bytes > record.size) {
      return Corrupt(fmt::format("[TZ-14] storage {} holds {} bytes, {} elements of {} bytes need more", id.key,
                                 record.size, elements, unit));
    }
    if (longer_record != nullptr && storage_bytes < record.size) *longer_record = id.key;
    const auto count = NumElements(shape);
    if (!count) return Corrupt(fmt::format("[TZ-15] the size of {} overflows", ToString(shape)));
    if (IsPacked(dtype)) {  // torch counts bytes, of two elements each
      if (shape.empty()) return Unsupported(fmt::format("[TZ-11] a scalar of {}", Name(dtype)));
      if (__builtin_mul_overflow(shape.back(), uint64_t{2}, &shape.back()))
        return Corrupt(fmt::format("[TZ-15] the size of {} overflows", ToString(stored_shape)));
    }
    if (*count == 0) return Tensor::FromBytes(dtype, std::move(shape), "");
    ANEMONE_TRY(CheckExtent(stored_shape, strides, offset, id, id.numel * unit / item));
    if (IsPacked(dtype)) {
      if (strides != DenseStrides(stored_shape))
        return Unsupported(fmt::format("[TZ-11] {} with strides {}", Name(dtype), ToString(strides)));
      return Tensor::FromFile(dtype, std::move(shape), record.source, record.offset + id.view_offset * unit + offset);
    }
    begin = id.view_offset * unit + offset * item;
    if (big_endian && item > 1) {
      const bool complex = dtype == DType::kC32 || dtype == DType::kC64 || dtype == DType::kC128;  // two numbers each
      ANEMONE_ASSIGN(ByteRange storage, record.Sub(0, RoundDown(storage_bytes, item)));
      auto swapped = Swapped(std::move(storage), complex ? item / 2 : item);
      return Tensor::FromFile(dtype, std::move(shape), std::move(swapped), begin, std::move(strides));
    }
    return Tensor::FromFile(dtype, std::move(shape), record.source, record.offset + begin, std::move(strides));
  }

  // (array, dtype, device, requires_grad), the array being numpy's _reconstruct with BUILD (version, shape, dtype,
  // is_fortran, bytes).
  Result<Tensor> FromNumpy(const ValueList& args) const {
    const auto* state = Sequence(args[0]->state);
    const std::string_view array = Callee(*args[0]);
    if ((array != "numpy.core.multiarray _reconstruct" && array != "numpy._core.multiarray _reconstruct") ||
        state == nullptr || state->size() != 5) {
      return Corrupt("[TZ-16] expected a numpy array");
    }
    ANEMONE_ASSIGN(Shape shape, UnsignedList((*state)[1], "array shape"));
    const ValueNode* type = (*state)[2];
    const auto* type_state = type == nullptr ? nullptr : Sequence(type->state);
    if (Callee(*type) != "numpy dtype" || type->items.empty() || type_state == nullptr || type_state->size() < 2) {
      return Corrupt("[TZ-16] expected a numpy dtype");
    }
    const std::string order(Text((*type_state)[1]).value_or(""));
    const std::string word(Text(type->items[0]).value_or(""));
    if (order == ">") return Unsupported("[TZ-4] a big-endian numpy array");
    auto dtype = FindDType(&DTypeInfo::numpy, "<" + word);
    if (!dtype) dtype = FindDType(&DTypeInfo::numpy, "|" + word);
    if (!dtype) return Unsupported(fmt::format("[TZ-11] a numpy array of type {}", word));
    if ((*state)[3]->integer != 0) return Unsupported("[TZ-16] a Fortran-ordered numpy array");
    const ValueNode* bytes = (*state)[4];
    if (bytes == nullptr || bytes->kind != Kind::kBytes)
      return Corrupt("[TZ-16] expected bytes as the array's content");
    const auto count = NumElements(shape);
    uint64_t size = 0;
    if (!count || __builtin_mul_overflow(*count, SizeBytes(*dtype), &size) || size != bytes->text.size()) {
      return Corrupt(fmt::format("[TZ-16] a numpy array {} with {} bytes", ToString(shape), bytes->text.size()));
    }
    return Tensor::FromBytes(*dtype, std::move(shape), bytes->text);
  }
};

}  // namespace

bool IsWrapper(std::string_view callee) {
  return std::find(std::begin(kWrappers), std::end(kWrappers), callee) != std::end(kWrappers);
}

bool IsTensorCall(const ValueNode& node) { return FindCallable(Callee(node)) != nullptr || IsWrapper(Callee(node)); }

std::vector<uint64_t> DenseStrides(const Shape& shape) {
  std::vector<uint64_t> strides(shape.size());
  uint64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = stride;
    if (__builtin_mul_overflow(stride, std::max<uint64_t>(shape[axis], 1), &stride)) stride = 1;  // of an empty tensor
  }
  return strides;
}

ObjectVisitor RebuildTensors(FindRecord find_record, bool big_endian, std::string* longer_record) {
  const Rebuilder rebuild{std::move(find_record), big_endian, longer_record};
  const auto object = [rebuild](ValueNode& node) -> Result<bool> {
    ANEMONE_ASSIGN(std::optional<Tensor> tensor, rebuild(node));
    if (!tensor) return false;
    node.kind = Kind::kTensor;
    node.tensor = std::make_unique<Tensor>(*std::move(tensor));
    return true;
  };
  return {.object = object, .pair = {}};
}

}  // namespace anemone
