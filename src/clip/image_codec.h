// The decoders of pictures, and what they share. DecodeImage (image.h) chooses.
#ifndef ANEMONE_CLIP_IMAGE_CODEC_H_
#define ANEMONE_CLIP_IMAGE_CODEC_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "clip/image.h"

namespace anemone::internal {

// `bytes_per_pixel`: of everything that decoding holds at once. Errors: Corrupt (no pixel), LimitExceeded.
Status CheckSize(uint64_t width, uint64_t height, uint64_t bytes_per_pixel, const ImageLimits& limits);

// An image of that size, black. Errors: as CheckSize.
Result<Image> NewImage(uint64_t width, uint64_t height, uint64_t bytes_per_pixel, const ImageLimits& limits);

// Colors by index; those that a file leaves out are black.
using Palette = std::array<std::array<uint8_t, 3>, 256>;
// The palette of a picture without colors: sample i is gray i.
Palette GrayRamp();

// a / 255, rounded: Pillow's MULDIV255.
uint32_t DivideBy255(uint32_t a);

// RGBA to RGB in place at the front of `pixels`; over white by Pillow's alpha_composite.
void RemoveAlpha(std::vector<uint8_t>* pixels, AlphaRule rule);

// Each as Pillow reads the format, or refused; in a file of its own, but for PPM and BMP: image_bitmap.cc. Errors: as
// DecodeImage.
Result<Image> DecodeJpeg(std::string_view bytes, const ImageLimits& limits);
Result<Image> DecodePng(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits);
Result<Image> DecodePpm(std::string_view bytes, const ImageLimits& limits);
Result<Image> DecodeBmp(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits);
Result<Image> DecodeGif(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits);
Result<Image> DecodeTiff(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits);
Result<Image> DecodeWebp(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_IMAGE_CODEC_H_
