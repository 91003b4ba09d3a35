#include "anemone/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "engine/execute.h"
#include "engine/plan.h"
#include "family/clip_config.h"
#include "family/families.h"
#include "family/family.h"
#include "family/nemo2_config.h"
#include "family/nemo_artifact.h"
#include "family/tokenizer_files.h"
#include "family/user_table.h"
#include "format/format.h"
#include "ops/artifact.h"
#include "ops/destination.h"
#include "ops/ema.h"
#include "ops/model_class.h"
#include "ops/replace.h"
#include "ops/rewrite.h"
#include "ops/source.h"
#include "ops/yaml.h"
#include "parallel/layout.h"
#include "parallel/optimizer.h"
#include "parallel/reshard.h"
#include "parallel/vocabulary.h"

namespace anemone {
namespace {

constexpr const char* kSplitRank = "pipeline_model_parallel_split_rank";

bool HasOneWhole(const Checkpoint& checkpoint) {
  return checkpoint.shards.size() == 1 && checkpoint.shards.front().chunks.empty();
}

// With a config, and without a foreign prefix (`module.`) before its names.
bool IsAsOthersWriteIt(const Checkpoint& checkpoint, const Dialect& dialect) {
  return checkpoint.config && HasOneWhole(checkpoint) &&
         NameMatcher(dialect).BestPrefix(checkpoint.weights()).prefix == dialect.prefixes.front();
}

class Converter {
 public:
  Converter(const ConvertOptions& options, Conversion& conversion) : options_(options), conversion_(conversion) {}

  Status Run(const Format& format) {
    conversion_.result = conversion_.source;
    if (!options_.table.empty()) {
      ANEMONE_ASSIGN(const Config table, ReadYaml(options_.table));
      auto family = ParseUserTable(table);
      if (!family.ok()) return family.status().In(options_.table);
      table_ = *std::move(family);
    }
    const FormatTraits& traits = format.traits;
    ANEMONE_TRY(IsWhole());
    if (!options_.preset.empty() && !ClipPreset(options_.preset)) {
      return InvalidArgument(fmt::format("--preset: expected the name of a size, found '{}'", options_.preset),
                             fmt::format("known are {}", fmt::join(ClipPresetNames(), ", ")));
    }
    if (options_.only_weights) LeaveTraining("");
    if (!traits.training) LeaveTraining(fmt::format("a {} holds none", format.name));
    if (options_.dtype) LeaveTraining("it belongs to the dtypes the weights had");
    const bool was_nemo2 = TraitsOf(conversion_.source).language == ConfigLanguage::kNemo2;
    if (was_nemo2 != (traits.language == ConfigLanguage::kNemo2))
      LeaveTraining("NeMo 1 and NeMo 2 train with different optimizers");
    ANEMONE_TRY(TakeTokenizer(format));
    ANEMONE_TRY(ConfigOfNemo1(format));
    ANEMONE_TRY(Translated(format));
    if (traits.training == ParameterKeys::kNumbers) ANEMONE_TRY(KeyTrainingBy(ParameterKeys::kNumbers));
    ANEMONE_TRY(LaidOutOverRanks(traits));
    if (traits.training == ParameterKeys::kNames) ANEMONE_TRY(KeyTrainingBy(ParameterKeys::kNames));
    const bool keeps_extra_state = options_.extra_state != ExtraState::kDrop;
    if (options_.dtype || !keeps_extra_state) {
      ANEMONE_TRY(Rewrite(options_.dtype, keeps_extra_state, &conversion_.result));
    }
    if (traits.language == ConfigLanguage::kHuggingFace && options_.dtype && conversion_.result.config) {
      SetHuggingFaceDType(conversion_.result.config->root(), *options_.dtype);
    }
    if (traits.model_class == ModelClassIn::kConfig &&
        TraitsOf(conversion_.source).model_class == ModelClassIn::kScript) {
      ANEMONE_TRY(NameModel());
    }
    const ConfigEdit edit{options_.set, options_.unset, options_.artifacts};
    Checkpoint& result = conversion_.result;
    if (options_.extra_state == ExtraState::kRequire) ANEMONE_TRY(ExtraStatesAreThere(format));
    if (!edit.empty()) {
      if (!result.config) result.config.emplace();
      ANEMONE_TRY(ApplyEdit(edit, *result.config, result.artifacts));
    }
    return traits.language == ConfigLanguage::kNemo2 ? ConfigOfNemo2() : Status();
  }

  uint32_t shard_grid() const { return shard_grid_; }

 private:
  // In place of the source's own, before anything looks at that.
  Status TakeTokenizer(const Format& format) {
    if (options_.tokenizer.empty()) return {};
    const bool from_hf = TraitsOf(conversion_.source).language == ConfigLanguage::kHuggingFace;
    const Format* as_in = FindFormat(options_.dialect);
    const FormatTraits& to = as_in != nullptr ? as_in->traits : format.traits;
    if (from_hf == (to.language == ConfigLanguage::kHuggingFace)) {
      return InvalidArgument("--tokenizer: expected a conversion from or to Hugging Face",
                             "--artifact tokenizer.model=FILE stores a file for NeMo");
    }
    ANEMONE_ASSIGN(const std::vector<Artifact> given, OpenTokenizer(options_.tokenizer));
    for (Checkpoint* checkpoint : {&conversion_.source, &conversion_.result}) {
      ConfigNode* config = checkpoint->config ? &checkpoint->config->root() : nullptr;
      ANEMONE_TRY(ReplaceTokenizer(given, config, &checkpoint->artifacts).In(options_.tokenizer));
    }
    return {};
  }

  Status IsWhole() const {
    const std::string& whole = conversion_.source.origin.part_of;
    if (whole.empty() || !options_.strict) return {};
    return Corrupt("expected a whole checkpoint, found one part of several",
                   fmt::format("anemone convert {} {} takes all; --no-strict takes this part alone", whole,
                               conversion_.destination));
  }

  // NeMo restores a model by its class and its own names; it has no use for others.
  Status HasMeaningForNemo(const Format& format, const Status& unknown) const {
    const Checkpoint& result = conversion_.result;
    if (!format.traits.is_megatron() || !options_.strict || !result.config) return {};
    const ConfigNode& root = result.config->root();
    const bool is_foreign =
        root.Get("architectures") != nullptr || root.Get("model_type") != nullptr || root.Get("model_cfg") != nullptr;
    const bool is_nemos = TraitsOf(result).is_megatron();
    if (!is_foreign && (is_nemos || !format.traits.is_nemo1_archive() || root.Get("target") != nullptr)) return {};
    return Unsupported(fmt::format("a {} that NeMo restores: {}", format.name, unknown.error().what),
                       "OUT.safetensors or OUT.pt holds the weights alone; --no-strict carries all name by name");
  }

  // NeMo 2's config in the words of NeMo 1, which all tables and all other formats speak.
  Status ConfigOfNemo1(const Format& format) {
    Checkpoint& result = conversion_.result;
    if (format.traits.language == ConfigLanguage::kNemo2 || !result.config || !IsNemo2Config(result.config->root()))
      return {};
    Result<ConfigNode> config = ToNemo1Config(result.config->root());
    if (!config.ok()) return format.traits.is_nemo1_archive() ? config.status().In(result.config_name) : Status();
    // A SentencePiece model is all that NeMo 1 needs of a tokenizer [NeMo scripts/checkpoint_converters/
    // convert_llama_hf_to_nemo.py].
    ConfigNode& tokenizer = (*config)["tokenizer"];
    for (const char* key : {"model", "type"}) {
      const std::string name = tokenizer[key].AsString().value_or("");
      if (name.empty()) continue;
      const Artifact* file = result.FindArtifact("context/" + name + (key[0] == 't' ? "/tokenizer.model" : ""));
      if (file == nullptr) continue;
      const ByteRange content = file->content;
      ANEMONE_ASSIGN(const std::string member, MemberName(content, file->name));
      if (result.FindArtifact(member) == nullptr) result.artifacts.push_back({member, content});
      tokenizer["library"] = ConfigNode::String("sentencepiece");
      tokenizer["type"] = ConfigNode::Null();
      tokenizer["model"] = ConfigNode::String("nemo:" + member);
      break;
    }
    // It describes the objects that the old config built.
    std::erase_if(result.artifacts, [](const Artifact& artifact) { return artifact.name == "context/io.json"; });
    result.config = Config(*std::move(config));
    result.config_name = "model_config.yaml";
    return {};
  }

  // And back.
  Status ConfigOfNemo2() {
    Checkpoint& result = conversion_.result;
    if (!result.config || IsNemo2Config(result.config->root())) return {};
    Nemo2Request request{.id = options_.nemo2_model, .version = options_.nemo2_version};
    const ConfigNode* tokenizer = result.config->root().Get("tokenizer");
    if (const Artifact* model =
            tokenizer == nullptr ? nullptr : FollowReference(tokenizer->Get("model"), result.artifacts)) {
      request.tokenizer = model->name;
    }
    if (result.config->root().Get("mm_cfg") != nullptr && !HasName(result, ".vision_encoder.")) {
      conversion_.notes.push_back(
          "its image tower is not stored, as NeMo 1 leaves frozen ones out; NeMo 2 asks for it when it loads");
    }
    if (Identity().ok()) {
      ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(result, KnownModel()));
      ANEMONE_ASSIGN(const std::optional<uint64_t> rows, model.symbols.Find("", "padded_vocab"));
      request.vocab_rows = rows.value_or(0);
    }
    ANEMONE_ASSIGN(ConfigNode config, ToNemo2Config(result.config->root(), request, &conversion_.notes));
    result.config = Config(std::move(config));
    result.config_name = "context/model.yaml";
    return {};
  }

  // What NeMo's models append to a config that lacks it [NeMo nemo/core/classes/modelPT.py].
  Status NameModel() {
    Checkpoint& result = conversion_.result;
    if (!result.config) return {};
    const ModelClass* model = ModelClassOf(result);
    ConfigNode& root = result.config->root();
    if (!options_.model_class.empty()) {
      const ModelClass* asked = FindModelClassByName(options_.model_class);
      if (asked == nullptr) return UnknownModelClass(options_.model_class);
      if (model != nullptr && model != asked) {
        return InvalidArgument(fmt::format("expected a {} as asked, found a {}", asked->name, model->name),
                               fmt::format("its target is {}", model->target));
      }
      model = asked;
    }
    if (root.Get("target") == nullptr) {
      if (model == nullptr) {
        conversion_.notes.push_back("the model's class is not known: --set target=… names it");
      } else {
        root["target"] = ConfigNode::String(std::string(model->target));
      }
    }
    if (root.Get("nemo_version") == nullptr) root["nemo_version"] = ConfigNode::String("2.0.0");
    return {};
  }

  static Status UnknownModelClass(const std::string& name) {
    std::vector<std::string_view> known;
    for (const ModelClass& model : ModelClasses()) {
      for (const std::string_view type : model.model_types) {
        if (!type.empty()) known.push_back(type);
      }
    }
    return InvalidArgument(fmt::format("expected a model type, found '{}'", name),
                           fmt::format("known are {}, and the classes' own names", fmt::join(known, ", ")));
  }

  // Transformer Engine's strict loading wants them on every rank.
  Status ExtraStatesAreThere(const Format& format) const {
    constexpr std::string_view kSuffix = "_extra_state";
    const auto has_some = [&](const StateDict& state) {
      return std::any_of(state.items().begin(), state.items().end(),
                         [&](const StateDict::Item& item) { return item.name.ends_with(kSuffix); });
    };
    bool holds = format.traits.keeps_extra_state;
    for (const Shard& shard : conversion_.result.shards) {
      holds = holds && (has_some(shard.weights) || std::any_of(shard.chunks.begin(), shard.chunks.end(), has_some));
    }
    if (holds) return {};
    return Unsupported("--extra-state require: expected _extra_state entries in the result, found none",
                       "only Megatron's names in a torch file have them (a .nemo in the dialect mcore)");
  }

  // Notes why, unless it was asked for.
  void LeaveTraining(std::string_view why) {
    bool had_any = false;
    for (Shard& shard : conversion_.result.shards) {
      had_any |= shard.training.has_value();
      shard.training.reset();
    }
    if (had_any && !why.empty()) {
      conversion_.notes.push_back(fmt::format("left out the training state (optimizer, schedulers, loops): {}", why));
    }
  }

  // In the form that the format to come has. Ranks number their parameters, so numbers come before a split and names
  // last.
  Status KeyTrainingBy(ParameterKeys keys) {
    Checkpoint& result = conversion_.result;
    Shard& shard = result.shards.front();
    if (result.shards.size() != 1 || !shard.training) return {};
    const bool is_distributed = result.origin.distributed.has_value();
    if (Lookup(*shard.training->node, "pytorch-lightning_version") == nullptr) {
      if (keys == ParameterKeys::kNumbers || !is_distributed) LeaveTraining("it is not Lightning's");
      return {};
    }
    const std::optional<ParameterKeys> stored = KeysOf(*shard.training);
    if (!stored && keys == ParameterKeys::kNames) {
      // The dictionary without the weights that lie in it.
      ANEMONE_ASSIGN(shard.training, WithOptimizer(*shard.training, shard, nullptr, {}));
    }
    if (!stored || *stored == keys) return {};
    if (!Identity().ok()) {
      LeaveTraining("only the table of a family tells whose parameters its states are");
      return {};
    }
    if (keys == ParameterKeys::kNumbers) ANEMONE_TRY(PutInOrder(&result, KnownModel()));
    ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(result, KnownModel()));
    ANEMONE_ASSIGN(const ParameterRules rules, RulesOf(model));
    return KeyParametersBy(keys, rules, &shard, &conversion_.notes);
  }

  // A family that no table knows, or whose table has one spelling only, is carried name by name; the config is the
  // user's word.
  Status CarriedByName() {
    if (options_.hparams.empty()) return {};
    ANEMONE_ASSIGN(const Config hparams, ReadYaml(options_.hparams));
    ANEMONE_ASSIGN(ConfigNode model, NemoModelNode(hparams));
    conversion_.result.config = Config(std::move(model));
    conversion_.result.config_name = options_.hparams;
    return {};
  }

  Status Translated(const Format& format) {
    Checkpoint& result = conversion_.result;
    const FormatTraits& traits = format.traits;
    const bool takes_any = traits.language == ConfigLanguage::kNone;
    const Result<ModelIdentity> model = Identity();
    if (table_ != nullptr) {
      if (!model.ok()) return model.status();
      if (!options_.dialect.empty()) {
        return InvalidArgument(fmt::format("--dialect {}: expected none beside --table", options_.dialect),
                               "a table has one spelling");
      }
      return CarriedByName();
    }
    if (!model.ok()) {
      const bool is_unknown =
          model.status().kind() == ErrorKind::kNotFound || model.status().kind() == ErrorKind::kUnsupported;
      // As long as nobody asks for other names. A model that its config names is no model of NeMo's.
      std::string foreign;
      DetectFamily(result, &foreign);
      const bool keeps_names = takes_any || (traits.is_megatron() && (foreign.empty() || !options_.strict));
      if (!is_unknown || !options_.dialect.empty() || !keeps_names) {
        return model.status();
      }
      ANEMONE_TRY(CarriedByName());
      ANEMONE_TRY(HasMeaningForNemo(format, model.status()));
      conversion_.notes.push_back("its model family is not known: tensors are carried name by name");
      return {};
    }
    std::string dialect = options_.dialect;
    // A format's name as a dialect means the one that such a model has there.
    const Format* as_in = FindFormat(dialect);
    if (dialect.empty() || as_in != nullptr) {
      ANEMONE_ASSIGN(dialect, DialectOf(as_in != nullptr ? *as_in : format, *model));
    }
    const bool stays = dialect == model->dialect->name && options_.hparams.empty();
    if (stays && (takes_any || traits.is_megatron() || IsAsOthersWriteIt(result, *model->dialect))) return {};
    if (dialect != model->dialect->name) LeaveTraining("it belongs to the parameters of the old dialect");
    ANEMONE_TRY(Merged());
    TranslateOptions translate = KnownModel();
    translate.preset = options_.preset;
    translate.strict = options_.strict;
    translate.extra_state = options_.extra_state != ExtraState::kDrop;
    if (!options_.hparams.empty()) {
      ANEMONE_ASSIGN(translate.hparams, ReadYaml(options_.hparams));
      translate.hparams_name = options_.hparams;
      // The weights' own config is the user's word on what they are.
      const ClipConfigKind kind = KindOfClipConfig(*translate.hparams);
      if (kind == ClipConfigKind::kHuggingFace || kind == ClipConfigKind::kOpenClip) {
        conversion_.source.config.reset();
        result.config.reset();
      }
    }
    Result<Checkpoint> translated = Translate(result, dialect, translate);
    // Weights whose sizes nobody knows stay as they are.
    if (stays && !translated.ok() && translated.status().kind() == ErrorKind::kNotFound) return {};
    ANEMONE_ASSIGN(result, std::move(translated));
    const Dialect& to = *model->family->FindDialect(dialect);
    identity_ = ModelIdentity{model->family, &to};
    if (model->family->complete == nullptr || &to == model->dialect) return {};
    const bool is_nemo2 = traits.language == ConfigLanguage::kNemo2;
    return model->family->complete(conversion_.source, is_nemo2 ? traits.language : LanguageOf(to), translate, &result);
  }

  // The dialect in which the format's readers expect the model.
  Result<std::string> DialectOf(const Format& format, const ModelIdentity& model) {
    const FormatTraits& traits = format.traits;
    if (traits.language == ConfigLanguage::kNone || (traits.takes_any_megatron && model.dialect->is_megatron))
      return model.dialect->name;
    if (traits.is_megatron()) return std::string(traits.dialect);
    ANEMONE_ASSIGN(const Dialect* dialect, DialectFor(conversion_.result, model, traits.language, KnownModel()));
    return dialect != nullptr ? dialect->name : std::string(format.name);
  }

  Status LaidOutOverRanks(const FormatTraits& traits) {
    Checkpoint& result = conversion_.result;
    Layout layout = traits.has_rank_files ? conversion_.source.layout : Layout{};
    layout.tp = options_.tp.value_or(layout.tp);
    layout.pp = options_.pp.value_or(layout.pp);
    layout.vp = options_.vp.value_or(layout.vp);
    if (layout.tp < 1 || layout.pp < 1 || layout.vp < 1)
      return InvalidArgument("expected --tp, --pp and --vp of at least 1");
    // Whoever loads a distributed checkpoint divides it as its config says; its tables have those ranks' rows.
    const bool is_distributed = HasOneWhole(result) && result.origin.distributed;
    const bool stays_distributed =
        is_distributed && layout.tp == 1 && layout.pp == 1 && traits.training != ParameterKeys::kNumbers;
    if (traits.is_chunked || stays_distributed) {
      constexpr int kMaxGrid = 4096;
      if (layout.tp > kMaxGrid) return InvalidArgument(fmt::format("--tp: expected at most {}", kMaxGrid));
      if (traits.is_chunked) shard_grid_ = static_cast<uint32_t>(layout.tp);
      const int tp = std::exchange(layout.tp, 1);
      if (layout == Layout{}) return ForRanksThatLoad(traits, tp);
    }
    if (!traits.has_rank_files && layout != Layout{}) {
      return InvalidArgument(fmt::format("TP {} × PP {} asked of a format without ranks", layout.tp, layout.pp),
                             "write a .nemo or a .ckpt");
    }
    if (is_distributed && traits.has_rank_files) {
      ANEMONE_TRY(Padded(StatedTensorParallel(result), 1));
      if (table_ == nullptr) ANEMONE_TRY(AddExtraStates(&result, KnownModel()));
      if (result.config) ANEMONE_TRY(SetLayout({}, &*result.config));
    }
    if (layout == result.layout && !options_.split_rank) return {};
    const ConfigNode* split = result.config ? result.config->Find(kSplitRank) : nullptr;
    const std::optional<ConfigNode> kept_split =
        split != nullptr && layout.pp == result.layout.pp ? std::optional(*split) : std::nullopt;
    ANEMONE_TRY(Merged());
    if (kept_split) result.config->root()[kSplitRank] = *kept_split;
    if (options_.split_rank && result.config) {
      if (*options_.split_rank < 1 || *options_.split_rank >= layout.pp) {
        return InvalidArgument(fmt::format("--split-rank: expected 1 to {} for {} stages, found {}", layout.pp - 1,
                                           layout.pp, *options_.split_rank));
      }
      result.config->root()[kSplitRank] = ConfigNode::Int(*options_.split_rank);
    }
    if (layout == Layout{}) return {};
    ANEMONE_ASSIGN(result, SplitShards(result, layout, KnownModel()));
    return {};
  }

  // A distributed result: whole tensors, a config that says how to divide them, tables padded for that.
  Status ForRanksThatLoad(const FormatTraits& traits, int tp) {
    Checkpoint& result = conversion_.result;
    const bool was_distributed = result.origin.distributed.has_value();
    ANEMONE_TRY(Merged());
    const bool is_nemo1 = result.config && !IsNemo2Config(result.config->root());
    if (traits.language == ConfigLanguage::kNemo2 && is_nemo1 && table_ == nullptr)
      ANEMONE_TRY(AddExtraStates(&result, KnownModel()));
    // Left as it was, nothing being asked.
    if (was_distributed && !options_.tp && !options_.pp) return {};
    ANEMONE_TRY(Padded(was_distributed ? StatedTensorParallel(result) : 1, tp));
    return result.config ? SetLayout({.tp = tp}, &*result.config) : Status();
  }

  Status Padded(int was_tp, int tp) {
    Checkpoint& result = conversion_.result;
    if (was_tp == tp || !result.config) return {};
    const TranslateOptions options = KnownModel();
    if (!IsNemo2Config(result.config->root())) {
      ANEMONE_ASSIGN(result, PadVocab(result, was_tp, tp, options));
      return {};
    }
    // The tables' sizes are told in NeMo 1's words.
    Config own = *std::move(result.config);
    ANEMONE_ASSIGN(ConfigNode words, ToNemo1Config(own.root()));
    result.config = Config(std::move(words));
    ANEMONE_ASSIGN(result, PadVocab(result, was_tp, tp, options));
    result.config = std::move(own);
    return {};
  }

  Status Merged() {
    Checkpoint& result = conversion_.result;
    if (HasOneWhole(result)) return {};
    ANEMONE_ASSIGN(result, MergeShards(result, KnownModel()));
    return {};
  }

  // The family and dialect that the names tell: looked for once, as every step leaves them what they are, but for a
  // translation.
  const Result<ModelIdentity>& Identity() {
    if (!identity_) identity_ = IdentifyModel(conversion_.result, table_.get());
    return *identity_;
  }
  TranslateOptions KnownModel() {
    const Result<ModelIdentity>& identity = Identity();
    if (!identity.ok()) return {.family = table_.get()};
    return {.family = identity->family, .dialect = identity->dialect};
  }

  const ConvertOptions& options_;
  Conversion& conversion_;
  uint32_t shard_grid_ = 1;
  std::shared_ptr<const Family> table_;  // the user's; null: what the names tell
  std::optional<Result<ModelIdentity>> identity_;
};

// A file that travels with a model may be called as one that the format itself has.
Status ArtifactsHaveRoom(const Plan& plan, const Format& format) {
  std::set<std::string_view> paths, folders;
  for (const PlanFile& file : plan.files) {
    for (size_t slash = file.path.find('/'); slash != std::string::npos; slash = file.path.find('/', slash + 1))
      folders.insert(std::string_view(file.path).substr(0, slash));
  }
  for (const PlanFile& file : plan.files) {
    if (paths.insert(file.path).second && !folders.contains(file.path)) continue;
    return Unsupported(
        fmt::format("a file {} travels with the model, and a {} has one of its own", file.path, format.title),
        "give it another name in the source");
  }
  return {};
}

}  // namespace

Result<Conversion> PlanConversion(const std::string& source, const std::string& destination,
                                  const ConvertOptions& options) {
  Conversion conversion;
  conversion.destination = destination;
  ANEMONE_ASSIGN(conversion.source, options.use_ema ? OpenEma(source, options.progress)
                                                    : OpenSource(source, options.progress, {options.key}));
  ANEMONE_ASSIGN(const Format* format, DestinationFormat(destination, options.to, conversion.source));
  conversion.format = format->name;
  Converter converter(options, conversion);
  ANEMONE_TRY(converter.Run(*format).In(source));

  LayOutOptions lay_out;
  lay_out.extra_state = options.extra_state;
  lay_out.max_shard_bytes = options.max_shard_bytes;
  lay_out.shard_grid = converter.shard_grid();
  Result<Plan> plan = format->lay_out(conversion.result, lay_out);
  if (!plan.ok()) return plan.status().In(destination);
  ANEMONE_TRY(ArtifactsHaveRoom(*plan, *format).In(destination));
  ANEMONE_TRY(Check(*plan).In(destination));
  for (const Checkpoint* checkpoint : {&conversion.source, &conversion.result}) {
    for (const std::string& note : checkpoint->notes) {
      if (std::find(conversion.notes.begin(), conversion.notes.end(), note) == conversion.notes.end()) {
        conversion.notes.push_back(note);
      }
    }
  }
  conversion.plan = std::make_shared<const Plan>(*std::move(plan));
  return conversion;
}

Status RunConversion(const Conversion& conversion, const RunOptions& options) {
  ExecuteOptions execute;
  execute.threads = options.threads;
  execute.replace = options.force;
  execute.may_replace = MayReplace(*conversion.plan);
  execute.resume = options.resume;
  execute.on_damaged_source = options.on_damaged_source;
  execute.progress = options.progress;
  return Execute(*conversion.plan, conversion.destination, execute);
}

}  // namespace anemone
