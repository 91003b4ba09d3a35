// Decoders as transformers names their tensors: a dialect for each spelling, not for each architecture.
//
// Facts: transformers 4.44.2 modeling_{llama,mistral,mixtral,qwen2,gemma,gemma2,nemotron,starcoder2,phi3,falcon,
// gpt_bigcode,gpt2,gpt_neox}.py, 4.51 modeling_{qwen3,qwen3_moe}.py, 5.24 modeling_deepseek_{v2,v3}.py and
// conversion_mapping.py;
// THUDM/chatglm2-6b and baichuan-inc/Baichuan2-7B-Base modeling files; NeMo v2.0.0 scripts/checkpoint_converters.
// Hugging Face and Megatron both rotate halves of a head's vector, so no rows of queries and keys change places.
#include <fmt/format.h>

#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/gpt/mtp.h"

namespace anemone {
namespace {

using R = StoredRow;

// How one spelling calls the modules: those of a layer without the layer's own name.
struct Spelling {
  std::string_view name = {}, title = {};
  std::string_view embedding = "model.embed_tokens", positions = {};
  std::string_view layer = "model.layers.{i}";
  std::string_view norm1 = "input_layernorm", norm2 = "post_attention_layernorm";
  std::string_view qkv = "self_attn.{q,k,v}_proj";
  const Transform* qkv_transform = &kStack;
  std::string_view attention_out = "self_attn.o_proj";
  std::string_view gated_up = "mlp.{gate,up}_proj", plain_up = "mlp.up_proj", down = "mlp.down_proj";
  const Transform* linear = &kSame;  // of the weights of linear layers
  std::string_view router = {}, experts_up = {}, experts_down = {};
  bool has_stacked_experts = false;                                    // all of a layer are one tensor
  std::string_view score_bias = {}, shared_up = {}, shared_down = {};  // of DeepSeek's experts
  bool is_latent = false;                                              // DeepSeek's attention
  std::string_view final_norm = "model.norm", output = "lm_head";
  std::string_view rotary = "self_attn.rotary_emb";  // whose frequencies older versions stored
  std::string_view buffers = {};                     // of attention: causal masks that older versions stored
  bool has_post_norms = false, has_qk_norms = false;
  bool has_mtp = false;  // layers that predict several tokens may follow
  std::string_view never = {};
};

constexpr std::string_view kUnequal = "heads*head_dim | groups*head_dim | groups*head_dim";

R Row(std::string name, std::string_view canonical, const Transform& transform = kSame, std::string_view only = {}) {
  R row{.name = std::move(name), .canonical = std::string(canonical), .transform = &transform};
  row.only = only;
  return row;
}

bool HasWords(std::string_view name) { return name.find(',') != std::string_view::npos; }

// A linear layer's weight and bias; one of several words is stacked of equal parts.
std::vector<R> Linear(const Spelling& spelling, std::string_view name, std::string_view canonical,
                      std::string_view only = {}) {
  const Transform& stacked = HasWords(name) ? kStack : kSame;
  const Transform& weight = &stacked == &kSame ? *spelling.linear : stacked;
  return {Row(fmt::format("{}.{}.weight", spelling.layer, name), fmt::format("layers.{{i}}.{}.weight", canonical),
              weight, only),
          Row(fmt::format("{}.{}.bias", spelling.layer, name), fmt::format("layers.{{i}}.{}.bias", canonical), stacked,
              only)};
}

std::vector<R> Qkv(const Spelling& spelling) {
  const Transform& of_bias = spelling.qkv_transform == &kTranspose ? kSame : *spelling.qkv_transform;
  std::vector<R> rows = {
      Row(fmt::format("{}.{}.weight", spelling.layer, spelling.qkv), "layers.{i}.attn.qkv.weight",
          *spelling.qkv_transform),
      Row(fmt::format("{}.{}.bias", spelling.layer, spelling.qkv), "layers.{i}.attn.qkv.bias", of_bias)};
  for (R& row : rows) {
    if (row.transform == &kStack) row.parts = kUnequal;
  }
  return rows;
}

// Rows of queries and keys are rotated in pairs by both sides; none change places [core_v0.11.0 rope_utils.py].
std::vector<R> Latent(const Spelling& spelling) {
  std::vector<R> rows;
  for (const auto& [name, canonical] : {std::pair{"q_proj", "q"},
                                        {"q_a_proj", "q_a"},
                                        {"q_a_layernorm", "q_a_norm"},
                                        {"q_b_proj", "q_b"},
                                        {"kv_a_proj_with_mqa", "kv_a"},
                                        {"kv_a_layernorm", "kv_a_norm"},
                                        {"kv_b_proj", "kv_b"}}) {
    rows.push_back(Row(fmt::format("{}.self_attn.{}.weight", spelling.layer, name),
                       fmt::format("layers.{{i}}.attn.{}.weight", canonical)));
  }
  return rows;
}

std::vector<R> QkNorms(const Spelling& spelling) {
  if (!spelling.has_qk_norms) return {};
  return {Row(fmt::format("{}.self_attn.q_norm.weight", spelling.layer), "layers.{i}.attn.q_norm.weight"),
          Row(fmt::format("{}.self_attn.k_norm.weight", spelling.layer), "layers.{i}.attn.k_norm.weight")};
}

std::vector<R> Norm(std::string_view name, std::string_view canonical, std::string_view only = {}) {
  return {Row(fmt::format("{}.weight", name), fmt::format("{}.weight", canonical), kSame, only),
          Row(fmt::format("{}.bias", name), fmt::format("{}.bias", canonical), kSame, only)};
}

std::vector<R> LayerNorm(const Spelling& spelling, std::string_view name, std::string_view canonical,
                         std::string_view only = {}) {
  return Norm(fmt::format("{}.{}", spelling.layer, name), fmt::format("layers.{{i}}.{}", canonical), only);
}

R PostNorm(const Spelling& spelling, std::string_view name, std::string_view canonical) {
  return Row(fmt::format("{}.{}.weight", spelling.layer, name),
             fmt::format("layers.{{i}}.{}.post_norm.weight", canonical), kSame, "post_norms");
}

R Dropped(std::string name, std::string why) {
  return {.name = std::move(name), .role = Role::kDrop, .why = std::move(why)};
}

// Gemma 2 calls another norm post_attention_layernorm than everybody else.
std::vector<R> SecondNorm(const Spelling& spelling) {
  if (spelling.norm2.empty()) return {};
  if (!spelling.has_post_norms) return LayerNorm(spelling, spelling.norm2, "norm2");
  return Join<R>({
      LayerNorm(spelling, spelling.norm2, "norm2", "!post_norms"),
      {PostNorm(spelling, "post_attention_layernorm", "attn")},
      LayerNorm(spelling, "pre_feedforward_layernorm", "norm2", "post_norms"),
      {PostNorm(spelling, "post_feedforward_layernorm", "mlp")},
  });
}

std::vector<R> Mlp(const Spelling& spelling) {
  std::vector<R> up;
  if (spelling.gated_up == spelling.plain_up) {
    up = Linear(spelling, spelling.plain_up, "mlp.up");
  } else {
    if (!spelling.gated_up.empty()) up = Linear(spelling, spelling.gated_up, "mlp.up", "glu");
    if (!spelling.plain_up.empty()) up = Join<R>({up, Linear(spelling, spelling.plain_up, "mlp.up", "!glu")});
  }
  return Join<R>({std::move(up), Linear(spelling, spelling.down, "mlp.down")});
}

// Those of a layer are one tensor. None of these models has biases, which would be called as gpt-oss calls them.
std::vector<R> StackedExperts(const Spelling& spelling) {
  std::vector<R> rows;
  for (const auto& [name, part, rows_of_one, columns] :
       {std::tuple(spelling.experts_up, "up", "expert_up_rows", "width"),
        {spelling.experts_down, "down", "width", "expert_ffn"}}) {
    R weight =
        Row(fmt::format("{}.{}", spelling.layer, name), fmt::format("layers.{{i}}.experts.{}.weight", part), kReshape);
    R bias = Row(fmt::format("{}.{}_bias", spelling.layer, name), fmt::format("layers.{{i}}.experts.{}.bias", part),
                 kReshape);
    weight.shape = fmt::format("experts, {}, {}", rows_of_one, columns);
    bias.shape = fmt::format("experts, {}", rows_of_one);
    rows.push_back(std::move(weight));
    rows.push_back(std::move(bias));
  }
  return rows;
}

// [w1 = gate; w3 = up] of one expert after the other.
std::vector<R> Experts(const Spelling& spelling) {
  if (spelling.router.empty()) return {};
  const R router = Row(fmt::format("{}.{}.weight", spelling.layer, spelling.router), "layers.{i}.router.weight");
  if (spelling.has_stacked_experts) return Join<R>({{router}, StackedExperts(spelling)});
  return {
      router,
      Row(fmt::format("{}.{}.weight", spelling.layer, spelling.experts_up), "layers.{i}.experts.up.weight", kStack),
      Row(fmt::format("{}.{}.bias", spelling.layer, spelling.experts_up), "layers.{i}.experts.up.bias", kStack),
      Row(fmt::format("{}.{}.weight", spelling.layer, spelling.experts_down), "layers.{i}.experts.down.weight", kStack),
      Row(fmt::format("{}.{}.bias", spelling.layer, spelling.experts_down), "layers.{i}.experts.down.bias", kStack),
  };
}

// What DeepSeek's layers have beside them.
std::vector<R> SharedExperts(const Spelling& spelling) {
  if (spelling.shared_up.empty()) return {};
  return {
      Row(fmt::format("{}.{}", spelling.layer, spelling.score_bias), "layers.{i}.router.score_bias"),
      Row(fmt::format("{}.{}.weight", spelling.layer, spelling.shared_up), "layers.{i}.shared.up.weight", kStack),
      Row(fmt::format("{}.{}.weight", spelling.layer, spelling.shared_down), "layers.{i}.shared.down.weight"),
  };
}

// Flags of models that alone have what a spelling has no rows for.
std::string NeverOf(const Spelling& spelling) {
  std::string never(spelling.never);
  never += spelling.is_latent ? ", !mla" : ", mla";
  if (spelling.shared_up.empty()) never += ", score_bias, shared_ffn";
  if (spelling.has_mtp) never += ", mtp.post_norms, mtp.qk_norm, !mtp.mla";
  return never;
}

Dialect Spelled(const Spelling& spelling) {
  R output = Row(fmt::format("{}.weight", spelling.output), "output.weight", kSame, "!tied");
  R copy{.name = output.name,
         .canonical = "token_embedding.weight",
         .role = Role::kDropCopy,
         .why = "the output layer is the embedding"};
  copy.only = "tied";
  const std::vector<R> layer = Join<R>({
      spelling.is_latent ? Latent(spelling) : Qkv(spelling),
      QkNorms(spelling),
      Linear(spelling, spelling.attention_out, "attn.out"),
      Mlp(spelling),
      Experts(spelling),
      SharedExperts(spelling),
      LayerNorm(spelling, spelling.norm1, "norm1"),
      SecondNorm(spelling),
      {Dropped(fmt::format("{}.{}.inv_freq", spelling.layer, spelling.rotary),
               "rotary frequencies are computed, not learned")},
  });
  std::vector<R> rows = Join<R>({
      {Row(fmt::format("{}.weight", spelling.embedding), "token_embedding.weight")},
      spelling.positions.empty()
          ? std::vector<R>()
          : std::vector<R>{Row(fmt::format("{}.weight", spelling.positions), "position_embedding.weight")},
      layer,
      spelling.has_mtp ? HfMtp(layer) : std::vector<R>(),
      Norm(spelling.final_norm, "final_norm"),
      {output, copy},
  });
  if (spelling.layer.starts_with("model."))
    rows.push_back(Dropped("model.rotary_emb.inv_freq", "rotary frequencies are computed, not learned"));
  if (!spelling.buffers.empty()) {
    for (const char* name : {"bias", "masked_bias"}) {
      rows.push_back(
          Dropped(fmt::format("{}.{}.{}", spelling.layer, spelling.buffers, name), "a mask that the code makes anew"));
    }
  }
  return {.name = std::string(spelling.name),
          .title = std::string(spelling.title),
          .prefixes = {""},
          .rows = std::move(rows),
          .never = NeverOf(spelling),
          .language = ConfigLanguage::kHuggingFace};
}

constexpr std::string_view kPlain = "experts, learned_absolute, post_norms, qk_norm";

Dialect Llama() {
  return Spelled({.name = "hf",
                  .title = "Hugging Face transformers, as Llama",
                  .has_post_norms = true,
                  .has_qk_norms = true,
                  .never = "experts, learned_absolute"});
}

Dialect Mixtral() {
  return Spelled({.name = "hf_mixtral",
                  .title = "Hugging Face transformers, Mixtral",
                  .router = "block_sparse_moe.gate",
                  .experts_up = "block_sparse_moe.experts.{e}.{w1,w3}",
                  .experts_down = "block_sparse_moe.experts.{e}.w2",
                  .never = "learned_absolute, post_norms, qk_norm"});
}

Dialect QwenMoe() {
  return Spelled({.name = "hf_moe",
                  .title = "Hugging Face transformers, experts as Qwen3-MoE",
                  .router = "mlp.gate",
                  .experts_up = "mlp.experts.{e}.{gate,up}_proj",
                  .experts_down = "mlp.experts.{e}.down_proj",
                  .has_qk_norms = true,
                  .never = "learned_absolute, post_norms"});
}

Spelling DeepSeekSpelling() {
  return {.name = "hf_deepseek",
          .title = "Hugging Face transformers, DeepSeek V2 and V3",
          .router = "mlp.gate",
          .experts_up = "mlp.experts.{e}.{gate,up}_proj",
          .experts_down = "mlp.experts.{e}.down_proj",
          .score_bias = "mlp.gate.e_score_correction_bias",
          .shared_up = "mlp.shared_experts.{gate,up}_proj",
          .shared_down = "mlp.shared_experts.down_proj",
          .is_latent = true,
          .has_mtp = true,
          .never = "learned_absolute, post_norms, qk_norm"};
}

Dialect DeepSeek() { return Spelled(DeepSeekSpelling()); }

Dialect StarCoder2() {
  return Spelled({.name = "hf_starcoder2",
                  .title = "Hugging Face transformers, StarCoder2",
                  .gated_up = "mlp.c_fc",
                  .plain_up = "mlp.c_fc",
                  .down = "mlp.c_proj",
                  .never = kPlain});
}

Dialect Phi3() {
  return Spelled({.name = "hf_phi3",
                  .title = "Hugging Face transformers, Phi-3",
                  .qkv = "self_attn.qkv_proj",
                  .qkv_transform = &kSame,
                  .gated_up = "mlp.gate_up_proj",
                  .plain_up = "mlp.gate_up_proj",
                  .never = kPlain});
}

Dialect Baichuan() {
  return Spelled({.name = "hf_baichuan",
                  .title = "Baichuan2",
                  .qkv = "self_attn.W_pack",
                  .qkv_transform = &kSame,
                  .never = kPlain});
}

Spelling FalconSpelling() {
  return {.embedding = "transformer.word_embeddings",
          .layer = "transformer.h.{i}",
          .qkv = "self_attention.query_key_value",
          .qkv_transform = &kInterleave,
          .attention_out = "self_attention.dense",
          .gated_up = "mlp.dense_h_to_4h",
          .plain_up = "mlp.dense_h_to_4h",
          .down = "mlp.dense_4h_to_h",
          .final_norm = "transformer.ln_f",
          .never = kPlain};
}

Dialect Falcon() {
  Spelling spelling = FalconSpelling();
  spelling.name = "hf_falcon";
  spelling.title = "Hugging Face transformers, Falcon 40B and 180B";
  spelling.norm1 = "ln_attn";
  spelling.norm2 = "ln_mlp";
  return Spelled(spelling);
}

// The 7B has one norm a layer, the RW models two.
Dialect OldFalcon() {
  Spelling spelling = FalconSpelling();
  spelling.name = "hf_falcon_old";
  spelling.title = "Hugging Face transformers, Falcon 7B and RW";
  return Spelled(spelling);
}

Spelling NeoXSpelling() {
  return {.name = "hf_neox",
          .title = "Hugging Face transformers, GPT-NeoX",
          .embedding = "gpt_neox.embed_in",
          .layer = "gpt_neox.layers.{i}",
          .qkv = "attention.query_key_value",
          .qkv_transform = &kInterleave,
          .attention_out = "attention.dense",
          .gated_up = "mlp.dense_h_to_4h",
          .plain_up = "mlp.dense_h_to_4h",
          .down = "mlp.dense_4h_to_h",
          .final_norm = "gpt_neox.final_layer_norm",
          .output = "embed_out",
          .rotary = "attention.rotary_emb",
          .buffers = "attention",
          .never = kPlain};
}

Dialect NeoX() { return Spelled(NeoXSpelling()); }

Spelling Gpt2Spelling() {
  return {.embedding = "transformer.wte",
          .positions = "transformer.wpe",
          .layer = "transformer.h.{i}",
          .norm1 = "ln_1",
          .norm2 = "ln_2",
          .qkv = "attn.c_attn",
          .attention_out = "attn.c_proj",
          .gated_up = "mlp.c_fc",
          .plain_up = "mlp.c_fc",
          .down = "mlp.c_proj",
          .final_norm = "transformer.ln_f",
          .buffers = "attn",
          .never = "experts, post_norms, qk_norm"};
}

// Its linear layers are transformers' Conv1D: weights stand [in, out].
Dialect Gpt2() {
  Spelling spelling = Gpt2Spelling();
  spelling.name = "hf_gpt2";
  spelling.title = "Hugging Face transformers, GPT-2";
  spelling.qkv_transform = spelling.linear = &kTranspose;
  Dialect dialect = Spelled(spelling);
  dialect.omitted = {{"transformer.", ""}};
  return dialect;
}

Dialect BigCode() {
  Spelling spelling = Gpt2Spelling();
  spelling.name = "hf_bigcode";
  spelling.title = "Hugging Face transformers, GPTBigCode";
  spelling.qkv_transform = &kSame;
  return Spelled(spelling);
}

Dialect ChatGlm() {
  Dialect dialect = Spelled({.name = "hf_chatglm",
                             .title = "ChatGLM2 and 3",
                             .embedding = "transformer.embedding.word_embeddings",
                             .layer = "transformer.encoder.layers.{i}",
                             .qkv = "self_attention.query_key_value",
                             .qkv_transform = &kSame,
                             .attention_out = "self_attention.dense",
                             .gated_up = "mlp.dense_h_to_4h",
                             .plain_up = "mlp.dense_h_to_4h",
                             .down = "mlp.dense_4h_to_h",
                             .final_norm = "transformer.encoder.final_layernorm",
                             .output = "transformer.output_layer",
                             .never = kPlain});
  dialect.rows.push_back(
      Dropped("transformer.rotary_pos_emb.inv_freq", "rotary frequencies are computed, not learned"));
  return dialect;
}

// The names of modules in the memory of transformers 5, which saves them under those of version 4: state_dict(), and
// files that trainers save of it.
std::vector<Dialect> InMemory() {
  Spelling deepseek = DeepSeekSpelling();
  deepseek.name = "hf_deepseek_v5";
  deepseek.title = "transformers 5 in memory, DeepSeek V2 and V3";
  deepseek.has_mtp = false;
  Spelling neox = NeoXSpelling();
  neox.name = "hf_neox_v5";
  neox.title = "transformers 5 in memory, GPT-NeoX";
  neox.output = "lm_head";
  Spelling moe = {.name = "hf_moe_v5",
                  .title = "transformers 5 in memory, experts of Mixtral and Qwen3-MoE",
                  .router = "mlp.gate",
                  .has_qk_norms = true,
                  .never = "learned_absolute, post_norms"};
  for (Spelling* spelling : {&deepseek, &moe}) {
    spelling->experts_up = "mlp.experts.gate_up_proj";
    spelling->experts_down = "mlp.experts.down_proj";
    spelling->has_stacked_experts = true;
  }
  std::vector<Dialect> dialects = {Spelled(deepseek), Spelled(neox), Spelled(moe)};
  for (Dialect& dialect : dialects) dialect.is_read_only = true;
  return dialects;
}

}  // namespace

std::vector<Dialect> GptHuggingFace() {
  return Join<Dialect>({{Llama(), Mixtral(), QwenMoe(), DeepSeek(), StarCoder2(), Phi3(), Baichuan(), Falcon(),
                         OldFalcon(), NeoX(), Gpt2(), BigCode(), ChatGlm()},
                        InMemory()});
}

}  // namespace anemone
