// GIF as Pillow reads it [PIL GifImagePlugin.py], the first picture. giflib is loaded at first use.
#include <fmt/format.h>
#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "base/shared_library.h"
#include "clip/image_codec.h"

namespace anemone::internal {
namespace {

struct LibGif {
  decltype(&DGifOpen) open;
  decltype(&DGifCloseFile) close;
  decltype(&DGifGetRecordType) get_record_type;
  decltype(&DGifGetImageDesc) get_image_desc;
  decltype(&DGifGetExtension) get_extension;
  decltype(&DGifGetExtensionNext) get_extension_next;
  decltype(&DGifGetLine) get_line;
  decltype(&GifErrorString) error_string;
};

Result<LibGif> Load() {
  ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"libgif.so.7"}));
  LibGif gif{};
  ANEMONE_TRY(library.Find("DGifOpen", gif.open));
  ANEMONE_TRY(library.Find("DGifCloseFile", gif.close));
  ANEMONE_TRY(library.Find("DGifGetRecordType", gif.get_record_type));
  ANEMONE_TRY(library.Find("DGifGetImageDesc", gif.get_image_desc));
  ANEMONE_TRY(library.Find("DGifGetExtension", gif.get_extension));
  ANEMONE_TRY(library.Find("DGifGetExtensionNext", gif.get_extension_next));
  ANEMONE_TRY(library.Find("DGifGetLine", gif.get_line));
  ANEMONE_TRY(library.Find("GifErrorString", gif.error_string));
  return gif;
}

int ReadGif(GifFileType* gif, GifByteType* out, int size) {
  auto* rest = static_cast<std::string_view*>(gif->UserData);
  // No more blocks: Pillow does not miss the end of a picture's blocks where its pixels are all there.
  if (rest->empty() && size == 1) {
    *out = 0;
    return 1;
  }
  const size_t count = std::min(static_cast<size_t>(size), rest->size());
  std::memcpy(out, rest->data(), count);
  rest->remove_prefix(count);
  return static_cast<int>(count);
}

// The first picture's descriptor, and the transparent index before it or -1.
bool FindGifFrame(const LibGif& lib, GifFileType* gif, int* transparent) {
  constexpr int kGraphicControl = 0xF9;
  for (;;) {
    GifRecordType type = UNDEFINED_RECORD_TYPE;
    if (lib.get_record_type(gif, &type) == GIF_ERROR) {
      // Other bytes between blocks, of which some programs write zeros, are passed over.
      if (gif->Error != D_GIF_ERR_WRONG_RECORD || static_cast<std::string_view*>(gif->UserData)->empty()) return false;
      continue;
    }
    if (type == TERMINATE_RECORD_TYPE) return false;
    if (type == IMAGE_DESC_RECORD_TYPE) return lib.get_image_desc(gif) == GIF_OK;
    if (type != EXTENSION_RECORD_TYPE) continue;
    int code = 0;
    GifByteType* block = nullptr;
    if (lib.get_extension(gif, &code, &block) == GIF_ERROR) return false;
    if (code == kGraphicControl && block != nullptr && block[0] >= 4 && (block[1] & 1) != 0) *transparent = block[4];
    while (block != nullptr) {
      if (lib.get_extension_next(gif, &block) == GIF_ERROR) return false;
    }
  }
}

// The frame's indexes onto a canvas of `width` columns.
bool ReadGifLines(const LibGif& lib, GifFileType* gif, size_t width, uint8_t* canvas) {
  constexpr std::array<std::array<int, 2>, 4> kInterlaced = {{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
  constexpr std::array<std::array<int, 2>, 1> kPlain = {{{0, 1}}};
  const GifImageDesc& frame = gif->Image;
  const std::span<const std::array<int, 2>> passes =
      frame.Interlace ? std::span<const std::array<int, 2>>(kInterlaced) : kPlain;
  for (const auto& [first, step] : passes) {
    for (int y = first; y < frame.Height; y += step) {
      uint8_t* line = canvas + static_cast<size_t>(frame.Top + y) * width + static_cast<size_t>(frame.Left);
      if (lib.get_line(gif, line, frame.Width) == GIF_ERROR) return false;
    }
  }
  return true;
}

}  // namespace

Result<Image> DecodeGif(std::string_view bytes, AlphaRule alpha, const ImageLimits& limits) {
  const Result<const LibGif*> loaded = LoadedOnce<Load>();
  if (!loaded.ok()) return loaded.status().In("GIF");
  const LibGif& lib = **loaded;
  int error = 0;
  const auto close = [&lib](GifFileType* file) { lib.close(file, nullptr); };
  const std::unique_ptr<GifFileType, decltype(close)> gif(lib.open(&bytes, ReadGif, &error), close);
  int transparent = -1;
  const auto broken = [&] {
    const int code = gif ? gif->Error : error;
    if (code == D_GIF_ERR_NOT_ENOUGH_MEM) throw std::bad_alloc();
    const char* why = lib.error_string(code);
    return Corrupt(fmt::format("GIF: {}", why != nullptr ? why : "it holds no picture"));
  };
  if (!gif || !FindGifFrame(lib, gif.get(), &transparent)) return broken();
  const GifImageDesc& frame = gif->Image;
  // A frame that leaves the canvas makes it larger.
  const auto width = static_cast<uint64_t>(std::max(gif->SWidth, frame.Left + frame.Width));
  const auto height = static_cast<uint64_t>(std::max(gif->SHeight, frame.Top + frame.Height));
  const bool keep_alpha = alpha == AlphaRule::kOverWhite && transparent >= 0;
  Result<Image> created = NewImage(width, height, keep_alpha ? 5 : 4, limits);
  if (!created.ok()) return created.status().In("GIF");
  std::vector<uint8_t> canvas(width * height, static_cast<uint8_t>(std::max(transparent, 0)));
  if (!ReadGifLines(lib, gif.get(), width, canvas.data())) return broken();

  Palette palette{};
  const ColorMapObject* colors = frame.ColorMap != nullptr ? frame.ColorMap : gif->SColorMap;
  for (int i = 0; colors != nullptr && i < std::min(colors->ColorCount, 256); ++i) {
    const GifColorType& color = colors->Colors[i];
    palette[static_cast<size_t>(i)] = {color.Red, color.Green, color.Blue};
  }
  const Palette ramp = GrayRamp();
  const auto count = static_cast<ptrdiff_t>(colors == nullptr ? 0 : std::min(colors->ColorCount, 256));
  if (std::equal(palette.begin(), palette.begin() + count, ramp.begin())) palette = ramp;  // no palette, or of grays
  Image image = *std::move(created);
  const size_t channels = keep_alpha ? 4 : 3;
  image.rgb.resize(width * height * channels);
  for (size_t i = 0; i < canvas.size(); ++i) {
    std::copy_n(palette[canvas[i]].begin(), 3, image.rgb.begin() + static_cast<ptrdiff_t>(i * channels));
    if (keep_alpha) image.rgb[i * 4 + 3] = canvas[i] == transparent ? 0 : 255;
  }
  if (keep_alpha) RemoveAlpha(&image.rgb, alpha);
  return image;
}

}  // namespace anemone::internal
