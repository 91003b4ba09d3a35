// CLIP's public BPE vocabulary, built in: a .nemo as NeMo writes it has no tokenizer files, only a type that every
// OpenAI and LAION CLIP shares. 49,408 entries; MIT licence, © 2021 OpenAI (models/demo-clip/NOTICE).
#ifndef ANEMONE_FAMILY_CLIP_CLIP_VOCABULARY_H_
#define ANEMONE_FAMILY_CLIP_CLIP_VOCABULARY_H_

#include <string>
#include <string_view>

namespace anemone {

// The contents of merges.txt.
std::string_view ClipMerges();
// The contents of vocab.json, derived: 256 byte symbols, the same with "</w>", one entry a merge, two special tokens.
std::string ClipVocabJson();

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CLIP_VOCABULARY_H_
