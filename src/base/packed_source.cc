#include "base/packed_source.h"

#include <libdeflate.h>

#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "base/checked.h"

namespace anemone {
namespace {

struct Free {
  void operator()(libdeflate_compressor* compressor) const { libdeflate_free_compressor(compressor); }
  void operator()(libdeflate_decompressor* decompressor) const { libdeflate_free_decompressor(decompressor); }
};

class DeflatedSource final : public ByteSource {
 public:
  DeflatedSource(std::string deflated, uint64_t size_bytes, std::string name)
      : deflated_(std::move(deflated)), size_bytes_(size_bytes), name_(std::move(name)) {}
  uint64_t size_bytes() const override { return size_bytes_; }
  const std::string& name() const override { return name_; }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (!Within(offset, out.size(), size_bytes_)) return Corrupt("expected a range within the bytes").In(name_);
    const std::unique_ptr<libdeflate_decompressor, Free> decompressor(libdeflate_alloc_decompressor());
    if (decompressor == nullptr) throw std::bad_alloc();
    std::string bytes(size_bytes_, '\0');
    const libdeflate_result result = libdeflate_deflate_decompress(
        decompressor.get(), deflated_.data(), deflated_.size(), bytes.data(), bytes.size(), nullptr);
    if (result != LIBDEFLATE_SUCCESS) return Internal("expected bytes that were deflated here").In(name_);
    std::memcpy(out.data(), bytes.data() + offset, out.size());
    return {};
  }

 private:
  const std::string deflated_;
  const uint64_t size_bytes_;
  const std::string name_;
};

}  // namespace

ByteSourcePtr PackedSource(std::string_view bytes, std::string name) {
  constexpr int kFastest = 1;
  const std::unique_ptr<libdeflate_compressor, Free> compressor(libdeflate_alloc_compressor(kFastest));
  if (compressor == nullptr) throw std::bad_alloc();
  std::string room(bytes.size(), '\0');
  const size_t size =
      libdeflate_deflate_compress(compressor.get(), bytes.data(), bytes.size(), room.data(), room.size());
  if (size == 0) return MemorySource(std::string(bytes), std::move(name));
  return std::make_shared<DeflatedSource>(room.substr(0, size), bytes.size(), std::move(name));
}

}  // namespace anemone
