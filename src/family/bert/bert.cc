// BERT as transformers stores it, and as NeMo does: Megatron-core and legacy, with norms behind attention and MLP
// (transformers' own, `transformer_block_type: post_ln`) or before them.
//
// Facts: transformers 4.44.2 modeling_bert.py; NeMo v2.0.0 megatron/bert/bert_model.py, bert_spec.py,
// language_model.py, scripts/checkpoint_converters/convert_bert_hf_to_nemo.py; files that NeMo wrote (tests/golden).
#include "family/bert/bert.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/rounding.h"
#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/gpt/hf_vocabulary.h"
#include "family/megatron/megatron_layer.h"
#include "family/megatron/megatron_transforms.h"
#include "family/megatron/rows.h"
#include "family/words/kept_config.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr LayerParts kParts = {};

std::vector<Symbol> Declared() {
  return Join<Symbol>({
      LayerSymbols("", kParts),
      {
          Symbol::Size("vocab", "tokens"),
          Symbol::Size("padded_vocab", "rows of the stored embedding"),
          Symbol::Size("positions", "of a sequence"),
          Symbol::Flag("types", "tokens of two segments have embeddings"),
          Symbol::Flag("post_ln", "norms stand behind attention and MLP"),
          Symbol::Flag("has_final_norm", "there is one behind all layers"),
          Symbol::Flag("pooler", "the first token's vector has a layer of its own"),
          Symbol::Flag("lm_head", "tokens are told"),
          Symbol::Flag("binary_head", "whether the second segment follows the first is told"),
          Symbol::Flag("tied", "the output layer is the embedding"),
          Symbol::Flag("own_bias", "the output layer has a bias beside the head's, which is not used"),
      },
  });
}

std::vector<C> Canonical() {
  return Join<C>({
      {
          {"token_embedding.weight", "vocab, width", "", ""},
          {"position_embedding.weight", "positions, width", "", ""},
          {"type_embedding.weight", "2, width", "types", ""},
      },
      CanonicalNorm("embedding_norm", "post_ln"),
      CanonicalLayer("", kParts),
      CanonicalNorm("final_norm", "has_final_norm"),
      CanonicalLinear("pooler", "width", "pooler"),
      CanonicalLinear("lm_head.dense", "width", "lm_head"),
      CanonicalNorm("lm_head.norm", "lm_head"),
      {
          {"output.weight", "vocab, width", "lm_head & !tied", ""},
          {"output.bias", "vocab", "lm_head", ""},
      },
      CanonicalLinear("binary_head", "2", "binary_head"),
  });
}

// ---- Megatron ----

std::vector<R> MegatronEmbeddings(const std::string& name) {
  return {VocabTable(name + ".word_embeddings.weight", "token_embedding.weight", Stage::kFirst),
          PlainRow(name + ".position_embeddings.weight", "position_embedding.weight", Stage::kFirst),
          PlainRow(name + ".tokentype_embeddings.weight", "type_embedding.weight", Stage::kFirst)};
}

std::vector<R> MegatronHeads(std::string_view pooler, std::string_view norm, std::string_view bias) {
  R copy = VocabTable("word_embeddings.weight", "token_embedding.weight", Stage::kTiedCopy);
  copy.when = "tied";
  return Join<R>({
      WeightAndBias(pooler, "pooler", Stage::kLast),
      WeightAndBias("lm_head.dense", "lm_head.dense", Stage::kLast),
      WeightAndBias(norm, "lm_head.norm", Stage::kLast),
      {VocabTable(std::string(bias), "output.bias", Stage::kLast)},
      WeightAndBias("binary_head", "binary_head", Stage::kLast),
      {copy},
  });
}

// Where norms stand behind what they belong to, no linear layer has one before it.
std::vector<R> McoreLayers() {
  std::vector<R> rows = McoreLayer("", "encoder.layers.{i}", kParts);
  for (R& row : rows) {
    const bool is_norm = row.canonical.starts_with("layers.{i}.norm");
    if (is_norm) row.only = "!post_ln";
  }
  return Join<R>(
      {std::move(rows),
       WeightAndBias("encoder.layers.{i}.post_att_layernorm", "layers.{i}.norm1", Stage::kLayer, "post_ln"),
       WeightAndBias("encoder.layers.{i}.post_mlp_layernorm", "layers.{i}.norm2", Stage::kLayer, "post_ln")});
}

Dialect Mcore() {
  R output = VocabTable("output_layer.weight", "output.weight", Stage::kLast);
  output.only = "!tied";
  return {"mcore",
          "NeMo BERT, Megatron-core",
          {"model.", "model.module.", "module.", ""},
          Join<R>({
              MegatronEmbeddings("embedding"),
              McoreLayers(),
              WeightAndBias("encoder.final_layernorm", "final_norm", Stage::kLast),
              WeightAndBias("encoder.initial_layernorm", "embedding_norm", Stage::kEvery),
              MegatronHeads("pooler.dense", "lm_head.layer_norm", "output_layer.bias"),
              {output, StateRow("output_layer._extra_state", kReadOnly, Stage::kLast),
               StateRow("encoder.final_layernorm._extra_state", kReadOnly, Stage::kLast)},
          }),
          true};
}

Dialect Legacy() {
  return {"legacy",
          "NeMo BERT, legacy Megatron",
          {"model.", "model.module.", "module.", ""},
          Join<R>({
              MegatronEmbeddings("language_model.embedding"),
              LegacyLayer("", "language_model.encoder.layers.{i}", kParts),
              WeightAndBias("language_model.encoder.final_layernorm", "final_norm", Stage::kLast),
              WeightAndBias("language_model.encoder.initial_layernorm", "embedding_norm", Stage::kEvery),
              MegatronHeads("language_model.pooler.dense", "lm_head.layernorm", "lm_head.bias"),
              {VocabTable("output_layer.weight", "output.weight", Stage::kLast)},
          }),
          true};
}

// ---- transformers ----

R Dropped(std::string name, std::string why) {
  return {.name = std::move(name), .role = Role::kDrop, .why = std::move(why)};
}

// Files of before 2019 call a norm's weight gamma and its bias beta.
std::vector<R> HfNorm(std::string_view name, std::string_view canonical) {
  std::vector<R> rows = WeightAndBias(name, canonical, Stage::kEvery);
  for (const auto& [old, now] : {std::pair{"gamma", "weight"}, {"beta", "bias"}}) {
    R row = PlainRow(fmt::format("{}.{}", name, old), fmt::format("{}.{}", canonical, now), Stage::kEvery);
    row.when = kReadOnly;
    rows.push_back(row);
  }
  return rows;
}

std::vector<R> HfModel(const std::string& prefix) {
  const std::string layer = prefix + "encoder.layer.{i}.";
  std::vector<R> qkv = WeightAndBias(layer + "attention.self.{query,key,value}", "layers.{i}.attn.qkv", Stage::kEvery);
  for (R& row : qkv) row.transform = &kStack;
  return Join<R>({
      {PlainRow(prefix + "embeddings.word_embeddings.weight", "token_embedding.weight", Stage::kEvery),
       PlainRow(prefix + "embeddings.position_embeddings.weight", "position_embedding.weight", Stage::kEvery),
       PlainRow(prefix + "embeddings.token_type_embeddings.weight", "type_embedding.weight", Stage::kEvery)},
      HfNorm(prefix + "embeddings.LayerNorm", "embedding_norm"),
      {{.name = prefix + "embeddings.position_ids",
        .role = Role::kDropCount,
        .why = "positions are counted, not learned"}},
      std::move(qkv),
      WeightAndBias(layer + "attention.output.dense", "layers.{i}.attn.out", Stage::kEvery),
      HfNorm(layer + "attention.output.LayerNorm", "layers.{i}.norm1"),
      WeightAndBias(layer + "intermediate.dense", "layers.{i}.mlp.up", Stage::kEvery),
      WeightAndBias(layer + "output.dense", "layers.{i}.mlp.down", Stage::kEvery),
      HfNorm(layer + "output.LayerNorm", "layers.{i}.norm2"),
      WeightAndBias(prefix + "pooler.dense", "pooler", Stage::kEvery),
  });
}

Dialect HfBare() {
  return {.name = "hf",
          .title = "Hugging Face transformers, BertModel",
          .prefixes = {""},
          .rows = HfModel(""),
          .never = "has_final_norm, lm_head, binary_head",
          .language = ConfigLanguage::kHuggingFace};
}

// The head has a bias and its output layer another, which is the one that counts. They are the same but in a model of
// version 5 whose output layer is not the embedding: such a one is read by the layer's, and written with both.
std::vector<R> OutputBias() {
  const char *heads = "cls.predictions.bias", *layers = "cls.predictions.decoder.bias";
  R unused = Dropped(heads, "transformers computes with cls.predictions.decoder.bias");
  R both = CopyOf(layers, "output.bias", "!own_bias");
  unused.only = "own_bias";
  both.role = Role::kCopy;
  both.when = "!tied";
  return {PlainRow(heads, "output.bias", Stage::kEvery, "!own_bias"), both,
          PlainRow(layers, "output.bias", Stage::kEvery, "own_bias"), unused};
}

Dialect HfWithHeads() {
  return {.name = "hf_heads",
          .title = "Hugging Face transformers, BertForPreTraining and BertForMaskedLM",
          .prefixes = {""},
          .rows = Join<R>({
              HfModel("bert."),
              OutputBias(),
              WeightAndBias("cls.predictions.transform.dense", "lm_head.dense", Stage::kEvery),
              HfNorm("cls.predictions.transform.LayerNorm", "lm_head.norm"),
              {PlainRow("cls.predictions.decoder.weight", "output.weight", Stage::kEvery, "!tied"),
               CopyOf("cls.predictions.decoder.weight", "token_embedding.weight", "tied")},
              WeightAndBias("cls.seq_relationship", "binary_head", Stage::kEvery),
          }),
          .never = "has_final_norm",
          .language = ConfigLanguage::kHuggingFace};
}

// ---- sizes and configs ----

// NeMo's config of the checkpoint, whatever it is stored as.
Result<ConfigNode> NemoModel(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name) {
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, name));
  if (!IsBertJson(config->root())) return ModelNode(*config);
  Result<ConfigNode> model = NemoBertConfig(config->root(), DType::kF32);
  if (!model.ok()) return model.status().In(*name);
  return model;
}

Status ReadBertSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                       ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, NemoModel(checkpoint, options, &name));
  bool tied = true;
  const auto set = [&]() -> Status {
    ANEMONE_TRY(SetLayerSymbols(model, "", kParts, symbols));
    ANEMONE_ASSIGN(const uint64_t sequence, SizeOf(model, "encoder_seq_length", 512));
    ANEMONE_ASSIGN(const uint64_t positions, SizeOf(model, "max_position_embeddings", sequence));
    ANEMONE_ASSIGN(const std::string block, TextOf(model, "transformer_block_type", "pre_ln"));
    ANEMONE_ASSIGN(tied, FlagOf(model, "share_embeddings_and_output_weights", true));
    symbols->Set("positions", positions);
    symbols->Set("post_ln", block == "post_ln");
    symbols->Set("tied", tied);
    return {};
  };
  ANEMONE_TRY(set().In(name));
  ANEMONE_ASSIGN(const uint64_t rows, StoredVocabRows(checkpoint, dialect, "token_embedding.weight"));
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, &name));
  if (IsBertJson(config->root())) ANEMONE_TRY(CheckRows(config->root(), rows).In(name));
  symbols->Set("vocab", rows);
  symbols->Set("padded_vocab", rows);
  symbols->Set("types", HasName(checkpoint, "tokentype_embeddings.") || HasName(checkpoint, "token_type_embeddings."));
  symbols->Set("has_final_norm", HasName(checkpoint, "encoder.final_layernorm.weight"));
  const bool has_layers_bias = HasName(checkpoint, "cls.predictions.decoder.bias");
  symbols->Set("own_bias", has_layers_bias && (!tied || !HasName(checkpoint, "cls.predictions.bias")));
  symbols->Set("pooler", HasName(checkpoint, "pooler.dense."));
  symbols->Set("lm_head", HasName(checkpoint, "lm_head.dense.") || HasName(checkpoint, "cls.predictions.transform."));
  symbols->Set("binary_head", HasName(checkpoint, "binary_head.") || HasName(checkpoint, "cls.seq_relationship."));
  return {};
}

Result<BertHeads> HeadsIn(const ModelSymbols& symbols) {
  BertHeads heads;
  ANEMONE_ASSIGN(heads.pooler, symbols.Holds("pooler"));
  ANEMONE_ASSIGN(heads.lm, symbols.Holds("lm_head"));
  ANEMONE_ASSIGN(heads.binary, symbols.Holds("binary_head"));
  return heads;
}

Result<Target> ToHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, NemoModel(source, {}, &name));
  ANEMONE_ASSIGN(const bool has_final_norm, symbols.Holds("has_final_norm"));
  if (has_final_norm) {
    return Unsupported("encoder.final_layernorm: expected none, as transformers' BERT has none, found one",
                       std::string(kWeightsAlone));
  }
  ANEMONE_ASSIGN(const BertHeads heads, HeadsIn(symbols));
  ANEMONE_ASSIGN(const uint64_t stored, symbols.Get("vocab"));
  ANEMONE_ASSIGN(const std::optional<Config> kept, KeptHfConfig(source, IsBertJson));
  ANEMONE_ASSIGN(VocabularyChoice rows, ChooseHfVocabulary(source, stored, options, RowsIn(kept)));
  const DType dtype = kept ? DTypeBy(kept->root(), source) : DTypeOf(source);
  Result<ConfigNode> json = HfBertConfig(model, kept ? &kept->root() : nullptr, heads, rows.rows, dtype);
  if (!json.ok()) return json.status().In(name);
  Target target{symbols, Config(*std::move(json)), "config.json", {}};
  target.symbols.Set("vocab", rows.rows);
  target.symbols.Set("own_bias", 0);
  if (!rows.note.empty()) target.notes.push_back(std::move(rows.note));
  return target;
}

// NeMo pads the embedding to a multiple of 128 rows with zeros.
Result<Target> FromHuggingFace(const Checkpoint& source, const Dialect& to, const TranslateOptions& options,
                               const ModelSymbols& symbols) {
  Target target{symbols, options.hparams, options.hparams_name};
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  constexpr uint64_t kDivisor = 128;
  const ConfigNode& asked =
      options.hparams ? WordAt(ModelNode(*options.hparams), "make_vocab_size_divisible_by") : WordAt({}, "");
  const uint64_t divisor = asked.AsInt() && *asked.AsInt() > 0 ? static_cast<uint64_t>(*asked.AsInt()) : kDivisor;
  target.symbols.Set("padded_vocab", RoundUp(rows, divisor));
  if (options.hparams || !source.config) return target;
  Result<ConfigNode> model = NemoBertConfig(source.config->root(), DTypeOf(source), &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  ANEMONE_ASSIGN(const BertHeads heads, HeadsIn(symbols));
  (*model)["mcore_bert"] = ConfigNode::Bool(to.name == "mcore");
  (*model)["add_pooler"] = ConfigNode::Bool(heads.pooler);
  (*model)["add_lm_head"] = ConfigNode::Bool(heads.lm || to.name == "mcore");
  target.config = Config(*std::move(model));
  target.config_name = "model_config.yaml";
  return target;
}

Result<Target> BertTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                          const TranslateOptions& options, const ModelSymbols& symbols) {
  if (from.is_megatron && !to.is_megatron) return ToHuggingFace(source, options, symbols);
  if (!from.is_megatron && to.is_megatron) return FromHuggingFace(source, to, options, symbols);
  if (!from.is_megatron && &from != &to)
    return Unsupported(fmt::format("expected the spelling of its own class, {}, found {} asked", from.name, to.name));
  Target target{symbols, options.hparams ? options.hparams : source.config, source.config_name};
  if (target.config && &from != &to) target.config->root()["mcore_bert"] = ConfigNode::Bool(to.name == "mcore");
  return target;
}

Status CompleteBert(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                    Checkpoint* result) {
  const bool from_hf = source.config && IsBertJson(source.config->root());
  return CompleteLanguageModel(source, from_hf ? "BertModel" : "", language, options, result);
}

// A config.json of another class, whose tensors are called alike.
std::string ForeignBert(const Config& config) {
  const ConfigNode& root = config.root();
  return IsBertJson(root) ? "" : ClassNamedIn(root);
}

}  // namespace

const Family& BertFamily() {
  static const Family family = {.name = "bert",
                                .title = "BERT",
                                .symbols = Declared(),
                                .canonical = Canonical(),
                                .dialects = {Mcore(), Legacy(), HfBare(), HfWithHeads()},
                                .refusals = {{"classifier.", "a BERT that classifies"},
                                             {"qa_outputs.", "a BERT that answers questions"},
                                             {"crossattention.", "a BERT that reads an encoder"}},
                                .read_symbols = ReadBertSymbols,
                                .target = BertTarget,
                                .foreign = ForeignBert,
                                .complete = CompleteBert};
  return family;
}

}  // namespace anemone
