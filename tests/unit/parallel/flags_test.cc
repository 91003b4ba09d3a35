// Negative controls: a family that sets a flag wrongly is noticed. Each flag of each family is flipped on files that
// NeMo wrote, or transformers (of NeVA, and of experts, on models made from their tables); then something must fail or
// come out otherwise.
#include <functional>
#include <map>
#include <set>

#include <fmt/format.h>

#include "family/families.h"
#include "format/format.h"
#include "parallel/optimizer.h"
#include "parallel/reshard.h"
#include "synthetic.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;

struct Sample {
  std::string name;
  Checkpoint checkpoint;  // whole
  ModelIdentity identity;
  ModelSymbols symbols;
};

std::string Text(const StateDict& weights) {
  std::string text;
  for (const auto& item : weights.items()) {
    text += item.name;
    if (const Tensor* tensor = item.tensor()) {
      text += fmt::format(" {} {:x}", ToString(tensor->shape()), std::hash<std::string>()(*tensor->Read()));
    }
    text += "\n";
  }
  return text;
}
std::string Text(const Result<StateDict>& weights) {
  return weights.ok() ? Text(*weights) : weights.status().message() + "\n";
}
std::string Text(const Result<Checkpoint>& checkpoint) {
  if (!checkpoint.ok()) return checkpoint.status().message() + "\n";
  std::string text;
  for (const Shard& shard : checkpoint->shards) {
    text += Text(shard.weights);
    for (const StateDict& chunk : shard.chunks) text += Text(chunk);
  }
  for (const std::string& note : checkpoint->notes) text += note + "\n";
  return text;
}

// All that a model's symbols have a part in, as text.
std::string Observed(const Sample& sample, const ModelSymbols& symbols, const StateDict& canonical) {
  const Family& family = *sample.identity.family;
  const Dialect& dialect = *sample.identity.dialect;
  const auto model = ResolveModel(sample.checkpoint, sample.identity, symbols);
  if (!model.ok()) return model.status().message();
  std::string text = Text(Canonicalize(sample.checkpoint.weights(), dialect, family.canonical, symbols, true, nullptr));
  for (const Dialect& to : family.dialects)
    text += to.name + "\n" + Text(FromCanonical(canonical, to, family.canonical, symbols, true, nullptr));
  const auto rules = RulesOf(*model);
  if (!rules.ok()) return text + rules.status().message();
  for (const auto& [one, other] : rules->second_names) text += one + " " + other + "\n";
  for (const auto& [one, other] : rules->old_names) text += one + " " + other + "\n";
  if (!dialect.is_megatron) return text;
  for (const Layout& layout : {Layout{.tp = 2}, Layout{.pp = 2}}) {
    const auto split = SplitShards(*model, sample.checkpoint, layout);
    text += Text(split);
    if (split.ok()) text += Text(MergeShards(*model, *split));
  }
  return text;
}

Sample FromGolden(const std::string& name) {
  auto opened = OpenCheckpoint(Golden(name));
  EXPECT_THAT(opened, IsOk()) << name;
  auto identity = IdentifyModel(*opened);
  EXPECT_THAT(identity, IsOk()) << name;
  auto symbols = identity->family->SymbolsOf(*opened, *identity->dialect, {});
  EXPECT_THAT(symbols, IsOk()) << name;
  return {name, *std::move(opened), *identity, *std::move(symbols)};
}

struct Parts {
  bool siglip = false;
  bool experts = false;
  bool latent = false;    // attention
  bool nemo = false;      // the image tower is NeMo's own CLIP's
  std::string text = {};  // the flag of its text encoder: a Stable Diffusion
};
// A model made from its family's tables: a NeVA that sees with a CLIP or a SigLIP and has a projector of each form, a
// GPT with experts, a Stable Diffusion.
Sample Made(const Family& family, const std::string& dialect, const Parts& parts) {
  const bool experts = parts.experts, siglip = parts.siglip;
  std::set<std::string> off = {"tied", "te_experts", "side_by_side_experts", "two_matrices", "qkv_stacked"};
  if (parts.latent) off.insert("qk_norm");  // its latent vectors have theirs
  if (!parts.latent) off.insert({"mla", "q_lora"});
  if (!experts) off.insert("moe_layer");
  if (dialect == "legacy") off.insert({"post_norms", "image_newline"});  // which it cannot name
  for (const char* text : {"text.transformers", "text.openclip", "text.megatron"}) {
    if (text != parts.text) off.insert(text);
  }
  if (parts.text == "text.transformers") off.insert("text.projects");  // which it cannot name
  const std::map<std::string, uint64_t> values = {{"layers", 2},
                                                  {"text.layers", 2},
                                                  {"text.qkv_rows", 12},
                                                  {"vision.layers", 2},
                                                  {"heads", 2},
                                                  {"groups", 2},
                                                  {"head_dim", 2},
                                                  {"qkv_rows", 12},
                                                  {"up_rows", 8},
                                                  {"vision.qkv_rows", 12},
                                                  {"expert_up_rows", 8},
                                                  {"experts", experts ? 2 : 0},
                                                  {"each_expert", experts},
                                                  {"vision.siglip", siglip},
                                                  {"vision.nemo", parts.nemo},
                                                  {"vision.head", siglip},
                                                  {"attn_columns", parts.latent ? 8 : 4}};
  ModelSymbols symbols(family.symbols);
  for (const Symbol& symbol : family.symbols) {
    // Layers that predict several tokens are as the others.
    constexpr std::string_view kMtp = "mtp.";
    const std::string name = symbol.name.substr(symbol.name.starts_with(kMtp) ? kMtp.size() : 0);
    const auto value = values.find(name);
    if (symbol.kind == Symbol::Kind::kLayerFlag) {
      symbols.SetLayers(symbol.name, std::vector<bool>(2, !off.contains(name)));
      continue;
    }
    const uint64_t any = symbol.kind == Symbol::Kind::kFlag ? !off.contains(name) : 4;
    symbols.Set(symbol.name, value == values.end() ? any : value->second);
  }
  const ModelIdentity identity{&family, family.FindDialect(dialect)};
  auto weights = FromCanonical(testing::SyntheticCanonical(family, symbols), *identity.dialect, family.canonical,
                               symbols, true, nullptr);
  EXPECT_THAT(weights, IsOk());
  return {fmt::format("{} {}", family.name, dialect), testing::WithWeights(*weights, std::nullopt, ""), identity,
          symbols};
}

std::vector<Sample> Samples() {
  std::vector<Sample> samples;
  for (const char* name :
       {"clip/hf", "clip/mcore.nemo", "clip/legacy.nemo", "siglip/hf_siglip", "siglip/siglip_32.nemo", "gpt/A.nemo",
        "gpt/C.nemo", "gpt/Z.nemo", "t5/t5.nemo", "decoders/bert/hf", "transformers5_others/bert_pretraining",
        "transformers5_others/bert_masked_lm", "mtp/llama/ckpt", "mtp/deepseek/ckpt", "decoders/llava/hf",
        "transformers5/qwen3_moe", "transformers5_others/llava_siglip_mistral", "vit/nemo.nemo", "vit/5_small"})
    samples.push_back(FromGolden(name));
  for (const char* name : {"mamba/hybrid/nemo2", "mamba/mamba2/nemo2", "griffin/hf"})
    samples.push_back(FromGolden(name));
  samples.push_back(Made(GptFamily(), "mcore", {.experts = true}));
  samples.push_back(Made(GptFamily(), "mcore", {.experts = true, .latent = true}));
  samples.push_back(Made(NevaFamily(), "mcore", {.experts = true}));
  samples.push_back(Made(NevaFamily(), "mcore", {.siglip = true}));
  samples.push_back(Made(NevaFamily(), "mcore", {.siglip = true, .latent = true}));
  samples.push_back(Made(NevaFamily(), "legacy", {.siglip = true}));
  samples.push_back(Made(NevaFamily(), "legacy", {.nemo = true}));
  for (const char* text : {"text.transformers", "text.openclip", "text.megatron"})
    samples.push_back(Made(StableDiffusionFamily(), "nemo", {.text = text}));
  return samples;
}

TEST(FlagsTest, AFlagThatIsSetWronglyIsNoticed) {
  std::map<std::string, bool> noticed;
  for (const Sample& sample : Samples()) {
    SCOPED_TRACE(sample.name);
    const Family& family = *sample.identity.family;
    ModelSymbols symbols = sample.symbols;
    symbols.Set("extra_state", 1);
    ANEMONE_ASSERT_ASSIGN(const StateDict canonical, Canonicalize(sample.checkpoint.weights(), *sample.identity.dialect,
                                                                  family.canonical, symbols, true, nullptr));
    const std::string before = Observed(sample, symbols, canonical);
    for (const Symbol& symbol : family.symbols) {
      if (symbol.kind == Symbol::Kind::kSize) continue;
      ModelSymbols flipped = symbols;
      if (symbol.kind == Symbol::Kind::kFlag) {
        ANEMONE_ASSERT_ASSIGN(const uint64_t value, symbols.Get(symbol.name));
        flipped.Set(symbol.name, 1 - value);
      } else {
        std::vector<bool> layers;
        for (uint64_t layer = 0; symbols.Holds(symbol.name, layer).ok(); ++layer)
          layers.push_back(!*symbols.Holds(symbol.name, layer));
        flipped.SetLayers(symbol.name, std::move(layers));
      }
      bool& is_noticed = noticed[family.name + " " + symbol.name];
      is_noticed = is_noticed || Observed(sample, flipped, canonical) != before;
    }
  }
  for (const Family* family : Families()) {
    for (const Symbol& symbol : family->symbols) {
      const std::string flag = family->name + " " + symbol.name;
      EXPECT_TRUE(symbol.kind == Symbol::Kind::kSize || noticed.contains(flag)) << flag << " was never flipped";
    }
  }
  // It only says whether a merge looks for zero rows to count the tokens, which gives the same number here.
  for (const char* family : {"clip", "siglip"}) noticed.erase(fmt::format("{} text.vocab_is_known", family));
  // Only a translation between two models reads it (DecodersTest.NormsOfTheOtherKindAreShifted).
  for (const char* family : {"gpt", "neva"}) noticed.erase(fmt::format("{} zero_centered", family));
  for (const auto& [flag, is_noticed] : noticed) EXPECT_TRUE(is_noticed) << flag;
}

}  // namespace
}  // namespace anemone
