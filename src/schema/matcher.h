// NameMatcher: which row of a dialect a stored name belongs to.
#ifndef ANEMONE_SCHEMA_MATCHER_H_
#define ANEMONE_SCHEMA_MATCHER_H_

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "schema/pattern.h"
#include "schema/table.h"

namespace anemone {

// The names of a state dict by their last two words: where no row of a dialect has such an end, its names are not
// compared one by one. Refers to the state dict, which must outlive it.
class NamesByEnd {
 public:
  struct Group {
    std::string_view end;
    std::vector<std::string_view> names;
  };
  explicit NamesByEnd(const StateDict& weights);
  const std::vector<Group>& groups() const { return groups_; }
  size_t size() const { return size_; }

 private:
  std::vector<Group> groups_;
  size_t size_;
};

// A dialect's rows, their patterns parsed. Copies share the patterns. The dialect must outlive it.
class NameMatcher {
 public:
  struct Hit {
    size_t row = 0;
    Pattern::Captures captures;
  };
  // Of any model: every row is active.
  explicit NameMatcher(const Dialect& dialect);
  // The same of one model: rows whose `only` does not hold are left out. Errors: Internal for a symbol that is not
  // declared or not set.
  Result<NameMatcher> For(const ModelSymbols& symbols) const;

  const Dialect& dialect() const { return *dialect_; }
  const StoredRow& row(size_t index) const { return dialect_->rows[index]; }
  const Pattern& pattern(size_t index) const { return (*patterns_)[index].stored; }
  bool is_active(size_t index) const { return is_active_[index]; }
  // How many tensors of a layer the row stands for. REQUIRES: made by For, where the row has experts.
  size_t num_parts(size_t index) const { return pattern(index).num_parts(num_experts_[index]); }
  // How a row spells a part in a layer of its tower.
  std::string StoredName(size_t index, std::optional<uint64_t> layer, size_t part) const {
    return pattern(index).Fill(layer.value_or(0) + first_layer_[index], part);
  }
  // The name of the canonical tensor that a row's is, in this layer.
  std::string CanonicalName(size_t index, std::optional<uint64_t> layer) const {
    return (*patterns_)[index].canonical.Fill(layer, 0);
  }

  // The row that a name belongs to, without its prefix, or behind `prefix`. nullopt when none does.
  std::optional<Hit> Match(std::string_view name) const;
  std::optional<Hit> Match(std::string_view name, std::string_view prefix) const {
    return name.starts_with(prefix) ? Match(name.substr(prefix.size())) : std::nullopt;
  }
  // The accepted prefix under which most of the names match, and how many do.
  struct PrefixScore {
    std::string prefix;
    size_t matched = 0;
  };
  PrefixScore BestPrefix(const StateDict& weights) const { return BestPrefix(NamesByEnd(weights)); }
  PrefixScore BestPrefix(const NamesByEnd& names) const;

 private:
  struct RowPatterns {
    Pattern stored, canonical;
  };
  void Index();
  const std::vector<size_t>& RowsOfEnd(std::string_view end) const;
  size_t CountMatches(const NamesByEnd::Group& group, const std::vector<size_t>& rows, std::string_view prefix) const;
  std::optional<Hit> MatchAmong(const std::vector<size_t>& rows, std::string_view name) const;

  const Dialect* dialect_;
  std::shared_ptr<const std::vector<RowPatterns>> patterns_;
  std::vector<bool> is_active_;
  std::vector<uint64_t> num_experts_;
  std::vector<uint64_t> first_layer_;
  std::vector<std::string> omitted_;
  // The active rows that a name may belong to, in order, by its last two words: most names of a model begin alike.
  std::map<std::string, std::vector<size_t>, std::less<>> by_end_;
  std::vector<size_t> with_any_end_;
};

}  // namespace anemone

#endif  // ANEMONE_SCHEMA_MATCHER_H_
