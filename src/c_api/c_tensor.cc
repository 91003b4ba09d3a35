// Reading tensors, cutting and mapping them.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>

#include "base/cores.h"
#include "base/for_each.h"
#include "c_api/c_checkpoint.h"
#include "c_api/call.h"
#include "c_api/dlpack.h"
#include "c_api/dtype_words.h"
#include "config/nodes.h"
#include "tensor/fill.h"

using anemone::InvalidArgument;
using anemone::Result;
using anemone::Status;
using anemone::Tensor;
using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

// Mapped pages, private to the process.
struct anemone_view {
  std::shared_ptr<std::byte> memory;
  uint64_t size = 0;
};

namespace {

// Large tensors by several threads: most of the time goes into the kernel giving out fresh pages.
Status Read(const Tensor& tensor, std::span<std::byte> out) {
  constexpr size_t kPart = size_t{4} << 20;
  const size_t parts = std::clamp<size_t>(out.size() / kPart, 1, std::min(4U, anemone::UsableCores()));
  const size_t step = out.size() / parts / 4096 * 4096;
  return anemone::ForEach(parts, static_cast<unsigned>(parts), [&](uint64_t part, unsigned) {
    const size_t begin = part * step;
    const size_t end = part + 1 == parts ? out.size() : begin + step;
    return anemone::Fill(tensor, begin, out.subspan(begin, end - begin));
  });
}

// Errors: Unsupported where the bytes are not one aligned range of a plain file (compressed, cut by ranks, converted
// …).
Result<anemone_view> Map(const Tensor& tensor) {
  const std::optional<anemone::ByteRange> range = tensor.AsByteRange();
  const int fd = range ? range->source->fd() : -1;
  if (fd < 0 || range->size == 0 || range->offset % SizeBytes(tensor.dtype()) != 0) {
    return anemone::Unsupported(
               "expected bytes that lie in one piece in a plain file, found ones that must be read or computed")
        .Use("copy", "true", "read them");
  }
  const uint64_t skipped = range->offset % static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const size_t length = skipped + range->size;
  void* base = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd,
                    static_cast<off_t>(range->offset - skipped));
  if (base == MAP_FAILED) return anemone::ErrnoStatus(errno, "cannot map").In(range->source->name());
  std::shared_ptr<std::byte> pages(static_cast<std::byte*>(base),
                                   [length](std::byte* dying) { munmap(dying, length); });
  return anemone_view{{pages, pages.get() + skipped}, range->size};
}

}  // namespace

const char* anemone_tensor_name(const anemone_tensor* tensor) { return tensor->name.c_str(); }

const char* anemone_tensor_dtype(const anemone_tensor* tensor) { return WordOf(tensor->tensor.dtype()).data(); }

anemone_status* anemone_dtypes(char** json) {
  return Guarded([&] {
    anemone::ConfigNode list = anemone::ConfigNode::List();
    for (const anemone::DTypeInfo& info : anemone::DTypes()) {
      anemone::ConfigNode node = anemone::ConfigNode::Map();
      node["name"] = anemone::TextNode(WordOf(info.dtype));
      node["bits"] = anemone::ConfigNode::Int(info.bits);
      node["numpy"] = anemone::TextNode(info.numpy);
      node["safetensors"] = anemone::TextNode(info.safetensors);
      list.list.push_back(std::move(node));
    }
    return GiveJson(list, json);
  });
}

size_t anemone_tensor_rank(const anemone_tensor* tensor) { return tensor->tensor.shape().size(); }

const uint64_t* anemone_tensor_shape(const anemone_tensor* tensor) { return tensor->tensor.shape().data(); }

uint64_t anemone_tensor_bytes(const anemone_tensor* tensor) { return tensor->tensor.size_bytes(); }

anemone_status* anemone_tensor_read(const anemone_tensor* tensor, void* out, uint64_t size) {
  return Guarded([&]() -> Status {
    if (size != tensor->tensor.size_bytes()) {
      return InvalidArgument(fmt::format("expected memory of {} bytes, found {}", tensor->tensor.size_bytes(), size))
          .In(tensor->name);
    }
    return Read(tensor->tensor, {static_cast<std::byte*>(out), static_cast<size_t>(size)});
  });
}

anemone_status* anemone_tensor_narrow(const anemone_tensor* tensor, size_t axis, uint64_t start, uint64_t length,
                                      anemone_tensor** part) {
  return Guarded([&]() -> Status {
    Result<Tensor> narrow = tensor->tensor.Narrow(axis, start, length);
    if (!narrow.ok()) return narrow.status().In(tensor->name);
    return Give(part, tensor->name, *std::move(narrow));
  });
}

void anemone_tensor_free(anemone_tensor* tensor) { delete tensor; }

anemone_status* anemone_tensor_view(const anemone_tensor* tensor, anemone_view** view) {
  return Guarded([&]() -> Status {
    ANEMONE_ASSIGN(anemone_view mapped, Map(tensor->tensor));
    return Give(view, std::move(mapped));
  });
}

void* anemone_view_data(const anemone_view* view) { return view->memory.get(); }

uint64_t anemone_view_size(const anemone_view* view) { return view->size; }

void anemone_view_free(anemone_view* view) { delete view; }

anemone_status* anemone_tensor_dlpack(const anemone_tensor* tensor, int copy, void** managed) {
  return Guarded([&]() -> Status {
    const Tensor& value = tensor->tensor;
    if (DlpackCode(value.dtype()) < 0) {
      return anemone::Unsupported(fmt::format("DLPack has no word for {}", WordOf(value.dtype()))).In(tensor->name);
    }
    std::shared_ptr<std::byte> memory;
    if (copy != 0) {
      memory = AllocateMemory(value.size_bytes());
      ANEMONE_TRY(Read(value, {memory.get(), static_cast<size_t>(value.size_bytes())}));
    } else {
      ANEMONE_ASSIGN(const anemone_view view, Map(value));
      memory = view.memory;
    }
    *managed = MakeDlpack(value.dtype(), value.shape(), std::move(memory)).release();
    return {};
  });
}

void anemone_dlpack_free(void* managed) {
  if (managed == nullptr) return;
  auto* tensor = static_cast<DLManagedTensor*>(managed);
  tensor->deleter(tensor);
}
