// The list of families with their parsed patterns, and what is asked before a model is resolved.
#ifndef ANEMONE_FAMILY_REGISTRY_H_
#define ANEMONE_FAMILY_REGISTRY_H_

#include <functional>
#include <span>
#include <string_view>

#include "family/family.h"

namespace anemone {

// The families and the patterns of their dialects in order, made when their turn comes, until `visit` answers false.
// `has_name_with`: whether a name of the checkpoint has this in it.
void TryFamilies(const std::function<bool(std::string_view part)>& has_name_with,
                 const std::function<bool(const Family& family, std::span<const NameMatcher> dialects)>& visit);

// The parsed patterns of a dialect: the registered ones, or those of a user's table.
NameMatcher MatcherOf(const Dialect& dialect);

// "hf, mcore"
std::string DialectNames(const Family& family);

// A config states how many layers and experts there are, and each becomes rows: what it states must be in proportion to
// the names that the checkpoint has, before rows are made. A config alone has none yet. Errors: LimitExceeded.
Status CheckCounts(const Checkpoint& checkpoint, const Family& family, const ModelSymbols& symbols);

// How many names a checkpoint has, those of each rank counted.
size_t CountNames(const Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_REGISTRY_H_
