// JPEG by libjpeg-turbo, as Pillow asks it.
#include <fmt/format.h>
#include <jpeglib.h>
// clang-format off: it needs the former
#include <jerror.h>
// clang-format on

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

#include "clip/image.h"
#include "clip/image_codec.h"

namespace anemone {
namespace {

using internal::DivideBy255;

struct JpegError {
  jpeg_error_mgr base;  // first, so that libjpeg's pointer is ours
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
  uint64_t file_bytes;
  bool over_limit;  // then `message` says which
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

// A row of gray or of CMYK samples as RGB.
void RowToRgb(const uint8_t* samples, int channels, size_t width, uint8_t* rgb) {
  for (size_t i = 0; i < width; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      if (channels == 1) {
        rgb[3 * i + c] = samples[i];
      } else {  // Adobe stores 255 − ink; (255 − k)(255 − c) / 255 as Pillow rounds it
        const uint32_t white = samples[4 * i + 3];
        const uint32_t ink = 255U - samples[4 * i + c];
        rgb[3 * i + c] = static_cast<uint8_t>(white - DivideBy255(ink * white));
      }
    }
  }
}

// Everything between setjmp and the end holds no C++ object that a longjmp would leave undestroyed.
bool ReadJpegHeader(jpeg_decompress_struct* info, JpegError* error) {
  if (setjmp(error->jump) != 0) return false;
  jpeg_read_header(info, TRUE);
  if (info->num_components == 1) info->out_color_space = JCS_GRAYSCALE;
  if (info->num_components == 3) info->out_color_space = JCS_RGB;
  if (info->num_components == 4) info->out_color_space = JCS_CMYK;
  jpeg_calc_output_dimensions(info);
  return true;
}

// `row`: room for a row of samples that are not RGB.
bool ReadJpegPixels(jpeg_decompress_struct* info, JpegError* error, uint8_t* row, uint8_t* rgb) {
  if (setjmp(error->jump) != 0) return false;
  jpeg_start_decompress(info);
  while (info->output_scanline < info->output_height) {
    uint8_t* to = rgb + size_t{info->output_width} * 3 * info->output_scanline;
    JSAMPROW into = info->output_components == 3 ? to : row;
    jpeg_read_scanlines(info, &into, 1);
    if (info->output_components != 3) RowToRgb(row, info->output_components, info->output_width, to);
  }
  jpeg_finish_decompress(info);
  return true;
}

// Each scan of a progressive file is a pass over the whole picture, however few bytes it has.
void LimitScans(j_common_ptr common) {
  constexpr uint64_t kScans = 100, kPixels = uint64_t{1} << 28, kPixelsPerByte = 512;
  const auto* info = reinterpret_cast<j_decompress_ptr>(common);
  auto* error = reinterpret_cast<JpegError*>(info->err);
  const auto scans = static_cast<uint64_t>(info->input_scan_number);
  const uint64_t pixels = scans * info->image_width * info->image_height;
  if (scans <= 1 || (scans <= kScans && pixels <= kPixels + kPixelsPerByte * error->file_bytes)) return;
  error->over_limit = true;
  std::strncpy(error->message, "expected at most 100 scans, and 512 pixels of them a byte, found more",
               sizeof(error->message));
  std::longjmp(error->jump, 1);
}

// Bytes a pixel: the RGB result, and all coefficients of a picture that comes in several scans.
uint64_t JpegBytesPerPixel(jpeg_decompress_struct* info) {
  return jpeg_has_multiple_scans(info) != 0 ? 3 + 2 * static_cast<uint64_t>(info->num_components) : 3;
}

}  // namespace

Result<Image> internal::DecodeJpeg(std::string_view bytes, const ImageLimits& limits) {
  jpeg_decompress_struct info;
  JpegError error;
  info.err = jpeg_std_error(&error.base);
  error.base.error_exit = JpegExit;
  error.base.emit_message = [](j_common_ptr, int) {};
  error.base.output_message = [](j_common_ptr) {};
  error.message[0] = '\0';
  error.file_bytes = bytes.size();
  error.over_limit = false;
  const auto broken = [&error] {
    if (error.base.msg_code == JERR_OUT_OF_MEMORY) throw std::bad_alloc();
    const std::string message = fmt::format("JPEG: {}", error.message);
    return error.over_limit ? LimitExceeded(message) : Corrupt(message);
  };
  if (setjmp(error.jump) != 0) return broken();
  jpeg_create_decompress(&info);
  const std::unique_ptr<jpeg_decompress_struct, void (*)(jpeg_decompress_struct*)> guard(
      &info, [](jpeg_decompress_struct* p) { jpeg_destroy_decompress(p); });
  jpeg_progress_mgr progress{};
  progress.progress_monitor = LimitScans;
  info.progress = &progress;

  jpeg_source_mgr source{};
  source.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
  source.bytes_in_buffer = bytes.size();
  source.init_source = [](j_decompress_ptr) {};
  source.fill_input_buffer = JpegTruncated;
  source.skip_input_data = JpegSkip;
  source.resync_to_restart = jpeg_resync_to_restart;
  source.term_source = [](j_decompress_ptr) {};
  info.src = &source;

  if (!ReadJpegHeader(&info, &error)) return broken();
  const int channels = info.num_components;
  if (channels != 1 && channels != 3 && channels != 4) {
    return Unsupported(fmt::format("JPEG: expected 1, 3 or 4 components, found {}", channels));
  }
  ANEMONE_TRY(CheckSize(info.output_width, info.output_height, JpegBytesPerPixel(&info), limits).In("JPEG"));

  Image image;
  image.width = info.output_width;
  image.height = info.output_height;
  image.rgb.resize(size_t{image.width} * image.height * 3);
  std::vector<uint8_t> row(channels == 3 ? 0 : size_t{image.width} * static_cast<size_t>(channels));
  if (!ReadJpegPixels(&info, &error, row.data(), image.rgb.data())) return broken();
  return image;
}

}  // namespace anemone
