// Facts: transformers 5.24 configuration_*.py (the fields' types) and modeling_*.py of the classes in
// hf_architectures.cc, of BERT, T5, LLaVA, CLIP and SigLIP; torch nn/modules/sparse.py, nn/functional.py (dropout).
#include "family/words/hf_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>

#include "config/nodes.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

enum class Kind : uint8_t { kNumber, kWhole, kFloat };  // of some class in version 5, which takes no 1 for a float

struct Range {
  double lowest, highest;
  bool is_open = false;  // `lowest` is not in it
};
constexpr double kNoLimit = std::numeric_limits<double>::infinity();
constexpr Range kAny = {-kNoLimit, kNoLimit}, kPart = {0, 1}, kNotNegative = {0, kNoLimit},
                kPositive = {0, kNoLimit, true}, kSomePart = {0, 1, true}, kCount = {1, kNoLimit};

struct HfNumber {
  std::string_view key;
  Range range;
  Kind kind = Kind::kNumber;
  bool takes_null = false;
};
constexpr HfNumber kNumbers[] = {
    // Parts of activations that training leaves out.
    {"attention_dropout", kPart, Kind::kFloat},
    {"attention_probs_dropout_prob", kPart, Kind::kFloat},
    {"attn_pdrop", kPart, Kind::kFloat},
    {"classifier_dropout", kPart, Kind::kFloat, true},
    {"dropout_rate", kPart, Kind::kFloat},
    {"embd_pdrop", kPart, Kind::kFloat},
    {"embedding_dropout", kPart, Kind::kFloat},
    {"hidden_dropout", kPart, Kind::kFloat},
    {"hidden_dropout_prob", kPart, Kind::kFloat},
    {"resid_pdrop", kPart, Kind::kFloat},
    {"residual_dropout", kPart, Kind::kFloat},
    {"summary_first_dropout", kPart, Kind::kFloat},
    // The first weights.
    {"initializer_factor", kNotNegative, Kind::kFloat},
    {"initializer_range", kPart, Kind::kFloat},
    // What norms add under the root.
    {"layer_norm_eps", kNotNegative, Kind::kFloat},
    {"layer_norm_epsilon", kNotNegative, Kind::kFloat},
    {"layernorm_epsilon", kNotNegative, Kind::kFloat},
    {"norm_eps", kNotNegative, Kind::kFloat},
    {"norm_epsilon", kNotNegative, Kind::kFloat},
    {"rms_norm_eps", kNotNegative, Kind::kFloat},
    // Attention.
    {"attn_logit_softcapping", kPositive, Kind::kFloat, true},
    {"final_logit_softcapping", kPositive, Kind::kFloat, true},
    {"query_pre_attn_scalar", kPositive, Kind::kWhole},
    // Positions.
    {"partial_rotary_factor", kSomePart},
    {"rope_local_base_freq", kPositive},
    {"rope_ratio", kPositive, Kind::kNumber, true},
    {"rope_theta", kPositive},
    {"rotary_emb_base", kPositive},
    {"rotary_pct", kSomePart},
    {"relative_attention_max_distance", kCount, Kind::kWhole},
    {"relative_attention_num_buckets", kCount, Kind::kWhole},
    // Tokens.
    {"image_token_index", kNotNegative, Kind::kWhole},
    {"max_position_embeddings", kCount, Kind::kWhole},
    {"n_positions", kCount, Kind::kWhole},
    // Experts.
    {"routed_scaling_factor", kAny, Kind::kFloat},
    {"router_aux_loss_coef", kAny, Kind::kFloat},
};

const HfNumber* FindNumber(std::string_view key) {
  const auto* found = std::ranges::find(kNumbers, key, &HfNumber::key);
  return found == std::end(kNumbers) ? nullptr : found;
}

std::string Expected(const HfNumber& number, const ConfigNode& found) {
  const Range& range = number.range;
  const std::string_view what = number.kind == Kind::kWhole ? "a whole number" : "a number";
  if (!found.AsDouble() || range.lowest == -kNoLimit) return std::string(what);
  if (range.highest == kNoLimit)
    return fmt::format("{} {} {}", what, range.is_open ? "above" : "of at least", range.lowest);
  return range.is_open ? fmt::format("{} above {} and at most {}", what, range.lowest, range.highest)
                       : fmt::format("{} from {} to {}", what, range.lowest, range.highest);
}

bool IsIn(const HfNumber& number, const ConfigNode& value) {
  if (value.is_null()) return number.takes_null;
  const auto found = value.AsDouble();
  const Range& range = number.range;
  return found && !std::isnan(*found) && (range.is_open ? *found > range.lowest : *found >= range.lowest) &&
         *found <= range.highest && (number.kind != Kind::kWhole || *found == std::floor(*found));
}

Status CheckNumbersIn(const ConfigNode& map, const std::string& place) {
  for (const auto& [key, value] : map.map) {
    if (value.is_map()) ANEMONE_TRY(CheckNumbersIn(value, fmt::format("{}{}.", place, key)));
    const HfNumber* number = FindNumber(key);
    if (number == nullptr || IsIn(*number, value)) continue;
    return Corrupt(
        fmt::format("{}{}: expected {}, found {}", place, key, Expected(*number, value), ShownQuoted(value)));
  }
  return {};
}

}  // namespace

Status CheckHfNumbers(const ConfigNode& config_json) { return CheckNumbersIn(config_json, ""); }

Status CheckPaddingRow(const ConfigNode& config_json) {
  const auto rows = WordAt(config_json, "vocab_size").AsInt();
  const ConfigNode& row = WordAt(config_json, "pad_token_id");
  if (row.is_null() || !rows) return {};
  const auto number = row.AsInt();
  if (number && *number >= -*rows && *number < *rows) return {};
  return Corrupt(fmt::format("pad_token_id: expected one of {} rows of the vocabulary, found {}", *rows, Shown(row)));
}

void TypeHfNumbers(ConfigNode* config_json) {
  for (auto& [key, value] : config_json->map) {
    if (value.is_map()) TypeHfNumbers(&value);
    const HfNumber* number = FindNumber(key);
    const auto found = number == nullptr ? std::nullopt : value.AsDouble();
    if (!found) continue;
    if (number->kind == Kind::kFloat && value.AsInt()) value = ConfigNode::Float(*found);
    if (number->kind == Kind::kWhole) value = NumberWord(*found);
  }
}

}  // namespace anemone
