#include "parallel/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace anemone {
namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{64} << 20;
constexpr std::string_view kReference = "nemo:";

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

// A protocol buffer's number; nullopt where the text ends within it.
std::optional<uint64_t> TakeVarint(std::string_view& text) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !text.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(text.front());
    text.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

// The messages in field 1 of a SentencePiece model [sentencepiece_model.proto: ModelProto.pieces].
std::optional<uint64_t> CountPieces(std::string_view text) {
  constexpr uint64_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;
  uint64_t pieces = 0;
  while (!text.empty()) {
    const auto key = TakeVarint(text);
    if (!key) return std::nullopt;
    uint64_t size = 0;
    switch (*key & 7) {
      case kVarint:
        if (!TakeVarint(text)) return std::nullopt;
        break;
      case kFixed64:
        size = 8;
        break;
      case kFixed32:
        size = 4;
        break;
      case kBytes: {
        const auto length = TakeVarint(text);
        if (!length) return std::nullopt;
        size = *length;
        pieces += *key >> 3 == 1;
        break;
      }
      default:
        return std::nullopt;
    }
    if (size > text.size()) return std::nullopt;
    text.remove_prefix(size);
  }
  return pieces > 0 ? std::optional(pieces) : std::nullopt;
}

std::optional<uint64_t> CountEntries(const std::string& text, const std::string& name) {
  const auto vocabulary = Config::ParseJson(text, name);
  if (!vocabulary.ok() || !vocabulary->root().is_map() || vocabulary->root().map.empty()) return std::nullopt;
  return vocabulary->root().map.size();
}

}  // namespace

uint64_t PaddedVocab(uint64_t vocab, uint64_t divisor, int tp) {
  const uint64_t multiple = divisor * static_cast<uint64_t>(tp);
  return (vocab + multiple - 1) / multiple * multiple;
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

std::optional<uint64_t> CountTokens(const Checkpoint& checkpoint) {
  const ConfigNode* tokenizer = checkpoint.config ? checkpoint.config->root().Get("tokenizer") : nullptr;
  for (const std::string_view key : {"model", "tokenizer_model", "vocab_file"}) {
    const ConfigNode* node = tokenizer == nullptr ? nullptr : tokenizer->Get(key);
    const std::string name = node == nullptr ? std::string() : node->AsString().value_or("");
    if (!name.starts_with(kReference)) continue;
    const Artifact* file = checkpoint.FindArtifact(name.substr(kReference.size()));
    if (file == nullptr) continue;
    const auto text = file->content.ReadAll(kMaxTokenizerBytes);
    if (!text.ok() || text->empty()) continue;
    const auto count = text->front() == '{' ? CountEntries(*text, file->name) : CountPieces(*text);
    if (count) return count;
  }
  return std::nullopt;
}

}  // namespace anemone
