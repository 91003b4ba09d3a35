#include "inspect/hollow.h"

#include <fmt/format.h>

#include <set>
#include <utility>
#include <vector>

#include "family/clip/clip_config.h"
#include "format/nemo/nemo.h"
#include "parallel/layout.h"
#include "parallel/optimizer.h"
#include "source/text_file.h"

namespace anemone {
namespace {

// A family whose config says every size; that of a NeVA only names its vision tower.
Result<const Family*> FamilyNamed(const std::string& name) {
  std::vector<std::string> known;
  for (const Family* family : Families()) {
    if (!family->first_stage_towers.empty()) continue;
    if (family->name == name) return family;
    known.push_back(family->name);
  }
  return WrongOption("family", fmt::format("expected one of {}, found '{}'", fmt::join(known, ", "), name));
}

Result<const Dialect*> DialectNamed(const Family& family, const std::string& name, const Config& config) {
  const ConfigNode* mcore = config.root().Get("mcore_gpt");
  const bool is_legacy = mcore != nullptr && !mcore->AsBool().value_or(true);
  std::vector<std::string> known;
  const Dialect* first = nullptr;
  for (const Dialect& dialect : family.dialects) {
    if (!dialect.is_megatron) continue;
    known.push_back(dialect.name);
    if (dialect.name == (name.empty() && is_legacy ? "legacy" : name)) return &dialect;
    if (first == nullptr) first = &dialect;
  }
  if (name.empty() && first != nullptr) return first;
  return WrongOption("dialect",
                     fmt::format("expected one of {} of {}, found '{}'", fmt::join(known, ", "), family.title, name));
}

Result<Config> ConfigOf(const HollowOptions& options) {
  if (!options.config.empty()) {
    ANEMONE_ASSIGN(const Config file, ReadYaml(options.config));
    ANEMONE_ASSIGN(ConfigNode model, NemoModelNode(file));
    return Config(std::move(model));
  }
  const auto spec = ClipPreset(options.preset);
  if (!spec) {
    return WrongOption("preset", fmt::format("expected the name of a CLIP's size, found '{}'", options.preset),
                       fmt::format("known are {}", fmt::join(ClipPresetNames(), ", ")))
        .Use("config", "FILE", "describe another model");
  }
  return NemoConfigFromArchitecture(*spec, options.dialect == "legacy" ? NemoClipKind::kLegacy : NemoClipKind::kMcore);
}

uint64_t VocabOf(const Config& config) {
  const ConfigNode* text = config.root().Get("text");
  for (const auto& [parent, key] :
       {std::pair{&config.root(), "override_vocab_size"}, {&config.root(), "vocab_size"}, {text, "vocab_size"}}) {
    const ConfigNode* node = parent == nullptr ? nullptr : parent->Get(key);
    if (node != nullptr && node->AsInt().value_or(0) > 0) return static_cast<uint64_t>(*node->AsInt());
  }
  return 0;
}

// The tables of the vocabulary, from whose stored rows families tell its size.
Result<StateDict> VocabTables(const Dialect& dialect, uint64_t rows, DType dtype) {
  StateDict tables;
  const NameMatcher matcher(dialect);
  for (size_t r = 0; r < dialect.rows.size(); ++r) {
    const StoredRow& row = dialect.rows[r];
    const bool is_table = row.transform == &kPadVocab && row.stage != Stage::kTiedCopy && row.when != kReadOnly &&
                          !matcher.pattern(r).has_layer() && row.name.ends_with("weight");
    const std::string name = dialect.prefixes.front() + matcher.pattern(r).Fill(0, 0);
    if (!is_table || tables.Find(name) != nullptr) continue;
    ANEMONE_ASSIGN(Tensor table, Tensor::Fill(dtype, {rows, 1}, 0));
    ANEMONE_TRY(tables.Add(name, std::move(table)));
  }
  return tables;
}

Result<StateDict> CanonicalZeros(const Family& family, const ModelSymbols& symbols, DType dtype) {
  StateDict canonical;
  ANEMONE_TRY(ForEachTensor(family.canonical, symbols, [&](std::string name, const Shape& shape) -> Status {
    ANEMONE_ASSIGN(Tensor zeros, Tensor::Fill(dtype, shape, 0));
    return canonical.Add(std::move(name), std::move(zeros));
  }));
  return canonical;
}

// Plain zeros in place of what transforms made of zeros.
Result<StateDict> Plain(const StateDict& state) {
  StateDict plain;
  for (const StateDict::Item& item : state.items()) {
    if (item.tensor() == nullptr) {
      ANEMONE_TRY(plain.Add(item.name, item.entry));
      continue;
    }
    ANEMONE_ASSIGN(Tensor zeros, Tensor::Fill(item.tensor()->dtype(), item.tensor()->shape(), 0));
    ANEMONE_TRY(plain.Add(item.name, std::move(zeros)));
  }
  return plain;
}

}  // namespace

Result<Hollow> HollowCheckpoint(const HollowOptions& options) {
  ANEMONE_ASSIGN(const Family* family, FamilyNamed(options.family));
  Hollow hollow;
  Checkpoint& checkpoint = hollow.checkpoint;
  ANEMONE_ASSIGN(checkpoint.config, ConfigOf(options));
  checkpoint.config_name = options.config.empty() ? options.preset : options.config;
  checkpoint.flavour = "hollow";
  ANEMONE_ASSIGN(const Dialect* dialect, DialectNamed(*family, options.dialect, *checkpoint.config));
  hollow.model = {family, dialect};
  // The files it refers to weigh nothing beside weights.
  std::set<std::string> names;
  for (const ArtifactReference& reference : ArtifactReferences(checkpoint.config->root())) {
    if (names.insert(reference.name).second)
      checkpoint.artifacts.push_back({reference.name, Whole(MemorySource("", reference.name))});
  }
  const uint64_t vocab = options.vocab > 0 ? options.vocab : VocabOf(*checkpoint.config);
  if (vocab == 0 && family->name != "clip") {
    return InvalidArgument("expected the size of the vocabulary in the config, found none")
        .Use("vocab", "N", "give it")
        .In(checkpoint.config_name);
  }
  Shard& shard = checkpoint.shards.emplace_back();
  if (vocab > 0) {
    ANEMONE_ASSIGN(shard.weights, VocabTables(*dialect, vocab, options.dtype));
  }
  ANEMONE_ASSIGN(ModelSymbols symbols, family->SymbolsOf(checkpoint, *dialect, {}));
  symbols.Set("extra_state", 1);
  ANEMONE_ASSIGN(const StateDict canonical, CanonicalZeros(*family, symbols, options.dtype));
  ANEMONE_ASSIGN(const StateDict spelled,
                 FromCanonical(canonical, *dialect, family->canonical, symbols, true, &checkpoint.notes));
  ANEMONE_ASSIGN(shard.weights, Plain(spelled));
  hollow.parameters = SizesOf(shard).parameters;
  if (options.optimizer) {
    ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(checkpoint, hollow.model, symbols));
    ANEMONE_ASSIGN(const ParameterRules rules, RulesOf(model));
    ANEMONE_ASSIGN(shard.training, NewAdam(shard, rules));
  }
  return hollow;
}

RankSizes SizesOf(const Shard& shard) {
  RankSizes sizes;
  const auto add = [&](const StateDict& state) {
    for (const StateDict::Item& item : state.items()) {
      if (item.tensor() == nullptr) continue;
      sizes.parameters += item.tensor()->num_elements();
      sizes.weight_bytes += item.tensor()->size_bytes();
    }
  };
  add(shard.weights);
  for (const StateDict& chunk : shard.chunks) add(chunk);
  if (shard.training) {
    for (const ValueNode& node : shard.training->graph->nodes()) {
      if (node.kind == ValueNode::Kind::kTensor) sizes.optimizer_bytes += node.tensor->size_bytes();
    }
  }
  return sizes;
}

}  // namespace anemone
