#include "clip/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>

namespace anemone {
namespace {

// Pillow's fixed point for 8-bit channels: 8 bits of result, 2 for what overshoots [Pillow src/libImaging/Resample.c].
constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int64_t kMaxSide = int64_t{1} << 31;

double Bilinear(double x) {
  x = std::fabs(x);
  return x < 1 ? 1 - x : 0;
}

double Bicubic(double x) {  // a = -0.5
  constexpr double kA = -0.5;
  x = std::fabs(x);
  if (x < 1) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0;
}

// For each output position: where its window of the input begins, and its weights in fixed point.
struct Taps {
  struct Window {
    int64_t begin;
    int64_t length;
  };
  std::vector<Window> windows;
  std::vector<int32_t> weights;  // `stride` a window
  size_t stride = 0;

  const int32_t* Weights(size_t i) const { return weights.data() + i * stride; }
  // All that the windows read: from here to behind there. REQUIRES: there are windows.
  std::pair<int64_t, int64_t> Read() const {
    int64_t begin = windows.front().begin, end = begin;
    for (const Window& window : windows) {
      begin = std::min(begin, window.begin);
      end = std::max(end, window.begin + window.length);
    }
    return {begin, end};
  }
};

// Output positions [first, first + count) of `size_in` resampled to `size_out`.
Taps MakeTaps(int64_t size_in, int64_t size_out, int64_t first, int64_t count, Resample resample) {
  double (*const filter)(double) = resample == Resample::kBicubic ? Bicubic : Bilinear;
  const double scale = static_cast<double>(size_in) / static_cast<double>(size_out);
  const double filter_scale = std::max(scale, 1.0);
  const double support = (resample == Resample::kBicubic ? 2.0 : 1.0) * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;

  Taps taps;
  taps.stride = std::min(static_cast<size_t>(std::ceil(support)) * 2 + 1, static_cast<size_t>(size_in) + 1);
  taps.weights.resize(taps.stride * static_cast<size_t>(count));
  std::vector<double> weights(taps.stride);
  for (int64_t i = 0; i < count; ++i) {
    const double center = (static_cast<double>(first + i) + 0.5) * scale;
    // Pillow's own rounding, kept [Pillow src/libImaging/Resample.c, precompute_coeffs].
    // NOLINTBEGIN(bugprone-incorrect-roundings)
    const int64_t begin = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), size_in);
    // NOLINTEND(bugprone-incorrect-roundings)
    double sum = 0;
    for (int64_t x = begin; x < end; ++x) {
      const double weight = filter((static_cast<double>(x) - center + 0.5) * inverse_scale);
      weights[static_cast<size_t>(x - begin)] = weight;
      sum += weight;
    }
    for (int64_t x = 0; x < end - begin; ++x) {
      double weight = weights[static_cast<size_t>(x)];
      if (sum != 0) weight /= sum;
      taps.weights[static_cast<size_t>(i) * taps.stride + static_cast<size_t>(x)] =
          static_cast<int32_t>((weight < 0 ? -0.5 : 0.5) + weight * (1 << kPrecisionBits));
    }
    taps.windows.push_back({begin, end - begin});
  }
  return taps;
}

uint8_t Clip8(int32_t fixed) { return static_cast<uint8_t>(std::clamp(fixed >> kPrecisionBits, 0, 255)); }

// Floor of a / 2 for either sign.
int64_t HalfFloor(int64_t a) { return a >> 1; }
int64_t HalfRoundEven(int64_t a) {
  const int64_t half = a >> 1;
  return (a & 1) != 0 && (half & 1) != 0 ? half + 1 : half;
}

// The part of one axis that the crop keeps: source begin, length, and where it lands in the crop.
struct Kept {
  int64_t begin;
  int64_t length;
  int64_t at;
};

Kept Crop(int64_t size, int64_t crop, CropRule rule) {
  if (crop > size) {  // transformers puts the odd zero before, torchvision after
    const int64_t missing = crop - size;
    return {0, size, rule == CropRule::kFloor ? missing - HalfFloor(missing) : HalfFloor(missing)};
  }
  return {rule == CropRule::kFloor ? HalfFloor(size - crop) : HalfRoundEven(size - crop), crop, 0};
}

struct Size {
  int64_t width = 0, height = 0;
};

// Before the crop.
Result<Size> SizeToResizeTo(int64_t width, int64_t height, const ClipPreprocess& settings) {
  if ((settings.crop_height == 0) != (settings.crop_width == 0) ||
      (settings.resize_height == 0) != (settings.resize_width == 0)) {
    return InvalidArgument("preprocessing: expected height and width, found one of them");
  }
  int64_t new_width = width;
  int64_t new_height = height;
  if (settings.shortest_edge != 0) {
    const int64_t edge = settings.shortest_edge;
    const double longer =
        static_cast<double>(edge * std::max(width, height)) / static_cast<double>(std::min(width, height));
    if (longer >= static_cast<double>(kMaxSide)) {
      return LimitExceeded(fmt::format("a picture of {}x{} would become longer than 2^31 pixels", width, height));
    }
    new_width = width <= height ? edge : static_cast<int64_t>(longer);
    new_height = width <= height ? static_cast<int64_t>(longer) : edge;
  } else if (settings.longest_edge != 0) {
    // Python's round, half to even [open_clip transform.py, ResizeKeepRatio].
    const double ratio = static_cast<double>(std::max(width, height)) / settings.longest_edge;
    new_width = static_cast<int64_t>(std::nearbyint(static_cast<double>(width) / ratio));
    new_height = static_cast<int64_t>(std::nearbyint(static_cast<double>(height) / ratio));
    if (new_width == 0 || new_height == 0) {
      return InvalidArgument(fmt::format("a picture of {}x{} would have no pixels at {} for its longer side", width,
                                         height, settings.longest_edge));
    }
  } else if (settings.resize_width != 0) {
    new_width = settings.resize_width;
    new_height = settings.resize_height;
  }
  return Size{new_width, new_height};
}

// A row's pixels, each a weighted sum of some of `in`.
void ResizeRow(const uint8_t* in, const Taps& across, uint8_t* to) {
  for (size_t x = 0; x < across.windows.size(); ++x) {
    const Taps::Window& window = across.windows[x];
    const int32_t* weights = across.Weights(x);
    const uint8_t* from = in + window.begin * 3;
    int32_t r = 1 << (kPrecisionBits - 1);
    int32_t g = r;
    int32_t b = r;
    for (int64_t i = 0; i < window.length; ++i) {
      r += from[3 * i] * weights[i];
      g += from[3 * i + 1] * weights[i];
      b += from[3 * i + 2] * weights[i];
    }
    to[3 * x] = Clip8(r);
    to[3 * x + 1] = Clip8(g);
    to[3 * x + 2] = Clip8(b);
  }
}

// A row whose bytes are each a weighted sum of those above each other in `rows`, `width` bytes apart.
void SumRows(const uint8_t* rows, size_t width, const int32_t* weights, int64_t count, std::vector<int32_t>& sums,
             uint8_t* to) {
  std::fill(sums.begin(), sums.end(), 1 << (kPrecisionBits - 1));
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* from = rows + static_cast<size_t>(i) * width;
    for (size_t x = 0; x < width; ++x) sums[x] += from[x] * weights[i];
  }
  for (size_t x = 0; x < width; ++x) to[x] = Clip8(sums[x]);
}

}  // namespace

// Long as both passes need all sizes.
Result<Image> ResizeAndCrop(const Image& image, const ClipPreprocess& settings) {
  const auto width = static_cast<int64_t>(image.width);
  const auto height = static_cast<int64_t>(image.height);
  if (width == 0 || height == 0 || image.rgb.size() != image.width * uint64_t{3} * image.height) {
    return InvalidArgument("expected a picture of at least one pixel, found an empty one");
  }
  ANEMONE_ASSIGN(const Size resized, SizeToResizeTo(width, height, settings));
  const auto [new_width, new_height] = resized;

  const int64_t out_width = settings.crop_width != 0 ? settings.crop_width : new_width;
  const int64_t out_height = settings.crop_height != 0 ? settings.crop_height : new_height;
  constexpr int64_t kMaxOutPixels = int64_t{1} << 28;
  if (out_width > kMaxOutPixels || out_height > kMaxOutPixels / out_width) {
    return LimitExceeded(fmt::format("preprocessing: {}x{} pixels are over 2^28", out_width, out_height));
  }
  const Kept columns = Crop(new_width, out_width, settings.crop_rule);
  const Kept rows = Crop(new_height, out_height, settings.crop_rule);

  Image out;
  out.width = static_cast<uint32_t>(out_width);
  out.height = static_cast<uint32_t>(out_height);
  out.rgb.resize(static_cast<size_t>(out_width * out_height * 3), settings.fill);

  const bool horizontal = new_width != width;
  const bool vertical = new_height != height;
  Taps down;
  int64_t first_row = rows.begin;
  int64_t end_row = rows.begin + rows.length;
  if (vertical) {
    down = MakeTaps(height, new_height, rows.begin, rows.length, settings.resample);
    std::tie(first_row, end_row) = down.Read();
  }

  // First pass: the needed source rows, their kept columns.
  const auto row_bytes = static_cast<size_t>(columns.length * 3);
  std::vector<uint8_t> middle(row_bytes * static_cast<size_t>(end_row - first_row));
  Taps across;
  if (horizontal) across = MakeTaps(width, new_width, columns.begin, columns.length, settings.resample);
  for (int64_t y = first_row; y < end_row; ++y) {
    const uint8_t* in = image.rgb.data() + static_cast<size_t>(y * width * 3);
    uint8_t* to = middle.data() + static_cast<size_t>(y - first_row) * row_bytes;
    if (horizontal) {
      ResizeRow(in, across, to);
    } else {
      std::copy_n(in + columns.begin * 3, row_bytes, to);
    }
  }

  // Second pass, down the columns, rounded to 8 bits again.
  std::vector<int32_t> sums(row_bytes);
  for (int64_t y = 0; y < rows.length; ++y) {
    uint8_t* to = out.rgb.data() + static_cast<size_t>(((rows.at + y) * out_width + columns.at) * 3);
    if (!vertical) {
      std::copy_n(middle.data() + static_cast<size_t>(y) * row_bytes, row_bytes, to);
      continue;
    }
    const Taps::Window& window = down.windows[static_cast<size_t>(y)];
    SumRows(middle.data() + static_cast<size_t>(window.begin - first_row) * row_bytes, row_bytes,
            down.Weights(static_cast<size_t>(y)), window.length, sums, to);
  }
  return out;
}

std::vector<float> Normalize(const Image& image, const ClipPreprocess& settings) {
  std::vector<float> out(image.rgb.size());
  const size_t pixels = image.rgb.size() / 3;
  for (size_t channel = 0; channel < 3; ++channel) {
    float table[256];
    const auto mean = static_cast<float>(settings.mean[channel]);
    const auto std = static_cast<float>(settings.std[channel]);
    for (int value = 0; value < 256; ++value) {
      table[value] = (static_cast<float>(value * settings.rescale_factor) - mean) / std;
    }
    float* to = out.data() + channel * pixels;
    for (size_t i = 0; i < pixels; ++i) to[i] = table[image.rgb[i * 3 + channel]];
  }
  return out;
}

}  // namespace anemone
