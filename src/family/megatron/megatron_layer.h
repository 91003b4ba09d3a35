// The transformer layer that Megatron's models share: its canonical tensors, how Megatron-core and legacy Megatron
// spell them, and the sizes that a config gives it.
//
// A layer is called {P} where it is stored ("decoder.layers.{i}") and {C} in the canonical rows ("layers.{i}", or
// "text.layers.{i}" in a tower). Rows stand in the order of the modules' parameters.
#ifndef ANEMONE_FAMILY_MEGATRON_MEGATRON_LAYER_H_
#define ANEMONE_FAMILY_MEGATRON_MEGATRON_LAYER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"
#include "schema/table.h"

namespace anemone {

// What a family's layers may have besides attention and a plain MLP.
struct LayerParts {
  bool gated = false;            // an MLP of gate and up, where the flag "glu" is set
  bool qk_norm = false;          // norms of queries and keys, where "qk_norm" is set
  bool cross_attention = false;  // attention that reads an encoder
  bool legacy = true;            // legacy Megatron has it, too, with queries, keys and values apart where
                                 // "qkv_stacked" is set
  // A mixture of experts in the MLP's place, where "experts" is not 0, in layers where "moe_layer" is set; beside them
  // an expert that all tokens share, where "shared_ffn" is not 0.
  bool experts = false;
  // Attention whose keys and values are computed from a latent vector of each token, where "mla" is set (DeepSeek).
  bool latent = false;
  // Norms in unusual places: one for attention and MLP alike where "single_norm" is set, apart from the linear layers
  // behind them where "norms_apart" is (Falcon); norms of what attention and MLP add, where "post_norms" is (Gemma 2).
  bool other_norms = false;
  // Legacy Megatron says "norm" for "layernorm" [Megatron-LM core_v0.4.0 … core_v0.15.0 megatron/legacy/model].
  bool short_norms = false;
};

// The sizes and flags that the rows below speak of.
std::vector<Symbol> LayerSymbols(std::string_view tower, const LayerParts& parts);
std::vector<CanonicalRow> CanonicalLayer(std::string_view tower, const LayerParts& parts);
std::vector<StoredRow> McoreLayer(std::string_view tower, std::string_view name, const LayerParts& parts);
std::vector<StoredRow> LegacyLayer(std::string_view tower, std::string_view name, const LayerParts& parts);

// Transformer Engine's `_extra_state` of a module. NeMo restores strictly, so the linear layers' must be there; the
// others come and go with the version of Transformer Engine and are only read (kReadOnly).
StoredRow StateRow(std::string name, std::string_view when = "", Stage stage = Stage::kLayer);

// A table with a row a token, padded and divided over tensor ranks by rows: an embedding, an output layer, its bias.
StoredRow VocabTable(std::string name, std::string canonical, Stage stage);

// Sets them from a tower's part of NeMo's config; which of its forms a mixture of experts has is for the family to say.
// Errors: Corrupt naming the key.
Status SetLayerSymbols(const ConfigNode& config, std::string_view tower, const LayerParts& parts,
                       ModelSymbols* symbols);

// The config's model: NeMo's YAML has it at the top or under `cfg`.
const ConfigNode& ModelNode(const Config& config);
// What a key of a config says; `fallback` stands in where it is not there or null. Errors: Corrupt naming the key for
// what is something else, for a size below 1, and for a size that is not there and has no fallback. A flag may be 0 or
// 1, as in Python.
Result<uint64_t> SizeOf(const ConfigNode& node, std::string_view key, std::optional<uint64_t> fallback = std::nullopt);
Result<bool> FlagOf(const ConfigNode& node, std::string_view key, bool fallback);
Result<std::string> TextOf(const ConfigNode& node, std::string_view key, std::string_view fallback);

// Which layers have experts in their MLP's place, by `num_moe_experts` and `moe_layer_freq`: a number, of which layers
// in every so many, or a list of 0 and 1. Errors: Corrupt naming the key.
Result<std::vector<bool>> ExpertLayers(const ConfigNode& model, uint64_t layers);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_MEGATRON_MEGATRON_LAYER_H_
