// Facts: NeMo v2.0.0 ldm/ddpm.py register_schedule, diffusionmodules/util.py make_beta_schedule: float64 throughout,
// then fp32. torch.linspace counts from both ends.
#include "family/diffusion/noise_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr size_t kBuffers = std::size(kScheduleNames);

Result<double> NumberOf(const ConfigNode& model, std::string_view key, double silent) {
  const ConfigNode& value = WordAt(model, key);
  if (value.is_null()) return silent;
  const auto number = value.AsDouble();
  if (number && *number >= 0 && *number < 1) return *number;
  return Corrupt(fmt::format("{}: expected a number from 0 to 1, found {}", key, Shown(value)));
}

// One step's values, in the order of the names.
std::array<double, kBuffers> ValuesAt(double beta, double product, double before, double v) {
  const double alpha = 1 - beta;
  const double variance = (1 - v) * beta * (1 - before) / (1 - product) + v * beta;
  return {beta,
          product,
          before,
          std::sqrt(product),
          std::sqrt(1 - product),
          std::log(1 - product),
          std::sqrt(1 / product),
          std::sqrt(1 / product - 1),
          variance,
          std::log(std::max(variance, 1e-20)),
          beta * std::sqrt(before) / (1 - product),
          (1 - before) * std::sqrt(alpha) / (1 - product)};
}

}  // namespace

Result<StateDict> NoiseSchedule(const ConfigNode& model) {
  constexpr FixedWord kSchedule[] = {{"beta_schedule", "linear", "linear"}, {"given_betas", "null", "null"}};
  ANEMONE_TRY(CheckFixed(model, kSchedule, "a schedule that can be made"));
  constexpr uint64_t kMost = 1'000'000;
  ANEMONE_ASSIGN(const uint64_t steps, SizeOf(model, "timesteps", 1000));
  ANEMONE_ASSIGN(const double start, NumberOf(model, "linear_start", 1e-4));
  ANEMONE_ASSIGN(const double end, NumberOf(model, "linear_end", 2e-2));
  ANEMONE_ASSIGN(const double v, NumberOf(model, "v_posterior", 0));
  if (steps < 2 || steps > kMost)
    return Corrupt(fmt::format("timesteps: expected 2 to {} to make a schedule of, found {}", kMost, steps));
  const double first = std::sqrt(start), last = std::sqrt(end), step = (last - first) / static_cast<double>(steps - 1);
  std::array<std::string, kBuffers> bytes;
  double product = 1;
  for (uint64_t i = 0; i < steps; ++i) {
    const double root =
        i < steps / 2 ? first + step * static_cast<double>(i) : last - step * static_cast<double>(steps - 1 - i);
    const double beta = root * root, before = product;
    product *= 1 - beta;
    const auto values = ValuesAt(beta, product, before, v);
    for (size_t b = 0; b < kBuffers; ++b) {
      const auto value = static_cast<float>(values[b]);
      bytes[b].append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
  }
  StateDict schedule;
  for (size_t b = 0; b < kBuffers; ++b) {
    ANEMONE_ASSIGN(Tensor tensor, Tensor::FromBytes(DType::kF32, {steps}, std::move(bytes[b])));
    ANEMONE_TRY(schedule.Add(std::string(kScheduleNames[b]), std::move(tensor)));
  }
  return schedule;
}

Status CheckStoredSchedule(const Checkpoint& checkpoint, const ConfigNode& model) {
  const std::string_view name = kScheduleNames[1];  // which all others follow from
  const Tensor* stored = nullptr;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      const bool is_named = item.name == name || item.name.ends_with(fmt::format(".{}", name));
      if (is_named && item.tensor() != nullptr) stored = item.tensor();
    }
  });
  if (stored == nullptr) return {};
  ANEMONE_ASSIGN(const StateDict made, NoiseSchedule(model));
  // One step of what 16 bits hold, or 32.
  const double step = stored->dtype() == DType::kF32 ? 0x1p-23 : stored->dtype() == DType::kBF16 ? 0x1p-7 : 0x1p-10;
  const auto numbers = [](const Tensor& tensor) -> Result<std::vector<float>> {
    ANEMONE_ASSIGN(const Tensor wide, tensor.Cast(DType::kF32));
    ANEMONE_ASSIGN(const std::string bytes, wide.Read());
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
  };
  ANEMONE_ASSIGN(const std::vector<float> found, numbers(*stored));
  ANEMONE_ASSIGN(const std::vector<float> wanted, numbers(*made.Find(name)->tensor()));
  const bool is_same =
      std::ranges::equal(found, wanted, [&](double a, double b) { return std::abs(a - b) <= step * b; });
  if (is_same) return {};
  return Unsupported(
      fmt::format("{}: expected the noise schedule of linear_start, linear_end and timesteps, found another", name));
}

}  // namespace anemone
