// The project's own products and attention, beside plain sums. ctest runs these for each instruction set, too.
#include "clip/packed.h"

#include <cmath>
#include <cstdlib>
#include <vector>

#include "anemone/clip.h"
#include "clip/attention.h"
#include "clip/kernels.h"
#include "random_weights.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using internal::Attention;
using internal::ColumnPanels;
using internal::Encoding;
using internal::PackedProduct;
using internal::RowTiles;
using testing::RandomValues;

struct Product {
  size_t rows, columns, group, depth;
};

// out = a · weightᵀ + bias by parts of any number, from packed factors; in rows, or packed.
std::vector<float> Multiplied(const Product& p, const std::vector<float>& a, const std::vector<float>& weight,
                              const std::vector<float>& bias, std::optional<Activation> activation, size_t threads,
                              const Encoding& encoding = {}, bool packs_result = false) {
  const RowTiles tiles(p.rows);
  const ColumnPanels panels(p.columns, p.group);
  const size_t words = encoding.WordsOf(p.depth);
  const size_t panel_size = encoding.PanelSize(p.depth);
  std::vector<float> rows(p.rows * words);
  std::vector<float> scales(p.rows);
  for (size_t t = 0; t < tiles.count; ++t) {
    internal::PackTile(encoding, a.data() + tiles.Begin(t) * p.depth, p.depth, tiles.Size(t), p.depth,
                       rows.data() + tiles.Begin(t) * words, scales.data() + tiles.Begin(t));
  }
  std::vector<float> packed(panels.count * panel_size);
  for (size_t i = 0; i < panels.count; ++i) {
    internal::PackPanel(encoding, weight.data() + panels.Begin(i) * p.depth, p.depth, panels.Size(i), p.depth,
                        packed.data() + i * panel_size);
  }
  std::vector<float> out(p.rows * p.columns, NAN);
  const PackedProduct product = {.encoding = encoding,
                                 .tiles = tiles,
                                 .a = rows.data(),
                                 .row_scales = scales.data(),
                                 .panels = panels,
                                 .weight = packed.data(),
                                 .depth = p.depth,
                                 .bias = bias.data(),
                                 .activation = activation,
                                 .out = out.data(),
                                 .out_stride = p.columns,
                                 .packs_result = packs_result};
  const PackedProduct::Parts parts = product.For(threads);
  for (size_t part = 0; part < parts.count(); ++part) product.Multiply(parts, part);
  return out;
}

constexpr Product kProducts[] = {{1, 1, 1, 1},      {3, 96, 32, 40},   {50, 72, 24, 33},     {13, 40, 40, 1100},
                                 {257, 96, 96, 64}, {700, 35, 35, 17}, {25, 128, 128, 2049}, {6, 3, 1, 8}};

TEST(Packed, ProductsOfAnyShape) {
  for (const Product& p : kProducts) {
    SCOPED_TRACE(::testing::Message() << p.rows << " × " << p.columns << " × " << p.depth);
    const std::vector<float> a = RandomValues("vision.head.probe", {p.rows, p.depth});
    const std::vector<float> weight = RandomValues("vision.class_embedding", {p.columns, p.depth});
    const std::vector<float> bias = RandomValues("bias", {p.columns});
    const std::vector<float> out = Multiplied(p, a, weight, bias, std::nullopt, 1);
    for (size_t r = 0; r < p.rows; ++r) {
      for (size_t c = 0; c < p.columns; ++c) {
        double sum = bias[c];
        double size = 1;
        for (size_t k = 0; k < p.depth; ++k) {
          const double product = double{a[r * p.depth + k]} * weight[c * p.depth + k];
          sum += product;
          size += std::fabs(product);
        }
        ASSERT_NEAR(out[r * p.columns + c], sum, 1e-6 * size) << r << ", " << c;
      }
    }
  }
}

TEST(Packed, APackedResultIsWhatPackingItsRowsGives) {
  for (const Product& p : kProducts) {
    SCOPED_TRACE(::testing::Message() << p.rows << " × " << p.columns << " × " << p.depth);
    ASSERT_TRUE(PackedProduct::PacksResult({}, p.depth));
    const std::vector<float> a = RandomValues("vision.head.probe", {p.rows, p.depth});
    const std::vector<float> weight = RandomValues("vision.class_embedding", {p.columns, p.depth});
    const std::vector<float> bias = RandomValues("bias", {p.columns});
    const std::vector<float> rows = Multiplied(p, a, weight, bias, Activation::kQuickGelu, 1);
    std::vector<float> expected(rows.size());
    const RowTiles tiles(p.rows);
    for (size_t t = 0; t < tiles.count; ++t) {
      internal::PackTile({}, rows.data() + tiles.Begin(t) * p.columns, p.columns, tiles.Size(t), p.columns,
                         expected.data() + tiles.Begin(t) * p.columns, nullptr);
    }
    EXPECT_EQ(Multiplied(p, a, weight, bias, Activation::kQuickGelu, 3, {}, true), expected);
  }
  EXPECT_FALSE(PackedProduct::PacksResult({}, 4097));  // a depth in parts
  EXPECT_FALSE(PackedProduct::PacksResult({ClipCompute::kInt8, internal::Words::kF32}, 64));
}

// A row of `rows` as int8 has it: multiples of a 127th of its largest.
std::vector<float> Rounded(ClipCompute compute, std::vector<float> x, size_t depth) {
  if (compute == ClipCompute::kBf16) {
    internal::RoundToBf16(x.data(), x.size(), x.data());
    return x;
  }
  for (auto row = x.begin(); row != x.end(); row += static_cast<ptrdiff_t>(depth)) {
    float largest = 0;
    for (size_t i = 0; i < depth; ++i) largest = std::max(largest, std::fabs(row[static_cast<ptrdiff_t>(i)]));
    const float scale = largest / 127;
    const float inverse = 1 / scale;
    for (size_t i = 0; i < depth && largest > 0; ++i) {
      float& value = row[static_cast<ptrdiff_t>(i)];
      value = std::nearbyint(value * inverse) * scale;
    }
  }
  return x;
}

// By this processor's instructions and without them.
TEST(Packed, RoundedFactorsGiveWhatTheyStandFor) {
  for (const ClipCompute compute : {ClipCompute::kBf16, ClipCompute::kInt8}) {
    for (const Product& p : kProducts) {
      SCOPED_TRACE(::testing::Message() << p.rows << " × " << p.columns << " × " << p.depth);
      std::vector<float> a = RandomValues("vision.head.probe", {p.rows, p.depth});
      if (p.rows > 1) std::fill_n(a.begin(), p.depth, 0.0F);
      const std::vector<float> weight = RandomValues("vision.class_embedding", {p.columns, p.depth});
      const std::vector<float> bias = RandomValues("bias", {p.columns});
      const std::vector<float> expected =
          Multiplied(p, Rounded(compute, a, p.depth), Rounded(compute, weight, p.depth), bias, std::nullopt, 1);
      float largest = 1;
      for (const float value : expected) largest = std::max(largest, std::fabs(value));
      for (const Encoding& encoding : {Encoding::For(compute), Encoding{compute, internal::Words::kF32}}) {
        const std::vector<float> out = Multiplied(p, a, weight, bias, std::nullopt, 3, encoding);
        for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], 2e-5 * largest) << i;
      }
    }
  }
}

TEST(Packed, WhatIsNoNumberStaysSo) {
  const Product p = {3, 40, 40, 70};
  std::vector<float> a(p.rows * p.depth, 1);
  const std::vector<float> weight(p.columns * p.depth, 1);
  const std::vector<float> bias(p.columns);
  a[p.depth + 5] = NAN;
  for (const ClipCompute compute : {ClipCompute::kFp32, ClipCompute::kBf16, ClipCompute::kInt8}) {
    for (const Encoding& encoding : {Encoding::For(compute), Encoding{compute, internal::Words::kF32}}) {
      const std::vector<float> out = Multiplied(p, a, weight, bias, std::nullopt, 1, encoding);
      for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i / p.columns == 1) << i;
    }
  }
}

TEST(Packed, NeitherPartsNorOtherRowsChangeABit) {
  for (const Product& p : kProducts) {
    const std::vector<float> a = RandomValues("vision.head.probe", {p.rows, p.depth});
    const std::vector<float> weight = RandomValues("vision.class_embedding", {p.columns, p.depth});
    const std::vector<float> bias = RandomValues("bias", {p.columns});
    const std::vector<float> out = Multiplied(p, a, weight, bias, Activation::kQuickGelu, 1);
    for (const size_t threads : {2, 3, 16, 200}) {
      EXPECT_EQ(Multiplied(p, a, weight, bias, Activation::kQuickGelu, threads), out) << threads;
    }
    const auto last = static_cast<ptrdiff_t>((p.rows - 1) * p.depth);
    EXPECT_EQ(Multiplied({1, p.columns, p.group, p.depth}, {a.begin() + last, a.end()}, weight, bias,
                         Activation::kQuickGelu, 1),
              std::vector<float>(out.end() - static_cast<ptrdiff_t>(p.columns), out.end()));
  }
}

TEST(Packed, AttentionOfAnyShape) {
  struct Shape {
    size_t queries, keys, depth, first;
    bool causal;
  };
  for (const Shape& s : {Shape{257, 257, 64, 0, false}, Shape{1, 50, 64, 0, false}, Shape{77, 77, 8, 0, true},
                         Shape{4, 7, 80, 3, true}, Shape{1, 1, 1, 0, true}, Shape{33, 40, 20, 7, true}}) {
    SCOPED_TRACE(::testing::Message() << s.queries << ", " << s.keys << ", " << s.depth);
    const size_t stride = s.depth + 3;
    const std::vector<float> q = RandomValues("vision.head.probe", {s.queries, stride});
    const std::vector<float> k = RandomValues("vision.class_embedding", {s.keys, stride});
    const std::vector<float> v = RandomValues("vision.pixels", {s.keys, stride});
    std::vector<float> out(s.queries * stride, 2);
    internal::Attend({.q = q.data(),
                      .q_stride = stride,
                      .queries = s.queries,
                      .k = k.data(),
                      .v = v.data(),
                      .kv_stride = stride,
                      .keys = s.keys,
                      .depth = s.depth,
                      .causal = s.causal,
                      .first_query = s.first,
                      .out = out.data(),
                      .out_stride = stride});
    for (size_t i = 0; i < s.queries; ++i) {
      const size_t seen = s.causal ? std::min(s.keys, s.first + i + 1) : s.keys;
      std::vector<double> weights(seen);
      double sum = 0;
      for (size_t j = 0; j < seen; ++j) {
        double score = 0;
        for (size_t c = 0; c < s.depth; ++c) score += double{q[i * stride + c]} * k[j * stride + c];
        sum += weights[j] = std::exp(score / std::sqrt(static_cast<double>(s.depth)));
      }
      for (size_t c = 0; c < stride; ++c) {
        double expected = c < s.depth ? 0 : 2;
        for (size_t j = 0; j < seen && c < s.depth; ++j) expected += weights[j] / sum * v[j * stride + c];
        ASSERT_NEAR(out[i * stride + c], expected, 2e-6) << i << ", " << c;
      }
    }
  }
}

// Whichever product this machine would choose: the libraries promise no such thing.
TEST(Packed, FeaturesDependNeitherOnThreadsNorOnOtherPictures) {
  ASSERT_EQ(setenv("ANEMONE_GEMM", "own", 1), 0);
  ClipSpec spec;
  spec.vision = {.layers = 2, .width = 96, .ffn = 200, .heads = 3};
  spec.text = {.layers = 2, .width = 40, .ffn = 72, .heads = 4};
  spec.projection = 40;
  spec.vocab = 100;
  spec.image_size = 56;
  spec.patch_size = 7;
  const std::vector<float> pixels = RandomValues("pixels", {3, 3, 56, 56});
  const std::vector<std::vector<int32_t>> texts = {{1, 2, 3}, {1, 2, 4, 5, 99}, {7}};
  std::vector<float> images;
  std::vector<float> of_texts;
  for (const int threads : {1, 2, 5}) {
    ClipOptions options;
    options.threads = threads;
    options.keep_weights = threads == 2;
    ANEMONE_ASSERT_ASSIGN(ClipModel model, ClipModel::Create(spec, testing::RandomWeights(spec), options));
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures found, model.EncodeImages(pixels));
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures found_texts, model.EncodeTexts(texts));
    if (threads == 1) images = found.values;
    if (threads == 1) of_texts = found_texts.values;
    EXPECT_EQ(found.values, images) << threads;
    EXPECT_EQ(found_texts.values, of_texts) << threads;
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures alone, model.EncodeImages(std::span(pixels).last(3 * 56 * 56)));
    EXPECT_EQ(alone.values, std::vector<float>(images.end() - 40, images.end()));
  }
  ASSERT_EQ(unsetenv("ANEMONE_GEMM"), 0);
}

// Every number gets to its place, and nothing beside it is touched: tiles are packed by several threads side by side.
TEST(Packed, RowsAndColumnsOfAnyNumberAreTransposed) {
  constexpr float kUntouched = -1;
  for (size_t rows = 1; rows <= 35; ++rows) {
    for (const size_t columns : {1, 3, 4, 8, 15, 16, 17, 33}) {
      const size_t stride = columns + 2;
      const size_t to_step = rows + 1;
      std::vector<float> from(rows * stride);
      for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
      std::vector<float> expected(columns * to_step, kUntouched);
      for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < columns; ++c) expected[c * to_step + r] = from[r * stride + c];
      }
      std::vector<float> found(columns * to_step, kUntouched);
      internal::Transpose(from.data(), stride, rows, columns, found.data(), to_step);
      ASSERT_EQ(found, expected) << rows << " rows, " << columns << " columns";
    }
  }
}

}  // namespace
}  // namespace anemone
