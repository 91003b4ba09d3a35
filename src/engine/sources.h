// SourcesOf: the files, and whatever else, that bytes are read from.
#ifndef ANEMONE_ENGINE_SOURCES_H_
#define ANEMONE_ENGINE_SOURCES_H_

#include <vector>

#include "anemone/bytes.h"
#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/tensor.h"
#include "base/pointer_set.h"
#include "engine/plan.h"

namespace anemone {

// Collects sources, each once. Those live as long as what was added.
class Sources {
 public:
  void Add(const ByteSourcePtr& source);
  void Add(const Tensor& tensor);
  void Add(const PlanFile& file);
  void Add(const Checkpoint& checkpoint);  // its tensors and artifacts
  const std::vector<const ByteSource*>& all() const { return all_; }
  // Errors: as ByteSource::CheckUnchanged, for the first that has changed since it was opened.
  Status CheckUnchanged() const;

 private:
  std::vector<const ByteSource*> all_;
  PointerSet seen_;  // sources, and the inner nodes of tensors
};

std::vector<const ByteSource*> SourcesOf(const Plan& plan);

// To be called once a checkpoint's tensors and artifacts were read. Errors: as Sources::CheckUnchanged.
Status CheckUnchanged(const Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_SOURCES_H_
