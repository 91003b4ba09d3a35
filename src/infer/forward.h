// DiffForward: whether two CLIPs compute the same, layer by layer. What names, shapes and values cannot show: a flipped
// head, another activation, another norm's epsilon.
#ifndef ANEMONE_INFER_FORWARD_H_
#define ANEMONE_INFER_FORWARD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/convert.h"
#include "anemone/dtype.h"
#include "anemone/progress.h"
#include "anemone/status.h"
#include "infer/clip_source.h"

namespace anemone {

struct ForwardOptions {
  std::vector<std::string> images;  // files; empty: a built-in picture of noise
  std::vector<std::string> texts;   // empty: built-in token ids that fill every position
  // The largest difference that still counts as the same, relative to a layer's largest value. Empty: what the coarser
  // of the two models' dtypes allows (fp32 1e-5, fp16 2e-2, bf16 1e-1; dtypes that agree: 1e-5).
  std::optional<double> tolerance;
  std::optional<DType> round_first;  // the first model's weights are rounded to this dtype before they are used
  ClipLoad first, second;            // for models without a config
  int threads = 0;
  ProgressFn progress = {};
};

struct LayerDifference {
  std::string name;     // "vision.pixels", "vision.embeddings", "vision.layers.0", …, "vision.features", "text.…",
                        // "logit_scale", "logit_bias"; "vision" or "text" where one model lacks the tower
  std::string detail;   // why there is no number: sizes that disagree; empty otherwise
  double max_abs = 0;   // the largest |first - second|; infinite with a detail, and where either is no finite number
  double relative = 0;  // divided by the largest |first|
};

struct ForwardDifference {
  std::vector<LayerDifference> layers;  // in the order of computation
  double tolerance = 0;
  // nullptr when every layer is within the tolerance. The towers are independent: a text layer beyond it is named only
  // where no vision layer is.
  const LayerDifference* first_divergence() const;
};

// Runs both through the fp32 encoders on the same pixels and token ids (the first's; a tokenizer or a preprocessing
// that gives others is a difference of its own). Errors: as LoadClip, naming the checkpoint; as reading pictures.
Result<ForwardDifference> DiffForward(const Checkpoint& first, const Checkpoint& second, const ForwardOptions& options);

// The same for a conversion that has been run: its source beside what was written, the source's weights rounded to
// `convert.dtype` first. `options` says pictures, texts, tolerance and threads. Errors: as DiffForward, as reading DST.
Result<ForwardDifference> CheckConversion(const Conversion& conversion, const ConvertOptions& convert,
                                          ForwardOptions options);
// Whether that is possible, to be asked before anything is written. Errors: as LoadClip.
Status CanCheck(const Conversion& conversion, const ConvertOptions& convert);

}  // namespace anemone

#endif  // ANEMONE_INFER_FORWARD_H_
