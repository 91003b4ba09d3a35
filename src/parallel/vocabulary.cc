#include "parallel/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/rounding.h"
#include "family/tokenizer/nemo_artifact.h"
#include "family/tokenizer/tokenizer_size.h"

namespace anemone {
namespace {

// The part of the config that speaks of the model: NeMo 2 has it below `config`.
const ConfigNode* ModelConfig(const Checkpoint& checkpoint) {
  if (!checkpoint.config) return nullptr;
  const ConfigNode& root = checkpoint.config->root();
  const ConfigNode* config = root.Get("config");
  return root.Get("_target_") != nullptr && config != nullptr && config->is_map() ? config : &root;
}

std::optional<uint64_t> NumberAt(const ConfigNode* node, std::string_view key) {
  const ConfigNode* child = node == nullptr ? nullptr : node->Get(key);
  const auto value = child == nullptr ? std::nullopt : child->AsInt();
  return value && *value > 0 ? std::optional(static_cast<uint64_t>(*value)) : std::nullopt;
}

}  // namespace

uint64_t PaddedVocab(uint64_t vocab, uint64_t divisor, int tp) {
  return RoundUp(vocab, divisor * static_cast<uint64_t>(tp));
}

uint64_t VocabDivisor(const Checkpoint& checkpoint) {
  return NumberAt(ModelConfig(checkpoint), "make_vocab_size_divisible_by").value_or(128);
}

Result<uint64_t> VocabRows(const Checkpoint& checkpoint, std::string_view tower, uint64_t tokens, int tp) {
  const ConfigNode* model = ModelConfig(checkpoint);
  const ConfigNode* own = model == nullptr || tower.empty() ? nullptr : model->Get(tower);
  for (const ConfigNode* node : {own, model}) {
    for (const std::string_view key : {"override_vocab_size", "vocab_size"}) {
      // NeMo 2 has the same under the second name; NeMo 1 none.
      if (key == "vocab_size" && (node == nullptr || node == &checkpoint.config->root() || node == own)) continue;
      const auto rows = NumberAt(node, key);
      if (!rows) continue;
      if (*rows % static_cast<uint64_t>(tp) == 0) return *rows;
      return InvalidArgument(
          fmt::format("{}: expected a number of rows that tensor parallel {} divides, found {}", key, tp, *rows));
    }
  }
  return PaddedVocab(tokens, VocabDivisor(checkpoint), tp);
}

int StatedTensorParallel(const Checkpoint& checkpoint) {
  const uint64_t stated = NumberAt(ModelConfig(checkpoint), "tensor_model_parallel_size").value_or(1);
  return static_cast<int>(std::min<uint64_t>(stated, 4096));
}

int StatedExpertParallel(const Checkpoint& checkpoint) {
  const uint64_t stated = NumberAt(ModelConfig(checkpoint), "expert_model_parallel_size").value_or(1);
  return static_cast<int>(std::clamp<uint64_t>(stated, 1, 4096));
}

Result<std::optional<uint64_t>> CountTokens(const Checkpoint& checkpoint) {
  const ConfigNode* tokenizer = checkpoint.config ? checkpoint.config->root().Get("tokenizer") : nullptr;
  for (const std::string_view key : {"model", "tokenizer_model", "vocab_file"}) {
    const ConfigNode* node = tokenizer == nullptr ? nullptr : tokenizer->Get(key);
    const Artifact* file = FollowReference(node, checkpoint.artifacts);
    if (file == nullptr) continue;
    ANEMONE_ASSIGN(const std::optional<uint64_t> count, CountTokensIn(file->content, file->name));
    if (count) return count;
  }
  return std::optional<uint64_t>();
}

}  // namespace anemone
