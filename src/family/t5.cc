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
  R head_state = ExtraState("tokens_head._extra_state", "", Stage::kLast);
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

std::vector<Symbol> Declared() {
  const auto tower = [](std::string_view name) {
    return Join<Symbol>({
        LayerSymbols(name, PartsOf(name)),
        ForTower(name,
                 std::vector<Symbol>{
                     Symbol::Size("{T}.vocab", "tokens"),
                     Symbol::Size("{T}.padded_vocab", "rows of the stored embedding"),
                 }),
    });
  };
  return Join<Symbol>({
      tower("encoder"),
      tower("decoder"),
      {
          Symbol::Size("positions", "of a sequence"),
          Symbol::Flag("learned_absolute", "positions have an embedding"),
          Symbol::Flag("tokens_head_bias", "the output layer has one"),
          Symbol::Flag("shared_embeddings", "encoder and decoder have one embedding"),
          Symbol::Flag("shared_head", "the output layer is the decoder's embedding"),
          Symbol::Flag("one_stage", "NeMo builds it on one pipeline stage only"),
      },
  });
}

Status ReadT5Symbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                     ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, &name));
  const ConfigNode& model = ModelNode(*config);
  for (const std::string_view tower : {"encoder", "decoder"}) {
    // Older configs say it once for both towers, at the top.
    const ConfigNode& node = model.Get(tower) != nullptr ? *model.Get(tower) : model;
    ANEMONE_TRY(SetLayerSymbols(node, tower, PartsOf(tower), symbols).In(tower).In(name));
    const auto positions_are = TextOf(node, "position_embedding_type", "learned_absolute");
    if (!positions_are.ok()) return positions_are.status().In(tower).In(name);
    symbols->Set("learned_absolute", *positions_are == "learned_absolute");
    ANEMONE_ASSIGN(const uint64_t rows,
                   StoredVocabRows(checkpoint, dialect, fmt::format("{}.token_embedding.weight", tower)));
    symbols->Set(InTower(tower, "vocab"), rows);
    symbols->Set(InTower(tower, "padded_vocab"), rows);
  }
  const auto set_others = [&]() -> Status {
    ANEMONE_ASSIGN(const uint64_t positions, SizeOf(model, "max_position_embeddings", 512));
    ANEMONE_ASSIGN(const bool head_bias, FlagOf(model, "tokens_head_bias", true));
    ANEMONE_ASSIGN(const bool shared, FlagOf(model, "share_token_embeddings", true));
    ANEMONE_ASSIGN(const bool shared_head, FlagOf(model, "share_decoder_tokens_head_embeddings", true));
    symbols->Set("positions", positions);
    symbols->Set("tokens_head_bias", head_bias);
    symbols->Set("shared_embeddings", shared);
    symbols->Set("shared_head", shared_head);
    // NeMo v2.0.0 token_level_encoder_decoder.py, _validate_config.
    symbols->Set("one_stage", !shared || !shared_head);
    return {};
  };
  return set_others().In(name);
}

}  // namespace

const Family& T5Family() {
  static const Family family = {.name = "t5",
                                .title = "T5",
                                .symbols = Declared(),
                                .canonical = Canonical(),
                                .dialects = {Legacy()},
                                .refusals = {{"relative_position_embedding", "a T5 with relative positions"},
                                             {"mlp.experts.", "a mixture of experts"}},
                                .tower_order = {"encoder", "decoder"},
                                .has_virtual_stages = false,
                                .read_symbols = ReadT5Symbols,
                                .target = nullptr};
  return family;
}

}  // namespace anemone
