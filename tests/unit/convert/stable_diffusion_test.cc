// Stable Diffusion between NeMo and single files: by the names, the config and the noise schedule that NeMo v2.0.0
// wrote (tests/golden, sd/), with other weights. tests/interop/nemo/stable_diffusion.py compares with diffusers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "anemone/check.h"
#include "anemone/convert.h"
#include "family/diffusion/diffusers_fields.h"
#include "family/diffusion/noise_schedule.h"
#include "family/family.h"
#include "format/format.h"
#include "inspect/summary.h"
#include "source/canonical.h"
#include "tensor/fill.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using ::testing::Contains;
using testing::Golden;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

// A tensor that no other is equal to.
Tensor Numbered(const Shape& shape, size_t number) {
  std::vector<float> values(*NumElements(shape));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(number) + static_cast<float>(i) / 65536;
  return *Tensor::FromBytes(DType::kF32, shape,
                            std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
}

// NeMo's own, but for the weights.
Checkpoint NemoModel() {
  Checkpoint model;
  model.shards.emplace_back();
  std::ifstream yaml(Golden("sd/model_config.yaml")), names(Golden("sd/names.txt"));
  const std::string text((std::istreambuf_iterator<char>(yaml)), {});
  model.config = *Config::ParseYaml(text, "model_config.yaml");
  model.config_name = "model_config.yaml";
  const Checkpoint schedule = *OpenCheckpoint(Golden("sd/schedule.safetensors"));
  size_t number = 0;
  for (std::string line; std::getline(names, line); ++number) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    Shape shape;
    for (uint64_t size = 0; words >> size;) shape.push_back(size);
    const StateDict::Item* stored = schedule.weights().Find(name);
    EXPECT_THAT(model.weights().Add(name, stored != nullptr ? *stored->tensor() : Numbered(shape, number)), IsOk());
  }
  return model;
}

void Write(const Checkpoint& model, const char* format, const std::string& path) {
  const auto plan = FindFormat(format)->lay_out(model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, path, {}), IsOk());
}

StateDict Renamed(const StateDict& weights, const std::function<std::string(const std::string&)>& rename) {
  StateDict renamed;
  for (const StateDict::Item& item : weights.items()) {
    const std::string name = rename(item.name);
    if (name.empty()) continue;
    EXPECT_THAT(renamed.Add(name, item.entry), IsOk());
  }
  return renamed;
}

std::string Replaced(std::string name, std::string_view from, std::string_view to) {
  const size_t at = name.find(from);
  return at == std::string::npos ? name : name.replace(at, from.size(), to);
}

TEST(StableDiffusion, BecomesASingleFileAndComesBack) {
  const TempDir dir;
  const Checkpoint model = NemoModel();
  Write(model, "nemo", dir / "sd.nemo");
  ANEMONE_ASSERT_ASSIGN(const Verification verified, Verify(dir / "sd.nemo", {}));
  EXPECT_THAT(verified.problems, ::testing::IsEmpty());
  Convert(dir / "sd.nemo", dir / "sd.safetensors", {.dialect = "ldm"});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, OpenCheckpoint(dir / "sd.safetensors"));
  const std::string unet = "model.diffusion_model.";
  for (const char* name : {"input_blocks.1.0.in_layers.2.weight", "output_blocks.11.1.transformer_blocks.0.norm3.bias",
                           "middle_block.1.transformer_blocks.0.attn2.to_q.weight", "out.2.bias",
                           "output_blocks.2.1.conv.weight", "output_blocks.5.2.conv.weight"})
    EXPECT_NE(ldm.weights().Find(unet + name), nullptr) << name;
  ANEMONE_ASSERT_ASSIGN(const Verification single, Verify(dir / "sd.safetensors", {}));
  EXPECT_THAT(single.problems, ::testing::IsEmpty());
  Convert(dir / "sd.safetensors", dir / "back.nemo", {.hparams = Golden("sd/model_config.yaml")});
  EXPECT_EQ(DigestsOf(dir / "back.nemo"), DigestsOf(model.weights()));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, OpenCheckpoint(dir / "back.nemo"));
  EXPECT_TRUE(back.config->Find("unet_config.from_pretrained")->is_null());
  EXPECT_EQ(back.config->Find("unet_config.num_heads")->AsInt(), 4);
}

// As NeMo's own modules have them.
TEST(StableDiffusion, NamesStandInNemosOrder) {
  const Checkpoint model = NemoModel();
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, Translate(model, "ldm"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(ldm, "nemo", {.hparams = model.config}));
  std::vector<std::string> before, after;
  for (const StateDict::Item& item : model.weights().items()) before.push_back(item.name);
  for (const StateDict::Item& item : back.weights().items()) after.push_back(item.name);
  const auto is_text = [](const std::string& name) { return name.find("cond_stage_model") != std::string::npos; };
  std::erase_if(before, is_text);  // transformers' queries, keys and values stand in another order
  std::erase_if(after, is_text);
  EXPECT_EQ(before, after);
}

// Within one unit in the last place of what NeMo computed with numpy.
TEST(StableDiffusion, TheNoiseScheduleIsNemos) {
  const Checkpoint model = NemoModel();
  ANEMONE_ASSERT_ASSIGN(const StateDict made, NoiseSchedule(model.config->root()));
  EXPECT_EQ(made.size(), 12u);
  for (const StateDict::Item& item : made.items()) {
    std::vector<float> ours(1000), theirs(1000);
    const Tensor& nemos = *model.weights().Find("model." + item.name)->tensor();
    ASSERT_THAT(Fill(*item.tensor(), 0, std::as_writable_bytes(std::span(ours))), IsOk());
    ASSERT_THAT(Fill(nemos, 0, std::as_writable_bytes(std::span(theirs))), IsOk());
    for (size_t i = 0; i < ours.size(); ++i) {
      EXPECT_TRUE(ours[i] == theirs[i] || std::nextafter(ours[i], theirs[i]) == theirs[i])
          << item.name << " " << i << " " << ours[i] << " " << theirs[i];
    }
  }
}

TEST(StableDiffusion, TheScheduleIsMadeWhereItIsNotStored) {
  const Checkpoint model = NemoModel();
  ANEMONE_ASSERT_ASSIGN(Checkpoint ldm, Translate(model, "ldm"));
  ldm.weights() = Renamed(ldm.weights(), [](const std::string& name) {
    return name.find('.') == std::string::npos ? std::string() : name;
  });
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, Translate(ldm, "nemo", {.hparams = model.config}));
  EXPECT_EQ(nemo.weights().size(), model.weights().size());
  EXPECT_THAT(nemo.notes, Contains(HasSubstr("made 12 tensors")));
  Config cosine = *model.config;
  ASSERT_THAT(cosine.Set("beta_schedule", ConfigNode::String("cosine")), IsOk());
  EXPECT_THAT(Translate(ldm, "nemo", {.hparams = cosine}),
              StatusIs(ErrorKind::kUnsupported, "beta_schedule: expected linear"));
}

// NeMo 1.23 spelled norms and queries otherwise; NeMo 2.0 does not restore such a file.
TEST(StableDiffusion, OlderNamesBecomeTodays) {
  const TempDir dir;
  const Checkpoint model = NemoModel();
  Checkpoint older = model;
  older.weights() = Renamed(model.weights(), [](std::string name) {
    if (name.find("transformer_blocks") == std::string::npos) return name;
    name = Replaced(std::move(name), ".norm.", ".norm_to_q.0.");
    return Replaced(std::move(name), ".to_q.", ".norm_to_q.1.");
  });
  Write(older, "nemo", dir / "older.nemo");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint opened, OpenCheckpoint(dir / "older.nemo"));
  ANEMONE_ASSERT_ASSIGN(const ResolvedModel resolved, ResolveModel(opened));
  EXPECT_EQ(resolved.dialect->name, "nemo-1.23");
  Convert(dir / "older.nemo", dir / "today.nemo", {});
  EXPECT_EQ(DigestsOf(dir / "today.nemo"), DigestsOf(model.weights()));
}

// As ddpm.py's load_from_checkpoint renames them.
TEST(StableDiffusion, ADreamBoothIsTheStableDiffusionThatItTrained) {
  const TempDir dir;
  const Checkpoint model = NemoModel();
  Checkpoint trained = model;
  trained.weights() = Renamed(model.weights(), [](std::string name) {
    if (name.starts_with("model.model.diffusion_model."))
      return Replaced(std::move(name), "model.diffusion_model", "unet");
    if (name.starts_with("model.first_stage_model.")) return Replaced(std::move(name), "first_stage_model", "vae");
    if (name.starts_with("model.cond_stage_model."))
      return Replaced(std::move(name), "cond_stage_model", "text_encoder");
    return Replaced(std::move(name), "model.", "model.noise_scheduler.");
  });
  ConfigNode& root = trained.config->root();
  ConfigNode schedule = ConfigNode::Map();
  for (const char* key : {"parameterization", "linear_start", "linear_end", "timesteps"}) {
    schedule[key] = *root.Get(key);
    root.Erase(key);
  }
  schedule["_target_"] =
      ConfigNode::String("nemo.collections.multimodal.models.text_to_image.dreambooth.util.sd_noise_scheduler");
  root["noise_scheduler"] = std::move(schedule);
  root["target"] =
      ConfigNode::String("nemo.collections.multimodal.models.text_to_image.dreambooth.dreambooth.MegatronDreamBooth");
  root.Erase("capture_cudagraph_iters");
  Write(trained, "nemo", dir / "dreambooth.nemo");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint opened, OpenCheckpoint(dir / "dreambooth.nemo"));
  ANEMONE_ASSERT_ASSIGN(const ResolvedModel resolved, ResolveModel(opened));
  EXPECT_EQ(resolved.dialect->name, "dreambooth");
  Convert(dir / "dreambooth.nemo", dir / "sd.nemo", {});
  EXPECT_EQ(DigestsOf(dir / "sd.nemo"), DigestsOf(model.weights()));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint written, OpenCheckpoint(dir / "sd.nemo"));
  for (const char* key : {"parameterization", "linear_start", "linear_end", "timesteps", "target"})
    EXPECT_TRUE(SameConfig(*written.config->Find(key), *model.config->Find(key))) << key;
  EXPECT_EQ(written.config->Find("capture_cudagraph_iters")->AsInt(), -1);
  EXPECT_EQ(written.config->Find("noise_scheduler"), nullptr);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, Translate(trained, "ldm"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint same, Translate(model, "ldm"));
  EXPECT_EQ(DigestsOf(ldm.weights()), DigestsOf(same.weights()));
}

TEST(StableDiffusion, WhatNoOneComputesWithIsLeftOut) {
  const Checkpoint model = NemoModel();
  ANEMONE_ASSERT_ASSIGN(Checkpoint ldm, Translate(model, "ldm"));
  std::string positions;
  for (int64_t i = 0; i < 77; ++i) positions.append(reinterpret_cast<const char*>(&i), sizeof(i));
  ASSERT_THAT(ldm.weights().Add("cond_stage_model.transformer.text_model.embeddings.position_ids",
                                *Tensor::FromBytes(DType::kI64, {1, 77}, positions)),
              IsOk());
  ASSERT_THAT(ldm.weights().Add("model_ema.diffusion_modeltime_embed0weight", Numbered({2}, 1)), IsOk());
  ASSERT_THAT(ldm.weights().Add("first_stage_model.loss.logvar", Numbered({}, 1)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, Translate(ldm, "nemo", {.hparams = model.config}));
  EXPECT_EQ(DigestsOf(nemo.weights()), DigestsOf(model.weights()));
  EXPECT_EQ(std::ranges::count_if(nemo.notes, [](const std::string& n) { return n.starts_with("left out 1 tensor"); }),
            3);
}

TEST(StableDiffusion, ReadersAreToldWhatNoTensorSays) {
  Checkpoint model = NemoModel();
  ASSERT_THAT(model.config->Set("parameterization", ConfigNode::String("v")), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, Translate(model, "ldm"));
  EXPECT_THAT(ldm.notes, Contains(HasSubstr("must be told parameterization: v, unet_config.num_heads: 4")));
}

TEST(StableDiffusion, ConfigsThatTheTensorsDoNotFitAreErrors) {
  const Checkpoint model = NemoModel();
  const auto verified = [&](const char* key, const ConfigNode& value) {
    Checkpoint other = model;
    EXPECT_THAT(other.config->Set(key, value), IsOk());
    return ToCanonical(other).status();
  };
  const auto list = [](const char* yaml) { return *Config::ParseYaml(yaml, "t")->root().Get("v"); };
  EXPECT_THAT(verified("unet_config.channel_mult", list("v: [1, 1, 1]")), StatusIs(ErrorKind::kCorrupt, "unexpected"));
  EXPECT_THAT(verified("unet_config.channel_mult", list("v: [1, 1, 1, 2]")), StatusIs(ErrorKind::kCorrupt, ""));
  EXPECT_THAT(verified("unet_config.channel_mult", list("v: [1, 1, 1, 1, 1]")),
              StatusIs(ErrorKind::kUnsupported, "expected 1 to 4 levels, found 5"));
  EXPECT_THAT(verified("unet_config.attention_resolutions", list("v: [2, 1]")),
              StatusIs(ErrorKind::kCorrupt, "unexpected"));
  for (const auto& [key, found] : {std::pair{"unet_config.num_res_blocks", 3},
                                   {"unet_config.transformer_depth", 2},
                                   {"unet_config.context_dim", 25},
                                   {"unet_config.in_channels", 8},
                                   {"unet_config.model_channels", 64},
                                   {"first_stage_config.ddconfig.ch", 64},
                                   {"first_stage_config.embed_dim", 8},
                                   {"timesteps", 999}})
    EXPECT_FALSE(verified(key, ConfigNode::Int(found)).ok()) << key;
  EXPECT_THAT(verified("unet_config.use_linear_in_transformer", ConfigNode::Bool(true)),
              StatusIs(ErrorKind::kCorrupt, "proj_in.weight: expected shape [32, 32]"));
}

// ---- the published sizes ----

struct Published {
  const char *name, *config;
  uint64_t unet, vae, text, unet_parameters;
};
constexpr Published kPublished[] = {
    {"Stable Diffusion 1.x", "{num_heads: 8, context_dim: 768, use_linear_in_transformer: false, in_channels: 4}", 686,
     248, 196, 859520964},
    {"Stable Diffusion 2.x",
     "{num_head_channels: 64, context_dim: 1024, use_linear_in_transformer: true, in_channels: 4}", 686, 248, 196,
     865910724},
    {"Stable Diffusion 1.x with a ControlNet",
     "{num_heads: 8, context_dim: 768, use_linear_in_transformer: false, in_channels: 4}", 686, 248, 196, 859520964},
    {"InstructPix2Pix", "{num_heads: 8, context_dim: 768, use_linear_in_transformer: false, in_channels: 8}", 686, 248,
     196, 859532484},
};

// The noise schedule of the model's config, or `other` where it is none of its tensors.
Tensor ScheduleOr(const Checkpoint& model, const std::string& name, Tensor other) {
  static const StateDict schedule = *NoiseSchedule(model.config->root());
  const StateDict::Item* item = schedule.Find(name);
  return item != nullptr ? *item->tensor() : std::move(other);
}

// A model of a published UNet, VAE and CLIP-L, of zeros.
Checkpoint PublishedModel(const Published& published) {
  Checkpoint model = NemoModel();
  const auto yaml = [](const std::string& text) { return *Config::ParseYaml("v: " + text, "t")->root().Get("v"); };
  ConfigNode& unet = *model.config->root().Get("unet_config");
  unet.Erase("num_heads");
  for (const auto& [key, value] : yaml(published.config).map) unet[key] = value;
  unet["model_channels"] = ConfigNode::Int(320);
  unet["channel_mult"] = yaml("[1, 2, 4, 4]");
  unet["attention_resolutions"] = yaml("[4, 2, 1]");
  ConfigNode control = unet;
  control["hint_channels"] = ConfigNode::Int(3);
  if (std::string_view(published.name).ends_with("ControlNet"))
    model.config->root()["control_stage_config"] = std::move(control);
  ConfigNode& vae = *model.config->root().Get("first_stage_config")->Get("ddconfig");
  vae["ch"] = ConfigNode::Int(128);
  vae["ch_mult"] = yaml("[1, 2, 4, 4]");
  StateDict text;
  const std::string clip = "model.cond_stage_model.transformer.text_model.";
  const auto add = [&](const std::string& name, const Shape& shape) {
    ASSERT_THAT(text.Add(clip + name, *Tensor::Fill(DType::kF32, shape, 0)), IsOk());
  };
  add("embeddings.token_embedding.weight", {49408, 768});
  add("embeddings.position_embedding.weight", {77, 768});
  for (int layer = 0; layer < 12; ++layer) {
    const std::string at = fmt::format("encoder.layers.{}.", layer);
    for (const char* end : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"}) {
      add(at + end + ".weight", {768, 768});
      add(at + end + ".bias", {768});
    }
    for (const char* end : {"layer_norm1", "layer_norm2"}) {
      add(at + end + ".weight", {768});
      add(at + end + ".bias", {768});
    }
    add(at + "mlp.fc1.weight", {3072, 768});
    add(at + "mlp.fc1.bias", {3072});
    add(at + "mlp.fc2.weight", {768, 3072});
    add(at + "mlp.fc2.bias", {768});
  }
  add("final_layer_norm.weight", {768});
  add("final_layer_norm.bias", {768});
  model.weights() = text;
  const Family& family = *FindFamily("stable_diffusion");
  const Dialect& dialect = *family.FindDialect("nemo");
  const auto symbols = family.SymbolsOf(model, dialect, {});
  EXPECT_THAT(symbols, IsOk());
  StateDict canonical;
  EXPECT_THAT(ForEachTensor(family.canonical, *symbols,
                            [&](std::string name, const Shape& shape) {
                              return canonical.Add(name, ScheduleOr(model, name, *Tensor::Fill(DType::kF32, shape, 0)));
                            }),
              IsOk());
  const auto stored = FromCanonical(canonical, dialect, family.canonical, *symbols, true, nullptr);
  EXPECT_THAT(stored, IsOk());
  model.weights() = *stored;
  return model;
}

TEST(StableDiffusion, PublishedModelsHaveTheirCounts) {
  for (const Published& published : kPublished) {
    SCOPED_TRACE(published.name);
    const Checkpoint model = PublishedModel(published);
    ANEMONE_ASSERT_ASSIGN(const ResolvedModel resolved, ResolveModel(model));
    EXPECT_EQ(resolved.family->published_as(resolved.symbols), published.name);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, Translate(model, "ldm"));
    std::map<std::string, std::pair<uint64_t, uint64_t>> parts;
    for (const StateDict::Item& item : ldm.weights().items()) {
      auto& [tensors, parameters] = parts[item.name.substr(0, item.name.find('.'))];
      ++tensors;
      parameters += item.tensor()->num_elements();
    }
    EXPECT_EQ(parts["model"].first, published.unet);
    EXPECT_EQ(parts["model"].second, published.unet_parameters);
    EXPECT_EQ(parts["first_stage_model"].first, published.vae);
    EXPECT_EQ(parts["first_stage_model"].second, 83653863u);
    EXPECT_EQ(parts["cond_stage_model"].first, published.text);
    const bool has_control = std::string_view(published.name).ends_with("ControlNet");
    EXPECT_EQ(parts["control_model"].first, has_control ? 340u : 0u);
    EXPECT_EQ(parts["control_model"].second, has_control ? 361279120u : 0u);
    // The sizes that the tensors say are those of the config.
    const auto back = Translate(ldm, "nemo");
    if (std::string_view(published.name) == "InstructPix2Pix") {
      EXPECT_THAT(back, StatusIs(ErrorKind::kUnsupported, "in_channels: expected 4"));
      continue;
    }
    ASSERT_THAT(back, IsOk());
    for (const char* key :
         {"unet_config.model_channels", "unet_config.channel_mult", "unet_config.context_dim",
          "unet_config.attention_resolutions", "unet_config.transformer_depth", "unet_config.use_linear_in_transformer",
          "unet_config.in_channels", "unet_config.out_channels", "first_stage_config.embed_dim",
          "first_stage_config.ddconfig.ch", "first_stage_config.ddconfig.ch_mult",
          "first_stage_config.ddconfig.z_channels"})
      EXPECT_TRUE(SameConfig(*back->config->Find(key), *model.config->Find(key))) << key;
    EXPECT_EQ(back->weights().size(), model.weights().size());
  }
}

TEST(StableDiffusion, TextEncodersOfOpenClipAndNemo) {
  const Family& family = *FindFamily("stable_diffusion");
  const Dialect& dialect = *family.FindDialect("nemo");
  for (const char* kind : {"text.openclip", "text.megatron"}) {
    SCOPED_TRACE(kind);
    Checkpoint model = NemoModel();
    ANEMONE_ASSERT_ASSIGN(ModelSymbols symbols, family.SymbolsOf(model, dialect, {}));
    symbols.Set("text.transformers", 0);
    symbols.Set(kind, 1);
    symbols.Set("text.projects", 1);
    symbols.Set("projection", 16);
    StateDict canonical;
    size_t number = 0;
    ASSERT_THAT(ForEachTensor(family.canonical, symbols,
                              [&](std::string name, const Shape& shape) {
                                return canonical.Add(name, Numbered(shape, ++number));
                              }),
                IsOk());
    ANEMONE_ASSERT_ASSIGN(model.weights(), FromCanonical(canonical, dialect, family.canonical, symbols, true, nullptr));
    EXPECT_THAT(ToCanonical(model), IsOk());
    const std::string encoders = "nemo.collections.multimodal.modules.stable_diffusion.encoders.modules.";
    ConfigNode& said = *model.config->root().Get("cond_stage_config");
    if (std::string_view(kind) == "text.megatron") {
      said["_target_"] = ConfigNode::String(encoders + "FrozenMegatronCLIPEmbedder");
      EXPECT_THAT(Translate(model, "ldm"), StatusIs(ErrorKind::kNotFound, "cond_stage_config.cfg: expected the CLIP"));
      continue;
    }
    ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, Translate(model, "ldm"));
    EXPECT_NE(ldm.weights().Find("cond_stage_model.model.text_projection"), nullptr);
    EXPECT_THAT(Translate(ldm, "nemo", {.hparams = model.config}),
                StatusIs(ErrorKind::kUnsupported, "expected the class of the text encoder that is stored"));
    said["_target_"] = ConfigNode::String(encoders + "FrozenOpenCLIPEmbedder");
    ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(ldm, "nemo", {.hparams = model.config}));
    EXPECT_EQ(DigestsOf(back.weights()), DigestsOf(model.weights()));
  }
}

// A CLIP that NeMo v2.0.0 wrote, as MegatronLatentDiffusion.save_to stores it: without the images' side, its config
// under `cfg`.
TEST(StableDiffusion, NemosOwnClipGoesOutByItsConfig) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint clip, OpenCheckpoint(Golden("clip/legacy.nemo")));
  Checkpoint model = NemoModel();
  model.weights() = Renamed(model.weights(), [](const std::string& name) {
    return name.starts_with("model.cond_stage_model.") ? std::string() : name;
  });
  const std::string_view text = "model.text_encoder.";
  for (const StateDict::Item& item : clip.weights().items()) {
    if (!item.name.starts_with(text) || item.tensor() == nullptr) continue;
    const std::string name = "model.cond_stage_model.model." + item.name.substr(text.size());
    ASSERT_THAT(model.weights().Add(name, item.entry), IsOk());
  }
  ConfigNode& said = *model.config->root().Get("cond_stage_config");
  said["_target_"] = ConfigNode::String(
      "nemo.collections.multimodal.modules.stable_diffusion.encoders.modules.FrozenMegatronCLIPEmbedder");
  said["layer"] = ConfigNode::String("last");
  said["cfg"] = clip.config->root();
  const auto expect_text = [&](const Checkpoint& found, const Checkpoint& whole, const std::string& from,
                               const std::string& to) {
    size_t count = 0;
    for (const auto& [name, digest] : DigestsOf(whole.weights())) {
      if (!name.starts_with(from)) continue;
      ++count;
      const StateDict::Item* item = found.weights().Find(to + name.substr(from.size()));
      ASSERT_NE(item, nullptr) << name;
      StateDict one;
      ASSERT_THAT(one.Add(name, item->entry), IsOk());
      EXPECT_EQ(DigestsOf(one).at(name), digest) << name;
    }
    EXPECT_GT(count, 20u);
  };
  for (const bool is_interleaved : {false, true}) {
    SCOPED_TRACE(is_interleaved);
    Checkpoint other = clip;
    ASSERT_THAT(other.config->Set("text.megatron_legacy", ConfigNode::Bool(!is_interleaved)), IsOk());
    model.config->root().Get("cond_stage_config")->Get("cfg")->map = other.config->root().map;
    ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, Translate(other, "hf"));
    ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, Translate(model, "ldm"));
    expect_text(ldm, hf, "text_model.", "cond_stage_model.transformer.text_model.");
    ANEMONE_ASSERT_ASSIGN(const Checkpoint folder, Translate(model, "diffusers"));
    expect_text(folder, hf, "text_model.", "text_encoder.text_model.");
    EXPECT_EQ(folder.config->Find("text_encoder.num_attention_heads")->AsInt(), 4);
    EXPECT_EQ(folder.config->Find("text_encoder.num_hidden_layers")->AsInt(), 2);
    EXPECT_EQ(folder.config->Find("text_encoder.hidden_act")->AsString(), "quick_gelu");
  }
  ASSERT_THAT(model.config->Set("cond_stage_config.layer", ConfigNode::String("penultimate")), IsOk());
  EXPECT_THAT(Translate(model, "ldm"), StatusIs(ErrorKind::kUnsupported, "found quick_gelu and layer: penultimate"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint folder, Translate(model, "diffusers"));
  EXPECT_EQ(folder.config->Find("text_encoder.num_hidden_layers")->AsInt(), 1);
  EXPECT_EQ(folder.weights().Find("text_encoder.text_model.encoder.layers.1.mlp.fc1.bias"), nullptr);

  Checkpoint open = clip;
  for (const char* tower : {"vision", "text"})
    ASSERT_THAT(open.config->Set(fmt::format("{}.activation", tower), ConfigNode::String("gelu")), IsOk());
  ASSERT_THAT(open.config->Set("text.megatron_legacy", ConfigNode::Bool(false)), IsOk());
  model.config->root().Get("cond_stage_config")->Get("cfg")->map = open.config->root().map;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, Translate(model, "ldm"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, Translate(open, "openclip"));
  expect_text(ldm, hf, "transformer.", "cond_stage_model.model.transformer.");
  EXPECT_NE(ldm.weights().Find("cond_stage_model.model.text_projection"), nullptr);
  EXPECT_NE(ldm.weights().Find("cond_stage_model.model.logit_scale"), nullptr);
}

// ---- pipelines of diffusers ----

// All but the noise schedule, which a pipeline does not store: NeMo computed it elsewhere, to one unit in the last
// place.
Digests WithoutSchedule(const StateDict& weights) {
  Digests digests = DigestsOf(weights);
  for (const std::string_view name : kScheduleNames) digests.erase(fmt::format("model.{}", name));
  return digests;
}

TEST(StableDiffusion, BecomesAPipelineAndComesBack) {
  const TempDir dir;
  const Checkpoint model = NemoModel();
  Write(model, "nemo", dir / "sd.nemo");
  Convert(dir / "sd.nemo", dir / "sd", {.to = "diffusers"});
  ANEMONE_ASSERT_ASSIGN(const Verification verified, Verify(dir / "sd", {}));
  EXPECT_THAT(verified.problems, ::testing::IsEmpty());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint pipeline, OpenCheckpoint(dir / "sd"));
  for (const auto& [name, shape] :
       {std::pair<const char*, Shape>{"unet.down_blocks.0.resnets.1.conv1.weight", {32, 32, 3, 3}},
        {"unet.up_blocks.0.upsamplers.0.conv.weight", {32, 32, 3, 3}},
        {"unet.mid_block.attentions.0.proj_in.weight", {32, 32, 1, 1}},
        {"vae.decoder.up_blocks.0.resnets.2.conv2.bias", {32}},
        {"vae.decoder.mid_block.attentions.0.to_q.weight", {32, 32}},
        {"text_encoder.text_model.encoder.layers.1.self_attn.q_proj.weight", {24, 24}}}) {
    const StateDict::Item* item = pipeline.weights().Find(name);
    ASSERT_NE(item, nullptr) << name;
    EXPECT_EQ(item->tensor()->shape(), shape) << name;
  }
  const Config& config = *pipeline.config;
  EXPECT_EQ(config.Find("unet.attention_head_dim")->AsInt(), 4);
  EXPECT_EQ(config.Find("unet.down_block_types[3]")->AsString(), "DownBlock2D");
  EXPECT_EQ(config.Find("unet.up_block_types[0]")->AsString(), "UpBlock2D");
  EXPECT_EQ(config.Find("vae.scaling_factor")->AsDouble(), 0.18215);
  EXPECT_EQ(config.Find("scheduler.prediction_type")->AsString(), "epsilon");
  EXPECT_EQ(config.Find("scheduler.beta_schedule")->AsString(), "scaled_linear");
  EXPECT_EQ(config.Find("text_encoder.hidden_act")->AsString(), "quick_gelu");
  Convert(dir / "sd", dir / "back.nemo", {.hparams = Golden("sd/model_config.yaml")});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, OpenCheckpoint(dir / "back.nemo"));
  EXPECT_EQ(WithoutSchedule(back.weights()), WithoutSchedule(model.weights()));
  EXPECT_EQ(back.weights().size(), model.weights().size());
  Convert(dir / "sd", dir / "sd.safetensors", {.dialect = "ldm"});
  Convert(dir / "sd.safetensors", dir / "again", {.to = "diffusers", .hparams = Golden("sd/model_config.yaml")});
  EXPECT_EQ(DigestsOf(dir / "again"), DigestsOf(dir / "sd"));
  EXPECT_THAT(PlanConversion(dir / "sd", dir / "x.nemo", {}), StatusIs(ErrorKind::kUnsupported, "openai/clip-vit"));
}

// Those of diffusers before 0.17, of transformers before 4.31, and of transformers 5.
TEST(StableDiffusion, OtherNamesOfPipelinesAreRead) {
  const Checkpoint model = NemoModel();
  ANEMONE_ASSERT_ASSIGN(Checkpoint pipeline, Translate(model, "diffusers"));
  const StateDict weights = pipeline.weights();
  pipeline.weights() = Renamed(weights, [](std::string name) {
    const bool is_vae = name.starts_with("vae.");
    for (const auto& [now, old] :
         {std::pair{".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}})
      name = is_vae ? Replaced(std::move(name), now, old) : name;
    return Replaced(std::move(name), "text_encoder.text_model.", "text_encoder.");
  });
  EXPECT_NE(pipeline.weights().Find("vae.encoder.mid_block.attentions.0.proj_attn.weight"), nullptr);
  std::string positions;
  for (int64_t i = 0; i < 77; ++i) positions.append(reinterpret_cast<const char*>(&i), sizeof(i));
  ASSERT_THAT(pipeline.weights().Add("text_encoder.embeddings.position_ids",
                                     *Tensor::FromBytes(DType::kI64, {1, 77}, positions)),
              IsOk());
  ASSERT_THAT(pipeline.weights().Add("safety_checker.concept_embeds", Numbered({17, 4}, 1)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, Translate(pipeline, "nemo", {.hparams = model.config}));
  EXPECT_EQ(WithoutSchedule(nemo.weights()), WithoutSchedule(model.weights()));
  EXPECT_THAT(nemo.notes, Contains(HasSubstr("left out 1 tensor: the safety checker")));
  EXPECT_THAT(nemo.notes, Contains(HasSubstr("no place for _class_name: \"DDIMScheduler\"")));
}

TEST(StableDiffusion, FieldsOfPipelinesAreHonoredOrRefused) {
  const Checkpoint model = NemoModel();
  ANEMONE_ASSERT_ASSIGN(const Checkpoint pipeline, Translate(model, "diffusers"));
  const auto with = [&](const char* path, const char* yaml) {
    Checkpoint other = pipeline;
    EXPECT_THAT(other.config->Set(path, *Config::ParseYaml(fmt::format("v: {}", yaml), "t")->root().Get("v")), IsOk());
    return Translate(other, "nemo", {.hparams = model.config});
  };
  for (const auto& [path, value, said] :
       {std::tuple{"unet.addition_embed_type", "text_time",
                   "addition_embed_type: expected null, found \"text_time\": a Stable Diffusion XL"},
        {"unet.class_embed_type", "projection", "class_embed_type"},
        {"unet.time_cond_proj_dim", "256", "a consistency model"},
        {"unet.norm_num_groups", "16", "norm_num_groups: expected 32, found 16"},
        {"unet.only_cross_attention", "[true, false, false, false]", "only_cross_attention"},
        {"unet.attention_head_dim", "[4, 2, 4, 8]", "as many heads in each level"},
        {"unet.up_block_types", "[UpBlock2D, UpBlock2D, UpBlock2D, UpBlock2D]",
         "up_block_types: expected CrossAttnUpBlock2D"},
        {"unet.of_tomorrow", "1", "of_tomorrow: expected a field that is known"},
        {"unet._use_default_values", "[attention_head_dim]", "_use_default_values: expected []"},
        {"vae._use_default_values", "[scaling_factor]", "_use_default_values: expected []"},
        {"vae.shift_factor", "0.1", "shift_factor"},
        {"vae.use_quant_conv", "false", "use_quant_conv"},
        {"scheduler.beta_schedule", "linear", "beta_schedule: expected \"scaled_linear\", found \"linear\""},
        {"scheduler.rescale_betas_zero_snr", "true", "rescale_betas_zero_snr"},
        {"scheduler.prediction_type", "flow", "prediction_type: expected epsilon"},
        {"text_encoder.hidden_act", "gelu_new", "hidden_act: expected quick_gelu or gelu"},
        {"text_encoder.layer_norm_eps", "1e-6", "layer_norm_eps"},
        {"text_encoder.architectures", "[CLIPTextModelWithProjection]", "CLIPTextModel"}})
    EXPECT_THAT(with(path, value), StatusIs(ErrorKind::kUnsupported, said)) << path;
  for (const auto& [path, value, said] :
       {std::tuple{"scheduler.prediction_type", "v_prediction", "parameterization: expected \"v\", found \"eps\""},
        {"scheduler.beta_end", "0.02", "linear_end: expected 0.02, found 0.012"},
        {"vae.scaling_factor", "0.13025", "scale_factor"},
        {"unet.attention_head_dim", "2", "expected heads of each level [2, 2, 2, 2], found [4, 4, 4, 4]"},
        {"text_encoder.num_hidden_layers", "1", "num_hidden_layers: expected 2, as the tensors have it, found 1"}})
    EXPECT_THAT(with(path, value), StatusIs(ErrorKind::kCorrupt, said)) << path;
  for (const auto& [path, value] : {std::pair{"unet.dropout", "0.1"},
                                    {"vae.force_upcast", "false"},
                                    {"scheduler.clip_sample", "true"},
                                    {"unet.mid_block_only_cross_attention", "false"}})
    EXPECT_THAT(with(path, value), IsOk()) << path;
}

// OpenCLIP stores a layer behind the last one that is computed with, which transformers does not.
TEST(StableDiffusion, OpenClipInAPipelineHasOneLayerLess) {
  const Family& family = *FindFamily("stable_diffusion");
  const Dialect& dialect = *family.FindDialect("nemo");
  Checkpoint model = NemoModel();
  ANEMONE_ASSERT_ASSIGN(ModelSymbols symbols, family.SymbolsOf(model, dialect, {}));
  for (const auto& [symbol, value] :
       {std::pair{"text.transformers", 0}, {"text.openclip", 1}, {"text.projects", 1}, {"projection", 24}})
    symbols.Set(symbol, static_cast<uint64_t>(value));
  StateDict canonical;
  size_t number = 0;
  ASSERT_THAT(ForEachTensor(family.canonical, symbols,
                            [&](std::string name, const Shape& shape) {
                              return canonical.Add(name, ScheduleOr(model, name, Numbered(shape, ++number)));
                            }),
              IsOk());
  ANEMONE_ASSERT_ASSIGN(model.weights(), FromCanonical(canonical, dialect, family.canonical, symbols, true, nullptr));
  const ConfigNode text =
      Config::ParseYaml("{_target_: x.FrozenOpenCLIPEmbedder, arch: ViT-H-14, layer: penultimate}", "t")->root();
  ASSERT_THAT(model.config->Set("cond_stage_config", text), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint pipeline, Translate(model, "diffusers"));
  EXPECT_EQ(pipeline.config->Find("text_encoder.num_hidden_layers")->AsInt(), 1);
  EXPECT_EQ(pipeline.config->Find("text_encoder.hidden_act")->AsString(), "gelu");
  EXPECT_EQ(pipeline.weights().Find("text_encoder.text_model.encoder.layers.1.mlp.fc1.weight"), nullptr);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(pipeline, "nemo", {.hparams = model.config}));
  EXPECT_EQ(back.weights().size(), model.weights().size());
  const Digests before = WithoutSchedule(model.weights());
  for (const auto& [name, digest] : WithoutSchedule(back.weights())) {
    const bool is_idle = name.find("resblocks.1.") != std::string::npos || name.ends_with("text_projection") ||
                         name.ends_with("logit_scale");
    EXPECT_EQ(digest == before.at(name), !is_idle) << name;
  }
  ASSERT_THAT(model.config->Set("cond_stage_config.layer", ConfigNode::String("last")), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint whole, Translate(model, "diffusers"));
  EXPECT_EQ(whole.config->Find("text_encoder.num_hidden_layers")->AsInt(), 2);
}

TEST(StableDiffusion, PublishedPipelinesNeedNoYaml) {
  for (const Published& published : kPublished) {
    if (!std::string_view(published.name).ends_with(".x")) continue;
    SCOPED_TRACE(published.name);
    const Checkpoint model = PublishedModel(published);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint pipeline, Translate(model, "diffusers"));
    const bool is_second = published.unet_parameters == 865910724;
    EXPECT_EQ(pipeline.config->Find(is_second ? "unet.attention_head_dim[2]" : "unet.attention_head_dim")->AsInt(),
              is_second ? 20 : 8);
    EXPECT_EQ(pipeline.config->Find("text_encoder.num_attention_heads")->AsInt(), 12);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, Translate(pipeline, "nemo"));
    for (const char* key : {"unet_config.model_channels", "unet_config.channel_mult", "unet_config.context_dim",
                            "unet_config.attention_resolutions", "unet_config.use_linear_in_transformer",
                            "first_stage_config.ddconfig.ch_mult", "scale_factor", "parameterization"})
      EXPECT_TRUE(SameConfig(*nemo.config->Find(key), *model.config->Find(key))) << key;
    EXPECT_EQ(nemo.config->Find(is_second ? "unet_config.num_head_channels" : "unet_config.num_heads")->AsInt(),
              is_second ? 64 : 8);
    EXPECT_EQ(nemo.weights().size(), model.weights().size());
  }
}

// No tensor tells them.
TEST(StableDiffusion, AVaeThatEndsOtherwiseIsRefused) {
  for (const char* key : {"tanh_out", "give_pre_end", "use_linear_attn"}) {
    Checkpoint model = NemoModel();
    ASSERT_THAT(model.config->Set(std::string("first_stage_config.ddconfig.") + key, ConfigNode::Bool(true)), IsOk());
    for (const char* to : {"diffusers", "ldm"})
      EXPECT_THAT(Translate(model, to), StatusIs(ErrorKind::kUnsupported, std::string(key) + ": expected false")) << to;
  }
}

TEST(StableDiffusion, ATextThatNemoFillsUpIsTold) {
  for (const char* to : {"diffusers", "ldm"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint other, Translate(NemoModel(), to));
    EXPECT_THAT(other.notes, Contains(HasSubstr("fills up a text's 77 vectors with zeros to 80"))) << to;
  }
}

TEST(StableDiffusion, OtherModelsBecomeNoPipeline) {
  const TempDir dir;
  EXPECT_THAT(PlanConversion(Golden("clip/hf"), dir / "x", {.to = "diffusers"}),
              StatusIs(ErrorKind::kUnsupported, "found a CLIP"));
  Checkpoint model = NemoModel();
  for (const auto& [key, value] : {std::pair{"conditioning_key", "hybrid"},
                                   {"beta_schedule", "cosine"},
                                   {"unet_config.resblock_gn_groups", "16"},
                                   {"unet_config.disable_middle_self_attn", "true"},
                                   {"cond_stage_config.max_length", "64"},
                                   {"cond_stage_config.always_return_pooled", "true"}}) {
    Checkpoint other = model;
    ASSERT_THAT(other.config->Set(key, ConfigNode::String(value)), IsOk());
    EXPECT_THAT(Translate(other, "diffusers"), StatusIs(ErrorKind::kUnsupported, std::string(key) + ": expected"));
  }
  ASSERT_THAT(model.config->Set("linear_end", ConfigNode::Float(0.0121)), IsOk());
  EXPECT_THAT(Translate(model, "diffusers"), StatusIs(ErrorKind::kUnsupported, "alphas_cumprod: expected the noise"));
}

TEST(StableDiffusion, ThePageHoldsTheFields) {
  constexpr std::string_view kBegin = "<!-- tables: begin -->\n", kEnd = "<!-- tables: end -->";
  const std::string path = std::string(ANEMONE_SOURCE_DIR) + "/docs/families/diffusers-fields.md";
  std::ifstream file(path);
  std::string page((std::istreambuf_iterator<char>(file)), {});
  const size_t begin = page.find(kBegin) + kBegin.size(), end = page.find(kEnd);
  ASSERT_TRUE(begin < page.size() && end < page.size());
  if (std::getenv("ANEMONE_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << page.replace(begin, end - begin, DescribeDiffusersFields());
  } else {
    EXPECT_EQ(page.substr(begin, end - begin), DescribeDiffusersFields()) << path;
  }
}

// NeMo v2.0.0 controlnet.py: what a ControlNet copies from the UNet's way down has the same names there
// (load_from_unet); the rest are convolutions of its own.
Checkpoint ControlNet() {
  Checkpoint model = NemoModel();
  const std::string unet = "model.model.diffusion_model.", control = "model.control_model.";
  StateDict added;
  size_t number = 5000;
  const auto add = [&](const std::string& name, const Shape& shape) {
    EXPECT_THAT(added.Add(control + name, Numbered(shape, ++number)), IsOk());
  };
  const auto add_conv = [&](const std::string& name, uint64_t out, uint64_t in, uint64_t side) {
    add(name + ".weight", {out, in, side, side});
    add(name + ".bias", {out});
  };
  std::map<int, uint64_t> widths;  // of what each input block gives
  uint64_t middle = 0;
  for (const StateDict::Item& item : model.weights().items()) {
    if (!item.name.starts_with(unet)) continue;
    const std::string name = item.name.substr(unet.size());
    if (!name.starts_with("time_embed.") && !name.starts_with("input_blocks.") && !name.starts_with("middle_block."))
      continue;
    const Shape& shape = item.tensor()->shape();
    add(name, shape);
    if (name.ends_with("0.weight") || name.ends_with("op.weight") || name.ends_with("out_layers.2.weight")) {
      if (name.starts_with("input_blocks."))
        widths[std::atoi(name.c_str() + std::string_view("input_blocks.").size())] = shape[0];
      if (name.starts_with("middle_block.")) middle = shape[0];
    }
  }
  for (const auto& [block, width] : widths) add_conv(fmt::format("zero_convs.{}.0", block), width, width, 1);
  const uint64_t hint[] = {3, 16, 16, 32, 32, 96, 96, 256, widths[0]};
  for (size_t i = 0; i + 1 < std::size(hint); ++i)
    add_conv(fmt::format("input_hint_block.{}", 2 * i), hint[i + 1], hint[i], 3);
  add_conv("middle_block_out.0", middle, middle, 1);
  for (const StateDict::Item& item : added.items()) EXPECT_THAT(model.weights().Add(item.name, item.entry), IsOk());
  ConfigNode& root = model.config->root();
  ConfigNode params = *root.Get("unet_config");
  std::erase_if(params.map, [](const auto& entry) {
    return entry.first == "_target_" || entry.first == "out_channels" || entry.first.starts_with("from_");
  });
  params["hint_channels"] = ConfigNode::Int(3);
  params["from_pretrained_unet"] = ConfigNode::String("/ckpts/v1-5-pruned.ckpt");
  ConfigNode stage = ConfigNode::Map();
  stage["_target_"] =
      ConfigNode::String("nemo.collections.multimodal.models.text_to_image.controlnet.controlnet.ControlNet");
  stage["params"] = std::move(params);
  root["control_stage_config"] = std::move(stage);
  root["only_mid_control"] = ConfigNode::Bool(false);
  return model;
}

TEST(StableDiffusion, AControlNetGoesWithTheModelThatItControls) {
  const TempDir dir;
  Checkpoint model = ControlNet();
  for (const Checkpoint& whole : {NemoModel(), model}) EXPECT_EQ(PartsAlone(Summarize(whole)), "");
  Write(model, "nemo", dir / "control.nemo");
  ANEMONE_ASSERT_ASSIGN(const Verification verified, Verify(dir / "control.nemo", {}));
  EXPECT_THAT(verified.problems, ::testing::IsEmpty());
  Convert(dir / "control.nemo", dir / "control.safetensors", {.dialect = "ldm"});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ldm, OpenCheckpoint(dir / "control.safetensors"));
  // As lllyasviel/ControlNet's cldm.py has them.
  for (const char* name : {"time_embed.2.bias", "input_blocks.0.0.weight", "input_blocks.1.0.in_layers.2.weight",
                           "input_blocks.3.0.op.weight", "input_blocks.4.1.transformer_blocks.0.norm3.bias",
                           "middle_block.2.out_layers.3.weight", "zero_convs.0.0.weight", "zero_convs.3.0.bias",
                           "input_hint_block.14.weight", "middle_block_out.0.bias"})
    EXPECT_NE(ldm.weights().Find(fmt::format("control_model.{}", name)), nullptr) << name;
  ANEMONE_ASSERT_ASSIGN(const Verification single, Verify(dir / "control.safetensors", {}));
  EXPECT_THAT(single.problems, ::testing::IsEmpty());

  std::ofstream(dir / "hparams.yaml") << model.config->ToYaml();
  Convert(dir / "control.safetensors", dir / "back.nemo", {.hparams = dir / "hparams.yaml"});
  EXPECT_EQ(DigestsOf(dir / "back.nemo"), DigestsOf(model.weights()));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, OpenCheckpoint(dir / "back.nemo"));
  EXPECT_TRUE(back.config->Find("control_stage_config.params.from_pretrained_unet")->is_null());

  EXPECT_THAT(Translate(model, "diffusers"),
              StatusIs(ErrorKind::kUnsupported, "expected a Stable Diffusion without a ControlNet"));
  Checkpoint other = model;
  ASSERT_THAT(other.config->Set("control_stage_config.params.channel_mult", ConfigNode::List()), IsOk());
  EXPECT_THAT(Translate(other, "ldm"), StatusIs(ErrorKind::kUnsupported, "channel_mult: expected"));
  other.config = NemoModel().config;
  EXPECT_THAT(Translate(other, "ldm"), StatusIs(ErrorKind::kCorrupt, "expected control_stage_config"));
  StateDict alone = Renamed(
      ldm.weights(), [](const std::string& name) { return name.starts_with("control_model.") ? name : std::string(); });
  Checkpoint control = ldm;
  control.weights() = std::move(alone);
  EXPECT_THAT(Translate(control, "nemo"), StatusIs(ErrorKind::kUnsupported, "beside the Stable Diffusion"));
}

TEST(StableDiffusion, OthersAreNamed) {
  const Checkpoint model = NemoModel();
  for (const auto& [name, said] :
       {std::pair{"model.conditioner.embedders.0.model.logit_scale", "a Stable Diffusion XL"},
        {"model.model.diffusion_model.label_emb.0.0.weight", "a Stable Diffusion XL"}}) {
    Checkpoint other = model;
    ASSERT_THAT(other.weights().Add(name, Numbered({1}, 0)), IsOk());
    EXPECT_THAT(IdentifyModel(other), StatusIs(ErrorKind::kUnsupported, said));
  }
  ANEMONE_ASSERT_ASSIGN(Checkpoint ldm, Translate(model, "ldm"));
  EXPECT_THAT(Translate(ldm, "nemo"), StatusIs(ErrorKind::kUnsupported, "context_dim: expected 768"));
  ldm.weights() = Renamed(ldm.weights(), [](const std::string& name) {
    return name.starts_with("cond_stage_model.") ? std::string() : name;
  });
  EXPECT_THAT(Translate(ldm, "nemo", {.hparams = model.config}),
              StatusIs(ErrorKind::kUnsupported, "cond_stage_model.: expected"));
}

}  // namespace
}  // namespace anemone
