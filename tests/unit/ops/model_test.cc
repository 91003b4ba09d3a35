#include "anemone/model.h"

#include <filesystem>
#include <set>

#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "format/torch_file.h"
#include "ops/archive.h"
#include "ops/diff.h"
#include "ops/source.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;
using testing::Tree;
using testing::WriteFile;

constexpr const char* kClip =
    "nemo.collections.multimodal.models.vision_language_foundation.clip.megatron_clip_models.MegatronCLIPModel";

void WriteOut(const Plan& plan, const std::string& path) {
  ASSERT_THAT(Check(plan), IsOk());
  ASSERT_THAT(Execute(plan, path, {}), IsOk());
}

// Every member of an archive, by name.
std::map<std::string, std::string> Members(const std::string& archive) {
  const TempDir dir;
  auto plan = PlanExtract(archive, {});
  EXPECT_THAT(plan, IsOk());
  if (!plan.ok()) return {};
  WriteOut(*plan, dir / "x");
  return Tree(dir / "x");
}

void ExpectSameCheckpoint(const std::string& a, const std::string& b) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint first, OpenSource(a, {}));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint second, OpenSource(b, {}));
  ANEMONE_ASSERT_ASSIGN(const Difference difference, Diff(first, second, {}));
  EXPECT_TRUE(difference.empty()) << a;
  EXPECT_GT(difference.tensors_compared, 0u);
}

TEST(ModelClassTest, EachIsFoundByTargetNameAndModelType) {
  std::set<std::string_view> seen;
  for (const ModelClass& c : ModelClasses()) {
    EXPECT_TRUE(c.target.starts_with("nemo.collections.")) << c.name;
    EXPECT_TRUE(c.target.ends_with("." + std::string(c.name))) << c.name;
    EXPECT_EQ(FindModelClass(c.target), &c);
    EXPECT_EQ(FindModelClassByName(c.name), &c);
    EXPECT_FALSE(c.description.empty()) << c.name;
    for (const std::string_view type : c.model_types) {
      if (type.empty()) continue;
      EXPECT_EQ(FindModelClassByName(type), &c);
      EXPECT_TRUE(seen.insert(type).second) << type;
    }
  }
  for (const char* type : {"megatron_clip", "stable_diffusion", "instruct_pix2pix", "dreambooth", "imagen",
                           "controlnet", "vit_classification"}) {
    EXPECT_NE(FindModelClassByName(type), nullptr) << type;
  }
  EXPECT_EQ(FindModelClass("nemo.collections.asr.models.EncDecCTCModel"), nullptr);
  EXPECT_EQ(FindModelClass(""), nullptr);
  EXPECT_EQ(FindModelClassByName(""), nullptr);
}

struct Saved {
  const char* file;
  const char* class_name;
};
class ModelGoldenTest : public ::testing::TestWithParam<Saved> {};

TEST_P(ModelGoldenTest, RestoredAndSavedEveryMemberIsTheSame) {
  const std::string file = Golden(GetParam().file);
  const TempDir dir;
  ANEMONE_ASSERT_ASSIGN(const Model model, Model::RestoreFrom({.restore_path = file}));
  EXPECT_EQ(model.class_name(), GetParam().class_name);
  ASSERT_THAT(model.SaveTo(dir / "y.nemo"), IsOk());
  EXPECT_EQ(Members(file), Members(dir / "y.nemo"));
  ExpectSameCheckpoint(file, dir / "y.nemo");

  // Unpacked, and from there back into an archive.
  ASSERT_THAT(model.SaveTo(dir / "folder"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Model again, Model::RestoreFrom({.restore_path = dir / "folder"}));
  ASSERT_THAT(again.SaveTo(dir / "z.nemo"), IsOk());
  EXPECT_EQ(Members(file), Members(dir / "z.nemo"));
}

// Weights laid out anew lose nothing either.
TEST_P(ModelGoldenTest, TouchedWeightsAreWrittenAnewWhole) {
  const std::string file = Golden(GetParam().file);
  const TempDir dir;
  ANEMONE_ASSERT_ASSIGN(Model model, Model::RestoreFrom({.restore_path = file}));
  model.mutable_checkpoint();
  ASSERT_THAT(model.SaveTo(dir / "y.nemo"), IsOk());
  ExpectSameCheckpoint(file, dir / "y.nemo");
}

INSTANTIATE_TEST_SUITE_P(
    , ModelGoldenTest,
    ::testing::Values(Saved{"clip/mcore.nemo", "MegatronCLIPModel"}, Saved{"clip/legacy.nemo", "MegatronCLIPModel"},
                      Saved{"clip/mcore_bf16_O2.nemo", "MegatronCLIPModel"},
                      Saved{"clip/mcore_tp2.nemo", "MegatronCLIPModel"},
                      Saved{"clip/legacy_tp2.nemo", "MegatronCLIPModel"},
                      Saved{"clip_pp/mcore_tp2pp2.nemo", "MegatronCLIPModel"},
                      Saved{"siglip/siglip_32.nemo", "MegatronCLIPModel"},
                      Saved{"siglip/siglip_bf16.nemo", "MegatronCLIPModel"}, Saved{"gpt/A.nemo", "MegatronGPTModel"},
                      Saved{"gpt/A_tp2pp2.nemo", "MegatronGPTModel"}, Saved{"gpt/C.nemo", "MegatronGPTModel"},
                      Saved{"t5/t5.nemo", "MegatronT5Model"}, Saved{"t5/t5_tp2.nemo", "MegatronT5Model"}),
    [](const auto& saved) {
      std::string name = saved.param.file;
      std::replace_if(
          name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
      return name;
    });

TEST(ModelTest, TheConfigIsEditedWithoutTouchingTheRest) {
  const TempDir dir;
  const std::string file = Golden("clip/mcore.nemo");
  ANEMONE_ASSERT_ASSIGN(MegatronCLIPModel model, MegatronCLIPModel::RestoreFrom({.restore_path = file}));
  ASSERT_THAT(model.cfg().Set("optim.lr", ConfigNode::Float(0.25)), IsOk());
  ASSERT_THAT(model.SaveTo(dir / "y.nemo"), IsOk());
  auto before = Members(file), after = Members(dir / "y.nemo");
  EXPECT_NE(before["model_config.yaml"], after["model_config.yaml"]);
  before.erase("model_config.yaml");
  after.erase("model_config.yaml");
  EXPECT_EQ(before, after);
  ANEMONE_ASSERT_ASSIGN(const Model again, Model::RestoreFrom({.restore_path = dir / "y.nemo"}));
  EXPECT_EQ(again.cfg().Find("optim.lr")->AsDouble(), 0.25);
  EXPECT_THAT(model.SaveTo(dir / "y.nemo"), StatusIs(ErrorKind::kAlreadyExists, "already exists"));
  EXPECT_THAT(model.SaveTo(dir / "y.nemo", {.force = true}), IsOk());
}

TEST(ModelTest, AnOverrideReplacesTheConfigEntirely) {
  ANEMONE_ASSERT_ASSIGN(const Model plain, Model::RestoreFrom({.restore_path = Golden("clip/mcore.nemo")}));
  Config override_config = plain.cfg();
  ASSERT_THAT(override_config.Unset("data"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Model model, Model::RestoreFrom({.restore_path = Golden("clip/mcore.nemo"),
                                                               .override_config = override_config}));
  EXPECT_EQ(model.cfg().Find("data"), nullptr);
  EXPECT_TRUE(SameConfig(model.cfg().root(), override_config.root()));

  // A whole training config: its `model` node.
  ConfigNode root = ConfigNode::Map();
  root["trainer"] = ConfigNode::Map();
  root["model"] = override_config.root();
  ANEMONE_ASSERT_ASSIGN(const Model from_training, Model::RestoreFrom({.restore_path = Golden("clip/mcore.nemo"),
                                                                       .override_config = Config(root)}));
  EXPECT_TRUE(SameConfig(from_training.cfg().root(), override_config.root()));

  const TempDir dir;
  ASSERT_THAT(model.SaveTo(dir / "y.nemo"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Model again, Model::RestoreFrom({.restore_path = dir / "y.nemo"}));
  EXPECT_TRUE(SameConfig(again.cfg().root(), override_config.root()));
}

TEST(ModelTest, ReturnConfigReadsNoWeights) {
  const TempDir dir;
  WriteFile(dir / "model_config.yaml", std::string("target: ") + kClip + "\nprecision: 16\n");
  WriteFile(dir / "model_weights.ckpt", "no torch file at all");
  ANEMONE_ASSERT_ASSIGN(const Model model,
                        MegatronCLIPModel::RestoreFrom({.restore_path = dir.path(), .return_config = true}));
  EXPECT_EQ(model.cfg().Find("precision")->AsInt(), 16);
  EXPECT_TRUE(model.checkpoint().shards.empty());
  EXPECT_THAT(model.SaveTo(dir / "y.nemo"), StatusIs(ErrorKind::kInvalidArgument, "only the config"));
  EXPECT_THAT(Model::RestoreFrom({.restore_path = dir.path()}), StatusIs(ErrorKind::kCorrupt, "model_weights.ckpt"));
}

TEST(ModelTest, StrictChecksNamesAndShapes) {
  const std::string broken = Golden("clip/broken_mcore_tp2_left_unsplit.nemo");
  EXPECT_THAT(Model::RestoreFrom({.restore_path = broken}), StatusIs(ErrorKind::kCorrupt, "broken_mcore_tp2"));
  EXPECT_THAT(Model::RestoreFrom({.restore_path = broken, .strict = false}), IsOk());
}

TEST(ModelTest, AnotherClassIsRefusedByName) {
  EXPECT_THAT(MegatronNevaModel::RestoreFrom({.restore_path = Golden("clip/mcore.nemo")}),
              StatusIs(ErrorKind::kInvalidArgument, "expected a MegatronNevaModel, found a MegatronCLIPModel"));
  EXPECT_THAT(Model::RestoreFrom({.restore_path = "/nowhere.nemo"}), StatusIs(ErrorKind::kNotFound, "/nowhere.nemo"));
}

constexpr const char* kStep3 = "megatron_clip--val_loss=5.95-step=3-consumed_samples=12.0.ckpt";

// A training's config gains what NeMo's models append when they are saved: it is then that of the .nemo which the same
// trainer wrote, but for a length of the schedule that only a running trainer knows.
TEST(ConvertTrainingTest, TheConfigIsThatOfTheTrainersNemo) {
  ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(Golden("clip/ckpt_mcore_bf16_O2"), "x.nemo", {}));
  ASSERT_EQ(conversion.source.config->Find("target"), nullptr);
  const Config& config = *conversion.result.config;
  EXPECT_EQ(config.Find("target")->AsString(), kClip);
  EXPECT_EQ(config.root().map.back().first, "nemo_version");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, OpenSource(Golden("clip/mcore_bf16_O2.nemo"), {}));
  Config expected = *nemo.config;
  ASSERT_THAT(expected.Unset("optim.sched.max_steps"), IsOk());
  EXPECT_TRUE(SameConfig(config.root(), expected.root()));
}

TEST(ConvertTrainingTest, EmaWeightsAreThoseOfTheFileBeside) {
  const TempDir dir;
  const std::string source = Golden(std::string("clip/ckpt_mcore/") + kStep3);
  std::filesystem::copy_file(source, dir / "run.ckpt");
  ConvertOptions options;
  options.use_ema = true;
  EXPECT_THAT(PlanConversion(dir / "run.ckpt", dir / "x.nemo", options),
              StatusIs(ErrorKind::kNotFound, "it holds no EMA weights"));
  std::filesystem::copy_file(source, dir / "run-EMA.ckpt");
  for (const char* name : {"run.ckpt", "run-EMA.ckpt"}) {
    ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(dir / name, dir / "x.nemo", options));
    EXPECT_EQ(conversion.source.path, dir / "run-EMA.ckpt");
  }
}

// A class from the future, with members, values and a state dict that nobody here understands.
class UnknownModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ValueGraph& graph = *(value_.graph = std::make_shared<ValueGraph>());
    const auto text = [&](std::string s) {
      ValueRef node = graph.New(ValueNode::Kind::kString);
      node->text = std::move(s);
      return node;
    };
    ValueRef state = value_.node = graph.root = graph.New(ValueNode::Kind::kDict);
    ValueRef tensor = graph.New(ValueNode::Kind::kTensor);
    auto made = Tensor::FromBytes(DType::kF32, {2}, std::string(8, '\x3f'));
    ASSERT_THAT(made, IsOk());
    tensor->tensor = *made;
    ValueRef blob = graph.New(ValueNode::Kind::kBytes);
    blob->text = std::string("\x00\xff odd", 6);
    ValueRef future = graph.New(ValueNode::Kind::kObject);
    future->callable = graph.New(ValueNode::Kind::kGlobal);
    future->callable->text = "transformer_engine.future State";
    future->items = {blob};
    state->items = {text("net.w"), tensor, text("net._extra_state"), future};

    Plan plan;
    plan.is_directory = true;
    const auto add = [&](const std::string& name, std::string bytes) {
      PlanFile& file = plan.files.emplace_back();
      file.path = name;
      file.Append(std::move(bytes));
    };
    PlanFile& weights = plan.files.emplace_back();
    weights.path = "model_weights.ckpt";
    ASSERT_THAT(LayOutTorchFile(value_, "model_weights", weights), IsOk());
    add("model_config.yaml",
        "target: somebody.models.FutureModel\nnested:\n  deep:\n  - {a: [1, {b: ~}], c: 1e-5}\n  - ${.0}\n"
        "odd: yes\ntokenizer: nemo:0123_spm.model\n");
    add("0123_spm.model", "sentencepiece");
    add("notes/README", "by hand");
    add("empty.bin", "");
    WriteOut(plan, dir_ / "src");
    auto packed = PlanPack(dir_ / "src");
    ASSERT_THAT(packed, IsOk());
    WriteOut(*packed, dir_ / "x.nemo");
  }
  Value value_;
  TempDir dir_;
};

TEST_F(UnknownModelTest, RestoresAsAGenericModelAndLosesNothing) {
  ANEMONE_ASSERT_ASSIGN(const Model model, Model::RestoreFrom({.restore_path = dir_ / "x.nemo"}));
  EXPECT_EQ(model.model_class(), nullptr);
  EXPECT_EQ(model.class_name(), "Model");
  ASSERT_THAT(model.SaveTo(dir_ / "y.nemo"), IsOk());
  EXPECT_EQ(Members(dir_ / "x.nemo"), Members(dir_ / "y.nemo"));
  // NeMo falls back to the class that was called.
  ANEMONE_ASSERT_ASSIGN(const MegatronCLIPModel called,
                        MegatronCLIPModel::RestoreFrom({.restore_path = dir_ / "x.nemo"}));
  EXPECT_EQ(called.class_name(), "MegatronCLIPModel");
}

TEST_F(UnknownModelTest, WrittenAnewItKeepsOpaqueStateAndMembers) {
  ANEMONE_ASSERT_ASSIGN(Model model, Model::RestoreFrom({.restore_path = dir_ / "x.nemo"}));
  ASSERT_NE(model.mutable_checkpoint().weights().Find("net._extra_state"), nullptr);
  ASSERT_THAT(model.SaveTo(dir_ / "y.nemo"), IsOk());
  ExpectSameCheckpoint(dir_ / "x.nemo", dir_ / "y.nemo");
  auto before = Members(dir_ / "x.nemo"), after = Members(dir_ / "y.nemo");
  for (const char* name : {"0123_spm.model", "notes/README", "empty.bin"}) EXPECT_EQ(before[name], after[name]) << name;
  ANEMONE_ASSERT_ASSIGN(const Model again, Model::RestoreFrom({.restore_path = dir_ / "y.nemo"}));
  const auto* state = again.checkpoint().weights().Find("net._extra_state");
  ASSERT_TRUE(state != nullptr && state->opaque() != nullptr && state->opaque()->value.node != nullptr);
  ASSERT_EQ(state->opaque()->value.node->items.size(), 1u);
  EXPECT_EQ(state->opaque()->value.node->items[0]->text, std::string("\x00\xff odd", 6));
}

TEST_F(UnknownModelTest, AMissingArtifactIsNamedWhenSaving) {
  ANEMONE_ASSERT_ASSIGN(Model model, Model::RestoreFrom({.restore_path = dir_ / "x.nemo"}));
  ASSERT_THAT(model.cfg().Set("tokenizer", ConfigNode::String("nemo:gone.model")), IsOk());
  EXPECT_THAT(model.SaveTo(dir_ / "y.nemo"), StatusIs(ErrorKind::kCorrupt, "nemo:gone.model"));
}

}  // namespace
}  // namespace anemone
