// A table that somebody wrote in YAML, for a Megatron model whose family anemone does not know.
//
//   prefixes: ["model."]
//   rows:                           # in the order the writer stores them
//   - {name: embedding.word_embeddings.weight, split: vocabulary, stage: first}
//   - {name: "layers.{i}.mlp.linear_fc1.weight", split: columns}
//   - {name: "layers.{i}.mlp.linear_fc2.weight", split: rows}
//   - {name: "layers.{i}.self_attention._extra_state", opaque: true}
//   - {name: final_norm.weight, stage: last}
//
// split: replicated (the default), columns, rows, vocabulary, "gate and up". stage: its layer's for names with {i};
// else every (the default), first, last.
#ifndef ANEMONE_FAMILY_USER_TABLE_H_
#define ANEMONE_FAMILY_USER_TABLE_H_

#include <memory>
#include <string>

#include "anemone/config.h"
#include "family/family.h"

namespace anemone {

// A family of one dialect, "user", without canonical names: it can be merged and split, not translated.
// Errors: Corrupt naming the row; as CheckTable for names that two rows match.
Result<std::shared_ptr<const Family>> ParseUserTable(const Config& table);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_USER_TABLE_H_
