// A checkpoint made of the caller's tensors.
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "anemone/bytes.h"
#include "c_api/c_checkpoint.h"
#include "c_api/call.h"
#include "c_api/dtype_words.h"

using anemone::InvalidArgument;
using anemone::Status;
using anemone::Tensor;
using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

namespace {

// Memory of the caller's.
class Borrowed final : public anemone::ByteSource {
 public:
  Borrowed(const void* data, uint64_t size, std::string name)
      : data_(static_cast<const std::byte*>(data)), size_(size), name_(std::move(name)) {}
  uint64_t size_bytes() const override { return size_; }
  const std::string& name() const override { return name_; }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > size_ || out.size() > size_ - offset) return anemone::Corrupt("read beyond the end").In(name_);
    if (!out.empty()) std::memcpy(out.data(), data_ + offset, out.size());
    return {};
  }

 private:
  const std::byte* data_;
  const uint64_t size_;
  const std::string name_;
};

Status CheckIsMade(const anemone_checkpoint* checkpoint) {
  if (checkpoint->stored.format == nullptr && checkpoint->stored.shards.size() == 1) return {};
  return InvalidArgument("expected a checkpoint of anemone_create, found one that was opened")
      .In(checkpoint->stored.path);
}

}  // namespace

anemone_status* anemone_add_tensor(anemone_checkpoint* checkpoint, const char* name, const char* dtype, size_t rank,
                                   const uint64_t* shape, const void* data, uint64_t size) {
  return Guarded([&]() -> Status {
    ANEMONE_TRY(CheckIsMade(checkpoint));
    const auto element = DTypeOf(dtype);
    if (!element.ok()) return element.status().In(name);
    auto source = std::make_shared<const Borrowed>(data, size, std::string("memory of ") + name);
    auto tensor = Tensor::FromFile(*element, shape == nullptr ? anemone::Shape() : anemone::Shape(shape, shape + rank),
                                   source, 0);
    if (!tensor.ok()) return tensor.status().In(name);
    if (tensor->size_bytes() != size) {
      return InvalidArgument(fmt::format("expected {} bytes, found {}", tensor->size_bytes(), size)).In(name);
    }
    Status added = checkpoint->stored.weights().Add(name, *std::move(tensor));
    checkpoint->Forget();
    return added;
  });
}

anemone_status* anemone_add_artifact(anemone_checkpoint* checkpoint, const char* name, const void* data, size_t size) {
  return Guarded([&]() -> Status {
    ANEMONE_TRY(CheckIsMade(checkpoint));
    if (checkpoint->stored.FindArtifact(name) != nullptr) return InvalidArgument("expected distinct names").In(name);
    std::string content(static_cast<const char*>(data), size);
    checkpoint->stored.artifacts.push_back({name, Whole(anemone::MemorySource(std::move(content), name))});
    return {};
  });
}

anemone_status* anemone_add_metadata(anemone_checkpoint* checkpoint, const char* key, const char* value) {
  return Guarded([&]() -> Status {
    ANEMONE_TRY(CheckIsMade(checkpoint));
    checkpoint->stored.metadata[key] = value;
    return {};
  });
}
