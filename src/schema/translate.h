// From a dialect's tensors to canonical ones and back.
#ifndef ANEMONE_SCHEMA_TRANSLATE_H_
#define ANEMONE_SCHEMA_TRANSLATE_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "schema/matcher.h"
#include "schema/table.h"

namespace anemone {

// Stored tensors → canonical ones. Every stored name is consumed once or dropped with a reason (a line in `notes`),
// every canonical name that the model has is produced once and has its shape; what is `made` is a line in `notes`, too.
// Errors: Corrupt, one line naming all missing and unexpected names (sorted, the first few and the total) with the
// nearest match of each; Corrupt for a shape; Unsupported for what may not be dropped. With `strict` false missing and
// unexpected names become notes.
Result<StateDict> Canonicalize(const StateDict& stored, const NameMatcher& names, const std::string& prefix,
                               const std::vector<CanonicalRow>& canonical, const ModelSymbols& symbols, bool strict,
                               std::vector<std::string>* notes);
// The same, under the prefix that most of the names have.
Result<StateDict> Canonicalize(const StateDict& stored, const Dialect& dialect,
                               const std::vector<CanonicalRow>& canonical, const ModelSymbols& symbols, bool strict,
                               std::vector<std::string>* notes);

// Canonical tensors → stored ones, in the dialect's order. `_extra_state` entries are None, where "extra_state" holds.
Result<StateDict> FromCanonical(const StateDict& canonical, const NameMatcher& names,
                                const std::vector<CanonicalRow>& table, const ModelSymbols& symbols, bool strict,
                                std::vector<std::string>* notes);
Result<StateDict> FromCanonical(const StateDict& canonical, const Dialect& dialect,
                                const std::vector<CanonicalRow>& table, const ModelSymbols& symbols, bool strict,
                                std::vector<std::string>* notes);

// The shapes of a row's stored parts in a model of these sizes, unsplit. Errors: Corrupt when the sizes do not fit.
Result<std::vector<Shape>> StoredShapes(const StoredRow& row, const CanonicalRow& canonical, size_t num_parts,
                                        const ModelSymbols& symbols);

// One line naming what is missing and what was not expected; empty when nothing is.
std::string DescribeNames(std::vector<std::string> missing, std::vector<std::string> unexpected);

}  // namespace anemone

#endif  // ANEMONE_SCHEMA_TRANSLATE_H_
