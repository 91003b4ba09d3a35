// Weights split over files by an index: model.safetensors.index.json, pytorch_model.bin.index.json.
// Rules and ids (HF-n): docs/formats/huggingface.md.
#ifndef ANEMONE_FORMAT_HUGGINGFACE_SHARDS_H_
#define ANEMONE_FORMAT_HUGGINGFACE_SHARDS_H_

#include <string>
#include <string_view>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "base/location.h"

namespace anemone {

// Errors: InvalidArgument for a checkpoint of several ranks, or of one in chunks.
Status CheckUnsharded(const Checkpoint& checkpoint);

// True for the first bytes of an index: a JSON object with a weight_map.
bool LooksLikeWeightIndex(std::string_view head);
// Among indexes: true when the files it names first are torch files.
bool IndexNamesTorchFiles(std::string_view head);

// "model-00001-of-00003.safetensors": "model.safetensors.index.json". Empty for the name of no shard.
std::string IndexOfShard(std::string_view name);

// Reads the index at `place` and every file it names, which lie beside it. Tensors come in the order of the files'
// names, and within a file as it holds them. Adds to checkpoint.notes and .metadata. Errors: Corrupt (no weight_map,
// unsafe file names, a tensor the index names and its file lacks, a name in two files), NotFound (a file is missing:
// all are named).
Result<StateDict> ReadIndexedWeights(const Location& place, Checkpoint& checkpoint, std::string_view key = {});

// Reads one weights file, safetensors or torch, by its content. One of very many does not stay open. Errors name the
// path.
Result<StateDict> ReadWeightsFile(const Location& place, Checkpoint& checkpoint, std::string_view key = {},
                                  bool stays_open = true);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_HUGGINGFACE_SHARDS_H_
