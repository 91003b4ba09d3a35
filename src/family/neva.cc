// NeVA (LLaVA, VILA): a GPT whose word embedding sees. The image tower, a Hugging Face CLIP or SigLIP, and the
// projector hang below the embedding, so they lie on the first stage only, whole on every tensor rank. What is frozen
// is not stored.
//
// Facts: NeMo v2.0.0 neva_model.py (NevaWordEmbeddingMixin, MegatronNevaModel.state_dict), parallel_adapters.py
// (MultimodalProjectorAdapter). There are no files that NeMo wrote among the golden ones.
#include <algorithm>

#include <fmt/format.h>

#include "family/families.h"
#include "family/gpt.h"
#include "family/megatron_layer.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr std::string_view kTower = "vision", kHfTower = "vision_model.";
// Where a Linear or LayerNorm stands in the projector: alone ("linear"), or in a Sequential ("mlp2x_gelu" has 0 and 2,
// "mlp_downsample" a LayerNorm at 1, and 2 and 4).
constexpr std::string_view kProjections[] = {"", "0.", "1.", "2.", "4.", "6."};

bool IsOf(const R& row) { return row.tower == kTower && row.name.starts_with(kHfTower); }

// The image tower's rows of both families, in the order of their modules. A row of one that the other lacks stands
// behind the row it follows there.
std::vector<R> VisionRows() {
  std::vector<R> rows;
  for (const Family* family : {&ClipFamily(), &SiglipFamily()}) {
    size_t next = 0;
    for (const R& row : family->FindDialect("hf")->rows) {
      if (!IsOf(row)) continue;
      const auto known = std::find_if(rows.begin(), rows.end(), [&](const R& other) { return other.name == row.name; });
      if (known != rows.end()) {
        next = static_cast<size_t>(known - rows.begin()) + 1;
      } else {
        rows.insert(rows.begin() + static_cast<ptrdiff_t>(next++), row);
      }
    }
  }
  return rows;
}

// A tower and a projector have what is stored of them: the flags are the canonical names.
std::vector<C> Seeing() {
  std::vector<C> rows;
  for (const Family* family : {&ClipFamily(), &SiglipFamily()}) {
    for (C row : family->canonical) {
      const bool known = std::any_of(rows.begin(), rows.end(), [&](const C& other) { return other.name == row.name; });
      if (known || row.tower != kTower || row.name.starts_with("vision.projection.")) continue;
      if (row.name.find("{i}") == std::string::npos) row.when = row.name;
      rows.push_back(row);
    }
  }
  for (const std::string_view at : kProjections) {
    const std::string name = fmt::format("projector.{}", at);
    const std::string weight = name + "weight", bias = name + "bias";
    rows.push_back({weight, at == "1." ? name + "rows" : fmt::format("{0}rows, {0}columns", name), weight, ""});
    rows.push_back({bias, name + "rows", bias, ""});
  }
  return rows;
}

Dialect WithSight(Dialect gpt, std::string_view title, std::string_view embedding) {
  gpt.title = title;
  std::vector<R> sight;
  for (R row : VisionRows()) {
    row.name = fmt::format("{}.vision_encoder.{}", embedding, row.name);
    row.stage = Stage::kFirst;
    sight.push_back(row);
  }
  for (const C& row : Seeing()) {
    if (!row.name.starts_with("projector.")) continue;
    sight.push_back({.name = fmt::format("{}.adapter_layer.mm_projector_adapter.mm_projector.{}", embedding,
                                         row.name.substr(std::string_view("projector.").size())),
                     .canonical = row.name,
                     .stage = Stage::kFirst});
  }
  // Modules of the word embedding, which is the first of all.
  gpt.rows.insert(gpt.rows.begin() + 1, sight.begin(), sight.end());
  return gpt;
}

// Sizes of what sees, from the stored shapes: NeVA's config names the tower and says little of it.
void SetSight(const Checkpoint& checkpoint, const Dialect& dialect, ModelSymbols* symbols) {
  const NameMatcher matcher(dialect);
  uint64_t layers = 0, language = 0;
  const auto set = [&](const std::string& canonical, const Shape& shape) {
    symbols->Set(canonical, 1);
    const std::string at = canonical.substr(0, canonical.rfind('.') + 1);
    if (at.starts_with("projector.")) symbols->Set(at + "rows", shape[0]);
    if (at.starts_with("projector.") && shape.size() == 2) symbols->Set(at + "columns", shape[1]);
    if (canonical == "vision.patch_embedding.weight" && shape.size() == 4) {
      symbols->Set("vision.width", shape[0]);
      symbols->Set("channels", shape[1]);
      symbols->Set("patch", shape[2]);
    }
    if (canonical == "vision.position_embedding.weight") symbols->Set("vision.positions", shape[0]);
    if (canonical == "vision.layers.{i}.mlp.up.weight") {
      symbols->Set("vision.ffn", shape[0]);
      symbols->Set("vision.up_rows", shape[0]);
    }
  };
  ForEachDict(checkpoint, [&](const StateDict& dict) {
    const std::string prefix = matcher.BestPrefix(dict).prefix;
    for (const StateDict::Item& item : dict.items()) {
      const std::string_view name = item.name;
      const auto hit = name.starts_with(prefix) ? matcher.Match(name.substr(prefix.size())) : std::nullopt;
      if (!hit || item.tensor() == nullptr || item.tensor()->shape().empty()) continue;
      const R& row = matcher.row(hit->row);
      const bool sees = row.tower == kTower || row.canonical.starts_with("projector.");
      if (!sees) language += hit->captures.layer.has_value();
      if (sees && !row.canonical.empty()) set(row.canonical, item.tensor()->shape());
      if (sees && hit->captures.layer) layers = std::max(layers, *hit->captures.layer + 1);
    }
  });
  symbols->Set("vision.layers", layers);
  if (language == 0) symbols->Set("layers", 0);
  const uint64_t width = symbols->Find("vision.width").value_or(0);
  symbols->Set("vision.heads", 1);
  symbols->Set("vision.head_dim", width);
  symbols->Set("vision.qkv_rows", 3 * width);
  for (const std::string_view flag : {"bias", "qkv_bias", "norm_bias"}) symbols->Set(fmt::format("vision.{}", flag), 1);
}

Result<ModelSymbols> NevaSymbols(const Checkpoint& checkpoint, const Dialect& dialect,
                                 const TranslateOptions& options) {
  ANEMONE_ASSIGN(ModelSymbols symbols, GptSymbols(checkpoint, dialect, options));
  SetSight(checkpoint, dialect, &symbols);
  return symbols;
}

Result<Target> NevaTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                          const TranslateOptions& options) {
  ANEMONE_ASSIGN(Target target, GptTarget(source, from, to, options));
  SetSight(source, from, &target.symbols);
  return target;
}

}  // namespace

const Family& NevaFamily() {
  static const Family family = {
      .name = "neva",
      .title = "NeVA",
      .canonical = Join<C>({GptCanonical(), Seeing()}),
      .dialects = {WithSight(GptMcore(), "NeMo NeVA, Megatron-core", "embedding.word_embeddings"),
                   WithSight(GptLegacy(), "NeMo NeVA, legacy Megatron", "language_model.embedding.word_embeddings")},
      .refusals = {{"vision_encoder.backbone.",
                    "a NeVA that sees with NeMo's own CLIP, whose config alone tells its "
                    "heads and how they lie"},
                   {"mlp.shared_experts.", "experts that all tokens share"}},
      .first_stage_towers = {std::string(kTower)},
      .has_virtual_stages = true,
      .read_symbols = NevaSymbols,
      .target = NevaTarget};
  return family;
}

}  // namespace anemone
