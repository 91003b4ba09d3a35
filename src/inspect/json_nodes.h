// What several commands say in JSON, in the same words.
#ifndef ANEMONE_INSPECT_JSON_NODES_H_
#define ANEMONE_INSPECT_JSON_NODES_H_

#include <cstdint>
#include <span>
#include <vector>

#include "anemone/check.h"
#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "inspect/summary.h"

namespace anemone {

ConfigNode SizesNode(std::span<const uint64_t> values);
// {tp, pp, vp}, and ep where it is not 1.
ConfigNode LayoutNode(const Layout& layout);
// Each artifact's name and bytes.
ConfigNode ArtifactsNode(const Checkpoint& checkpoint);
// name, kind, first, second, elements; how far apart they are, each caller says in its own way.
ConfigNode TensorDifferenceNode(const TensorDifference& difference);
ConfigNode TextDifferencesNode(const std::vector<TextDifference>& differences);
// equal, tensors_compared, tensors with how far apart they are, config, artifacts.
ConfigNode DifferenceNode(const Difference& difference);
// Adds tensors, parameters, bytes to a map.
void AddAmount(const Summary::Amount& amount, ConfigNode* map);
// {"image tower": {"tensors", "parameters", "bytes", "from"?}, …}.
ConfigNode PartsNode(const Summary& summary);

}  // namespace anemone

#endif  // ANEMONE_INSPECT_JSON_NODES_H_
