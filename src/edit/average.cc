#include "edit/average.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "edit/rewrite.h"
#include "tensor/layout_text.h"

namespace anemone {
namespace {

Status Disagree(const std::string& name, const Checkpoint& first, const Checkpoint& other, const std::string& what) {
  return InvalidArgument(fmt::format("{}: expected {} in {} as in {}", name, what, other.path, first.path),
                         "only checkpoints of one model and layout can be averaged");
}

// The bytes of `parts` added up as signed integers of T; nullopt where a sum does not fit.
template <typename T>
std::optional<std::string> Sum(const std::vector<std::string>& parts) {
  std::string sum = parts.front();
  for (size_t i = 1; i < parts.size(); ++i) {
    for (size_t at = 0; at < sum.size(); at += sizeof(T)) {
      T a{}, b{};
      std::memcpy(&a, sum.data() + at, sizeof(T));
      std::memcpy(&b, parts[i].data() + at, sizeof(T));
      if (__builtin_add_overflow(a, b, &a)) return std::nullopt;
      std::memcpy(sum.data() + at, &a, sizeof(T));
    }
  }
  return sum;
}

std::optional<std::string> SumOf(DType dtype, const std::vector<std::string>& parts) {
  switch (dtype) {
    case DType::kI8:
      return Sum<int8_t>(parts);
    case DType::kI16:
      return Sum<int16_t>(parts);
    case DType::kI32:
      return Sum<int32_t>(parts);
    case DType::kI64:
      return Sum<int64_t>(parts);
    default:
      return std::nullopt;
  }
}

// Tensors that are no floats: equal ones (indexes, masks) stay; signed integers that differ are counters, which NeMo
// adds up [NeMo scripts/checkpoint_averaging/checkpoint_averaging.py].
Result<Tensor> AverageIntegers(const std::string& name, const std::vector<Tensor>& tensors,
                               const std::vector<Checkpoint>& checkpoints, std::vector<std::string>* summed) {
  std::vector<std::string> parts;
  for (const Tensor& tensor : tensors) {
    ANEMONE_ASSIGN(std::string bytes, tensor.Read());
    parts.push_back(std::move(bytes));
  }
  const auto other = std::find_if(parts.begin(), parts.end(), [&](const std::string& p) { return p != parts[0]; });
  const Tensor& first = tensors.front();
  if (other == parts.end()) return first;
  const std::optional<std::string> sum = SumOf(first.dtype(), parts);
  if (!sum) {
    return Disagree(name, checkpoints[0], checkpoints[static_cast<size_t>(other - parts.begin())],
                    "equal values of " + std::string(Name(first.dtype())));
  }
  summed->push_back(name);
  return Tensor::FromBytes(first.dtype(), first.shape(), *sum);
}

Result<StateDict> AverageStates(const std::vector<const StateDict*>& states, const std::vector<Checkpoint>& checkpoints,
                                std::vector<std::string>* summed) {
  StateDict result;
  for (const StateDict::Item& item : states.front()->items()) {
    const Tensor* first = item.tensor();
    if (first == nullptr) {
      ANEMONE_TRY(result.Add(item.name, item.entry));
      continue;
    }
    std::vector<Tensor> parts;
    for (size_t i = 0; i < states.size(); ++i) {
      const StateDict::Item* other = states[i]->Find(item.name);
      if (other == nullptr || other->tensor() == nullptr)
        return Disagree(item.name, checkpoints[0], checkpoints[i], "the tensor");
      const Tensor& tensor = *other->tensor();
      if (tensor.shape() != first->shape()) {
        return Disagree(item.name, checkpoints[0], checkpoints[i], "shape " + ToString(first->shape()));
      }
      if (tensor.dtype() != first->dtype()) {
        return Disagree(item.name, checkpoints[0], checkpoints[i], "dtype " + std::string(Name(first->dtype())));
      }
      parts.push_back(tensor);
    }
    if (IsFloating(first->dtype())) {
      ANEMONE_ASSIGN(Tensor mean, Tensor::Average(std::move(parts)));
      ANEMONE_TRY(result.Add(item.name, std::move(mean)));
      continue;
    }
    ANEMONE_ASSIGN(Tensor kept, AverageIntegers(item.name, parts, checkpoints, summed));
    ANEMONE_TRY(result.Add(item.name, std::move(kept)));
  }
  for (size_t i = 1; i < states.size(); ++i) {
    for (const StateDict::Item& item : states[i]->items()) {
      if (item.tensor() != nullptr && states.front()->Find(item.name) == nullptr) {
        return Disagree(item.name, checkpoints[i], checkpoints[0], "the tensor");
      }
    }
  }
  return result;
}

}  // namespace

Result<Checkpoint> AverageCheckpoints(const std::vector<Checkpoint>& checkpoints) {
  if (checkpoints.size() < 2) return InvalidArgument("expected two checkpoints or more to average");
  const Checkpoint& first = checkpoints.front();
  for (const Checkpoint& other : checkpoints) {
    if (other.layout != first.layout || other.shards.size() != first.shards.size()) {
      return InvalidArgument(fmt::format("expected one layout, found {} in {} and {} in {}", LayoutText(first.layout),
                                         first.path, LayoutText(other.layout), other.path),
                             "reshard them to one layout first");
    }
  }
  Checkpoint result = first;
  std::vector<std::string> summed;
  for (size_t rank = 0; rank < first.shards.size(); ++rank) {
    Shard& shard = result.shards[rank];
    shard.training.reset();
    std::vector<const StateDict*> states;
    states.reserve(checkpoints.size());
    for (const Checkpoint& checkpoint : checkpoints) states.push_back(&checkpoint.shards[rank].weights);
    ANEMONE_ASSIGN(shard.weights, AverageStates(states, checkpoints, &summed));
    for (size_t chunk = 0; chunk < shard.chunks.size(); ++chunk) {
      states.clear();
      for (const Checkpoint& checkpoint : checkpoints) {
        if (checkpoint.shards[rank].chunks.size() != shard.chunks.size()) {
          return InvalidArgument("expected as many pipeline chunks in " + checkpoint.path + " as in " + first.path);
        }
        states.push_back(&checkpoint.shards[rank].chunks[chunk]);
      }
      ANEMONE_ASSIGN(shard.chunks[chunk], AverageStates(states, checkpoints, &summed));
    }
  }
  if (!summed.empty()) {
    result.notes.push_back(fmt::format("{}{}: integers are added up, not averaged, as NeMo's script does", summed[0],
                                       summed.size() > 1 ? fmt::format(" and {} more", summed.size() - 1) : ""));
  }
  return result;
}

}  // namespace anemone
