// TIFF as Pillow reads it [PIL TiffImagePlugin.py], the first page: libtiff decompresses, the samples' meaning is read
// here. libtiff brings many libraries along, so it is loaded at first use.
#include <fmt/format.h>
#include <tiffio.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/shared_library.h"
#include "clip/image_codec.h"

namespace anemone::internal {
namespace {

struct LibTiff {
  decltype(&TIFFOpenOptionsAlloc) options_alloc;
  decltype(&TIFFOpenOptionsFree) options_free;
  decltype(&TIFFOpenOptionsSetMaxSingleMemAlloc) set_max_alloc;
  decltype(&TIFFOpenOptionsSetErrorHandlerExtR) set_error_handler;
  decltype(&TIFFOpenOptionsSetWarningHandlerExtR) set_warning_handler;
  decltype(&TIFFClientOpenExt) open;
  decltype(&TIFFClose) close;
  decltype(&TIFFGetField) get_field;
  decltype(&TIFFGetFieldDefaulted) get_field_defaulted;
  decltype(&TIFFSetField) set_field;
  decltype(&TIFFIsTiled) is_tiled;
  decltype(&TIFFScanlineSize64) scanline_size;
  decltype(&TIFFTileSize64) tile_size;
  decltype(&TIFFTileRowSize64) tile_row_size;
  decltype(&TIFFReadScanline) read_scanline;
  decltype(&TIFFReadTile) read_tile;
};

Result<LibTiff> Load() {
  ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"libtiff.so.6"}));
  LibTiff tiff{};
  ANEMONE_TRY(library.Find("TIFFOpenOptionsAlloc", tiff.options_alloc));
  ANEMONE_TRY(library.Find("TIFFOpenOptionsFree", tiff.options_free));
  ANEMONE_TRY(library.Find("TIFFOpenOptionsSetMaxSingleMemAlloc", tiff.set_max_alloc));
  ANEMONE_TRY(library.Find("TIFFOpenOptionsSetErrorHandlerExtR", tiff.set_error_handler));
  ANEMONE_TRY(library.Find("TIFFOpenOptionsSetWarningHandlerExtR", tiff.set_warning_handler));
  ANEMONE_TRY(library.Find("TIFFClientOpenExt", tiff.open));
  ANEMONE_TRY(library.Find("TIFFClose", tiff.close));
  ANEMONE_TRY(library.Find("TIFFGetField", tiff.get_field));
  ANEMONE_TRY(library.Find("TIFFGetFieldDefaulted", tiff.get_field_defaulted));
  ANEMONE_TRY(library.Find("TIFFSetField", tiff.set_field));
  ANEMONE_TRY(library.Find("TIFFIsTiled", tiff.is_tiled));
  ANEMONE_TRY(library.Find("TIFFScanlineSize64", tiff.scanline_size));
  ANEMONE_TRY(library.Find("TIFFTileSize64", tiff.tile_size));
  ANEMONE_TRY(library.Find("TIFFTileRowSize64", tiff.tile_row_size));
  ANEMONE_TRY(library.Find("TIFFReadScanline", tiff.read_scanline));
  ANEMONE_TRY(library.Find("TIFFReadTile", tiff.read_tile));
  return tiff;
}

// What libtiff reads from, and its last word.
struct Input {
  std::string_view bytes;
  uint64_t at = 0;
  std::string message = "the file is damaged";
  bool extra_unsaid = false;  // there are more samples than colors, and no tag that says what they are
};

tmsize_t Read(thandle_t handle, void* out, tmsize_t size) {
  auto* input = static_cast<Input*>(handle);
  if (size <= 0 || input->at >= input->bytes.size()) return 0;
  const auto count = std::min(static_cast<uint64_t>(size), input->bytes.size() - input->at);
  std::memcpy(out, input->bytes.data() + input->at, count);
  input->at += count;
  return static_cast<tmsize_t>(count);
}
tmsize_t Write(thandle_t /*handle*/, void* /*bytes*/, tmsize_t /*size*/) { return 0; }
toff_t Seek(thandle_t handle, toff_t offset, int whence) {
  auto* input = static_cast<Input*>(handle);
  input->at = offset + (whence == SEEK_CUR ? input->at : whence == SEEK_END ? input->bytes.size() : 0);
  return input->at;
}
int Close(thandle_t /*handle*/) { return 0; }
toff_t Size(thandle_t handle) { return static_cast<Input*>(handle)->bytes.size(); }
int OnError(TIFF* /*tiff*/, void* input, const char* /*where*/, const char* format, va_list arguments) {
  char text[256];
  std::vsnprintf(text, sizeof text, format, arguments);
  static_cast<Input*>(input)->message = text;
  return 1;
}
int OnWarning(TIFF* /*tiff*/, void* input, const char* /*where*/, const char* format, va_list /*arguments*/) {
  if (std::strstr(format, "Defining non-color channels") != nullptr) static_cast<Input*>(input)->extra_unsaid = true;
  return 1;
}

struct Tags {
  uint32_t width = 0;
  uint32_t height = 0;
  uint16_t bits = 1;
  uint16_t samples = 1;
  uint16_t photometric = PHOTOMETRIC_MINISWHITE;
  uint16_t planes = PLANARCONFIG_CONTIG;
  uint16_t compression = COMPRESSION_NONE;
  uint16_t orientation = ORIENTATION_TOPLEFT;
  bool has_alpha = false;
  std::array<uint16_t*, 3> colors = {};  // of a palette
};

// Of Pillow's rules the last: samples beyond the colors are one alpha that the colors are not multiplied by, or
// nothing. Null: they are; else what is expected.
const char* ReadExtraSamples(uint16_t colors, std::span<const uint16_t> kinds, Tags* tags) {
  const auto more = static_cast<uint16_t>(tags->samples - colors);
  if (more > 3 || (more > 0 && kinds.empty() && (colors != 3 || more > 1))) return "no further samples";
  if (more == 0) return nullptr;
  const uint16_t kind = kinds.empty() ? static_cast<uint16_t>(EXTRASAMPLE_UNASSALPHA) : kinds.front();
  if (kind == EXTRASAMPLE_ASSOCALPHA) return "alpha that colors are not multiplied by";
  tags->has_alpha = kind != EXTRASAMPLE_UNSPECIFIED && colors != 4;
  return nullptr;
}

// libtiff takes a palette that it cannot read for gray, in silence: the first page's own word, 0 where there is none.
uint64_t StoredPhotometric(std::string_view bytes) {
  const bool is_big = bytes.size() > 3 && (bytes[2] == '+' || bytes[3] == '+');
  const auto number = [&](uint64_t at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size && at < bytes.size() && size <= bytes.size() - at; ++i) {
      const size_t byte = bytes[0] == 'M' ? i : size - 1 - i;
      value = value << 8 | static_cast<uint8_t>(bytes[at + byte]);
    }
    return value;
  };
  const uint64_t directory = is_big ? number(8, 8) : number(4, 4);
  const size_t head = is_big ? 8 : 2, entry = is_big ? 20 : 12, value = is_big ? 12 : 8;
  const uint64_t count = std::min<uint64_t>(number(directory, head), bytes.size() / entry);
  for (uint64_t i = 0; i < count && directory < bytes.size(); ++i) {
    const uint64_t at = directory + head + i * entry;
    if (number(at, 2) == TIFFTAG_PHOTOMETRIC) return number(at + value, 2);
  }
  return 0;
}

// Errors: Unsupported for what is not 8-bit gray, color or CMYK by one of Pillow's rules.
Result<Tags> ReadTags(const LibTiff& lib, TIFF* tiff, const Input& input) {
  Tags tags;
  uint16_t format = SAMPLEFORMAT_UINT, extra_count = 0;
  uint16_t* extra = nullptr;
  lib.get_field(tiff, TIFFTAG_IMAGEWIDTH, &tags.width);
  lib.get_field(tiff, TIFFTAG_IMAGELENGTH, &tags.height);
  lib.get_field_defaulted(tiff, TIFFTAG_BITSPERSAMPLE, &tags.bits);
  lib.get_field_defaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &tags.samples);
  lib.get_field(tiff, TIFFTAG_PHOTOMETRIC, &tags.photometric);
  lib.get_field_defaulted(tiff, TIFFTAG_PLANARCONFIG, &tags.planes);
  lib.get_field_defaulted(tiff, TIFFTAG_COMPRESSION, &tags.compression);
  lib.get_field_defaulted(tiff, TIFFTAG_ORIENTATION, &tags.orientation);
  lib.get_field_defaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
  lib.get_field_defaulted(tiff, TIFFTAG_EXTRASAMPLES, &extra_count, &extra);
  const auto refuse = [&](const char* expected) {
    return Unsupported(
        fmt::format("expected {}, found {} samples of {} bits, format {}, photometric {}, compression {}", expected,
                    tags.samples, tags.bits, format, tags.photometric, tags.compression));
  };
  uint16_t colors = 1;
  switch (tags.photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
      break;
    case PHOTOMETRIC_PALETTE:
      if (tags.bits > 8) return refuse("a palette of at most 256 colors");
      if (lib.get_field(tiff, TIFFTAG_COLORMAP, &tags.colors[0], &tags.colors[1], &tags.colors[2]) == 0) {
        return Corrupt("expected a palette, found none");
      }
      break;
    case PHOTOMETRIC_RGB:
      colors = 3;
      break;
    case PHOTOMETRIC_YCBCR:
      colors = 3;
      if (tags.compression != COMPRESSION_JPEG || tags.planes != PLANARCONFIG_CONTIG || tags.samples != 3) {
        return refuse("YCbCr as JPEG in one plane");
      }
      lib.set_field(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
      break;
    case PHOTOMETRIC_SEPARATED:
      colors = 4;
      break;
    default:
      return refuse("gray, a palette, RGB, YCbCr or CMYK");
  }
  const bool small = tags.bits == 1 || tags.bits == 2 || tags.bits == 4;
  if (format != SAMPLEFORMAT_UINT || !(tags.bits == 8 || tags.bits == 16 || (small && tags.samples == 1)) ||
      (tags.bits == 16 && tags.photometric != PHOTOMETRIC_RGB && tags.samples != 1) || tags.samples < colors) {
    return refuse("unsigned samples of 8 or 16 bits, or one of 1, 2 or 4");
  }
  if (tags.compression == COMPRESSION_OJPEG) return refuse("no old JPEG");
  if (tags.photometric == PHOTOMETRIC_MINISWHITE &&
      (tags.samples > 1 || (tags.bits == 16 && input.bytes.front() == 'M'))) {
    return refuse("white as 0 in one sample of at most 8 bits");
  }
  const std::span<const uint16_t> kinds(extra, input.extra_unsaid ? 0 : extra_count);
  if (const char* expected = ReadExtraSamples(colors, kinds, &tags)) return refuse(expected);
  return tags;
}

// Sample `i` of a row. Gray beyond 255 is clipped; other 16-bit samples lose their low byte.
uint32_t SampleAt(const uint8_t* row, size_t i, const Tags& tags) {
  if (tags.bits == 8) return row[i];
  if (tags.bits == 16) {
    uint16_t value = 0;
    std::memcpy(&value, row + 2 * i, 2);
    return tags.samples == 1 ? std::min<uint32_t>(value, 255) : value >> 8;
  }
  const size_t bit = i * tags.bits;
  return row[bit / 8] >> (8 - tags.bits - bit % 8) & ((1U << tags.bits) - 1);
}

// One sample into its place among a pixel's four.
void Put(const Tags& tags, uint32_t value, size_t sample, uint8_t* pixel) {
  if (tags.photometric == PHOTOMETRIC_PALETTE && sample == 0) {
    for (size_t c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>(tags.colors[c][value] >> 8);
  } else if (tags.photometric <= PHOTOMETRIC_MINISBLACK && sample == 0) {
    if (tags.bits < 8) value = value * 255 / ((1U << tags.bits) - 1);
    // Pillow does not turn 16-bit gray around.
    if (tags.photometric == PHOTOMETRIC_MINISWHITE && tags.bits <= 8) value = 255 - value;
    std::fill_n(pixel, 3, static_cast<uint8_t>(value));
  } else {
    const bool one_color = tags.photometric <= PHOTOMETRIC_MINISBLACK || tags.photometric == PHOTOMETRIC_PALETTE;
    const size_t channel = one_color ? sample + 2 : sample;
    if (channel < 4) pixel[channel] = static_cast<uint8_t>(value);
  }
}

// All samples as four bytes a pixel: RGBA, or CMYK.
bool ReadSamples(const LibTiff& lib, TIFF* tiff, const Tags& tags, std::vector<uint8_t>* block, uint8_t* pixels) {
  const bool separate = tags.planes == PLANARCONFIG_SEPARATE && tags.samples > 1;
  const size_t planes = separate ? tags.samples : 1, in_row = separate ? 1 : tags.samples;
  const auto put_row = [&](const uint8_t* row, uint32_t x, uint32_t y, uint32_t count, size_t plane) {
    uint8_t* to = pixels + (size_t{y} * tags.width + x) * 4;
    for (size_t i = 0; i < count; ++i, to += 4) {
      for (size_t s = 0; s < in_row; ++s) Put(tags, SampleAt(row, i * in_row + s, tags), plane + s, to);
    }
  };
  uint32_t tile_width = 0, tile_height = 0;
  const bool tiled = lib.is_tiled(tiff) != 0;
  if (tiled) {
    lib.get_field(tiff, TIFFTAG_TILEWIDTH, &tile_width);
    lib.get_field(tiff, TIFFTAG_TILELENGTH, &tile_height);
    if (tile_width == 0 || tile_height == 0) return false;
  }
  for (size_t plane = 0; plane < planes; ++plane) {
    for (uint32_t y = 0; !tiled && y < tags.height; ++y) {
      if (lib.read_scanline(tiff, block->data(), y, static_cast<uint16_t>(plane)) < 0) return false;
      put_row(block->data(), 0, y, tags.width, plane);
    }
    for (uint64_t y = 0; tiled && y < tags.height; y += tile_height) {
      for (uint64_t x = 0; x < tags.width; x += tile_width) {
        const auto left = static_cast<uint32_t>(x), top = static_cast<uint32_t>(y);
        if (lib.read_tile(tiff, block->data(), left, top, 0, static_cast<uint16_t>(plane)) < 0) return false;
        const size_t stride = lib.tile_row_size(tiff);
        for (uint32_t row = 0; row < std::min(tile_height, tags.height - top); ++row) {
          put_row(block->data() + row * stride, left, top + row, std::min(tile_width, tags.width - left), plane);
        }
      }
    }
  }
  return true;
}

// Pillow turns the picture by its orientation tag.
Image Turned(const Image& image, uint16_t orientation) {
  Image out;
  const bool swaps = orientation >= ORIENTATION_LEFTTOP;
  out.width = swaps ? image.height : image.width;
  out.height = swaps ? image.width : image.height;
  out.rgb.resize(image.rgb.size());
  const bool from_right = orientation == ORIENTATION_TOPRIGHT || orientation == ORIENTATION_BOTRIGHT ||
                          orientation == ORIENTATION_RIGHTBOT || orientation == ORIENTATION_LEFTBOT;
  const bool from_bottom = orientation == ORIENTATION_BOTRIGHT || orientation == ORIENTATION_BOTLEFT ||
                           orientation == ORIENTATION_RIGHTTOP || orientation == ORIENTATION_RIGHTBOT;
  for (size_t y = 0; y < out.height; ++y) {
    for (size_t x = 0; x < out.width; ++x) {
      size_t from_x = swaps ? y : x, from_y = swaps ? x : y;
      if (from_right) from_x = image.width - 1 - from_x;
      if (from_bottom) from_y = image.height - 1 - from_y;
      std::copy_n(image.rgb.begin() + static_cast<ptrdiff_t>((from_y * image.width + from_x) * 3), 3,
                  out.rgb.begin() + static_cast<ptrdiff_t>((y * out.width + x) * 3));
    }
  }
  return out;
}

Result<Image> Decode(const LibTiff& lib, TIFF* tiff, const Input& input, AlphaRule alpha, const ImageLimits& limits) {
  ANEMONE_ASSIGN(const Tags tags, ReadTags(lib, tiff, input));
  if (tags.photometric != PHOTOMETRIC_PALETTE && StoredPhotometric(input.bytes) == PHOTOMETRIC_PALETTE) {
    return Corrupt("expected a palette, found none");
  }
  const bool turns = tags.orientation > ORIENTATION_TOPLEFT && tags.orientation <= ORIENTATION_LEFTBOT;
  ANEMONE_TRY(CheckSize(tags.width, tags.height, turns ? 7 : 4, limits));
  const uint64_t block_size = lib.is_tiled(tiff) != 0 ? lib.tile_size(tiff) : lib.scanline_size(tiff);
  if (block_size == 0) return Corrupt(input.message);
  if (block_size > limits.max_memory / 4) {
    return LimitExceeded(
        fmt::format("expected rows and tiles of at most {} bytes, found {}", limits.max_memory / 4, block_size));
  }
  std::vector<uint8_t> block(block_size);
  Image image;
  image.width = tags.width;
  image.height = tags.height;
  image.rgb.resize(size_t{tags.width} * tags.height * 4);
  if (!ReadSamples(lib, tiff, tags, &block, image.rgb.data())) return Corrupt(input.message);
  if (tags.photometric == PHOTOMETRIC_SEPARATED) {
    for (size_t i = 0; i < image.rgb.size(); i += 4) {
      const uint32_t white = 255U - image.rgb[i + 3];
      for (size_t c = 0; c < 3; ++c) {
        image.rgb[i + c] = static_cast<uint8_t>(white - DivideBy255(image.rgb[i + c] * white));
      }
    }
  }
  RemoveAlpha(&image.rgb, tags.has_alpha ? alpha : AlphaRule::kDrop);
  return turns ? Turned(image, tags.orientation) : image;
}

}  // namespace

Result<Image> DecodeTiff(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  const Result<const LibTiff*> loaded = LoadedOnce<Load>();
  if (!loaded.ok()) return loaded.status().In("TIFF");
  const LibTiff& lib = **loaded;
  Input input{.bytes = bytes};
  const std::unique_ptr<TIFFOpenOptions, decltype(lib.options_free)> options(lib.options_alloc(), lib.options_free);
  if (!options) return Internal("libtiff cannot start");
  constexpr uint64_t kForTags = uint64_t{1} << 20;
  lib.set_max_alloc(options.get(), static_cast<tmsize_t>(std::max(limits.max_memory, kForTags)));
  lib.set_error_handler(options.get(), OnError, &input);
  lib.set_warning_handler(options.get(), OnWarning, &input);
  const std::unique_ptr<TIFF, decltype(lib.close)> tiff(
      lib.open("picture", "rm", &input, Read, Write, Seek, Close, Size, nullptr, nullptr, options.get()), lib.close);
  Result<Image> image = tiff ? Decode(lib, tiff.get(), input, alpha, limits) : Result<Image>(Corrupt(input.message));
  return image.ok() ? std::move(image) : image.status().In("TIFF");
}

}  // namespace anemone::internal
