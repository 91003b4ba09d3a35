// T5 as legacy Megatron stores it in NeMo: an encoder and a decoder that follow each other along the pipeline.
//
// Facts: NeMo v2.0.0 token_level_encoder_decoder.py, megatron_t5_model.py; files that NeMo wrote (tests/golden): the
// prefix stands twice before layers, and the decoder's embedding is a stored copy of the encoder's.
#include <fmt/format.h>

#include "family/families.h"
#include "family/megatron_layer.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

LayerParts PartsOf(std::string_view tower) { return {.gated = true, .cross_attention = tower == "decoder"}; }

// A decoder that shares its tokens' embedding with the encoder shares that of the positions too.
std::vector<C> Embeddings(std::string_view tower) {
  std::vector<C> rows =
      ForTower(tower, std::vector<C>{
                          {"{T}.token_embedding.weight", "{T}.vocab, {T}.width", "", ""},
                          {"{T}.position_embedding.weight", "positions, {T}.width", "learned_absolute", ""},
                      });
  if (tower == "encoder") return rows;
  rows[0].copy_of = "encoder.token_embedding.weight";
  rows[1].copy_of = "encoder.position_embedding.weight";
  for (C& row : rows) row.tied = "shared_embeddings";
  return rows;
}

std::vector<C> CanonicalTower(std::string_view tower) {
  return Join<C>({
      Embeddings(tower),
      CanonicalLayer(tower, PartsOf(tower)),
      ForTower(tower,
               std::vector<C>{
                   {"{T}.final_norm.weight", "{T}.width", "", ""},
                   {"{T}.final_norm.bias", "{T}.width", "{T}.norm_bias", ""},
               }),
  });
}

std::vector<C> Canonical() {
  return Join<C>({CanonicalTower("encoder"), CanonicalTower("decoder"),
                  ForTower("decoder", std::vector<C>{
                                          {"decoder.output.weight", "decoder.vocab, decoder.width", "!shared_head", ""},
                                          {"decoder.output.bias", "decoder.vocab", "tokens_head_bias", ""},
                                      })});
}

std::vector<R> Embedding(std::string_view tower) {
  return ForTower(tower,
                  std::vector<R>{
                      VocabTable("{T}_embedding.word_embeddings.weight", "{T}.token_embedding.weight", Stage::kFirst),
                      {.name = "{T}_embedding.position_embeddings.weight",
                       .canonical = "{T}.position_embedding.weight",
                       .stage = Stage::kFirst},
                  });
}

std::vector<R> Stack(std::string_view tower) {
  const Words words = {{"{P}", "enc_dec_model.{T}.model"}};
  return Join<R>({
      LegacyLayer(tower, "enc_dec_model.{T}.model.layers.{i}", PartsOf(tower)),
      ForTower(tower,
               std::vector<R>{
                   {.name = "{P}.final_layernorm.weight", .canonical = "{T}.final_norm.weight", .stage = Stage::kLast},
                   {.name = "{P}.final_layernorm.bias", .canonical = "{T}.final_norm.bias", .stage = Stage::kLast},
               },
               words),
  });
}

Dialect Legacy() {
  R head_state = ExtraState("tokens_head._extra_state");
  head_state.only = "!shared_head";
  return {"legacy",
          "NeMo T5, legacy Megatron",
          {"enc_dec_model.", "enc_dec_model.module."},
          Join<R>({
              Embedding("encoder"),
              Embedding("decoder"),
              Stack("encoder"),
              Stack("decoder"),
              ForTower("decoder",
                       std::vector<R>{
                           VocabTable("word_embeddings.weight", "decoder.token_embedding.weight", Stage::kTiedCopy),
                           VocabTable("tokens_head.weight", "decoder.output.weight", Stage::kLast),
                           VocabTable("tokens_head.bias", "decoder.output.bias", Stage::kLast),
                           head_state,
                       }),
          }),
          true};
}

Result<ModelSymbols> T5Symbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options) {
  std::string name;
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, &name));
  const ConfigNode& model = ModelNode(*config);
  ModelSymbols symbols;
  for (const std::string_view tower : {"encoder", "decoder"}) {
    // Older configs say it once for both towers, at the top.
    const ConfigNode& node = model.Get(tower) != nullptr ? *model.Get(tower) : model;
    ANEMONE_TRY(SetLayerSymbols(node, tower, &symbols).In(tower).In(name));
    symbols.Set("learned_absolute", TextOf(node, "position_embedding_type", "learned_absolute") == "learned_absolute");
    const uint64_t rows = StoredVocabRows(checkpoint, dialect, fmt::format("{}.token_embedding.weight", tower));
    symbols.Set(fmt::format("{}.vocab", tower), rows);
    symbols.Set(fmt::format("{}.padded_vocab", tower), rows);
  }
  auto positions = SizeOf(model, "max_position_embeddings", 512);
  if (!positions.ok()) return positions.status().In(name);
  symbols.Set("positions", *positions);
  symbols.Set("tokens_head_bias", FlagOf(model, "tokens_head_bias", true));
  const bool shared = FlagOf(model, "share_token_embeddings", true);
  const bool shared_head = FlagOf(model, "share_decoder_tokens_head_embeddings", true);
  symbols.Set("shared_embeddings", shared);
  symbols.Set("shared_head", shared_head);
  // NeMo v2.0.0 token_level_encoder_decoder.py, _validate_config.
  symbols.Set("one_stage", !shared || !shared_head);
  return symbols;
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
                                .read_symbols = T5Symbols,
                                .target = nullptr};
  return family;
}

}  // namespace anemone
