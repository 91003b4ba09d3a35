#include "anemone/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include "base/cancel.h"
#include "config/nodes.h"
#include "engine/sources.h"
#include "tensor/cast.h"
#include "tensor/fill.h"
#include "tensor/layout_text.h"

namespace anemone {
namespace {

constexpr uint64_t kWindowElements = uint64_t{1} << 18;

// The bytes of elements [start, start + count) of a tensor in C order. REQUIRES: they begin and end with a byte.
Result<std::string> Elements(const Tensor& tensor, uint64_t start, uint64_t count) {
  const uint64_t bits = Info(tensor.dtype()).bits;
  std::string bytes(count * bits / 8, '\0');
  ANEMONE_TRY(Fill(tensor, start * bits / 8, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

void CompareDoubles(const std::string& a, const std::string& b, TensorDifference& difference) {
  for (size_t at = 0; at + sizeof(double) <= a.size(); at += sizeof(double)) {
    double x;
    double y;
    std::memcpy(&x, a.data() + at, sizeof x);
    std::memcpy(&y, b.data() + at, sizeof y);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    ++difference.elements;
    const double distance = std::abs(x - y);
    if (std::isnan(distance) || distance > difference.max_abs) difference.max_abs = distance;
  }
}

// How many elements of `bits` bits each, which may share bytes, differ.
uint64_t CountDifferent(std::string_view a, std::string_view b, uint64_t bits) {
  uint64_t count = 0;
  uint64_t last = UINT64_MAX;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto changed = static_cast<uint8_t>(a[i] ^ b[i]);
    for (unsigned bit = 0; bit < 8; ++bit) {
      if ((changed >> bit & 1) == 0) continue;
      const uint64_t element = (8 * i + bit) / bits;
      if (element != std::exchange(last, element)) ++count;
    }
  }
  return count;
}

class Comparer {
 public:
  Comparer(const DiffOptions& options, uint64_t total_bytes) : options_(options), total_bytes_(total_bytes) {}

  Status CompareStates(const std::string& prefix, const StateDict& first, const StateDict& second, Difference& out) {
    using Kind = TensorDifference::Kind;
    for (const StateDict::Item& item : first.items()) {
      const StateDict::Item* other = second.Find(item.name);
      const Tensor* a = item.tensor();
      const Tensor* b = other != nullptr ? other->tensor() : nullptr;
      if (other == nullptr || (a == nullptr) != (b == nullptr)) {
        if (other == nullptr && a == nullptr) continue;  // opaque extra state, derived at run time
        out.tensors.push_back({Kind::kOnlyInFirst, prefix + item.name, "", "", 0, 0});
        continue;
      }
      if (a == nullptr) continue;
      ++out.tensors_compared;
      if (a->shape() != b->shape()) {
        out.tensors.push_back({Kind::kShape, prefix + item.name, ToString(a->shape()), ToString(b->shape()), 0, 0});
        continue;
      }
      ANEMONE_TRY(CompareValues(prefix + item.name, *a, *b, out).In(item.name));
    }
    for (const StateDict::Item& item : second.items()) {
      if (item.tensor() != nullptr && first.Find(item.name) == nullptr) {
        out.tensors.push_back({Kind::kOnlyInSecond, prefix + item.name, "", "", 0, 0});
      }
    }
    return {};
  }

  bool IsCancelled() const { return options_.progress && !options_.progress("comparing", done_bytes_, total_bytes_); }

 private:
  Status CompareValues(const std::string& name, const Tensor& a, const Tensor& b, Difference& out) {
    TensorDifference difference{TensorDifference::Kind::kValues, name, "", "", 0, 0};
    const bool same_dtype = a.dtype() == b.dtype();
    if (!same_dtype) {
      difference.kind = TensorDifference::Kind::kDType;
      difference.first = Name(a.dtype());
      difference.second = Name(b.dtype());
    }
    // Complex elements, and those that share bytes, are not cast: they are compared by their bits.
    const bool are_numbers = internal::CanCast(a.dtype(), DType::kF64) && internal::CanCast(b.dtype(), DType::kF64);
    if (!are_numbers) difference.max_abs = std::numeric_limits<double>::quiet_NaN();
    if (!are_numbers && !same_dtype) {
      difference.elements = a.num_elements();
      out.tensors.push_back(std::move(difference));
      return {};
    }
    bool differs = !same_dtype;  // in bits, though values may not: -0, NaN payloads
    for (uint64_t at = 0; at < a.num_elements(); at += kWindowElements) {
      const uint64_t count = std::min(kWindowElements, a.num_elements() - at);
      bool part_differs = !same_dtype;
      if (same_dtype) {
        ANEMONE_ASSIGN(const std::string bytes_a, Elements(a, at, count));
        ANEMONE_ASSIGN(const std::string bytes_b, Elements(b, at, count));
        part_differs = bytes_a != bytes_b;
        if (part_differs && !are_numbers) difference.elements += CountDifferent(bytes_a, bytes_b, Info(a.dtype()).bits);
      }
      if (part_differs && are_numbers) {
        ANEMONE_ASSIGN(const Tensor doubles_a, a.Cast(DType::kF64));
        ANEMONE_ASSIGN(const Tensor doubles_b, b.Cast(DType::kF64));
        ANEMONE_ASSIGN(const std::string values_a, Elements(doubles_a, at, count));
        ANEMONE_ASSIGN(const std::string values_b, Elements(doubles_b, at, count));
        CompareDoubles(values_a, values_b, difference);
      }
      differs |= part_differs;
      done_bytes_ += count * (Info(a.dtype()).bits + Info(b.dtype()).bits) / 8;
      if (IsCancelled()) return Interrupted();
    }
    if (differs) out.tensors.push_back(std::move(difference));
    return {};
  }

  const DiffOptions& options_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
};

uint64_t WeightBytes(const Checkpoint& checkpoint) {
  uint64_t bytes = 0;
  checkpoint.ForEachDict([&bytes](const StateDict& state) {
    for (const StateDict::Item& item : state.items()) bytes += item.tensor() ? item.tensor()->size_bytes() : 0;
  });
  return bytes;
}

void CompareConfig(const std::string& path, const ConfigNode* a, const ConfigNode* b,
                   std::vector<TextDifference>& out) {
  const auto text = [](const ConfigNode* node) -> std::string {
    if (node == nullptr) return "";
    return node->is_scalar() ? node->ScalarText() : Config(*node).ToJson(-1);
  };
  if (a == nullptr && b == nullptr) return;
  if (a != nullptr && b != nullptr && a->is_map() && b->is_map()) {
    const std::string prefix = path.empty() ? "" : path + ".";
    const MapIndex in_a(*a), in_b(*b);
    for (const auto& [key, child] : a->map) CompareConfig(prefix + key, &child, in_b.Get(key), out);
    for (const auto& [key, child] : b->map) {
      if (in_a.Get(key) == nullptr) CompareConfig(prefix + key, nullptr, &child, out);
    }
  } else if (a == nullptr || b == nullptr || !SameConfig(*a, *b)) {
    out.push_back({path, text(a), text(b)});
  }
}

Status CompareArtifacts(const Checkpoint& first, const Checkpoint& second, std::vector<TextDifference>& out) {
  constexpr uint64_t kChunk = uint64_t{1} << 20;
  const auto by_name = [](const Checkpoint& checkpoint) {
    std::map<std::string_view, const Artifact*> index;
    for (const Artifact& artifact : checkpoint.artifacts) index.emplace(artifact.name, &artifact);
    return index;
  };
  const auto in_first = by_name(first), in_second = by_name(second);
  for (const Artifact& a : first.artifacts) {
    const auto found = in_second.find(a.name);
    const Artifact* b = found == in_second.end() ? nullptr : found->second;
    const auto size = [](const Artifact& artifact) { return fmt::format("{} bytes", artifact.content.size); };
    if (b == nullptr || a.content.size != b->content.size) {
      out.push_back({a.name, size(a), b == nullptr ? "" : size(*b)});
      continue;
    }
    for (uint64_t at = 0; at < a.content.size; at += kChunk) {
      const uint64_t count = std::min(kChunk, a.content.size - at);
      ANEMONE_ASSIGN(const ByteRange part_a, a.content.Sub(at, count));
      ANEMONE_ASSIGN(const ByteRange part_b, b->content.Sub(at, count));
      ANEMONE_ASSIGN(const std::string bytes_a, part_a.ReadAll(kChunk));
      ANEMONE_ASSIGN(const std::string bytes_b, part_b.ReadAll(kChunk));
      if (bytes_a == bytes_b) continue;
      out.push_back({a.name, size(a), "other bytes"});
      break;
    }
  }
  for (const Artifact& b : second.artifacts) {
    if (!in_first.contains(b.name)) out.push_back({b.name, "", fmt::format("{} bytes", b.content.size)});
  }
  return {};
}

}  // namespace

std::string_view Name(TensorDifference::Kind kind) {
  constexpr std::string_view kNames[] = {"only in first", "only in second", "shape", "dtype", "values"};
  return kNames[static_cast<size_t>(kind)];
}

Result<Difference> Diff(const Checkpoint& first, const Checkpoint& second, const DiffOptions& options) {
  const size_t ranks = first.shards.size();
  if (second.shards.size() != ranks || (ranks > 1 && first.layout != second.layout)) {
    return InvalidArgument(fmt::format("expected checkpoints of one layout, found {} and {}", LayoutText(first.layout),
                                       LayoutText(second.layout)))
        .Use("canonical", "true", "compare across layouts");
  }
  Difference difference;
  Comparer comparer(options, WeightBytes(first) + WeightBytes(second));
  const CancelScope scope([&comparer] { return comparer.IsCancelled(); });
  for (size_t i = 0; i < first.shards.size(); ++i) {
    const Shard& a = first.shards[i];
    const Shard& b = second.shards[i];
    const std::string prefix = first.shards.size() > 1 ? RankText(a) + " " : "";
    ANEMONE_TRY(comparer.CompareStates(prefix, a.weights, b.weights, difference));
    if (a.chunks.size() != b.chunks.size()) {
      return InvalidArgument(
          fmt::format("expected as many pipeline chunks, found {} and {}", a.chunks.size(), b.chunks.size()));
    }
    for (size_t c = 0; c < a.chunks.size(); ++c) {
      ANEMONE_TRY(comparer.CompareStates(fmt::format("{}model{} ", prefix, c), a.chunks[c], b.chunks[c], difference));
    }
  }
  if (!options.only_weights) {
    CompareConfig("", first.config ? &first.config->root() : nullptr, second.config ? &second.config->root() : nullptr,
                  difference.config);
    ANEMONE_TRY(CompareArtifacts(first, second, difference.artifacts));
  }
  for (const Checkpoint* checkpoint : {&first, &second}) ANEMONE_TRY(CheckUnchanged(*checkpoint));
  return difference;
}

}  // namespace anemone
