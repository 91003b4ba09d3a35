// PNG by libpng, as Pillow asks it.
#include <fmt/format.h>
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "base/crc32.h"
#include "clip/image.h"
#include "clip/image_codec.h"

namespace anemone {
namespace {

// libpng sees only the chunks that make the pixels, in the file's own bytes.
struct PngInput {
  std::vector<std::string_view> parts;
  std::vector<std::string_view> compressed;  // what the IDATs hold
  std::string cut_header;                    // of an IDAT that the file ends in, with the length that is there
  size_t next = 0;
  bool wrong_checksum = false;  // of the decompressed pixels
  bool no_memory = false;
  std::jmp_buf jump;
  char message[256];
};

uint32_t BigEndian32(std::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// Pillow's rules for chunks: up to the pixels every CRC counts, from there on none; what is behind the pixels must be
// whole, but nothing need be [PIL PngImagePlugin.py, PngImageFile.load_read, load_end].
Status FindPngChunks(std::string_view bytes, PngInput* input) {
  std::vector<std::string_view>* const parts = &input->parts;
  parts->push_back(bytes.substr(0, 8));
  bool pixels = false;
  for (size_t at = 8; bytes.size() - at >= 8;) {
    const uint64_t length = BigEndian32(bytes.substr(at));
    const std::string_view kind = bytes.substr(at + 4, 4);
    if (pixels && kind == "IEND") return {};
    const bool is_name = std::all_of(kind.begin(), kind.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
    if (!is_name) return pixels ? Status() : Corrupt("expected a chunk's name, found other bytes");
    const std::string_view rest = bytes.substr(at + 8);
    if (length > rest.size()) {
      if (kind != "IDAT") return Corrupt(fmt::format("the file ends inside the chunk {}", kind));
      // It may hold all pixels all the same.
      const auto found = static_cast<uint32_t>(rest.size());
      for (int shift = 24; shift >= 0; shift -= 8) input->cut_header += static_cast<char>(found >> shift);
      input->cut_header += kind;
      input->compressed.push_back(rest);
      parts->insert(parts->end(), {input->cut_header, rest});
      return {};
    }
    const bool whole = rest.size() - length >= 4;
    pixels = pixels || kind == "IDAT";
    if (!pixels) {
      if (!whole) return Corrupt(fmt::format("the file ends inside the chunk {}", kind));
      if (Crc32(0, std::as_bytes(std::span(bytes.substr(at + 4, 4 + length)))) != BigEndian32(rest.substr(length))) {
        return Corrupt(fmt::format("{}: CRC error", kind));
      }
    }
    if (kind == "IDAT") input->compressed.push_back(rest.substr(0, length));
    const size_t size = 8 + length + (whole ? 4 : rest.size() - length);
    if (kind == "IHDR" || kind == "PLTE" || kind == "tRNS" || kind == "IDAT") parts->push_back(bytes.substr(at, size));
    at += size;
  }
  return {};
}

[[noreturn]] void PngExit(png_structp png, png_const_charp message) {
  auto* input = static_cast<PngInput*>(png_get_error_ptr(png));
  std::strncpy(input->message, message, sizeof(input->message) - 1);
  std::longjmp(input->jump, 1);
}

void PngWarn(png_structp png, png_const_charp message) {
  if (std::strstr(message, "incorrect data check") == nullptr) return;
  static_cast<PngInput*>(png_get_error_ptr(png))->wrong_checksum = true;
}

png_voidp PngAllocate(png_structp png, png_alloc_size_t size) {
  void* const memory = std::malloc(size);
  if (memory == nullptr) static_cast<PngInput*>(png_get_mem_ptr(png))->no_memory = true;
  return memory;
}

void PngFree(png_structp /*png*/, png_voidp memory) { std::free(memory); }

constexpr const char* kPngEnds = "the file ends inside the picture";

void PngRead(png_structp png, png_bytep out, size_t size) {
  auto* input = static_cast<PngInput*>(png_get_io_ptr(png));
  while (size > 0) {
    if (input->next == input->parts.size()) png_error(png, kPngEnds);
    std::string_view& part = input->parts[input->next];
    const size_t count = std::min(size, part.size());
    std::memcpy(out, part.data(), count);
    part.remove_prefix(count);
    out += count;
    size -= count;
    if (part.empty()) ++input->next;
  }
}

struct PngLayout {
  uint32_t width;
  uint32_t height;
  bool gray16;      // one 16-bit sample a pixel, clipped at 255 by Pillow; otherwise RGB or RGBA of 8 bits
  bool interlaced;  // then rows come in several passes
  size_t channels;  // 8-bit ones
  size_t row_bytes;
};

bool ReadPngHeader(png_structp png, png_infop info, PngInput* input, AlphaRule alpha, PngLayout* layout) {
  if (setjmp(input->jump) != 0) return false;
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);  // ours are checked before the first row
  png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
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
  layout->interlaced = png_set_interlace_handling(png) > 1;
  png_read_update_info(png, info);
  layout->width = png_get_image_width(png, info);
  layout->height = png_get_image_height(png, info);
  layout->channels = png_get_channels(png, info);
  layout->row_bytes = png_get_rowbytes(png, info);
  return true;
}

// All passes over rows that lie one behind the other.
bool ReadPngPixels(png_structp png, PngInput* input, const PngLayout& layout, uint8_t* samples) {
  if (setjmp(input->jump) != 0) return false;
  for (int pass = layout.interlaced ? 7 : 1; pass > 0; --pass) {
    for (uint32_t y = 0; y < layout.height; ++y) png_read_row(png, samples + y * layout.row_bytes, nullptr);
  }
  return true;
}

bool ReadPngRow(png_structp png, PngInput* input, uint8_t* samples) {
  if (setjmp(input->jump) != 0) return false;
  png_read_row(png, samples, nullptr);
  return true;
}

// Bytes of all rows, each with its filter's byte [PNG 1.2, 4.1.1, 8.2].
uint64_t PngRowBytes(std::string_view header) {
  constexpr std::array<uint8_t, 7> kChannels = {1, 0, 3, 1, 2, 0, 4};
  struct Pass {
    uint32_t x, y, columns, rows;
  };
  constexpr std::array<Pass, 7> kAdam7 = {
      {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}};
  constexpr std::array<Pass, 1> kWhole = {{{0, 0, 1, 1}}};
  const uint64_t width = BigEndian32(header), height = BigEndian32(header.substr(4));
  const uint64_t bits = static_cast<uint64_t>(header[8]) * kChannels.at(static_cast<size_t>(header[9]));
  uint64_t bytes = 0;
  for (const Pass& pass : header[12] != 0 ? std::span<const Pass>(kAdam7) : std::span<const Pass>(kWhole)) {
    if (width <= pass.x || height <= pass.y) continue;
    const uint64_t columns = (width - pass.x + pass.columns - 1) / pass.columns;
    bytes += (height - pass.y + pass.rows - 1) / pass.rows * (1 + (columns * bits + 7) / 8);
  }
  return bytes;
}

// True where all rows are there and only the end of their stream is missing, which Pillow forgives and libpng does not.
bool LacksTheEndAlone(const PngInput& input, std::string_view header) {
  const std::string_view message = input.message;
  if (message != "Not enough image data" && message != kPngEnds) return false;
  uint64_t missing = PngRowBytes(header);
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return false;
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> end(&stream, inflateEnd);
  std::array<Bytef, 16 << 10> out{};
  for (const std::string_view part : input.compressed) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
    stream.avail_in = static_cast<uInt>(part.size());
    do {
      stream.next_out = out.data();
      stream.avail_out = out.size();
      const int code = inflate(&stream, Z_NO_FLUSH);
      missing -= std::min<uint64_t>(missing, out.size() - stream.avail_out);
      if (missing == 0) return true;
      if (code != Z_OK && code != Z_BUF_ERROR) return false;
    } while (stream.avail_out == 0);
  }
  return false;
}

// Reads on to the end for the checksum's sake; what else is wrong behind the pixels is forgiven.
bool PngChecksumIsRight(png_structp png, PngInput* input) {
  if (setjmp(input->jump) == 0) png_read_end(png, nullptr);
  return !input->wrong_checksum;
}

// 16-bit gray, clipped at 255.
void Gray16ToRgb(const uint8_t* samples, size_t count, uint8_t* rgb) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t value = samples[2 * i] != 0 ? 255 : samples[2 * i + 1];
    for (size_t c = 0; c < 3; ++c) rgb[3 * i + c] = value;
  }
}

}  // namespace

Result<Image> internal::DecodePng(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  PngInput input{};
  ANEMONE_TRY(FindPngChunks(bytes, &input).In("PNG"));
  if (input.cut_header.empty()) input.parts.emplace_back("\0\0\0\0IEND\xAE\x42\x60\x82", 12);
  png_structp png =
      png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &input, PngExit, PngWarn, &input, PngAllocate, PngFree);
  const auto broken = [&] {
    if (input.no_memory) throw std::bad_alloc();
    return Corrupt(fmt::format("PNG: {}", input.message));
  };
  if (png == nullptr) return broken();
  png_infop info = png_create_info_struct(png);
  const auto destroy = [&](void*) { png_destroy_read_struct(&png, &info, nullptr); };
  const std::unique_ptr<void, decltype(destroy)> guard(png, destroy);
  if (info == nullptr) return broken();
  png_set_read_fn(png, &input, PngRead);

  PngLayout layout{};
  if (!ReadPngHeader(png, info, &input, alpha, &layout)) return broken();
  const bool direct = !layout.gray16 && layout.channels == 3;
  const bool in_place = !layout.gray16 && layout.channels == 4;
  const uint64_t bytes_per_pixel = direct ? 3 : in_place ? 4 : layout.interlaced ? 5 : 3;
  ANEMONE_TRY(CheckSize(layout.width, layout.height, bytes_per_pixel, limits).In("PNG"));
  const size_t expected = size_t{layout.width} * (layout.gray16 ? 2 : layout.channels);
  if (layout.row_bytes != expected || (!layout.gray16 && !direct && !in_place)) {
    return Internal(fmt::format("PNG: expected rows of {} bytes, found {}", expected, layout.row_bytes));
  }

  const std::string_view header = bytes.substr(16);  // IHDR's content, which libpng has read
  bool has_end = true;
  Image image;
  image.width = layout.width;
  image.height = layout.height;
  image.rgb.resize(size_t{layout.width} * layout.height * (in_place ? 4 : 3));
  if (layout.gray16 && !layout.interlaced) {
    std::vector<uint8_t> row(layout.row_bytes);
    for (size_t y = 0; y < layout.height; ++y) {
      has_end = ReadPngRow(png, &input, row.data());
      if (!has_end && (y + 1 < layout.height || !LacksTheEndAlone(input, header))) return broken();
      Gray16ToRgb(row.data(), layout.width, image.rgb.data() + 3 * y * layout.width);
    }
  } else {
    std::vector<uint8_t> gray(layout.gray16 ? layout.row_bytes * layout.height : 0);
    uint8_t* const samples = layout.gray16 ? gray.data() : image.rgb.data();
    has_end = ReadPngPixels(png, &input, layout, samples);
    if (!has_end && !LacksTheEndAlone(input, header)) return broken();
    if (layout.gray16) Gray16ToRgb(samples, size_t{layout.width} * layout.height, image.rgb.data());
  }
  if (has_end && !PngChecksumIsRight(png, &input)) return Corrupt("PNG: IDAT: the pixels' checksum is wrong");
  if (in_place) RemoveAlpha(&image.rgb, alpha);
  return image;
}

}  // namespace anemone
