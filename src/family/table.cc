#include "family/table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace anemone {
namespace {

constexpr size_t kShownNames = 8;       // names of each kind in one error line
constexpr size_t kNearestAmong = 2000;  // candidates looked at for a nearest match
constexpr uint64_t kZeroCheckLimit = uint64_t{1} << 24;

std::string Replace(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> SplitAt(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.push_back(Trim(text.substr(0, at)));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Levenshtein distance, given up beyond `limit`.
size_t EditDistance(std::string_view a, std::string_view b, size_t limit) {
  if (a.size() > b.size()) std::swap(a, b);
  if (b.size() - a.size() > limit) return limit + 1;
  std::vector<size_t> row(a.size() + 1);
  for (size_t i = 0; i <= a.size(); ++i) row[i] = i;
  for (size_t j = 1; j <= b.size(); ++j) {
    size_t diagonal = row[0];
    row[0] = j;
    size_t least = row[0];
    for (size_t i = 1; i <= a.size(); ++i) {
      const size_t above = row[i];
      row[i] = std::min({row[i] + 1, row[i - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
      least = std::min(least, row[i]);
    }
    if (least > limit) return limit + 1;
  }
  return row[a.size()];
}

std::string Nearest(const std::string& name, const std::vector<std::string>& among) {
  const std::string* best = nullptr;
  size_t limit = std::max<size_t>(3, name.size() / 4);
  for (size_t i = 0; i < std::min(among.size(), kNearestAmong); ++i) {
    const size_t distance = EditDistance(name, among[i], limit);
    if (distance > limit || (best != nullptr && distance == limit)) continue;
    best = &among[i];
    limit = distance;
  }
  return best == nullptr ? "" : *best;
}

void ListNames(std::string_view kind, std::string_view nearest_word, const std::vector<std::string>& names,
               const std::vector<std::string>& others, std::string* out) {
  if (names.empty()) return;
  if (!out->empty()) *out += "; ";
  *out += fmt::format("{} {} tensor{}: ", names.size(), kind, names.size() == 1 ? "" : "s");
  for (size_t i = 0; i < std::min(names.size(), kShownNames); ++i) {
    if (i > 0) *out += ", ";
    *out += names[i];
    if (const std::string nearest = Nearest(names[i], others); !nearest.empty()) {
      *out += fmt::format(" ({} {})", nearest_word, nearest);
    }
  }
  if (names.size() > kShownNames) *out += fmt::format(", and {} more", names.size() - kShownNames);
}

// ---- ops ----

struct OpContext {
  const ModelSymbols& symbols;
  const StoredRow& row;
};

struct Heads {
  uint64_t heads = 0, groups = 0;
};

Result<Heads> HeadsOf(const OpContext& context) {
  Heads result;
  ANEMONE_ASSIGN(result.heads, context.symbols.Of(context.row.tower, "heads"));
  const auto groups = context.symbols.Of(context.row.tower, "groups");
  result.groups = groups.ok() ? *groups : result.heads;
  if (result.heads == 0 || result.groups == 0 || result.heads % result.groups != 0) {
    return Corrupt(
        fmt::format("expected heads to be a multiple of query groups, found {} and {}", result.heads, result.groups));
  }
  return result;
}

Result<uint64_t> HeadDim(uint64_t rows, uint64_t count) {
  if (rows % count != 0)
    return Corrupt(fmt::format("expected a multiple of {} rows, one block per head, found {}", count, rows));
  return rows / count;
}

// [q; k; v] → per group: its query heads, its key, its value.
Result<Tensor> InterleaveQkv(const Tensor& stacked, Heads h) {
  const Shape& shape = stacked.shape();
  ANEMONE_ASSIGN(const uint64_t d, HeadDim(shape[0], h.heads + 2 * h.groups));
  const uint64_t per_group = h.heads / h.groups;
  std::vector<Tensor> parts;
  uint64_t start = 0;
  for (const uint64_t heads : {per_group, uint64_t{1}, uint64_t{1}}) {
    const uint64_t rows = heads * h.groups * d;
    Shape block = shape;
    block[0] = h.groups;
    block.insert(block.begin() + 1, heads * d);
    ANEMONE_ASSIGN(const Tensor part, stacked.Narrow(0, start, rows));
    ANEMONE_ASSIGN(Tensor reshaped, part.Reshape(block));
    parts.push_back(std::move(reshaped));
    start += rows;
  }
  ANEMONE_ASSIGN(const Tensor joined, Tensor::Concat(std::move(parts), 1));
  return joined.Reshape(shape);
}

// The inverse.
Result<Tensor> StackQkv(const Tensor& interleaved, Heads h) {
  const Shape& shape = interleaved.shape();
  ANEMONE_ASSIGN(const uint64_t d, HeadDim(shape[0], h.heads + 2 * h.groups));
  const uint64_t per_group = h.heads / h.groups;
  Shape blocks = shape;
  blocks[0] = h.groups;
  blocks.insert(blocks.begin() + 1, (per_group + 2) * d);
  ANEMONE_ASSIGN(const Tensor grouped, interleaved.Reshape(blocks));
  std::vector<Tensor> parts;
  uint64_t start = 0;
  for (const uint64_t heads : {per_group, uint64_t{1}, uint64_t{1}}) {
    ANEMONE_ASSIGN(const Tensor part, grouped.Narrow(1, start, heads * d));
    Shape flat = shape;
    flat[0] = h.groups * heads * d;
    ANEMONE_ASSIGN(Tensor reshaped, part.Reshape(flat));
    parts.push_back(std::move(reshaped));
    start += heads * d;
  }
  return Tensor::Concat(std::move(parts), 0);
}

// [first; second] of `heads` blocks each ↔ block by block (keys and values of an attention that reads another
// sequence).
Result<Tensor> InterleavePairs(const Tensor& stacked, uint64_t heads, bool inverse) {
  const Shape& shape = stacked.shape();
  ANEMONE_ASSIGN(const uint64_t d, HeadDim(shape[0], 2 * heads));
  Shape blocks(shape.begin() + 1, shape.end());
  const std::array<uint64_t, 3> lead = inverse ? std::array{heads, uint64_t{2}, d} : std::array{uint64_t{2}, heads, d};
  blocks.insert(blocks.begin(), lead.begin(), lead.end());
  ANEMONE_ASSIGN(const Tensor grouped, stacked.Reshape(blocks));
  std::vector<size_t> order(blocks.size());
  for (size_t axis = 0; axis < order.size(); ++axis) order[axis] = axis;
  std::swap(order[0], order[1]);
  ANEMONE_ASSIGN(const Tensor swapped, grouped.Permute(order));
  return swapped.Reshape(shape);
}

using Parts = std::vector<Tensor>;

Result<Tensor> FirstPart(const Parts& parts, const Shape&, const OpContext&) { return parts.front(); }
Result<Parts> AsOnePart(const Tensor& tensor, const std::vector<Shape>&, const OpContext&) { return Parts{tensor}; }

Result<Tensor> Transposed(const Parts& parts, const Shape&, const OpContext&) { return parts.front().Permute({1, 0}); }
Result<Parts> TransposeBack(const Tensor& tensor, const std::vector<Shape>&, const OpContext&) {
  ANEMONE_ASSIGN(Tensor result, tensor.Permute({1, 0}));
  return Parts{std::move(result)};
}

Result<Tensor> Reshaped(const Parts& parts, const Shape& canonical, const OpContext&) {
  return parts.front().Reshape(canonical);
}
Result<Parts> ReshapeBack(const Tensor& tensor, const std::vector<Shape>& stored, const OpContext&) {
  ANEMONE_ASSIGN(Tensor result, tensor.Reshape(stored.front()));
  return Parts{std::move(result)};
}

Result<Tensor> Stacked(const Parts& parts, const Shape&, const OpContext&) {
  return parts.size() == 1 ? Result<Tensor>(parts.front()) : Tensor::Concat(parts, 0);
}
Result<Parts> Unstack(const Tensor& tensor, const std::vector<Shape>& stored, const OpContext&) {
  Parts parts;
  uint64_t start = 0;
  for (const Shape& shape : stored) {
    ANEMONE_ASSIGN(Tensor part, tensor.Narrow(0, start, shape[0]));
    parts.push_back(std::move(part));
    start += shape[0];
  }
  return parts;
}

Result<Tensor> Deinterleaved(const Parts& parts, const Shape&, const OpContext& context) {
  ANEMONE_ASSIGN(const Heads heads, HeadsOf(context));
  return StackQkv(parts.front(), heads);
}
Result<Parts> Interleave(const Tensor& tensor, const std::vector<Shape>&, const OpContext& context) {
  ANEMONE_ASSIGN(const Heads heads, HeadsOf(context));
  ANEMONE_ASSIGN(Tensor result, InterleaveQkv(tensor, heads));
  return Parts{std::move(result)};
}

bool IsStacked(const OpContext& context) {
  const auto flag = context.symbols.Of(context.row.tower, "qkv_stacked");
  return flag.ok() && *flag != 0;
}
Result<Tensor> FromMegatron(const Parts& parts, const Shape& canonical, const OpContext& context) {
  return IsStacked(context) ? FirstPart(parts, canonical, context) : Deinterleaved(parts, canonical, context);
}
Result<Parts> ToMegatron(const Tensor& tensor, const std::vector<Shape>& stored, const OpContext& context) {
  return IsStacked(context) ? AsOnePart(tensor, stored, context) : Interleave(tensor, stored, context);
}

Result<Tensor> FromQueryKeyValue(const Parts& parts, const Shape&, const OpContext& context) {
  ANEMONE_ASSIGN(const Heads heads, HeadsOf(context));
  ANEMONE_ASSIGN(Tensor pairs, InterleavePairs(parts[1], heads.heads, /*inverse=*/true));
  return Tensor::Concat({parts[0], std::move(pairs)}, 0);
}
Result<Parts> ToQueryKeyValue(const Tensor& tensor, const std::vector<Shape>& stored, const OpContext& context) {
  ANEMONE_ASSIGN(const Heads heads, HeadsOf(context));
  ANEMONE_ASSIGN(Parts parts, Unstack(tensor, stored, context));
  ANEMONE_ASSIGN(parts[1], InterleavePairs(parts[1], heads.heads, /*inverse=*/false));
  return parts;
}

// An expert's [rows, columns] ↔ its transpose; experts follow each other in both.
Result<Tensor> TransposeExperts(const Tensor& tensor, const Shape& result, uint64_t columns, const OpContext& context) {
  ANEMONE_ASSIGN(const uint64_t experts, context.symbols.Of(context.row.tower, "experts"));
  const uint64_t size = tensor.num_elements();
  if (experts == 0 || columns == 0 || size % (experts * columns) != 0)
    return Corrupt(
        fmt::format("expected the matrices of {} experts, found shape {}", experts, ToString(tensor.shape())));
  ANEMONE_ASSIGN(const Tensor cube, tensor.Reshape({experts, size / experts / columns, columns}));
  ANEMONE_ASSIGN(const Tensor swapped, cube.Permute({0, 2, 1}));
  return swapped.Reshape(result);
}
Result<Tensor> FromSideBySide(const Parts& parts, const Shape& canonical, const OpContext& context) {
  const uint64_t experts = context.symbols.Find("experts").value_or(0);
  const uint64_t rows = experts == 0 ? 0 : canonical[0] / experts;
  return TransposeExperts(parts.front(), canonical, rows, context);
}
Result<Parts> ToSideBySide(const Tensor& tensor, const std::vector<Shape>& stored, const OpContext& context) {
  ANEMONE_ASSIGN(Tensor result, TransposeExperts(tensor, stored.front(), tensor.shape()[1], context));
  return Parts{std::move(result)};
}

Result<Tensor> WithoutPadding(const Parts& parts, const Shape& canonical, const OpContext&) {
  if (parts.front().shape() == canonical) return parts.front();
  return parts.front().Narrow(0, 0, canonical[0]);
}
Result<Parts> Padded(const Tensor& tensor, const std::vector<Shape>& stored, const OpContext&) {
  if (tensor.shape() == stored.front()) return Parts{tensor};
  ANEMONE_ASSIGN(Tensor result, tensor.Pad(0, 0, stored.front()[0] - tensor.shape()[0]));
  return Parts{std::move(result)};
}

Result<Tensor> FromPatchLinear(const Parts& parts, const Shape& canonical, const OpContext&) {
  ANEMONE_ASSIGN(const Tensor cube, parts.front().Reshape({canonical[0], canonical[2], canonical[3], canonical[1]}));
  return cube.Permute({0, 3, 1, 2});
}
Result<Parts> ToPatchLinear(const Tensor& tensor, const std::vector<Shape>& stored, const OpContext&) {
  ANEMONE_ASSIGN(const Tensor last, tensor.Permute({0, 2, 3, 1}));
  ANEMONE_ASSIGN(Tensor flat, last.Reshape(stored.front()));
  return Parts{std::move(flat)};
}

// Shapes of the stored parts, given the canonical one.
Result<std::vector<Shape>> SameShape(const Shape& canonical, size_t, const OpContext&) {
  return std::vector<Shape>{canonical};
}
Result<std::vector<Shape>> SwappedShape(const Shape& canonical, size_t, const OpContext&) {
  return std::vector<Shape>{Shape(canonical.rbegin(), canonical.rend())};
}
Result<std::vector<Shape>> GivenShape(const Shape&, size_t, const OpContext& context) {
  ANEMONE_ASSIGN(Shape shape, context.symbols.Evaluate(context.row.shape));
  return std::vector<Shape>{std::move(shape)};
}
Result<std::vector<Shape>> EqualParts(const Shape& canonical, size_t parts, const OpContext&) {
  Shape shape = canonical;
  if (shape.empty() || shape[0] % parts != 0)
    return Corrupt(fmt::format("expected {} equal parts, found shape {}", parts, ToString(canonical)));
  shape[0] /= parts;
  return std::vector<Shape>(parts, shape);
}
Result<std::vector<Shape>> OneThirdTwoThirds(const Shape& canonical, size_t, const OpContext&) {
  std::vector<Shape> shapes(2, canonical);
  shapes[0][0] = canonical[0] / 3;
  shapes[1][0] = canonical[0] - shapes[0][0];
  return shapes;
}
Result<std::vector<Shape>> PaddedShape(const Shape& canonical, size_t, const OpContext& context) {
  Shape shape = canonical;
  ANEMONE_ASSIGN(shape[0], context.symbols.Of(context.row.tower, "padded_vocab"));
  if (shape[0] < canonical[0]) {
    return Corrupt(fmt::format("expected at most {} vocabulary rows, found {}", shape[0], canonical[0]));
  }
  return std::vector<Shape>{std::move(shape)};
}
Result<std::vector<Shape>> LinearShape(const Shape& canonical, size_t, const OpContext&) {
  return std::vector<Shape>{Shape{canonical[0], canonical[1] * canonical[2] * canonical[3]}};
}

struct OpRule {
  Op op;
  std::string_view name;
  Result<Tensor> (*forward)(const Parts& parts, const Shape& canonical, const OpContext& context);
  Result<Parts> (*inverse)(const Tensor& tensor, const std::vector<Shape>& stored, const OpContext& context);
  Result<std::vector<Shape>> (*stored_shapes)(const Shape& canonical, size_t parts, const OpContext& context);
};

constexpr OpRule kOps[] = {
    {Op::kSame, "same", FirstPart, AsOnePart, SameShape},
    {Op::kTranspose, "transpose", Transposed, TransposeBack, SwappedShape},
    {Op::kReshape, "reshape", Reshaped, ReshapeBack, GivenShape},
    {Op::kStack, "stack", Stacked, Unstack, EqualParts},
    {Op::kInterleave, "interleave by head", Deinterleaved, Interleave, SameShape},
    {Op::kMegatronQkv, "interleave by head unless megatron_legacy", FromMegatron, ToMegatron, SameShape},
    {Op::kQueryKeyValue, "q; k and v interleaved by head", FromQueryKeyValue, ToQueryKeyValue, OneThirdTwoThirds},
    {Op::kSideBySide, "experts transposed", FromSideBySide, ToSideBySide, GivenShape},
    {Op::kPadVocab, "pad vocabulary rows", WithoutPadding, Padded, PaddedShape},
    {Op::kPatchLinear, "linear patch projection", FromPatchLinear, ToPatchLinear, LinearShape},
    {Op::kExtraState, "extra state", nullptr, nullptr, nullptr},
    {Op::kDrop, "drop", nullptr, nullptr, nullptr},
    {Op::kDropZeros, "drop zeros", nullptr, nullptr, nullptr},
};

const OpRule& Rule(Op op) { return kOps[static_cast<size_t>(op)]; }

bool SameButForOnes(const Shape& a, const Shape& b) {
  const auto without_ones = [](Shape shape) {
    std::erase(shape, uint64_t{1});
    return shape;
  };
  return without_ones(a) == without_ones(b);
}

Result<bool> IsAllZeros(const Tensor& tensor) {
  ANEMONE_ASSIGN(const std::string bytes, tensor.Read(kZeroCheckLimit));
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; });
}

std::unordered_map<std::string_view, const CanonicalRow*> ByName(const std::vector<CanonicalRow>& rows) {
  std::unordered_map<std::string_view, const CanonicalRow*> result;
  for (const CanonicalRow& row : rows) result.emplace(row.name, &row);
  return result;
}

// "x" and "!x".
bool Opposite(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  return !a.empty() && b.size() == a.size() + 1 && b.front() == '!' && b.substr(1) == a;
}

// How many layers a row repeats over; 1 for rows without {i}.
Result<uint64_t> Repeats(const Pattern& pattern, std::string_view tower, const ModelSymbols& symbols) {
  if (!pattern.has_layer()) return uint64_t{1};
  return symbols.Of(tower, "layers");
}

Status Finish(std::vector<std::string> missing, std::vector<std::string> unexpected, const Dialect& dialect,
              bool strict, std::vector<std::string>* notes) {
  const std::string what = DescribeNames(std::move(missing), std::move(unexpected));
  if (what.empty()) return {};
  if (strict)
    return Corrupt(fmt::format("{}: {}", dialect.title, what),
                   "--no-strict converts what is there and leaves the rest out");
  if (notes != nullptr) notes->push_back(what);
  return {};
}

}  // namespace

std::optional<uint64_t> ModelSymbols::Find(std::string_view name) const {
  const auto it = values_.find(name);
  return it == values_.end() ? std::nullopt : std::optional(it->second);
}

bool ModelSymbols::Holds(std::string_view condition) const {
  if (condition.empty()) return true;
  if (condition == kReadOnly) return false;
  if (const size_t both = condition.find('&'); both != std::string_view::npos)
    return Holds(Trim(condition.substr(0, both))) && Holds(Trim(condition.substr(both + 1)));
  const bool negated = condition.front() == '!';
  if (negated) condition.remove_prefix(1);
  return (Find(condition).value_or(0) != 0) != negated;
}

Result<uint64_t> ModelSymbols::Of(std::string_view tower, std::string_view key) const {
  const std::string name = tower.empty() ? std::string(key) : fmt::format("{}.{}", tower, key);
  if (const auto value = Find(name)) return *value;
  return Internal(fmt::format("expected the family to know '{}', found nothing", name));
}

Result<Shape> ModelSymbols::Evaluate(std::string_view text) const {
  Shape shape;
  if (Trim(text).empty()) return shape;
  for (const std::string_view axis : SplitAt(text, ',')) {
    uint64_t size = 1;
    for (const std::string_view factor : SplitAt(axis, '*')) {
      std::optional<uint64_t> value = ParseNumber(factor);
      if (!value) value = Find(factor);
      if (!value) return Internal(fmt::format("expected the family to know '{}', found nothing", factor));
      if (__builtin_mul_overflow(size, *value, &size))
        return Corrupt(fmt::format("expected a size below 2^64, found {}", axis));
    }
    shape.push_back(size);
  }
  return shape;
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
    } else {
      pieces_.push_back({Piece::Kind::kWords, {}});
      for (const std::string_view word : SplitAt(inside, ',')) words_.emplace_back(word);
    }
    text.remove_prefix(close == std::string_view::npos ? text.size() : close + 1);
  }
}

size_t Pattern::num_parts(const ModelSymbols& symbols) const {
  if (has_experts_) return symbols.Find("experts").value_or(0);
  return words_.empty() ? 1 : words_.size();
}

bool Pattern::MatchFrom(std::string_view name, size_t piece, Captures* captures) const {
  if (piece == pieces_.size()) return name.empty();
  const Piece& p = pieces_[piece];
  switch (p.kind) {
    case Piece::Kind::kText:
      return name.starts_with(p.text) && MatchFrom(name.substr(p.text.size()), piece + 1, captures);
    case Piece::Kind::kLayer:
    case Piece::Kind::kExpert: {
      const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
      if (digits == 0 || digits > 9 || (digits > 1 && name.front() == '0')) return false;
      const uint64_t number = *ParseNumber(name.substr(0, digits));
      if (p.kind == Piece::Kind::kExpert) {
        captures->part = number;
      } else if (captures->layer && *captures->layer != number) {
        return false;
      } else {
        captures->layer = number;
      }
      return MatchFrom(name.substr(digits), piece + 1, captures);
    }
    case Piece::Kind::kWords:
      for (size_t part = 0; part < words_.size(); ++part) {
        if (!name.starts_with(words_[part])) continue;
        captures->part = part;
        if (MatchFrom(name.substr(words_[part].size()), piece + 1, captures)) return true;
      }
      return false;
  }
  return false;
}

std::optional<Pattern::Captures> Pattern::Match(std::string_view name) const {
  Captures captures;
  if (!MatchFrom(name, 0, &captures)) return std::nullopt;
  return captures;
}

std::string_view Pattern::end() const {
  return pieces_.empty() || pieces_.back().kind != Piece::Kind::kText ? std::string_view() : pieces_.back().text;
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
        name += std::to_string(part);
        break;
      case Piece::Kind::kWords:
        name += words_[part];
        break;
    }
  }
  return name;
}

namespace {

// A model without towers has plain names: "{T}.width" is "width" there.
std::string InTower(std::string text, std::string_view tower) {
  if (tower.empty()) text = Replace(text, "{T}.", "");
  return Replace(text, "{T}", tower);
}

}  // namespace

std::vector<CanonicalRow> ForTower(std::string_view tower, std::vector<CanonicalRow> rows) {
  for (CanonicalRow& row : rows) {
    for (std::string* text : {&row.name, &row.shape, &row.when}) *text = InTower(*text, tower);
    row.tower = tower;
  }
  return rows;
}

std::vector<StoredRow> ForTower(std::string_view tower, std::vector<StoredRow> rows, const Words& words) {
  for (StoredRow& row : rows) {
    for (std::string* text : {&row.name, &row.canonical, &row.when, &row.shape, &row.only}) {
      for (const auto& [from, to] : words) *text = Replace(*text, from, to);
      *text = InTower(*text, tower);
    }
    row.tower = tower;
  }
  return rows;
}

namespace {

// "linear_qkv.weight" of "decoder.layers.0.self_attention.linear_qkv.weight"; empty where there is nothing before it.
std::string_view LastTwoWords(std::string_view name) {
  const size_t last = name.rfind('.');
  if (last == std::string_view::npos || last == 0) return {};
  const size_t second = name.rfind('.', last - 1);
  return second == std::string_view::npos ? std::string_view() : name.substr(second + 1);
}

}  // namespace

NameMatcher::NameMatcher(const Dialect& dialect, const ModelSymbols* symbols) : dialect_(&dialect) {
  patterns_.reserve(dialect.rows.size());
  for (const StoredRow& row : dialect.rows) {
    const size_t index = patterns_.size();
    const std::string_view end = LastTwoWords(patterns_.emplace_back(row.name).end());
    active_.push_back(symbols == nullptr || symbols->Holds(row.only));
    if (!active_.back()) continue;
    if (end.empty()) {
      for (auto& [words, rows] : by_end_) rows.push_back(index);
      with_any_end_.push_back(index);
    } else {
      by_end_.try_emplace(std::string(end), with_any_end_).first->second.push_back(index);
    }
  }
  for (const OmittedPrefix& omitted : dialect.omitted) {
    if (symbols == nullptr || symbols->Holds(omitted.when)) omitted_.push_back(omitted.prefix);
  }
}

std::optional<NameMatcher::Hit> NameMatcher::Match(std::string_view name) const {
  std::optional<Hit> hit = MatchWhole(name);
  for (size_t i = 0; !hit && i < omitted_.size(); ++i) hit = MatchWhole(omitted_[i] + std::string(name));
  return hit;
}

std::optional<NameMatcher::Hit> NameMatcher::MatchWhole(std::string_view name) const {
  const auto found = by_end_.find(LastTwoWords(name));
  for (const size_t i : found == by_end_.end() ? with_any_end_ : found->second) {
    if (const auto captures = patterns_[i].Match(name)) return Hit{i, *captures};
  }
  return std::nullopt;
}

NameMatcher::PrefixScore NameMatcher::BestPrefix(const StateDict& weights) const {
  PrefixScore best;
  for (const std::string& prefix : dialect_->prefixes) {
    size_t matched = 0;
    for (const StateDict::Item& item : weights.items()) {
      const std::string_view name = item.name;
      if (name.starts_with(prefix) && Match(name.substr(prefix.size()))) ++matched;
    }
    if (matched > best.matched) best = {prefix, matched};
  }
  return best;
}

std::string DescribeNames(std::vector<std::string> missing, std::vector<std::string> unexpected) {
  std::sort(missing.begin(), missing.end());
  std::sort(unexpected.begin(), unexpected.end());
  std::string what;
  ListNames("missing", "nearest:", missing, unexpected, &what);
  ListNames("unexpected", "nearest missing:", unexpected, missing, &what);
  return what;
}

Result<StateDict> Canonicalize(const StateDict& stored, const Dialect& dialect,
                               const std::vector<CanonicalRow>& canonical, const ModelSymbols& symbols, bool strict,
                               std::vector<std::string>* notes) {
  const NameMatcher matcher(dialect, &symbols);
  const std::string prefix = matcher.BestPrefix(stored).prefix;
  const auto by_name = ByName(canonical);

  // What each canonical name is made of: the row that spells it here and its parts.
  struct Found {
    size_t row = 0;
    std::vector<const StateDict::Item*> parts;
  };
  std::unordered_map<std::string, Found> found;
  std::vector<std::string> missing, unexpected;
  std::map<std::string, uint64_t> dropped;
  for (const StateDict::Item& item : stored.items()) {
    const std::string_view name = item.name;
    const auto hit = name.starts_with(prefix) ? matcher.Match(name.substr(prefix.size())) : std::nullopt;
    if (!hit) {
      unexpected.push_back(item.name);
      continue;
    }
    const StoredRow& row = matcher.row(hit->row);
    if (row.op == Op::kExtraState) continue;
    if (row.op == Op::kDrop || row.op == Op::kDropZeros) {
      if (row.op == Op::kDropZeros && item.tensor() != nullptr) {
        ANEMONE_ASSIGN(const bool zeros, IsAllZeros(*item.tensor()));
        if (!zeros) return Unsupported(fmt::format("{}: {}", item.name, row.why));
      }
      ++dropped[row.why];
      continue;
    }
    if (item.tensor() == nullptr)
      return Corrupt(fmt::format("{}: expected a tensor, found an opaque object", item.name));
    const std::string target = Pattern(row.canonical).Fill(hit->captures.layer, 0);
    Found& entry = found[target];
    if (entry.parts.empty()) {
      entry.row = hit->row;
      entry.parts.resize(matcher.pattern(hit->row).num_parts(symbols));
    } else if (entry.row != hit->row) {
      return Corrupt(fmt::format("{}: expected one spelling, found also {}", item.name,
                                 matcher.pattern(entry.row).Fill(hit->captures.layer, 0)));
    }
    if (hit->captures.part < entry.parts.size()) {
      entry.parts[hit->captures.part] = &item;
    } else {
      unexpected.push_back(item.name);
    }
  }

  // The canonical row's first spelling that this model would be written with: what a missing tensor is called.
  const auto spelling_of = [&](const CanonicalRow& row) -> std::optional<size_t> {
    std::optional<size_t> any;
    for (size_t i = 0; i < dialect.rows.size(); ++i) {
      const StoredRow& stored_row = dialect.rows[i];
      if (stored_row.canonical != row.name || stored_row.stage == Stage::kTiedCopy || !matcher.is_active(i)) continue;
      if (symbols.Holds(stored_row.when)) return i;
      if (!any) any = i;
    }
    return any;
  };

  StateDict result;
  for (size_t begin = 0; begin < canonical.size();) {
    // Rows with a layer number that follow each other repeat together.
    const Pattern first(canonical[begin].name);
    size_t end = begin + 1;
    while (first.has_layer() && end < canonical.size() && canonical[end].tower == canonical[begin].tower &&
           Pattern(canonical[end].name).has_layer()) {
      ++end;
    }
    uint64_t repeats = 0;
    if (symbols.Holds(canonical[begin].when)) {
      ANEMONE_ASSIGN(repeats, Repeats(first, canonical[begin].tower, symbols));
    }
    for (uint64_t layer = 0; layer < repeats; ++layer) {
      for (size_t r = begin; r < end; ++r) {
        const CanonicalRow& row = canonical[r];
        if (!symbols.Holds(row.when)) continue;
        const std::string name = Pattern(row.name).Fill(layer, 0);
        const auto it = found.find(name);
        const auto spelling = it != found.end() ? std::optional(it->second.row) : spelling_of(row);
        if (!spelling) return Internal(fmt::format("expected {} to spell {}, found no row", dialect.title, row.name));
        const Pattern& pattern = matcher.pattern(*spelling);
        bool complete = it != found.end();
        for (size_t part = 0; part < pattern.num_parts(symbols); ++part) {
          if (it != found.end() && it->second.parts[part] != nullptr) continue;
          missing.push_back(prefix + pattern.Fill(layer, part));
          complete = false;
        }
        if (!complete) {
          if (it != found.end()) found.erase(it);
          continue;
        }
        const StoredRow& stored_row = matcher.row(*spelling);
        const OpContext context{symbols, stored_row};
        ANEMONE_ASSIGN(const Shape shape, symbols.Evaluate(row.shape));
        auto shapes = Rule(stored_row.op).stored_shapes(shape, pattern.num_parts(symbols), context);
        if (!shapes.ok()) return shapes.status().In(it->second.parts.front()->name);
        Parts parts;
        for (size_t part = 0; part < pattern.num_parts(symbols); ++part) {
          const Tensor& tensor = *it->second.parts[part]->tensor();
          const bool lenient = stored_row.op == Op::kReshape && SameButForOnes(tensor.shape(), (*shapes)[part]);
          const bool unpadded = stored_row.op == Op::kPadVocab && tensor.shape() == shape;
          if (tensor.shape() != (*shapes)[part] && !lenient && !unpadded) {
            return Corrupt(fmt::format("{}: expected shape {} by the config, found {}", it->second.parts[part]->name,
                                       ToString((*shapes)[part]), ToString(tensor.shape())));
          }
          parts.push_back(tensor);
        }
        auto tensor = Rule(stored_row.op).forward(parts, shape, context);
        if (!tensor.ok()) return tensor.status().In(it->second.parts.front()->name);
        ANEMONE_TRY(result.Add(name, *std::move(tensor)));
        found.erase(it);
      }
    }
    begin = end;
  }
  for (const auto& [name, entry] : found) {
    for (const StateDict::Item* part : entry.parts) {
      if (part != nullptr) unexpected.push_back(part->name);
    }
  }
  ANEMONE_TRY(Finish(std::move(missing), std::move(unexpected), dialect, strict, notes));
  if (notes != nullptr) {
    for (const auto& [why, count] : dropped)
      notes->push_back(fmt::format("left out {} tensor{}: {}", count, count == 1 ? "" : "s", why));
  }
  return result;
}

Result<StateDict> FromCanonical(const StateDict& canonical, const Dialect& dialect,
                                const std::vector<CanonicalRow>& table, const ModelSymbols& symbols, bool strict,
                                std::vector<std::string>* notes) {
  const auto by_name = ByName(table);
  const std::string& prefix = dialect.prefixes.front();
  StateDict result;
  std::vector<std::string> missing;
  std::unordered_set<std::string> written;
  const NameMatcher matcher(dialect, &symbols);
  const auto layers_of = [&](const std::string& tower) {
    const auto layers = symbols.Of(tower, "layers");
    return layers.ok() ? *layers : 0;
  };
  const Status walked = ForEachStored(dialect, layers_of, [&](size_t r, uint64_t layer) -> Status {
    const StoredRow& row = dialect.rows[r];
    const Pattern& pattern = matcher.pattern(r);
    if (!matcher.is_active(r) || !symbols.Holds(row.when) || row.stage == Stage::kTiedCopy || row.op == Op::kDrop ||
        row.op == Op::kDropZeros)
      return {};
    if (row.op == Op::kExtraState) {
      for (size_t part = 0; part < pattern.num_parts(symbols) && symbols.Holds("extra_state"); ++part) {
        ANEMONE_TRY(result.Add(prefix + pattern.Fill(layer, part), Opaque{}));
      }
      return {};
    }
    const auto owner = by_name.find(row.canonical);
    if (owner == by_name.end()) return Internal(fmt::format("expected a canonical row {}, found none", row.canonical));
    if (!symbols.Holds(owner->second->when)) return {};
    const std::string source = Pattern(row.canonical).Fill(layer, 0);
    const StateDict::Item* item = canonical.Find(source);
    if (item == nullptr) {
      missing.push_back(source);
      return {};
    }
    written.insert(source);
    const OpContext context{symbols, row};
    auto shapes = Rule(row.op).stored_shapes(item->tensor()->shape(), pattern.num_parts(symbols), context);
    if (!shapes.ok()) return shapes.status().In(source);
    auto parts = Rule(row.op).inverse(*item->tensor(), *shapes, context);
    if (!parts.ok()) return parts.status().In(source);
    for (size_t part = 0; part < parts->size(); ++part) {
      ANEMONE_TRY(result.Add(prefix + pattern.Fill(layer, part), std::move((*parts)[part])));
    }
    return {};
  });
  ANEMONE_TRY(walked);
  std::vector<std::string> unexpected;
  for (const StateDict::Item& item : canonical.items()) {
    if (!written.contains(item.name)) unexpected.push_back(item.name);
  }
  ANEMONE_TRY(Finish(std::move(missing), std::move(unexpected), dialect, strict, notes));
  return result;
}

Result<std::vector<Shape>> StoredShapes(const StoredRow& row, const CanonicalRow& canonical,
                                        const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const Shape shape, symbols.Evaluate(canonical.shape));
  return Rule(row.op).stored_shapes(shape, Pattern(row.name).num_parts(symbols), OpContext{symbols, row});
}

Status ForEachStored(const Dialect& dialect, const std::function<uint64_t(const std::string& tower)>& layers,
                     const std::function<Status(size_t row, uint64_t layer)>& visit) {
  const auto& rows = dialect.rows;
  const auto repeats = [&](size_t r) { return rows[r].name.find("{i}") != std::string::npos; };
  for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    end = begin + 1;
    while (repeats(begin) && end < rows.size() && rows[end].tower == rows[begin].tower && repeats(end)) ++end;
    const uint64_t count = repeats(begin) ? layers(rows[begin].tower) : 1;
    for (uint64_t layer = 0; layer < count; ++layer) {
      for (size_t r = begin; r < end; ++r) ANEMONE_TRY(visit(r, layer));
    }
  }
  return {};
}

Status CheckTable(const std::vector<CanonicalRow>& canonical, const Dialect& dialect) {
  const auto by_name = ByName(canonical);
  if (by_name.size() != canonical.size()) return Internal("expected canonical names to differ, found one twice");
  const NameMatcher matcher(dialect);
  if (dialect.prefixes.empty()) return Internal(fmt::format("{}: expected a prefix, found none", dialect.name));
  ModelSymbols sample_symbols;
  sample_symbols.Set("experts", 2);
  std::unordered_set<std::string_view> written;
  for (size_t r = 0; r < dialect.rows.size(); ++r) {
    const StoredRow& row = dialect.rows[r];
    const Pattern& pattern = matcher.pattern(r);
    const auto wrong = [&](std::string_view what) {
      return Internal(fmt::format("{}: {}: {}", dialect.name, row.name, what));
    };
    if (row.name.find("{T}") != std::string::npos || row.canonical.find("{T}") != std::string::npos) {
      return wrong("expected the tower's name, found {T}");
    }
    const bool carries = row.op != Op::kExtraState && row.op != Op::kDrop && row.op != Op::kDropZeros;
    if (carries != !row.canonical.empty()) return wrong("expected a canonical name exactly where a tensor is carried");
    if ((row.op == Op::kDrop || row.op == Op::kDropZeros) && row.why.empty())
      return wrong("expected a drop to say why");
    if (row.op == Op::kReshape && row.shape.empty() && row.when != kReadOnly && !by_name.contains(row.canonical)) {
      return wrong("expected a reshape to say the stored shape");
    }
    if (carries) {
      const auto owner = by_name.find(row.canonical);
      if (owner == by_name.end()) return wrong(fmt::format("expected a canonical row {}, found none", row.canonical));
      if (Pattern(row.canonical).has_layer() != pattern.has_layer())
        return wrong("expected the same captures as its canonical row");
      if (owner->second->tower != row.tower) return wrong("expected the tower of its canonical row");
      if (row.when != kReadOnly && row.stage != Stage::kTiedCopy) written.insert(row.canonical);
    }
    const size_t parts = pattern.num_parts(sample_symbols);
    const bool several = parts > 1;
    if (carries && several != (row.op == Op::kStack || row.op == Op::kQueryKeyValue))
      return wrong("expected parts exactly where the op takes parts");
    // No name may match two rows: every row's own spellings must lead back to it alone.
    for (size_t part = 0; part < parts; ++part) {
      for (const uint64_t layer : {uint64_t{0}, uint64_t{17}}) {
        const std::string sample = pattern.Fill(layer, part);
        for (size_t other = 0; other < dialect.rows.size(); ++other) {
          if (Opposite(row.only, dialect.rows[other].only)) continue;
          const auto hit = matcher.pattern(other).Match(sample);
          if ((other == r) != hit.has_value())
            return wrong(fmt::format("expected {} to match it alone, found {}", sample, dialect.rows[other].name));
          if (hit && (hit->part != part || (pattern.has_layer() && hit->layer != layer)))
            return wrong("expected to read back what was filled in");
        }
      }
    }
  }
  for (const CanonicalRow& row : canonical) {
    if (!dialect.never.empty()) {
      const auto conditions = SplitAt(row.when, '&');
      if (std::find(conditions.begin(), conditions.end(), dialect.never) != conditions.end()) continue;
    }
    if (!written.contains(row.name))
      return Internal(fmt::format("{}: expected a row that writes {}, found none", dialect.name, row.name));
  }
  return {};
}

std::string_view Name(Op op) { return Rule(op).name; }

std::string_view Name(Split split) {
  constexpr std::array<std::string_view, 9> kNames = {"replicated",
                                                      "columns",
                                                      "rows",
                                                      "vocabulary",
                                                      "heads",
                                                      "heads (k, v)",
                                                      "gate and up",
                                                      "each expert's columns",
                                                      "each expert's rows"};
  return kNames[static_cast<size_t>(split)];
}

std::string_view Name(Stage stage) {
  constexpr std::array<std::string_view, 5> kNames = {"its layer's", "first", "last", "every", "last, a copy"};
  return kNames[static_cast<size_t>(stage)];
}

}  // namespace anemone
