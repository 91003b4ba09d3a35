// A model family as data: canonical tensors, and for each dialect the rows that say how it spells them.
//
// A dialect's rows stand in the order its own writer stores them, so a row is also a place in the file. Everything else
// is derived: conversion both ways, missing and unexpected names, shape checks, tensor and pipeline splits
// (src/parallel), the family's documentation page. The engine holds no names; a family holds no code that moves
// tensors.
//
// Contents:  Split, Stage, Role, CanonicalRow, StoredRow, Dialect; ForTower, ForPlaces, Join.
// Threads:   tables are built once and never change.
#ifndef ANEMONE_SCHEMA_TABLE_H_
#define ANEMONE_SCHEMA_TABLE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/status.h"
#include "config/language.h"
#include "schema/symbols.h"
#include "schema/transform.h"

namespace anemone {

// How a stored tensor is divided over tensor-parallel ranks.
enum class Split : uint8_t {
  kReplicated,  // N: bit-identical on every rank
  kColumns,     // C0: rows of axis 0 in equal blocks (column-parallel in Megatron's words)
  kRows,        // R1: axis 1 in equal blocks
  kVocab,       // V0: rows of the padded vocabulary in equal blocks
  kQkv,         // Q: kColumns on whole heads; q, k and v each on their own where the tower is "qkv_stacked"
  kKeyValue,    // the same of [k; v]
  kGlu,         // G: [gate; up], each half in blocks, where the flag "glu" is set; else kColumns
  // A row that holds all of a rank's experts, one after the other (kGroupedExperts).
  kExpertColumns,  // kGlu of each expert's last axis
  kExpertRows,     // kRows of each expert
};

// Which pipeline stage stores it.
enum class Stage : uint8_t {
  kLayer,     // the stage of its layer
  kFirst,     // the first stage of its tower
  kLast,      // the last stage of its tower
  kEvery,     // every stage has a copy
  kTiedCopy,  // the tower's last stage has a copy of what its first stage holds; not stored where they are the same
};

// What a stored name is.
enum class Role : uint8_t {
  kTensor,      // a canonical tensor, or a part of one
  kExtraState,  // no tensor: Transformer Engine's `_extra_state`
  kDrop,        // read and left out; `why` says why
  kDropZeros,   // the same, but only zeros may be left out; anything else is refused with `why`
  kDropCount,   // the same, but only 0, 1, 2, … may be left out
  kDropCopy,    // the same, but only what equals the canonical tensor, stored under its own name
  kCopy,        // read as kDropCopy, and written: the canonical tensor is stored under this name, too
};

struct CanonicalRow {
  std::string name = {};   // "{T}.layers.{i}.mlp.up.weight"
  std::string shape = {};  // sums and products of symbols: "{T}.ffn, {T}.width"
  std::string when = {};   // the condition under which a model has it; may speak of layers' flags, of a row with {i}
  std::string tower = {};  // set by ForTower
  // The canonical row whose tensor this is too, in models where `tied` holds: a state dict lists the tensor under both
  // names, an optimizer once.
  std::string copy_of = {};
  std::string tied = {};
  // What every element is in a model whose checkpoint lacks the tensor, said in a note with `why`. A dialect need not
  // spell such a row; then nothing else may be left out.
  std::optional<double> made = {};
  std::string why = {};
  bool is_idle = false;  // nothing is computed with it: a dialect that does not spell it leaves it out, whatever it is
  // What it is equal to in models for which `when` does not hold: a translation from one such model to another copies
  // it, or leaves it out once both are found to be the same.
  std::string equal_to = {};
  // The flag of models that store the weight of a norm less one: a translation to one of the other kind adds or takes
  // away 1.
  std::string centered = {};
};

struct StoredRow {
  std::string name = {};
  std::string canonical = {};  // the canonical row's name; empty for what is no canonical tensor
  const Transform* transform = &kSame;
  Role role = Role::kTensor;
  Split split = Split::kReplicated;
  Stage stage = Stage::kEvery;
  std::string when = {};  // the condition under which it is written; kReadOnly: accepted, never written
  std::string why = {};
  std::string shape = {};  // kReshape: as it is stored
  std::string tower = {};
  // The condition under which the row exists at all: the same name may mean one thing in models where it holds and
  // another where it does not (a row with the opposite condition). Of whole models, not of single layers.
  std::string only = {};
  std::string parts = {};  // kStack of unequal parts: rows of each word, "heads*head_dim | groups*head_dim"
  // The size that a stored name's {i} begins with; empty: 0. "layers" where a tower's layers are counted behind those
  // of another: such a name is this row's, and not the other tower's, from that number on.
  std::string first_layer = {};
};

// A name that is read and dropped, as its tensor is stored under another one, too.
StoredRow CopyOf(std::string name, std::string_view canonical, std::string_view only = "");

// Rows with every "{T}" replaced by `tower`; `words` gives other replacements ("{P}" → …). In a model without towers
// "{T}.width" is "width".
using Words = std::vector<std::pair<std::string, std::string>>;
std::string TowerText(std::string_view tower, std::string text);
std::vector<Symbol> ForTower(std::string_view tower, std::vector<Symbol> symbols);
std::vector<CanonicalRow> ForTower(std::string_view tower, std::vector<CanonicalRow> rows, const Words& words = {});
std::vector<StoredRow> ForTower(std::string_view tower, std::vector<StoredRow> rows, const Words& words = {});

// Rows repeated over named places, all rows of a place before those of the next: {"{S}", "input_blocks.1.1"} of one
// place, {"{S}", "input_blocks.2.1"} of another.
std::vector<CanonicalRow> ForPlaces(const std::vector<Words>& places, const std::vector<CanonicalRow>& rows);
std::vector<StoredRow> ForPlaces(const std::vector<Words>& places, const std::vector<StoredRow>& rows);

template <typename Row>
std::vector<Row> Join(std::vector<std::vector<Row>> parts) {
  std::vector<Row> all;
  for (auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// What a name may lack at its beginning, in models for which `when` holds.
struct OmittedPrefix {
  std::string prefix;
  std::string when;
};

struct Dialect {
  std::string name;                   // "hf", "mcore"
  std::string title;                  // "Hugging Face transformers"
  std::vector<std::string> prefixes;  // accepted before every name; the first is written
  std::vector<StoredRow> rows;
  bool is_megatron = false;  // has splits and stages
  std::vector<OmittedPrefix> omitted = {};
  // Flags, with commas, of models that have no such dialect: it spells none of what they alone have.
  std::string never = {};
  // Of the config that goes with such names; of Megatron's, none means NeMo 1's.
  ConfigLanguage language = ConfigLanguage::kNone;
  bool is_read_only = false;  // nobody loads it any more: what is stored so is written in another
};

// Whether its names are Megatron-core's, however the parts around a language model are spelled.
inline bool IsMegatronCore(const Dialect& dialect) { return dialect.is_megatron && dialect.name.starts_with("mcore"); }
ConfigLanguage LanguageOf(const Dialect& dialect);
// True where every rank holds all of it.
bool IsReplicated(const Dialect& dialect);

// Calls `visit(row index, layer)` for every row and layer in the order a dialect stores them: rows with a layer number
// that follow each other repeat together. `layers(tower)` says how many. Stops at the first failure.
Status ForEachStored(const Dialect& dialect, const std::function<uint64_t(const std::string& tower)>& layers,
                     const std::function<Status(size_t row, uint64_t layer)>& visit);
// The same of canonical rows.
Status ForEachCanonical(const std::vector<CanonicalRow>& rows,
                        const std::function<Result<uint64_t>(const std::string& tower)>& layers,
                        const std::function<Status(size_t row, uint64_t layer)>& visit);
// Calls `visit(name, shape)` for every canonical tensor of a model of these sizes, in the same order.
Status ForEachTensor(const std::vector<CanonicalRow>& rows, const ModelSymbols& symbols,
                     const std::function<Status(std::string name, const Shape& shape)>& visit);

// "x & y" of two conditions, either of which may be empty.
std::string Both(std::string_view a, std::string_view b);

std::string_view Name(Split split);
std::string_view Name(Stage stage);

}  // namespace anemone

#endif  // ANEMONE_SCHEMA_TABLE_H_
