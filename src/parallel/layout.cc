#include "parallel/layout.h"

#include <algorithm>

#include <fmt/format.h>

namespace anemone {
namespace {

constexpr std::string_view kSplitRank = "pipeline_model_parallel_split_rank";

uint64_t SizeIn(const ConfigNode* node, std::string_view key) {
  const ConfigNode* child = node == nullptr ? nullptr : node->Get(key);
  return child == nullptr ? 0 : static_cast<uint64_t>(std::max<int64_t>(0, child->AsInt().value_or(0)));
}

std::string Divisors(uint64_t n) {
  std::string text;
  for (uint64_t d = 1; d <= n && d <= 64; ++d) {
    if (n % d == 0) text += fmt::format("{}{}", text.empty() ? "" : ", ", d);
  }
  return text;
}

// The stage on which towers that follow each other change, by the config, or half of them as NeMo has it.
int SplitRankOf(const Layout& layout, const Config* config) {
  const uint64_t said = SizeIn(config == nullptr ? nullptr : &config->root(), kSplitRank);
  return said > 0 && said < static_cast<uint64_t>(layout.pp) ? static_cast<int>(said) : layout.pp / 2;
}

}  // namespace

Result<std::vector<LayerRange>> DivideLayers(uint64_t layers, const Layout& layout, const ConfigNode* tower_config,
                                             const std::string& tower) {
  const std::string name = tower.empty() ? "the model" : fmt::format("the {} tower", tower);
  const uint64_t pieces = static_cast<uint64_t>(layout.pp) * static_cast<uint64_t>(layout.vp);
  std::vector<uint64_t> counts(pieces, 0);
  const uint64_t first = SizeIn(tower_config, "first_pipeline_num_layers");
  const uint64_t last = SizeIn(tower_config, "last_pipeline_num_layers");
  if (pieces > 1 && layout.vp == 1 && (first > 0 || last > 0)) {
    const uint64_t fixed = first + last, others = pieces - (first > 0 ? 1 : 0) - (last > 0 ? 1 : 0);
    const bool fits = fixed <= layers && (others == 0 ? fixed == layers : (layers - fixed) % others == 0);
    if (!fits) {
      return InvalidArgument(
          fmt::format("expected {} layers of {} to divide over {} stages with {} on the first and {} on the last",
                      layers, name, pieces, first, last));
    }
    for (uint64_t& count : counts) count = others == 0 ? 0 : (layers - fixed) / others;
    if (first > 0) counts.front() = first;
    if (last > 0) counts.back() = last;
  } else {
    if (layers % pieces != 0) {
      return InvalidArgument(
          fmt::format("expected a pipeline that divides the {} layers of {}, found {} stages", layers, name, pieces),
          fmt::format("{} would do", Divisors(layers)));
    }
    for (uint64_t& count : counts) count = layers / pieces;
  }
  std::vector<LayerRange> ranges;
  uint64_t begin = 0;
  for (const uint64_t count : counts) {
    ranges.push_back({begin, begin + count});
    begin += count;
  }
  return ranges;
}

Result<PipelineRanges> DividePipeline(const ResolvedModel& model, const Layout& layout, const Config* config) {
  PipelineRanges ranges;
  const auto& order = model.family->tower_order;
  const size_t pieces = static_cast<size_t>(layout.pp) * static_cast<size_t>(layout.vp);
  for (const std::string& tower : TowersOf(*model.dialect)) {
    ANEMONE_ASSIGN(const uint64_t layers, model.symbols.Of(tower, "layers"));
    const ConfigNode* node = config == nullptr ? nullptr : tower.empty() ? &config->root() : config->root().Get(tower);
    const auto is_among = [&](const std::vector<std::string>& towers) {
      return std::find(towers.begin(), towers.end(), tower) != towers.end();
    };
    if (is_among(model.family->first_stage_towers)) {
      ranges[tower].assign(pieces, {layers, layers});
      ranges[tower].front() = {0, layers};
      continue;
    }
    if (is_among(model.family->last_stage_towers)) {
      ranges[tower].assign(pieces, {0, 0});
      ranges[tower].back() = {0, layers};
      continue;
    }
    const auto place = std::find(order.begin(), order.end(), tower);
    if (place == order.end() || layout.pp == 1) {
      ANEMONE_ASSIGN(ranges[tower], DivideLayers(layers, layout, node, tower));
      continue;
    }
    const int split = SplitRankOf(layout, config);
    const bool is_first = place == order.begin();
    ANEMONE_ASSIGN(const std::vector<LayerRange> own,
                   DivideLayers(layers, {.pp = is_first ? split : layout.pp - split}, node, tower));
    std::vector<LayerRange> all(pieces);
    std::copy(own.begin(), own.end(), all.begin() + (is_first ? 0 : split));
    ranges[tower] = std::move(all);
  }
  return ranges;
}

Span SpanOf(const PipelineRanges& ranges, const std::string& tower, size_t pieces) {
  Span span{0, pieces - 1};
  const auto it = ranges.find(tower);
  if (it == ranges.end()) return span;
  const auto holds = [](const LayerRange& range) { return range.size() > 0; };
  if (std::none_of(it->second.begin(), it->second.end(), holds)) return span;  // a tower that is not stored
  while (span.first < span.last && it->second[span.first].size() == 0) ++span.first;
  while (span.last > span.first && it->second[span.last].size() == 0) --span.last;
  return span;
}

size_t NumRanks(const Layout& layout) {
  return static_cast<size_t>(layout.tp) * static_cast<size_t>(layout.ep) * static_cast<size_t>(layout.pp);
}

size_t ShardIndex(const Layout& layout, PipelinePlace place, int tp_rank) {
  return (static_cast<size_t>(place.stage) * static_cast<size_t>(layout.ep) + static_cast<size_t>(place.expert)) *
             static_cast<size_t>(layout.tp) +
         static_cast<size_t>(tp_rank);
}

std::vector<std::string> TowersOf(const Dialect& dialect) {
  std::vector<std::string> towers;
  for (const StoredRow& row : dialect.rows) {
    if (row.name.find("{i}") != std::string::npos &&
        std::find(towers.begin(), towers.end(), row.tower) == towers.end()) {
      towers.push_back(row.tower);
    }
  }
  return towers;
}

Result<size_t> Sections(const StoredRow& row, const ModelSymbols& symbols) {
  const auto either = [&](std::string_view key, size_t if_set) -> Result<size_t> {
    ANEMONE_ASSIGN(const bool is_set, symbols.Holds(InTower(row.tower, key)));
    return is_set ? if_set : 1;
  };
  switch (row.split) {
    case Split::kReplicated:
      return size_t{0};
    case Split::kColumns:
    case Split::kRows:
    case Split::kVocab:
    case Split::kExpertRows:
      return size_t{1};
    case Split::kQkv:
      return either("qkv_stacked", 3);
    case Split::kKeyValue:
      return either("qkv_stacked", 2);
    case Split::kGlu:
    case Split::kExpertColumns:
      return either("glu", 2);
  }
  return size_t{0};
}

size_t AxisOf(Split split) {
  if (split == Split::kExpertColumns) return 2;
  return split == Split::kRows || split == Split::kExpertRows ? 1 : 0;
}

Result<Shape> SliceShape(const StoredRow& row, const ModelSymbols& symbols, const Layout& layout, const Shape& whole) {
  Shape slice = whole;
  ANEMONE_ASSIGN(const size_t sections, Sections(row, symbols));
  if (HoldsExperts(row.split)) {
    slice[row.split == Split::kExpertColumns ? 1 : 0] /=
        static_cast<uint64_t>(layout.tp) * static_cast<uint64_t>(layout.ep);
  } else if (sections > 0) {
    slice[AxisOf(row.split)] /= static_cast<uint64_t>(layout.tp);
  }
  return slice;
}

Result<uint64_t> NumExperts(const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const std::optional<uint64_t> experts, symbols.Find("", "experts"));
  return experts.value_or(0);
}

Status SetLayout(const Layout& layout, Config* config) {
  ConfigNode* model = config->root().Get("config");
  const bool is_nemo2 = model != nullptr && model->is_map() && config->root().Get("_target_") != nullptr;
  ConfigNode& root = is_nemo2 ? *model : config->root();
  root["tensor_model_parallel_size"] = ConfigNode::Int(layout.tp);
  root["pipeline_model_parallel_size"] = ConfigNode::Int(layout.pp);
  if (layout.vp > 1) {
    root["virtual_pipeline_model_parallel_size"] = ConfigNode::Int(layout.vp);
  } else if (ConfigNode* node = root.Get("virtual_pipeline_model_parallel_size")) {
    *node = ConfigNode::Null();
  }
  if (layout.ep > 1 || root.Get("expert_model_parallel_size") != nullptr) {
    root["expert_model_parallel_size"] = ConfigNode::Int(layout.ep);
  }
  std::vector<ConfigNode*> places = {&root};
  for (const std::string_view tower : {"vision", "text"}) {
    if (ConfigNode* node = root.Get(tower); node != nullptr && node->is_map()) places.push_back(node);
  }
  for (ConfigNode* place : places) {
    if (ConfigNode* sequence = place->Get("sequence_parallel"); sequence != nullptr && layout.tp == 1)
      *sequence = ConfigNode::Bool(false);
    if (layout.pp == 1) {
      place->Erase("first_pipeline_num_layers");
      place->Erase("last_pipeline_num_layers");
    }
  }
  return {};
}

void SetSplitRank(const Layout& layout, Config* config) {
  if (layout.pp > 1) {
    config->root()[std::string(kSplitRank)] = ConfigNode::Int(SplitRankOf(layout, config));
  } else if (ConfigNode* node = config->root().Get(kSplitRank)) {
    *node = ConfigNode::Int(0);
  }
}

}  // namespace anemone
