// Family: the model families anemone knows, and conversion between their dialects.
//
// Adding one: a file in this folder that fills a Family, and a line in family.cc (docs/adding-a-family.md).
#ifndef ANEMONE_FAMILY_FAMILY_H_
#define ANEMONE_FAMILY_FAMILY_H_

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "family/table.h"

namespace anemone {

struct Family;

struct TranslateOptions {
  std::optional<Config> hparams = {};  // NeMo's YAML for the result; empty: derived from the source
  std::string hparams_name = {};       // for messages
  std::string preset = {};             // a size by name ("ViT-L-14"), for sources without a config
  const Family* family = nullptr;      // this one instead of the one that the names tell (a table of the user's)
  bool strict = true;                  // missing and unexpected names are errors
  bool extra_state = true;             // write `_extra_state` where the dialect has it
};

// What a translation's result is besides its tensors.
struct Target {
  ModelSymbols symbols;
  std::optional<Config> config;
  std::string config_name;
};

// Names that say a checkpoint is a relative that this family does not carry.
struct Refusal {
  std::string contains;
  std::string what;
};

struct Family {
  std::string name;
  std::string title;
  std::vector<CanonicalRow> canonical;
  std::vector<Dialect> dialects;
  std::vector<Refusal> refusals;
  // Towers that follow each other along the pipeline (an encoder, then a decoder); others lie side by side on every
  // stage.
  std::vector<std::string> tower_order = {};
  std::vector<std::string> first_stage_towers = {};  // whole on every tensor rank of the first stage
  bool has_virtual_stages = false;                   // NeMo can build it with an interleaved pipeline
  std::string pipeline_warning = {};                 // what to know before splitting it over stages
  // Sizes and flags of a checkpoint stored in `dialect`. Errors: NotFound without a config; Corrupt, Unsupported for
  // one that makes no sense or is not carried.
  Result<ModelSymbols> (*read_symbols)(const Checkpoint& checkpoint, const Dialect& dialect,
                                       const TranslateOptions& options) = nullptr;
  // The config that the result must have, and its sizes and flags. Null: the family has dialects of one spelling only,
  // and the config stays. Errors: Corrupt naming every field in which the source and `options.hparams` disagree.
  Result<Target> (*target)(const Checkpoint& source, const Dialect& from, const Dialect& to,
                           const TranslateOptions& options) = nullptr;

  const Dialect* FindDialect(std::string_view dialect) const;
};

// Every family, in the order they are tried. Lives as long as the program.
std::span<const Family* const> Families();
const Family* FindFamily(std::string_view name);

// The family most of whose names the checkpoint has; nullptr when none knows even half of them.
const Family* DetectFamily(const Checkpoint& checkpoint);
// The dialect of `family` that spells the checkpoint's names. Errors: Unsupported naming what the checkpoint is
// instead.
Result<const Dialect*> DetectDialect(const Checkpoint& checkpoint, const Family& family);
// Both at once, or an error that says what was found.
struct ModelIdentity {
  const Family* family = nullptr;
  const Dialect* dialect = nullptr;
};
Result<ModelIdentity> IdentifyModel(const Checkpoint& checkpoint, const Family* family = nullptr);

// The checkpoint with the family's canonical names and shapes, config untouched. REQUIRES one shard (else
// InvalidArgument). Errors: as Canonicalize.
Result<Checkpoint> ToCanonical(const Checkpoint& checkpoint, const TranslateOptions& options = {});
// The checkpoint in another dialect of its family, config and artifacts' names with it. To its own dialect it is
// checked and otherwise unchanged. REQUIRES one shard. Errors: InvalidArgument (no such dialect); as Canonicalize; as
// `target`.
Result<Checkpoint> Translate(const Checkpoint& checkpoint, std::string_view dialect,
                             const TranslateOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_FAMILY_FAMILY_H_
