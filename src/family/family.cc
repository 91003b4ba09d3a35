#include "family/family.h"

#include <algorithm>
#include <functional>
#include <list>
#include <mutex>
#include <set>
#include <unordered_map>

#include <fmt/format.h>

#include "base/checked.h"
#include "config/companions.h"
#include "family/families.h"
#include "tensor/same.h"

namespace anemone {
namespace {

// A family and the patterns of its dialects, made and parsed when first asked for: most runs need those of one family
// and of the ones tried before it.
class Registered {
 public:
  explicit Registered(std::function<const Family&()> family) : make_(std::move(family)) {}

  const Family& family() const { return make_(); }
  std::span<const NameMatcher> matchers() {
    std::call_once(parsed_, [this] {
      for (const Dialect& dialect : family().dialects) matchers_.emplace_back(dialect);
    });
    return matchers_;
  }

 private:
  std::function<const Family&()> make_;
  std::once_flag parsed_;
  std::vector<NameMatcher> matchers_;
};

// One word a family; tried in this order. The entries keep their addresses.
std::list<Registered>& Registry() {
  static std::list<Registered> registry = [] {
    std::list<Registered> all;
    for (const auto& family : {ClipFamily, SiglipFamily, GptFamily, T5Family, NevaFamily, BertFamily}) {
      all.emplace_back(family);
    }
    return all;
  }();
  return registry;
}

// The parsed patterns of a dialect: the registered ones, or those of a user's table.
NameMatcher MatcherOf(const Dialect& dialect) {
  for (Registered& entry : Registry()) {
    const std::vector<Dialect>& dialects = entry.family().dialects;
    for (size_t d = 0; d < dialects.size(); ++d) {
      if (&dialects[d] == &dialect) return entry.matchers()[d];
    }
  }
  return NameMatcher(dialect);
}

size_t CountNames(const Checkpoint& checkpoint) {
  size_t count = 0;
  checkpoint.ForEachDict([&](const StateDict& dict) { count += dict.size(); });
  return count;
}

// The state dicts of a checkpoint whose names differ, and how many have the same: ranks of one stage do.
class DistinctDicts {
 public:
  explicit DistinctDicts(const Checkpoint& checkpoint) {
    checkpoint.ForEachDict([&](const StateDict& dict) {
      size_t hash = dict.size();
      for (const StateDict::Item& item : dict.items()) hash = hash * 31 + std::hash<std::string>()(item.name);
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

// A config states how many layers and experts there are, and each becomes rows: what it states must be in proportion to
// the names that the checkpoint has, before rows are made. A config alone has none yet.
Status CheckCounts(const Checkpoint& checkpoint, const Family& family, const ModelSymbols& symbols) {
  constexpr uint64_t kWithoutNames = 10'000, kPerName = 64, kMost = 100'000, kMostExperts = 1'000'000;
  const uint64_t most = std::min(kMost, kWithoutNames + kPerName * CountNames(checkpoint));
  std::set<std::string_view> towers = {""};
  for (const CanonicalRow& row : family.canonical) towers.insert(row.tower);
  for (const std::string_view tower : towers) {
    const auto find = [&](std::string_view key) {
      const auto found = symbols.Find(tower, key);
      return found.ok() ? found->value_or(0) : 0;  // not every family has experts
    };
    const uint64_t layers = find("layers"), experts = find("experts");
    const std::string where(tower.empty() ? "the model" : tower);
    if (layers > most) {
      return LimitExceeded(fmt::format("{}: expected at most {} layers beside {} tensors, found {}", where, most,
                                       CountNames(checkpoint), layers));
    }
    if (experts > kMostExperts / std::max<uint64_t>(layers, 1)) {
      return LimitExceeded(fmt::format("{}: expected at most {} experts in all layers, found {} layers of {}", where,
                                       kMostExperts, layers, experts));
    }
  }
  return {};
}

std::string DialectNames(const Family& family) {
  std::string names;
  for (const Dialect& dialect : family.dialects) names += (names.empty() ? "" : ", ") + dialect.name;
  return names;
}

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

void KeepConfig(const Checkpoint& source, Checkpoint* checkpoint) {
  const bool is_foreign = std::find(std::begin(kForeignConfigs), std::end(kForeignConfigs), source.config_name) !=
                          std::end(kForeignConfigs);
  if (!is_foreign || !source.config || checkpoint->FindArtifact(source.config_name) != nullptr) return;
  checkpoint->artifacts.push_back(
      {source.config_name, Whole(MemorySource(source.config->ToJson() + "\n", source.config_name))});
}

void LeaveKeptConfigs(Checkpoint* checkpoint) {
  std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) {
    constexpr std::string_view kContext = "context/";  // of NeMo 2
    std::string_view name = artifact.name;
    if (name.starts_with(kContext)) name.remove_prefix(kContext.size());
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
    } else if (artifact.name.starts_with(kTokenizerFolder)) {
      const std::string file = artifact.name.substr(kTokenizerFolder.size());
      if (IsKeptTokenizerFile(file)) artifact.name = file;
    }
  }
}

}  // namespace

Result<const Config*> SizesConfig(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name) {
  *name = checkpoint.config ? checkpoint.config_name : options.hparams_name;
  if (checkpoint.config) return &*checkpoint.config;
  if (options.hparams) return &*options.hparams;
  return NotFound("expected a config beside the weights, found none").Use("hparams", "FILE", "give NeMo's YAML");
}

bool HasName(const Checkpoint& checkpoint, std::string_view part) {
  bool found = false;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) found |= item.name.find(part) != std::string::npos;
  });
  return found;
}

std::string ClassNamedIn(const ConfigNode& config_json) {
  const ConfigNode *names = config_json.Get("architectures"), *type = config_json.Get("model_type");
  if (names != nullptr && names->is_list() && !names->list.empty()) return names->list.front().ScalarText();
  return type == nullptr ? "" : type->ScalarText();
}

DType DTypeOf(const Checkpoint& checkpoint) {
  std::optional<DType> dtype;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      if (!dtype && item.tensor() != nullptr && item.tensor()->shape().size() == 2) dtype = item.tensor()->dtype();
    }
  });
  return dtype.value_or(DType::kF32);
}

const Tensor* FindStored(const StateDict& dict, const NameMatcher& names, std::string_view canonical) {
  const std::string prefix = names.BestPrefix(dict).prefix;
  for (size_t r = 0; r < names.dialect().rows.size(); ++r) {
    if (names.row(r).canonical != canonical || names.row(r).role != Role::kTensor) continue;
    const StateDict::Item* item = dict.Find(prefix + names.pattern(r).Fill(0, 0));
    if (item != nullptr && item->tensor() != nullptr) return item->tensor();
  }
  if (names.dialect().omitted.empty()) return nullptr;
  for (const StateDict::Item& item : dict.items()) {
    const auto hit = item.tensor() == nullptr ? std::nullopt : names.Match(item.name, prefix);
    if (hit && names.row(hit->row).canonical == canonical && names.row(hit->row).role == Role::kTensor)
      return item.tensor();
  }
  return nullptr;
}

Result<uint64_t> StoredVocabRows(const Checkpoint& checkpoint, const Dialect& dialect, std::string_view canonical) {
  const NameMatcher matcher = MatcherOf(dialect);
  uint64_t rows = 0;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    if (rows > 0) return;
    const Tensor* table = FindStored(dict, matcher, canonical);
    if (table != nullptr && !table->shape().empty()) rows = table->shape()[0];
  });
  const auto all = CheckedMul(rows, static_cast<uint64_t>(checkpoint.layout.tp));
  if (!all) return Corrupt(fmt::format("{}: expected rows below 2^64 on all ranks, found {}", canonical, rows));
  return *all;
}

Result<ModelSymbols> Family::SymbolsOf(const Checkpoint& checkpoint, const Dialect& dialect,
                                       const TranslateOptions& options) const {
  ModelSymbols model(symbols);
  ANEMONE_TRY(read_symbols(checkpoint, dialect, options, &model));
  ANEMONE_TRY(model.CheckSet().In(name));
  ANEMONE_TRY(CheckCounts(checkpoint, *this, model).In(checkpoint.config_name));
  return model;
}

const Dialect* Family::FindDialect(std::string_view dialect) const {
  const auto it = std::find_if(dialects.begin(), dialects.end(), [&](const Dialect& d) { return d.name == dialect; });
  return it == dialects.end() ? nullptr : &*it;
}

std::vector<const Family*> Families() {
  std::vector<const Family*> families;
  for (const Registered& entry : Registry()) families.push_back(&entry.family());
  return families;
}

void RegisterFamily(const Family& family) {
  Registry().emplace_back([&family]() -> const Family& { return family; });
}

const Family* FindFamily(std::string_view name) {
  for (const Registered& entry : Registry()) {
    if (entry.family().name == name) return &entry.family();
  }
  return nullptr;
}

const Family* DetectFamily(const Checkpoint& checkpoint, std::string* foreign) {
  const DistinctDicts dicts(checkpoint);
  const Family* best = nullptr;
  size_t best_matched = 0;
  std::string name;
  const size_t all = CountNames(checkpoint);
  for (Registered& entry : Registry()) {
    if (best_matched == all) break;
    for (const NameMatcher& matcher : entry.matchers()) {
      const size_t matched = dicts.CountMatches(matcher);
      if (matched <= best_matched) continue;
      best = &entry.family();
      best_matched = matched;
    }
  }
  if (best == nullptr) return nullptr;
  if (best->foreign != nullptr && checkpoint.config) {
    std::string other = best->foreign(*checkpoint.config);
    if (!other.empty()) {
      if (foreign != nullptr) *foreign = std::move(other);
      return nullptr;
    }
  }
  // A relative that the family refuses by name is still the family's to speak about.
  if (2 * best_matched < CountNames(checkpoint) && FindRefusal(checkpoint, *best, &name) == nullptr) return nullptr;
  return best;
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

Result<ModelIdentity> IdentifyModel(const Checkpoint& checkpoint, const Family* family) {
  if (CountNames(checkpoint) == 0) return Corrupt("expected tensors, found none");
  std::string foreign;
  if (family == nullptr) family = DetectFamily(checkpoint, &foreign);
  if (!foreign.empty()) {
    return Unsupported(fmt::format("{}: expected a model of a known family by model_type and architectures, found {}",
                                   checkpoint.config_name, foreign),
                       "its weights can be converted to safetensors, name by name");
  }
  if (family == nullptr) {
    std::string known;
    for (const Family* f : Families()) known += (known.empty() ? "" : ", ") + f->title;
    std::string first;
    checkpoint.ForEachDict([&](const StateDict& dict) {
      if (first.empty() && !dict.empty()) first = dict.items().front().name;
    });
    return Unsupported(fmt::format("expected a model of a known family ({}), found names such as {}", known, first),
                       "docs/resharding.md describes tables for other Megatron models")
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
    bool is_excluded = false;
    for (const std::string_view flag : SplitAt(dialect->never, ',')) {
      ANEMONE_ASSIGN(const bool has, symbols.HoldsAnywhere(flag));
      is_excluded = is_excluded || (!flag.empty() && has);
    }
    if (!is_excluded) return dialect;
  }
  return speaking.front();
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

namespace {

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
  ANEMONE_ASSIGN(const StateDict canonical, CanonicalOf(checkpoint, model, options.strict, &result.notes));
  Target target{model.symbols, checkpoint.config, checkpoint.config_name};
  if (family.target != nullptr) {
    ANEMONE_ASSIGN(target, family.target(checkpoint, *model.dialect, *to, options, model.symbols));
    ANEMONE_TRY(CheckCounts(checkpoint, family, target.symbols).In(target.config_name));
  }
  result.notes.insert(result.notes.end(), target.notes.begin(), target.notes.end());
  target.symbols.Set("extra_state", options.extra_state ? 1 : 0);
  result.config = std::move(target.config);
  result.config_name = std::move(target.config_name);
  ANEMONE_ASSIGN(const NameMatcher names, MatcherOf(*to).For(target.symbols));
  ANEMONE_ASSIGN(const StateDict centered, CenteredAs(canonical, family, model.symbols, target.symbols, &result.notes));
  ANEMONE_ASSIGN(const StateDict rows, WithVocabOf(centered, family, model.symbols, target.symbols));
  ANEMONE_ASSIGN(const StateDict tied, TiedAs(rows, family, target.symbols, &result.notes));
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
