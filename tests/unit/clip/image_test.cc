#include "clip/image.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string Picture(const std::string& name) { return ReadAll(Golden("infer/image/" + name)); }
std::string OddPicture(const std::string& name) { return ReadAll(Golden("infer/image_formats/" + name)); }

uint32_t Crc32(const std::vector<uint8_t>& bytes) {
  uint32_t crc = ~0U;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ (0xedb88320U & (0U - (crc & 1)));
  }
  return ~crc;
}

AlphaRule ToAlpha(const std::string& word) { return word == "white" ? AlphaRule::kOverWhite : AlphaRule::kDrop; }

// Calls `check` with the rest of each line of a folder's cases.txt that begins with `kind`.
void ForEachCase(const std::string& kind, int at_least, const std::function<void(std::istringstream&)>& check,
                 const std::string& folder = "infer/image") {
  std::ifstream cases(Golden(folder + "/cases.txt"));
  std::string line;
  int count = 0;
  while (std::getline(cases, line)) {
    std::istringstream fields(line);
    std::string word;
    fields >> word;
    if (word != kind) continue;
    SCOPED_TRACE(line);
    check(fields);
    ++count;
  }
  EXPECT_GE(count, at_least);
}

TEST(Image, DecodesEveryGoldenPictureAsPillow) {
  ForEachCase("decode", 80, [](std::istringstream& fields) {
    std::string file;
    std::string alpha;
    uint32_t width = 0;
    uint32_t height = 0;
    uint32_t crc = 0;
    fields >> file >> alpha >> width >> height >> crc;
    ANEMONE_ASSERT_ASSIGN(const Image image, DecodeImage(Picture(file), ToAlpha(alpha)));
    EXPECT_EQ(image.width, width);
    EXPECT_EQ(image.height, height);
    EXPECT_EQ(Crc32(image.rgb), crc);
  });
}

// PPM, BMP, GIF, TIFF, and PNGs with faults. What Pillow reads is read alike or refused by name.
TEST(Image, DecodesOtherFormatsAsPillow) {
  const std::set<std::string> refused_here = {"float.tif", "lab.tif",      "ycbcr.tif",
                                              "int.tif",   "ii_rgbx1.tif", "mm_rgbx1.tif"};
  ForEachCase(
      "decode", 370,
      [&](std::istringstream& fields) {
        std::string file, alpha;
        uint32_t width = 0, height = 0, crc = 0;
        fields >> file >> alpha >> width >> height >> crc;
        const Result<Image> image = DecodeImage(OddPicture(file), ToAlpha(alpha));
        if (refused_here.contains(file)) {
          EXPECT_THAT(image, StatusIs(ErrorKind::kUnsupported, ""));
          return;
        }
        ASSERT_THAT(image, IsOk());
        EXPECT_EQ(image->width, width);
        EXPECT_EQ(image->height, height);
        EXPECT_EQ(Crc32(image->rgb), crc);
      },
      "infer/image_formats");
}

std::string BigEndian(size_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string LittleEndian(size_t value, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

// A TIFF's header and one directory of one tag: the orientation.
std::string Exif(int orientation) {
  std::string exif("MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0", 26);
  exif[19] = static_cast<char>(orientation);
  return exif;
}

std::string PngChunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  return BigEndian(data.size()) + body + BigEndian(Crc32({body.begin(), body.end()}));
}

std::string RiffChunk(const std::string& type, const std::string& data) {
  return type + LittleEndian(data.size(), 4) + data + std::string(data.size() % 2, '\0');
}

// NeMo opens a picture by Image.open(path).convert("RGB"), and its transforms never call ImageOps.exif_transpose [NeMo
// examples/multimodal/vision_language_foundation/clip/megatron_clip_infer.py,
// nemo/collections/multimodal/data/clip/augmentations/augmentations.py]: an orientation changes nothing. Pillow itself
// turns a TIFF: the golden turned*.tif.
TEST(Image, AnExifOrientationChangesNothing) {
  const std::string jpeg = Picture("jpeg_rgb.jpg"), png = Picture("png_rgb.png"), webp = Picture("webp_lossy.webp");
  ANEMONE_ASSERT_ASSIGN(const Image plain_jpeg, DecodeImage(jpeg));
  ANEMONE_ASSERT_ASSIGN(const Image plain_png, DecodeImage(png));
  ANEMONE_ASSERT_ASSIGN(const Image plain_webp, DecodeImage(webp));
  for (int orientation = 1; orientation <= 8; ++orientation) {
    SCOPED_TRACE(orientation);
    const std::string exif = Exif(orientation), marker = std::string("Exif\0\0", 6) + exif;
    const std::string with_length = BigEndian(marker.size() + 2).substr(2) + marker;
    ANEMONE_ASSERT_ASSIGN(const Image turned_jpeg,
                          DecodeImage(jpeg.substr(0, 2) + "\xff\xe1" + with_length + jpeg.substr(2)));
    EXPECT_EQ(turned_jpeg.rgb, plain_jpeg.rgb);
    EXPECT_EQ(turned_jpeg.width, plain_jpeg.width);
    constexpr size_t kFirstChunk = 33;  // behind the signature and IHDR
    ANEMONE_ASSERT_ASSIGN(const Image turned_png,
                          DecodeImage(png.substr(0, kFirstChunk) + PngChunk("eXIf", exif) + png.substr(kFirstChunk)));
    EXPECT_EQ(turned_png.rgb, plain_png.rgb);
    EXPECT_EQ(turned_png.width, plain_png.width);
    const std::string size = LittleEndian(plain_webp.width - 1, 3) + LittleEndian(plain_webp.height - 1, 3);
    const std::string chunks =
        "WEBP" + RiffChunk("VP8X", std::string("\x08\0\0\0", 4) + size) + webp.substr(12) + RiffChunk("EXIF", exif);
    ANEMONE_ASSERT_ASSIGN(const Image turned_webp, DecodeImage("RIFF" + LittleEndian(chunks.size(), 4) + chunks));
    EXPECT_EQ(turned_webp.rgb, plain_webp.rgb);
    EXPECT_EQ(turned_webp.width, plain_webp.width);
  }
}

TEST(Image, RefusesWhatPillowRefuses) {
  ForEachCase(
      "refuse", 20,
      [](std::istringstream& fields) {
        std::string file;
        fields >> file;
        EXPECT_FALSE(DecodeImage(OddPicture(file)).ok());
      },
      "infer/image_formats");
}

TEST(Image, ResizesAndCropsAsTransformersAndTorchvision) {
  ForEachCase("process", 50, [](std::istringstream& fields) {
    std::string file;
    std::string alpha;
    int resample = 0;
    std::string rule;
    uint32_t width = 0;
    uint32_t height = 0;
    std::string expected_file;
    ClipPreprocess settings;
    fields >> file >> alpha >> settings.shortest_edge >> settings.resize_height >> settings.resize_width >> resample >>
        settings.crop_height >> settings.crop_width >> rule >> width >> height >> expected_file;
    settings.resample = static_cast<Resample>(resample);
    settings.crop_rule = rule == "even" ? CropRule::kRoundHalfEven : CropRule::kFloor;
    ANEMONE_ASSERT_ASSIGN(const Image source, DecodeImage(Picture(file), ToAlpha(alpha)));
    ANEMONE_ASSERT_ASSIGN(const Image image, ResizeAndCrop(source, settings));
    EXPECT_EQ(image.width, width);
    EXPECT_EQ(image.height, height);
    const std::string expected = Picture(expected_file);
    ASSERT_EQ(image.rgb.size(), expected.size());
    int worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(image.rgb[i] - static_cast<uint8_t>(expected[i])));
    }
    EXPECT_EQ(worst, 0);
  });
}

TEST(Image, NormalizesToTheLastBit) {
  ForEachCase("normalize", 2, [](std::istringstream& fields) {
    std::string file;
    std::string expected_file;
    ClipPreprocess settings;
    fields >> file >> settings.shortest_edge >> settings.crop_height >> expected_file;
    settings.crop_width = settings.crop_height;
    settings.rescale_factor = 1.0 / 255;
    ANEMONE_ASSERT_ASSIGN(const Image source, DecodeImage(Picture(file)));
    ANEMONE_ASSERT_ASSIGN(const Image image, ResizeAndCrop(source, settings));
    const std::vector<float> values = Normalize(image, settings);
    const std::string expected = Picture(expected_file);
    ASSERT_EQ(values.size() * sizeof(float), expected.size());
    EXPECT_EQ(std::memcmp(values.data(), expected.data(), expected.size()), 0);
  });
}

TEST(Image, EveryTruncationIsCorrupt) {
  for (const char* name : {"jpeg_s2.jpg", "jpeg_progressive.jpg", "jpeg_cmyk.jpg", "png_rgb.png", "png_p16.png",
                           "png_adam7.png", "webp_lossy.webp", "webp_lossless_alpha.webp"}) {
    const std::string whole = Picture(name);
    const size_t step = std::max<size_t>(whole.size() / 97, 1);
    // A PNG may end with its pixels: 12 bytes of IEND, 4 of a CRC and 4 of a checksum may be missing, as for Pillow.
    const size_t all = std::string_view(name).ends_with(".png") ? whole.size() - 20 : whole.size() - 1;
    for (size_t length = 12; length < all; length += step) {
      const auto image = DecodeImage(std::string_view(whole).substr(0, length));
      ASSERT_FALSE(image.ok()) << name << " cut to " << length << " of " << whole.size();
      EXPECT_EQ(image.status().kind(), ErrorKind::kCorrupt)
          << name << " cut to " << length << ": " << image.status().message();
    }
  }
}

// Pillow stops reading where the pixels are complete, whatever is missing or odd behind them.
TEST(Image, MissesNothingBehindTheLastPixel) {
  const auto expect_same = [](const std::string& bytes, const Image& whole) {
    ANEMONE_ASSERT_ASSIGN(const Image image, DecodeImage(bytes));
    EXPECT_EQ(image.rgb, whole.rgb);
  };
  for (const char* name : {"png_rgb.png", "png_p16.png", "png_adam7.png", "png_gray16.png"}) {
    SCOPED_TRACE(name);
    const std::string whole = Picture(name);
    ANEMONE_ASSERT_ASSIGN(const Image picture, DecodeImage(whole));
    constexpr size_t kEnd = 12, kCrc = 4, kChecksum = 4;  // IEND; of an IDAT; of its stream
    for (size_t cut = 1; cut <= kEnd + kCrc + kChecksum; ++cut) {
      expect_same(whole.substr(0, whole.size() - cut), picture);
    }
    // An IDAT without the checksum, and IEND behind it.
    const size_t last = whole.rfind("IDAT") - 4;
    const std::string data = whole.substr(last + 8, whole.size() - kEnd - kCrc - kChecksum - last - 8);
    expect_same(whole.substr(0, last) + PngChunk("IDAT", data) + PngChunk("IEND", ""), picture);
    EXPECT_FALSE(DecodeImage(whole.substr(0, last) + PngChunk("IDAT", data.substr(0, data.size() - 40))).ok());
  }
  const std::string gif = OddPicture("gray.gif");
  ANEMONE_ASSERT_ASSIGN(const Image picture, DecodeImage(gif));
  for (size_t cut = 1; cut <= 2; ++cut) expect_same(gif.substr(0, gif.size() - cut), picture);
  EXPECT_FALSE(DecodeImage(gif.substr(0, gif.size() - 40)).ok());
  const size_t frame = gif.find(',', 13 + 768);  // zeros between blocks
  expect_same(gif.substr(0, frame) + std::string(3, '\0') + gif.substr(frame), picture);
}

// libtiff would show such a picture's indexes as gray.
TEST(Image, ATiffWithoutItsPaletteIsDamaged) {
  for (const char* name : {"ii_palette8.tif", "mm_palette8.tif", "palette_tiff_lzw.tif"}) {
    const std::string whole = OddPicture(name);
    const std::string tag = whole[0] == 'I' ? std::string("\x40\1\3\0", 4) : std::string("\1\x40\0\3", 4);
    const size_t at = whole.find(tag);
    ASSERT_NE(at, whole.npos) << name;
    std::string other = whole;
    other[at + (whole[0] == 'I' ? 0 : 1)] = '\x41';  // a tag that nobody knows
    EXPECT_THAT(DecodeImage(other), StatusIs(ErrorKind::kCorrupt, "expected a palette, found none")) << name;
  }
}

TEST(Image, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(DecodeImage(""), StatusIs(ErrorKind::kUnsupported, "empty"));
  EXPECT_THAT(DecodeImage("8BPS\0\1"), StatusIs(ErrorKind::kUnsupported, "38 42 50 53"));
  EXPECT_EQ(DecodeImage("8BPS\0\1").status().error().hint, "save the picture as PNG with another program");
  EXPECT_THAT(DecodeImage("GIF89a"), StatusIs(ErrorKind::kCorrupt, "GIF"));
  EXPECT_THAT(DecodeImage("\xff\xd8\xff"), StatusIs(ErrorKind::kCorrupt, "JPEG"));
}

TEST(Image, ChecksTheSizeBeforeAllocating) {
  ImageLimits limits;
  limits.max_pixels = 1000;
  for (const char* name : {"jpeg_s0.jpg", "png_rgb.png", "webp_lossy.webp"}) {
    EXPECT_THAT(DecodeImage(Picture(name), AlphaRule::kDrop, limits), StatusIs(ErrorKind::kLimitExceeded, "97x61"));
  }
  limits.max_bytes = 10;
  EXPECT_THAT(DecodeImage(Picture("png_rgb.png"), AlphaRule::kDrop, limits),
              StatusIs(ErrorKind::kLimitExceeded, "bytes"));
  std::string huge = Picture("png_rgb.png");  // the header says 4 billion columns; its checksum is corrected by nobody
  huge[16] = '\x7f';
  EXPECT_FALSE(DecodeImage(huge).ok());
}

// Files of a few bytes that ask for much: refused by their headers, before any pixel has memory.
TEST(Image, BoundsWhatAPictureCanCost) {
  // A lossless WebP of 16383 x 10900 pixels in 34 bytes.
  const std::string webp =
      std::string("RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0", 20) + "\x2f\xfe\xff\xa4\x0a\x07\x10\x11\xfd\x0f\x44\x44\xff\x03";
  EXPECT_THAT(DecodeImage(webp), StatusIs(ErrorKind::kLimitExceeded, "found 16383x10900 pixels"));
  ImageLimits limits;
  limits.max_memory = 20000;
  for (const char* name : {"jpeg_s0.jpg", "png_rgb.png", "png_gray16.png"}) {  // 97 x 61 pixels are 17751 bytes
    EXPECT_THAT(DecodeImage(Picture(name), AlphaRule::kDrop, limits), IsOk()) << name;
  }
  for (const char* name : {"jpeg_progressive.jpg", "webp_lossy.webp", "webp_animation.webp"}) {
    EXPECT_THAT(DecodeImage(Picture(name), AlphaRule::kDrop, limits),
                StatusIs(ErrorKind::kLimitExceeded, "MiB of memory"))
        << name;
  }
  limits.max_memory = 1000;
  for (const char* name : {"p.ppm", "p.bmp", "p.gif", "rgb_raw.tif", "ii_tiles.tif"}) {
    EXPECT_THAT(DecodeImage(OddPicture(name), AlphaRule::kDrop, limits), StatusIs(ErrorKind::kLimitExceeded, ""))
        << name;
  }
}

// A progressive JPEG whose last scan comes again and again: each is a pass over the whole picture.
TEST(Image, BoundsTheScansOfAJpeg) {
  const std::string whole = Picture("jpeg_progressive.jpg");
  const size_t scan = whole.rfind("\xff\xda");
  ASSERT_NE(scan, std::string::npos);
  std::string many = whole.substr(0, scan);
  for (int i = 0; i < 10000; ++i) many += whole.substr(scan, whole.size() - 2 - scan);
  EXPECT_THAT(DecodeImage(many + "\xff\xd9"), StatusIs(ErrorKind::kLimitExceeded, "at most 100 scans"));
}

TEST(Image, RefusesSettingsWithoutMeaning) {
  const Image dot{1, 1, {1, 2, 3}};
  ClipPreprocess settings;
  settings.crop_height = 0;
  EXPECT_THAT(ResizeAndCrop(dot, settings), StatusIs(ErrorKind::kInvalidArgument, "height and width"));
  EXPECT_THAT(ResizeAndCrop({}, ClipPreprocess{}), StatusIs(ErrorKind::kInvalidArgument, "empty"));
  settings = {};
  settings.crop_height = settings.crop_width = UINT32_MAX;
  EXPECT_THAT(ResizeAndCrop(dot, settings), StatusIs(ErrorKind::kLimitExceeded, "2^28"));
}

}  // namespace
}  // namespace anemone
