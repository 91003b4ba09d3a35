// LLaVA's parts in files of their own: NeMo's own CLIP as the image tower, projectors and adapters alone. What is
// expected are the files that NeMo v2.0.0 and transformers wrote (tests/golden).
#include <algorithm>
#include <fstream>

#include "anemone/convert.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "family/family.h"
#include "format/format.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

constexpr std::string_view kTower = "model.embedding.word_embeddings.vision_encoder.";

Status Write(const Checkpoint& checkpoint, const char* format, const std::string& path) {
  Result<Plan> plan = FindFormat(format)->lay_out(checkpoint, {});
  if (!plan.ok()) return plan.status();
  return Execute(*plan, path, {});
}

// Digests of the names that begin so, without that.
Digests Below(const std::string& path, std::string_view prefix) {
  Digests below;
  for (const auto& [name, digest] : DigestsOf(path)) {
    if (name.starts_with(prefix)) below[name.substr(prefix.size())] = digest;
  }
  return below;
}

// ---- NeMo's own CLIP as the tower ----

// NeMo's NeVA, made to see with NeMo's own CLIP, whose 64 columns its projector then has.
void SeeWithNemosClip(Checkpoint* neva) {
  StateDict weights;
  for (const StateDict::Item& item : neva->weights().items()) {
    const bool is_first = item.name.ends_with("mm_projector.0.weight");
    ASSERT_THAT(weights.Add(item.name, is_first ? Entry(*Tensor::Fill(DType::kF32, {64, 64}, 0.5)) : item.entry),
                IsOk());
  }
  neva->weights() = std::move(weights);
  for (const auto& [key, value] : {std::pair{"from_hf", ConfigNode::Bool(false)},
                                   {"freeze", ConfigNode::Bool(false)},
                                   {"hidden_size", ConfigNode::Int(64)},
                                   {"patch_dim", ConfigNode::Int(8)},
                                   {"crop_size", ConfigNode::List({ConfigNode::Int(32), ConfigNode::Int(32)})},
                                   {"from_pretrained", ConfigNode::String("/models/clip.nemo")}})
    ASSERT_THAT(neva->config->Set(std::string("mm_cfg.vision_encoder.") + key, value), IsOk());
}

// And to store it, which NeMo does where `freeze` is false.
void StoreNemosClip(const Checkpoint& clip, Checkpoint* neva) {
  for (const StateDict::Item& item : clip.weights().items()) {
    const std::string_view name = item.name, module = "model.vision_encoder.";
    if (!name.starts_with(std::string(module) + "backbone.") || item.tensor() == nullptr) continue;
    ASSERT_THAT(neva->weights().Add(fmt::format("{}{}", kTower, name.substr(module.size())), item.entry), IsOk());
  }
}

class NemosClipTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto neva = OpenCheckpoint(Golden("families/llava.nemo")), clip = OpenCheckpoint(clip_);
    ASSERT_THAT(neva, IsOk());
    ASSERT_THAT(clip, IsOk());
    SeeWithNemosClip(&*neva);
    ASSERT_THAT(Write(*neva, "nemo", temp_.path() + "/frozen.nemo"), IsOk());
    StoreNemosClip(*clip, &*neva);
    ASSERT_THAT(Write(*neva, "nemo", nemo_), IsOk());
    neva->config->root()["tokenizer"]["model"] = ConfigNode::Null();  // of the .nemo that it is not in
    std::ofstream(yaml_) << neva->config->ToYaml();
  }

  const TempDir temp_;
  const std::string clip_ = Golden("clip/legacy.nemo"), nemo_ = temp_.path() + "/neva.nemo", hf_ = temp_.path() + "/hf",
                    yaml_ = temp_.path() + "/neva.yaml";
};

// NeMo's converter made that CLIP of clip/hf.
TEST_F(NemosClipTest, BecomesTransformersTower) {
  EXPECT_THAT(PlanConversion(nemo_, hf_, {.to = "hf"}),
              StatusIs(ErrorKind::kNotFound, "mm_cfg.vision_encoder.from_pretrained: expected the CLIP's .nemo"));
  // By its class, as without.
  EXPECT_THAT(PlanConversion(nemo_, hf_, {.to = "hf", .architecture = "LlamaForCausalLM", .tower = clip_}),
              StatusIs(ErrorKind::kInvalidArgument, "expected LlavaForConditionalGeneration, which such a model is"));
  Convert(nemo_, hf_, {.to = "hf", .architecture = "LlavaForConditionalGeneration", .tower = clip_});
  const Digests tower = Below(hf_, "vision_tower.vision_model.");
  EXPECT_EQ(tower, Below(Golden("clip/hf"), "vision_model."));
  EXPECT_EQ(tower.size(), 55u);
  const Config made = JsonOf(hf_ + "/config.json"), own = JsonOf(Golden("clip/hf/config.json"));
  for (const char* key : {"num_attention_heads", "image_size", "patch_size", "hidden_act", "num_hidden_layers"}) {
    const ConfigNode *found = made.Find(std::string("vision_config.") + key),
                     *expected = own.Find(std::string("vision_config.") + key);
    ASSERT_TRUE(found != nullptr || expected == nullptr) << key;
    EXPECT_TRUE(expected == nullptr || SameConfig(*found, *expected)) << key;
  }
}

// Over tensor ranks it lies as NeMo's own CLIP of two ranks does.
TEST_F(NemosClipTest, IsDividedOverTensorRanks) {
  const std::string two = temp_.path() + "/two.nemo";
  Convert(nemo_, two, {.dialect = "legacy", .tower = clip_, .tp = 2});
  const auto ours = OpenCheckpoint(two), theirs = OpenCheckpoint(Golden("clip/legacy_tp2.nemo"));
  ASSERT_THAT(ours, IsOk());
  ASSERT_THAT(theirs, IsOk());
  ASSERT_EQ(ours->shards.size(), 2u);
  size_t compared = 0;
  for (size_t rank = 0; rank < 2; ++rank) {
    for (const StateDict::Item& item : theirs->shards[rank].weights.items()) {
      const std::string_view module = "model.vision_encoder.backbone.";
      if (!item.name.starts_with(module) || item.tensor() == nullptr) continue;
      const auto* found = ours->shards[rank].weights.Find("model.language_model.embedding.word_embeddings." +
                                                          item.name.substr(std::string_view("model.").size()));
      ASSERT_NE(found, nullptr) << item.name;
      EXPECT_EQ(*found->tensor()->Read(), *item.tensor()->Read()) << item.name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 2u * 43);
  Convert(two, hf_, {.to = "hf"});
  EXPECT_EQ(Below(hf_, "vision_tower.vision_model."), Below(Golden("clip/hf"), "vision_model."));
}

// A head is not cut in two, in whichever part it is.
TEST_F(NemosClipTest, HasHeadsThatRanksDivide) {
  const std::string one_head = temp_.path() + "/clip.nemo";
  auto clip = OpenCheckpoint(clip_);
  ASSERT_THAT(clip, IsOk());
  ASSERT_THAT(clip->config->Set("vision.num_attention_heads", ConfigNode::Int(1)), IsOk());
  ASSERT_THAT(Write(*clip, "nemo", one_head), IsOk());
  EXPECT_THAT(
      PlanConversion(nemo_, temp_.path() + "/two.nemo", {.dialect = "legacy", .tower = one_head, .tp = 2}),
      StatusIs(ErrorKind::kInvalidArgument, "expected a number of heads that tensor parallel 2 divides in the"));
}

// A LLaVA becomes such a NeVA where the user's YAML says that NeMo builds it so.
TEST_F(NemosClipTest, IsWrittenWhereTheConfigSaysSo) {
  const std::string back = temp_.path() + "/back.nemo";
  Convert(nemo_, hf_, {.to = "hf", .tower = clip_});
  EXPECT_THAT(PlanConversion(hf_, back, {.hparams = yaml_}),
              StatusIs(ErrorKind::kNotFound, "mm_cfg.vision_encoder.from_hf: false"));
  EXPECT_THAT(PlanConversion(hf_, back, {.hparams = yaml_, .tower = Golden("clip/hf")}),
              StatusIs(ErrorKind::kNotFound, "mm_cfg.vision_encoder.from_hf: false"));
  Convert(hf_, back, {.hparams = yaml_, .tower = clip_});
  EXPECT_EQ(DigestsOf(back), DigestsOf(nemo_));
  Convert(back, temp_.path() + "/again", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp_.path() + "/again"), DigestsOf(hf_));
}

TEST_F(NemosClipTest, WhatItCannotDoIsRefusedByName) {
  EXPECT_THAT(PlanConversion(nemo_, temp_.path() + "/two", {.to = "nemo2", .tower = clip_}),
              StatusIs(ErrorKind::kUnsupported, "from_hf: expected true"));
  auto neva = OpenCheckpoint(nemo_);
  ASSERT_THAT(neva, IsOk());
  ASSERT_THAT(neva->config->Set("mm_cfg.vision_encoder.vision_select_layer", ConfigNode::Int(1)), IsOk());
  ASSERT_THAT(Write(*neva, "nemo", temp_.path() + "/first.nemo"), IsOk());
  EXPECT_THAT(PlanConversion(temp_.path() + "/first.nemo", hf_, {.to = "hf", .tower = clip_}),
              StatusIs(ErrorKind::kUnsupported, "vision_select_layer: expected a number below 0"));
}

// ---- projectors alone, and adapters beside one ----

constexpr std::string_view kProjector =
    "model.embedding.word_embeddings.adapter_layer.mm_projector_adapter.mm_projector";

// Another projector than the golden LLaVA's, under names that begin as the file's do, the last name first.
StateDict ProjectorNamed(const std::string& prefix, double value = 0.25) {
  StateDict weights;
  const std::pair<const char*, Shape> kTensors[] = {
      {".2.bias", {64}}, {".2.weight", {64, 64}}, {".0.bias", {64}}, {".0.weight", {64, 32}}};
  for (const auto& [end, shape] : kTensors)
    EXPECT_THAT(weights.Add(prefix + end, *Tensor::Fill(DType::kF32, shape, value)), IsOk());
  return weights;
}

// What the golden LLaVA is with that projector.
Digests WithProjector() {
  Digests digests = DigestsOf(Golden("decoders/llava/hf"));
  const Digests others = DigestsOf(ProjectorNamed("p"));
  for (const auto& [ours, theirs] : {std::pair{"linear_1.", "p.0."}, {"linear_2.", "p.2."}}) {
    for (const char* end : {"weight", "bias"})
      digests[fmt::format("multi_modal_projector.{}{}", ours, end)] = others.at(fmt::format("{}{}", theirs, end));
  }
  return digests;
}

// NeMo's NeVA with other tensors in the place of its own, its language model frozen.
std::string Frozen(const StateDict& weights, const std::string& path) {
  auto neva = OpenCheckpoint(Golden("families/llava.nemo"));
  EXPECT_THAT(neva, IsOk());
  neva->weights() = weights;
  EXPECT_THAT(neva->config->Set("mm_cfg.llm.freeze", ConfigNode::Bool(true)), IsOk());
  EXPECT_THAT(neva->config->Set("mm_cfg.llm.from_pretrained", ConfigNode::String("/models/llm.nemo")), IsOk());
  EXPECT_THAT(Write(*neva, "nemo", path), IsOk());
  return path;
}

TEST(Projector, AloneIsTakenFromEveryKindOfFile) {
  const TempDir temp;
  Checkpoint bare;
  bare.shards.resize(1);
  bare.weights() = ProjectorNamed("model.mm_projector");
  const std::string file = temp.path() + "/mm_projector.bin";
  ASSERT_THAT(Write(bare, "pytorch", file), IsOk());
  Checkpoint vila = bare;
  vila.weights() = ProjectorNamed("layers");
  vila.config =
      *Config::ParseJson(R"({"model_type": "v2l_projector", "mm_projector_type": "mlp2x_gelu"})", "config.json");
  ASSERT_THAT(Write(vila, "hf", temp.path() + "/vila"), IsOk());
  std::filesystem::create_directory(temp.path() + "/folder");
  std::filesystem::copy(file, temp.path() + "/folder");
  std::ofstream(temp.path() + "/folder/config.json") << R"({"model_type": "llava", "mm_projector_type": "mlp2x_gelu"})";
  const std::string old = "model.embedding.word_embeddings.adapter_layer.mm_linear_adapter.linear";
  for (const std::string& donor : {file, temp.path() + "/vila", temp.path() + "/folder",
                                   Frozen(ProjectorNamed(std::string(kProjector)), temp.path() + "/first.nemo"),
                                   Frozen(ProjectorNamed(old), temp.path() + "/old.nemo")}) {
    SCOPED_TRACE(donor);
    const TempDir out;
    Convert(Golden("decoders/llava/hf"), out.path() + "/hf", {.to = "hf", .tower = donor});
    EXPECT_EQ(DigestsOf(out.path() + "/hf"), WithProjector());
    // By the way of NeMo.
    Convert(Golden("decoders/llava/hf"), out.path() + "/x.nemo", {.tower = donor});
    Convert(out.path() + "/x.nemo", out.path() + "/back", {.to = "hf"});
    EXPECT_EQ(DigestsOf(out.path() + "/back"), WithProjector());
  }
}

// What a training of the projector alone saves becomes a model with the language model and the tower of others.
TEST(Projector, GetsItsModel) {
  for (const std::string& prefix :
       {std::string(kProjector),
        std::string("model.embedding.word_embeddings.adapter_layer.mm_linear_adapter.linear")}) {
    const TempDir temp;
    const std::string first = Frozen(ProjectorNamed(prefix), temp.path() + "/first.nemo"),
                      whole = temp.path() + "/x.nemo";
    EXPECT_THAT(PlanConversion(first, temp.path() + "/hf", {.to = "hf"}),
                StatusIs(ErrorKind::kNotFound, "mm_cfg.llm.from_pretrained says /models/llm.nemo"));
    Convert(first, whole, {.tower = Golden("decoders/llava/hf")});
    Convert(whole, temp.path() + "/hf", {.to = "hf"});
    EXPECT_EQ(DigestsOf(temp.path() + "/hf"), WithProjector());
  }
}

TEST(Projector, OfAnotherFormOrWidthIsRefusedByName) {
  const TempDir temp;
  Checkpoint linear;
  linear.shards.resize(1);
  ASSERT_THAT(linear.weights().Add("model.mm_projector.weight", *Tensor::Fill(DType::kF32, {64, 32}, 1)), IsOk());
  ASSERT_THAT(linear.weights().Add("model.mm_projector.bias", *Tensor::Fill(DType::kF32, {64}, 1)), IsOk());
  ASSERT_THAT(Write(linear, "pytorch", temp.path() + "/linear.bin"), IsOk());
  EXPECT_THAT(PlanConversion(Golden("decoders/llava/hf"), temp.path() + "/x",
                             {.to = "hf", .tower = temp.path() + "/linear.bin"}),
              StatusIs(ErrorKind::kUnsupported, "found a projector of linear"));
  // NeMo has it.
  Convert(Golden("families/llava.nemo"), temp.path() + "/x.nemo", {.tower = temp.path() + "/linear.bin"});
  const auto made = OpenCheckpoint(temp.path() + "/x.nemo");
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->config->Find("mm_cfg.mm_mlp_adapter_type")->AsString(), "linear");
  EXPECT_THAT(ToCanonical(*made), IsOk());
  Checkpoint wrong = *made;
  ASSERT_THAT(wrong.config->Set("mm_cfg.mm_mlp_adapter_type", ConfigNode::String("mlp2x_gelu")), IsOk());
  EXPECT_THAT(ToCanonical(wrong), StatusIs(ErrorKind::kCorrupt, "mm_cfg.mm_mlp_adapter_type: expected linear"));
  ASSERT_THAT(wrong.config->Set("mm_cfg.mm_mlp_adapter_type", ConfigNode::String("linear")), IsOk());
  StateDict narrow;
  for (const StateDict::Item& item : wrong.weights().items()) {
    const bool is_projector = item.name.ends_with("mm_projector.weight");
    ASSERT_THAT(narrow.Add(item.name, is_projector ? Entry(*Tensor::Fill(DType::kF32, {48, 32}, 1)) : item.entry),
                IsOk());
  }
  wrong.weights() = narrow;
  EXPECT_THAT(ToCanonical(wrong), StatusIs(ErrorKind::kCorrupt, "projector.weight: expected 64 rows"));
}

// VILA's, which is no LLaVA's of transformers.
TEST(Projector, OfVilaGoesWhereItCanBeSaid) {
  const TempDir temp;
  auto neva = OpenCheckpoint(Golden("families/llava.nemo"));
  ASSERT_THAT(neva, IsOk());
  StateDict weights;
  for (const StateDict::Item& item : neva->weights().items()) {
    if (item.name.starts_with(kProjector)) continue;
    ASSERT_THAT(weights.Add(item.name, item.entry), IsOk());
  }
  const std::pair<const char*, Shape> kTensors[] = {{".1.weight", {128}}, {".1.bias", {128}}, {".2.weight", {64, 128}},
                                                    {".2.bias", {64}},    {".4.bias", {64}},  {".4.weight", {64, 64}}};
  for (const auto& [end, shape] : kTensors)
    ASSERT_THAT(weights.Add(std::string(kProjector) + end, *Tensor::Fill(DType::kF32, shape, 0.5)), IsOk());
  neva->weights() = std::move(weights);
  ASSERT_THAT(neva->config->Set("mm_cfg.mm_mlp_adapter_type", ConfigNode::String("mlp_downsample")), IsOk());
  const std::string vila = temp.path() + "/vila.nemo", own = temp.path() + "/own", back = temp.path() + "/back.nemo",
                    donor = Golden("decoders/llava/hf");
  ASSERT_THAT(Write(*neva, "nemo", vila), IsOk());
  EXPECT_THAT(PlanConversion(vila, temp.path() + "/hf", {.to = "hf", .tower = donor}),
              StatusIs(ErrorKind::kUnsupported, "mm_cfg.mm_mlp_adapter_type: expected mlp2x_gelu"));
  EXPECT_THAT(PlanConversion(vila, temp.path() + "/two", {.to = "nemo2", .tower = donor}),
              StatusIs(ErrorKind::kUnsupported, "mm_cfg.mm_mlp_adapter_type"));
  Convert(vila, own, {.to = "hf", .dialect = "llava", .tower = donor});
  EXPECT_EQ(JsonOf(own + "/config.json").Find("mm_projector_type")->AsString(), "mlp_downsample");
  Convert(own, back, {});
  Digests digests = DigestsOf(back);
  std::erase_if(digests, [](const auto& item) { return item.first.starts_with(kTower); });
  EXPECT_EQ(digests, DigestsOf(vila));
}

// NeVA's PEFT saves the projector with the adapter [MultimodalAdapterModelMixin.add_adapter].
TEST(Projector, ComesWithALoraThatNevaSaved) {
  const TempDir temp;
  const auto lora = OpenCheckpoint(Golden("lora/nemo_fused.nemo"));
  ASSERT_THAT(lora, IsOk());
  StateDict of_lora, both = ProjectorNamed(std::string(kProjector));
  for (const StateDict::Item& item : lora->weights().items()) {
    // The golden adapter is of a Llama of other sizes: its form, in this one's.
    const bool is_in = item.name.ends_with("linear_in.weight");
    if (item.name.find("lora_dense_attention_adapter") == std::string::npos) continue;
    const auto matrix = Tensor::Fill(DType::kF32, is_in ? Shape{4, 64} : Shape{64, 4}, 0.125);
    ASSERT_THAT(matrix, IsOk());
    ASSERT_THAT(of_lora.Add(item.name, *matrix), IsOk());
    ASSERT_THAT(both.Add(item.name, *matrix), IsOk());
  }
  ASSERT_GE(of_lora.size(), 2u);
  Checkpoint alone = *lora, with = *lora;
  alone.weights() = of_lora;
  with.weights() = both;
  ASSERT_THAT(Write(alone, "nemo", temp.path() + "/alone.nemo"), IsOk());
  ASSERT_THAT(Write(with, "nemo", temp.path() + "/with.nemo"), IsOk());
  const std::string base = Golden("decoders/llava/hf");
  Convert(base, temp.path() + "/a", {.to = "hf", .lora = {temp.path() + "/alone.nemo"}});
  Convert(base, temp.path() + "/b", {.to = "hf", .lora = {temp.path() + "/with.nemo"}});
  const Digests one = DigestsOf(temp.path() + "/a"), other = DigestsOf(temp.path() + "/b"), expected = WithProjector(),
                before = DigestsOf(base);
  EXPECT_NE(one, before);
  for (const auto& [name, digest] : other)
    EXPECT_EQ(digest, name.starts_with("multi_modal_projector.") ? expected.at(name) : one.at(name)) << name;
  EXPECT_THAT(PlanConversion(temp.path() + "/with.nemo", temp.path() + "/peft", {.to = "peft"}),
              StatusIs(ErrorKind::kUnsupported, "mm_projector"));
  EXPECT_THAT(PlanConversion(temp.path() + "/with.nemo", temp.path() + "/x", {.to = "hf"}),
              StatusIs(ErrorKind::kUnsupported, "found a LoRA alone"));
}

}  // namespace
}  // namespace anemone
