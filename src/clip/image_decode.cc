// A picture's format is told by its first bytes; all decoders follow Pillow.
#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "clip/image.h"
#include "clip/image_codec.h"

namespace anemone {

Status internal::CheckSize(uint64_t width, uint64_t height, uint64_t bytes_per_pixel, const ImageLimits& limits) {
  if (width == 0 || height == 0) return Corrupt(fmt::format("expected a picture, found {}x{} pixels", width, height));
  if (width > limits.max_pixels / height) {
    return LimitExceeded(fmt::format("expected at most {} pixels, found {}x{}", limits.max_pixels, width, height));
  }
  if (width * height > limits.max_memory / bytes_per_pixel) {
    return LimitExceeded(fmt::format("expected a picture that is decoded in {} MiB of memory, found {}x{} pixels",
                                     limits.max_memory >> 20, width, height));
  }
  return {};
}

uint32_t internal::DivideBy255(uint32_t a) { return (((a + 128) >> 8) + a + 128) >> 8; }  // rounded; Pillow's MULDIV255

// RGBA → RGB in place at the front of `pixels`; over white by Pillow's alpha_composite.
void internal::RemoveAlpha(std::vector<uint8_t>* pixels, AlphaRule rule) {
  constexpr uint32_t kBits = 7;  // of extra precision [Pillow src/libImaging/AlphaComposite.c]
  const size_t count = pixels->size() / 4;
  uint8_t* data = pixels->data();
  for (size_t i = 0; i < count; ++i) {
    const uint32_t alpha = data[4 * i + 3];
    for (size_t c = 0; c < 3; ++c) {
      uint32_t value = data[4 * i + c];
      if (rule == AlphaRule::kOverWhite) {
        const uint32_t source = alpha << kBits;
        const uint32_t sum = value * source + 255 * ((255U << kBits) - source) + (0x80U << kBits);
        value = alpha == 0 ? 255 : (((sum >> 8) + sum) >> 8) >> kBits;
      }
      data[3 * i + c] = static_cast<uint8_t>(value);
    }
  }
  pixels->resize(count * 3);
}

namespace {

Result<Image> DecodeByStart(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  if (bytes.size() > limits.max_bytes) {
    return LimitExceeded(fmt::format("expected at most {} bytes, found {}", limits.max_bytes, bytes.size()));
  }
  const auto starts = [&](std::string_view magic) { return bytes.starts_with(magic); };
  if (starts("\xff\xd8\xff")) return internal::DecodeJpeg(bytes, limits);
  if (starts("\x89PNG\r\n\x1a\n")) return internal::DecodePng(bytes, alpha, limits);
  if (starts("RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP")
    return internal::DecodeWebp(bytes, alpha, limits);
  if (starts("GIF87a") || starts("GIF89a")) return internal::DecodeGif(bytes, alpha, limits);
  if (starts("BM")) return internal::DecodeBmp(bytes, alpha, limits);
  if (bytes.size() >= 2 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '6') {
    return internal::DecodePpm(bytes, limits);
  }
  if (starts({"II*\0", 4}) || starts({"MM\0*", 4}) || starts({"II+\0", 4}) || starts({"MM\0+", 4})) {
    return internal::DecodeTiff(bytes, alpha, limits);
  }
  std::string found = "an empty file";
  if (!bytes.empty()) {
    found.clear();
    for (const char byte : bytes.substr(0, 4)) found += fmt::format("{:02x} ", static_cast<unsigned char>(byte));
    found = "bytes " + found + "at the start";
  }
  return Unsupported(fmt::format("expected a JPEG, PNG, WebP, GIF, BMP, PPM or TIFF picture, found {}", found));
}

}  // namespace

Result<Image> DecodeImage(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  Result<Image> image = DecodeByStart(bytes, alpha, limits);
  if (image.ok() || image.status().kind() != ErrorKind::kUnsupported) return image;
  return image.status().Hint("save the picture as PNG with another program");
}

}  // namespace anemone
