// Pattern: a tensor's name with captures, parsed once.
#ifndef ANEMONE_SCHEMA_PATTERN_H_
#define ANEMONE_SCHEMA_PATTERN_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace anemone {

// "linear_fc1.weight" of "decoder.layers.0.mlp.linear_fc1.weight"; fewer words as they are; "" of "layers.100.weight".
std::string_view LastTwoWords(std::string_view name);

// "{i}" is a layer's number, "{e}" an expert's, "{q,k,v}" one of several words; everything else stands for itself. The
// words, the experts, or both are in order the parts of one canonical tensor: with both, all words of an expert, then
// those of the next. "{*}" at the end is whatever is left, of rows that are dropped.
class Pattern {
 public:
  struct Captures {
    std::optional<uint64_t> layer;
    size_t part = 0;
  };
  explicit Pattern(std::string_view text);
  std::optional<Captures> Match(std::string_view name) const;
  std::string Fill(std::optional<uint64_t> layer, size_t part) const;
  // The last two words (LastTwoWords) of every name that matches; empty: nothing in particular.
  std::vector<std::string> Ends() const;
  bool has_layer() const { return has_layer_; }
  bool has_experts() const { return has_experts_; }
  size_t num_words() const { return words_.empty() ? 1 : words_.size(); }
  // How many tensors of a layer a name with this pattern stands for, in a model of so many experts.
  size_t num_parts(uint64_t experts) const { return num_words() * (has_experts_ ? experts : 1); }
  bool has_parts() const { return has_experts_ || words_.size() > 1; }

 private:
  struct Piece {
    enum class Kind : uint8_t { kText, kLayer, kExpert, kWords, kRest } kind;
    std::string text;
  };
  struct Found {
    std::optional<uint64_t> layer, expert;
    size_t word = 0;
  };
  bool MatchFrom(std::string_view name, size_t piece, Found* found) const;
  std::vector<Piece> pieces_;
  std::vector<std::string> words_;
  bool has_layer_ = false;
  bool has_experts_ = false;
};

}  // namespace anemone

#endif  // ANEMONE_SCHEMA_PATTERN_H_
