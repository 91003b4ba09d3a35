#include "schema/pattern.h"

#include <algorithm>

#include "schema/symbols.h"

namespace anemone {

namespace {

// A layer's, most likely: a table that spells a number out has few.
bool IsLongNumber(std::string_view word) {
  return word.size() > 2 && word.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

std::string_view LastTwoWords(std::string_view name) {
  const size_t last = name.rfind('.');
  if (last == std::string_view::npos || last == 0) return name;
  const size_t second = name.rfind('.', last - 1);
  const size_t begin = second == std::string_view::npos ? 0 : second + 1;
  // A million layers would have a million ends.
  if (IsLongNumber(name.substr(begin, last - begin)) || IsLongNumber(name.substr(last + 1))) return {};
  return name.substr(begin);
}

Pattern::Pattern(std::string_view text) {
  while (!text.empty()) {
    const size_t open = text.find('{');
    if (open != 0) {
      pieces_.push_back({Piece::Kind::kText, std::string(text.substr(0, open))});
      if (open == std::string_view::npos) return;
    }
    const size_t close = text.find('}', open);
    const std::string_view inside = text.substr(open + 1, close - open - 1);
    if (inside == "i") {
      pieces_.push_back({Piece::Kind::kLayer, {}});
      has_layer_ = true;
    } else if (inside == "e") {
      pieces_.push_back({Piece::Kind::kExpert, {}});
      has_experts_ = true;
    } else if (inside == "*") {
      pieces_.push_back({Piece::Kind::kRest, {}});
    } else {
      pieces_.push_back({Piece::Kind::kWords, {}});
      words_.clear();
      for (const std::string_view word : SplitAt(inside, ',')) words_.emplace_back(word);
    }
    text.remove_prefix(close == std::string_view::npos ? text.size() : close + 1);
  }
}

bool Pattern::MatchFrom(std::string_view name, size_t piece, Found* found) const {
  if (piece == pieces_.size()) return name.empty();
  const Piece& p = pieces_[piece];
  switch (p.kind) {
    case Piece::Kind::kText:
      return name.starts_with(p.text) && MatchFrom(name.substr(p.text.size()), piece + 1, found);
    case Piece::Kind::kLayer:
    case Piece::Kind::kExpert: {
      constexpr size_t kMaxDigits = 9;
      const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
      if (digits == 0 || digits > kMaxDigits || (digits > 1 && name.front() == '0')) return false;
      uint64_t number = 0;
      for (const char digit : name.substr(0, digits)) number = number * 10 + static_cast<uint64_t>(digit - '0');
      std::optional<uint64_t>& capture = p.kind == Piece::Kind::kLayer ? found->layer : found->expert;
      if (capture && *capture != number) return false;
      capture = number;
      return MatchFrom(name.substr(digits), piece + 1, found);
    }
    case Piece::Kind::kWords:
      for (size_t word = 0; word < words_.size(); ++word) {
        if (!name.starts_with(words_[word])) continue;
        Found inside = *found;
        inside.word = word;
        if (!MatchFrom(name.substr(words_[word].size()), piece + 1, &inside)) continue;
        *found = inside;
        return true;
      }
      return false;
    case Piece::Kind::kRest:
      return !name.empty();
  }
  return false;
}

std::optional<Pattern::Captures> Pattern::Match(std::string_view name) const {
  Found found;
  if (!MatchFrom(name, 0, &found)) return std::nullopt;
  return Captures{found.layer, static_cast<size_t>(found.expert.value_or(0)) * num_words() + found.word};
}

std::vector<std::string> Pattern::Ends() const {
  if (!pieces_.empty() && pieces_.back().kind == Piece::Kind::kRest) return {};
  const auto is_number = [](const Piece& p) { return p.kind == Piece::Kind::kLayer || p.kind == Piece::Kind::kExpert; };
  const auto tail = std::find_if(pieces_.rbegin(), pieces_.rend(), is_number).base();
  std::vector<std::string> ends;
  for (size_t word = 0; word < num_words(); ++word) {
    std::string text;
    for (auto piece = tail; piece != pieces_.end(); ++piece)
      text += piece->kind == Piece::Kind::kText ? piece->text : words_[word];
    const std::string_view end = LastTwoWords(text);
    // Behind a number two words are known only where something stands before them.
    if (end.empty() || (tail != pieces_.begin() && end.size() == text.size())) return {};
    ends.emplace_back(end);
  }
  return ends;
}

std::string Pattern::Fill(std::optional<uint64_t> layer, size_t part) const {
  std::string name;
  for (const Piece& piece : pieces_) {
    switch (piece.kind) {
      case Piece::Kind::kText:
        name += piece.text;
        break;
      case Piece::Kind::kLayer:
        name += std::to_string(layer.value_or(0));
        break;
      case Piece::Kind::kExpert:
        name += std::to_string(part / num_words());
        break;
      case Piece::Kind::kWords:
        name += words_[part % num_words()];
        break;
      case Piece::Kind::kRest:
        name += "*";
        break;
    }
  }
  return name;
}

}  // namespace anemone
