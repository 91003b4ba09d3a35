#include "format/torch/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"
#include "base/crc32.h"
#include "container/pickle.h"
#include "container/zip.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// LONG1 of 0x1950A86A20F9469CFC6C and STOP [pytorch torch/serialization.py, MAGIC_NUMBER]. Before it PROTO, and from
// protocol 4 on FRAME with its length.
constexpr std::string_view kLegacyMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 13);
constexpr size_t kLegacyHeadBytes = 32;  // of either magic, and what comes before it

// The same under protocols 0 and 1, which have no PROTO.
constexpr std::string_view kLegacyTextMagic = "L119547037146038801333356L\n.";

bool HasLegacyMagic(std::string_view head) {
  if (head.substr(0, kLegacyTextMagic.size()) == kLegacyTextMagic) return true;
  if (head.size() < 2 || head[0] != '\x80' || head[1] < 2 || head[1] > 5) return false;
  head.remove_prefix(2);
  if (head.size() > 9 && head[0] == '\x95') head.remove_prefix(9);
  return head.substr(0, kLegacyMagic.size()) == kLegacyMagic;
}
constexpr uint64_t kMaxPickleBytes = uint64_t{1} << 30;

std::string_view GlobalName(const ValueNode* node) {
  return node != nullptr && node->kind == Kind::kGlobal ? std::string_view(node->text) : std::string_view();
}

// What an object calls, "" for anything else.
std::string_view Callee(const ValueNode& node) {
  return node.kind == Kind::kObject ? GlobalName(node.callable) : std::string_view();
}

// Text of a string; of a Python 2 byte string as well.
std::optional<std::string_view> Text(const ValueNode* node) {
  if (node == nullptr || (node->kind != Kind::kString && node->kind != Kind::kBytes)) return std::nullopt;
  return node->text;
}

Result<uint64_t> Unsigned(const ValueNode* node, std::string_view what) {
  if (node == nullptr || (node->kind != Kind::kInt && node->kind != Kind::kBool)) {
    return Corrupt(fmt::format("[TZ-12] expected an integer as {}", what));
  }
  if (node->integer < 0)
    return Corrupt(fmt::format("[TZ-12] expected a {} of at least 0, found {}", what, node->integer));
  return static_cast<uint64_t>(node->integer);
}

const ValueList* Sequence(const ValueNode* node) {
  if (node == nullptr) return nullptr;
  if (node->kind == Kind::kTuple || node->kind == Kind::kList) return &node->items;
  if (Callee(*node) == "torch Size" && node->items.size() == 1) return Sequence(node->items[0]);
  return nullptr;
}

Result<std::vector<uint64_t>> UnsignedList(const ValueNode* node, std::string_view what) {
  const auto* items = Sequence(node);
  if (items == nullptr) return Corrupt(fmt::format("[TZ-12] expected a tuple as {}", what));
  if (items->size() > 64) return Corrupt(fmt::format("[TZ-12] {} of {} axes", what, items->size()));
  std::vector<uint64_t> values;
  for (const ValueNode* item : *items) {
    ANEMONE_ASSIGN(const uint64_t value, Unsigned(item, what));
    values.push_back(value);
  }
  return values;
}

// The bytes a node stands for: bytes, or protocol 2's `_codecs.encode(text, 'latin1')`, or an empty `bytes()`.
std::optional<std::string> BytesOf(const ValueNode* node) {
  if (node == nullptr) return std::nullopt;
  if (node->kind == Kind::kBytes) return node->text;
  const std::string_view callee = Callee(*node);
  if ((callee == "builtins bytes" || callee == "__builtin__ bytes") && node->items.empty()) return std::string();
  if (callee != "_codecs encode" || node->items.size() != 2 || node->items[0]->kind != Kind::kString)
    return std::nullopt;
  std::string bytes;
  const std::string& text = node->items[0]->text;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      bytes += text[i];
    } else if ((c == 0xC2 || c == 0xC3) && i + 1 < text.size()) {
      bytes += static_cast<char>(((c & 3) << 6) | (static_cast<unsigned char>(text[++i]) & 0x3F));
    } else {
      return std::nullopt;  // not latin-1
    }
  }
  return bytes;
}

// --- Storages ---

// "torch FloatStorage", "torch.cuda HalfStorage", "torch.storage UntypedStorage": where the elements are, how many.
struct StorageId {
  std::optional<DType> dtype;  // none: untyped, counted in bytes
  std::string key;
  uint64_t numel = 0;
  uint64_t view_offset = 0;  // in elements, of a legacy view
};

// The file of a zip, with the CRCs that the zip's directory records.
class ZipSource final : public ByteSource {
 public:
  ZipSource(ByteSourcePtr file, std::vector<RecordedCrc32> crcs) : file_(std::move(file)), crcs_(std::move(crcs)) {}
  uint64_t size_bytes() const override { return file_->size_bytes(); }
  const std::string& name() const override { return file_->name(); }
  int fd() const override { return file_->fd(); }
  Status CheckUnchanged() const override { return file_->CheckUnchanged(); }
  std::string_view remote_version() const override { return file_->remote_version(); }
  std::span<const RecordedCrc32> recorded_crcs() const override { return crcs_; }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override { return file_->ReadAt(offset, out); }

 private:
  ByteSourcePtr file_;
  std::vector<RecordedCrc32> crcs_;
};

// A record of big-endian elements, read as little-endian ones.
class SwappedSource : public ByteSource {
 public:
  SwappedSource(ByteRange record, uint64_t item) : record_(std::move(record)), item_(item) {
    // Of the whole record, which the swapped bytes cannot tell: it is read once more to be checked.
    for (const RecordedCrc32& crc : record_.source->recorded_crcs()) {
      if (crc.offset != record_.offset || crc.size < record_.size) continue;
      crcs_.push_back(crc);
      crcs_.back().offset = 0;
      crcs_.back().size = record_.size;
    }
  }
  std::span<const RecordedCrc32> recorded_crcs() const override { return crcs_; }
  uint64_t size_bytes() const override { return record_.size; }
  const std::string& name() const override { return record_.source->name(); }
  Status CheckUnchanged() const override { return record_.source->CheckUnchanged(); }
  std::string_view remote_version() const override { return record_.source->remote_version(); }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (!Within(offset, out.size(), record_.size)) return Corrupt("a read beyond the storage's end");
    // Whole elements, a window at a time: a request may begin or end inside one.
    std::vector<std::byte> window(std::min<uint64_t>(uint64_t{1} << 16, (out.size() / item_ + 2) * item_));
    while (!out.empty()) {
      const uint64_t first = offset / item_ * item_;
      const uint64_t count = std::min<uint64_t>(window.size(), (record_.size / item_ * item_) - first);
      const std::span<std::byte> part(window.data(), count);
      ANEMONE_TRY(record_.source->ReadAt(record_.offset + first, part));
      for (uint64_t at = 0; at < count; at += item_) std::reverse(part.begin() + at, part.begin() + at + item_);
      const uint64_t skip = offset - first;
      const uint64_t take = std::min<uint64_t>(out.size(), count - skip);
      std::copy_n(part.begin() + skip, take, out.begin());
      out = out.subspan(take);
      offset += take;
    }
    return {};
  }

 private:
  ByteRange record_;
  uint64_t item_;
  std::vector<RecordedCrc32> crcs_;
};

// In the legacy layout of torch.save(model): ('module', class, source file, source).
bool IsModuleClass(const ValueNode& node) {
  const auto* parts = node.items.size() == 1 ? Sequence(node.items[0]) : nullptr;
  return parts != nullptr && !parts->empty() && Text((*parts)[0]).value_or("") == "module";
}

Result<StorageId> ParseStorageId(const ValueNode* node) {
  if (node == nullptr || node->kind != Kind::kPersistent || node->items.size() != 1) {
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
  if (parts->size() == 6 && (*parts)[5]->kind != Kind::kNone) {  // (view key, offset, size) of the root storage
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

using FindRecord = std::function<std::optional<ByteRange>(const std::string& key)>;

// --- Tensors ---

// In elements, C order; as torch gives an axis of 0 that of 1.
std::vector<uint64_t> DenseStrides(const Shape& shape) {
  std::vector<uint64_t> strides(shape.size());
  uint64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = stride;
    if (__builtin_mul_overflow(stride, std::max<uint64_t>(shape[axis], 1), &stride)) stride = 1;  // of an empty tensor
  }
  return strides;
}

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
bool IsWrapper(std::string_view callee) {
  return std::find(std::begin(kWrappers), std::end(kWrappers), callee) != std::end(kWrappers);
}

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

// Of those that are rebuilt from arguments alone.
bool IsTensorCall(const ValueNode& node) { return FindCallable(Callee(node)) != nullptr || IsWrapper(Callee(node)); }

constexpr int kMaxNestedTensors = 4;  // a pickle may make one hold itself

struct Rebuilder {
  FindRecord find_record;  // by storage key
  bool big_endian;

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
        return Unsupported(fmt::format("[TZ-13] a tensor saved with its {} bit set", flag));
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
      ANEMONE_ASSIGN(ByteRange storage, record.Sub(0, storage_bytes / item * item));
      auto swapped = std::make_shared<SwappedSource>(std::move(storage), complex ? item / 2 : item);
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
    auto bytes = BytesOf((*state)[4]);
    if (!bytes) return Corrupt("[TZ-16] expected bytes as the array's content");
    const auto count = NumElements(shape);
    uint64_t size = 0;
    if (!count || __builtin_mul_overflow(*count, SizeBytes(*dtype), &size) || size != bytes->size()) {
      return Corrupt(fmt::format("[TZ-16] a numpy array {} with {} bytes", ToString(shape), bytes->size()));
    }
    return Tensor::FromBytes(*dtype, std::move(shape), *std::move(bytes));
  }
};

// Makes every object that describes a tensor the tensor.
ObjectVisitor RebuildTensors(FindRecord find_record, bool big_endian) {
  const Rebuilder rebuild{std::move(find_record), big_endian};
  const auto object = [rebuild](ValueNode& node) -> Result<bool> {
    ANEMONE_ASSIGN(std::optional<Tensor> tensor, rebuild(node));
    if (!tensor) return false;
    node.kind = Kind::kTensor;
    node.tensor = std::make_unique<Tensor>(*std::move(tensor));
    return true;
  };
  return {.object = object, .pair = {}};
}

// --- The zip layout ---

RecordedCrc32 RecordedOf(const ZipMember& member, std::string_view within) {
  const std::string name = within.empty() ? member.name : fmt::format("{}: {}", within, member.name);
  return {member.content.offset, member.size, *member.crc32, member.content, name};
}

// `file` with the CRCs of the records that lie in it as they are.
ByteSourcePtr WithCrcsOf(const ZipArchive& zip, std::string_view prefix, const ByteSourcePtr& file,
                         std::string_view within) {
  std::vector<RecordedCrc32> crcs;
  for (const ZipMember& member : zip.members()) {
    if (!member.deflated && member.crc32 && member.size > 0 && member.name.starts_with(prefix))
      crcs.push_back(RecordedOf(member, within));
  }
  std::ranges::sort(crcs, {}, &RecordedCrc32::offset);
  return crcs.empty() ? file : std::make_shared<ZipSource>(file, std::move(crcs));
}

// Storages by key, in sources with the CRCs of their records: stored ones in one source, deflated ones each in its own.
FindRecord RecordsIn(const ZipArchive& zip, const std::string& prefix, const ByteSourcePtr& file,
                     std::string_view within) {
  return [&zip, prefix, within,
          checked = WithCrcsOf(zip, prefix, file, within)](const std::string& key) -> std::optional<ByteRange> {
    const ZipMember* member = zip.Find(prefix + key);
    if (member == nullptr) return std::nullopt;
    ByteRange content = member->content;
    if (!member->deflated) {
      content.source = checked;
    } else if (member->crc32 && member->size > 0) {
      content.source = std::make_shared<ZipSource>(content.source, std::vector{RecordedOf(*member, within)});
    }
    return content;
  };
}

Result<TorchFile> ReadZip(const ByteRange& range, std::string_view within) {
  ANEMONE_ASSIGN(const ZipArchive zip, ZipArchive::Open(range));
  if (zip.members().empty()) return Corrupt("[TZ-1] an empty zip");
  const std::string& first = zip.members().front().name;
  const size_t slash = first.find('/');
  if (slash == std::string::npos) {
    return Corrupt(fmt::format("[TZ-1] expected records under one root folder, found \"{}\"", first),
                   "a zip, but not one that torch.save wrote");
  }
  const std::string root = first.substr(0, slash + 1);
  const ZipMember* data = zip.Find(root + "data.pkl");
  if (data == nullptr) {
    return Corrupt(fmt::format("[TZ-2] expected a record {}data.pkl", root),
                   "a zip, but not one that torch.save wrote");
  }
  const ZipMember* version = zip.Find(root + "version");
  if (version == nullptr) version = zip.Find(root + ".data/version");
  if (version == nullptr) return Corrupt(fmt::format("[TZ-3] expected a record {}version", root));
  TorchFile file;
  file.torchscript = zip.Find(root + "constants.pkl") != nullptr;
  bool big_endian = false;
  if (const ZipMember* order = zip.Find(root + "byteorder")) {
    ANEMONE_ASSIGN(const std::string word, order->content.ReadAll(64));
    if (word != "little" && word != "big")
      return Corrupt(fmt::format("[TZ-4] expected little or big as byteorder, found \"{}\"", word));
    big_endian = word == "big";
  }
  const FindRecord find_record = RecordsIn(zip, root + "data/", range.source, within);
  // Only hand-made files deflate it, and then by little.
  const uint64_t max_bytes = std::min(kMaxPickleBytes, (uint64_t{64} << 20) + 64 * data->stored_size);
  auto pickle = data->content.ReadAll(max_bytes);
  if (!pickle.ok()) return pickle.status().In(data->name);
  if (data->crc32 && Crc32(0, std::as_bytes(std::span(*pickle))) != *data->crc32) {
    return Corrupt("[TZ-5] the pickle does not match its CRC-32").In(data->name);
  }
  auto value =
      ReadPickle(*pickle, {.stored_bytes = data->stored_size}, nullptr, RebuildTensors(find_record, big_endian));
  if (!value.ok()) return value.status().In(data->name);
  file.root = *std::move(value);
  return file;
}

// --- The legacy layout: five pickles, then the storages ---

// Reads pickles one after another from a file whose pickled part has no known length: what is read ahead grows as
// needed.
class PickleSequence {
 public:
  explicit PickleSequence(const ByteRange& range) : range_(range) {}
  Result<Value> Next(const ObjectVisitor& visitor = {}) {
    while (true) {
      uint64_t consumed = 0;
      auto value = ReadPickle(std::string_view(bytes_).substr(position_), {}, &consumed, visitor);
      if (value.ok()) {
        position_ += consumed;
        return value;
      }
      const uint64_t limit = std::min(range_.size, kMaxPickleBytes);
      if (bytes_.size() >= limit) return value.status();
      const uint64_t want = std::min(limit, std::max<uint64_t>(bytes_.size() * 8, 1 << 18));
      ANEMONE_ASSIGN(const ByteRange more, range_.Sub(0, want));
      ANEMONE_ASSIGN(bytes_, more.ReadAll(want));
    }
  }
  // The pickle at a position that was passed.
  Result<Value> Again(uint64_t position, const ObjectVisitor& visitor) const {
    return ReadPickle(std::string_view(bytes_).substr(position), {}, nullptr, visitor);
  }
  uint64_t position() const { return position_; }

 private:
  const ByteRange& range_;
  std::string bytes_;
  uint64_t position_ = 0;
};

Result<TorchFile> ReadLegacy(const ByteRange& range) {
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
  std::unordered_map<std::string, uint64_t> item_bytes;
  const auto see = [&](ValueNode& node) -> Result<bool> {
    if (node.kind != Kind::kPersistent) return IsTensorCall(node);
    if (IsModuleClass(node)) return false;
    ANEMONE_ASSIGN(const StorageId id, ParseStorageId(&node));
    item_bytes.emplace(id.key, id.dtype ? SizeBytes(*id.dtype) : 1);
    return false;
  };
  const uint64_t object_at = pickles.position();
  if (auto seen = pickles.Next({.object = see, .pair = {}}); !seen.ok()) return seen.status().In("the object's pickle");
  auto keys = pickles.Next();
  if (!keys.ok()) return keys.status().In("the storage keys");
  if (keys->node->kind != Kind::kList) return Corrupt("[TL-3] expected a list of storage keys");

  std::unordered_map<std::string, ByteRange> records;
  uint64_t position = pickles.position();
  for (const ValueNode* node : keys->node->items) {
    const std::string key(Text(node).value_or(""));
    const auto unit = item_bytes.find(key);
    if (unit == item_bytes.end()) return Corrupt(fmt::format("[TL-3] storage {} is listed but never used", key));
    auto count_range = range.Sub(position, 8);
    if (!count_range.ok())
      return Corrupt(fmt::format("[TL-3] the file ends before storage {}", key), "the file is cut short");
    ANEMONE_ASSIGN(const std::string count_bytes, count_range->ReadAll(8));
    uint64_t count = 0, size = 0;
    for (size_t i = 0; i < 8; ++i) {
      const size_t at = little->integer != 0 ? i : 7 - i;
      count |= uint64_t{static_cast<unsigned char>(count_bytes[at])} << (8 * i);
    }
    position += 8;
    if (__builtin_mul_overflow(count, unit->second, &size) || size > range.size - position) {
      return Corrupt(fmt::format("[TL-3] expected {} elements in storage {}, found {} bytes up to the end", count, key,
                                 range.size - position),
                     "the file is cut short");
    }
    ANEMONE_ASSIGN(ByteRange record, range.Sub(position, size));
    if (!records.emplace(key, std::move(record)).second)
      return Corrupt(fmt::format("[TL-3] storage {} is listed twice", key));
    position += size;
  }
  const FindRecord find_record = [&](const std::string& key) {
    const auto found = records.find(key);
    return found == records.end() ? std::nullopt : std::optional(found->second);
  };
  auto root = pickles.Again(object_at, RebuildTensors(find_record, little->integer == 0));
  if (!root.ok()) return root.status().In("the object's pickle");
  file.root = *std::move(root);
  return file;
}

// --- State dicts ---

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
    auto bytes = state != nullptr && !state->empty() ? BytesOf((*state)[0]) : std::nullopt;
    opaque.holds_data = !bytes || !IsSavedNone(*std::move(bytes));
  }
  return opaque;
}

bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

// A module of a TorchScript archive: its attributes are its BUILD state.
const ValueNode* ScriptAttributes(const ValueNode& node) {
  return Callee(node).starts_with("__torch__") && node.state != nullptr && DictEntries(*node.state) ? node.state
                                                                                                    : nullptr;
}

constexpr int kMaxNesting = 100;
constexpr size_t kMaxNames = 10'000'000;

// Whether a tensor lies anywhere in a value. `seen` holds what is known to have none.
bool ContainsTensor(const ValueNode& node, std::unordered_set<const ValueNode*>& seen) {
  std::vector<const ValueNode*> open = {&node};
  while (!open.empty()) {
    const ValueNode* next = open.back();
    open.pop_back();
    if (next == nullptr || !seen.insert(next).second) continue;
    if (next->kind == Kind::kTensor || (next->kind == Kind::kPersistent && !IsModuleClass(*next))) return true;
    for (const ValueList* below : {&next->items, &next->appended, &next->entries})
      open.insert(open.end(), below->begin(), below->end());
    open.push_back(next->state);
  }
  return false;
}

// A call that makes a tensor of a class of its own is called by the class.
std::string_view DescribeTensor(const ValueNode& value) {
  const bool has_class = Callee(value).starts_with("torch._tensor _rebuild_from_type") && value.items.size() == 4;
  return has_class ? Describe(value.items[1]) : Describe(&value);
}

bool IsSharded(const ValueNode& value) {
  const std::string_view what = DescribeTensor(value);
  return what.find("DTensor") != std::string_view::npos || what.find("ShardedTensor") != std::string_view::npos;
}

// Of a tensor on PyTorch's meta device, a file holds the shape alone.
bool IsMeta(const ValueNode& value) {
  const ValueNode* node = &value;
  for (int depth = 0; depth < 16 && IsWrapper(Callee(*node)) && !node->items.empty(); ++depth) node = node->items[0];
  return Callee(*node) == "torch._utils _rebuild_meta_tensor_no_storage";
}

// What a value is called where a tensor was expected, and what to do about it.
Status NotATensor(const ValueNode* value) {
  const std::string_view what = DescribeTensor(*value);
  if (IsSharded(*value)) {
    return Unsupported(
        fmt::format("[TZ-23] expected a whole tensor, found a shard of a distributed one ({})", what),
        "save full_tensor() of each, or the whole with torch.distributed.checkpoint: its folder is read");
  }
  if (IsMeta(*value)) {
    return Unsupported("[TZ-23] expected a tensor with its elements, found one of the meta device, which has none",
                       "save the model after its weights are loaded");
  }
  return Unsupported(fmt::format("[TZ-21] expected a tensor, found {}", what));
}

struct Flattener {
  const Value& owner;
  std::vector<std::string>* left_out;
  StateDict state = {};
  size_t entries_seen = 0;  // dicts that are shared are read wherever they are: their number is bounded, too
  std::unordered_set<const ValueNode*> plain = {};

  Status CountEntries(size_t count) {
    entries_seen += count + 1;
    return entries_seen <= 4 * kMaxNames ? Status() : LimitExceeded(fmt::format("more than {} entries", 4 * kMaxNames));
  }

  // In the order of state_dict() [pytorch torch/nn/modules/module.py].
  Status AddModule(const std::string& prefix, const ValueNode& module, int depth) {
    if (depth > kMaxNesting)
      return LimitExceeded(fmt::format("modules nested more than {} deep", kMaxNesting)).In(prefix);
    const ValueNode* unsaved = Lookup(module, "_non_persistent_buffers_set");
    const auto is_unsaved = [&](const ValueNode& key) {
      return unsaved != nullptr &&
             std::ranges::any_of(unsaved->items, [&](ValueRef name) { return name->text == key.text; });
    };
    for (const std::string_view part : {"_parameters", "_buffers", "_modules"}) {
      const ValueNode* dict = Lookup(module, part);
      const ValueList* entries = dict != nullptr ? DictEntries(*dict) : nullptr;
      ANEMONE_TRY(CountEntries(entries != nullptr ? entries->size() : 0));
      for (size_t i = 0; entries != nullptr && i + 1 < entries->size(); i += 2) {
        const ValueNode& key = *(*entries)[i];
        ValueNode* value = (*entries)[i + 1];
        if (value->kind == Kind::kNone || (part == "_buffers" && is_unsaved(key))) continue;
        const std::string name = prefix.empty() ? key.text : prefix + "." + key.text;
        const ValueNode* child = part == "_modules" ? ModuleState(*value) : nullptr;
        if (child != nullptr) {
          ANEMONE_TRY(AddModule(name, *child, depth + 1));
        } else if (part != "_modules" && value->kind == Kind::kTensor) {
          ANEMONE_TRY(state.Add(name, *value->tensor));
        } else {
          return NotATensor(value).In(name);
        }
      }
    }
    return {};
  }

  Status Add(const std::string& prefix, const ValueNode& dict, bool script, int depth) {
    if (depth > kMaxNesting)
      return LimitExceeded(fmt::format("dictionaries nested more than {} deep", kMaxNesting)).In(prefix);
    const auto& entries = *DictEntries(dict);
    ANEMONE_TRY(CountEntries(entries.size()));
    for (size_t i = 0; i + 1 < entries.size(); i += 2) {
      if (entries[i]->kind != Kind::kString && entries[i]->kind != Kind::kBytes) {
        return Corrupt(fmt::format("[TZ-20] expected strings as keys of a state dict, found {}", Describe(entries[i])))
            .In(prefix);
      }
      const std::string name = prefix.empty() ? entries[i]->text : prefix + "." + entries[i]->text;
      ValueNode* value = entries[i + 1];
      if (state.size() > kMaxNames) return LimitExceeded(fmt::format("more than {} tensors", kMaxNames));
      if (EndsWith(name, "_extra_state")) {
        ANEMONE_TRY(state.Add(name, ToOpaque(owner, value)));
      } else if (value->kind == Kind::kTensor) {
        ANEMONE_TRY(state.Add(name, *value->tensor));
      } else if (const ValueNode* attributes = ScriptAttributes(*value)) {
        ANEMONE_TRY(Add(name, *attributes, true, depth + 1));
      } else if (script) {
        continue;  // an int, a flag, a string of a module: no parameter
      } else if (const ValueNode* module = ModuleState(*value)) {
        ANEMONE_TRY(AddModule(name, *module, depth + 1));
      } else if (DictEntries(*value)) {
        ANEMONE_TRY(Add(name, *value, false, depth + 1));
      } else if (left_out != nullptr && !IsSharded(*value) && !IsMeta(*value) && !ContainsTensor(*value, plain)) {
        left_out->push_back(name);
      } else {
        return NotATensor(value).In(name);
      }
    }
    return {};
  }
};

// --- Writing ---

ValueRef NewText(ValueGraph& graph, Kind kind, std::string_view text) {
  ValueRef node = graph.New(kind);
  node->text = text;
  return node;
}

ValueRef NewTuple(ValueGraph& graph, ValueList items) {
  ValueRef node = graph.New(Kind::kTuple);
  node->items = std::move(items);
  return node;
}

ValueRef NewCall(ValueGraph& graph, ValueRef callable, ValueList args) {
  ValueRef node = graph.New(Kind::kObject);
  node->callable = callable;
  node->items = std::move(args);
  return node;
}

// Turns tensors into `_rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())`, each with a storage of its
// own.
struct Encoder {
  std::vector<Tensor> storages;
  std::unordered_map<const Tensor*, size_t> places;  // in storages, of what was asked for before

  Result<ValueRef> operator()(const Tensor& tensor, ValueGraph& graph) {
    const DTypeInfo& info = Info(tensor.dtype());
    // Types without a storage class of their own travel as bytes plus a dtype [pytorch torch/_utils.py,
    // _rebuild_tensor_v3]; torch reads that since 2.2.
    const bool untyped = info.storage.empty();
    if (untyped && info.torch.empty()) return Unsupported(fmt::format("torch has no word for {}", info.name));
    if (tensor.size_bytes() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return LimitExceeded("a tensor of 2^63 bytes");
    const std::string type = untyped ? "torch.storage UntypedStorage" : fmt::format("torch {}", info.storage);
    const auto [place, is_new] = places.try_emplace(&tensor, storages.size());
    if (is_new) storages.push_back(tensor);
    ValueRef storage = graph.New(Kind::kPersistent);
    storage->items = {NewTuple(
        graph, {NewText(graph, Kind::kString, "storage"), NewText(graph, Kind::kGlobal, type),
                NewText(graph, Kind::kString, std::to_string(place->second)), NewText(graph, Kind::kString, "cpu"),
                NewInt(graph, static_cast<int64_t>(untyped ? tensor.size_bytes() : tensor.num_elements()))})};
    Shape shape = tensor.shape();
    if (IsPacked(tensor.dtype())) {
      if (shape.empty() || shape.back() % 2 != 0)
        return Unsupported(fmt::format("torch has no {} of shape {}", info.name, ToString(shape)));
      shape.back() /= 2;
    }
    const std::vector<uint64_t> steps = DenseStrides(shape);
    std::vector<ValueRef> sizes(shape.size()), strides(shape.size());
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      sizes[axis] = NewInt(graph, static_cast<int64_t>(shape[axis]));
      strides[axis] = NewInt(graph, static_cast<int64_t>(steps[axis]));
    }
    const ValueRef no_hooks = NewCall(graph, NewText(graph, Kind::kGlobal, "collections OrderedDict"), {});
    ValueList args = {
        storage, NewInt(graph, 0), NewTuple(graph, sizes), NewTuple(graph, strides), graph.New(Kind::kBool), no_hooks};
    if (untyped) args.push_back(NewText(graph, Kind::kGlobal, fmt::format("torch {}", info.torch)));
    const std::string_view rebuild = untyped ? "torch._utils _rebuild_tensor_v3" : "torch._utils _rebuild_tensor_v2";
    return NewCall(graph, NewText(graph, Kind::kGlobal, rebuild), std::move(args));
  }
};

// Where a tensor is in nested dictionaries: "state_dict.model.weight"; "" if it is in none.
std::string PathOf(const ValueNode& node, const Tensor* tensor, std::unordered_set<const ValueNode*>& seen,
                   int depth = 0) {
  constexpr int kDeepest = 8;
  const bool goes_in = depth < kDeepest && seen.insert(&node).second;
  const ValueList* entries = goes_in ? DictEntries(node) : nullptr;
  for (size_t i = 0; entries != nullptr && i + 1 < entries->size(); i += 2) {
    const ValueNode& value = *(*entries)[i + 1];
    const std::string& key = (*entries)[i]->text;
    if (value.tensor && &*value.tensor == tensor) return key;
    if (const std::string below = PathOf(value, tensor, seen, depth + 1); !below.empty())
      return fmt::format("{}.{}", key, below);
  }
  return {};
}

// Forty decimal digits that follow from the pickle alone, so that the same content gives the same file (FNV-1a, twice).
std::string SerializationId(std::string_view pickle) {
  uint64_t a = 0xcbf29ce484222325u, b = 0x84222325cbf29ce4u;
  for (const char c : pickle) {
    a = (a ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    b = (b ^ static_cast<unsigned char>(c)) * 0x100000001b3u + 1;
  }
  return fmt::format("{:020}{:020}", a, b);
}

}  // namespace

bool LooksLikeTorchFile(std::string_view head) { return LooksLikeZip(head) || HasLegacyMagic(head); }

ByteRange WithRecordedCrcs(const ByteRange& content) {
  constexpr uint64_t kHead = 4;
  const Result<ByteRange> start = content.Sub(0, std::min(content.size, kHead));
  const Result<std::string> head = start.ok() ? start->ReadAll(kHead) : start.status();
  if (!head.ok() || !LooksLikeZip(*head)) return content;
  const Result<ZipArchive> zip = ZipArchive::Open(content);
  if (!zip.ok()) return content;
  return {WithCrcsOf(*zip, "", content.source, ""), content.offset, content.size};
}

Result<TorchFile> ReadTorchFile(const ByteRange& range, std::string_view within) {
  const uint64_t head_bytes = std::min<uint64_t>(range.size, kLegacyHeadBytes);
  ANEMONE_ASSIGN(const ByteRange head_range, range.Sub(0, head_bytes));
  ANEMONE_ASSIGN(const std::string head, head_range.ReadAll(head_bytes));
  if (LooksLikeZip(head)) return ReadZip(range, within);
  if (HasLegacyMagic(head)) return ReadLegacy(range);
  if (head.starts_with("PYTORCH1")) return Unsupported("a file of torch's short-lived preview format");
  return Corrupt("[TZ-1] expected a torch file (a zip, or the older pickle), found neither");
}

const ValueNode* ModuleState(const ValueNode& node) {
  if (node.kind != Kind::kObject || node.state == nullptr) return nullptr;
  const ValueNode* state = node.state;
  const bool is_module = DictEntries(*state) != nullptr && Lookup(*state, "_parameters") != nullptr &&
                         Lookup(*state, "_modules") != nullptr;
  return is_module ? state : nullptr;
}

Result<StateDict> ToStateDict(const Value& value, std::vector<std::string>* left_out) {
  if (value.node == nullptr) return Corrupt("[TZ-20] expected a dict of tensors, found nothing");
  Flattener flattener{value, left_out};
  if (const ValueNode* attributes = ScriptAttributes(*value.node)) {
    ANEMONE_TRY(flattener.Add("", *attributes, true, 0));
  } else if (const ValueNode* module = ModuleState(*value.node)) {
    ANEMONE_TRY(flattener.AddModule("", *module, 0));
  } else if (DictEntries(*value.node)) {
    ANEMONE_TRY(flattener.Add("", *value.node, false, 0));
  } else {
    return Corrupt(fmt::format("[TZ-20] expected a dict of tensors, found {}", Describe(value.node)),
                   "save the model's state_dict()");
  }
  return std::move(flattener.state);
}

Value FromStateDict(const StateDict& state) {
  Value value{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *value.graph;
  ValueRef dict = NewCall(graph, NewText(graph, Kind::kGlobal, "collections OrderedDict"), {});
  for (const StateDict::Item& item : state.items()) {
    dict->entries.push_back(NewText(graph, Kind::kString, item.name));
    if (const Tensor* tensor = item.tensor()) {
      dict->entries.push_back(NewTensor(graph, *tensor));
    } else {
      const Opaque& opaque = *item.opaque();
      dict->entries.push_back(opaque.value.node != nullptr ? opaque.value.node : graph.New(Kind::kNone));
    }
  }
  graph.root = value.node = dict;
  return value;
}

Status LayOutTorchFile(const Value& value, std::string_view root, PlanFile& file, const ZipOptions& options) {
  Encoder encoder;
  auto written = WritePickle(value, [&](const Tensor& tensor, ValueGraph& graph) {
    Result<ValueRef> node = encoder(tensor, graph);
    std::unordered_set<const ValueNode*> seen;
    return node.ok() ? node : node.status().In(PathOf(*value.node, &tensor, seen));
  });
  if (!written.ok()) return written.status();
  std::string pickle = *std::move(written);
  const std::string prefix = std::string(root) + "/";
  const std::string id = SerializationId(pickle);
  ZipLayout zip(file, options);
  ANEMONE_TRY(zip.Add(prefix + "data.pkl", std::move(pickle)));
  ANEMONE_TRY(zip.Add(prefix + "byteorder", "little"));
  for (size_t i = 0; i < encoder.storages.size(); ++i) {
    ANEMONE_TRY(zip.Add(prefix + "data/" + std::to_string(i), encoder.storages[i]));
  }
  ANEMONE_TRY(zip.Add(prefix + "version", "3\n"));
  ANEMONE_TRY(zip.Add(prefix + ".data/serialization_id", id));
  return zip.Finish();
}

}  // namespace anemone
