#include "family/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/text_hash.h"
#include "family/families.h"
#include "family/registry.h"

namespace anemone {
namespace {

// The state dicts of a checkpoint whose names differ, and how many have the same: ranks of one stage do.
class DistinctDicts {
 public:
  explicit DistinctDicts(const Checkpoint& checkpoint) {
    checkpoint.ForEachDict([&](const StateDict& dict) {
      size_t hash = dict.size();
      for (const StateDict::Item& item : dict.items()) hash = hash * 31 + internal::HashOf(item.name);
      auto [it, end] = by_hash_.equal_range(hash);
      while (it != end && !HaveSameNames(*entries_[it->second].dict, dict)) ++it;
      if (it != end) {
        ++entries_[it->second].count;
      } else {
        by_hash_.emplace(hash, entries_.size());
        entries_.push_back({&dict, NamesByEnd(dict), 1});
      }
    });
  }

  size_t CountMatches(const NameMatcher& matcher) const {
    size_t count = 0;
    for (const Entry& entry : entries_) count += entry.count * matcher.BestPrefix(entry.names).matched;
    return count;
  }

 private:
  struct Entry {
    const StateDict* dict;
    NamesByEnd names;
    size_t count;
  };
  static bool HaveSameNames(const StateDict& a, const StateDict& b) {
    return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                      [](const StateDict::Item& x, const StateDict::Item& y) { return x.name == y.name; });
  }
  std::vector<Entry> entries_;
  std::unordered_multimap<size_t, size_t> by_hash_;
};

const Refusal* FindRefusal(const Checkpoint& checkpoint, const Family& family, std::string* name) {
  const Refusal* found = nullptr;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      for (const Refusal& refusal : family.refusals) {
        if (found == nullptr && item.name.find(refusal.contains) != std::string::npos) {
          found = &refusal;
          *name = item.name;
        }
      }
    }
  });
  return found;
}

// The model of another family that the config names; empty: none.
std::string ForeignIn(const Checkpoint& checkpoint, const Family& family) {
  return family.foreign != nullptr && checkpoint.config ? family.foreign(*checkpoint.config) : std::string();
}

}  // namespace

std::string DialectNames(const Family& family) {
  std::string names;
  for (const Dialect& dialect : family.dialects) names += (names.empty() ? "" : ", ") + dialect.name;
  return names;
}

const Family* DetectFamily(const Checkpoint& checkpoint, std::string* foreign) {
  const DistinctDicts dicts(checkpoint);
  const Family* best = nullptr;
  size_t best_matched = 0;
  std::string name;
  const size_t all = CountNames(checkpoint);
  TryFamilies([&](std::string_view part) { return HasName(checkpoint, part); },
              [&](const Family& family, std::span<const NameMatcher> dialects) {
                for (const NameMatcher& matcher : dialects) {
                  const size_t matched = dicts.CountMatches(matcher);
                  if (matched <= best_matched) continue;
                  best = &family;
                  best_matched = matched;
                }
                return best_matched < all;
              });
  if (best != nullptr) {
    std::string other = ForeignIn(checkpoint, *best);
    if (!other.empty()) {
      if (foreign != nullptr) *foreign = std::move(other);
      return nullptr;
    }
    // The family that refuses a relative by name gives the error.
    if (2 * best_matched >= CountNames(checkpoint) || FindRefusal(checkpoint, *best, &name) != nullptr) return best;
  }
  // The names are no family's. A config of two towers may still say which model it is: a CLIPSeg, say.
  const bool has_towers = checkpoint.config && checkpoint.config->root().Get("text_config") != nullptr &&
                          checkpoint.config->root().Get("vision_config") != nullptr;
  if (!has_towers || foreign == nullptr) return nullptr;
  std::string other;
  for (const Family* const family : Families()) {
    if (family->foreign == nullptr) continue;
    std::string one = ForeignIn(checkpoint, *family);
    if (one.empty()) return nullptr;  // the config is of this family, and the names are not
    if (other.empty()) other = std::move(one);
  }
  *foreign = std::move(other);
  return nullptr;
}

Result<const Dialect*> DetectDialect(const Checkpoint& checkpoint, const Family& family) {
  std::string name;
  if (const Refusal* refusal = FindRefusal(checkpoint, family, &name)) {
    return Unsupported(fmt::format("expected a {} model, found {} ({})", family.title, refusal->what, name));
  }
  const DistinctDicts dicts(checkpoint);
  const Dialect* best = nullptr;
  size_t best_matched = 0;
  const std::string_view told =
      family.dialect_of != nullptr && checkpoint.config ? family.dialect_of(*checkpoint.config) : std::string_view();
  for (const Dialect& dialect : family.dialects) {
    const size_t matched = dicts.CountMatches(MatcherOf(dialect));
    if (matched > best_matched || (matched == best_matched && matched > 0 && dialect.name == told)) {
      best = &dialect;
      best_matched = matched;
    }
  }
  if (best == nullptr)
    return Unsupported(
        fmt::format("expected names of a {} model ({}), found none", family.title, DialectNames(family)));
  return best;
}

namespace {

// The class that NeMo's config names; "": it names none.
std::string ClassOf(const Checkpoint& checkpoint) {
  const ConfigNode* target = checkpoint.config ? checkpoint.config->root().Get("target") : nullptr;
  const std::string path = target == nullptr ? "" : target->AsString().value_or("");
  return path.substr(path.rfind('.') + 1);
}

// How names end of what a library stores in place of a weight, most of them a quantized one; the first that is found
// counts.
constexpr std::string_view kPeft = "peft's", kMlxLora = "a LoRA of MLX's";
constexpr std::pair<std::string_view, std::string_view> kQuantized[] = {
    {".qweight", "GPTQ's or AWQ's"},
    {".q_weight", "ExLlamaV2's"},
    {".biases", "MLX's"},
    {".codebooks", "AQLM's"},
    {".weight_scales", "EETQ's"},
    {".SCB", "bitsandbytes'"},
    {".absmax", "bitsandbytes'"},
    {".weight_packed", "compressed-tensors'"},
    {".W_q", "HQQ's"},
    {".weight._data", "Quanto's"},
    {".weight._data._data", "Quanto's"},
    {"._weight_qdata", "torchao's"},
    {".weight_scale_2", "ModelOpt's"},
    {".weight_scale", "with scales"},
    {".base_layer.weight", kPeft},
    {".lora_a", kMlxLora},
};

// The library of the first name that tells weights in place of a model's own, and that name; "": none does.
std::string_view WhoseWeights(const Checkpoint& checkpoint, std::string* name) {
  std::string_view whose;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      for (const auto& [end, library] : kQuantized) {
        if (!whose.empty() || !item.name.ends_with(end)) continue;
        *name = item.name;
        whose = library;
      }
    }
  });
  return whose;
}

// Errors: Unsupported where weights are quantized or adapted, so that no family knows their names.
Status CheckStoredAsIs(const Checkpoint& checkpoint) {
  std::string name;
  const std::string_view whose = WhoseWeights(checkpoint, &name);
  if (whose.empty()) return {};
  if (whose == kPeft) {
    return Unsupported(fmt::format("{}: expected a model's own weights, found those of a model of peft's", name),
                       "save what its merge_and_unload() gives; as they are, they can be converted to safetensors");
  }
  if (whose == kMlxLora) {
    return Unsupported(fmt::format("{}: expected a whole model, found {}", name, whose),
                       "mlx_lm.fuse merges it into its base; as it is, it can be converted to safetensors");
  }
  return Unsupported(fmt::format("{}: expected weights as they are, found quantized ones ({})", name, whose),
                     "save the model dequantized first; as they are, they can be converted to safetensors");
}

// The endings of names in layouts of decoders that other programs convert, and the way out.
struct OthersNames {
  std::string_view end, whose, hint;
};
constexpr OthersNames kOthersNames[] = {
    {".attention.wq.weight", "Meta's or Mistral's own",
     "transformers' convert_llama_weights_to_hf.py and convert_mistral_weights_to_hf.py make a Hugging Face folder"},
    {".attn.output_proj.weight", "torchtune's", "torchtune's FullModelHFCheckpointer saves a Hugging Face folder"},
    {".norm_1.weight", "LitGPT's", "litgpt convert_from_litgpt FOLDER OUT writes Hugging Face's names"},
};

const OthersNames* FindOthersNames(const Checkpoint& checkpoint, std::string* name) {
  const OthersNames* found = nullptr;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      for (const OthersNames& others : kOthersNames) {
        if (found != nullptr || !item.name.ends_with(others.end)) continue;
        found = &others;
        *name = item.name;
      }
    }
  });
  return found;
}

}  // namespace

std::string StoredAs(const Checkpoint& checkpoint) {
  std::string name;
  const std::string_view whose = WhoseWeights(checkpoint, &name);
  if (whose.empty()) return "";
  if (whose == kPeft) return "weights of a model of peft's";
  return whose == kMlxLora ? std::string(whose) : fmt::format("quantized weights ({})", whose);
}

Result<ModelIdentity> IdentifyModel(const Checkpoint& checkpoint, const Family* family) {
  if (CountNames(checkpoint) == 0) return Corrupt("expected tensors, found none");
  std::string foreign;
  if (family == nullptr) family = DetectFamily(checkpoint, &foreign);
  if (family == nullptr) ANEMONE_TRY(CheckStoredAsIs(checkpoint));
  if (!foreign.empty()) {
    return Unsupported(fmt::format("{}: expected a model of a known family by model_type and architectures, found {}",
                                   checkpoint.config_name, foreign),
                       "its weights can be converted to safetensors, name by name");
  }
  if (family == nullptr) {
    std::string known;
    for (const Family* const one : Families()) known += (known.empty() ? "" : ", ") + one->title;
    std::string first;
    checkpoint.ForEachDict([&](const StateDict& dict) {
      if (first.empty() && !dict.empty()) first = dict.items().front().name;
    });
    if (const OthersNames* others = FindOthersNames(checkpoint, &first)) {
      return Unsupported(fmt::format("expected names of Hugging Face's or NeMo's, found {} ({})", others->whose, first),
                         std::string(others->hint));
    }
    const std::string model = ClassOf(checkpoint);
    const std::string named = checkpoint.config ? ClassNamedIn(checkpoint.config->root()) : std::string();
    return Unsupported(
               fmt::format("expected a model of a known family ({}), found {}names such as {}{}", known,
                           model.empty() ? "" : model + " with ", first,
                           named.empty() ? "" : fmt::format(" and a config of {}", named)),
               "its weights can be converted to safetensors, name by name; docs/resharding.md describes tables for "
               "other Megatron models")
        .Use("table", "FILE", "reshard one of another");
  }
  ANEMONE_ASSIGN(const Dialect* dialect, DetectDialect(checkpoint, *family));
  return ModelIdentity{family, dialect};
}

Result<const Dialect*> DialectFor(const Checkpoint& checkpoint, const ModelIdentity& model, ConfigLanguage language,
                                  const TranslateOptions& options) {
  if (LanguageOf(*model.dialect) == language) return model.dialect;
  std::vector<const Dialect*> speaking;
  for (const Dialect& dialect : model.family->dialects) {
    if (LanguageOf(dialect) == language) speaking.push_back(&dialect);
  }
  if (speaking.empty()) return nullptr;
  if (speaking.size() == 1) return speaking.front();
  ANEMONE_ASSIGN(const ModelSymbols symbols, model.family->SymbolsOf(checkpoint, *model.dialect, options));
  if (model.family->choose_dialect != nullptr) return model.family->choose_dialect(checkpoint, options, language);
  for (const Dialect* dialect : speaking) {
    ANEMONE_ASSIGN(const bool can, CanSpell(*dialect, symbols));
    if (can) return dialect;
  }
  return speaking.front();
}

Result<bool> CanSpell(const Dialect& dialect, const ModelSymbols& symbols) {
  for (const std::string_view flag : SplitAt(dialect.never, ',')) {
    ANEMONE_ASSIGN(const bool has, symbols.HoldsAnywhere(flag));
    if (!flag.empty() && has) return false;
  }
  return true;
}

Result<ModelIdentity> IdentifyModel(const Checkpoint& checkpoint, const TranslateOptions& options) {
  if (options.family != nullptr && options.dialect != nullptr) return ModelIdentity{options.family, options.dialect};
  return IdentifyModel(checkpoint, options.family);
}

Result<ResolvedModel> ResolveModel(const Checkpoint& checkpoint, const ModelIdentity& identity, ModelSymbols symbols) {
  const NameMatcher any = MatcherOf(*identity.dialect);
  ANEMONE_ASSIGN(NameMatcher names, any.For(symbols));
  std::string prefix;
  if (!checkpoint.shards.empty()) {
    const Shard& first = checkpoint.shards.front();
    prefix = names.BestPrefix(first.chunks.empty() ? first.weights : first.chunks.front()).prefix;
  }
  return ResolvedModel{identity.family, identity.dialect, std::move(prefix), std::move(symbols), std::move(names)};
}

Result<ResolvedModel> ResolveModel(const Checkpoint& checkpoint, const TranslateOptions& options) {
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(checkpoint, options));
  ANEMONE_ASSIGN(ModelSymbols symbols, identity.family->SymbolsOf(checkpoint, *identity.dialect, options));
  return ResolveModel(checkpoint, identity, std::move(symbols));
}

}  // namespace anemone
