// Report: everything `report` shows of one checkpoint or of two, as data for a page.
#ifndef ANEMONE_INSPECT_REPORT_H_
#define ANEMONE_INSPECT_REPORT_H_

#include <functional>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"
#include "config/json_stream.h"

namespace anemone {

struct ReportOptions {
  bool statistics = false;  // read all weights: statistics and histograms
  unsigned threads = 0;     // of that pass; 0: as many as the machine has cores
  ProgressFn progress = {};
  std::function<Result<std::vector<std::string>>(const Checkpoint&)> next = {};  // commands that a reader may run
};

// Adds to an open map "checkpoints": [one or two of
//     {"path", "flavour", "format", "family", "dialect", "layout": {"tp", "pp", "vp"}, "parameters", "bytes", "dtypes":
//      [{"dtype", "tensors", "parameters", "bytes"}], "opaque", "training", "parts"? (as inspect has them),
//      "config" (YAML text or null), "config_name", "artifacts": [{"name", "bytes"}], "metadata", "notes",
//      "origin": {name: text}, "scan": {"inert", "findings", "first"} or null,
//      "tensors": [{"name", "dtype", "shape", "bytes", "statistics"?}]   (merged over ranks where they can be)
//      "ranks": [{"tp", "pp", "tensors", "parameters", "bytes", "holds": ["vision_model.layers 0–11", …]}],
//      "next"?: [commands]}],
//  "difference"?: {"compared", "canonical", "tensors": [{"name", "kind", "first", "second", "of", "elements",
//      "max_abs"}], "config": [{"path", "first", "second"}], "artifacts": […]}
// Numbers that JSON has no word for (NaN, infinities) are strings. Two checkpoints are compared as they are stored
// where names and layouts agree, else by their family's own names. Errors: as reading; of a comparison, as Canonical.
Status DescribeForReport(const std::vector<const Checkpoint*>& checkpoints, const ReportOptions& options,
                         JsonStream& map);

}  // namespace anemone

#endif  // ANEMONE_INSPECT_REPORT_H_
