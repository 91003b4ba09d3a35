// T5 as legacy Megatron stores it in NeMo: an encoder and a decoder that follow each other along the pipeline.
//
// Facts: NeMo v2.0.0 token_level_encoder_decoder.py, megatron_t5_model.py; files that NeMo wrote (tests/golden): the
// prefix stands twice before layers, and the decoder's embedding is a stored copy of the encoder's.
#include <fmt/format.h>

#include "family/families.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

std::vector<C> Layer(std::string_view tower, bool crosses) {
  std::vector<C> rows =
      ForTower(tower, std::vector<C>{
                          {"{T}.token_embedding.weight", "{T}.vocab, {T}.width", "", ""},
                          {"{T}.position_embedding.weight", "positions, {T}.width", "learned_absolute", ""},
                          {"{T}.layers.{i}.norm1.weight", "{T}.width", "", ""},
                          {"{T}.layers.{i}.norm1.bias", "{T}.width", "{T}.norm_bias", ""},
                          {"{T}.layers.{i}.attn.qkv.weight", "3*{T}.heads*{T}.head_dim, {T}.width", "", ""},
                          {"{T}.layers.{i}.attn.qkv.bias", "3*{T}.heads*{T}.head_dim", "{T}.bias", ""},
                          {"{T}.layers.{i}.attn.out.weight", "{T}.width, {T}.heads*{T}.head_dim", "", ""},
                          {"{T}.layers.{i}.attn.out.bias", "{T}.width", "{T}.bias", ""},
                          {"{T}.layers.{i}.norm2.weight", "{T}.width", "", ""},
                          {"{T}.layers.{i}.norm2.bias", "{T}.width", "{T}.norm_bias", ""},
                      });
  if (crosses) {
    for (C& row :
         ForTower(tower, std::vector<C>{
                             {"{T}.layers.{i}.cross.q.weight", "{T}.heads*{T}.head_dim, {T}.width", "", ""},
                             {"{T}.layers.{i}.cross.q.bias", "{T}.heads*{T}.head_dim", "{T}.bias", ""},
                             {"{T}.layers.{i}.cross.kv.weight", "2*{T}.heads*{T}.head_dim, encoder.width", "", ""},
                             {"{T}.layers.{i}.cross.kv.bias", "2*{T}.heads*{T}.head_dim", "{T}.bias", ""},
                             {"{T}.layers.{i}.cross.out.weight", "{T}.width, {T}.heads*{T}.head_dim", "", ""},
                             {"{T}.layers.{i}.cross.out.bias", "{T}.width", "{T}.bias", ""},
                             {"{T}.layers.{i}.norm3.weight", "{T}.width", "", ""},
                             {"{T}.layers.{i}.norm3.bias", "{T}.width", "{T}.norm_bias", ""},
                         })) {
      rows.push_back(std::move(row));
    }
  }
  for (C& row : ForTower(tower, std::vector<C>{
                                    {"{T}.layers.{i}.mlp.up.weight", "{T}.up_rows, {T}.width", "", ""},
                                    {"{T}.layers.{i}.mlp.up.bias", "{T}.up_rows", "{T}.bias", ""},
                                    {"{T}.layers.{i}.mlp.down.weight", "{T}.width, {T}.ffn", "", ""},
                                    {"{T}.layers.{i}.mlp.down.bias", "{T}.width", "{T}.bias", ""},
                                    {"{T}.final_norm.weight", "{T}.width", "", ""},
                                    {"{T}.final_norm.bias", "{T}.width", "{T}.norm_bias", ""},
                                })) {
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<C> Canonical() {
  return Join<C>(
      {Layer("encoder", false), Layer("decoder", true),
       ForTower("decoder", std::vector<C>{{"decoder.output.bias", "decoder.vocab", "tokens_head_bias", ""}})});
}

R ExtraState(std::string name) { return {.name = std::move(name), .op = Op::kExtraState, .stage = Stage::kLayer}; }

std::vector<R> Embedding(std::string_view tower) {
  return ForTower(tower, std::vector<R>{
                             {.name = "{T}_embedding.word_embeddings.weight",
                              .canonical = "{T}.token_embedding.weight",
                              .op = Op::kPadVocab,
                              .split = Split::kVocab,
                              .stage = Stage::kFirst},
                             {.name = "{T}_embedding.position_embeddings.weight",
                              .canonical = "{T}.position_embedding.weight",
                              .stage = Stage::kFirst},
                         });
}

std::vector<R> Stack(std::string_view tower, bool crosses) {
  constexpr Stage L = Stage::kLayer;
  std::vector<R> cross;
  if (crosses) {
    cross = {
        {.name = "{P}.inter_attention.query.weight",
         .canonical = "{C}.cross.q.weight",
         .split = Split::kColumns,
         .stage = L},
        {.name = "{P}.inter_attention.query.bias",
         .canonical = "{C}.cross.q.bias",
         .split = Split::kColumns,
         .stage = L},
        ExtraState("{P}.inter_attention.query._extra_state"),
        {.name = "{P}.inter_attention.key_value.weight",
         .canonical = "{C}.cross.kv.weight",
         .split = Split::kKeyValue,
         .stage = L},
        {.name = "{P}.inter_attention.key_value.bias",
         .canonical = "{C}.cross.kv.bias",
         .split = Split::kKeyValue,
         .stage = L},
        ExtraState("{P}.inter_attention.key_value._extra_state"),
        {.name = "{P}.inter_attention.dense.weight",
         .canonical = "{C}.cross.out.weight",
         .split = Split::kRows,
         .stage = L},
        {.name = "{P}.inter_attention.dense.bias", .canonical = "{C}.cross.out.bias", .stage = L},
        ExtraState("{P}.inter_attention.dense._extra_state"),
        {.name = "{P}.post_inter_attention_layernorm.weight", .canonical = "{C}.norm3.weight", .stage = L},
        {.name = "{P}.post_inter_attention_layernorm.bias", .canonical = "{C}.norm3.bias", .stage = L},
    };
  }
  return ForTower(tower,
                  Join<R>({
                      {
                          {.name = "{P}.input_layernorm.weight", .canonical = "{C}.norm1.weight", .stage = L},
                          {.name = "{P}.input_layernorm.bias", .canonical = "{C}.norm1.bias", .stage = L},
                          {.name = "{P}.self_attention.query_key_value.weight",
                           .canonical = "{C}.attn.qkv.weight",
                           .op = Op::kMegatronQkv,
                           .split = Split::kQkv,
                           .stage = L},
                          {.name = "{P}.self_attention.query_key_value.bias",
                           .canonical = "{C}.attn.qkv.bias",
                           .op = Op::kMegatronQkv,
                           .split = Split::kQkv,
                           .stage = L},
                          ExtraState("{P}.self_attention.query_key_value._extra_state"),
                          {.name = "{P}.self_attention.dense.weight",
                           .canonical = "{C}.attn.out.weight",
                           .split = Split::kRows,
                           .stage = L},
                          {.name = "{P}.self_attention.dense.bias", .canonical = "{C}.attn.out.bias", .stage = L},
                          ExtraState("{P}.self_attention.dense._extra_state"),
                          {.name = "{P}.post_attention_layernorm.weight", .canonical = "{C}.norm2.weight", .stage = L},
                          {.name = "{P}.post_attention_layernorm.bias", .canonical = "{C}.norm2.bias", .stage = L},
                      },
                      cross,
                      {
                          {.name = "{P}.mlp.dense_h_to_4h{,_2}.weight",
                           .canonical = "{C}.mlp.up.weight",
                           .op = Op::kStack,
                           .split = Split::kColumns,
                           .stage = L,
                           .only = "{T}.two_matrices"},
                          {.name = "{P}.mlp.dense_h_to_4h{,_2}.bias",
                           .canonical = "{C}.mlp.up.bias",
                           .op = Op::kStack,
                           .split = Split::kColumns,
                           .stage = L,
                           .only = "{T}.two_matrices"},
                          {.name = "{P}.mlp.dense_h_to_4h.weight",
                           .canonical = "{C}.mlp.up.weight",
                           .split = Split::kGlu,
                           .stage = L,
                           .only = "!{T}.two_matrices"},
                          {.name = "{P}.mlp.dense_h_to_4h.bias",
                           .canonical = "{C}.mlp.up.bias",
                           .split = Split::kGlu,
                           .stage = L,
                           .only = "!{T}.two_matrices"},
                          ExtraState("{P}.mlp.dense_h_to_4h._extra_state"),
                          {.name = "{P}.mlp.dense_4h_to_h.weight",
                           .canonical = "{C}.mlp.down.weight",
                           .split = Split::kRows,
                           .stage = L},
                          {.name = "{P}.mlp.dense_4h_to_h.bias", .canonical = "{C}.mlp.down.bias", .stage = L},
                          ExtraState("{P}.mlp.dense_4h_to_h._extra_state"),
                          {.name = "enc_dec_model.{T}.model.final_layernorm.weight",
                           .canonical = "{T}.final_norm.weight",
                           .stage = Stage::kLast},
                          {.name = "enc_dec_model.{T}.model.final_layernorm.bias",
                           .canonical = "{T}.final_norm.bias",
                           .stage = Stage::kLast},
                      },
                  }),
                  {{"{P}", "enc_dec_model.{T}.model.layers.{i}"}, {"{C}", "{T}.layers.{i}"}});
}

Dialect Legacy() {
  return {"legacy",
          "NeMo T5, legacy Megatron",
          {"enc_dec_model.", "enc_dec_model.module."},
          Join<R>({
              Embedding("encoder"),
              Embedding("decoder"),
              Stack("encoder", false),
              Stack("decoder", true),
              ForTower("decoder",
                       std::vector<R>{
                           {.name = "word_embeddings.weight",
                            .canonical = "decoder.token_embedding.weight",
                            .op = Op::kPadVocab,
                            .split = Split::kVocab,
                            .stage = Stage::kTiedCopy},
                           {.name = "tokens_head.bias",
                            .canonical = "decoder.output.bias",
                            .op = Op::kPadVocab,
                            .split = Split::kVocab,
                            .stage = Stage::kLast},
                       }),
          }),
          true};
}

Result<Dims> T5Dims(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options) {
  if (!checkpoint.config && !options.hparams)
    return NotFound("expected a config beside the weights, found none", "pass NeMo's YAML with --hparams");
  const Config& config = checkpoint.config ? *checkpoint.config : *options.hparams;
  const ConfigNode* cfg = config.root().Get("cfg");
  const ConfigNode& model = cfg != nullptr && cfg->is_map() ? *cfg : config.root();
  Dims dims;
  const auto number = [](const ConfigNode* node, std::string_view key, uint64_t fallback) {
    const ConfigNode* child = node == nullptr ? nullptr : node->Get(key);
    const auto value = child == nullptr ? std::nullopt : child->AsInt();
    return value && *value > 0 ? static_cast<uint64_t>(*value) : fallback;
  };
  for (const std::string_view tower : {"encoder", "decoder"}) {
    // Older configs say it once for both towers, at the top.
    const ConfigNode* node = model.Get(tower) != nullptr ? model.Get(tower) : &model;
    const auto set = [&](std::string_view key, uint64_t value) { dims.Set(fmt::format("{}.{}", tower, key), value); };
    const uint64_t width = number(node, "hidden_size", 0), heads = number(node, "num_attention_heads", 0);
    const uint64_t layers = number(node, "num_layers", 0);
    if (width == 0 || heads == 0 || layers == 0) {
      return Corrupt(fmt::format("{}: {}: expected num_layers, hidden_size and num_attention_heads, found one missing",
                                 checkpoint.config_name, tower));
    }
    const uint64_t ffn = number(node, "ffn_hidden_size", 4 * width);
    const auto word = [&](std::string_view key, std::string fallback) {
      const ConfigNode* child = node->Get(key);
      return child == nullptr ? fallback : child->AsString().value_or(fallback);
    };
    const auto flag = [&](std::string_view key, bool fallback) {
      const ConfigNode* child = node->Get(key);
      return child == nullptr ? fallback : child->AsBool().value_or(fallback);
    };
    const std::string activation = word("activation", "gelu");
    const bool glu = activation.ends_with("glu");
    set("layers", layers);
    set("width", width);
    set("heads", heads);
    set("head_dim", number(node, "kv_channels", width / heads));
    set("ffn", ffn);
    set("glu", glu);
    set("two_matrices", glu && !activation.starts_with("fast-"));
    set("up_rows", glu ? 2 * ffn : ffn);
    set("bias", flag("bias", true));
    set("norm_bias", word("normalization", "layernorm") != "rmsnorm");
    set("qkv_stacked", flag("megatron_legacy", false));
    dims.Set("learned_absolute", word("position_embedding_type", "learned_absolute") == "learned_absolute");
    uint64_t rows = StoredVocabRows(checkpoint, dialect, fmt::format("{}.token_embedding.weight", tower));
    set("vocab", rows);
    set("padded_vocab", rows);
  }
  dims.Set("positions", number(&model, "max_position_embeddings", 512));
  const ConfigNode* head_bias = model.Get("tokens_head_bias");
  dims.Set("tokens_head_bias", head_bias == nullptr || head_bias->AsBool().value_or(true));
  return dims;
}

}  // namespace

const Family& T5Family() {
  static const Family family = {.name = "t5",
                                .title = "T5",
                                .canonical = Canonical(),
                                .dialects = {Legacy()},
                                .refusals = {{"relative_position_embedding", "a T5 with relative positions"},
                                             {"mlp.experts.", "a mixture of experts"}},
                                .tower_order = {"encoder", "decoder"},
                                .has_virtual_stages = false,
                                .dims = T5Dims,
                                .target = nullptr};
  return family;
}

}  // namespace anemone
