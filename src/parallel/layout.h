// Which layers lie on which pipeline stage, and whether a model can be divided at all.
#ifndef ANEMONE_PARALLEL_LAYOUT_H_
#define ANEMONE_PARALLEL_LAYOUT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// Layers [begin, end) of a tower.
struct LayerRange {
  uint64_t begin = 0, end = 0;
  uint64_t size() const { return end - begin; }
};

// One entry per piece of the pipeline in the order data flows: chunk-major, stage-minor (pp * vp entries). Megatron
// divides evenly, but for `first_pipeline_num_layers` and `last_pipeline_num_layers` of a Megatron-core tower's config,
// where the stages between share the rest [megatron/core/transformer/transformer_block.py]. Errors: InvalidArgument
// naming the tower, the counts and the sizes that would do.
Result<std::vector<LayerRange>> DivideLayers(uint64_t layers, const Layout& layout, const ConfigNode* tower_config,
                                             const std::string& tower);

// Every tower's layers on every piece. Towers that follow each other share the stages out as
// `pipeline_model_parallel_split_rank` says (without it, half and half as NeMo does); the others lie on all. Errors: as
// DivideLayers.
using PipelineRanges = std::map<std::string, std::vector<LayerRange>>;
Result<PipelineRanges> DividePipeline(const ResolvedModel& model, const Layout& layout, const Config* config);
// The pieces that a tower's layers begin and end on.
struct Span {
  size_t first = 0, last = 0;
};
Span SpanOf(const PipelineRanges& ranges, const std::string& tower, size_t pieces);

// The place of pipeline piece `index` in that order.
struct PipelinePlace {
  int stage = 0, chunk = 0, expert = 0;  // of the expert ranks there, the first
};
inline PipelinePlace PlaceOf(size_t index, const Layout& layout) {
  return {static_cast<int>(index % static_cast<size_t>(layout.pp)),
          static_cast<int>(index / static_cast<size_t>(layout.pp))};
}

size_t NumRanks(const Layout& layout);  // of tensors, experts and stages
// Where a rank's shard is among them, in the order of Checkpoint::shards.
size_t ShardIndex(const Layout& layout, PipelinePlace place, int tp_rank);

// The towers a dialect's rows name ("vision", "text"; "" for a family without).
std::vector<std::string> TowersOf(const Dialect& dialect);

// How many pieces along the split axis move on their own: 3 for stacked q, k, v and 2 for stacked k, v or gate and up;
// otherwise 1. 0 for replicated tensors. Errors: Internal for a flag that the family did not set.
Result<size_t> Sections(const StoredRow& row, const ModelSymbols& symbols);
// The axis a split cuts: of the matrix, or where one row holds several experts' of the cube that they are.
size_t AxisOf(Split split);
inline bool HoldsExperts(Split split) { return split == Split::kExpertColumns || split == Split::kExpertRows; }
// The shape of a row's tensor on one rank, given the whole one's.
Result<Shape> SliceShape(const StoredRow& row, const ModelSymbols& symbols, const Layout& layout, const Shape& whole);
// Of a model whose family has a mixture of experts; 0 of any other.
Result<uint64_t> NumExperts(const ModelSymbols& symbols);

// Writes the layout into a NeMo config (of NeMo 2: into its `config`) as NeMo's own tool does.
Status SetLayout(const Layout& layout, Config* config);
// The same of towers that follow each other: NeMo demands a split above 0 on several stages and has 0 on one.
void SetSplitRank(const Layout& layout, Config* config);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_LAYOUT_H_
