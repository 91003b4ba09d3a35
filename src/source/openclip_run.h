// What an OpenCLIP training says of its model: its checkpoints hold weights alone, its arguments lie in params.txt.
#ifndef ANEMONE_SOURCE_OPENCLIP_RUN_H_
#define ANEMONE_SOURCE_OPENCLIP_RUN_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// Gives a checkpoint that has no config the one that params.txt names, in the words of open_clip_config.json; the file
// lies beside `checkpoints/epoch_N.pt`'s folder, or beside the checkpoint. A model that is known by no name is told in
// the notes. Errors: Corrupt (arguments that make no sense), as reading the file.
Status AddConfigOfOpenClipRun(Checkpoint* checkpoint);

}  // namespace anemone

#endif  // ANEMONE_SOURCE_OPENCLIP_RUN_H_
