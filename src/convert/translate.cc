// TranslateNames: the tensors under the names, and in the shapes, that the format's readers expect.
//
// Before:  `identity` is known, or says why not.
// After:   the result is in the dialect to write, with the config that goes with it. In another dialect it is whole,
//          without training state, and has the files that its family adds (Family::complete). A model of an unknown
//          family keeps its names, if the format takes them.
// Notes:   that the family is not known; that the training state is left out.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "convert/pass.h"
#include "family/words/config_languages.h"

namespace anemone {
namespace {

// With a config, and without a foreign prefix (`module.`) before its names.
bool IsAsOthersWriteIt(const Work& work) {
  const Dialect& dialect = *work.identity->dialect;
  return work.result().config && work.HasOneWhole() &&
         NameMatcher(dialect).BestPrefix(work.result().weights()).prefix == dialect.prefixes.front();
}

// A family that no table knows, or whose table has one spelling only, is carried name by name; the config is the
// user's word.
Status TakeUsersConfig(const Work& work) {
  if (!work.hparams) return {};
  ANEMONE_ASSIGN(ConfigNode model, NemoModelNode(*work.hparams));
  work.result().config = Config(std::move(model));
  work.result().config_name = work.options.hparams;
  return {};
}

// NeMo restores a model by its class and its own names; it has no use for others.
Status CheckMeaning(const Work& work) {
  const Checkpoint& result = work.result();
  const FormatTraits& traits = work.traits();
  if (!traits.is_megatron() || !work.options.strict) return {};
  const Error& unknown = work.identity.status().error();
  const std::string what = fmt::format("a {} that NeMo restores: {}", work.format->name, unknown.what);
  const bool has_way_out = !unknown.hint.empty() && unknown.remedies.empty();
  const std::string hint = has_way_out ? unknown.hint : "OUT.safetensors or OUT.pt holds the weights alone";
  const bool is_nemos = TraitsOf(result).is_megatron();
  if (!result.config && !is_nemos && (traits.is_nemo1_archive() || traits.language == ConfigLanguage::kNemo2)) {
    const Status status = Unsupported(what, hint);
    return has_way_out ? status : status.Use("hparams", "FILE", "give NeMo's config, which names the model's class");
  }
  if (!result.config) return {};
  const ConfigNode& root = result.config->root();
  const bool is_foreign =
      root.Get("architectures") != nullptr || root.Get("model_type") != nullptr || root.Get("model_cfg") != nullptr;
  if (!is_foreign && (is_nemos || !traits.is_nemo1_archive() || root.Get("target") != nullptr)) return {};
  return Unsupported(what, hint).Use("strict", "false", "carry all name by name");
}

// A format whose config is in no language is of the dialect that has its name, if one has.
bool IsOfOneDialect(const Format& format) {
  return format.traits.language == ConfigLanguage::kNone && std::ranges::any_of(Families(), [&](const Family* family) {
           return family->FindDialect(format.name) != nullptr;
         });
}

Status KeepNames(Work& work) {
  const ErrorKind kind = work.identity.status().kind();
  const FormatTraits& traits = work.traits();
  // As long as nobody asks for other names. A model that its config names is no model of NeMo's.
  std::string foreign;
  DetectFamily(work.result(), &foreign);
  const bool takes_them =
      traits.language == ConfigLanguage::kNone || (traits.is_megatron() && (foreign.empty() || !work.options.strict));
  const bool is_unknown = kind == ErrorKind::kNotFound || kind == ErrorKind::kUnsupported;
  const bool is_copied = !IsOfOneDialect(*work.format) || work.conversion.source.format == work.format;
  if (!is_unknown || !is_copied || !work.options.dialect.empty() || !takes_them) return work.identity.status();
  ANEMONE_TRY(TakeUsersConfig(work));
  ANEMONE_TRY(CheckMeaning(work));
  const std::string stored_as = StoredAs(work.result());
  work.Note(fmt::format("its model family is not known{}: tensors are carried name by name",
                        stored_as.empty() ? "" : " (" + stored_as + ")"));
  return {};
}

Status KeepNamesOfTable(const Work& work) {
  if (!work.identity.ok()) return work.identity.status();
  if (!work.options.dialect.empty()) {
    return WrongOption("dialect", fmt::format("expected none beside a table, found '{}'", work.options.dialect),
                       "a table has one spelling");
  }
  return TakeUsersConfig(work);
}

// The one that the format's readers expect, or the only one that NeMo has of the family.
std::string MegatronDialect(const Family& family, std::string_view wanted) {
  if (family.FindDialect(wanted) != nullptr) return std::string(wanted);
  const auto found = std::ranges::find_if(
      family.dialects, [](const Dialect& dialect) { return dialect.is_megatron && !dialect.is_read_only; });
  return found == family.dialects.end() ? std::string(wanted) : found->name;
}

Result<std::string> TheDialectOf(const Format& format, const Family& family) {
  if (family.FindDialect(format.name) != nullptr) return std::string(format.name);
  return Unsupported(fmt::format("expected a model that a {} holds, found a {}", format.title, family.title),
                     "OUT.safetensors holds the weights alone");
}

// The name of the dialect in which the format's readers expect the model.
Result<std::string> DialectToWrite(const Work& work) {
  const std::string& asked = work.options.dialect;
  // A format's name as a dialect means the one that such a model has there.
  const Format* as_in = FindFormat(asked);
  if (!asked.empty() && as_in == nullptr) return asked;
  const Format& format = as_in != nullptr ? *as_in : *work.format;
  const FormatTraits& traits = format.traits;
  const Dialect& own = *work.identity->dialect;
  if (IsOfOneDialect(format)) return TheDialectOf(format, *work.identity->family);
  const bool is_nemo1 = LanguageOf(own) == ConfigLanguage::kNemo1 && !own.is_read_only;
  const bool is_only_of_nemo2 = LanguageOf(own) == ConfigLanguage::kNemo2 && traits.language == ConfigLanguage::kNemo2;
  if (traits.language == ConfigLanguage::kNone || (traits.takes_any_megatron && is_nemo1) || is_only_of_nemo2)
    return own.name;
  if (traits.is_megatron()) return MegatronDialect(*work.identity->family, traits.dialect);
  TranslateOptions known = work.KnownModel();
  known.strict = work.options.strict;
  ANEMONE_ASSIGN(const Dialect* dialect, DialectFor(work.result(), *work.identity, traits.language, known));
  return dialect != nullptr ? dialect->name : std::string(format.name);
}

Result<TranslateOptions> OptionsOf(const Work& work) {
  TranslateOptions translate = work.KnownModel();
  translate.preset = work.options.preset;
  translate.strict = work.options.strict;
  translate.extra_state = work.options.extra_state != ExtraState::kDrop;
  if (!work.hparams) return translate;
  translate.hparams = work.hparams;
  translate.hparams_name = work.options.hparams;
  if (DescribesWeights(translate.hparams->root())) {
    if (work.identity->dialect->is_megatron && work.traits().is_megatron()) {
      return InvalidArgument("expected NeMo's model config, as the weights have NeMo's names, found one of other names",
                             "leave it out where the source has a config, or give NeMo's YAML")
          .In(translate.hparams_name)
          .OfOption("hparams");
    }
    if (DetectLanguage(translate.hparams->root()) == ConfigLanguage::kHuggingFace) {
      translate.hparams.reset();  // it is the source's (resolve.cc)
      translate.hparams_name.clear();
    } else {
      work.conversion.source.config.reset();
      work.result().config.reset();
    }
  }
  return translate;
}

}  // namespace

Status TranslateNames(Work& work) {
  if (work.is_adapter) return {};
  if (work.table != nullptr) return KeepNamesOfTable(work);
  if (!work.identity.ok()) return KeepNames(work);
  const ModelIdentity model = *work.identity;
  ANEMONE_ASSIGN(const std::string dialect, DialectToWrite(work));
  const FormatTraits& traits = work.traits();
  const bool takes_any = traits.language == ConfigLanguage::kNone || traits.is_megatron();
  const bool stays = dialect == model.dialect->name && work.options.hparams.empty();
  if (stays && (takes_any || IsAsOthersWriteIt(work))) return {};
  if (dialect != model.dialect->name) work.LeaveTraining("it belongs to the parameters of the old dialect");
  ANEMONE_TRY(work.Merge());
  ANEMONE_ASSIGN(const TranslateOptions translate, OptionsOf(work));
  Result<Checkpoint> translated = Translate(work.result(), dialect, translate);
  // Weights whose sizes nobody knows stay as they are.
  if (stays && !translated.ok() && translated.status().kind() == ErrorKind::kNotFound) return {};
  ANEMONE_ASSIGN(work.result(), std::move(translated));
  const Dialect& to = *model.family->FindDialect(dialect);
  work.identity = ModelIdentity{model.family, &to};
  if (model.family->complete == nullptr || &to == model.dialect) return {};
  const bool is_formats = traits.language == ConfigLanguage::kNemo2 || IsOfMegatron(traits.language);
  return model.family->complete(work.conversion.source, is_formats ? traits.language : LanguageOf(to), translate,
                                &work.result());
}

}  // namespace anemone
