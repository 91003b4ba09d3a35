// NeVA (LLaVA, VILA): a GPT whose word-embedding module contains the image tower, a Hugging Face CLIP or SigLIP, and
// the projector. So these are on the first stage only, whole on every tensor rank. What is frozen is not stored.
//
// NeMo 1 may build the tower of its own legacy CLIP instead (`from_hf: false`), and NeMo 2 the tower and the projector
// of Megatron-core: both are divided over tensor ranks. The latter is a dialect of its own.
//
// Facts: NeMo v2.0.0 neva_model.py (NevaWordEmbeddingMixin, MegatronNevaModel.state_dict), parallel_adapters.py
// (MultimodalProjectorAdapter); NeMo v2.1.0 nemo/collections/vlm/neva/model/{base,llava}.py, Megatron-LM core_v0.9.0
// models/vision/{clip_vit_model,multimodal_projector}.py; transformers 4.44.2 and 5 modeling_llava.py; files that NeMo
// wrote (tests/golden).
#include <fmt/format.h>

#include <algorithm>

#include "config/companions.h"
#include "family/families.h"
#include "family/gpt/gpt.h"
#include "family/megatron/megatron_layer.h"
#include "family/mount.h"
#include "family/neva/donor.h"
#include "family/neva/neva_symbols.h"
#include "family/neva/neva_target.h"
#include "family/neva/stored.h"
#include "family/words/config_languages.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"

namespace anemone {
namespace neva {
namespace {

using C = CanonicalRow;
using R = StoredRow;

// Of CLIP, or of SigLIP where "vision.siglip" is set.
Mounted ImageTower(std::string_view names) {
  const MountPoint at = {
      .names = std::string(names), .stage = Stage::kFirst, .tower = std::string(kTower), .below = "vision_model."};
  return EitherOf(Mount(ClipFamily(), "hf", at), Mount(SiglipFamily(), "hf", at), "vision.siglip");
}

// The tower of the CLIP that `from_pretrained` names, as legacy Megatron has it, which tells how its heads lie.
Mounted NemoTower(const std::string& names) {
  return Mount(
      ClipFamily(), "legacy",
      {.names = names, .stage = Stage::kFirst, .tower = std::string(kTower), .below = "vision_encoder.backbone."});
}

// The same as NeMo 2 builds it of Megatron-core: whole on the first stage, divided over tensor ranks. It ends with its
// layers; SigLIP's has a norm behind them.
Mounted MegatronTower(const std::string& names) {
  const MountPoint at = {
      .names = names, .stage = Stage::kFirst, .tower = std::string(kTower), .below = "vision_encoder."};
  Mounted mounted = EitherOf(Mount(ClipFamily(), "mcore", at), Mount(SiglipFamily(), "mcore", at), "vision.siglip");
  const std::string module = names + "vision_encoder.";
  std::erase_if(mounted.rows, [&](const R& row) {
    return row.name.starts_with(module + "head.") || row.name.starts_with(module + "final_layernorm.");
  });
  std::erase_if(mounted.symbols,
                [](const Symbol& symbol) { return symbol.name == "projection" || symbol.name == "vision.projects"; });
  for (const char* end : {"weight", "bias"}) {
    mounted.rows.push_back({.name = fmt::format("{}ln_post.{}", module, end),
                            .canonical = fmt::format("vision.post_norm.{}", end),
                            .stage = Stage::kFirst,
                            .when = "vision.siglip",
                            .tower = std::string(kTower)});
  }
  return mounted;
}

// {A}: its canonical name; {S}: its weight's shape; {P}: its name inside the word embedding; {O}: its older name
// [NLPSaveRestoreConnector.modify_state_dict].
std::vector<Words> Places(std::string_view embedding) {
  std::vector<Words> places;
  for (const std::string_view place : kProjections) {
    places.push_back({{"{S}", IsNorm(place) ? "{A}.rows" : "{A}.rows, {A}.columns"},
                      {"{A}", std::string(place)},
                      {"{P}", fmt::format("{}.adapter_layer.mm_projector_adapter.mm_{}", embedding, place)},
                      {"{O}", fmt::format("{}.adapter_layer.mm_linear_adapter.linear{}", embedding,
                                          place.substr(std::string_view("projector").size()))}});
  }
  return places;
}

std::vector<Symbol> Declared() {
  std::vector<Symbol> projector;
  for (const std::string_view place : kProjections) {
    projector.push_back(Symbol::Flag(place, IsNorm(place) ? "a norm is there" : "a linear layer is there"));
    projector.push_back(Symbol::Size(fmt::format("{}.rows", place), "of its weight"));
    if (!IsNorm(place)) projector.push_back(Symbol::Size(fmt::format("{}.columns", place), "of its weight"));
  }
  return Join<Symbol>(
      {GptDeclared(),
       EitherOf(ImageTower(""), EitherOf(MegatronTower(""), NemoTower(""), kNemoVision), kMegatronVision).symbols,
       {Symbol::Flag("vision.siglip", "the image tower is a SigLIP's"),
        Symbol::Flag(kMegatronVision, "the image tower is Megatron-core's"),
        Symbol::Flag(kNemoVision, "the image tower is that of NeMo's own CLIP, legacy Megatron"),
        Symbol::Flag(kMegatronProjector, "the projector is Megatron-core's"),
        Symbol::Flag("projector_bias", "the projector's linear layers have one"),
        Symbol::Flag("language", "the language model is stored"),
        Symbol::Flag("image_newline", "rows of an image's tiles end in a vector: LLaVA-NeXT")},
       projector});
}

// A file may hold the projector alone.
std::vector<C> Language() {
  std::vector<C> rows = GptCanonical();
  for (C& row : rows) {
    if (row.name.find("{i}") == std::string::npos) row.when = Both(row.when, "language");
  }
  return rows;
}

// A LLaVA's picture is what a layer before this norm gives.
std::vector<C> TowerCanonical() {
  std::vector<C> rows = ImageTower("").canonical;
  for (C& row : rows) {
    if (!row.name.starts_with("vision.post_norm.")) continue;
    row.made = row.name.ends_with("weight") ? 1 : 0;
    row.why = "the norm behind the image tower's last layer, which no LLaVA computes";
    row.is_idle = true;
  }
  return rows;
}

std::vector<C> Canonical() {
  return Join<C>({Language(),
                  TowerCanonical(),
                  ForPlaces(Places(""), std::vector<C>{{"{A}.weight", "{S}", "{A}", ""},
                                                       {"{A}.bias", "{A}.rows", "{A} & projector_bias", ""}}),
                  {{kNewline, "width", kNewline, ""}}});
}

std::vector<R> When(std::string_view condition, std::vector<R> rows) {
  for (R& row : rows) {
    if (row.when != kReadOnly) row.when = Both(row.when, condition);
  }
  return rows;
}

std::vector<R> Projector(const std::string& embedding) {
  return ForPlaces(
      Places(embedding),
      std::vector<R>{
          {.name = "{P}.weight", .canonical = "{A}.weight", .stage = Stage::kFirst},
          {.name = "{P}.bias", .canonical = "{A}.bias", .stage = Stage::kFirst},
          {.name = "{O}.weight", .canonical = "{A}.weight", .stage = Stage::kFirst, .when = std::string(kReadOnly)},
          {.name = "{O}.bias", .canonical = "{A}.bias", .stage = Stage::kFirst, .when = std::string(kReadOnly)},
      });
}

// The rows inside the word embedding of NeMo 1.
std::vector<R> Seeing(const std::string& embedding) {
  return Join<R>({When(fmt::format("!{}", kNemoVision), ImageTower(embedding + ".vision_encoder.").rows),
                  When(kNemoVision, NemoTower(embedding + ".").rows), Projector(embedding)});
}

// Of NeMo 2's LLaVA-NeXT; NeMo 1 has no such model.
Dialect WithNewline(Dialect dialect) {
  dialect.rows.push_back({.name = kNewline, .canonical = kNewline, .stage = Stage::kFirst});
  return dialect;
}

// NeMo 2 with parts of Megatron-core: the tower, the projector, or both. The other kind's rows are here as well.
Dialect MegatronVit() {
  const std::string embedding = "embedding.word_embeddings";
  const std::string projector = embedding + ".adapter_layer.mm_projector_adapter.mm_projector.encoder";
  const auto linear = [&](const std::string& name, const std::string& canonical, bool is_columns) {
    const std::string when(kMegatronProjector);
    return std::vector<R>{{.name = fmt::format("{}{}.weight", projector, name),
                           .canonical = fmt::format("{}.weight", canonical),
                           .split = is_columns ? Split::kColumns : Split::kRows,
                           .stage = Stage::kFirst,
                           .when = when},
                          {.name = fmt::format("{}{}.bias", projector, name),
                           .canonical = fmt::format("{}.bias", canonical),
                           .split = is_columns ? Split::kColumns : Split::kReplicated,
                           .stage = Stage::kFirst,
                           .when = when},
                          StateRow(fmt::format("{}{}._extra_state", projector, name), kReadOnly, Stage::kFirst)};
  };
  Dialect dialect = WithNewline(GptMcore(
      Join<R>({When(fmt::format("!{}", kMegatronVision), ImageTower(embedding + ".vision_encoder.").rows),
               When(kMegatronVision, MegatronTower(embedding + ".").rows),
               When(fmt::format("!{}", kMegatronProjector), Projector(embedding)), linear("", "projector", true),
               linear(".linear_fc1", "projector.0", true), linear(".linear_fc2", "projector.2", false)})));
  dialect.name = kMegatronTowerDialect;
  dialect.title = "NeMo 2 NeVA, image tower of Megatron-core";
  dialect.language = ConfigLanguage::kNemo2;
  return dialect;
}

Dialect Legacy() {
  Dialect dialect = GptLegacy(Seeing("language_model.embedding.word_embeddings"));
  dialect.title = "NeMo NeVA, legacy Megatron";
  dialect.never += fmt::format(", {}", kNewline);
  return dialect;
}

// ---- transformers ----

// How one of its layouts calls the parts.
struct HfLayout {
  std::string_view name, title;
  std::string_view language;  // stands before "model." of a decoder's names
  std::string_view model;     // stands in place of that "model."
  std::string_view head;      // stands before "lm_head."
  std::string_view projector, tower, newline;
  enum Inner { kWith, kWithout, kEither } inner = kWith;  // whether the tower's names begin with "vision_model."
  bool is_own = false;  // LLaVA's: the projector is a Linear or a Sequential, of any form
};
constexpr HfLayout kHfLayouts[] = {
    // As all published files and all versions of transformers have it.
    {"hf", "Hugging Face transformers, LLaVA", "language_model.", "model.", "language_model.", "multi_modal_projector",
     "vision_tower.", "image_newline"},
    {"hf_v5", "Hugging Face transformers, LLaVA as version 5 saves it", "language_model.", "model.", "language_model.",
     "multi_modal_projector", "vision_tower.", "image_newline", HfLayout::kWithout},
    {"hf_nested", "Hugging Face transformers, LLaVA as version 5 has it in memory", "model.language_model.", "", "",
     "model.multi_modal_projector", "model.vision_tower.", "model.image_newline", HfLayout::kEither},
    {"llava", "LLaVA's own", "", "model.", "", "model.mm_", "model.vision_tower.vision_tower.", "model.image_newline",
     HfLayout::kWith, true},
};

std::vector<R> HfTower(const HfLayout& layout) {
  const std::vector<R> with = ImageTower(std::string(layout.tower)).rows;
  std::vector<R> without = with;
  for (R& row : without) {
    row.name.erase(layout.tower.size(), std::string_view("vision_model.").size());
    if (layout.inner == HfLayout::kEither) row.when = kReadOnly;
  }
  if (layout.inner == HfLayout::kEither) return Join<R>({with, std::move(without)});
  return layout.inner == HfLayout::kWith ? with : without;
}

Dialect HuggingFace(const HfLayout& layout) {
  Dialect dialect = GptHuggingFace().front();
  const std::string_view model = "model.";
  for (R& row : dialect.rows) {
    row.name = row.name.starts_with(model)
                   ? fmt::format("{}{}{}", layout.language, layout.model, row.name.substr(model.size()))
                   : fmt::format("{}{}", layout.head, row.name);
  }
  std::vector<R> projector;
  const auto add = [&](const std::string& name, std::string_view place) {
    for (const char* end : {"weight", "bias"}) {
      projector.push_back({.name = fmt::format("{}.{}", name, end), .canonical = fmt::format("{}.{}", place, end)});
    }
  };
  if (layout.is_own) {
    for (const std::string_view place : kProjections) add(fmt::format("{}{}", layout.projector, place), place);
  } else {
    add(fmt::format("{}.linear_1", layout.projector), "projector.0");
    add(fmt::format("{}.linear_2", layout.projector), "projector.2");
  }
  projector.push_back({.name = std::string(layout.newline), .canonical = kNewline});
  dialect.name = layout.name;
  dialect.title = layout.title;
  dialect.rows = Join<R>({HfTower(layout), std::move(projector), std::move(dialect.rows)});
  if (layout.is_own) {
    dialect.prefixes.emplace_back("base_model.model.");  // beside a LoRA: non_lora_trainables.bin
    dialect.language = ConfigLanguage::kNone;            // its config.json is not transformers'
  } else {
    dialect.never += ", projector, projector.1, projector.4, projector.6";
  }
  return dialect;
}

std::vector<Dialect> HuggingFaceDialects() {
  std::vector<Dialect> dialects;
  for (const HfLayout& layout : kHfLayouts) dialects.push_back(HuggingFace(layout));
  return dialects;
}
Dialect Titled(Dialect dialect, std::string_view title) {
  dialect.title = title;
  return dialect;
}

Status CompleteNeva(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                    Checkpoint* result) {
  if (language == ConfigLanguage::kNone) language = ConfigLanguage::kHuggingFace;  // LLaVA's own folder
  std::erase_if(result->artifacts, [](const Artifact& artifact) {
    return artifact.name == kTowerConfig || artifact.name == kNemoTowerConfig;
  });
  // NeMo 2 has a folder's other files in its context.
  for (Artifact& artifact : result->artifacts) {
    const bool is_preprocessor =
        artifact.name.starts_with(kNemo2Context) && artifact.name.ends_with("processor_config.json");
    if (is_preprocessor && language == ConfigLanguage::kHuggingFace) artifact.name.erase(0, kNemo2Context.size());
  }
  return CompleteLanguageModel(source, IsLlava(source) ? "LlamaForCausalLM" : "", language, options, result);
}

// A config.json of another class, whose tensors may be called alike.
std::string ForeignNeva(const Config& config) {
  const ConfigNode& root = config.root();
  if (root.Get("architectures") == nullptr && root.Get("model_type") == nullptr) return {};
  if (IsAnyLlavaJson(root)) return {};
  const ConfigNode& names = WordAt(root, "architectures");
  return names.is_list() && !names.list.empty() ? names.list.front().ScalarText()
                                                : WordAt(root, "model_type").ScalarText();
}

Family Make() {
  return {.name = "neva",
          .title = "NeVA",
          .symbols = Declared(),
          .canonical = Canonical(),
          .dialects = Join<Dialect>(
              {{
                   WithNewline(Titled(GptMcore(Seeing("embedding.word_embeddings")), "NeMo NeVA, Megatron-core")),
                   Legacy(),
                   MegatronVit(),
               },
               HuggingFaceDialects()}),
          .refusals = {{"mlp.shared_experts.", "experts that all tokens share"}},
          .first_stage_towers = {std::string(kTower)},
          .has_virtual_stages = true,
          .read_symbols = ReadNevaSymbols,
          .target = NevaTarget,
          .foreign = ForeignNeva,
          .choose_dialect = ChooseNevaDialect,
          .complete = CompleteNeva,
          .parts_elsewhere = TowerElsewhere,
          .tell_parts = TellTower,
          .take_parts = TakePartsOf,
          .parts = {{"image tower", "vision.", "mm_cfg.vision_encoder.from_pretrained"},
                    {"projector", "projector", "mm_cfg.pretrain_mm_mlp_adapter"},
                    {"language model", "", "mm_cfg.llm.from_pretrained"}}};
}

}  // namespace
}  // namespace neva

const Family& NevaFamily() {
  static const Family family = neva::Make();
  return family;
}

}  // namespace anemone
