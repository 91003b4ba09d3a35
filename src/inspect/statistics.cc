#include "inspect/statistics.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "tensor/cast.h"
#include "tensor/fill.h"

namespace anemone {
namespace {

constexpr uint64_t kWindowElements = uint64_t{1} << 18;

// Halves the resolution and doubles the range: bins two by two become the middle half.
void Widen(Statistics& s) {
  std::array<uint64_t, Statistics::kBins> wide = {};
  for (size_t i = 0; i < s.bins.size(); ++i) wide[s.bins.size() / 4 + i / 2] += s.bins[i];
  s.bins = wide;
  s.range *= 2;
}

// `before` finite elements came before these; while the range is 0 they were all zeros.
void AddToBins(double largest, uint64_t before, std::span<const double> values, Statistics& s) {
  if (s.range == 0) {
    s.bins[s.bins.size() / 2] = before;
    int exponent = 0;
    std::frexp(largest, &exponent);
    s.range = std::ldexp(1, std::min(exponent, 1023));
  }
  while (s.range < largest && s.range < std::ldexp(1, 1023)) Widen(s);
  const double half = static_cast<double>(s.bins.size()) / 2;
  for (const double x : values) {
    if (!std::isfinite(x)) continue;
    const double at = std::floor(x / s.range * half + half);
    ++s.bins[static_cast<size_t>(std::clamp(at, 0.0, 2 * half - 1))];
  }
}

}  // namespace

bool HasStatistics(DType dtype) { return internal::CanCast(dtype, DType::kF64); }

Result<Statistics> ComputeStatistics(const Tensor& tensor, const std::function<bool(uint64_t)>& advance) {
  if (!HasStatistics(tensor.dtype())) return InvalidArgument("no statistics of " + std::string(Name(tensor.dtype())));
  ANEMONE_ASSIGN(const Tensor doubles, tensor.Cast(DType::kF64));
  Statistics s;
  s.elements = tensor.num_elements();
  uint64_t finite = 0;
  double squares = 0;  // sum of squared distances from the mean
  std::vector<double> values(std::min(kWindowElements, s.elements));
  for (uint64_t at = 0; at < s.elements; at += values.size()) {
    values.resize(std::min(kWindowElements, s.elements - at));
    ANEMONE_TRY(Fill(doubles, at * sizeof(double), std::as_writable_bytes(std::span(values))));
    double sum = 0;
    double largest = 0;
    uint64_t count = 0;
    for (const double x : values) {
      if (!std::isfinite(x)) {
        ++(std::isnan(x) ? s.nans : s.infinities);
        continue;
      }
      s.zeros += x == 0 ? 1 : 0;
      s.min = finite + count == 0 ? x : std::min(s.min, x);
      s.max = finite + count == 0 ? x : std::max(s.max, x);
      largest = std::max(largest, std::abs(x));
      sum += x;
      ++count;
    }
    if (count > 0) {
      // Two samples' moments joined [Chan, Golub, LeVeque 1979].
      const double mean = sum / static_cast<double>(count);
      double around = 0;
      for (const double x : values) around += std::isfinite(x) ? (x - mean) * (x - mean) : 0;
      const double share = static_cast<double>(count) / static_cast<double>(finite + count);
      const double distance = mean - s.mean;
      squares += around + distance * distance * static_cast<double>(finite) * share;
      s.mean += distance * share;
      if (largest > 0 || s.range > 0) AddToBins(largest, finite, values, s);
      finite += count;
    }
    if (!advance(values.size())) return Interrupted();
  }
  if (finite > 0) s.deviation = std::sqrt(squares / static_cast<double>(finite));
  return s;
}

}  // namespace anemone
