// A checkpoint of Hugging Face's that a config alone tells.
#ifndef ANEMONE_TESTS_UNIT_CONVERT_HOLLOW_MODEL_H_
#define ANEMONE_TESTS_UNIT_CONVERT_HOLLOW_MODEL_H_

#include <string>
#include <utility>

#include "anemone/checkpoint.h"
#include "family/families.h"

namespace anemone {

// A model of Hugging Face's by its config alone: the elements of each tensor are one number.
inline Result<Checkpoint> Hollow(const ConfigNode& config) {
  const std::string type = config.Get("model_type")->AsString().value_or("");
  const bool is_t5 = type == "t5" || type == "mt5";
  const Family& family = is_t5 ? T5Family() : type == "bert" ? BertFamily() : GptFamily();
  Checkpoint model;
  model.config = Config(config);
  model.config_name = "config.json";
  StateDict& weights = model.shards.emplace_back().weights;
  const Dialect* dialect =
      family.FindDialect(family.dialect_of != nullptr ? family.dialect_of(*model.config) : std::string_view("hf"));
  if (dialect == nullptr) return Corrupt("expected a known class");
  const DType dtype = config.Get("torch_dtype")->AsString() == "float32" ? DType::kF32 : DType::kBF16;
  const char* vocabulary = config.Get("padded_vocab_size") != nullptr ? "padded_vocab_size" : "vocab_size";
  const uint64_t rows = static_cast<uint64_t>(*config.Get(vocabulary)->AsInt());
  for (const StoredRow& row : dialect->rows) {  // from whose rows the family tells the vocabulary
    const bool is_table = row.canonical.ends_with("token_embedding.weight") && row.role == Role::kTensor;
    if (!is_table || row.when == kReadOnly) continue;
    ANEMONE_ASSIGN(Tensor table, Tensor::Fill(dtype, {rows, 1}, 0));
    ANEMONE_TRY(weights.Add(row.name, std::move(table)));
  }
  // The number of layers that predict several tokens counts where there is one.
  ANEMONE_ASSIGN(Tensor join, Tensor::Fill(dtype, {1, 1}, 0));
  if (config.Get("num_nextn_predict_layers") != nullptr) ANEMONE_TRY(weights.Add("eh_proj.eh_proj.weight", join));
  ANEMONE_ASSIGN(const ModelSymbols symbols, family.SymbolsOf(model, *dialect, {}));
  StateDict canonical;
  ANEMONE_TRY(ForEachTensor(family.canonical, symbols, [&](std::string name, const Shape& shape) -> Status {
    ANEMONE_ASSIGN(Tensor zeros, Tensor::Fill(dtype, shape, 0));
    return canonical.Add(std::move(name), std::move(zeros));
  }));
  ANEMONE_ASSIGN(const StateDict stored, FromCanonical(canonical, *dialect, family.canonical, symbols, true, nullptr));
  weights = {};
  int number = 0;
  for (const StateDict::Item& item : stored.items()) {
    // A table and its copies have one number.
    const int of_table = item.name.ends_with("embed_tokens.weight") ? 252
                         : item.name.ends_with("head.weight")       ? 253
                                                                    : 0;
    ANEMONE_ASSIGN(Tensor filled,
                   Tensor::Fill(dtype, item.tensor()->shape(), of_table > 0 ? of_table : ++number % 251 + 1));
    ANEMONE_TRY(weights.Add(item.name, std::move(filled)));
  }
  return model;
}

}  // namespace anemone

#endif  // ANEMONE_TESTS_UNIT_CONVERT_HOLLOW_MODEL_H_
