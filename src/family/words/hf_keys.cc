#include "family/words/hf_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace anemone::internal {
namespace {

// Keys that change nothing of what the weights compute, or are the tokenizer's.
constexpr std::string_view kHarmless[] = {"architectures",
                                          "auto_map",
                                          "bos_token_id",
                                          "cache_implementation",
                                          "decoder_start_token_id",
                                          "ep_size",
                                          "num_mtp_layers",
                                          "num_nextn_predict_layers",
                                          "seq_aux",
                                          "dtype",
                                          "eos_token_id",
                                          "gradient_checkpointing",
                                          "id2label",
                                          "is_decoder",
                                          "keys_to_ignore_at_inference",
                                          "label2id",
                                          "max_window_layers",
                                          "model_max_length",
                                          "model_type",
                                          "original_max_position_embeddings",
                                          "output_attentions",
                                          "output_hidden_states",
                                          "pad_token_id",
                                          "padded_vocab_size",
                                          "return_dict",
                                          "sep_token_id",
                                          "sliding_window_size",
                                          "summary_activation",
                                          "summary_first_dropout",
                                          "summary_proj_to_labels",
                                          "summary_type",
                                          "summary_use_proj",
                                          "task_specific_params",
                                          "tokenizer_class",
                                          "torch_dtype",
                                          "transformers_version",
                                          "unk_token_id",
                                          "unsloth_fixed",
                                          "unsloth_version",
                                          "vocab_size",
                                          "z_loss_weight",
                                          "_sliding_window_pattern",
                                          "_attn_implementation_autoset",
                                          "_from_model_config",
                                          "_name_or_path",
                                          "n_ctx",
                                          "attention_softmax_in_fp32",
                                          "scale_attention_softmax_in_fp32",
                                          "fp32_residual_connection",
                                          "runner_max_seq_length",
                                          "inference_runner",
                                          "validate_runner_input",
                                          "pre_allocate_kv_cache",
                                          "max_sequence_length",
                                          "max_batch_size",
                                          "classifier_dropout"};

constexpr HfActivation kActivations[] = {
    {"silu", "", "fast-swiglu", false},
    {"swish", "", "fast-swiglu", false},
    {"gelu_pytorch_tanh", "gelu", "fast-geglu", true},
    {"gelu_new", "gelu", "fast-geglu", true},
    {"gelu_fast", "gelu", "fast-geglu", true},
    {"gelu", "gelu", "fast-geglu", false},
    {"relu2", "squared-relu", "", false},
    {"relu", "", "fast-reglu", false},
};

// Another name that some version of transformers has for a key.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {{"num_experts", "num_local_experts"}};

constexpr HfKey kYarnKeys[] = {{"yarn_rotary_scaling_factor", "factor"},
                               {"yarn_original_max_position_embeddings", "original_max_position_embeddings"},
                               {"yarn_beta_fast", "beta_fast"},
                               {"yarn_beta_slow", "beta_slow"},
                               {"yarn_mscale", "mscale"},
                               {"yarn_mscale_all_dim", "mscale_all_dim"},
                               {"yarn_correction_range_round_to_int", "truncate"}};

}  // namespace

std::span<const HfActivation> HfActivations() { return kActivations; }

const HfActivation* FindHfActivation(std::string_view hf) {
  const auto* found = std::ranges::find(kActivations, hf, &HfActivation::hf);
  return found == std::end(kActivations) ? nullptr : found;
}

std::span<const HfKey> YarnKeys() { return kYarnKeys; }

std::string_view HfNameIn(const ConfigNode& json, std::string_view key) {
  if (json.Get(key) != nullptr) return key;
  for (const auto& [name, alias] : kAliases) {
    if (name == key && json.Get(alias) != nullptr) return alias;
  }
  return key;
}

void NoteUnknownKeys(const ConfigNode& json, const std::function<bool(std::string_view key)>& is_known,
                     std::vector<std::string>* notes) {
  for (const auto& [key, value] : json.map) {
    if (std::ranges::find(kHarmless, key) == std::end(kHarmless) && !is_known(key))
      notes->push_back(fmt::format("{}: not known to change what the model computes, left alone", key));
  }
}

}  // namespace anemone::internal
