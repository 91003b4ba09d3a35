// Image: decoding and preprocessing of pictures, pixel for pixel as Pillow and CLIP's image processors do them.
//
// Threads:  all functions are reentrant and share nothing.
#ifndef ANEMONE_CLIP_IMAGE_H_
#define ANEMONE_CLIP_IMAGE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "anemone/clip.h"
#include "anemone/status.h"

namespace anemone {

// 8-bit RGB, rows from the top, no padding.
struct Image {
  uint32_t width = 0;
  uint32_t height = 0;
  std::vector<uint8_t> rgb;  // height · width · 3
};

struct ImageLimits {
  uint64_t max_bytes = uint64_t{256} << 20;   // of the file
  uint64_t max_pixels = 178'956'970;          // where Pillow refuses, too
  uint64_t max_memory = uint64_t{384} << 20;  // of the pixels and of what decoding them takes
};

// Decodes the contents of a JPEG, PNG, WebP, GIF, BMP, PPM or TIFF file as Pillow's open().convert("RGB") does:
// palettes and tRNS resolved, CMYK and YCCK by Adobe's inverted convention, 16-bit colour by its high byte, 16-bit gray
// clipped at 255 (Pillow's I;16), the first frame of an animation. EXIF orientation is not applied.
//
// Errors: Unsupported (another format, or a variety of these that Pillow refuses); Corrupt (damaged, or ends early);
//         LimitExceeded (see ImageLimits; checked before pixels are allocated).
Result<Image> DecodeImage(std::string_view bytes, AlphaRule alpha = AlphaRule::kDrop, const ImageLimits& limits = {});

// Resizes and crops to settings.crop_height × settings.crop_width (or to the resized size where these are 0). Only the
// rows and columns that survive the crop are computed. Errors: InvalidArgument (settings without meaning) |
// LimitExceeded (the resized side would be over 2³¹).
Result<Image> ResizeAndCrop(const Image& image, const ClipPreprocess& settings);

// (pixel · rescale − mean) / std in fp32, channels first, rounded as transformers rounds.
std::vector<float> Normalize(const Image& image, const ClipPreprocess& settings);

}  // namespace anemone

#endif  // ANEMONE_CLIP_IMAGE_H_
