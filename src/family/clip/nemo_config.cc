// model_config.yaml of a NeMo 1 CLIP: a table of its fields, by which it is read, written and compared with what the
// weights' own config says.
//
// Facts: NeMo v2.0.0 megatron_clip_models.py, vit_backbone.py, data/clip/clip_dataset.py,
// scripts/checkpoint_converters/convert_clip_hf_to_nemo.py.
#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "base/listing.h"
#include "family/clip/config_languages.h"
#include "family/clip/nemo_clip_template.h"

namespace anemone {
namespace {

using Clip = ClipArchitecture;
using Tower = TowerArchitecture;

constexpr std::string_view kTarget =
    "nemo.collections.multimodal.models.vision_language_foundation.clip.megatron_clip_models.MegatronCLIPModel";
constexpr std::string_view kNemoVersion = "2.0.0";  // whose reading of the config we write for

std::string Number(double value) { return fmt::format("{}", value); }
std::string RgbText(const Rgb& rgb) { return fmt::format("[{}]", fmt::join(rgb, ", ")); }
std::string Flag(bool value) { return value ? "true" : "false"; }

// ---- comparison ----

// What a user's YAML says beside what the weights' own config says: one line for each field in which they differ, and
// how the YAML would agree.
struct Differences {
  std::string yaml_name, spec_name;
  std::vector<std::string>* notes = nullptr;
  std::vector<std::string> lines = {}, fixes = {};

  void Compare(std::string_view field, const std::string& expected, const std::string& found) {
    if (expected == found) return;
    lines.push_back(fmt::format("{}: expected {}, found {}", field, expected, found));
    fixes.push_back(fmt::format("{}={}", field, expected));
  }
};

// A field while it is compared: in the weights' own architecture, in the YAML's and in the YAML.
struct FieldCompare {
  const std::string& path;  // "vision.num_layers"
  FieldRead yaml;
  const Clip& spec;
  const Tower* tower;
  Differences& differences;
};

struct NemoField {
  ClipField field;
  void (*compare)(const FieldCompare& at) = nullptr;  // null: may say anything, or is seen by another field
};

template <auto member>
void CompareNumber(const FieldCompare& at) {
  const FieldWrite from{at.yaml.field, at.spec, at.tower}, to{at.yaml.field, at.yaml.spec, at.yaml.tower};
  at.differences.Compare(at.path, std::to_string(MemberOf<member>(from)), std::to_string(MemberOf<member>(to)));
}
template <auto member>
constexpr NemoField Size(std::string_view name, std::string_view why, std::optional<double> clip = {},
                         std::optional<double> siglip = {}) {
  return {{name, FieldUse::kHonored, why, anemone::Number<member>(clip, siglip)}, CompareNumber<member>};
}

void CompareEpsilon(const FieldCompare& at) {
  const double from = at.tower->epsilon, to = at.yaml.tower->epsilon;
  if (std::abs(from - to) <= 1e-3 * from) return;
  if (!at.spec.siglip) return at.differences.Compare(at.path, Number(from), Number(to));
  // NeMo's own SigLIP YAML says 1e-5 where the models have 1e-6; it is what its users convert with.
  Differences& all = at.differences;
  if (all.notes == nullptr) return;
  all.notes->push_back(
      fmt::format("{}: {} says {}, {} says {}; kept", at.path, all.spec_name, Number(from), all.yaml_name, Number(to)));
}

// Two keys say it: the line names the one to change.
void CompareActivation(const FieldCompare& at) {
  const std::string &from = at.tower->activation, &to = at.yaml.tower->activation;
  if (from == to) return;
  const bool by_tanh = from == "gelu_tanh" || to == "gelu_tanh";
  const auto value = [&](const std::string& activation) {
    if (by_tanh) return Flag(activation == "gelu_tanh");
    return std::string(activation == "quick_gelu" ? "approx-gelu" : "gelu");
  };
  const std::string path = by_tanh ? fmt::format("{}.openai_gelu", at.path.substr(0, at.path.rfind('.'))) : at.path;
  at.differences.lines.push_back(
      fmt::format("{}: expected {} ({}), found {} ({})", path, value(from), from, value(to), to));
  at.differences.fixes.push_back(fmt::format("{}={}", path, value(from)));
}

// SigLIP crops what does not fill a patch.
template <auto member>
void CompareSide(const FieldCompare& at) {
  const Clip &from = at.spec, &to = at.yaml.spec;
  const bool same_grid = from.patch > 0 && from.image_height / from.patch == to.image_height / to.patch &&
                         from.image_width / from.patch == to.image_width / to.patch;
  if (!from.siglip || !same_grid) CompareNumber<member>(at);
}

template <auto member>
void ComparePixels(const FieldCompare& at) {
  const std::optional<Rgb>&expected = at.spec.*member, &found = at.yaml.spec.*member;
  if (expected && found) at.differences.Compare(at.path, RgbText(*expected), RgbText(*found));
}

void CompareSiglip(const FieldCompare& at) {
  at.differences.Compare(at.path, Flag(at.spec.siglip), Flag(at.yaml.spec.siglip));
}

void CompareFirstNorm(const FieldCompare& at) {
  if (at.spec.siglip) return;
  at.differences.Compare(at.path, Flag(true), Flag(at.yaml.in.Bool(at.yaml.field.name, true)));
}
void ComparePooling(const FieldCompare& at) {
  at.differences.Compare(at.path, Flag(false), Flag(at.yaml.in.Bool(at.yaml.field.name, false)));
}

// Where it is said, it is the same as elsewhere.
template <auto member>
void CompareAgain(const FieldCompare& at) {
  const uint64_t expected = at.spec.*member;
  at.differences.Compare(at.path, std::to_string(expected),
                         std::to_string(at.yaml.in.Size(at.yaml.field.name, expected)));
}

// ---- reading and writing ----

void ReadSiglip(const FieldRead& at) { at.spec.siglip = at.in.Bool(at.field.name, false); }
std::optional<ConfigNode> WriteSiglip(const FieldWrite& at) {
  return at.spec.siglip ? std::optional(ConfigNode::Bool(true)) : std::nullopt;
}

void ReadFfn(const FieldRead& at) { at.tower->ffn = at.in.Size(at.field.name, 4 * at.tower->width); }

// NeMo's `approx-gelu` is OpenAI's quick GELU; fused bias and GELU is the tanh form [fused_bias_gelu.py].
void ReadActivation(const FieldRead& at) {
  const std::string word = at.in.Text(at.field.name, "gelu");
  std::string& activation = at.tower->activation;
  if (at.in.Bool("openai_gelu", false)) {
    activation = "gelu_tanh";
  } else if (word == "approx-gelu") {
    activation = "quick_gelu";
  } else if (word == "gelu") {
    activation = at.in.Bool("bias_activation_fusion", false) ? "gelu_tanh" : "gelu";
  } else {
    activation.clear();
    at.in.Refuse(at.field.name, "gelu or approx-gelu", word);
  }
}
std::optional<ConfigNode> WriteActivation(const FieldWrite& at) {
  return TextNode(at.tower->activation == "quick_gelu" ? "approx-gelu" : "gelu");
}
std::optional<ConfigNode> WriteByTanh(const FieldWrite& at) {
  return ConfigNode::Bool(at.tower->activation == "gelu_tanh");
}
std::optional<ConfigNode> WriteUnfused(const FieldWrite& /*at*/) { return ConfigNode::Bool(false); }

// Sizes that follow from others: null, or what follows.
void ExpectSize(const FieldRead& at, uint64_t expected) {
  const uint64_t found = at.in.Size(at.field.name, expected);
  if (found != expected) at.in.Fail(at.field.name, fmt::format("null or {}", expected), std::to_string(found));
}
void ReadHeadWidth(const FieldRead& at) {
  ExpectSize(at, at.tower->heads == 0 ? 0 : at.tower->width / at.tower->heads);
}
void ReadGroups(const FieldRead& at) { ExpectSize(at, at.tower->heads); }
void ReadNorm(const FieldRead& at) {
  const std::string norm = at.in.Text(at.field.name, "layernorm");
  if (norm != "layernorm") at.in.Refuse(at.field.name, "layernorm", norm);
}

// NeMo asserts that patches fill the picture.
template <auto member>
std::optional<ConfigNode> WriteSide(const FieldWrite& at) {
  return SizeNode(at.spec.*member - at.spec.*member % at.spec.patch);
}
std::optional<ConfigNode> WritePatches(const FieldWrite& at) {
  return SizeNode(at.spec.positions() - at.spec.class_tokens);
}

template <auto member>
void ReadPixels(const FieldRead& at) {
  at.spec.*member = ReadRgb(at.in.Get(at.field.name));
}
template <auto member, const Rgb& silent>
std::optional<ConfigNode> WritePixels(const FieldWrite& at) {
  const std::optional<Rgb>& value = at.spec.*member;
  return value.value_or(silent) != silent ? std::optional(RgbNode(*value)) : std::nullopt;
}

void ReadContext(const FieldRead& at) {
  at.spec.context = at.in.Size(at.field.name, at.in.Size("encoder_seq_length", 77));
}
void ReadVocab(const FieldRead& at) {
  if (at.in.Get(at.field.name) != nullptr) at.spec.vocab = at.in.Size(at.field.name);
}

// ---- the table, in the order of comparison ----

using enum FieldUse;

constexpr NemoField kTopFields[] = {
    {{"use_siglip", kHonored, "a SigLIP", {ReadSiglip, WriteSiglip}}, CompareSiglip},
    Size<&Clip::projection>("output_dim", "width of the features"),
};

constexpr NemoField kTowerFields[] = {
    Size<&Tower::layers>("num_layers", "number of blocks"),
    Size<&Tower::width>("hidden_size", "hidden size"),
    {{"ffn_hidden_size", kHonored, "size of the feed-forward layer", {ReadFfn, WriteNumber<&Tower::ffn>}},
     CompareNumber<&Tower::ffn>},
    Size<&Tower::heads>("num_attention_heads", "attention heads"),
    {{"activation", kHonored, "the activation", {ReadActivation, WriteActivation}}, CompareActivation},
    {{"openai_gelu", kHonored, "GELU by tanh: read with activation", {nullptr, WriteByTanh}}},
    {{"bias_activation_fusion", kHonored, "the same", {nullptr, WriteUnfused}}},
    {{"layernorm_epsilon", kHonored, "epsilon of every norm", anemone::Number<&Tower::epsilon>(1e-5)}, CompareEpsilon},
    {{"kv_channels", kHonored, "hidden size of an attention head", {ReadHeadWidth}}},
    {{"num_query_groups", kHonored, "groups of attention heads", {ReadGroups}}},
    {{"normalization", kHonored, "the kind of norm", {ReadNorm}}},
};

constexpr NemoField kPictureFields[] = {
    Size<&Clip::patch>("patch_dim", "side of a patch"),
    {{"img_h", kHonored, "height", {ReadNumber<&Clip::image_height>, WriteSide<&Clip::image_height>}},
     CompareSide<&Clip::image_height>},
    {{"img_w", kHonored, "width", {ReadNumber<&Clip::image_width>, WriteSide<&Clip::image_width>}},
     CompareSide<&Clip::image_width>},
    Size<&Clip::channels>("num_channels", "channels of the picture", 3),
    Size<&Clip::class_tokens>("class_token_length", "tokens that stand for the picture", 1, 0),
};

// NeMo reads these two keys, which its YAMLs do not have, and not image_mean and image_std, which they do
// [clip_dataset.py; augmentations.py].
constexpr NemoField kPixelFields[] = {
    {{"img_mean", kHonored, "mean of pixels", {ReadPixels<&Clip::mean>, WritePixels<&Clip::mean, kClipMean>}},
     ComparePixels<&Clip::mean>},
    {{"img_std",
      kHonored,
      "deviation of pixels",
      {ReadPixels<&Clip::deviation>, WritePixels<&Clip::deviation, kClipDeviation>}},
     ComparePixels<&Clip::deviation>},
};

constexpr NemoField kVisionFields[] = {
    {{"preprocess_layernorm", kHonored, "a norm before the blocks"}, CompareFirstNorm},
    {{"global_average_pool", kHonored, "which tokens stand for the picture"}, ComparePooling},
    {{"output_dim", kHonored, "width of the features", Written<&Clip::projection>()}, CompareAgain<&Clip::projection>},
    {{"encoder_seq_length", kNoEffect, "NeMo does not read it", {nullptr, WritePatches}}},
    {{"max_position_embeddings", kNoEffect, "NeMo does not read it", {nullptr, WritePatches}}},
};

constexpr NemoField kTextFields[] = {
    {{"max_position_embeddings", kHonored, "positions of a text", {ReadContext, WriteNumber<&Clip::context>}},
     CompareNumber<&Clip::context>},
    {{"encoder_seq_length", kHonored, "the same", Written<&Clip::context>()}, CompareAgain<&Clip::context>},
    {{"output_dim", kHonored, "width of the features", Written<&Clip::projection>()}, CompareAgain<&Clip::projection>},
    {{"vocab_size", kHonored, "rows of the embedding table", {ReadVocab}}},
};

// ---- sections by their tables ----

using Table = std::span<const NemoField>;
constexpr Table kOfVision[] = {kTowerFields, kPictureFields, kPixelFields, kVisionFields};
constexpr Table kOfText[] = {kTowerFields, kTextFields};

struct Readers {
  FieldReader top, vision, text;
  explicit Readers(const ConfigNode& model)
      : top(&model, ""), vision(model.Get("vision"), "vision."), text(model.Get("text"), "text.") {}
  Status status() const {
    for (const FieldReader* reader : {&top, &vision, &text}) ANEMONE_TRY(reader->status());
    return {};
  }
};

void Read(std::span<const Table> tables, FieldReader& in, Clip& spec, Tower* tower) {
  for (const Table table : tables) {
    for (const NemoField& row : table) ReadFields({&row.field, 1}, in, spec, tower);
  }
}

void Write(std::span<const Table> tables, const Clip& spec, const Tower* tower, ConfigNode& node) {
  for (const Table table : tables) {
    for (const NemoField& row : table) WriteFields({&row.field, 1}, spec, tower, node);
  }
}

// What a user's YAML, which is `yaml`, says otherwise than the weights' own config.
Status CompareWithYaml(const ConfigNode& model, Clip yaml, const Clip& spec, Differences& differences) {
  Readers in(model);
  const auto compare = [&](std::string_view prefix, std::span<const Table> tables, FieldReader& reader,
                           const Tower* from, Tower* to) {
    for (const Table table : tables) {
      for (const NemoField& row : table) {
        const std::string path = fmt::format("{}{}", prefix, row.field.name);
        if (row.compare != nullptr) row.compare({path, {reader, row.field, yaml, to}, spec, from, differences});
      }
    }
  };
  constexpr Table kOfTop[] = {kTopFields};
  compare("", kOfTop, in.top, nullptr, nullptr);
  if (spec.has_vision) compare("vision.", kOfVision, in.vision, &spec.vision, &yaml.vision);
  if (spec.has_text) compare("text.", kOfText, in.text, &spec.text, &yaml.text);
  return in.status();
}

// What the converters set before they build the model, and what the model appends when it is saved.
void SetConverterKeys(ConfigNode& model, NemoClipKind kind) {
  if (kind == NemoClipKind::kMcore) {
    model["mcore_gpt"] = ConfigNode::Bool(true);
    model["transformer_engine"] = ConfigNode::Bool(true);
    for (const std::string_view tower : {"text", "vision"})
      model[tower]["position_embedding_type"] = TextNode("learned_absolute");
  } else {
    // With either of them NeMo builds layers of other names.
    for (const std::string_view key : {"mcore_gpt", "transformer_engine"}) {
      const ConfigNode* flag = model.Get(key);
      if (flag != nullptr && flag->AsBool().value_or(false)) model[key] = ConfigNode::Bool(false);
    }
  }
  if (model.Get("target") == nullptr) model["target"] = TextNode(kTarget);
  if (model.Get("nemo_version") == nullptr) model["nemo_version"] = TextNode(kNemoVersion);
}

// As the model's constructor does at tensor parallel 1 and at one chunk a stage.
void SetConstructorKeys(ConfigNode& model) {
  if (ConfigNode* sequence = model.Get("sequence_parallel")) *sequence = ConfigNode::Bool(false);
  if (ConfigNode* virtual_size = model.Get("virtual_pipeline_model_parallel_size");
      virtual_size != nullptr && virtual_size->AsInt() == 1) {
    *virtual_size = ConfigNode::Null();
  }
  if (const ConfigNode* precision = model.Get("precision"); precision == nullptr || precision->is_null())
    model["precision"] = ConfigNode::Int(32);
  if (const ConfigNode* optim = model.Get("optim"); optim == nullptr || optim->is_null())
    model["optim"] = ConfigNode::Map();
}

// Numbers and booleans lose the spelling a person gave them, as in a file that OmegaConf wrote anew.
void ForgetSpelling(ConfigNode& node) {
  const bool big_integer =
      node.kind == ConfigNode::Kind::kFloat && node.text.find_first_of(".eEn") == std::string::npos;
  if (node.kind != ConfigNode::Kind::kString && !big_integer) node.text.clear();
  for (ConfigNode& child : node.list) ForgetSpelling(child);
  for (auto& [key, child] : node.map) ForgetSpelling(child);
}

// What NeMo's own layers do as told, and Megatron core's do not [megatron_clip_models.py, CLIPVisionTransformer and
// MCoreCLIPViTModel].
void CheckOwnLayers(Readers& in, const Clip& spec) {
  if (!spec.has_vision || spec.siglip || in.top.Bool("mcore_gpt", false)) return;
  if (in.vision.Bool("global_average_pool", false))
    in.vision.Refuse("global_average_pool", "false", "true (the mean of all tokens stands for the picture)");
  if (!in.vision.Bool("preprocess_layernorm", true))
    in.vision.Refuse("preprocess_layernorm", "true", "false (no norm before the blocks)");
}

Result<ClipArchitecture> ReadAll(Readers& in) {
  ClipArchitecture spec;
  for (const NemoField& row : kTopFields) ReadFields({&row.field, 1}, in.top, spec);
  Read(kOfVision, in.vision, spec, &spec.vision);
  Read(kOfText, in.text, spec, &spec.text);
  ANEMONE_TRY(in.status());
  ANEMONE_TRY(CheckArchitecture(spec));
  return spec;
}

}  // namespace

Result<ClipArchitecture> ReadNemoClip(const ConfigNode& model) {
  Readers in(model);
  ANEMONE_ASSIGN(ClipArchitecture spec, ReadAll(in));
  CheckOwnLayers(in, spec);
  ANEMONE_TRY(in.status());
  return spec;
}

Result<Config> NemoConfigFromHparams(const Config& hparams, const std::string& hparams_name,
                                     const ClipArchitecture& spec, const std::string& spec_name, NemoClipKind kind,
                                     std::vector<std::string>* notes) {
  auto node = NemoModelNode(hparams);
  // A key that an interpolation misses is the YAML's fault, no missing input.
  if (!node.ok() && node.status().kind() == ErrorKind::kNotFound) node = node.status().As(ErrorKind::kCorrupt);
  if (!node.ok()) return node.status().In(hparams_name);
  ConfigNode model = *std::move(node);
  Readers in(model);
  const auto yaml = ReadAll(in);  // whatever else it says is compared
  if (!yaml.ok()) return yaml.status().In(hparams_name);
  Differences found{.yaml_name = hparams_name, .spec_name = spec_name, .notes = notes};
  ANEMONE_TRY(CompareWithYaml(model, *yaml, spec, found));
  if (!found.lines.empty()) {
    return Corrupt(
        fmt::format("{}: disagrees with {} in {} field{}: {}", hparams_name, spec_name, found.lines.size(),
                    found.lines.size() == 1 ? "" : "s", Listing(found.lines, "; ")),
        fmt::format("set {}, or leave the YAML out and have a complete config derived", Listing(found.fixes, " ")));
  }
  constexpr Table kPixels[] = {kPixelFields};
  Write(kPixels, spec, nullptr, model["vision"]);
  SetConverterKeys(model, kind);
  SetConstructorKeys(model);
  ForgetSpelling(model);
  return Config(std::move(model));
}

Config NemoConfigFromArchitecture(const ClipArchitecture& spec, NemoClipKind kind) {
  ConfigNode model = NemoClipTemplate();
  for (const NemoField& row : kTopFields) WriteFields({&row.field, 1}, spec, nullptr, model);
  Write(kOfVision, spec, &spec.vision, model["vision"]);
  Write(kOfText, spec, &spec.text, model["text"]);
  // Not a field: NeMo's CLIP has the tokenizer under a name, and its SigLIP under one name whatever the size.
  if (!spec.tokenizer.empty()) model["tokenizer"]["type"] = TextNode(spec.tokenizer);
  if (spec.siglip) model["tokenizer"]["type"] = TextNode("google/siglip-so400m-patch14-384");
  SetConverterKeys(model, kind);
  return Config(std::move(model));
}

}  // namespace anemone
