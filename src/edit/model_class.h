// Which of NeMo's model classes a checkpoint is.
#ifndef ANEMONE_EDIT_MODEL_CLASS_H_
#define ANEMONE_EDIT_MODEL_CLASS_H_

#include "anemone/checkpoint.h"
#include "anemone/model.h"

namespace anemone {

struct Family;

// By its config's `target`; without one, by its weights' family. Nullptr when neither is known.
const ModelClass* ModelClassOf(const Checkpoint& checkpoint);
// The family whose tables hold for its weights; nullptr where none does, as for a class that only contains one (a
// content filter's CLIP). `foreign` as DetectFamily.
const Family* FamilyOf(const Checkpoint& checkpoint, std::string* foreign = nullptr);

}  // namespace anemone

#endif  // ANEMONE_EDIT_MODEL_CLASS_H_
