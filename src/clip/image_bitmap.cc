// PPM and BMP as Pillow reads them [PIL PpmImagePlugin.py, BmpImagePlugin.py].
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>

#include "base/rounding.h"
#include "clip/image_codec.h"

namespace anemone::internal {

Palette GrayRamp() {
  Palette palette;
  for (size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<uint8_t>(i));
  return palette;
}

Result<Image> NewImage(uint64_t width, uint64_t height, uint64_t bytes_per_pixel, const ImageLimits& limits) {
  ANEMONE_TRY(CheckSize(width, height, bytes_per_pixel, limits));
  Image image;
  image.width = static_cast<uint32_t>(width);
  image.height = static_cast<uint32_t>(height);
  image.rgb.resize(width * height * 3);
  return image;
}

namespace {

Status EndsInside() { return Corrupt("the file ends inside the picture"); }

// ---- PPM, PGM, PBM ----

bool IsPpmSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class PpmReader {
 public:
  explicit PpmReader(std::string_view bytes) : rest_(bytes) {}

  std::string_view rest() const { return rest_; }

  // A number of the header or of a plain picture; the one character behind it is taken along.
  Result<uint64_t> Number() {
    constexpr size_t kLongest = 10;
    SkipSpace();
    uint64_t value = 0;
    size_t digits = 0;
    for (; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
      if (digits == kLongest) return Corrupt("expected a number of at most 10 digits, found more");
      value = value * 10 + static_cast<uint64_t>(rest_[digits] - '0');
    }
    const bool ends = digits < rest_.size() ? IsPpmSpace(rest_[digits]) || rest_[digits] == '#' : digits > 0;
    if (digits == 0 || !ends) return rest_.empty() ? EndsInside() : Corrupt("expected a number, found other text");
    rest_.remove_prefix(digits);
    if (!rest_.empty() && rest_.front() != '#') rest_.remove_prefix(1);
    return value;
  }

  // A digit of a plain PBM, which needs no space around it.
  Result<bool> Bit() {
    SkipSpace();
    if (rest_.empty()) return EndsInside();
    const char c = rest_.front();
    if (c != '0' && c != '1') return Corrupt("expected 0 or 1, found other text");
    rest_.remove_prefix(1);
    return c == '1';
  }

 private:
  void SkipSpace() {
    while (!rest_.empty() && (IsPpmSpace(rest_.front()) || rest_.front() == '#')) {
      if (rest_.front() == '#') {
        rest_.remove_prefix(std::min(rest_.find_first_of("\r\n"), rest_.size() - 1));
      }
      rest_.remove_prefix(1);
    }
  }

  std::string_view rest_;
};

// A sample on the scale of 0 to `out_max`, ties to even as Python rounds, then clipped to 8 bits: gray beyond 255 is a
// 32-bit picture to Pillow, which clips.
uint8_t Scaled(uint64_t value, uint64_t max, uint64_t out_max) {
  const double scaled =
      std::nearbyint(static_cast<double>(value) / static_cast<double>(max) * static_cast<double>(out_max));
  return static_cast<uint8_t>(std::min(scaled, 255.0));
}

Status FillPpm(char kind, uint64_t max, PpmReader* reader, Image* image) {
  const bool plain = kind <= '3';
  const bool color = kind == '3' || kind == '6';
  const size_t samples = size_t{image->width} * image->height * (color ? 3 : 1);
  const uint64_t out_max = max > 255 && !color ? 65535 : 255;
  const size_t size = max > 255 ? 2 : 1;
  const std::string_view raw = reader->rest();
  if (!plain && raw.size() / size < samples) return EndsInside();
  for (size_t i = 0; i < samples; ++i) {
    uint64_t value = 0;
    if (plain) {
      ANEMONE_ASSIGN(value, reader->Number());
      if (value > max) return Corrupt(fmt::format("expected samples up to {}, found {}", max, value));
    } else {
      for (size_t k = 0; k < size; ++k) value = value << 8 | static_cast<unsigned char>(raw[i * size + k]);
    }
    const uint8_t byte = Scaled(value, max, out_max);
    if (color) {
      image->rgb[i] = byte;
    } else {
      std::fill_n(image->rgb.begin() + static_cast<ptrdiff_t>(3 * i), 3, byte);
    }
  }
  return {};
}

Status FillPbm(char kind, PpmReader* reader, Image* image) {
  const std::string_view raw = reader->rest();
  const size_t stride = (size_t{image->width} + 7) / 8;
  if (kind == '4' && raw.size() / stride < image->height) return EndsInside();
  for (size_t i = 0; i < image->rgb.size() / 3; ++i) {
    bool black = false;
    if (kind == '1') {
      ANEMONE_ASSIGN(black, reader->Bit());
    } else {
      const size_t x = i % image->width, y = i / image->width;
      black = (static_cast<unsigned char>(raw[y * stride + x / 8]) >> (7 - x % 8) & 1) != 0;
    }
    std::fill_n(image->rgb.begin() + static_cast<ptrdiff_t>(3 * i), 3, black ? 0 : 255);
  }
  return {};
}

// ---- BMP ----

uint32_t Little(std::string_view bytes, size_t at, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return value;
}

struct Bmp {
  uint64_t width = 0;
  uint64_t height = 0;
  bool from_top = false;
  uint32_t bits = 0;
  uint32_t compression = 0;
  uint32_t colors = 0;
  size_t palette_entry = 4;  // bytes
  size_t palette_at = 0;     // where the header ends
  size_t pixels_at = 0;
  std::string_view channels;  // "BGRX": which byte of a pixel is what; "565" and "555" for 16 bits
};

// The layouts of 32 bits that Pillow knows, by the masks of red, green, blue and alpha.
struct BmpMasks {
  std::array<uint32_t, 4> masks;
  std::string_view channels;
};
constexpr BmpMasks kBmpMasks[] = {
    {{0xFF0000, 0xFF00, 0xFF, 0}, "BGRX"},          {{0xFF000000, 0xFF0000, 0xFF00, 0}, "XBGR"},
    {{0xFF000000, 0xFF00, 0xFF, 0}, "BGXR"},        {{0xFF000000, 0xFF0000, 0xFF00, 0xFF}, "ABGR"},
    {{0xFF, 0xFF00, 0xFF0000, 0xFF000000}, "RGBA"}, {{0xFF0000, 0xFF00, 0xFF, 0xFF000000}, "BGRA"},
    {{0xFF000000, 0xFF00, 0xFF, 0xFF0000}, "BGAR"}, {{0, 0, 0, 0}, "BGRA"},
};

Status ReadBmpMasks(std::string_view bytes, uint32_t header, Bmp* bmp) {
  constexpr size_t kMasksAt = 14 + 40;
  const size_t count = header >= 56 ? 4 : 3;
  std::array<uint32_t, 4> masks{};
  if (bytes.size() < kMasksAt + 4 * count) return EndsInside();
  for (size_t i = 0; i < count; ++i) masks[i] = Little(bytes, kMasksAt + 4 * i, 4);
  if (header == 40) bmp->palette_at += 12;
  if (bmp->bits == 32) {
    const auto* found =
        std::find_if(std::begin(kBmpMasks), std::end(kBmpMasks), [&](const BmpMasks& m) { return m.masks == masks; });
    if (found != std::end(kBmpMasks)) bmp->channels = found->channels;
    if (found != std::end(kBmpMasks)) return {};
  }
  masks[3] = 0;
  using Masks = std::array<uint32_t, 4>;
  if (bmp->bits == 24 && masks == Masks{0xFF0000, 0xFF00, 0xFF}) return {};
  if (bmp->bits == 16 && masks == Masks{0x7C00, 0x3E0, 0x1F}) return {};
  if (bmp->bits == 16 && masks == Masks{0xF800, 0x7E0, 0x1F}) {
    bmp->channels = "565";
    return {};
  }
  return Unsupported("expected channels of whole bytes, 5-5-5 or 5-6-5 bits, found other masks");
}

Result<Bmp> ReadBmpHeader(std::string_view bytes) {
  if (bytes.size() < 18) return EndsInside();
  const uint32_t header = Little(bytes, 14, 4);
  constexpr std::array<uint32_t, 7> kHeaders = {12, 40, 52, 56, 64, 108, 124};
  if (std::find(kHeaders.begin(), kHeaders.end(), header) == kHeaders.end()) {
    return Unsupported(fmt::format("expected a header of 12, 40, 52, 56, 64, 108 or 124 bytes, found {}", header));
  }
  if (bytes.size() < 14 + size_t{header}) return EndsInside();
  Bmp bmp;
  bmp.palette_at = 14 + size_t{header};
  if (header == 12) {
    bmp.width = Little(bytes, 18, 2);
    bmp.height = Little(bytes, 20, 2);
    bmp.bits = Little(bytes, 24, 2);
    bmp.palette_entry = 3;
  } else {
    bmp.width = Little(bytes, 18, 4);
    bmp.height = Little(bytes, 22, 4);
    bmp.from_top = static_cast<unsigned char>(bytes[25]) == 0xFF;
    if (bmp.from_top) bmp.height = (uint64_t{1} << 32) - bmp.height;
    bmp.bits = Little(bytes, 28, 2);
    bmp.compression = Little(bytes, 30, 4);
    bmp.colors = Little(bytes, 46, 4);
  }
  switch (bmp.bits) {
    case 1:
    case 4:
    case 8:
      break;
    case 16:
      bmp.channels = "555";
      break;
    case 24:
      bmp.channels = "BGR";
      break;
    case 32:
      bmp.channels = "BGRX";
      break;
    default:
      return Unsupported(fmt::format("expected 1, 4, 8, 16, 24 or 32 bits a pixel, found {}", bmp.bits));
  }
  const bool is_rle = (bmp.compression == 1 && bmp.bits == 8) || (bmp.compression == 2 && bmp.bits == 4);
  if (bmp.compression == 3 && bmp.bits >= 16) {
    ANEMONE_TRY(ReadBmpMasks(bytes, header, &bmp));
  } else if (bmp.compression != 0 && !is_rle) {
    return Unsupported(fmt::format("expected no compression, RLE or masks, found compression {} of {} bits",
                                   bmp.compression, bmp.bits));
  }
  if (bmp.colors == 0 && bmp.bits <= 8) bmp.colors = uint32_t{1} << bmp.bits;
  if (bmp.bits <= 8 && bmp.colors > 65536) {
    return Unsupported(fmt::format("expected at most 65536 colors, found {}", bmp.colors));
  }
  bmp.pixels_at = Little(bytes, 10, 4);
  const size_t palette_bytes = bmp.bits <= 8 ? bmp.palette_entry * bmp.colors : 0;
  if (bmp.pixels_at == 0 || bmp.pixels_at == bmp.palette_at) bmp.pixels_at = bmp.palette_at + palette_bytes;
  return bmp;
}

// Errors: Unsupported (a gray palette of another size than the pixels', which Pillow reads as something else).
Result<Palette> ReadBmpPalette(std::string_view bytes, const Bmp& bmp) {
  Palette palette{};
  bool gray = true;
  for (size_t i = 0; i < std::min<size_t>(bmp.colors, 256); ++i) {
    const size_t at = bmp.palette_at + i * bmp.palette_entry;
    if (at + 3 > bytes.size()) return EndsInside();
    for (size_t c = 0; c < 3; ++c) palette[i][c] = static_cast<uint8_t>(bytes[at + 2 - c]);
    const auto expected = static_cast<uint8_t>(bmp.colors == 2 && i == 1 ? 255 : i);
    gray = gray && palette[i] == std::array<uint8_t, 3>{expected, expected, expected};
  }
  if (gray && bmp.compression == 0 && (bmp.colors <= 2 ? bmp.bits != 1 : bmp.bits != 8)) {
    return Unsupported(fmt::format("expected a palette with colors, found {} grays for {} bits", bmp.colors, bmp.bits));
  }
  return gray && bmp.colors != 2 ? GrayRamp() : palette;
}

// Run lengths to a byte a pixel, rows from the first stored one. Errors: Corrupt (fewer pixels than the picture has).
Result<std::string> ExpandRle(std::string_view in, const Bmp& bmp) {
  const size_t width = bmp.width, total = bmp.width * bmp.height;
  const bool nibbles = bmp.compression == 2;
  const auto nibble = [](char byte, size_t i) { return static_cast<char>(i % 2 == 0 ? byte >> 4 & 15 : byte & 15); };
  std::string out;
  out.reserve(total);
  size_t at = bmp.pixels_at, x = 0;
  while (out.size() < total && at < in.size() && in.size() - at >= 2) {
    const auto count = static_cast<unsigned char>(in[at]);
    const char value = in[at + 1];
    const auto code = static_cast<unsigned char>(value);
    at += 2;
    if (count > 0) {
      const size_t run = x + count > width ? width - std::min(x, width) : count;
      for (size_t i = 0; i < run; ++i) out += nibbles ? nibble(value, i) : value;
      x += run;
    } else if (code == 0) {  // the line's end
      out.resize(RoundUp(out.size(), width));
      x = 0;
    } else if (code == 1) {  // the picture's end
      break;
    } else if (code == 2) {  // a jump
      if (in.size() - at < 2) break;
      const auto right = static_cast<unsigned char>(in[at]), up = static_cast<unsigned char>(in[at + 1]);
      at += 2;
      out.resize(std::min(total, out.size() + right + up * width));
      x = out.size() % width;
    } else {
      const size_t pixels = std::min<size_t>(total - out.size(), code);
      const size_t bytes = nibbles ? (pixels + 1) / 2 : pixels;
      if (in.size() - at < bytes) break;
      for (size_t i = 0; i < pixels; ++i) out += nibbles ? nibble(in[at + i / 2], i) : in[at + i];
      at += bytes;
      x += code;
      if (at % 2 != 0) ++at;
    }
  }
  if (out.size() < total) return EndsInside();
  out.resize(total);
  return out;
}

// One row of 16, 24 or 32 bits a pixel; with alpha, RGBA.
void UnpackBmpRow(const char* row, const Bmp& bmp, size_t out_channels, uint8_t* to) {
  const size_t size = bmp.bits / 8;
  for (size_t x = 0; x < bmp.width; ++x, to += out_channels) {
    const char* pixel = row + x * size;
    if (bmp.bits == 16) {
      const bool wide_green = bmp.channels == "565";
      const uint32_t value = Little({pixel, 2}, 0, 2), green = wide_green ? 63 : 31;
      to[0] = static_cast<uint8_t>((value >> (wide_green ? 11 : 10) & 31) * 255 / 31);
      to[1] = static_cast<uint8_t>((value >> 5 & green) * 255 / green);
      to[2] = static_cast<uint8_t>((value & 31) * 255 / 31);
      continue;
    }
    for (size_t c = 0; c < out_channels; ++c) to[c] = static_cast<uint8_t>(pixel[bmp.channels.find("RGBA"[c])]);
  }
}

}  // namespace

Result<Image> DecodePpm(std::string_view bytes, const ImageLimits& limits) {
  const char kind = bytes[1];
  if (bytes.size() > 2 && !IsPpmSpace(bytes[2])) return Unsupported("PPM: expected P1 to P6, found another kind");
  PpmReader reader(bytes.substr(2));
  const auto decode = [&]() -> Result<Image> {
    ANEMONE_ASSIGN(const uint64_t width, reader.Number());
    ANEMONE_ASSIGN(const uint64_t height, reader.Number());
    const bool bits = kind == '1' || kind == '4';
    uint64_t max = 1;
    if (!bits) {
      ANEMONE_ASSIGN(max, reader.Number());
      if (max == 0 || max > 65535)
        return Corrupt(fmt::format("expected a largest sample of 1 to 65535, found {}", max));
    }
    ANEMONE_ASSIGN(Image image, NewImage(width, height, 3, limits));
    ANEMONE_TRY(bits ? FillPbm(kind, &reader, &image) : FillPpm(kind, max, &reader, &image));
    return image;
  };
  Result<Image> image = decode();
  return image.ok() ? std::move(image) : image.status().In("PPM");
}

Result<Image> DecodeBmp(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  const auto decode = [&]() -> Result<Image> {
    ANEMONE_ASSIGN(const Bmp bmp, ReadBmpHeader(bytes));
    const bool keep_alpha = alpha == AlphaRule::kOverWhite && bmp.channels.find('A') != std::string_view::npos;
    const size_t channels = keep_alpha ? 4 : 3;
    ANEMONE_ASSIGN(Image image, NewImage(bmp.width, bmp.height, bmp.bits <= 8 ? 4 : channels, limits));
    if (keep_alpha) image.rgb.resize(bmp.width * bmp.height * 4);
    const bool is_rle = bmp.compression == 1 || bmp.compression == 2;
    Palette palette{};
    if (bmp.bits <= 8) {
      ANEMONE_ASSIGN(palette, ReadBmpPalette(bytes, bmp));
    }
    std::string expanded;
    if (is_rle) {
      ANEMONE_ASSIGN(expanded, ExpandRle(bytes, bmp));
    }
    const std::string_view data = is_rle ? expanded : bytes.substr(std::min(bmp.pixels_at, bytes.size()));
    const uint32_t bits = is_rle ? 8 : bmp.bits;
    const size_t stride = is_rle ? bmp.width : (bmp.width * bits + 31) / 32 * 4;
    const size_t last = (bmp.width * bits + 7) / 8;  // the last row's padding may be missing
    if (data.size() < (bmp.height - 1) * stride + last) return EndsInside();
    for (size_t y = 0; y < bmp.height; ++y) {
      const char* row = data.data() + (bmp.from_top ? y : bmp.height - 1 - y) * stride;
      uint8_t* to = image.rgb.data() + y * bmp.width * channels;
      if (bits > 8) {
        UnpackBmpRow(row, bmp, channels, to);
        continue;
      }
      for (size_t x = 0; x < bmp.width; ++x, to += 3) {
        const size_t shift = 8 - bits - x * bits % 8;
        const auto index =
            static_cast<uint8_t>(static_cast<unsigned char>(row[x * bits / 8]) >> shift & ((1U << bits) - 1));
        std::copy(palette[index].begin(), palette[index].end(), to);
      }
    }
    if (keep_alpha) RemoveAlpha(&image.rgb, alpha);
    return image;
  };
  Result<Image> image = decode();
  return image.ok() ? std::move(image) : image.status().In("BMP");
}

}  // namespace anemone::internal
