// Adapters of low rank (LoRA) as Hugging Face's PEFT, NeMo 1 and NeMo 2 store them: two matrices a module, without the
// weights that they adapt.
#ifndef ANEMONE_ADAPTER_ADAPTER_H_
#define ANEMONE_ADAPTER_ADAPTER_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// What is added to a weight: out · in · scale.
struct LowRank {
  Tensor in;   // [rank, columns of the weight]
  Tensor out;  // [rows of the weight, rank]
  double alpha = 0;
  double scale = 0;  // alpha / rank, or alpha / √rank
  uint64_t rank() const { return in.shape()[0]; }
};

struct Adapter {
  // By the weight's name, as the writer of the adapter calls it. NeMo 1 calls parts of a fused layer by names of its
  // own; these are among `hf`, as Llama has them.
  using Modules = std::map<std::string, LowRank>;
  Modules megatron, hf;
  // Weights that are adapted, as PEFT stores an embedding's and a head's beside the matrices.
  using Bases = std::map<std::string, Tensor>;
  Bases bases = {};
  double dropout = 0;     // of training alone
  std::string base = {};  // of which model: a path or a hub's name; "": it does not say
  std::vector<std::string> notes = {};
};

// True when a checkpoint holds an adapter's matrices and nothing else but, perhaps, the projector that NeVA trains with
// them.
bool HoldsAdapter(const Checkpoint& checkpoint);
// Moves NeVA's projector out of the adapter and returns it; nullopt where there is none.
Result<std::optional<Checkpoint>> TakeProjectorOff(Checkpoint* adapter);

// Errors: NotFound (no adapter there), Unsupported naming what of the adapter is not carried, Corrupt.
Result<Adapter> ReadAdapter(const Checkpoint& checkpoint);

// What PEFT puts before a module's name.
inline constexpr std::string_view kPeftPrefix = "base_model.model.";

// How NeMo 1 calls an adapter, and what it adapts in Megatron-core, in legacy Megatron, and in transformers where it
// adapts a part of those; and the layer's name in NeMo 1's list of target modules.
struct NemoAdapter {
  std::string_view name, mcore, legacy, hf, target;
};
inline constexpr std::array<NemoAdapter, 9> kNemoAdapters = {{
    {"lora_kqv_adapter", "linear_qkv", "query_key_value", "", "attention_qkv"},
    {"lora_dense_attention_adapter", "linear_proj", "dense", "", "attention_dense"},
    {"lora_hto4h_adapter", "linear_fc1", "dense_h_to_4h", "", "mlp_fc1"},
    {"lora_4htoh_adapter", "linear_fc2", "dense_4h_to_h", "", "mlp_fc2"},
    {"lora_unfused_kqv_adapter.q_adapter", "", "", "self_attn.q_proj", "attention_qkv"},
    {"lora_unfused_kqv_adapter.k_adapter", "", "", "self_attn.k_proj", "attention_qkv"},
    {"lora_unfused_kqv_adapter.v_adapter", "", "", "self_attn.v_proj", "attention_qkv"},
    {"lora_unfused_hto4h_adapter.gate_adapter", "", "", "mlp.gate_proj", "mlp_fc1"},
    {"lora_unfused_hto4h_adapter.up_adapter", "", "", "mlp.up_proj", "mlp_fc1"},
}};

// A dialect's row in one layer, and the adapters of its parts; null: that part is not adapted.
struct AdaptedRow {
  size_t row = 0;
  uint64_t layer = 0;
  std::vector<const LowRank*> parts;
  const CanonicalRow* canonical = nullptr;
  Shape shape;                // of the canonical tensor
  std::vector<Shape> shapes;  // of the parts' weights, as the dialect stores them
};
// Every row that `modules` adapt. Each adapter is of its weight's shape. Errors: Corrupt naming a module that the model
// does not have, or whose shape is another.
Result<std::vector<AdaptedRow>> RowsOf(const Adapter::Modules& modules, const NameMatcher& names, const Family& family,
                                       const ModelSymbols& symbols);

// Whether the row's weights are stored [in, out], as transformers' Conv1D has them.
bool IsTransposed(const StoredRow& row);

// The spelling of an adapter's names in NeMo: the one of its `megatron` modules.
const Dialect* MegatronSpelling(const Adapter& adapter, const Family& family);

}  // namespace anemone

#endif  // ANEMONE_ADAPTER_ADAPTER_H_
