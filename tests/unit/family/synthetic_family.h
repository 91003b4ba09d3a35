// A family that needs all that the schema can say: parts of unequal size, experts with words, layers of two kinds,
// named places, a tensor that is made, a copy that is left out, a mounted tower, a transform of its own.
#ifndef ANEMONE_TESTS_UNIT_FAMILY_SYNTHETIC_FAMILY_H_
#define ANEMONE_TESTS_UNIT_FAMILY_SYNTHETIC_FAMILY_H_

#include "family/mount.h"

namespace anemone::testing {

// Two halves of axis 0, the other way round.
inline Result<Tensor> SwapHalves(const Tensor& tensor) {
  const uint64_t half = tensor.shape()[0] / 2;
  ANEMONE_ASSIGN(Tensor first, tensor.Narrow(0, 0, half));
  ANEMONE_ASSIGN(Tensor second, tensor.Narrow(0, half, half));
  return Tensor::Concat({std::move(second), std::move(first)}, 0);
}
inline const Transform kSwapHalves = {
    "halves swapped", [](const Parts& parts, const Shape&, const TransformContext&) { return SwapHalves(parts[0]); },
    [](const Tensor& tensor, const std::vector<Shape>&, const TransformContext&) -> Result<Parts> {
      ANEMONE_ASSIGN(Tensor swapped, SwapHalves(tensor));
      return Parts{std::move(swapped)};
    },
    SameShape};

// An image tower, to be mounted.
inline const Family& SyntheticTower() {
  static const Family family = {
      .name = "tower",
      .title = "Tower",
      .symbols = {Symbol::Size("eye.layers", "layers"), Symbol::Size("eye.width", "of a vector"),
                  Symbol::Size("pixels", "of an image"), Symbol::Flag("unused", "of what is not mounted")},
      .canonical = Join<CanonicalRow>(
          {ForTower("eye", std::vector<CanonicalRow>{{"{T}.patches.weight", "{T}.width, pixels", "", ""},
                                                     {"{T}.layers.{i}.mlp.weight", "{T}.width, {T}.width", "", ""}}),
           {{"logit_scale", "", "unused", ""}}}),
      .dialects = {{"hf",
                    "Tower",
                    {""},
                    Join<StoredRow>(
                        {ForTower("eye",
                                  std::vector<StoredRow>{
                                      {.name = "eye_model.patches", .canonical = "{T}.patches.weight"},
                                      {.name = "eye_model.h.{i}.mlp", .canonical = "{T}.layers.{i}.mlp.weight"},
                                  }),
                         {{.name = "logit_scale", .canonical = "logit_scale"}}})}},
      .refusals = {}};
  return family;
}

inline std::vector<Words> SyntheticPlaces() {
  return {{{"{C}", "down.0.conv"}, {"{P}", "down_blocks.0.resnets.0"}},
          {{"{C}", "down.1.conv"}, {"{P}", "down_blocks.1.resnets.0"}},
          {{"{C}", "middle.conv"}, {"{P}", "mid_block"}}};
}

inline Dialect SyntheticHf(const Mounted& eye) {
  return {"hf",
          "Synthetic, Hugging Face",
          {"model.", ""},
          Join<StoredRow>({
              {{.name = "embed.weight", .canonical = "embedding.weight"}},
              {
                  {.name = "layers.{i}.{q,k,v}_proj.weight",
                   .canonical = "layers.{i}.qkv.weight",
                   .transform = &kStack,
                   .parts = "heads*head_dim | groups*head_dim | groups*head_dim"},
                  {.name = "layers.{i}.{gate,up}.weight",
                   .canonical = "layers.{i}.up.weight",
                   .transform = &kStack,
                   .when = "dense"},
                  {.name = "layers.{i}.experts.{e}.{w1,w3}.weight",
                   .canonical = "layers.{i}.experts.up.weight",
                   .transform = &kStack,
                   .when = "!dense"},
              },
              ForPlaces(SyntheticPlaces(), std::vector<StoredRow>{{.name = "{P}.weight", .canonical = "{C}.weight"}}),
              eye.rows,
              {
                  {.name = "newline", .canonical = "newline"},
                  {.name = "head.weight", .canonical = "output.weight", .transform = &kSwapHalves, .only = "!tied"},
                  {.name = "head.weight",
                   .canonical = "embedding.weight",
                   .role = Role::kDropCopy,
                   .why = "it is the embedding",
                   .only = "tied"},
              },
          })};
}

inline Dialect SyntheticFused(const Mounted& eye) {
  return {"fused",
          "Synthetic, fused",
          {""},
          Join<StoredRow>({
              {{.name = "word.weight", .canonical = "embedding.weight"}},
              {
                  {.name = "h.{i}.qkv.weight", .canonical = "layers.{i}.qkv.weight", .transform = &kInterleave},
                  {.name = "h.{i}.fc.weight", .canonical = "layers.{i}.up.weight"},
                  {.name = "h.{i}.moe.weight",
                   .canonical = "layers.{i}.experts.up.weight",
                   .transform = &kReshape,
                   .shape = "experts, 2*ffn, width"},
              },
              eye.rows,
              ForPlaces(SyntheticPlaces(), std::vector<StoredRow>{{.name = "{C}", .canonical = "{C}.weight"}}),
              {{.name = "out.weight", .canonical = "output.weight"}},
          })};
}

inline const Family& SyntheticFamily() {
  static const Mounted eye = Mount(SyntheticTower(), "hf",
                                   {.names = "vision_tower.", .tower = "eye", .below = "eye_model.", .as = "left_eye"});
  static const Family family = {
      .name = "synthetic",
      .title = "Synthetic",
      .symbols = Join<Symbol>({{
                                   Symbol::Size("layers", "layers"),
                                   Symbol::Size("width", "of a vector"),
                                   Symbol::Size("heads", "of attention"),
                                   Symbol::Size("groups", "of queries"),
                                   Symbol::Size("head_dim", "of a head"),
                                   Symbol::Size("ffn", "of an MLP"),
                                   Symbol::Size("experts", "of a layer that is not dense"),
                                   Symbol::Size("vocab", "tokens"),
                                   Symbol::LayerFlag("dense", "an MLP, not experts"),
                                   Symbol::Flag("tied", "the output is the embedding"),
                               },
                               eye.symbols}),
      .canonical = Join<CanonicalRow>({
          {
              {"embedding.weight", "vocab, width", "", ""},
              {"layers.{i}.qkv.weight", "(heads+2*groups)*head_dim, width", "", ""},
              {"layers.{i}.up.weight", "2*ffn, width", "dense", ""},
              {"layers.{i}.experts.up.weight", "experts*2*ffn, width", "!dense", ""},
          },
          ForPlaces(SyntheticPlaces(), std::vector<CanonicalRow>{{"{C}.weight", "width", "", ""}}),
          eye.canonical,
          {
              {.name = "newline",
               .shape = "width",
               .made = 0,
               .why = "models without one end an image row with nothing"},
              {"output.weight", "vocab, width", "!tied", ""},
          },
      }),
      .dialects = {SyntheticHf(eye), SyntheticFused(eye)},
      .refusals = {}};
  return family;
}

// Three layers, the second of experts.
inline ModelSymbols SyntheticSymbols(bool tied) {
  ModelSymbols symbols(SyntheticFamily().symbols);
  for (const auto& [name, value] : {std::pair<const char*, uint64_t>{"layers", 3},
                                    {"width", 4},
                                    {"heads", 4},
                                    {"groups", 2},
                                    {"head_dim", 2},
                                    {"ffn", 3},
                                    {"experts", 2},
                                    {"vocab", 6},
                                    {"left_eye.layers", 2},
                                    {"left_eye.width", 3},
                                    {"pixels", 5}}) {
    symbols.Set(name, value);
  }
  symbols.SetLayers("dense", {true, false, true});
  symbols.Set("tied", tied);
  return symbols;
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_FAMILY_SYNTHETIC_FAMILY_H_
