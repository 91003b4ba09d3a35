#include "family/gpt/mtp.h"

#include <algorithm>
#include <string>
#include <utility>

#include "family/families.h"

namespace anemone {
namespace {

using C = CanonicalRow;
using R = StoredRow;

constexpr std::string_view kTower = "mtp", kStored = "mtp.layers.{i}";

// Legacy Megatron has no such layers.
LayerParts OfMcore(LayerParts parts) {
  parts.legacy = false;
  return parts;
}

std::string InMtp(std::string_view name) { return std::string(kTower) + "." + std::string(name); }

R Row(std::string_view name, std::string_view canonical, Split split = Split::kReplicated) {
  R row{.name = std::string(kStored) + "." + std::string(name),
        .canonical = std::string(kStored) + "." + std::string(canonical),
        .split = split,
        .stage = Stage::kLayer};
  row.tower = kTower;
  return row;
}

std::vector<R> Norm(std::string_view name, std::string_view canonical) {
  const std::string stored(name), ours(canonical);
  R state = StateRow(std::string(kStored) + "." + stored + "._extra_state", kReadOnly);
  state.tower = kTower;
  return {Row(stored + ".weight", ours + ".weight"), Row(stored + ".bias", ours + ".bias"), std::move(state)};
}

}  // namespace

std::vector<Symbol> MtpSymbols(const LayerParts& parts) { return LayerSymbols(kTower, OfMcore(parts)); }

std::vector<C> MtpCanonical(const LayerParts& parts) {
  const auto norm = [](std::string_view name) {
    return std::vector<C>{{InMtp("layers.{i}.") + std::string(name) + ".weight", "mtp.width", "", ""},
                          {InMtp("layers.{i}.") + std::string(name) + ".bias", "mtp.width", "mtp.norm_bias", ""}};
  };
  std::vector<C> rows = Join<C>({norm("embedding_norm"),
                                 norm("hidden_norm"),
                                 {{InMtp("layers.{i}.join.weight"), "mtp.width, 2*mtp.width", "", ""}},
                                 CanonicalLayer(kTower, parts),
                                 norm("final_norm")});
  for (C& row : rows) {
    row.tower = kTower;
    row.when = Both(row.when, kMtpLayers);
  }
  return rows;
}

std::vector<R> McoreMtp(const LayerParts& parts) {
  R state = StateRow(std::string(kStored) + ".eh_proj._extra_state");
  state.tower = kTower;
  return Join<R>({Norm("enorm", "embedding_norm"),
                  Norm("hnorm", "hidden_norm"),
                  {Row("eh_proj.weight", "join.weight", Split::kColumns), std::move(state)},
                  McoreLayer(kTower, std::string(kStored) + ".transformer_layer", parts),
                  Norm("final_layernorm", "final_norm")});
}

std::vector<R> HfMtp(std::vector<R> layer) {
  constexpr std::string_view kLayer = "model.layers.{i}.";
  const auto row = [&](std::string_view name, std::string_view canonical) {
    return R{.name = std::string(kLayer) + std::string(name), .canonical = "layers.{i}." + std::string(canonical)};
  };
  const auto norm = [&](const std::string& name, const std::string& canonical) {
    return std::vector<R>{row(name + ".weight", canonical + ".weight"), row(name + ".bias", canonical + ".bias")};
  };
  std::vector<R> rows = Join<R>({norm("enorm", "embedding_norm"),
                                 norm("hnorm", "hidden_norm"),
                                 {row("eh_proj.weight", "join.weight")},
                                 std::move(layer),
                                 norm("shared_head.norm", "final_norm")});
  for (R& own : rows) {
    if (!own.canonical.empty()) own.canonical = InMtp(own.canonical);
  }
  const auto copy = [&](std::string_view name, std::string_view of, std::string_view only) {
    R same{.name = std::string(kLayer) + std::string(name), .canonical = std::string(of), .role = Role::kCopy};
    same.why = "it is stored under another name";
    same.only = only;
    return same;
  };
  rows.push_back(copy("embed_tokens.weight", "token_embedding.weight", ""));
  rows.push_back(copy("shared_head.head.weight", "output.weight", "!tied"));
  rows.push_back(copy("shared_head.head.weight", "token_embedding.weight", "tied"));
  for (R& own : rows) {
    own.tower = kTower;
    own.first_layer = "layers";
    own.only = Both(own.only, kMtpLayers);
  }
  return rows;
}

Status SetMtpSymbols(const ConfigNode& model, const LayerParts& parts, ModelSymbols* symbols) {
  const ConfigNode* said = model.Get("mtp_num_layers");
  const bool is_none = said == nullptr || said->is_null() || said->AsInt() == 0;
  ANEMONE_ASSIGN(const uint64_t count, is_none ? Result<uint64_t>(0) : SizeOf(model, "mtp_num_layers"));
  ANEMONE_ASSIGN(const uint64_t layers, symbols->Get("layers"));
  constexpr uint64_t kMost = 100'000;  // more are refused elsewhere
  for (const Symbol& symbol : LayerSymbols("", OfMcore(parts))) {
    if (symbol.kind == Symbol::Kind::kLayerFlag) {
      // [core_v0.16.1 gpt_layer_specs.py, get_gpt_mtp_block_spec_for_backend]
      ANEMONE_ASSIGN(const bool last, layers == 0 ? Result<bool>(false) : symbols->Holds(symbol.name, layers - 1));
      symbols->SetLayers(InMtp(symbol.name), std::vector<bool>(std::min(count, kMost), last));
    } else {
      ANEMONE_ASSIGN(const uint64_t value, symbols->Get(symbol.name));
      symbols->Set(InMtp(symbol.name), value);
    }
  }
  symbols->Set(kMtpLayers, count);
  return {};
}

void LeaveAbsentMtp(const Checkpoint& checkpoint, ConfigNode* model) {
  if (model->Get("mtp_num_layers") == nullptr || HasName(checkpoint, ".eh_proj.")) return;
  for (const char* key : {"mtp_num_layers", "mtp_loss_scaling_factor"}) model->Erase(key);
}

}  // namespace anemone
