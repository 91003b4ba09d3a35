// Summary: what a checkpoint is, in the words `inspect` prints.
#ifndef ANEMONE_INSPECT_SUMMARY_H_
#define ANEMONE_INSPECT_SUMMARY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

struct Summary {
  struct Amount {
    uint64_t tensors = 0;
    uint64_t elements = 0;
    uint64_t bytes = 0;

    void Add(const Tensor& tensor);
  };
  // One part of a model that its family tells apart.
  struct Part {
    std::string name;
    Amount amount;
    std::string from;  // where a part that is not stored comes from: "key: value" of the config
  };
  ModelIdentity model;  // what tables know it; null where none does
  // The model that the config names, where the names of tensors are a known family's and it is not.
  std::string foreign;
  std::string stored_as;  // StoredAs, where no table knows the names
  Amount weights;         // as stored: what several ranks have counts once for each
  std::map<DType, Amount> by_dtype;
  std::vector<Part> parts;          // those that its family tells apart; empty: it is one
  uint64_t opaque = 0;              // entries that are no tensors: `_extra_state`
  bool has_training_state = false;  // an optimizer, schedulers, steps already taken

  std::string family() const;   // "clip"; empty when no table knows it
  std::string dialect() const;  // "mcore"; empty likewise
};

Summary Summarize(const Checkpoint& checkpoint);

// The model that the ranks are together: what several of them store counts once.
struct WholeModel {
  Summary::Amount weights;
  std::map<DType, Summary::Amount> by_dtype;
  std::optional<Checkpoint> skeleton;  // MergedSkeleton
  Status misfit;  // why the ranks do not fit together; all of them are counted then. One rank alone misfits nothing.
};
// Reads no weights. A checkpoint that no table knows is counted as it is stored.
// Errors: as reading.
Result<WholeModel> WholeModelOf(const Checkpoint& checkpoint);
// "projector": the parts that are stored, where others are not; else "".
std::string PartsAlone(const Summary& summary);

}  // namespace anemone

#endif  // ANEMONE_INSPECT_SUMMARY_H_
