// T5 as legacy Megatron stores it in NeMo: an encoder and a decoder that follow each other along the pipeline. And as
// transformers stores T5 v1.1 and mT5.
//
// Facts: NeMo v2.0.0 token_level_encoder_decoder.py, megatron_t5_model.py; files that NeMo wrote (tests/golden): the
// prefix stands twice before layers, and the decoder's embedding is a stored copy of the encoder's. NeMo's
// hf_t5-v1_1_to_nemo.py; transformers 4.44.2 and 5.24 modeling_t5.py.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "base/lower_case.h"
#include "base/rounding.h"
#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/gpt/hf_vocabulary.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/kept_config.h"
#include "family/words/model_words.h"
#include "family/words/t5_config.h"

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
                          {"{T}.relative_bias.weight", "buckets, {T}.heads", "relative", ""},
                      });
  if (tower == "encoder") return rows;
  rows[0].when = "!one_table";
  rows[0].equal_to = "encoder.token_embedding.weight";
  rows[0].copy_of = "encoder.token_embedding.weight";
  rows[1].copy_of = "encoder.position_embedding.weight";
  for (C& row : rows) {
    if (!row.copy_of.empty()) row.tied = "shared_embeddings";
  }
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
                                          {.name = "decoder.output.weight",
                                           .shape = "decoder.vocab, decoder.width",
                                           .when = "!shared_head",
                                           .equal_to = "decoder.token_embedding.weight"},
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
                      {.name = "{T}_relative_position_embedding.relative_position_embedding.weight",
                       .canonical = "{T}.relative_bias.weight"},
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
  R head_state = StateRow("tokens_head._extra_state", "", Stage::kLast);
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

// ---- transformers ----

// A module's weight: no linear layer of a T5 has a bias, and no norm.
R Weight(std::string_view name, std::string_view canonical, const Transform& transform = kSame,
         std::string_view only = "") {
  R row{.name = fmt::format("{}.weight", name),
        .canonical = fmt::format("{}.weight", canonical),
        .transform = &transform};
  row.only = only;
  return row;
}

std::vector<R> HfTower(std::string_view tower) {
  const bool is_decoder = tower == "decoder";
  const int mlp = is_decoder ? 2 : 1;
  std::vector<R> rows = {
      Weight("{B}.layer.0.SelfAttention.{q,k,v}", "{C}.attn.qkv", kStack),
      Weight("{B}.layer.0.SelfAttention.o", "{C}.attn.out"),
      Weight("{B}.layer.0.layer_norm", "{C}.norm1"),
      Weight("{B}.layer.1.layer_norm", "{C}.norm2"),
      Weight(fmt::format("{{B}}.layer.{}.DenseReluDense.{{wi_0,wi_1}}", mlp), "{C}.mlp.up", kStack, "{T}.glu"),
      Weight(fmt::format("{{B}}.layer.{}.DenseReluDense.wi", mlp), "{C}.mlp.up", kSame, "!{T}.glu"),
      Weight(fmt::format("{{B}}.layer.{}.DenseReluDense.wo", mlp), "{C}.mlp.down"),
  };
  if (is_decoder) {
    rows.push_back(Weight("{B}.layer.1.EncDecAttention.q", "{C}.cross.q"));
    rows.push_back(Weight("{B}.layer.1.EncDecAttention.{k,v}", "{C}.cross.kv", kStack));
    rows.push_back(Weight("{B}.layer.1.EncDecAttention.o", "{C}.cross.out"));
    rows.push_back(Weight("{B}.layer.2.layer_norm", "{C}.norm3"));
  }
  const R final_norm = Weight("{T}.final_layer_norm", "{T}.final_norm");
  const R bias = Weight("{T}.block.0.layer.0.SelfAttention.relative_attention_bias", "{T}.relative_bias");
  rows.push_back(bias);
  rows.push_back(final_norm);
  return ForTower(tower, std::move(rows), {{"{B}", "{T}.block.{i}"}, {"{C}", "{T}.layers.{i}"}});
}

constexpr const char *kSharedTable = "shared.weight", *kEncoderTable = "encoder.embed_tokens.weight";

// A file that lacks the shared name: a safetensors file has one name of a tensor that several parameters are, and
// transformers ties them again whichever it is.
R TableOfEncoder() {
  R row{.name = kEncoderTable, .canonical = "encoder.token_embedding.weight"};
  row.when = kReadOnly;
  row.only = "!shared_name";
  return row;
}

// In files of before transformers 3.2 [modeling_t5.py and modeling_mt5.py, _keys_to_ignore_on_load_unexpected].
R CrossDistances() {
  return {.name = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
          .role = Role::kDrop,
          .why = "transformers computes no distances to the encoder's tokens"};
}

Dialect HuggingFace() {
  const std::string_view table = "encoder.token_embedding.weight";
  return {.name = "hf",
          .title = "Hugging Face transformers, T5 v1.1 and mT5",
          .prefixes = {""},
          .rows = Join<R>({
              ForTower("encoder", std::vector<R>{Weight("shared", "encoder.token_embedding", kSame, "shared_name"),
                                                 TableOfEncoder(), CopyOf(kEncoderTable, table, "shared_name"),
                                                 CopyOf("decoder.embed_tokens.weight", table)}),
              HfTower("encoder"),
              HfTower("decoder"),
              ForTower("decoder", std::vector<R>{CrossDistances()}),
              ForTower("decoder", std::vector<R>{Weight("lm_head", "decoder.output", kSame, "!shared_head")}),
              ForTower("encoder", std::vector<R>{CopyOf("lm_head.weight", table, "shared_head")}),
          }),
          .never =
              "learned_absolute, encoder.bias, encoder.qkv_bias, encoder.norm_bias, decoder.bias, decoder.qkv_bias, "
              "decoder.norm_bias, tokens_head_bias, !one_table",
          .language = ConfigLanguage::kHuggingFace};
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
          Symbol::Size("buckets", "of distances between tokens"),
          Symbol::Flag("learned_absolute", "positions have an embedding"),
          Symbol::Flag("relative", "attention has a bias for distances"),
          Symbol::Flag("shared_name", "the embedding is called by the name that encoder and decoder share"),
          Symbol::Flag("one_table", "the embedding is stored once for encoder and decoder"),
          Symbol::Flag("tokens_head_bias", "the output layer has one"),
          Symbol::Flag("shared_embeddings", "encoder and decoder have one embedding"),
          Symbol::Flag("shared_head", "the output layer is the decoder's embedding"),
          Symbol::Flag("one_stage", "NeMo builds it on one pipeline stage only"),
      },
  });
}

// NeMo's config of the checkpoint, whatever it is stored as.
Result<ConfigNode> NemoModel(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name) {
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, name));
  if (!IsT5Json(config->root())) return ModelNode(*config);
  Result<ConfigNode> model = NemoT5Config(config->root(), !HasName(checkpoint, "lm_head."), DType::kF32);
  if (!model.ok()) return model.status().In(*name);
  return model;
}

Status ReadT5Symbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                     ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, NemoModel(checkpoint, options, &name));
  if (!dialect.is_megatron && options.strict && !HasName(checkpoint, kSharedTable) &&
      !HasName(checkpoint, kEncoderTable)) {
    return Corrupt(fmt::format("{}: expected the embedding of the tokens under this name or as {}, found neither",
                               kSharedTable, kEncoderTable),
                   "a part of a model was saved: save all of it, T5ForConditionalGeneration's save_pretrained()")
        .Use("strict", "false", "convert what is there and leave the rest out");
  }
  symbols->Set("one_table", !dialect.is_megatron);
  symbols->Set("shared_name", HasName(checkpoint, kSharedTable) || !HasName(checkpoint, kEncoderTable));
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, &name));
  for (const std::string_view tower : {"encoder", "decoder"}) {
    // Older configs say it once for both towers, at the top.
    const ConfigNode& node = model.Get(tower) != nullptr ? *model.Get(tower) : model;
    ANEMONE_TRY(SetLayerSymbols(node, tower, PartsOf(tower), symbols).In(tower).In(name));
    const auto positions_are = TextOf(node, "position_embedding_type", "learned_absolute");
    if (!positions_are.ok()) return positions_are.status().In(tower).In(name);
    symbols->Set("learned_absolute", *positions_are == "learned_absolute");
    symbols->Set("relative", *positions_are == "relative");
    const auto buckets = SizeOf(node, "relative_attention_num_buckets", 32);
    if (!buckets.ok()) return buckets.status().In(tower).In(name);
    symbols->Set("buckets", *buckets);
    const bool has_table = dialect.is_megatron || tower == "encoder";
    ANEMONE_ASSIGN(
        const uint64_t rows,
        StoredVocabRows(checkpoint, dialect, fmt::format("{}.token_embedding.weight", has_table ? tower : "encoder")));
    if (IsT5Json(config->root())) ANEMONE_TRY(CheckRows(config->root(), rows).In(name));
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

void SetRows(std::string_view what, uint64_t rows, ModelSymbols* symbols) {
  for (const std::string_view tower : {"encoder", "decoder"}) symbols->Set(InTower(tower, what), rows);
}

// NeMo's config tells an mT5 by its tokenizer's name alone ("google/mt5-base").
bool IsNamedMt5(const Checkpoint& source) {
  const std::string name = LowerCase(WordAt(NemoTokenizerOf(source), "type").AsString().value_or(""));
  return name.find("mt5", name.rfind('/') + 1) != std::string::npos;
}

Result<Target> ToHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, NemoModel(source, {}, &name));
  ANEMONE_ASSIGN(const uint64_t stored, symbols.Get("encoder.vocab"));
  ANEMONE_ASSIGN(std::optional<Config> kept, KeptHfConfig(source, IsT5Json));
  if (kept && !options.architecture.empty() && ClassNamedIn(kept->root()) != options.architecture) kept.reset();
  ANEMONE_ASSIGN(VocabularyChoice rows, ChooseHfVocabulary(source, stored, options, RowsIn(kept)));
  const bool is_mt5 = options.architecture.empty() ? IsNamedMt5(source) : options.architecture == kMt5Class;
  HfT5Request request{.is_mt5 = is_mt5, .rows = rows.rows, .dtype = DTypeOf(source)};
  if (kept) {
    request.kept = &kept->root();
    request.dtype = DTypeBy(kept->root(), source);
  }
  Result<ConfigNode> json = HfT5Config(model, request);
  if (!json.ok()) return json.status().In(name);
  Target target{symbols, Config(*std::move(json)), "config.json", {}};
  SetRows("vocab", rows.rows, &target.symbols);
  target.symbols.Set("one_table", 1);
  target.symbols.Set("shared_name", 1);
  // A class of version 4 that does not scale has an output layer of its own.
  if (!kept) target.symbols.Set("shared_head", 0);
  if (!rows.note.empty()) target.notes.push_back(std::move(rows.note));
  return target;
}

// NeMo pads the embedding to a multiple of 128 rows.
Result<Target> FromHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  Target target{symbols, options.hparams, options.hparams_name};
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("encoder.vocab"));
  constexpr uint64_t kDivisor = 128;
  SetRows("padded_vocab", RoundUp(rows, kDivisor), &target.symbols);
  target.symbols.Set("one_table", 0);
  if (options.hparams || !source.config) return target;
  ANEMONE_ASSIGN(const bool shared_head, symbols.Holds("shared_head"));
  Result<ConfigNode> model = NemoT5Config(source.config->root(), shared_head, DTypeOf(source), &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  target.config = Config(*std::move(model));
  target.config_name = "model_config.yaml";
  return target;
}

Result<Target> T5Target(const Checkpoint& source, const Dialect& from, const Dialect& to,
                        const TranslateOptions& options, const ModelSymbols& symbols) {
  if (from.is_megatron && !to.is_megatron) return ToHuggingFace(source, options, symbols);
  if (!from.is_megatron && to.is_megatron) return FromHuggingFace(source, options, symbols);
  Target same{symbols, options.hparams ? options.hparams : source.config, source.config_name};
  if (!to.is_megatron) same.symbols.Set("shared_name", 1);
  return same;
}

Status CompleteT5(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                  Checkpoint* result) {
  const bool from_hf = source.config && IsT5Json(source.config->root());
  return CompleteLanguageModel(source, from_hf ? "T5ForConditionalGeneration" : "", language, options, result);
}

// A config.json of another class, whose tensors are called alike: UMT5 has a bias of distances in every layer.
std::string ForeignT5(const Config& config) {
  const ConfigNode& root = config.root();
  return IsT5Json(root) ? "" : ClassNamedIn(root);
}

}  // namespace

const Family& T5Family() {
  static const Family family = {.name = "t5",
                                .title = "T5",
                                .symbols = Declared(),
                                .canonical = Canonical(),
                                .dialects = {Legacy(), HuggingFace()},
                                .refusals = {{"decoder_cross_attention_relative_position_embedding",
                                              "a T5 whose decoder has distances to the encoder's tokens"},
                                             {"mlp.experts.", "a mixture of experts"}},
                                .tower_order = {"encoder", "decoder"},
                                .has_virtual_stages = false,
                                .read_symbols = ReadT5Symbols,
                                .target = T5Target,
                                .foreign = ForeignT5,
                                .complete = CompleteT5};
  return family;
}

}  // namespace anemone
