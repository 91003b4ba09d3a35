// A checkpoint's config, and the files it refers to, in the words of NeMo 1 and of NeMo 2 (nemo2_config.h).
#ifndef ANEMONE_FAMILY_NEMO2_CHECKPOINT_H_
#define ANEMONE_FAMILY_NEMO2_CHECKPOINT_H_

#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"
#include "family/words/nemo2_config.h"

namespace anemone {

// Whether NeMo 1 has words, and a model, for what a config says. Errors: Unsupported naming the key.
Status CheckNemo1Words(const Config& config);

// ToNemo1Config of the checkpoint's config, with what a config.json that came along says of a LLaVA's image tower: NeMo
// 2's config names it. REQUIRES: the config is NeMo 2's.
Result<ConfigNode> Nemo1ConfigOf(const Checkpoint& checkpoint);

// `config`, what ToNemo1Config made of the checkpoint's, takes its place; a SentencePiece model gets a member's name,
// and what describes the objects of the old config goes. Errors: as MemberName.
Status TakeNemo1Config(ConfigNode config, Checkpoint* checkpoint);

// NeMo 2's config in place of another: `request` need only have what the user says. `options` say which model it is, if
// that is known. Errors: as ToNemo2Config.
Status TakeNemo2Config(Nemo2Request request, const TranslateOptions& options, Checkpoint* checkpoint,
                       std::vector<std::string>* notes);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_NEMO2_CHECKPOINT_H_
