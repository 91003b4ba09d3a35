#include "schema/matcher.h"

namespace anemone {
namespace {

// "linear_qkv.weight" of "decoder.layers.0.self_attention.linear_qkv.weight"; empty where there is nothing before it.
std::string_view LastTwoWords(std::string_view name) {
  const size_t last = name.rfind('.');
  if (last == std::string_view::npos || last == 0) return {};
  const size_t second = name.rfind('.', last - 1);
  return second == std::string_view::npos ? std::string_view() : name.substr(second + 1);
}

}  // namespace

NameMatcher::NameMatcher(const Dialect& dialect)
    : dialect_(&dialect), is_active_(dialect.rows.size(), true), num_experts_(dialect.rows.size(), 0) {
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
  for (size_t r = 0; r < dialect_->rows.size(); ++r) {
    if (!is_active_[r]) continue;
    const std::string_view end = LastTwoWords(pattern(r).end());
    if (end.empty()) {
      for (auto& [words, rows] : by_end_) rows.push_back(r);
      with_any_end_.push_back(r);
    } else {
      by_end_.try_emplace(std::string(end), with_any_end_).first->second.push_back(r);
    }
  }
}

std::optional<NameMatcher::Hit> NameMatcher::Match(std::string_view name) const {
  std::optional<Hit> hit = MatchWhole(name);
  for (size_t i = 0; !hit && i < omitted_.size(); ++i) hit = MatchWhole(omitted_[i] + std::string(name));
  return hit;
}

std::optional<NameMatcher::Hit> NameMatcher::MatchWhole(std::string_view name) const {
  const auto found = by_end_.find(LastTwoWords(name));
  for (const size_t r : found == by_end_.end() ? with_any_end_ : found->second) {
    if (const auto captures = pattern(r).Match(name)) return Hit{r, *captures};
  }
  return std::nullopt;
}

NameMatcher::PrefixScore NameMatcher::BestPrefix(const StateDict& weights) const {
  PrefixScore best;
  for (const std::string& prefix : dialect_->prefixes) {
    size_t matched = 0;
    for (const StateDict::Item& item : weights.items()) {
      if (Match(item.name, prefix)) ++matched;
    }
    if (matched > best.matched) best = {prefix, matched};
  }
  return best;
}

}  // namespace anemone
