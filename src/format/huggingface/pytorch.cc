// A torch file on its own: a state dict (.bin, .pt), any trainer's dictionary, a TorchScript archive, or the index of
// several.
#include "format/format.h"
#include "format/huggingface/huggingface.h"
#include "format/huggingface/shards.h"
#include "format/lightning/lightning.h"
#include "format/recognise.h"
#include "format/torch/torch_file.h"
#include "format/torch/torch_write.h"

namespace anemone {
namespace {

Result<bool> Matches(const Probe& probe) {
  return !probe.is_directory && !internal::IsOfDistributed(probe) &&
         (LooksLikeTorchFile(probe.head) || (LooksLikeWeightIndex(probe.head) && IndexNamesTorchFiles(probe.head)));
}

Result<Checkpoint> Open(const Probe& probe) {
  if (LooksLikeTorchFile(probe.head)) {
    ANEMONE_ASSIGN(Checkpoint checkpoint, OpenTorchCheckpoint(probe.place(), probe.options));
    ANEMONE_TRY(AddFolderOf(probe.place(), checkpoint));
    return checkpoint;
  }
  Checkpoint checkpoint;
  checkpoint.flavour = "pytorch";
  checkpoint.path = probe.path;
  checkpoint.shards.resize(1);
  ANEMONE_ASSIGN(checkpoint.shards[0].weights, ReadIndexedWeights(probe.place(), checkpoint, probe.options.key));
  return checkpoint;
}

Result<Plan> LayOut(const Checkpoint& checkpoint, const LayOutOptions& options) {
  ANEMONE_TRY(CheckUnsharded(checkpoint));
  Plan plan;
  ANEMONE_ASSIGN(TorchPickle pickle, PickleState(WrittenState(checkpoint.weights(), options)));
  ANEMONE_TRY(LayOutTorchFile(std::move(pickle), "archive", plan.files.emplace_back(), ZipOptionsOf(options)));
  return plan;
}

}  // namespace

extern const Format kPytorch;
const Format kPytorch = {
    .name = "pytorch",
    .title = "torch file (.pt, .bin)",
    .extension = ".pt",
    .matches = Matches,
    .open = Open,
    .lay_out = LayOut,
    .traits = {.is_pickle = true, .has_key = true},
    .other_extensions = {".bin", ".pth"},
};

}  // namespace anemone
