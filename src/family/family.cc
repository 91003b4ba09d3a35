#include "family/family.h"

#include <algorithm>

#include <fmt/format.h>

#include "family/families.h"

namespace anemone {
namespace {

// One line a family; tried in this order.
const std::vector<const Family*>& List() {
  static const std::vector<const Family*> list = {
      &ClipFamily(), &SiglipFamily(), &GptFamily(), &T5Family(), &NevaFamily(),
  };
  return list;
}

size_t CountNames(const Checkpoint& checkpoint) {
  size_t count = 0;
  ForEachDict(checkpoint, [&](const StateDict& dict) { count += dict.size(); });
  return count;
}

size_t CountMatches(const Checkpoint& checkpoint, const Dialect& dialect) {
  const NameMatcher matcher(dialect);
  size_t count = 0;
  ForEachDict(checkpoint, [&](const StateDict& dict) { count += matcher.BestPrefix(dict).matched; });
  return count;
}

const Refusal* FindRefusal(const Checkpoint& checkpoint, const Family& family, std::string* name) {
  const Refusal* found = nullptr;
  ForEachDict(checkpoint, [&](const StateDict& dict) {
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
constexpr std::string_view kTokenizerFiles[] = {
    "vocab.json",   "merges.txt",       "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "spiece.model", "added_tokens.json"};
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
    return std::find(std::begin(kForeignConfigs), std::end(kForeignConfigs), artifact.name) !=
           std::end(kForeignConfigs);
  });
}

void RenameArtifacts(bool to_megatron, Checkpoint* checkpoint) {
  for (Artifact& artifact : checkpoint->artifacts) {
    for (const std::string_view file : kTokenizerFiles) {
      if (to_megatron && artifact.name == file) {
        artifact.name = std::string(kTokenizerFolder) + std::string(file);
        break;
      }
      if (!to_megatron && artifact.name.starts_with(kTokenizerFolder) &&
          std::string_view(artifact.name).substr(kTokenizerFolder.size()) == file) {
        artifact.name = std::string(file);
        break;
      }
    }
  }
}

}  // namespace

Result<const Config*> SizesConfig(const Checkpoint& checkpoint, const TranslateOptions& options, std::string* name) {
  *name = checkpoint.config ? checkpoint.config_name : options.hparams_name;
  if (checkpoint.config) return &*checkpoint.config;
  if (options.hparams) return &*options.hparams;
  return NotFound("expected a config beside the weights, found none",
                  "anemone convert --hparams FILE takes NeMo's YAML, with --tp and --pp too");
}

bool HasName(const Checkpoint& checkpoint, std::string_view part) {
  bool found = false;
  ForEachDict(checkpoint, [&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) found |= item.name.find(part) != std::string::npos;
  });
  return found;
}

uint64_t StoredVocabRows(const Checkpoint& checkpoint, const Dialect& dialect, std::string_view canonical) {
  const NameMatcher matcher(dialect);
  uint64_t rows = 0;
  ForEachDict(checkpoint, [&](const StateDict& dict) {
    if (rows > 0) return;
    const std::string prefix = matcher.BestPrefix(dict).prefix;
    for (size_t r = 0; r < dialect.rows.size(); ++r) {
      if (dialect.rows[r].canonical != canonical) continue;
      const StateDict::Item* item = dict.Find(prefix + matcher.pattern(r).Fill(0, 0));
      if (item != nullptr && item->tensor() != nullptr && !item->tensor()->shape().empty())
        rows = item->tensor()->shape()[0];
    }
  });
  return rows * static_cast<uint64_t>(checkpoint.layout.tp);
}

const Dialect* Family::FindDialect(std::string_view dialect) const {
  const auto it = std::find_if(dialects.begin(), dialects.end(), [&](const Dialect& d) { return d.name == dialect; });
  return it == dialects.end() ? nullptr : &*it;
}

std::span<const Family* const> Families() { return List(); }

const Family* FindFamily(std::string_view name) {
  for (const Family* family : Families()) {
    if (family->name == name) return family;
  }
  return nullptr;
}

const Family* DetectFamily(const Checkpoint& checkpoint) {
  const Family* best = nullptr;
  size_t best_matched = 0;
  std::string name;
  for (const Family* family : Families()) {
    size_t matched = 0;
    for (const Dialect& dialect : family->dialects) matched = std::max(matched, CountMatches(checkpoint, dialect));
    if (matched > best_matched) {
      best = family;
      best_matched = matched;
    }
  }
  if (best == nullptr) return nullptr;
  // A relative that the family refuses by name is still the family's to speak about.
  if (2 * best_matched < CountNames(checkpoint) && FindRefusal(checkpoint, *best, &name) == nullptr) return nullptr;
  return best;
}

Result<const Dialect*> DetectDialect(const Checkpoint& checkpoint, const Family& family) {
  std::string name;
  if (const Refusal* refusal = FindRefusal(checkpoint, family, &name)) {
    return Unsupported(fmt::format("expected a {} model, found {} ({})", family.title, refusal->what, name));
  }
  const Dialect* best = nullptr;
  size_t best_matched = 0;
  for (const Dialect& dialect : family.dialects) {
    const size_t matched = CountMatches(checkpoint, dialect);
    if (matched > best_matched) {
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
  if (family == nullptr) family = DetectFamily(checkpoint);
  if (family == nullptr) {
    std::string known;
    for (const Family* f : Families()) known += (known.empty() ? "" : ", ") + f->title;
    std::string first;
    ForEachDict(checkpoint, [&](const StateDict& dict) {
      if (first.empty() && !dict.empty()) first = dict.items().front().name;
    });
    return Unsupported(fmt::format("expected a model of a known family ({}), found names such as {}", known, first),
                       "a Megatron model of another is resharded with a table: --table, see docs/resharding.md");
  }
  ANEMONE_ASSIGN(const Dialect* dialect, DetectDialect(checkpoint, *family));
  return ModelIdentity{family, dialect};
}

Result<Checkpoint> ToCanonical(const Checkpoint& checkpoint, const TranslateOptions& options) {
  ANEMONE_TRY(RequireOneShard(checkpoint));
  ANEMONE_ASSIGN(const ModelIdentity model, IdentifyModel(checkpoint, options.family));
  ANEMONE_ASSIGN(const ModelSymbols symbols, model.family->read_symbols(checkpoint, *model.dialect, options));
  Checkpoint result = checkpoint;
  ANEMONE_ASSIGN(result.weights(), Canonicalize(checkpoint.weights(), *model.dialect, model.family->canonical, symbols,
                                                options.strict, &result.notes));
  return result;
}

Result<Checkpoint> Translate(const Checkpoint& checkpoint, std::string_view dialect, const TranslateOptions& options) {
  ANEMONE_TRY(RequireOneShard(checkpoint));
  ANEMONE_ASSIGN(const ModelIdentity model, IdentifyModel(checkpoint, options.family));
  const Family& family = *model.family;
  const Dialect* to = family.FindDialect(dialect);
  if (to == nullptr) {
    return InvalidArgument(
        fmt::format("expected a dialect of {} ({}), found '{}'", family.title, DialectNames(family), dialect));
  }
  ANEMONE_ASSIGN(const ModelSymbols symbols, family.read_symbols(checkpoint, *model.dialect, options));
  Checkpoint result = checkpoint;
  ANEMONE_ASSIGN(const StateDict canonical, Canonicalize(checkpoint.weights(), *model.dialect, family.canonical,
                                                         symbols, options.strict, &result.notes));
  Target target{symbols, checkpoint.config, checkpoint.config_name};
  if (family.target != nullptr) {
    ANEMONE_ASSIGN(target, family.target(checkpoint, *model.dialect, *to, options));
  }
  target.symbols.Set("extra_state", options.extra_state ? 1 : 0);
  result.config = std::move(target.config);
  result.config_name = std::move(target.config_name);
  ANEMONE_ASSIGN(StateDict spelled,
                 FromCanonical(canonical, *to, family.canonical, target.symbols, options.strict, &result.notes));
  if (to != model.dialect) {
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
  // Its own dialect, nothing asked of it: what was stored stays as it was (extra states, order, padding rows), unless a
  // row spells it in a way that is no longer written.
  const NameMatcher matcher(*to);
  const std::string prefix = matcher.BestPrefix(checkpoint.weights()).prefix;
  StateDict same;
  bool unchanged = !options.hparams.has_value();
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    if (!unchanged) break;
    const std::string name = item.name.starts_with(prefix) ? item.name.substr(prefix.size()) : item.name;
    const auto hit = matcher.Match(name);
    const bool old_spelling =
        hit && matcher.row(hit->row).when == kReadOnly && matcher.row(hit->row).op != Op::kExtraState;
    const bool drop = hit && (matcher.row(hit->row).op == Op::kDrop || matcher.row(hit->row).op == Op::kDropZeros);
    unchanged = !old_spelling && !drop;
    ANEMONE_TRY(same.Add(hit ? to->prefixes.front() + name : item.name, item.entry));
  }
  result.weights() = unchanged ? std::move(same) : std::move(spelled);
  return result;
}

}  // namespace anemone
