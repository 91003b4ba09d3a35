// Any bytes as a picture: refused, or decoded to exactly height · width · 3 bytes that can be preprocessed.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "clip/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  anemone::ImageLimits limits;
  limits.max_bytes = 1 << 20;
  limits.max_pixels = 1 << 20;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const auto rule : {anemone::AlphaRule::kDrop, anemone::AlphaRule::kOverWhite}) {
    const auto image = anemone::DecodeImage(bytes, rule, limits);
    if (!image.ok()) continue;
    if (image->rgb.size() != uint64_t{image->width} * image->height * 3) std::abort();
    anemone::ClipPreprocess settings;
    settings.shortest_edge = 16;
    settings.crop_height = settings.crop_width = 16;
    const auto small = anemone::ResizeAndCrop(*image, settings);
    if (small.ok() && small->rgb.size() != 16 * 16 * 3) std::abort();
  }
  return 0;
}
