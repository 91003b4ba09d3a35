// WebP as Pillow reads it, by libwebp, which is loaded at first use.
#include <webp/decode.h>
#include <webp/demux.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/shared_library.h"
#include "clip/image_codec.h"

namespace anemone::internal {
namespace {

struct LibWebp {
  decltype(&WebPGetFeaturesInternal) get_features;
  decltype(&WebPDecodeRGBInto) decode_rgb;
  decltype(&WebPDecodeRGBAInto) decode_rgba;
  decltype(&WebPAnimDecoderOptionsInitInternal) init_options;
  decltype(&WebPAnimDecoderNewInternal) open;
  decltype(&WebPAnimDecoderDelete) close;
  decltype(&WebPAnimDecoderGetInfo) get_info;
  decltype(&WebPAnimDecoderGetNext) get_next;
};

Result<LibWebp> Load() {
  LibWebp webp{};
  ANEMONE_ASSIGN(const SharedLibrary decoder, SharedLibrary::Open({"libwebp.so.7"}));
  ANEMONE_TRY(decoder.Find("WebPGetFeaturesInternal", webp.get_features));
  ANEMONE_TRY(decoder.Find("WebPDecodeRGBInto", webp.decode_rgb));
  ANEMONE_TRY(decoder.Find("WebPDecodeRGBAInto", webp.decode_rgba));
  ANEMONE_ASSIGN(const SharedLibrary animations, SharedLibrary::Open({"libwebpdemux.so.2"}));
  ANEMONE_TRY(animations.Find("WebPAnimDecoderOptionsInitInternal", webp.init_options));
  ANEMONE_TRY(animations.Find("WebPAnimDecoderNewInternal", webp.open));
  ANEMONE_TRY(animations.Find("WebPAnimDecoderDelete", webp.close));
  ANEMONE_TRY(animations.Find("WebPAnimDecoderGetInfo", webp.get_info));
  ANEMONE_TRY(animations.Find("WebPAnimDecoderGetNext", webp.get_next));
  return webp;
}

// The first frame on its canvas.
Result<Image> DecodeAnimation(const LibWebp& lib, std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  WebPAnimDecoderOptions options;
  if (lib.init_options(&options, WEBP_DEMUX_ABI_VERSION) == 0) return Internal("libwebp cannot start");
  options.color_mode = MODE_RGBA;
  const WebPData input{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, void (*)(WebPAnimDecoder*)> decoder(
      lib.open(&input, &options, WEBP_DEMUX_ABI_VERSION), lib.close);
  if (decoder == nullptr) return Corrupt("WebP: the file is damaged or ends early");
  WebPAnimInfo info;
  uint8_t* pixels = nullptr;
  int timestamp = 0;
  if (lib.get_info(decoder.get(), &info) == 0) return Corrupt("WebP: the header is damaged");
  ANEMONE_TRY(CheckSize(info.canvas_width, info.canvas_height, 16, limits).In("WebP"));
  if (lib.get_next(decoder.get(), &pixels, &timestamp) == 0) {
    return Corrupt("WebP: the file is damaged or ends early");
  }
  Image image;
  image.width = info.canvas_width;
  image.height = info.canvas_height;
  image.rgb.assign(pixels, pixels + size_t{image.width} * image.height * 4);
  RemoveAlpha(&image.rgb, alpha);
  return image;
}

}  // namespace

Result<Image> DecodeWebp(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  const Result<const LibWebp*> loaded = LoadedOnce<Load>();
  if (!loaded.ok()) return loaded.status().In("WebP");
  const LibWebp& lib = **loaded;
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPBitstreamFeatures features;
  if (lib.get_features(data, bytes.size(), &features, WEBP_DECODER_ABI_VERSION) != VP8_STATUS_OK)
    return Corrupt("WebP: the header is damaged");
  const auto width = static_cast<uint64_t>(features.width), height = static_cast<uint64_t>(features.height);
  if (features.has_alpha == 0) alpha = AlphaRule::kDrop;
  // A still picture is held once as libwebp works on it and once as a result; an animation's canvas thrice, and the
  // result.
  ANEMONE_TRY(CheckSize(width, height, features.has_animation != 0 ? 16 : 8, limits).In("WebP"));
  if (features.has_animation != 0) return DecodeAnimation(lib, bytes, alpha, limits);
  Image image;
  image.width = static_cast<uint32_t>(width);
  image.height = static_cast<uint32_t>(height);
  const size_t channels = alpha == AlphaRule::kOverWhite ? 4 : 3;
  image.rgb.resize(width * height * channels);
  const auto decode = channels == 4 ? lib.decode_rgba : lib.decode_rgb;
  const int stride = static_cast<int>(width * channels);
  if (decode(data, bytes.size(), image.rgb.data(), image.rgb.size(), stride) == nullptr) {
    return Corrupt("WebP: the file is damaged or ends early");
  }
  if (channels == 4) RemoveAlpha(&image.rgb, alpha);
  return image;
}

}  // namespace anemone::internal
