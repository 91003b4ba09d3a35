// context/io.json of a NeMo 2 folder: the object graph that NeMo's `io.load_context` builds, in Fiddle's JSON.
#ifndef ANEMONE_FORMAT_NEMO_NEMO2_IO_H_
#define ANEMONE_FORMAT_NEMO_NEMO2_IO_H_

#include <string>

#include "anemone/config.h"

namespace anemone {

// The io.json that belongs to a model.yaml: a TrainerContext of that model and the least of a trainer [NeMo v2.0.0
// nemo/lightning/io/pl.py; fiddle/_src/experimental/serialization.py]. Maps with `_target_` are objects, with `_call_:
// false` names; other maps must be empty, lists are written as they stand.
std::string MakeIoJson(const ConfigNode& model_yaml);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_NEMO_NEMO2_IO_H_
