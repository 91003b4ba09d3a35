#include "schema/matcher.h"

#include <algorithm>

#include "base/text_hash.h"

namespace anemone {
NamesByEnd::NamesByEnd(const StateDict& weights) : size_(weights.size()) {
  internal::TextViewMap<size_t> group_of;
  for (const StateDict::Item& item : weights.items()) {
    const std::string_view end = LastTwoWords(item.name);
    const auto [found, is_new] = group_of.try_emplace(end, groups_.size());
    if (is_new) groups_.push_back({end, {}});
    groups_[found->second].names.push_back(item.name);
  }
}

NameMatcher::NameMatcher(const Dialect& dialect)
    : dialect_(&dialect),
      is_active_(dialect.rows.size(), true),
      num_experts_(dialect.rows.size(), 0),
      first_layer_(dialect.rows.size(), 0) {
  std::vector<RowPatterns> patterns;
  patterns.reserve(dialect.rows.size());
  for (const StoredRow& row : dialect.rows) patterns.push_back({Pattern(row.name), Pattern(row.canonical)});
  patterns_ = std::make_shared<const std::vector<RowPatterns>>(std::move(patterns));
  for (const OmittedPrefix& omitted : dialect.omitted) omitted_.push_back(omitted.prefix);
  Index();
}

Result<NameMatcher> NameMatcher::For(const ModelSymbols& symbols) const {
  NameMatcher result = *this;
  for (size_t r = 0; r < dialect_->rows.size(); ++r) {
    const StoredRow& row = dialect_->rows[r];
    ANEMONE_ASSIGN(const bool is_active, symbols.Holds(row.only));
    result.is_active_[r] = is_active;
    if (pattern(r).has_experts()) {
      ANEMONE_ASSIGN(result.num_experts_[r], symbols.Of(row.tower, "experts"));
    }
    if (!row.first_layer.empty()) {
      ANEMONE_ASSIGN(result.first_layer_[r], symbols.Get(row.first_layer));
    }
  }
  result.omitted_.clear();
  for (const OmittedPrefix& omitted : dialect_->omitted) {
    ANEMONE_ASSIGN(const bool holds, symbols.Holds(omitted.when));
    if (holds) result.omitted_.push_back(omitted.prefix);
  }
  result.Index();
  return result;
}

void NameMatcher::Index() {
  by_end_.clear();
  with_any_end_.clear();
  std::vector<size_t> order;
  for (size_t r = 0; r < dialect_->rows.size(); ++r) {
    if (is_active_[r]) order.push_back(r);
  }
  // Names of layers behind others match the others' rows, too.
  std::stable_partition(order.begin(), order.end(), [this](size_t r) { return first_layer_[r] > 0; });
  for (const size_t r : order) {
    const std::vector<std::string> ends = pattern(r).Ends();
    if (ends.empty()) {
      for (auto& [words, rows] : by_end_) rows.push_back(r);
      with_any_end_.push_back(r);
    }
    for (const std::string& end : ends) {
      std::vector<size_t>& rows = by_end_.try_emplace(end, with_any_end_).first->second;
      if (rows.empty() || rows.back() != r) rows.push_back(r);
    }
  }
}

const std::vector<size_t>& NameMatcher::RowsOfEnd(std::string_view end) const {
  const auto found = by_end_.find(end);
  return found == by_end_.end() ? with_any_end_ : found->second;
}

std::optional<NameMatcher::Hit> NameMatcher::MatchAmong(const std::vector<size_t>& rows, std::string_view name) const {
  for (const size_t r : rows) {
    auto captures = pattern(r).Match(name);
    if (!captures || captures->layer.value_or(first_layer_[r]) < first_layer_[r]) continue;
    if (captures->layer) *captures->layer -= first_layer_[r];
    return Hit{r, *captures};
  }
  return std::nullopt;
}

std::optional<NameMatcher::Hit> NameMatcher::Match(std::string_view name) const {
  std::optional<Hit> hit = MatchAmong(RowsOfEnd(LastTwoWords(name)), name);
  for (size_t i = 0; !hit && i < omitted_.size(); ++i) {
    const std::string whole = omitted_[i] + std::string(name);
    hit = MatchAmong(RowsOfEnd(LastTwoWords(whole)), whole);
  }
  return hit;
}

size_t NameMatcher::CountMatches(const NamesByEnd::Group& group, const std::vector<size_t>& rows,
                                 std::string_view prefix) const {
  // Where nothing stands between the prefix and the last two words, the words behind the prefix may be others.
  const size_t bare = prefix.size() + group.end.size();
  return static_cast<size_t>(std::ranges::count_if(group.names, [&](std::string_view name) {
    if ((rows.empty() && name.size() > bare) || !name.starts_with(prefix)) return false;
    const std::string_view rest = name.substr(prefix.size());
    const bool has_rows = name.size() > bare && omitted_.empty();
    return has_rows ? MatchAmong(rows, rest).has_value() : Match(rest).has_value();
  }));
}

NameMatcher::PrefixScore NameMatcher::BestPrefix(const NamesByEnd& names) const {
  std::vector<size_t> matched(dialect_->prefixes.size(), 0);
  for (const NamesByEnd::Group& group : names.groups()) {
    const std::vector<size_t>& rows = RowsOfEnd(group.end);
    for (size_t p = 0; p < matched.size(); ++p) matched[p] += CountMatches(group, rows, dialect_->prefixes[p]);
  }
  const auto most = std::max_element(matched.begin(), matched.end());
  if (most == matched.end() || *most == 0) return {};
  return {dialect_->prefixes[static_cast<size_t>(most - matched.begin())], *most};
}

}  // namespace anemone
