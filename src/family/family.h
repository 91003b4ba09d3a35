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
#include "schema/matcher.h"
#include "schema/table.h"
#include "schema/translate.h"

namespace anemone {

struct Family;

struct TranslateOptions {
  std::optional<Config> hparams = {};       // NeMo's YAML for the result; empty: derived from the source
  std::string hparams_name = {};            // for messages
  std::string preset = {};                  // a size by name ("ViT-L-14"), for sources without a config
  std::string architecture = {};            // the class of transformers to write; empty: the one that the config tells
  std::optional<uint64_t> vocab_rows = {};  // of the tables in a Hugging Face model to write; empty: by evidence
  const Family* family = nullptr;           // this one instead of the one that the names tell (a table of the user's)
  const Dialect* dialect = nullptr;         // of that family; where both are given, names are not looked at again
  bool strict = true;                       // missing and unexpected names are errors
  bool extra_state = true;                  // write `_extra_state` where the dialect has it
};

// What a translation's result is besides its tensors.
struct Target {
  ModelSymbols symbols;
  std::optional<Config> config;
  std::string config_name;
  std::vector<std::string> notes = {};  // what the result computes otherwise than the source
  StateDict made = {};                  // canonical tensors that the source lacks and the result has
};

// Names that say a checkpoint is a relative that this family does not carry.
struct Refusal {
  std::string contains;
  std::string what;
};

// A part of a model that people tell apart.
struct ModelPart {
  std::string name;       // "image tower"
  std::string prefix;     // of its canonical names
  std::string from = {};  // the config key that says where it comes from in a checkpoint that leaves it out
};

struct Family {
  std::string name;
  std::string title;
  std::vector<Symbol> symbols;  // all that its tables speak of
  std::vector<CanonicalRow> canonical;
  std::vector<Dialect> dialects;
  std::vector<Refusal> refusals;
  // Towers that follow each other along the pipeline (an encoder, then a decoder); others lie side by side on every
  // stage.
  std::vector<std::string> tower_order = {};
  std::vector<std::string> first_stage_towers = {};  // whole on every tensor rank of the first stage
  std::vector<std::string> last_stage_towers = {};   // all of their layers are on the last stage
  bool has_ranks = true;                             // NeMo can build it on several tensor or pipeline ranks
  bool has_virtual_stages = false;                   // NeMo can build it with an interleaved pipeline
  std::string pipeline_warning = {};                 // what to know before splitting it over stages
  // Sets every symbol of a checkpoint stored in `dialect`. Errors: NotFound without a config; Corrupt, Unsupported for
  // one that makes no sense or is not carried.
  Status (*read_symbols)(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                         ModelSymbols* symbols) = nullptr;
  // The config that the result must have, and its sizes and flags; `symbols` are the source's. Null: the family has
  // dialects of one spelling only, and the config stays. Errors: Corrupt naming every field in which the source and
  // `options.hparams` disagree.
  Result<Target> (*target)(const Checkpoint& source, const Dialect& from, const Dialect& to,
                           const TranslateOptions& options, const ModelSymbols& symbols) = nullptr;

  // The model that a config names where it is none of this family's, though its tensors' names may be; else "".
  std::string (*foreign)(const Config& config) = nullptr;
  // The dialect that a config tells, among those that spell the same names; "": none. Null: no two do.
  std::string_view (*dialect_of)(const Config& config) = nullptr;

  // In which of the dialects with configs of `language` a model is written, where there are several. Null: the first
  // whose `never` names nothing that the model has.
  Result<const Dialect*> (*choose_dialect)(const Checkpoint& source, const TranslateOptions& options,
                                           ConfigLanguage language) = nullptr;
  // Adds what a result in another dialect needs beside its tensors and its config: tokenizer and preprocessor files, a
  // generation config. `language` is that of the config to come. Null: nothing.
  Status (*complete)(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                     Checkpoint* result) = nullptr;

  // The name that a model of such sizes is published by; "": none. Null: the family's name says it.
  std::string_view (*published_as)(const ModelSymbols& symbols) = nullptr;

  // Where the parts are that such a checkpoint leaves out, by its config: a path or a hub's name; "": it leaves out
  // none, or does not say. Null: the family has no such parts.
  std::string (*parts_elsewhere)(const Checkpoint& checkpoint) = nullptr;
  // Puts into the checkpoint's config what only the config of such a donor says of parts that are stored. False:
  // nothing is. Errors: as Translate.
  Result<bool> (*tell_parts)(const Checkpoint& donor, Checkpoint* checkpoint) = nullptr;
  // Puts them among the checkpoint's own, from a checkpoint that has them. Errors: NotFound, Unsupported when it has
  // not; as Translate.
  Status (*take_parts)(const Checkpoint& donor, Checkpoint* checkpoint) = nullptr;

  // Each canonical name belongs to the first whose prefix it has. Empty: such models are one.
  std::vector<ModelPart> parts = {};

  // Sizes that stand for a config by name ("ViT-L-14"): those it has, and whether it knows one under any spelling.
  std::vector<std::string_view> (*presets)() = nullptr;
  bool (*has_preset)(std::string_view name) = nullptr;

  const Dialect* FindDialect(std::string_view dialect) const;
  // The symbols of a checkpoint stored in `dialect`, all of them set. Errors: as read_symbols; LimitExceeded for
  // numbers of layers or experts out of all proportion to the checkpoint; Internal for one that it leaves out.
  Result<ModelSymbols> SymbolsOf(const Checkpoint& checkpoint, const Dialect& dialect,
                                 const TranslateOptions& options) const;
};

// Every family, in the order they are tried. Lives as long as the program.
std::vector<const Family*> Families();
const Family* FindFamily(std::string_view name);
// One more, tried after the others. Not thread-safe: before anything else is asked. The family must live as long as the
// program.
void RegisterFamily(const Family& family);

// The family most of whose names the checkpoint has; nullptr when none knows even half of them, or when the config says
// that it is another model: `foreign` becomes its name. Every command goes by this rule.
const Family* DetectFamily(const Checkpoint& checkpoint, std::string* foreign = nullptr);
// The kind of weights that a library has stored in place of a model's own: "quantized weights (MLX's)". Empty where no
// name tells one. To be asked where no family is detected.
std::string StoredAs(const Checkpoint& checkpoint);
// The dialect of `family` that spells the checkpoint's names. Errors: Unsupported naming what the checkpoint is
// instead.
Result<const Dialect*> DetectDialect(const Checkpoint& checkpoint, const Family& family);
// Both at once, or an error that says what was found.
struct ModelIdentity {
  const Family* family = nullptr;
  const Dialect* dialect = nullptr;
};
Result<ModelIdentity> IdentifyModel(const Checkpoint& checkpoint, const Family* family = nullptr);
// The dialect in which such a model is written with a config of `language`; its own where that goes with one. Nullptr
// when its family has none. Errors: as SymbolsOf, where several do.
Result<const Dialect*> DialectFor(const Checkpoint& checkpoint, const ModelIdentity& model, ConfigLanguage language,
                                  const TranslateOptions& options);
// False where a model has what the dialect never has.
Result<bool> CanSpell(const Dialect& dialect, const ModelSymbols& symbols);
// What `options` say of both, or else the names.
Result<ModelIdentity> IdentifyModel(const Checkpoint& checkpoint, const TranslateOptions& options);

// All that the tables say of one checkpoint: found once and passed on.
struct ResolvedModel {
  const Family* family = nullptr;
  const Dialect* dialect = nullptr;
  std::string prefix;    // of its names, or of its first shard's
  ModelSymbols symbols;  // its sizes and flags
  NameMatcher names;     // its dialect's rows, those that such a model has
};
// The model that `options` name, or that the checkpoint's names tell. Errors: as IdentifyModel and Family::SymbolsOf.
Result<ResolvedModel> ResolveModel(const Checkpoint& checkpoint, const TranslateOptions& options = {});
// The same of a model that is known.
Result<ResolvedModel> ResolveModel(const Checkpoint& checkpoint, const ModelIdentity& identity, ModelSymbols symbols);

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
