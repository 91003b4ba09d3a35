// Facts: peft 0.21 tuners/lora/config.py, utils/save_and_load.py, tuners/tuners_utils.py
// (check_target_module_exists); NeMo v2.0.0 peft_config.py, parallel_adapters.py, mcore_mixins.py (parts of the fused
// layers), nemo/collections/llm/peft/lora.py, nemo/lightning/pytorch/callbacks/peft.py (adapter_metadata.json).
#include "adapter/adapter_convert.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>
#include <utility>

#include "config/nodes.h"
#include "family/families.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_config.h"
#include "tensor/same.h"

namespace anemone {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string_view WithoutWeight(std::string_view name) { return name.substr(0, name.size() - kWeight.size()); }

Result<Tensor> Zeros(const Tensor& like, uint64_t rows, uint64_t columns) {
  return Tensor::Fill(like.dtype(), {rows, columns}, 0);
}

// ---- rows of canonical tensors ----

// Rows [begin, begin + rows) of a canonical tensor, and what is added to them.
struct Segment {
  uint64_t begin = 0;
  LowRank low;
  uint64_t rows() const { return low.out.shape()[0]; }
  uint64_t end() const { return begin + rows(); }
};
// By the canonical row's name and the layer, in order of rows.
using Canonical = std::map<std::pair<std::string, uint64_t>, std::vector<Segment>>;

// A row's transform of a matrix that has the weight's rows and other columns.
Result<Tensor> Forward(const StoredRow& row, const Tensor& out, const ModelSymbols& symbols) {
  if (IsTransposed(row)) return out;
  return row.transform->forward({out}, out.shape(), TransformContext{symbols, row});
}
Result<Tensor> Inverse(const StoredRow& row, const Tensor& out, const ModelSymbols& symbols) {
  if (IsTransposed(row)) return out;
  ANEMONE_ASSIGN(const Parts parts, row.transform->inverse(out, {out.shape()}, TransformContext{symbols, row}));
  return parts.front();
}

uint64_t RowsOfPart(const StoredRow& row, const Shape& shape) { return shape[IsTransposed(row) ? 1 : 0]; }

Status AddSegments(const Adapter::Modules& modules, const Dialect& spelling, const AdaptedModel& model,
                   Canonical* canonical) {
  if (modules.empty()) return {};
  ANEMONE_ASSIGN(const NameMatcher names, NameMatcher(spelling).For(model.symbols));
  ANEMONE_ASSIGN(const std::vector<AdaptedRow> rows, RowsOf(modules, names, *model.family, model.symbols));
  for (const AdaptedRow& adapted : rows) {
    const StoredRow& row = names.row(adapted.row);
    std::vector<Segment>& segments = (*canonical)[{adapted.canonical->name, adapted.layer}];
    uint64_t begin = 0;
    for (size_t part = 0; part < adapted.parts.size(); ++part) {
      if (const LowRank* low = adapted.parts[part]; low != nullptr) {
        Segment& segment = segments.emplace_back(Segment{begin, *low});
        if (adapted.parts.size() == 1) {
          ANEMONE_ASSIGN(segment.low.out, Forward(row, low->out, model.symbols));
        }
      }
      begin += RowsOfPart(row, adapted.shapes[part]);
    }
    std::ranges::sort(segments, {}, &Segment::begin);
  }
  return {};
}

// The rows of `segment` that lie in [begin, end).
Result<Segment> Cut(const Segment& segment, uint64_t begin, uint64_t end) {
  const uint64_t from = std::max(begin, segment.begin), to = std::min(end, segment.end());
  Segment cut = segment;
  cut.begin = from;
  ANEMONE_ASSIGN(cut.low.out, segment.low.out.Narrow(0, from - segment.begin, to - from));
  return cut;
}

Result<bool> ShareInput(const std::vector<Segment>& segments) {
  for (const Segment& segment : segments) {
    ANEMONE_ASSIGN(const bool same, SameBytes(segment.low.in, segments.front().low.in));
    if (!same) return false;
  }
  return true;
}

// One pair of matrices for rows [begin, end), of the segments there; other rows get zeros. Segments that share their
// first matrix keep it. Of others the first matrices lie below each other, and each has columns of its own in the
// second: the product is the same.
Result<LowRank> Combine(const std::string& name, const std::vector<Segment>& segments, uint64_t begin, uint64_t end) {
  ANEMONE_ASSIGN(const bool shared, ShareInput(segments));
  LowRank whole = segments.front().low;
  uint64_t rank = 0;
  std::vector<Tensor> inputs, rows;
  for (const Segment& segment : segments) {
    if (segment.low.scale != whole.scale)
      return Unsupported(
          fmt::format("{}: expected parts of one alpha / rank, found {} and {}", name, whole.scale, segment.low.scale));
    inputs.push_back(segment.low.in);
    rank += segment.low.rank();
  }
  if (shared) rank = whole.rank();
  uint64_t at = begin, column = 0;
  const auto fill_to = [&](uint64_t row) -> Status {
    if (row == at) return {};
    ANEMONE_ASSIGN(Tensor zeros, Zeros(whole.out, row - at, rank));
    rows.push_back(std::move(zeros));
    return {};
  };
  for (const Segment& segment : segments) {
    ANEMONE_TRY(fill_to(segment.begin));
    const uint64_t before = shared ? 0 : column;
    ANEMONE_ASSIGN(Tensor out, segment.low.out.Pad(1, before, rank - before - segment.low.rank()));
    rows.push_back(std::move(out));
    column += segment.low.rank();
    at = segment.end();
  }
  ANEMONE_TRY(fill_to(end));
  if (!shared) {
    ANEMONE_ASSIGN(whole.in, Tensor::Concat(std::move(inputs), 0));
  }
  ANEMONE_ASSIGN(whole.out, Tensor::Concat(std::move(rows), 0));
  whole.alpha = whole.scale * static_cast<double>(rank);
  return whole;
}

// What is added to rows [begin, end); nullopt: nothing.
Result<std::optional<LowRank>> AddedTo(const std::string& name, const std::vector<Segment>& segments, uint64_t begin,
                                       uint64_t end) {
  std::vector<Segment> inside;
  for (const Segment& segment : segments) {
    if (segment.end() <= begin || segment.begin >= end) continue;
    ANEMONE_ASSIGN(Segment cut, Cut(segment, begin, end));
    inside.push_back(std::move(cut));
  }
  if (inside.empty()) return std::optional<LowRank>();
  if (inside.size() == 1 && inside.front().begin == begin && inside.front().end() == end)
    return std::optional(std::move(inside.front().low));
  ANEMONE_ASSIGN(LowRank whole, Combine(name, inside, begin, end));
  return std::optional(std::move(whole));
}

// A weight of the target's, and what is added to it.
struct Adapted {
  std::string name;
  uint64_t layer = 0;
  LowRank low;
};

// The same in the words of another dialect. Errors: Unsupported for a tensor that it does not adapt.
Result<std::vector<Adapted>> Spelled(const Canonical& canonical, const Dialect& dialect, const AdaptedModel& model) {
  ANEMONE_ASSIGN(const NameMatcher names, NameMatcher(dialect).For(model.symbols));
  ANEMONE_ASSIGN(const uint64_t layers, model.symbols.Get("layers"));
  std::vector<Adapted> targets;
  for (const auto& [key, segments] : canonical) {
    const auto& [name, layer] = key;
    if (name.starts_with("layers.") && layer >= layers)
      return Corrupt(fmt::format("{}: expected one of the base's {} layers, found layer {}", name, layers, layer),
                     "the adapter is another model's");
    const CanonicalRow& row_of = *std::ranges::find(model.family->canonical, name, &CanonicalRow::name);
    ANEMONE_ASSIGN(const Shape shape, model.symbols.Evaluate(row_of.shape));
    bool is_spelled = false;
    for (size_t r = 0; r < dialect.rows.size(); ++r) {
      const StoredRow& row = names.row(r);
      if (row.canonical != name || row.role != Role::kTensor || !names.is_active(r)) continue;
      ANEMONE_ASSIGN(const bool is_written, model.symbols.Holds(row.when, layer));
      if (!is_written) continue;
      is_spelled = true;
      const TransformContext context{model.symbols, row};
      ANEMONE_ASSIGN(const std::vector<Shape> shapes, row.transform->stored_shapes(shape, names.num_parts(r), context));
      uint64_t begin = 0;
      for (size_t part = 0; part < shapes.size(); ++part) {
        const uint64_t end = begin + RowsOfPart(row, shapes[part]);
        const std::string weight = names.StoredName(r, layer, part);
        ANEMONE_ASSIGN(std::optional<LowRank> low, AddedTo(weight, segments, begin, end));
        begin = end;
        if (!low) continue;
        if (shapes.size() == 1) {
          ANEMONE_ASSIGN(low->out, Inverse(row, low->out, model.symbols));
        }
        targets.push_back({weight, layer, *std::move(low)});
      }
    }
    if (!is_spelled) return Unsupported(fmt::format("{}: {} has no such weight", name, dialect.title));
  }
  std::ranges::sort(targets, [](const Adapted& a, const Adapted& b) {
    return std::tie(a.layer, a.name) < std::tie(b.layer, b.name);
  });
  return targets;
}

Result<Canonical> CanonicalOf(const Adapter& adapter, const AdaptedModel& model) {
  Canonical canonical;
  if (const Dialect* megatron = MegatronSpelling(adapter, *model.family); megatron != nullptr)
    ANEMONE_TRY(AddSegments(adapter.megatron, *megatron, model, &canonical));
  ANEMONE_TRY(AddSegments(adapter.hf, *model.hf, model, &canonical));
  return canonical;
}

template <typename Names>
ConfigNode Texts(const Names& names) {
  ConfigNode list = ConfigNode::List();
  for (const auto& name : names) list.list.push_back(TextNode(name));
  return list;
}

// ---- PEFT ----

// "model.layers.3.self_attn.q_proj" → "self_attn.q_proj".
std::string_view InLayer(std::string_view module) {
  const size_t at = module.find_first_of("0123456789");
  const size_t dot = at == std::string_view::npos ? at : module.find('.', at);
  return dot == std::string_view::npos ? module : module.substr(dot + 1);
}
std::string_view LastWord(std::string_view module) { return module.substr(module.rfind('.') + 1); }

// Names that end those of the adapted modules and of no others: the last word where that will do, else the name in the
// layer, else the whole name.
std::set<std::string> TargetModules(const std::set<std::string>& adapted, const std::set<std::string>& all) {
  std::set<std::string> targets;
  for (const std::string& module : adapted) {
    for (const std::string_view end : {LastWord(module), InLayer(module), std::string_view(module)}) {
      const std::string behind_dot = fmt::format(".{}", end);
      const bool is_one_of_them = std::ranges::all_of(all, [&](const std::string& other) {
        return (other != end && !other.ends_with(behind_dot)) || adapted.contains(other);
      });
      if (!is_one_of_them) continue;
      targets.emplace(end);
      break;
    }
  }
  return targets;
}

// The names of all of the model's linear layers in transformers.
Result<std::set<std::string>> ModulesOf(const AdaptedModel& model) {
  ANEMONE_ASSIGN(const NameMatcher names, NameMatcher(*model.hf).For(model.symbols));
  ANEMONE_ASSIGN(const uint64_t layers, model.symbols.Get("layers"));
  std::set<std::string> modules;
  for (size_t r = 0; r < model.hf->rows.size(); ++r) {
    const StoredRow& row = names.row(r);
    const auto canonical = std::ranges::find(model.family->canonical, row.canonical, &CanonicalRow::name);
    if (row.role != Role::kTensor || !names.is_active(r) || canonical == model.family->canonical.end()) continue;
    if (canonical->shape.find(',') == std::string::npos || !row.name.ends_with(kWeight)) continue;
    const bool has_layer = row.name.find("{i}") != std::string::npos;
    for (uint64_t layer = 0; layer < (has_layer ? layers : 1); ++layer) {
      ANEMONE_ASSIGN(const bool exists, model.symbols.Holds(canonical->when, layer));
      for (size_t part = 0; exists && part < names.num_parts(r); ++part)
        modules.emplace(WithoutWeight(names.StoredName(r, layer, part)));
    }
  }
  return modules;
}

ConfigNode PeftConfig(const Adapter& adapter, const std::vector<Adapted>& targets,
                      const std::set<std::string>& target_modules, bool is_transposed, const std::string& base) {
  ConfigNode config = ParseWord(
      "{alpha_pattern: {}, auto_mapping: null, base_model_name_or_path: null, bias: none, fan_in_fan_out: false, "
      "inference_mode: true, init_lora_weights: true, layers_pattern: null, layers_to_transform: null, lora_alpha: 0, "
      "lora_dropout: 0.0, modules_to_save: null, peft_type: LORA, r: 0, rank_pattern: {}, revision: null, "
      "target_modules: null, task_type: CAUSAL_LM, use_dora: false, use_rslora: false}");
  if (!base.empty()) config["base_model_name_or_path"] = TextNode(base);
  config["fan_in_fan_out"] = ConfigNode::Bool(is_transposed);
  config["lora_dropout"] = ConfigNode::Float(adapter.dropout);
  const LowRank& first = targets.front().low;
  config["r"] = ConfigNode::Int(static_cast<int64_t>(first.rank()));
  config["lora_alpha"] = NumberWord(first.alpha);
  config["target_modules"] = Texts(target_modules);
  for (const Adapted& target : targets) {
    const std::string module(WithoutWeight(target.name));
    if (target.low.rank() != first.rank())
      config["rank_pattern"][module] = ConfigNode::Int(static_cast<int64_t>(target.low.rank()));
    if (target.low.alpha != first.alpha) config["alpha_pattern"][module] = NumberWord(target.low.alpha);
  }
  return config;
}

// ---- NeMo ----

Status CheckIsOfLayers(const Adapter& adapter) {
  for (const Adapter::Modules* modules : {&adapter.hf, &adapter.megatron}) {
    for (const auto& [name, low] : *modules) {
      if (InLayer(name) != name) continue;
      return Unsupported(
          fmt::format("{}: expected an adapter of a layer, found one of the model's head or embedding", name),
          "merge it into its base");
    }
  }
  if (adapter.bases.empty()) return {};
  return Unsupported(fmt::format("{}: expected the matrices of a LoRA alone, found a weight of the model beside them",
                                 adapter.bases.begin()->first),
                     "merge it into its base");
}

// Every layer has the modules that one has.
Status FillLayers(const AdaptedModel& model, std::vector<Adapted>* targets, std::vector<std::string>* notes) {
  ANEMONE_ASSIGN(const uint64_t layers, model.symbols.Get("layers"));
  std::map<std::string, const Adapted*> modules;
  std::set<std::string> present;
  for (const Adapted& target : *targets) {
    modules.emplace(InLayer(target.name), &target);
    present.insert(target.name);
  }
  std::vector<Adapted> added;
  for (const auto& [module, example] : modules) {
    for (uint64_t layer = 0; layer < layers; ++layer) {
      const size_t at = example->name.find(".layers.") + std::string_view(".layers.").size();
      const std::string name = fmt::format("{}{}.{}", example->name.substr(0, at), layer, module);
      if (present.contains(name)) continue;
      Adapted zero{name, layer, example->low};
      ANEMONE_ASSIGN(zero.low.in, Zeros(zero.low.in, zero.low.rank(), zero.low.in.shape()[1]));
      ANEMONE_ASSIGN(zero.low.out, Zeros(zero.low.out, zero.low.out.shape()[0], zero.low.rank()));
      added.push_back(std::move(zero));
    }
  }
  if (!added.empty())
    notes->push_back(
        fmt::format("{} modules that are not adapted have zeros, as NeMo adapts all layers alike", added.size()));
  targets->insert(targets->end(), added.begin(), added.end());
  return {};
}

// NeMo has one rank and one alpha for all: lower ranks are filled up with zeros.
Result<std::pair<uint64_t, double>> MakeUniform(std::vector<Adapted>* targets, std::vector<std::string>* notes) {
  uint64_t rank = 0;
  for (const Adapted& target : *targets) rank = std::max(rank, target.low.rank());
  bool is_filled = false;
  const double scale = targets->front().low.scale;
  for (Adapted& target : *targets) {
    LowRank& low = target.low;
    if (low.scale != scale) {
      return Unsupported(fmt::format("{}: expected one alpha / rank in all modules, as NeMo has it, found {} and {}",
                                     target.name, scale, low.scale));
    }
    is_filled = is_filled || low.rank() != rank;
    const uint64_t missing = rank - low.rank();
    ANEMONE_ASSIGN(low.in, low.in.Pad(0, 0, missing));
    ANEMONE_ASSIGN(low.out, low.out.Pad(1, 0, missing));
  }
  if (is_filled) notes->push_back(fmt::format("matrices of a lower rank are filled up with zeros to {}", rank));
  const LowRank& first = targets->front().low;
  const bool is_kept = first.alpha / static_cast<double>(rank) == scale;
  return std::pair{rank, is_kept ? first.alpha : scale * static_cast<double>(rank)};
}

const NemoAdapter* AdapterOf(std::string_view weight) {
  const std::string_view module = WithoutWeight(weight);
  const auto* found = std::ranges::find_if(kNemoAdapters, [&](const NemoAdapter& row) {
    return !row.mcore.empty() && module.ends_with(fmt::format(".{}", row.mcore));
  });
  return found == kNemoAdapters.end() ? nullptr : found;
}

ConfigNode Nemo1Peft(uint64_t rank, double alpha, double dropout, const std::set<std::string>& modules) {
  ConfigNode peft = ParseWord(
      "{peft_scheme: lora, restore_from_path: null, lora_tuning: {variant: nemo, target_modules: [], adapter_dim: 0, "
      "alpha: 0, adapter_dropout: 0.0, column_init_method: xavier, row_init_method: zero, layer_selection: null, "
      "weight_tying: false, position_embedding_strategy: null}}");
  ConfigNode& tuning = peft["lora_tuning"];
  tuning["target_modules"] = Texts(modules);
  tuning["adapter_dim"] = ConfigNode::Int(static_cast<int64_t>(rank));
  tuning["alpha"] = NumberWord(alpha);
  tuning["adapter_dropout"] = ConfigNode::Float(dropout);
  return peft;
}

ConfigNode Nemo2Transform(uint64_t rank, double alpha, double dropout, const std::set<std::string>& modules) {
  ConfigNode lora = ConfigNode::Map();
  lora["_target_"] = TextNode("nemo.collections.llm.peft.lora.LoRA");
  lora["target_modules"] = Texts(modules);
  lora["dim"] = ConfigNode::Int(static_cast<int64_t>(rank));
  lora["alpha"] = NumberWord(alpha);
  lora["dropout"] = ConfigNode::Float(dropout);
  lora["dropout_position"] = TextNode("pre");
  lora["lora_A_init_method"] = TextNode("xavier");
  lora["lora_B_init_method"] = TextNode("zero");
  return lora;
}

}  // namespace

Result<AdaptedModel> AdaptedModelOf(const Config& nemo1, const Dialect* hf, const TranslateOptions& options) {
  AdaptedModel model{.family = &GptFamily(), .symbols = ModelSymbols(), .hf = hf};
  const Dialect& mcore = *model.family->FindDialect("mcore");
  Checkpoint skeleton;
  skeleton.shards.emplace_back();
  skeleton.config = nemo1;
  skeleton.config_name = "the model's config";
  const auto width = WordAt(nemo1.root(), "hidden_size").AsInt();
  if (!width || *width < 1) {
    return Unsupported("expected a decoder as the model that is adapted, found another (no hidden_size in its config)")
        .Use("lora", "FOLDER", "merge it while its base is converted");
  }
  ANEMONE_ASSIGN(Tensor row, Tensor::Fill(DType::kF32, {1, static_cast<uint64_t>(*width)}, 0));
  ANEMONE_TRY(skeleton.weights().Add("model.embedding.word_embeddings.weight", std::move(row)));
  ANEMONE_ASSIGN(model.symbols, model.family->SymbolsOf(skeleton, mcore, {}));
  if (hf != nullptr) return model;
  ANEMONE_ASSIGN(model.hf, DialectFor(skeleton, {model.family, &mcore}, ConfigLanguage::kHuggingFace, options));
  return model;
}

Result<Checkpoint> AdapterToPeft(const Adapter& adapter, const AdaptedModel& model, const std::string& base) {
  ANEMONE_ASSIGN(const Canonical canonical, CanonicalOf(adapter, model));
  ANEMONE_ASSIGN(const std::vector<Adapted> targets, Spelled(canonical, *model.hf, model));
  ANEMONE_ASSIGN(const std::set<std::string> all, ModulesOf(model));
  Checkpoint checkpoint;
  checkpoint.shards.emplace_back();
  std::set<std::string> adapted;
  bool is_transposed = false;
  const NameMatcher names(*model.hf);
  for (const Adapted& target : targets) {
    const std::string module(WithoutWeight(target.name));
    adapted.insert(module);
    const auto hit = names.Match(target.name);
    is_transposed = is_transposed || (hit && IsTransposed(names.row(hit->row)));
    ANEMONE_TRY(checkpoint.weights().Add(fmt::format("{}{}.lora_A.weight", kPeftPrefix, module), target.low.in));
    ANEMONE_TRY(checkpoint.weights().Add(fmt::format("{}{}.lora_B.weight", kPeftPrefix, module), target.low.out));
  }
  const std::set<std::string> target_modules = TargetModules(adapted, all);
  checkpoint.config = Config(PeftConfig(adapter, targets, target_modules, is_transposed, base));
  checkpoint.config_name = "adapter_config.json";
  return checkpoint;
}

Status AdapterToNemo(const Adapter& adapter, const AdaptedModel& model, const std::string& base,
                     Checkpoint* checkpoint) {
  const bool is_nemo2 = IsNemo2Config(checkpoint->config->root());
  ANEMONE_TRY(CheckIsOfLayers(adapter));
  ANEMONE_ASSIGN(const Canonical canonical, CanonicalOf(adapter, model));
  ANEMONE_ASSIGN(std::vector<Adapted> targets, Spelled(canonical, *model.family->FindDialect("mcore"), model));
  ANEMONE_TRY(FillLayers(model, &targets, &checkpoint->notes));
  ANEMONE_ASSIGN(const auto uniform, MakeUniform(&targets, &checkpoint->notes));
  const auto& [rank, alpha] = uniform;
  checkpoint->shards.assign(1, Shard{});
  std::set<std::string> modules;
  for (const Adapted& target : targets) {
    const NemoAdapter* row = AdapterOf(target.name);
    if (row == nullptr || (!is_nemo2 && target.name.find(".experts.") != std::string::npos))
      return Unsupported(fmt::format("{}: expected a module that NeMo adapts, found another", target.name));
    modules.emplace(is_nemo2 ? row->mcore : row->target);
    const std::string_view module = WithoutWeight(target.name);
    const std::string prefix =
        is_nemo2 ? fmt::format("model.{}.adapter", module)
                 : fmt::format("model.{}.adapter_layer.{}", module.substr(0, module.rfind('.')), row->name);
    for (const auto& [matrix, tensor] : {std::pair{"linear_in", &target.low.in}, {"linear_out", &target.low.out}}) {
      ANEMONE_TRY(checkpoint->weights().Add(fmt::format("{}.{}.weight", prefix, matrix), *tensor));
      if (is_nemo2) ANEMONE_TRY(checkpoint->weights().Add(fmt::format("{}.{}._extra_state", prefix, matrix), Opaque{}));
    }
  }
  ConfigNode& root = checkpoint->config->root();
  if (!is_nemo2) {
    root["peft"] = Nemo1Peft(rank, alpha, adapter.dropout, modules);
    root["target"] =
        TextNode("nemo.collections.nlp.models.language_modeling.megatron_gpt_sft_model.MegatronGPTSFTModel");
    return {};
  }
  root["model_transform"] = Nemo2Transform(rank, alpha, adapter.dropout, modules);
  ConfigNode metadata = ConfigNode::Map();
  metadata["model_ckpt_path"] = TextNode(base);
  constexpr const char* kMetadata = "weights/adapter_metadata.json";
  checkpoint->artifacts.push_back({kMetadata, Whole(MemorySource(Config(metadata).ToJson(-1), kMetadata))});
  return {};
}

}  // namespace anemone
