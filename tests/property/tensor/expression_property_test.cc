// Random expressions, read through random windows, against an evaluator that does everything in memory the obvious way.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "anemone/tensor.h"
#include "tensor/cast.h"
#include "tensor/fill.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::StatusIs;
using Random = std::mt19937_64;

uint64_t Below(Random& random, uint64_t limit) { return random() % limit; }

// A tensor and the elements it should have.
struct Pair {
  Tensor tensor;
  DType dtype;
  Shape shape;
  std::string bytes;
};

uint64_t Count(const Shape& shape) { return *NumElements(shape); }

// Calls `visit` with every index of a shape, in C order.
template <typename Visit>
void ForEachIndex(const Shape& shape, const Visit& visit) {
  std::vector<uint64_t> index(shape.size(), 0);
  for (uint64_t i = 0; i < Count(shape); ++i) {
    visit(index);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

uint64_t Linear(const Shape& shape, const std::vector<uint64_t>& index) {
  uint64_t linear = 0;
  for (size_t i = 0; i < shape.size(); ++i) linear = linear * shape[i] + index[i];
  return linear;
}

// Elements of `from` picked by a map from result index to source index.
template <typename Map>
std::string Pick(const Pair& from, const Shape& shape, const Map& map) {
  const size_t item = SizeBytes(from.dtype);
  std::string bytes;
  ForEachIndex(shape, [&](const std::vector<uint64_t>& index) {
    bytes += from.bytes.substr(Linear(from.shape, map(index)) * item, item);
  });
  return bytes;
}

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kI64, DType::kU8, DType::kBF16};

Pair Leaf(Random& random, DType dtype, const Shape& shape) {
  const size_t item = SizeBytes(dtype);
  // A source larger than needed, seen through random strides now and then (transposed, spread or repeated).
  std::vector<uint64_t> strides(shape.size());
  std::vector<size_t> order(shape.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (Below(random, 2)) std::ranges::shuffle(order, random);
  uint64_t step = 1, furthest = 0;
  for (size_t k = order.size(); k-- > 0;) {
    const size_t axis = order[k];
    if (Below(random, 5) == 0) step += Below(random, 4);
    strides[axis] = Below(random, 12) == 0 ? 0 : step;
    step *= std::max<uint64_t>(shape[axis], 1);
    if (shape[axis] > 0) furthest += (shape[axis] - 1) * strides[axis];
  }
  const uint64_t offset = Below(random, 20);
  std::string source(offset + (furthest + 1) * item + Below(random, 9), '\0');
  for (char& byte : source) byte = static_cast<char>(random());
  Pair pair{*Tensor::FromFile(dtype, shape, MemorySource(source, "source"), offset, strides), dtype, shape, ""};
  ForEachIndex(shape, [&](const std::vector<uint64_t>& index) {
    uint64_t at = 0;
    for (size_t i = 0; i < index.size(); ++i) at += index[i] * strides[i];
    pair.bytes += source.substr(offset + at * item, item);
  });
  return pair;
}

Shape RandomShape(Random& random) {
  Shape shape(Below(random, 5));
  for (uint64_t& size : shape) size = Below(random, 25) == 0 ? 0 : 1 + Below(random, 7);
  return shape;
}

// Another shape of as many elements.
Shape Reshaped(Random& random, uint64_t count) {
  if (count == 0) {
    Shape shape = RandomShape(random);
    shape.insert(shape.begin() + static_cast<ptrdiff_t>(Below(random, shape.size() + 1)), 0);
    return shape;
  }
  Shape shape;
  for (uint64_t prime = 2; count > 1; ++prime) {
    for (; count % prime == 0; count /= prime) shape.push_back(prime);
  }
  std::ranges::shuffle(shape, random);
  for (size_t i = 0; i + 1 < shape.size();) {
    if (Below(random, 2)) {
      shape[i] *= shape[i + 1];
      shape.erase(shape.begin() + static_cast<ptrdiff_t>(i) + 1);
    } else {
      ++i;
    }
  }
  while (Below(random, 3) == 0)
    shape.insert(shape.begin() + static_cast<ptrdiff_t>(Below(random, shape.size() + 1)), 1);
  return shape;
}

std::string CastBytes(const Pair& from, DType to) {
  std::string bytes(Count(from.shape) * SizeBytes(to), '\0');
  internal::CastElementsScalar(from.dtype, reinterpret_cast<const std::byte*>(from.bytes.data()), to,
                               reinterpret_cast<std::byte*>(bytes.data()), Count(from.shape));
  return bytes;
}

Pair Expression(Random& random, DType dtype, const Shape& shape, int depth);

Pair Operation(Random& random, DType dtype, const Shape& shape, int depth) {
  const size_t rank = shape.size();
  switch (Below(random, 8)) {
    case 0: {  // narrow
      if (rank == 0) break;
      const size_t axis = Below(random, rank);
      Shape whole = shape;
      const uint64_t start = Below(random, 4);
      whole[axis] += start + Below(random, 4);
      const Pair child = Expression(random, dtype, whole, depth - 1);
      return {*child.tensor.Narrow(axis, start, shape[axis]), dtype, shape,
              Pick(child, shape, [&](std::vector<uint64_t> index) {
                index[axis] += start;
                return index;
              })};
    }
    case 1: {  // permute
      std::vector<size_t> order(rank);
      std::iota(order.begin(), order.end(), size_t{0});
      std::ranges::shuffle(order, random);
      Shape whole(rank);
      for (size_t i = 0; i < rank; ++i) whole[order[i]] = shape[i];
      const Pair child = Expression(random, dtype, whole, depth - 1);
      return {*child.tensor.Permute(order), dtype, shape, Pick(child, shape, [&](const std::vector<uint64_t>& index) {
                std::vector<uint64_t> from(rank);
                for (size_t i = 0; i < rank; ++i) from[order[i]] = index[i];
                return from;
              })};
    }
    case 2:
    case 3: {  // reshape
      const Pair child = Expression(random, dtype, Reshaped(random, Count(shape)), depth - 1);
      return {*child.tensor.Reshape(shape), dtype, shape, child.bytes};
    }
    case 4:
    case 5: {  // assemble: the shape cut in two again and again
      struct Cut {
        std::vector<uint64_t> start;
        Shape shape;
      };
      std::vector<Cut> cuts = {{std::vector<uint64_t>(rank, 0), shape}};
      for (uint64_t i = Below(random, 5); i > 0 && rank > 0; --i) {
        const size_t which = Below(random, cuts.size()), axis = Below(random, rank);
        Cut second = cuts[which];
        const uint64_t at = Below(random, second.shape[axis] + 1);
        cuts[which].shape[axis] = at;
        second.start[axis] += at;
        second.shape[axis] -= at;
        cuts.push_back(second);
      }
      std::ranges::shuffle(cuts, random);
      const size_t item = SizeBytes(dtype);
      std::string bytes(Count(shape) * item, '\0');
      std::vector<Tensor::Tile> tiles;
      for (const Cut& cut : cuts) {
        const Pair part = Expression(random, dtype, cut.shape, depth - 1);
        tiles.push_back({cut.start, part.tensor});
        ForEachIndex(cut.shape, [&](std::vector<uint64_t> index) {
          const uint64_t from = Linear(cut.shape, index);
          for (size_t i = 0; i < rank; ++i) index[i] += cut.start[i];
          bytes.replace(Linear(shape, index) * item, item, part.bytes, from * item, item);
        });
      }
      return {*Tensor::Assemble(shape, tiles), dtype, shape, bytes};
    }
    case 6: {  // cast
      const Pair child = Expression(random, kDTypes[Below(random, std::size(kDTypes))], shape, depth - 1);
      return {*child.tensor.Cast(dtype), dtype, shape, CastBytes(child, dtype)};
    }
    case 7: {  // average
      if (!internal::IsFloat(dtype)) break;
      const uint64_t parts = 1 + Below(random, 3);
      std::vector<Tensor> tensors;
      std::vector<double> sum(Count(shape), 0.0);
      for (uint64_t i = 0; i < parts; ++i) {
        const Pair part = Expression(random, dtype, shape, depth - 1);
        tensors.push_back(part.tensor);
        const std::string wide = CastBytes(part, DType::kF64);
        for (size_t k = 0; k < sum.size(); ++k) {
          double value;
          std::memcpy(&value, wide.data() + k * 8, 8);
          sum[k] += value;
        }
      }
      Pair wide{tensors.front(), DType::kF64, shape, std::string(sum.size() * 8, '\0')};
      for (size_t k = 0; k < sum.size(); ++k) {
        const double mean = sum[k] / static_cast<double>(parts);
        std::memcpy(wide.bytes.data() + k * 8, &mean, 8);
      }
      return {*Tensor::Average(tensors), dtype, shape, CastBytes(wide, dtype)};
    }
  }
  return Leaf(random, dtype, shape);
}

Pair Expression(Random& random, DType dtype, const Shape& shape, int depth) {
  if (depth > 0 && Below(random, 6) != 0) return Operation(random, dtype, shape, depth);
  if (Below(random, 6) == 0) {
    std::string bytes;
    const double value = Below(random, 2) ? 0 : 3;
    Pair one{*Tensor::Fill(DType::kF64, {}, value), DType::kF64, {}, std::string(8, '\0')};
    std::memcpy(one.bytes.data(), &value, 8);
    for (uint64_t i = 0; i < Count(shape); ++i) bytes += CastBytes(one, dtype);
    return {*Tensor::Fill(dtype, shape, value), dtype, shape, bytes};
  }
  return Leaf(random, dtype, shape);
}

TEST(ExpressionProperty, EqualsTheObviousEvaluator) {
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    Random random(seed);
    const DType dtype = kDTypes[Below(random, std::size(kDTypes))];
    const Pair pair = Expression(random, dtype, RandomShape(random), 1 + static_cast<int>(Below(random, 5)));
    ASSERT_EQ(pair.tensor.shape(), pair.shape);
    ASSERT_EQ(pair.tensor.dtype(), pair.dtype);
    ANEMONE_ASSERT_ASSIGN(const std::string whole, pair.tensor.Read());
    ASSERT_TRUE(whole == pair.bytes) << "seed " << seed << ", shape " << ToString(pair.shape);
    for (int i = 0; i < 8; ++i) {
      const uint64_t offset = Below(random, whole.size() + 1), size = Below(random, whole.size() - offset + 1);
      std::string part(size, '\x77');
      ASSERT_THAT(Fill(pair.tensor, offset, std::as_writable_bytes(std::span(part))), IsOk());
      ASSERT_TRUE(part == pair.bytes.substr(offset, size)) << "seed " << seed << ", from " << offset << ", " << size;
    }
    if (const auto range = pair.tensor.AsByteRange()) {
      ANEMONE_ASSERT_ASSIGN(const std::string bytes, range->ReadAll(1 << 30));
      ASSERT_TRUE(bytes == pair.bytes) << "seed " << seed;
    }
  }
}

// Larger than every buffer on the way: transposes in blocks, casts in pieces.
TEST(ExpressionProperty, LargeTransposesAndCasts) {
  Random random(11);
  for (const Shape& shape : {Shape{700, 900}, Shape{3, 401, 517}, Shape{2, 300000}, Shape{200000, 3}}) {
    const Pair leaf = Leaf(random, DType::kF32, shape);
    std::vector<size_t> order(shape.size());
    std::iota(order.rbegin(), order.rend(), size_t{0});
    const Shape reversed(shape.rbegin(), shape.rend());
    Pair turned{*leaf.tensor.Permute(order), DType::kF32, reversed,
                Pick(leaf, reversed, [](std::vector<uint64_t> index) {
                  std::ranges::reverse(index);
                  return index;
                })};
    EXPECT_TRUE(*turned.tensor.Read() == turned.bytes);
    EXPECT_TRUE(*turned.tensor.Cast(DType::kF16)->Read() == CastBytes(turned, DType::kF16));
    const Tensor cast_first = *leaf.tensor.Cast(DType::kF16)->Permute(order);
    EXPECT_TRUE(*cast_first.Read() == CastBytes(turned, DType::kF16));
  }
}

// The assemble law: tiles that miss an element or share one are refused, whichever way the shape was cut.
TEST(ExpressionProperty, AssembleRefusesWhatIsNotATiling) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed);
    const Shape shape = {4 + Below(random, 5), 4 + Below(random, 5)};
    std::vector<Tensor::Tile> tiles;
    const uint64_t rows = 1 + Below(random, shape[0] - 1), columns = 1 + Below(random, shape[1] - 1);
    const auto add = [&](uint64_t row, uint64_t column, uint64_t height, uint64_t width) {
      tiles.push_back({{row, column}, *Tensor::Fill(DType::kU8, {height, width}, 0)});
    };
    add(0, 0, rows, columns);
    add(0, columns, rows, shape[1] - columns);
    add(rows, 0, shape[0] - rows, columns);
    add(rows, columns, shape[0] - rows, shape[1] - columns);
    std::ranges::shuffle(tiles, random);
    ASSERT_THAT(Tensor::Assemble(shape, tiles), IsOk());
    std::vector<Tensor::Tile> missing(tiles.begin() + 1, tiles.end());
    EXPECT_THAT(Tensor::Assemble(shape, missing), StatusIs(ErrorKind::kInvalidArgument, "less than"));
    std::vector<Tensor::Tile> twice = tiles;
    twice[0] = twice[1];
    if (tiles[0].tensor.shape() == tiles[1].tensor.shape()) {
      EXPECT_THAT(Tensor::Assemble(shape, twice), StatusIs(ErrorKind::kInvalidArgument, "overlap"));
    }
    // Moved by one where that keeps it inside: as many elements, one row or column twice.
    for (Tensor::Tile& tile : tiles) {
      const size_t axis = Below(random, 2);
      if (tile.offsets[axis] == 0) continue;
      tile.offsets[axis] -= 1;
      EXPECT_THAT(Tensor::Assemble(shape, tiles), StatusIs(ErrorKind::kInvalidArgument, "overlap"));
      break;
    }
  }
}

}  // namespace
}  // namespace anemone
