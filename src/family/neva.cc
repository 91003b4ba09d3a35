// NeVA (LLaVA, VILA): a GPT whose word-embedding module contains the image tower, a Hugging Face CLIP or SigLIP, and
// the projector. So these are on the first stage only, whole on every tensor rank. What is frozen is not stored.
//
// Facts: NeMo v2.0.0 neva_model.py (NevaWordEmbeddingMixin, MegatronNevaModel.state_dict), parallel_adapters.py
// (MultimodalProjectorAdapter). There are no files that NeMo wrote among the golden ones.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "family/families.h"
#include "family/gpt.h"
#include "family/mount.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr std::string_view kTower = "vision";
// Where a Linear or LayerNorm is in the projector: alone ("linear"), or in a Sequential ("mlp2x_gelu" has 0 and 2,
// "mlp_downsample" a LayerNorm at 1, and 2 and 4).
constexpr std::string_view kProjections[] = {"projector",   "projector.0", "projector.1",
                                             "projector.2", "projector.4", "projector.6"};
bool IsNorm(std::string_view place) { return place == "projector.1"; }

// Of CLIP, or of SigLIP where "vision.siglip" is set.
Mounted ImageTower(std::string_view names) {
  const MountPoint at = {
      .names = std::string(names), .stage = Stage::kFirst, .tower = std::string(kTower), .below = "vision_model."};
  return EitherOf(Mount(ClipFamily(), "hf", at), Mount(SiglipFamily(), "hf", at), "vision.siglip");
}

// {A}: its canonical name; {S}: its weight's shape; {P}: its name inside the word embedding.
std::vector<Words> Places(std::string_view embedding) {
  std::vector<Words> places;
  for (const std::string_view place : kProjections) {
    places.push_back({{"{S}", IsNorm(place) ? "{A}.rows" : "{A}.rows, {A}.columns"},
                      {"{A}", std::string(place)},
                      {"{P}", fmt::format("{}.adapter_layer.mm_projector_adapter.mm_{}", embedding, place)}});
  }
  return places;
}

std::vector<Symbol> Declared() {
  std::vector<Symbol> projector;
  for (const std::string_view place : kProjections) {
    projector.push_back(Symbol::Flag(place, IsNorm(place) ? "a norm is there" : "a linear layer is there"));
    projector.push_back(Symbol::Size(fmt::format("{}.rows", place), "of its weight"));
    if (!IsNorm(place)) projector.push_back(Symbol::Size(fmt::format("{}.columns", place), "of its weight"));
  }
  return Join<Symbol>({GptDeclared(),
                       ImageTower("").symbols,
                       {Symbol::Flag("vision.siglip", "the image tower is a SigLIP's")},
                       projector});
}

std::vector<C> Canonical() {
  return Join<C>(
      {GptCanonical(), ImageTower("").canonical,
       ForPlaces(Places(""), std::vector<C>{{"{A}.weight", "{S}", "{A}", ""}, {"{A}.bias", "{A}.rows", "{A}", ""}})});
}

// The rows inside the word embedding.
std::vector<R> Seeing(const std::string& embedding) {
  return Join<R>(
      {ImageTower(embedding + ".vision_encoder.").rows,
       ForPlaces(Places(embedding), std::vector<R>{
                                        {.name = "{P}.weight", .canonical = "{A}.weight", .stage = Stage::kFirst},
                                        {.name = "{P}.bias", .canonical = "{A}.bias", .stage = Stage::kFirst},
                                    })});
}

Dialect Titled(Dialect dialect, std::string_view title) {
  dialect.title = title;
  return dialect;
}

// What of the tower and the projector is stored, and its shapes: NeVA's config names the tower and says little of it.
struct Stored {
  std::map<std::string, Shape> shapes;  // by canonical row
  uint64_t layers = 0;
  bool has_language = false;

  bool Has(const std::string& row) const { return shapes.contains(row); }
  uint64_t Axis(const std::string& row, size_t axis) const {
    const auto it = shapes.find(row);
    return it == shapes.end() || it->second.size() <= axis ? 0 : it->second[axis];
  }
};

Stored StoredBesidesLanguage(const Checkpoint& checkpoint, const Dialect& dialect) {
  Stored stored;
  const NameMatcher matcher(dialect);
  ForEachDict(checkpoint, [&](const StateDict& dict) {
    const std::string prefix = matcher.BestPrefix(dict).prefix;
    for (const StateDict::Item& item : dict.items()) {
      const auto hit = matcher.Match(item.name, prefix);
      if (!hit || item.tensor() == nullptr || item.tensor()->shape().empty()) continue;
      const R& row = matcher.row(hit->row);
      if (row.tower != kTower && !row.canonical.starts_with("projector.")) {
        stored.has_language |= hit->captures.layer.has_value();
        continue;
      }
      if (!row.canonical.empty()) stored.shapes.emplace(row.canonical, item.tensor()->shape());
      if (hit->captures.layer) stored.layers = std::max(stored.layers, *hit->captures.layer + 1);
    }
  });
  return stored;
}

Status SetVision(const Stored& stored, ModelSymbols* symbols) {
  const auto set = [&](std::string_view key, uint64_t value) { symbols->Set(InTower(kTower, key), value); };
  const uint64_t width = stored.Axis("vision.patch_embedding.weight", 0);
  const uint64_t ffn = stored.Axis("vision.layers.{i}.mlp.up.weight", 0);
  symbols->Set(kTower, std::any_of(stored.shapes.begin(), stored.shapes.end(),
                                   [](const auto& entry) { return entry.first.starts_with("vision."); }));
  set("siglip", stored.Has("vision.patch_embedding.bias"));
  set("head", stored.Has("vision.head.probe"));
  set("layers", stored.layers);
  set("width", width);
  set("ffn", ffn);
  set("up_rows", ffn);
  // Nothing says how many heads there are, and nothing asks: Hugging Face keeps q, k and v apart.
  set("heads", 1);
  set("head_dim", width);
  ANEMONE_ASSIGN(const uint64_t qkv_rows, symbols->Compute("3*vision.width"));
  set("qkv_rows", qkv_rows);
  set("positions", stored.Axis("vision.position_embedding.weight", 0));
  symbols->Set("channels", stored.Axis("vision.patch_embedding.weight", 1));
  symbols->Set("patch", stored.Axis("vision.patch_embedding.weight", 2));
  for (const std::string_view flag : {"bias", "qkv_bias", "norm_bias"}) set(flag, 1);
  return {};
}

void SetProjector(const Stored& stored, ModelSymbols* symbols) {
  for (const std::string_view place : kProjections) {
    const std::string weight = fmt::format("{}.weight", place);
    symbols->Set(place, stored.Has(weight) || stored.Has(fmt::format("{}.bias", place)));
    symbols->Set(fmt::format("{}.rows", place), stored.Axis(weight, 0));
    if (!IsNorm(place)) symbols->Set(fmt::format("{}.columns", place), stored.Axis(weight, 1));
  }
}

Status ReadNevaSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                       ModelSymbols* symbols) {
  ANEMONE_TRY(ReadGptSymbols(checkpoint, dialect, options, symbols));
  const Stored stored = StoredBesidesLanguage(checkpoint, dialect);
  if (!stored.has_language) symbols->Set("layers", 0);
  SetProjector(stored, symbols);
  return SetVision(stored, symbols);
}

}  // namespace

const Family& NevaFamily() {
  static const Family family = {
      .name = "neva",
      .title = "NeVA",
      .symbols = Declared(),
      .canonical = Canonical(),
      .dialects = {Titled(GptMcore(Seeing("embedding.word_embeddings")), "NeMo NeVA, Megatron-core"),
                   Titled(GptLegacy(Seeing("language_model.embedding.word_embeddings")), "NeMo NeVA, legacy Megatron")},
      .refusals = {{"vision_encoder.backbone.",
                    "a NeVA that sees with NeMo's own CLIP, whose config alone tells its "
                    "heads and how they lie"},
                   {"mlp.shared_experts.", "experts that all tokens share"}},
      .first_stage_towers = {std::string(kTower)},
      .has_virtual_stages = true,
      .read_symbols = ReadNevaSymbols,
      .target = GptTarget};
  return family;
}

}  // namespace anemone
