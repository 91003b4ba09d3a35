#include "ops/average.h"

#include <fmt/format.h>

#include "ops/rewrite.h"

namespace anemone {
namespace {

Status Disagree(const std::string& name, const Checkpoint& first, const Checkpoint& other, const std::string& what) {
  return InvalidArgument(fmt::format("{}: expected {} in {} as in {}", name, what, other.path, first.path),
                         "only checkpoints of one model and layout can be averaged");
}

Result<StateDict> AverageStates(const std::vector<const StateDict*>& states,
                                const std::vector<Checkpoint>& checkpoints) {
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
    ANEMONE_ASSIGN(const std::string bytes, first->Read());
    for (size_t i = 1; i < parts.size(); ++i) {
      ANEMONE_ASSIGN(const std::string other, parts[i].Read());
      if (other != bytes) return Disagree(item.name, checkpoints[0], checkpoints[i], "equal integers");
    }
    ANEMONE_TRY(result.Add(item.name, *first));
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
      return InvalidArgument(
          fmt::format("expected one layout, found TP {} × PP {} in {} and TP {} × PP {} in {}", first.layout.tp,
                      first.layout.pp, first.path, other.layout.tp, other.layout.pp, other.path),
          "reshard them to one layout first");
    }
  }
  Checkpoint result = first;
  for (size_t rank = 0; rank < first.shards.size(); ++rank) {
    Shard& shard = result.shards[rank];
    shard.training.reset();
    std::vector<const StateDict*> states;
    states.reserve(checkpoints.size());
    for (const Checkpoint& checkpoint : checkpoints) states.push_back(&checkpoint.shards[rank].weights);
    ANEMONE_ASSIGN(shard.weights, AverageStates(states, checkpoints));
    for (size_t chunk = 0; chunk < shard.chunks.size(); ++chunk) {
      states.clear();
      for (const Checkpoint& checkpoint : checkpoints) {
        if (checkpoint.shards[rank].chunks.size() != shard.chunks.size()) {
          return InvalidArgument("expected as many pipeline chunks in " + checkpoint.path + " as in " + first.path);
        }
        states.push_back(&checkpoint.shards[rank].chunks[chunk]);
      }
      ANEMONE_ASSIGN(shard.chunks[chunk], AverageStates(states, checkpoints));
    }
  }
  return result;
}

}  // namespace anemone
