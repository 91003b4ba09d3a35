#include "family/clip/clip_target.h"

#include <fmt/format.h>

#include <optional>

#include "base/rounding.h"
#include "config/companions.h"
#include "family/clip/clip_config.h"
#include "family/clip/clip_preprocess.h"
#include "family/clip/clip_symbols.h"
#include "family/families.h"
#include "family/words/json_artifact.h"

namespace anemone {
namespace {

uint64_t Padded(uint64_t vocab, const ConfigNode& model) {
  uint64_t divisor = 128;
  if (const ConfigNode* node = model.Get("make_vocab_size_divisible_by");
      node != nullptr && node->AsInt().value_or(0) > 0) {
    divisor = static_cast<uint64_t>(*node->AsInt());
  }
  return RoundUp(vocab, divisor);
}

// A model's own config that came along inside a .nemo, as long as what NeMo's says is still the same model. Its dtype
// is that of the weights as they are now.
Result<std::optional<Config>> KeptConfig(const Checkpoint& source, const std::string& file, uint64_t vocab) {
  if (!source.config) return std::optional<Config>();
  ANEMONE_ASSIGN(std::optional<Config> config, ReadJsonArtifact(source, file));
  if (!config) {
    ANEMONE_ASSIGN(config, ReadJsonArtifact(source, std::string(kNemo2Context).append(file)));
  }
  if (!config) return std::optional<Config>();
  const Result<ClipArchitecture> spec = ReadClipArchitecture(*config, false);
  if (!spec.ok() || spec->vocab != vocab) return std::optional<Config>();
  const bool agrees =
      NemoConfigFromHparams(*source.config, source.config_name, *spec, file, NemoClipKind::kMcore, nullptr).ok();
  if (!agrees) return std::optional<Config>();
  SetHuggingFaceDType(config->root(), DTypeBy(config->root(), source));
  return config;
}

PixelRules RulesOf(const Checkpoint& source, const Dialect& dialect) {
  if (dialect.is_megatron) return PixelRules::kNemo;
  const bool open = source.config && KindOfClipConfig(*source.config) == ClipConfigKind::kOpenClip;
  return open || dialect.language == ConfigLanguage::kOpenClip ? PixelRules::kOpenClip : PixelRules::kHuggingFace;
}

// NeMo's transform, tokenizer and pooling are fixed: what the model has otherwise is told, or refused where every text
// would be pooled elsewhere.
Status SayWhatNemoCannot(const Checkpoint& source, const ClipArchitecture& spec, const Dialect& from,
                         const TranslateOptions& options, std::vector<std::string>* notes) {
  if (from.is_megatron) return {};
  const PixelRules rules = RulesOf(source, from);
  const bool open = rules == PixelRules::kOpenClip;
  ANEMONE_ASSIGN(const ClipPreprocess pixels, ClipPreprocessOf(source, spec, rules, options.strict, notes));
  for (std::string& line : BeyondNemo(pixels, spec, rules)) notes->push_back(std::move(line));
  if (spec.siglip) return {};
  const uint64_t vocab = spec.vocab.value_or(kClipVocab);
  const std::string_view eos_key = open ? "model_cfg.text_cfg.eos_id" : "text_config.eos_token_id";
  if (spec.eos_token && static_cast<uint64_t>(*spec.eos_token) + 1 != vocab) {
    if (*spec.eos_token + 1 != static_cast<int64_t>(kClipVocab)) {
      return Unsupported(fmt::format("{}: expected {}, the largest id, at which NeMo pools a text, found {}", eos_key,
                                     vocab - 1, *spec.eos_token));
    }
    notes->push_back(
        fmt::format("{}: the model pools a text at token {}, NeMo at its largest id: texts with tokens "
                    "beyond {} differ",
                    eos_key, *spec.eos_token, *spec.eos_token));
  }
  if (vocab != kClipVocab && spec.tokenizer.empty()) {
    notes->push_back(
        fmt::format("{}: the model has {} tokens, the tokenizer that NeMo's config names has {}; the "
                    "model's own files, where there are some, are in tokenizer/",
                    open ? "model_cfg.text_cfg.vocab_size" : "text_config.vocab_size", vocab, kClipVocab));
  }
  return {};
}

// transformers' config.json, or OpenCLIP's.
Result<Target> PlainTarget(const Checkpoint& source, ClipArchitecture spec, const Dialect& from, const Dialect& to,
                           const TranslateOptions& options, const ModelSymbols& symbols, Target target) {
  const uint64_t vocab = *spec.vocab;
  if (&from == &to && source.config) return Target{symbols, source.config, source.config_name};
  const bool hugging_face = to.language == ConfigLanguage::kHuggingFace;
  const PixelRules rules = RulesOf(source, from);
  ANEMONE_ASSIGN(const ClipPreprocess pixels, ClipPreprocessOf(source, spec, rules, options.strict));
  const bool has_other_cut = (rules == PixelRules::kOpenClip) == hugging_face && rules != PixelRules::kNemo;
  if (has_other_cut && pixels.shortest_edge != 0 && pixels.crop_height != 0) {
    target.notes.push_back(
        "of a margin of 3, 7, 11 … pixels OpenCLIP cuts off one more above and to the left than Hugging Face: features "
        "of such pictures differ");
  }
  // A 49408-token vocabulary ends with <|endoftext|>; others are pooled at their largest id, as NeMo and OpenCLIP do.
  if (!spec.eos_token && vocab == kClipVocab) spec.eos_token = kClipVocab - 1;
  target.config_name = hugging_face ? "config.json" : "open_clip_config.json";
  ANEMONE_ASSIGN(target.config, KeptConfig(source, target.config_name, vocab));
  if (target.config) return target;
  if (hugging_face && !spec.tokenizer.empty()) {
    target.notes.push_back(
        fmt::format("model_cfg.text_cfg.hf_tokenizer_name: the model's tokenizer is {}; a CLIP of "
                    "Hugging Face names none: put its files beside the weights",
                    spec.tokenizer));
  }
  if (hugging_face) {
    ANEMONE_ASSIGN(target.config, HuggingFaceConfig(spec, DTypeOf(source)));
  } else {
    ANEMONE_ASSIGN(ConfigNode preprocess, OpenClipPreprocess(pixels, spec.image_height));
    ANEMONE_ASSIGN(target.config, OpenClipConfig(spec, std::move(preprocess)));
  }
  // The user's own says more, where it is of this kind.
  const ClipConfigKind kind = options.hparams ? KindOfClipConfig(*options.hparams) : ClipConfigKind::kNone;
  if (kind == (hugging_face ? ClipConfigKind::kHuggingFace : ClipConfigKind::kOpenClip)) {
    for (const auto& [key, value] : options.hparams->root().map) target.config->root()[key] = value;
  }
  return target;
}

// NeMo's model_config.yaml. `name`: of the config that `spec` was read from.
Result<Target> NemoTarget(const Checkpoint& source, const ClipArchitecture& spec, const std::string& name,
                          const Dialect& from, const Dialect& to, const TranslateOptions& options,
                          const ModelSymbols& symbols, Target target) {
  const uint64_t vocab = *spec.vocab;
  if (!spec.has_vision || !spec.has_text) {
    return Unsupported(fmt::format("expected both towers for {}, found the {} tower alone", to.title,
                                   spec.has_vision ? "image" : "text"));
  }
  ANEMONE_TRY(SayWhatNemoCannot(source, spec, from, options, &target.notes));
  const NemoClipKind kind = to.name == "mcore" ? NemoClipKind::kMcore : NemoClipKind::kLegacy;
  target.config_name = "model_config.yaml";
  // A YAML is the result's; the config of OpenCLIP or Hugging Face only says what weights without one are.
  const bool describes_source =
      options.hparams && !source.config && KindOfClipConfig(*options.hparams) != ClipConfigKind::kNemo;
  if (options.hparams && !describes_source) {
    ANEMONE_ASSIGN(target.config,
                   NemoConfigFromHparams(*options.hparams, options.hparams_name, spec, name, kind, nullptr));
  } else if (&from == &to) {
    return Target{symbols, source.config, source.config_name};
  } else if (from.is_megatron) {
    ANEMONE_ASSIGN(target.config, NemoConfigFromHparams(*source.config, source.config_name, spec, name, kind, nullptr));
    // Megatron-core knows one kind of position table, NeMo's published legacy YAMLs the other.
    if (kind == NemoClipKind::kLegacy) {
      for (const std::string_view tower : {"text", "vision"}) {
        target.config->root()[tower]["position_embedding_type"] = ConfigNode::String("learned_parameters");
      }
    }
  } else {
    target.config = NemoConfigFromArchitecture(spec, kind);
  }
  ANEMONE_TRY(SetNemoFlags(*target.config, &target.symbols));
  ConfigNode& root = target.config->root();
  const uint64_t padded = Padded(vocab, root);
  target.symbols.Set("text.padded_vocab", padded);
  // Without it nobody could tell padding from tokens later; NeMo does not read the key.
  if (padded != vocab) root["text"]["vocab_size"] = ConfigNode::Int(static_cast<int64_t>(vocab));
  return target;
}

}  // namespace

Result<Target> ClipTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                          const TranslateOptions& options, const ModelSymbols& symbols) {
  if (options.vocab_rows)
    return WrongOption("vocab_size", "expected a model whose vocabulary may hold padding, found a CLIP");
  std::string name;
  std::vector<std::string> notes;
  ANEMONE_ASSIGN(ClipArchitecture spec, ClipArchitectureOf(source, options, &name, &notes));
  ANEMONE_ASSIGN(const uint64_t vocab, symbols.Get("text.vocab"));
  spec.vocab = vocab;
  Target target{symbols, std::nullopt, {}, std::move(notes)};
  target.symbols.Set("text.padded_vocab", vocab);
  return to.is_megatron ? NemoTarget(source, spec, name, from, to, options, symbols, std::move(target))
                        : PlainTarget(source, spec, from, to, options, symbols, std::move(target));
}

}  // namespace anemone
