// Pickled OmegaConf nodes, and plain Python data, as a config tree, and the tree as pickled nodes [omegaconf/base.py
// Node.__getstate__, omegaconf/basecontainer.py; the shapes: docs/formats/pytorch.md].
#ifndef ANEMONE_FORMAT_TORCH_OMEGACONF_H_
#define ANEMONE_FORMAT_TORCH_OMEGACONF_H_

#include <string>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

// Converts an OmegaConf DictConfig / plain dict value (Lightning's hyper_parameters) to a config tree, interpolations
// as text. Errors: Unsupported for a value that is no plain data; with `left_out`, such a value below the top is left
// out and named there (null in a list).
Result<ConfigNode> ToConfigNode(const Value& value, std::vector<std::string>* left_out = nullptr);
// The reverse: a DictConfig, ListConfig or AnyNode as OmegaConf 2.1 to 2.4 pickles it. `config` is no null map.
ValueRef ToOmegaConf(const ConfigNode& config, ValueGraph& graph);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_OMEGACONF_H_
