// NeMo's own YAMLs by name: `--hparams_file=/opt/NeMo/…/megatron_clip_VIT-L-14.yaml` on a machine without NeMo.
#ifndef ANEMONE_SOURCE_NEMO_YAML_H_
#define ANEMONE_SOURCE_NEMO_YAML_H_

#include <string>

#include "anemone/convert.h"

namespace anemone {

// Where `options.hparams` names a YAML that NeMo ships and that does not exist here: takes it out of the options, puts
// in the preset of a CLIP's where no other is asked for, and answers a note. Else changes nothing and answers "".
std::string LeaveOutNemosYaml(ConvertOptions* options);

}  // namespace anemone

#endif  // ANEMONE_SOURCE_NEMO_YAML_H_
