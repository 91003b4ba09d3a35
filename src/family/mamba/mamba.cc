// Models with layers of Mamba 2, and between them attention and MLPs: NeMo 2's MambaModel, transformers' Nemotron-H and
// Mamba 2, state-spaces' own files.
//
// Facts: NeMo f92e176 nemo/collections/llm/gpt/model/ssm.py; Megatron-LM core_v0.14.0 megatron/core/ssm/mamba_mixer.py,
// mamba_layer.py, mamba_block.py, models/mamba/mamba_model.py, which was asked for its sharded state dict; transformers
// 5.24 modeling_nemotron_h.py, modeling_mamba2.py, conversion_mapping.py. A distributed checkpoint has each part of a
// mixer's projection and convolution under a key of its own, cut over tensor ranks by itself.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "config/nodes.h"
#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/gpt/hf_vocabulary.h"
#include "family/mamba/mamba_config.h"
#include "family/megatron/megatron_layer.h"
#include "family/megatron/rows.h"
#include "family/words/kept_config.h"
#include "family/words/megatron_config.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_config.h"
#include "family/words/nemo2_ssm.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr std::string_view kMambaLayers = "mamba", kAttentionLayers = "attention", kMlpLayers = "mlp";
constexpr std::string_view kProjected = "inner | inner | ssm_groups*state | ssm_groups*state | ssm_heads",
                           kConvolved = "inner | ssm_groups*state | ssm_groups*state";

std::vector<Symbol> Declared() {
  return {
      Symbol::Size("layers", "of all kinds"),
      Symbol::Size("width", "of the hidden vector"),
      Symbol::Size("ffn", "of the MLP's inner vector"),
      Symbol::Size("heads", "of attention"),
      Symbol::Size("groups", "heads of keys and values"),
      Symbol::Size("head_dim", "of attention's heads"),
      Symbol::Size("inner", "of what a mixer computes in"),
      Symbol::Size("state", "of each element of a mixer's head"),
      Symbol::Size("ssm_groups", "of a mixer's heads, which share how the state is written and read"),
      Symbol::Size("ssm_heads", "of a mixer"),
      Symbol::Size("kernel", "tokens that a mixer's convolution reads"),
      Symbol::Size("vocab", "tokens"),
      Symbol::Size("padded_vocab", "rows of the stored embedding"),
      Symbol::Flag("tied", "the output layer is the embedding"),
      Symbol::LayerFlag(kMambaLayers, "a layer is a mixer of Mamba 2"),
      Symbol::LayerFlag(kAttentionLayers, "a layer is attention"),
      Symbol::LayerFlag(kMlpLayers, "a layer is an MLP"),
  };
}

std::vector<C> Canonical() {
  const auto row = [](std::string_view name, std::string shape, std::string_view when) {
    return C{.name = fmt::format("layers.{{i}}.{}", name), .shape = std::move(shape), .when = std::string(when)};
  };
  return {
      {"token_embedding.weight", "vocab, width", "", ""},
      row("norm.weight", "width", ""),
      row("mixer.A_log", "ssm_heads", kMambaLayers),
      row("mixer.D", "ssm_heads", kMambaLayers),
      row("mixer.dt_bias", "ssm_heads", kMambaLayers),
      row("mixer.in.weight", "2*inner+2*ssm_groups*state+ssm_heads, width", kMambaLayers),
      row("mixer.conv.weight", "inner+2*ssm_groups*state, 1, kernel", kMambaLayers),
      row("mixer.conv.bias", "inner+2*ssm_groups*state", kMambaLayers),
      row("mixer.norm.weight", "inner", kMambaLayers),
      row("mixer.out.weight", "width, inner", kMambaLayers),
      row("attn.qkv.weight", "(heads+2*groups)*head_dim, width", kAttentionLayers),
      row("attn.out.weight", "width, heads*head_dim", kAttentionLayers),
      row("mlp.up.weight", "ffn, width", kMlpLayers),
      row("mlp.down.weight", "width, ffn", kMlpLayers),
      {"final_norm.weight", "width", "", ""},
      {.name = "output.weight", .shape = "vocab, width", .when = "!tied", .equal_to = "token_embedding.weight"},
  };
}

// ---- NeMo 2 ----

constexpr const char* kLayer = "decoder.layers.{i}.";

R InLayer(std::string_view name, std::string_view canonical, std::string_view when, Split split = Split::kReplicated) {
  R row{.name = fmt::format("{}{}", kLayer, name),
        .canonical = fmt::format("layers.{{i}}.{}", canonical),
        .split = split,
        .stage = Stage::kLayer};
  row.when = when;
  return row;
}

R Stacked(R row, std::string_view parts) {
  row.transform = &kStack;
  row.parts = parts;
  return row;
}

R State(std::string_view module, std::string_view when) {
  return StateRow(fmt::format("{}{}._extra_state", kLayer, module), when);
}

// The norm before a layer is in the linear layer behind it, with Transformer Engine; apart without.
std::vector<R> Mixer() {
  using enum Split;
  R qkv = InLayer("self_attention.linear_qkv.weight", "attn.qkv.weight", kAttentionLayers, kColumns);
  qkv.transform = &kInterleave;
  return {
      InLayer("norm.weight", "norm.weight", kReadOnly),
      InLayer("mixer.dt_bias", "mixer.dt_bias", kMambaLayers, kColumns),
      InLayer("mixer.A_log", "mixer.A_log", kMambaLayers, kColumns),
      InLayer("mixer.D", "mixer.D", kMambaLayers, kColumns),
      InLayer("mixer.in_proj.layer_norm_weight", "norm.weight", kMambaLayers),
      Stacked(InLayer("mixer.in_proj.weight.{z,x,B,C,dt}", "mixer.in.weight", kMambaLayers, kColumns), kProjected),
      State("mixer.in_proj", kMambaLayers),
      Stacked(InLayer("mixer.conv1d.weight.{x,B,C}", "mixer.conv.weight", kMambaLayers, kColumns), kConvolved),
      Stacked(InLayer("mixer.conv1d.bias.{x,B,C}", "mixer.conv.bias", kMambaLayers, kColumns), kConvolved),
      InLayer("mixer.norm.weight", "mixer.norm.weight", kMambaLayers, kColumns),
      InLayer("mixer.out_proj.weight", "mixer.out.weight", kMambaLayers, kRows),
      State("mixer.out_proj", kMambaLayers),
      InLayer("input_layernorm.weight", "norm.weight", kReadOnly),
      InLayer("self_attention.linear_proj.weight", "attn.out.weight", kAttentionLayers, kRows),
      State("self_attention.linear_proj", kAttentionLayers),
      InLayer("self_attention.linear_qkv.layer_norm_weight", "norm.weight", kAttentionLayers),
      std::move(qkv),
      State("self_attention.linear_qkv", kAttentionLayers),
      State("self_attention.core_attention", kReadOnly),
      State("self_attention.core_attention.fused_attention", kReadOnly),
      InLayer("pre_mlp_layernorm.weight", "norm.weight", kReadOnly),
      InLayer("mlp.linear_fc1.layer_norm_weight", "norm.weight", kMlpLayers),
      InLayer("mlp.linear_fc1.weight", "mlp.up.weight", kMlpLayers, kColumns),
      State("mlp.linear_fc1", kMlpLayers),
      InLayer("mlp.linear_fc2.weight", "mlp.down.weight", kMlpLayers, kRows),
      State("mlp.linear_fc2", kMlpLayers),
  };
}

Dialect Mcore() {
  R output = VocabTable("output_layer.weight", "output.weight", Stage::kLast);
  output.only = "!tied";
  R tied = VocabTable("output_layer.weight", "token_embedding.weight", Stage::kTiedCopy);
  tied.when = tied.only = "tied";
  return {"mcore",
          "NeMo 2 MambaModel, Megatron-core",
          {"model.", "model.module.", "module.", ""},
          Join<R>({
              {VocabTable("embedding.word_embeddings.weight", "token_embedding.weight", Stage::kFirst)},
              Mixer(),
              {PlainRow("decoder.final_norm.weight", "final_norm.weight", Stage::kLast),
               StateRow("decoder.final_norm._extra_state", kReadOnly, Stage::kLast), output, tied,
               StateRow("output_layer._extra_state", kReadOnly, Stage::kLast)},
          }),
          true};
}

// ---- transformers, and state-spaces ----

constexpr const char* kStateSpaces = "mamba_ssm";

// All that transformers' and state-spaces' names have alike, which is all but the embedding's.
std::vector<R> BackboneRows(std::string_view embedding) {
  const auto row = [](std::string_view name, std::string_view canonical) {
    return PlainRow(fmt::format("backbone.{}", name), canonical, Stage::kEvery);
  };
  const auto layer = [&](std::string_view name, std::string_view canonical) {
    return row(fmt::format("layers.{{i}}.{}", name), fmt::format("layers.{{i}}.{}", canonical));
  };
  return {
      row(embedding, "token_embedding.weight"),
      layer("norm.weight", "norm.weight"),
      layer("mixer.dt_bias", "mixer.dt_bias"),
      layer("mixer.A_log", "mixer.A_log"),
      layer("mixer.D", "mixer.D"),
      layer("mixer.conv1d.weight", "mixer.conv.weight"),
      layer("mixer.conv1d.bias", "mixer.conv.bias"),
      layer("mixer.in_proj.weight", "mixer.in.weight"),
      layer("mixer.norm.weight", "mixer.norm.weight"),
      layer("mixer.out_proj.weight", "mixer.out.weight"),
      Stacked(layer("mixer.{q,k,v}_proj.weight", "attn.qkv.weight"),
              "heads*head_dim | groups*head_dim | groups*head_dim"),
      layer("mixer.o_proj.weight", "attn.out.weight"),
      layer("mixer.up_proj.weight", "mlp.up.weight"),
      layer("mixer.down_proj.weight", "mlp.down.weight"),
      row("norm_f.weight", "final_norm.weight"),
      PlainRow("lm_head.weight", "output.weight", Stage::kEvery, "!tied"),
      CopyOf("lm_head.weight", "token_embedding.weight", "tied"),
  };
}

Dialect HuggingFace() {
  return {.name = "hf",
          .title = "Hugging Face transformers, NemotronHForCausalLM and Mamba2ForCausalLM",
          .prefixes = {""},
          .rows = BackboneRows("embeddings.weight"),
          .language = ConfigLanguage::kHuggingFace};
}

Dialect StateSpaces() {
  return {.name = kStateSpaces,
          .title = "state-spaces' mamba_ssm",
          .prefixes = {""},
          .rows = BackboneRows("embedding.weight"),
          .is_read_only = true};
}

// ---- sizes ----

// The words of the checkpoint, whatever it is stored as.
Result<ConfigNode> WordsOfSource(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name) {
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, name));
  const ConfigNode& root = config->root();
  Result<ConfigNode> words = IsMambaJson(root)        ? MambaWordsOf(root, DType::kF32)
                             : IsNemo2Config(root)    ? ToNemo1Config(root)
                             : IsMegatronConfig(root) ? Nemo1OfMegatron(root, nullptr)
                                                      : Result<ConfigNode>(ModelNode(*config));
  if (!words.ok()) return words.status().In(*name);
  if (IsMambaWords(*words)) return words;
  return Unsupported("expected the config of a Mamba, found another").In(*name);
}

Status SetMambaSymbols(const ConfigNode& model, ModelSymbols* symbols) {
  ANEMONE_ASSIGN(const std::string pattern, LayerPatternOf(model));
  ANEMONE_ASSIGN(const uint64_t width, SizeOf(model, "hidden_size"));
  ANEMONE_ASSIGN(const uint64_t heads, SizeOf(model, "num_attention_heads"));
  ANEMONE_ASSIGN(const uint64_t groups, SizeOf(model, "num_query_groups", heads));
  ANEMONE_ASSIGN(const uint64_t head_dim, SizeOf(model, "kv_channels", std::max<uint64_t>(width / heads, 1)));
  ANEMONE_ASSIGN(const uint64_t ffn, SizeOf(model, "ffn_hidden_size", width));
  ANEMONE_ASSIGN(const uint64_t state, SizeOf(model, "mamba_state_dim", 128));
  ANEMONE_ASSIGN(const uint64_t ssm_groups, SizeOf(model, "mamba_num_groups", 8));
  ANEMONE_ASSIGN(const uint64_t ssm_head_dim, SizeOf(model, "mamba_head_dim", 64));
  ANEMONE_ASSIGN(const int64_t ssm_heads, MambaHeadsOf(model));
  ANEMONE_ASSIGN(const bool tied, FlagOf(model, "share_embeddings_and_output_weights", true));
  const auto mamba_heads = static_cast<uint64_t>(ssm_heads);
  if (mamba_heads > UINT32_MAX || ssm_head_dim > UINT32_MAX)
    return Corrupt(fmt::format("mamba_num_heads, mamba_head_dim: expected fewer than 2^32, found {} and {}",
                               mamba_heads, ssm_head_dim));
  if (mamba_heads % ssm_groups != 0)
    return Corrupt(fmt::format("mamba_num_groups: expected a divisor of {} heads, found {}", mamba_heads, ssm_groups));
  symbols->Set("layers", pattern.size());
  symbols->Set("width", width);
  symbols->Set("heads", heads);
  symbols->Set("groups", groups);
  symbols->Set("head_dim", head_dim);
  symbols->Set("ffn", ffn);
  symbols->Set("state", state);
  symbols->Set("ssm_groups", ssm_groups);
  symbols->Set("ssm_heads", mamba_heads);
  symbols->Set("inner", mamba_heads * ssm_head_dim);
  symbols->Set("kernel", 4);  // of Megatron's mixer, which no config says
  symbols->Set("tied", tied);
  for (const auto& [symbol, letter] :
       {std::pair{kMambaLayers, kMambaLayer}, {kAttentionLayers, kAttentionLayer}, {kMlpLayers, kMlpLayer}}) {
    std::vector<bool> layers;
    for (const char found : pattern) layers.push_back(found == letter);
    symbols->SetLayers(symbol, std::move(layers));
  }
  return {};
}

Status ReadMambaSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                        ModelSymbols* symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, WordsOfSource(checkpoint, options, &name));
  ANEMONE_TRY(SetMambaSymbols(model, symbols).In(name));
  ANEMONE_ASSIGN(const uint64_t rows, StoredVocabRows(checkpoint, dialect, "token_embedding.weight"));
  ANEMONE_ASSIGN(const Config* config, SizesConfig(checkpoint, options, &name));
  const uint64_t said = IsMambaJson(config->root()) ? MambaRowsOf(config->root()) : 0;
  if (said != 0 && rows != 0 && said != rows)
    return Corrupt(fmt::format("vocab_size: expected {}, the rows of the embedding, found {}", rows, said),
                   "its class does not load such a folder; the number of rows is the right one")
        .In(name);
  symbols->Set("vocab", rows);
  symbols->Set("padded_vocab", rows);
  return {};
}

// ---- the result ----

Result<Target> ToHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  std::string name;
  ANEMONE_ASSIGN(const ConfigNode model, WordsOfSource(source, {}, &name));
  ANEMONE_ASSIGN(const uint64_t stored, symbols.Get("vocab"));
  ANEMONE_ASSIGN(std::optional<Config> kept, KeptHfConfig(source, IsHfMambaJson));
  if (kept && !options.architecture.empty() && MambaClassOf(kept->root()) != options.architecture) kept.reset();
  ANEMONE_ASSIGN(VocabularyChoice rows, ChooseHfVocabulary(source, stored, options, RowsIn(kept)));
  HfMambaRequest request{.rows = rows.rows, .dtype = DTypeOf(source)};
  if (options.architecture == kNemotronHClass || options.architecture == kMamba2Class)
    request.class_name = options.architecture;
  if (kept) {
    request.kept = &kept->root();
    request.dtype = DTypeBy(kept->root(), source);
  }
  Result<ConfigNode> json = HfMambaConfig(model, request);
  if (!json.ok()) return json.status().In(name);
  ANEMONE_ASSIGN(const bool tied, FlagOf(*json, "tie_word_embeddings", false));
  Target target{symbols, Config(*std::move(json)), "config.json", {}};
  target.symbols.Set("vocab", rows.rows);
  target.symbols.Set("tied", tied);
  if (!rows.note.empty()) target.notes.push_back(rows.note);
  return target;
}

Result<Target> FromHuggingFace(const Checkpoint& source, const TranslateOptions& options, const ModelSymbols& symbols) {
  Target target{symbols, options.hparams, options.hparams_name};
  if (options.hparams || !source.config) return target;
  Result<ConfigNode> model = MambaWordsOf(source.config->root(), DTypeOf(source), &target.notes);
  if (!model.ok()) return model.status().In(source.config_name);
  ANEMONE_ASSIGN(const uint64_t rows, symbols.Get("vocab"));
  // Padding to all of them is the same as having so many, whatever the tokenizer counts.
  (*model)["override_vocab_size"] = SizeNode(rows);
  target.config = Config(*std::move(model));
  target.config_name = "model_config.yaml";
  return target;
}

Result<Target> MambaTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                           const TranslateOptions& options, const ModelSymbols& symbols) {
  if (!from.is_megatron && to.is_megatron) return FromHuggingFace(source, options, symbols);
  if (&from != &to && to.is_read_only)
    return Unsupported(fmt::format("expected a dialect that is written, mcore or hf, found {} asked", to.name));
  if (&from != &to) return ToHuggingFace(source, options, symbols);
  return Target{symbols, options.hparams ? options.hparams : source.config, source.config_name};
}

Status CompleteMamba(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                     Checkpoint* result) {
  const bool from_hf = source.config && IsMambaJson(source.config->root());
  return CompleteLanguageModel(source, from_hf ? MambaClassOf(source.config->root()) : "", language, options, result);
}

// A config.json of another class, whose tensors are called alike: the first Mamba's.
std::string ForeignMamba(const Config& config) {
  const ConfigNode& root = config.root();
  if (IsMambaJson(root)) return "";
  const bool is_state_spaces = root.Get("d_model") != nullptr && root.Get("n_layer") != nullptr;
  return is_state_spaces ? "Mamba 1" : ClassNamedIn(root);
}

}  // namespace

const Family& MambaFamily() {
  static const Family family = {
      .name = "mamba",
      .title = "Mamba",
      .symbols = Declared(),
      .canonical = Canonical(),
      .dialects = {Mcore(), HuggingFace(), StateSpaces()},
      .refusals = {{".mixer.x_proj.", "the first Mamba"},
                   {".mixer.experts.", "a mixture of experts, which NeMo 2's has not"},
                   {".mixer.shared_experts.", "a mixture of experts, which NeMo 2's has not"}},
      .read_symbols = ReadMambaSymbols,
      .target = MambaTarget,
      .foreign = ForeignMamba,
      .complete = CompleteMamba};
  return family;
}

}  // namespace anemone
