#include "parallel/slices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

namespace anemone {
namespace {

Result<std::vector<int64_t>> Numbers(const Tensor& tensor) {
  ANEMONE_ASSIGN(const std::string bytes, tensor.Read());
  std::vector<int64_t> numbers(bytes.size() / sizeof(int64_t));
  if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), bytes.size());
  return numbers;
}

constexpr uint64_t kMostNumbered = uint64_t{1} << 22;  // elements

}  // namespace

Result<Tensor> Glue(const std::vector<Tensor>& ranks, size_t axis, size_t sections) {
  if (ranks.size() == 1) return ranks.front();
  if (sections == 1) return Tensor::Concat(ranks, axis);
  std::vector<Tensor> parts;
  for (size_t section = 0; section < sections; ++section) {
    for (const Tensor& rank : ranks) {
      const uint64_t size = rank.shape()[axis] / sections;
      ANEMONE_ASSIGN(Tensor part, rank.Narrow(axis, section * size, size));
      parts.push_back(std::move(part));
    }
  }
  return Tensor::Concat(std::move(parts), axis);
}

Result<Tensor> Cut(const Tensor& whole, size_t axis, size_t sections, int tp, int rank) {
  if (tp == 1) return whole;
  const uint64_t pieces = sections * static_cast<uint64_t>(tp);
  if (whole.shape().size() <= axis || whole.shape()[axis] % pieces != 0) {
    return InvalidArgument(fmt::format("expected axis {} to divide into {} pieces, found shape {}", axis, pieces,
                                       ToString(whole.shape())));
  }
  const uint64_t size = whole.shape()[axis] / pieces;
  std::vector<Tensor> parts;
  for (size_t section = 0; section < sections; ++section) {
    const uint64_t start = (section * static_cast<uint64_t>(tp) + static_cast<uint64_t>(rank)) * size;
    ANEMONE_ASSIGN(Tensor part, whole.Narrow(axis, start, size));
    parts.push_back(std::move(part));
  }
  return parts.size() == 1 ? Result<Tensor>(parts.front()) : Tensor::Concat(std::move(parts), axis);
}

Result<Tensor> CubeOf(const Tensor& matrix, uint64_t experts, bool by_rows) {
  const Shape& shape = matrix.shape();
  if (shape.size() != 2 || experts == 0 || shape[by_rows ? 0 : 1] % experts != 0)
    return Corrupt(fmt::format("expected the matrices of {} experts, found shape {}", experts, ToString(shape)));
  return matrix.Reshape(by_rows ? Shape{experts, shape[0] / experts, shape[1]}
                                : Shape{experts, shape[0], shape[1] / experts});
}

Result<Tensor> MatrixOf(const Tensor& cube, bool by_rows) {
  const Shape& shape = cube.shape();
  return cube.Reshape(by_rows ? Shape{shape[0] * shape[1], shape[2]} : Shape{shape[1], shape[0] * shape[2]});
}

Status CheckCover(uint64_t size, const std::vector<std::vector<int64_t>>& ranks) {
  std::vector<uint8_t> found(size, 0);
  for (const std::vector<int64_t>& rank : ranks) {
    for (const int64_t element : rank) {
      if (element < 0 || static_cast<uint64_t>(element) >= size)
        return Internal(fmt::format("the law of slices: expected elements below {}, found {}", size, element));
      if (++found[static_cast<size_t>(element)] > 1)
        return Internal(fmt::format("the law of slices: expected element {} once, found it twice", element));
    }
  }
  for (uint64_t element = 0; element < size; ++element) {
    if (found[element] == 0)
      return Internal(fmt::format("the law of slices: expected element {} once, found it nowhere", element));
  }
  return {};
}

Status SliceLaw::Check(uint64_t size, size_t sections, int tp) {
  if (tp == 1 || !checked_.emplace(size, sections, tp).second) return {};
  const uint64_t pieces = sections * static_cast<uint64_t>(tp);
  if (size > kMostNumbered && size % pieces == 0) {
    // A config may say any size. All pieces are equally long, so shorter ones obey the same law.
    size = pieces * std::max<uint64_t>(1, kMostNumbered / pieces);
  } else if (size > kMostNumbered) {
    ANEMONE_ASSIGN(const Tensor any, Tensor::Fill(DType::kI64, {size}, 0));
    return Cut(any, 0, sections, tp, 0).status();
  }
  std::vector<int64_t> numbers(size);
  std::iota(numbers.begin(), numbers.end(), 0);
  ANEMONE_ASSIGN(const Tensor whole,
                 Tensor::FromBytes(DType::kI64, {size},
                                   std::string(reinterpret_cast<const char*>(numbers.data()), size * sizeof(int64_t))));
  std::vector<Tensor> ranks;
  std::vector<std::vector<int64_t>> elements;
  for (int rank = 0; rank < tp; ++rank) {
    ANEMONE_ASSIGN(Tensor slice, Cut(whole, 0, sections, tp, rank));
    ANEMONE_ASSIGN(std::vector<int64_t> there, Numbers(slice));
    ranks.push_back(std::move(slice));
    elements.push_back(std::move(there));
  }
  ANEMONE_TRY(CheckCover(size, elements));
  ANEMONE_ASSIGN(const Tensor again, Glue(ranks, 0, sections));
  ANEMONE_ASSIGN(const std::vector<int64_t> back, Numbers(again));
  if (back != numbers) return Internal("the law of slices: expected gluing to undo cutting");
  return {};
}

}  // namespace anemone
