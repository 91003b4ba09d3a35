// A model family as data: canonical tensors, and for each dialect the rows that say how it spells them.
//
// A dialect's rows stand in the order its own writer stores them, so a row is also a place in the file. Everything else
// is derived: conversion both ways, missing and unexpected names, shape checks, tensor and pipeline splits
// (src/parallel), the family's documentation page. The engine holds no names; a family holds no code that moves
// tensors.
//
// Contents:  ModelSymbols, Pattern, Op, Split, Stage, CanonicalRow, StoredRow, Dialect, NameMatcher; Canonicalize,
//            FromCanonical.
// Threads:   tables are built once and never change.
#ifndef ANEMONE_FAMILY_TABLE_H_
#define ANEMONE_FAMILY_TABLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// The named sizes and flags of one model: "vision.width", "text.heads", "learned_absolute". A flag is 0 or 1.
class ModelSymbols {
 public:
  void Set(std::string name, uint64_t value) { values_[std::move(name)] = value; }
  std::optional<uint64_t> Find(std::string_view name) const;
  // "" holds always, "x" when x is set and not 0, "!x" when it is not, "x & y" when both hold.
  bool Holds(std::string_view condition) const;
  // `key` of a tower: "text.heads"; of a model without towers: "heads". Errors: Internal when nobody set it.
  Result<uint64_t> Of(std::string_view tower, std::string_view key) const;
  // "3*vision.width, vision.width" → {3072, 1024}. "" is a scalar.
  Result<Shape> Evaluate(std::string_view shape) const;

 private:
  std::map<std::string, uint64_t, std::less<>> values_;
};

// A name with captures: "{i}" a layer number; "{q,k,v}" one of several words or "{e}" an expert's number (at most one
// such group), in order the parts of one canonical tensor. Everything else stands for itself.
class Pattern {
 public:
  struct Captures {
    std::optional<uint64_t> layer;
    size_t part = 0;
  };
  explicit Pattern(std::string_view text);
  std::optional<Captures> Match(std::string_view name) const;
  // What every name ends with that matches; empty: nothing in particular.
  std::string_view end() const;
  std::string Fill(std::optional<uint64_t> layer, size_t part) const;
  bool has_layer() const { return has_layer_; }
  bool has_experts() const { return has_experts_; }
  // How many tensors of a layer a name with this pattern stands for: its words, or the model's experts.
  size_t num_parts(const ModelSymbols& symbols) const;

 private:
  struct Piece {
    enum class Kind : uint8_t { kText, kLayer, kExpert, kWords } kind;
    std::string text;
  };
  bool MatchFrom(std::string_view name, size_t piece, Captures* captures) const;
  std::vector<Piece> pieces_;
  std::vector<std::string> words_;
  bool has_layer_ = false;
  bool has_experts_ = false;
};

// What lies between stored tensors and the canonical one. Each has a forward, an inverse and a shape rule (table.cc).
enum class Op : uint8_t {
  kSame,
  kTranspose,      // two axes swapped
  kReshape,        // axes of size 1 come and go: a class token [H] ↔ [1, 1, H], a scalar () ↔ (1)
  kStack,          // parts on top of each other along axis 0
  kInterleave,     // canonical [q; k; v] ↔ per head (or query group): its q rows, its k rows, its v rows
  kMegatronQkv,    // kInterleave, or kSame where the tower's flag "qkv_stacked" is set (`megatron_legacy: true`)
  kQueryKeyValue,  // two parts: q as it is, and k, v interleaved per head; canonical [q; k; v]
  kSideBySide,  // canonical rows, expert after expert ↔ each expert's transposed, as grouped matrix products take them
  kPadVocab,  // canonical "vocab" rows ↔ "padded_vocab" rows, the last ones zeros; any content is dropped on reading
  kPatchLinear,  // a patch projection as a linear layer, columns (row, column, channel) ↔ a convolution
  kExtraState,   // no tensor: Transformer Engine's `_extra_state`
  kDrop,         // read and left out; `why` says why
  kDropZeros,    // the same, but only zeros may be left out; anything else is refused with `why`
};

// How a stored tensor is divided over tensor-parallel ranks.
enum class Split : uint8_t {
  kReplicated,  // N: bit-identical on every rank
  kColumns,     // C0: rows of axis 0 in equal blocks (column-parallel in Megatron's words)
  kRows,        // R1: axis 1 in equal blocks
  kVocab,       // V0: rows of the padded vocabulary in equal blocks
  kQkv,         // Q: kColumns on whole heads; q, k and v each on their own where the tower is "qkv_stacked"
  kKeyValue,    // the same of [k; v]
  kGlu,         // G: [gate; up], each half in blocks, where the flag "glu" is set; else kColumns
  // A row that holds all of a rank's experts, one after the other (kSideBySide).
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

struct CanonicalRow {
  std::string name = {};   // "{T}.layers.{i}.mlp.up.weight"
  std::string shape = {};  // products of ModelSymbols: "{T}.ffn, {T}.width"
  std::string when = {};   // the ModelSymbols condition under which a model has it
  std::string tower = {};  // set by ForTower
  // The canonical row whose tensor this is too, in models where `tied` holds: a state dict lists the tensor under both
  // names, an optimizer once.
  std::string copy_of = {};
  std::string tied = {};
};

struct StoredRow {
  std::string name = {};
  std::string canonical = {};  // the canonical row's name; empty for kExtraState and drops
  Op op = Op::kSame;
  Split split = Split::kReplicated;
  Stage stage = Stage::kEvery;
  std::string when = {};  // the condition under which it is written; kReadOnly: accepted, never written
  std::string why = {};
  std::string shape = {};  // kReshape: as it is stored
  std::string tower = {};
  // The condition under which the row exists at all: the same name may mean one thing in models where it holds and
  // another where it does not (a row with the opposite condition).
  std::string only = {};
};
inline constexpr std::string_view kReadOnly = "(read only)";

// Rows with every "{T}" replaced by `tower`; `words` gives other replacements ("{P}" → …).
using Words = std::vector<std::pair<std::string, std::string>>;
std::vector<CanonicalRow> ForTower(std::string_view tower, std::vector<CanonicalRow> rows);
std::vector<StoredRow> ForTower(std::string_view tower, std::vector<StoredRow> rows, const Words& words = {});
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
  // The flag of models that have no such dialect: it spells none of what they alone have.
  std::string never = {};
};

struct CanonicalTable {
  std::vector<CanonicalRow> rows;
};

// A dialect's rows, compiled. Cheap to move; built per use (a few hundred rows at most).
class NameMatcher {
 public:
  struct Hit {
    size_t row = 0;
    Pattern::Captures captures;
  };
  // With `symbols`, rows whose `only` does not hold are left out.
  explicit NameMatcher(const Dialect& dialect, const ModelSymbols* symbols = nullptr);
  const Dialect& dialect() const { return *dialect_; }
  const StoredRow& row(size_t index) const { return dialect_->rows[index]; }
  const Pattern& pattern(size_t index) const { return patterns_[index]; }
  bool is_active(size_t index) const { return active_[index]; }
  // The row a name (without prefix) belongs to. nullopt when none does.
  std::optional<Hit> Match(std::string_view name) const;
  // The accepted prefix under which most of `names` match, and how many do.
  struct PrefixScore {
    std::string prefix;
    size_t matched = 0;
  };
  PrefixScore BestPrefix(const StateDict& weights) const;

 private:
  std::optional<Hit> MatchWhole(std::string_view name) const;

  const Dialect* dialect_;
  std::vector<std::string> omitted_;
  std::vector<Pattern> patterns_;
  std::vector<bool> active_;
  // The active rows that a name may belong to, in order, by its last two words: most names of a model begin alike.
  std::map<std::string, std::vector<size_t>, std::less<>> by_end_;
  std::vector<size_t> with_any_end_;
};

// The shapes of a row's stored parts in a model of these sizes, unsplit. Errors: Corrupt when the sizes do not fit.
Result<std::vector<Shape>> StoredShapes(const StoredRow& row, const CanonicalRow& canonical,
                                        const ModelSymbols& symbols);

// Calls `visit(row index, layer)` for every row and layer in the order a dialect stores them: rows with a layer number
// that follow each other repeat together. `layers(tower)` says how many. Stops at the first failure.
Status ForEachStored(const Dialect& dialect, const std::function<uint64_t(const std::string& tower)>& layers,
                     const std::function<Status(size_t row, uint64_t layer)>& visit);

// Stored tensors → canonical ones. Every stored name is consumed once or dropped with a reason (a line in `notes`),
// every canonical name that the model has is produced once and has its shape. Errors: Corrupt, one line naming all
// missing and unexpected names (sorted, the first few and the total) with the nearest match of each; Corrupt for a
// shape. With `strict` false only shapes are errors, the rest become notes.
Result<StateDict> Canonicalize(const StateDict& stored, const Dialect& dialect,
                               const std::vector<CanonicalRow>& canonical, const ModelSymbols& symbols, bool strict,
                               std::vector<std::string>* notes);
// Canonical tensors → stored ones, in the dialect's order. `_extra_state` entries are None, where "extra_state" holds.
Result<StateDict> FromCanonical(const StateDict& canonical, const Dialect& dialect,
                                const std::vector<CanonicalRow>& table, const ModelSymbols& symbols, bool strict,
                                std::vector<std::string>* notes);

// One line naming what is missing and what was not expected; empty when nothing is.
std::string DescribeNames(std::vector<std::string> missing, std::vector<std::string> unexpected);

// The rules every table obeys: patterns parse, no name can match two rows, captures agree with the canonical row's,
// every canonical row is written by each dialect that writes its tower, drops say why. Errors: Internal, naming the
// row.
Status CheckTable(const std::vector<CanonicalRow>& canonical, const Dialect& dialect);

std::string_view Name(Op op);
std::string_view Name(Split split);
std::string_view Name(Stage stage);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_TABLE_H_
