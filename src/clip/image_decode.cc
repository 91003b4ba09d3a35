// JPEG by libjpeg-turbo, PNG by libpng, WebP by libwebp: the libraries that Pillow uses, asked as Pillow asks them.
#include <fmt/format.h>
#include <jpeglib.h>
#include <png.h>
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>

#include "clip/image.h"

namespace anemone {
namespace {

Status CheckSize(uint64_t width, uint64_t height, const ImageLimits& limits) {
  if (width == 0 || height == 0) return Corrupt(fmt::format("expected a picture, found {}x{} pixels", width, height));
  if (width > limits.max_pixels / height) {
    return LimitExceeded(fmt::format("expected at most {} pixels, found {}x{}", limits.max_pixels, width, height));
  }
  return {};
}

uint32_t DivideBy255(uint32_t a) { return (((a + 128) >> 8) + a + 128) >> 8; }  // rounded; Pillow's MULDIV255

// RGBA → RGB in place at the front of `pixels`; over white by Pillow's alpha_composite.
void RemoveAlpha(std::vector<uint8_t>* pixels, AlphaRule rule) {
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

// ---- JPEG ----

struct JpegError {
  jpeg_error_mgr base;  // first, so that libjpeg's pointer is ours
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void JpegExit(j_common_ptr info) {
  auto* error = reinterpret_cast<JpegError*>(info->err);
  error->base.format_message(info, error->message);
  std::longjmp(error->jump, 1);
}

// No more bytes: Pillow says "image file is truncated", where libjpeg alone would invent an end.
boolean JpegTruncated(j_decompress_ptr info) {
  auto* error = reinterpret_cast<JpegError*>(info->err);
  std::strncpy(error->message, "the file ends inside the picture", sizeof(error->message));
  std::longjmp(error->jump, 1);
}

void JpegSkip(j_decompress_ptr info, long count) {  // NOLINT(google-runtime-int): libjpeg's type
  if (count <= 0) return;
  if (static_cast<size_t>(count) > info->src->bytes_in_buffer) JpegTruncated(info);
  info->src->next_input_byte += count;
  info->src->bytes_in_buffer -= static_cast<size_t>(count);
}

// Everything between setjmp and the end holds no C++ object that a longjmp would leave undestroyed. `phase` is 0 to
// read the header, 1 to read the pixels into `out`.
bool RunJpeg(jpeg_decompress_struct* info, JpegError* error, int phase, uint8_t* out) {
  if (setjmp(error->jump) != 0) return false;
  if (phase == 0) {
    jpeg_read_header(info, TRUE);
    if (info->num_components == 1) info->out_color_space = JCS_GRAYSCALE;
    if (info->num_components == 3) info->out_color_space = JCS_RGB;
    if (info->num_components == 4) info->out_color_space = JCS_CMYK;
    jpeg_calc_output_dimensions(info);
    return true;
  }
  jpeg_start_decompress(info);
  const size_t row_bytes = size_t{info->output_width} * static_cast<size_t>(info->output_components);
  while (info->output_scanline < info->output_height) {
    JSAMPROW row = out + row_bytes * info->output_scanline;
    jpeg_read_scanlines(info, &row, 1);
  }
  jpeg_finish_decompress(info);
  return true;
}

Result<Image> DecodeJpeg(std::string_view bytes, const ImageLimits& limits) {
  jpeg_decompress_struct info;
  JpegError error;
  info.err = jpeg_std_error(&error.base);
  error.base.error_exit = JpegExit;
  error.base.emit_message = [](j_common_ptr, int) {};
  error.base.output_message = [](j_common_ptr) {};
  error.message[0] = '\0';
  if (setjmp(error.jump) != 0) return Internal(error.message);
  jpeg_create_decompress(&info);
  const std::unique_ptr<jpeg_decompress_struct, void (*)(jpeg_decompress_struct*)> guard(
      &info, [](jpeg_decompress_struct* p) { jpeg_destroy_decompress(p); });
  info.mem->max_memory_to_use = 1L << 30;

  jpeg_source_mgr source{};
  source.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
  source.bytes_in_buffer = bytes.size();
  source.init_source = [](j_decompress_ptr) {};
  source.fill_input_buffer = JpegTruncated;
  source.skip_input_data = JpegSkip;
  source.resync_to_restart = jpeg_resync_to_restart;
  source.term_source = [](j_decompress_ptr) {};
  info.src = &source;

  if (!RunJpeg(&info, &error, 0, nullptr)) return Corrupt(fmt::format("JPEG: {}", error.message));
  const int channels = info.num_components;
  if (channels != 1 && channels != 3 && channels != 4) {
    return Unsupported(fmt::format("JPEG: expected 1, 3 or 4 components, found {}", channels));
  }
  ANEMONE_TRY(CheckSize(info.output_width, info.output_height, limits).In("JPEG"));

  Image image;
  image.width = info.output_width;
  image.height = info.output_height;
  const size_t pixels = size_t{image.width} * image.height;
  std::vector<uint8_t> samples(pixels * static_cast<size_t>(channels));
  if (!RunJpeg(&info, &error, 1, samples.data())) return Corrupt(fmt::format("JPEG: {}", error.message));
  if (channels == 3) {
    image.rgb = std::move(samples);
    return image;
  }
  image.rgb.resize(pixels * 3);
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      if (channels == 1) {
        image.rgb[3 * i + c] = samples[i];
      } else {  // Adobe stores 255 − ink; (255 − k)(255 − c) / 255 as Pillow rounds it
        const uint32_t white = samples[4 * i + 3];
        const uint32_t ink = 255U - samples[4 * i + c];
        image.rgb[3 * i + c] = static_cast<uint8_t>(white - DivideBy255(ink * white));
      }
    }
  }
  return image;
}

// ---- PNG ----

struct PngInput {
  std::string_view bytes;
  std::jmp_buf jump;
  char message[256];
};

[[noreturn]] void PngExit(png_structp png, png_const_charp message) {
  auto* input = static_cast<PngInput*>(png_get_error_ptr(png));
  std::strncpy(input->message, message, sizeof(input->message) - 1);
  std::longjmp(input->jump, 1);
}

void PngRead(png_structp png, png_bytep out, size_t size) {
  auto* input = static_cast<PngInput*>(png_get_io_ptr(png));
  if (size > input->bytes.size()) png_error(png, "the file ends inside the picture");
  std::memcpy(out, input->bytes.data(), size);
  input->bytes.remove_prefix(size);
}

struct PngLayout {
  uint32_t width;
  uint32_t height;
  bool gray16;      // one 16-bit sample a pixel, clipped at 255 by Pillow; otherwise RGB or RGBA of 8 bits
  size_t channels;  // 8-bit ones
  size_t row_bytes;
};

bool RunPngHeader(png_structp png, png_infop info, PngInput* input, AlphaRule alpha, PngLayout* layout) {
  if (setjmp(input->jump) != 0) return false;
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);  // ours are checked before the first row
  png_read_info(png, info);
  const int depth = png_get_bit_depth(png, info);
  const int color = png_get_color_type(png, info);
  const bool transparent = (color & PNG_COLOR_MASK_ALPHA) != 0 || png_get_valid(png, info, PNG_INFO_tRNS) != 0;
  const bool keep_alpha = alpha == AlphaRule::kOverWhite && transparent;
  layout->gray16 = depth == 16 && color == PNG_COLOR_TYPE_GRAY && !keep_alpha;
  if (!layout->gray16) {
    if (depth == 16) png_set_strip_16(png);
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (color == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (keep_alpha) {
      if (png_get_valid(png, info, PNG_INFO_tRNS) != 0) png_set_tRNS_to_alpha(png);
    } else {
      png_set_strip_alpha(png);
    }
    if ((color & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
  }
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  layout->width = png_get_image_width(png, info);
  layout->height = png_get_image_height(png, info);
  layout->channels = png_get_channels(png, info);
  layout->row_bytes = png_get_rowbytes(png, info);
  return true;
}

bool RunPngPixels(png_structp png, PngInput* input, png_bytepp rows) {
  if (setjmp(input->jump) != 0) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

Result<Image> DecodePng(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  PngInput input{};
  input.bytes = bytes;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, PngExit, [](png_structp, png_const_charp) {});
  if (png == nullptr) return Internal("libpng cannot start");
  png_infop info = png_create_info_struct(png);
  const auto destroy = [&](void*) { png_destroy_read_struct(&png, &info, nullptr); };
  const std::unique_ptr<void, decltype(destroy)> guard(png, destroy);
  if (info == nullptr) return Internal("libpng cannot start");
  png_set_read_fn(png, &input, PngRead);

  PngLayout layout{};
  if (!RunPngHeader(png, info, &input, alpha, &layout)) return Corrupt(fmt::format("PNG: {}", input.message));
  ANEMONE_TRY(CheckSize(layout.width, layout.height, limits).In("PNG"));
  const size_t expected = size_t{layout.width} * (layout.gray16 ? 2 : layout.channels);
  if (layout.row_bytes != expected || (!layout.gray16 && layout.channels != 3 && layout.channels != 4)) {
    return Internal(fmt::format("PNG: expected rows of {} bytes, found {}", expected, layout.row_bytes));
  }

  std::vector<uint8_t> samples(layout.row_bytes * layout.height);
  std::vector<png_bytep> rows(layout.height);
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = samples.data() + y * layout.row_bytes;
  if (!RunPngPixels(png, &input, rows.data())) return Corrupt(fmt::format("PNG: {}", input.message));

  Image image;
  image.width = layout.width;
  image.height = layout.height;
  if (layout.gray16) {
    const size_t pixels = size_t{layout.width} * layout.height;
    image.rgb.resize(pixels * 3);
    for (size_t i = 0; i < pixels; ++i) {
      const uint8_t value = samples[2 * i] != 0 ? 255 : samples[2 * i + 1];
      for (size_t c = 0; c < 3; ++c) image.rgb[3 * i + c] = value;
    }
    return image;
  }
  if (layout.channels == 4) RemoveAlpha(&samples, alpha);
  image.rgb = std::move(samples);
  return image;
}

// ---- WebP ----

Result<Image> DecodeWebp(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data, bytes.size(), &features) != VP8_STATUS_OK) return Corrupt("WebP: the header is damaged");
  ANEMONE_TRY(
      CheckSize(static_cast<uint64_t>(features.width), static_cast<uint64_t>(features.height), limits).In("WebP"));

  WebPAnimDecoderOptions options;
  if (WebPAnimDecoderOptionsInit(&options) == 0) return Internal("libwebp cannot start");
  options.color_mode = MODE_RGBA;
  const WebPData input{data, bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, void (*)(WebPAnimDecoder*)> decoder(WebPAnimDecoderNew(&input, &options),
                                                                             WebPAnimDecoderDelete);
  if (decoder == nullptr) return Corrupt("WebP: the file is damaged or ends early");
  WebPAnimInfo info;
  uint8_t* pixels = nullptr;
  int timestamp = 0;
  if (WebPAnimDecoderGetInfo(decoder.get(), &info) == 0) return Corrupt("WebP: the header is damaged");
  ANEMONE_TRY(CheckSize(info.canvas_width, info.canvas_height, limits).In("WebP"));
  if (WebPAnimDecoderGetNext(decoder.get(), &pixels, &timestamp) == 0) {
    return Corrupt("WebP: the file is damaged or ends early");
  }
  Image image;
  image.width = info.canvas_width;
  image.height = info.canvas_height;
  image.rgb.assign(pixels, pixels + size_t{image.width} * image.height * 4);
  RemoveAlpha(&image.rgb, features.has_alpha != 0 ? alpha : AlphaRule::kDrop);
  return image;
}

}  // namespace

Result<Image> DecodeImage(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  if (bytes.size() > limits.max_bytes) {
    return LimitExceeded(fmt::format("expected at most {} bytes, found {}", limits.max_bytes, bytes.size()));
  }
  if (bytes.starts_with("\xff\xd8\xff")) return DecodeJpeg(bytes, limits);
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return DecodePng(bytes, alpha, limits);
  if (bytes.starts_with("RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP")
    return DecodeWebp(bytes, alpha, limits);
  std::string found = "an empty file";
  if (!bytes.empty()) {
    found.clear();
    for (const char byte : bytes.substr(0, 4)) found += fmt::format("{:02x} ", static_cast<unsigned char>(byte));
    found = "bytes " + found + "at the start";
  }
  return Unsupported(fmt::format("expected a JPEG, PNG or WebP picture, found {}", found));
}

}  // namespace anemone
