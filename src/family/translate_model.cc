#include "family/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "config/companions.h"
#include "family/families.h"
#include "family/registry.h"
#include "family/words/config_languages.h"
#include "tensor/same.h"

namespace anemone {
namespace {

Status RequireOneShard(const Checkpoint& checkpoint) {
  if (checkpoint.shards.size() == 1 && checkpoint.shards.front().chunks.empty()) return {};
  return InvalidArgument(fmt::format("expected one shard, found {}", checkpoint.shards.size()),
                         "merge the shards first");
}

// A tokenizer's files lie at the top of a Hugging Face directory and in `tokenizer/` of a .nemo, where NeMo, which
// reads only members that its config names, does not see them.
constexpr std::string_view kTokenizerFolder = "tokenizer/";

// The same for the config of the model that a .nemo was made from, so that the way back gives what came in
// (ClipTarget). Once it did, the file is the config again.
constexpr std::string_view kForeignConfigs[] = {"config.json", "open_clip_config.json"};

bool TakePrefix(std::string_view prefix, std::string_view* name) {
  if (!name->starts_with(prefix)) return false;
  name->remove_prefix(prefix.size());
  return true;
}

// Under the name that its library looks for, whatever a file of the user's is called.
void KeepConfig(const Checkpoint& source, Checkpoint* checkpoint) {
  if (!source.config) return;
  std::string name = source.config_name;
  if (std::ranges::find(kForeignConfigs, name) == std::end(kForeignConfigs)) {
    if (!DescribesWeights(source.config->root())) return;
    name = kForeignConfigs[source.config->root().Get("model_cfg") != nullptr ? 1 : 0];
  }
  if (checkpoint->FindArtifact(name) != nullptr) return;
  checkpoint->artifacts.push_back({name, Whole(MemorySource(source.config->ToJson() + "\n", name))});
}

void LeaveKeptConfigs(Checkpoint* checkpoint) {
  std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) {
    std::string_view name = artifact.name;
    TakePrefix(kNemo2Context, &name);
    return std::find(std::begin(kForeignConfigs), std::end(kForeignConfigs), name) != std::end(kForeignConfigs);
  });
}

// NeMo's config refers to its own tokenizer.model, wherever that came from.
bool IsKeptTokenizerFile(std::string_view name) {
  const Companion* companion = FindCompanion(name);
  return companion != nullptr && companion->is_of_tokenizer && name != "tokenizer.model";
}

void RenameArtifacts(bool to_megatron, Checkpoint* checkpoint) {
  for (Artifact& artifact : checkpoint->artifacts) {
    if (to_megatron) {
      if (IsKeptTokenizerFile(artifact.name)) artifact.name.insert(0, kTokenizerFolder);
      continue;
    }
    std::string_view file = artifact.name;
    const bool is_nemo2s = TakePrefix(kNemo2Context, &file), is_tokenizers = TakePrefix(kTokenizerFolder, &file);
    const bool is_lifted = is_tokenizers ? IsKeptTokenizerFile(file) : is_nemo2s && file == "preprocessor_config.json";
    if (is_lifted && checkpoint->FindArtifact(std::string(file)) == nullptr) artifact.name = std::string(file);
  }
}

Result<StateDict> CanonicalOf(const Checkpoint& checkpoint, const ResolvedModel& model, bool strict,
                              std::vector<std::string>* notes) {
  return Canonicalize(checkpoint.weights(), model.names, model.prefix, model.family->canonical, model.symbols, strict,
                      notes);
}

// What was stored, under the prefix that is written; nullopt where its own dialect would spell it otherwise today: by
// names that are only read, without what is dropped, with what was made.
Result<std::optional<StateDict>> AsItWas(const StateDict& stored, const StateDict& spelled, const Dialect& dialect) {
  const NameMatcher matcher = MatcherOf(dialect);
  const std::string prefix = matcher.BestPrefix(stored).prefix;
  StateDict same;
  for (const StateDict::Item& item : stored.items()) {
    const std::string name = item.name.starts_with(prefix) ? item.name.substr(prefix.size()) : item.name;
    const auto hit = matcher.Match(name);
    if (hit) {
      const StoredRow& row = matcher.row(hit->row);
      const bool is_old = row.role == Role::kTensor && row.when == kReadOnly;
      if (is_old || (row.role != Role::kTensor && row.role != Role::kExtraState)) return std::optional<StateDict>();
    }
    ANEMONE_TRY(same.Add(hit ? dialect.prefixes.front() + name : item.name, item.entry));
  }
  for (const StateDict::Item& item : spelled.items()) {
    if (item.tensor() != nullptr && same.Find(item.name) == nullptr) return std::optional<StateDict>();
  }
  return std::optional(std::move(same));
}

// Norms of the result's kind (CanonicalRow::centered).
Result<StateDict> CenteredAs(const StateDict& canonical, const Family& family, const ModelSymbols& from,
                             const ModelSymbols& to, std::vector<std::string>* notes) {
  std::vector<std::pair<Pattern, double>> shifts;
  for (const CanonicalRow& row : family.canonical) {
    if (row.centered.empty()) continue;
    ANEMONE_ASSIGN(const bool was, from.Holds(row.centered));
    ANEMONE_ASSIGN(const bool is, to.Holds(row.centered));
    if (was != is) shifts.emplace_back(Pattern(row.name), is ? -1.0 : 1.0);
  }
  if (shifts.empty()) return canonical;
  StateDict result;
  uint64_t count = 0;
  for (const StateDict::Item& item : canonical.items()) {
    const auto shift =
        std::find_if(shifts.begin(), shifts.end(), [&](const auto& s) { return s.first.Match(item.name).has_value(); });
    if (shift == shifts.end() || item.tensor() == nullptr) {
      ANEMONE_TRY(result.Add(item.name, item.entry));
      continue;
    }
    ANEMONE_ASSIGN(Tensor shifted, item.tensor()->Plus(shift->second));
    ANEMONE_TRY(result.Add(item.name, std::move(shifted)));
    ++count;
  }
  notes->push_back(fmt::format("{} {} norm weights: one of the two models stores them less one",
                               shifts.front().second < 0 ? "took 1 from" : "added 1 to", count));
  return result;
}

// Vocabulary tables without the last rows, where the result has fewer.
Result<StateDict> WithVocabOf(const StateDict& canonical, const Family& family, const ModelSymbols& from,
                              const ModelSymbols& to) {
  std::vector<std::pair<Pattern, uint64_t>> tables;
  for (const CanonicalRow& row : family.canonical) {
    const std::string symbol = row.shape.substr(0, row.shape.find(','));
    if (symbol != InTower(row.tower, "vocab")) continue;
    ANEMONE_ASSIGN(const uint64_t was, from.Get(symbol));
    ANEMONE_ASSIGN(const uint64_t is, to.Get(symbol));
    if (is < was) tables.emplace_back(Pattern(row.name), is);
  }
  if (tables.empty()) return canonical;
  StateDict result;
  for (const StateDict::Item& item : canonical.items()) {
    const auto table =
        std::find_if(tables.begin(), tables.end(), [&](const auto& t) { return t.first.Match(item.name).has_value(); });
    if (table == tables.end() || item.tensor() == nullptr) {
      ANEMONE_TRY(result.Add(item.name, item.entry));
      continue;
    }
    ANEMONE_ASSIGN(Tensor rows, item.tensor()->Narrow(0, 0, table->second));
    ANEMONE_TRY(result.Add(item.name, std::move(rows)));
  }
  return result;
}

// Without the last layers of a tower that has fewer in the result, and without idle tensors that the result's model has
// not.
Result<StateDict> WithoutIdle(const StateDict& canonical, const Family& family, const ModelSymbols& from,
                              const ModelSymbols& to, std::vector<std::string>* notes) {
  struct Idle {
    Pattern name;
    uint64_t first_layer;
  };
  std::vector<Idle> idle;
  for (const CanonicalRow& row : family.canonical) {
    const bool has_layers = row.name.find("{i}") != std::string::npos;
    if (has_layers) {
      ANEMONE_ASSIGN(const uint64_t was, from.Of(row.tower, "layers"));
      ANEMONE_ASSIGN(const uint64_t is, to.Of(row.tower, "layers"));
      if (is < was) idle.push_back({Pattern(row.name), is});
    } else if (row.is_idle && !row.made) {
      ANEMONE_ASSIGN(const bool has, to.Holds(row.when));
      if (!has) idle.push_back({Pattern(row.name), 0});
    }
  }
  if (idle.empty()) return canonical;
  StateDict result;
  for (const StateDict::Item& item : canonical.items()) {
    const bool is_idle = std::ranges::any_of(idle, [&](const Idle& row) {
      const auto found = row.name.Match(item.name);
      return found && found->layer.value_or(0) >= row.first_layer;
    });
    if (!is_idle) ANEMONE_TRY(result.Add(item.name, item.entry));
  }
  if (result.size() < canonical.size()) {
    notes->push_back(
        fmt::format("left out {} tensors with which the result computes nothing", canonical.size() - result.size()));
  }
  return result;
}

// What the result's model has apart and the source's has once, or the other way (CanonicalRow::equal_to).
Result<StateDict> TiedAs(const StateDict& canonical, const Family& family, const ModelSymbols& symbols,
                         std::vector<std::string>* notes) {
  StateDict result = canonical;
  for (const CanonicalRow& row : family.canonical) {
    if (row.equal_to.empty()) continue;
    ANEMONE_ASSIGN(const bool wanted, symbols.Holds(row.when));
    const StateDict::Item *own = canonical.Find(row.name), *other = canonical.Find(row.equal_to);
    if (other == nullptr || other->tensor() == nullptr || wanted == (own != nullptr)) continue;
    if (wanted) {
      ANEMONE_TRY(result.Add(row.name, *other->tensor()));
      continue;
    }
    ANEMONE_ASSIGN(const bool same, SameBytes(*own->tensor(), *other->tensor()));
    if (!same) {
      return Unsupported(fmt::format("{}: expected the values of {}, which the result ties it to, found others",
                                     row.name, row.equal_to));
    }
    StateDict without;
    for (const StateDict::Item& item : result.items()) {
      if (item.name != row.name) ANEMONE_TRY(without.Add(item.name, item.entry));
    }
    result = std::move(without);
    if (notes != nullptr) notes->push_back(fmt::format("left out {}: it is {}", row.name, row.equal_to));
  }
  return result;
}

// A family that has one class for a model's parts has no choice.
Status CheckClass(const std::string& asked, const Target& target) {
  if (asked.empty() || !target.config) return {};
  const std::string made = ClassNamedIn(target.config->root());
  if (made == asked) return {};
  return WrongOption("architecture", fmt::format("expected {}, which such a model is, found {}", made, asked));
}

}  // namespace

Result<Checkpoint> ToCanonical(const Checkpoint& checkpoint, const TranslateOptions& options) {
  ANEMONE_TRY(RequireOneShard(checkpoint));
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(checkpoint, options));
  Checkpoint result = checkpoint;
  ANEMONE_ASSIGN(result.weights(), CanonicalOf(checkpoint, model, options.strict, &result.notes));
  return result;
}

Result<Checkpoint> Translate(const Checkpoint& checkpoint, std::string_view dialect, const TranslateOptions& options) {
  ANEMONE_TRY(RequireOneShard(checkpoint));
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(checkpoint, options));
  const Family& family = *identity.family;
  const Dialect* to = family.FindDialect(dialect);
  if (to == nullptr) {
    return InvalidArgument(
        fmt::format("expected a dialect of {} ({}), found '{}'", family.title, DialectNames(family), dialect));
  }
  ANEMONE_ASSIGN(ModelSymbols symbols, family.SymbolsOf(checkpoint, *identity.dialect, options));
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(checkpoint, identity, std::move(symbols)));
  Checkpoint result = checkpoint;
  result.config.reset();  // a large one is not held twice
  ANEMONE_ASSIGN(const StateDict canonical, CanonicalOf(checkpoint, model, options.strict, &result.notes));
  Target target{.symbols = model.symbols, .config = std::nullopt, .config_name = {}, .notes = {}};
  if (family.target == nullptr) {
    target.config = checkpoint.config;
    target.config_name = checkpoint.config_name;
  } else {
    ANEMONE_ASSIGN(target, family.target(checkpoint, *model.dialect, *to, options, model.symbols));
    ANEMONE_TRY(CheckCounts(checkpoint, family, target.symbols).In(target.config_name));
    if (LanguageOf(*to) == ConfigLanguage::kHuggingFace) ANEMONE_TRY(CheckClass(options.architecture, target));
  }
  std::ranges::move(target.notes, std::back_inserter(result.notes));
  target.symbols.Set("extra_state", options.extra_state ? 1 : 0);
  result.config = std::move(target.config);
  result.config_name = std::move(target.config_name);
  ANEMONE_ASSIGN(const NameMatcher names, MatcherOf(*to).For(target.symbols));
  ANEMONE_ASSIGN(const StateDict centered, CenteredAs(canonical, family, model.symbols, target.symbols, &result.notes));
  ANEMONE_ASSIGN(const StateDict rows, WithVocabOf(centered, family, model.symbols, target.symbols));
  ANEMONE_ASSIGN(const StateDict used, WithoutIdle(rows, family, model.symbols, target.symbols, &result.notes));
  ANEMONE_ASSIGN(StateDict tied, TiedAs(used, family, target.symbols, &result.notes));
  for (const StateDict::Item& item : target.made.items()) ANEMONE_TRY(tied.Add(item.name, item.entry));
  ANEMONE_ASSIGN(StateDict spelled,
                 FromCanonical(tied, names, family.canonical, target.symbols, options.strict, &result.notes));
  if (to == model.dialect) {
    // Nothing is asked of it: extra states, order and padding rows stay as they were.
    std::optional<StateDict> same;
    if (!options.hparams) {
      ANEMONE_ASSIGN(same, AsItWas(checkpoint.weights(), spelled, *to));
    }
    result.weights() = same ? *std::move(same) : std::move(spelled);
    return result;
  }
  RenameArtifacts(to->is_megatron, &result);
  if (to->is_megatron) {
    KeepConfig(checkpoint, &result);
  } else {
    LeaveKeptConfigs(&result);
  }
  result.weights() = std::move(spelled);
  result.shards.front().training.reset();
  return result;
}

}  // namespace anemone
