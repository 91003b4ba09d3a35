#include "anemone/model.h"

#include <filesystem>
#include <set>

#include "anemone/check.h"
#include "edit/archive.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "format/torch/torch_write.h"
#include "inspect/summary.h"
#include "source/source.h"
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

// Values as torch.save would be given them.
class TestValue {
 public:
  ValueGraph& graph() { return *graph_; }
  ValueRef None() { return graph_->New(ValueNode::Kind::kNone); }
  ValueRef Text(std::string text) {
    ValueRef node = graph_->New(ValueNode::Kind::kString);
    node->text = std::move(text);
    return node;
  }
  ValueRef Bytes(std::string bytes) {
    ValueRef node = graph_->New(ValueNode::Kind::kBytes);
    node->text = std::move(bytes);
    return node;
  }
  ValueRef Int(int64_t value) {
    ValueRef node = graph_->New(ValueNode::Kind::kInt);
    node->integer = value;
    return node;
  }
  ValueRef List(ValueList items) {
    ValueRef node = graph_->New(ValueNode::Kind::kList);
    node->items = std::move(items);
    return node;
  }
  ValueRef Dict(const std::vector<std::pair<std::string, ValueRef>>& entries) {
    ValueRef node = graph_->New(ValueNode::Kind::kDict);
    for (const auto& [key, entry] : entries) {
      node->items.push_back(Text(key));
      node->items.push_back(entry);
    }
    return node;
  }
  ValueRef Tensor(DType dtype, Shape shape, char fill) {
    uint64_t bytes = SizeBytes(dtype);
    for (const uint64_t size : shape) bytes *= size;
    ValueRef node = graph_->New(ValueNode::Kind::kTensor);
    auto made = anemone::Tensor::FromBytes(dtype, std::move(shape), std::string(bytes, fill));
    EXPECT_THAT(made, IsOk());
    node->tensor = std::make_unique<anemone::Tensor>(*made);
    return node;
  }
  // A torch file of this root.
  void Write(const std::string& path, ValueRef root) {
    Plan plan;
    graph_->root = root;
    ASSERT_THAT(LayOutTorchFile({graph_, root}, "archive", plan.files.emplace_back()), IsOk());
    ASSERT_THAT(Check(plan), IsOk());
    ExecuteOptions options;
    options.replace = true;
    ASSERT_THAT(Execute(plan, path, options), IsOk());
  }

 private:
  std::shared_ptr<ValueGraph> graph_ = std::make_shared<ValueGraph>();
};

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

// As Lightning's EMAWeightAveraging saves them.
TEST(ConvertTrainingTest, EmaWeightsAreTheStateDictsOfWeightAveraging) {
  TestValue value;
  const TempDir dir;
  const auto weights = [&](char fill) { return value.Dict({{"w", value.Tensor(DType::kF32, {1}, fill)}}); };
  value.Write(dir / "run.ckpt", value.Dict({{"pytorch-lightning_version", value.Text("2.6.0")},
                                            {"global_step", value.Int(3)},
                                            {"state_dict", weights(1)},
                                            {"optimizer_states", value.List({})},
                                            {"current_model_state", weights(2)},
                                            {"averaging_state", value.Dict({{"n_averaged", value.Int(3)}})}}));
  ConvertOptions options;
  options.use_ema = true;
  ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(dir / "run.ckpt", dir / "x.safetensors", options));
  EXPECT_EQ(*conversion.result.weights().Find("w")->tensor()->Read(), std::string(4, 1));
}

// EMA weights as NeMo's optimizer saves them: nameless, those with weight decay first.
TEST(ConvertTrainingTest, EmaWeightsAreThoseOfTheOptimizer) {
  TestValue value;
  const auto tensor = [&](Shape shape, char fill) { return value.Tensor(DType::kF32, std::move(shape), fill); };
  const ValueRef weights = value.Dict({{"model.a.weight", tensor({2, 3}, 1)},
                                       {"model.a.bias", tensor({2}, 2)},
                                       {"model.norm.weight", tensor({3}, 3)},
                                       {"model.a._extra_state", value.None()},
                                       {"model.b.weight", tensor({3, 2}, 4)}});
  const auto group = [&](int parameters) {
    return value.Dict({{"params", value.List(std::vector<ValueRef>(parameters, value.Int(0)))}});
  };
  const auto write = [&](const std::string& path, const ValueList& groups, const ValueList& ema) {
    const ValueRef optimizer =
        value.Dict({{"opt", value.Dict({{"state", value.Dict({})}, {"param_groups", value.List(groups)}})},
                    {"ema", value.List(ema)},
                    {"decay", value.Int(1)}});
    value.Write(path, value.Dict({{"pytorch-lightning_version", value.Text("2.4.0")},
                                  {"global_step", value.Int(3)},
                                  {"state_dict", weights},
                                  {"optimizer_states", value.List({optimizer})}}));
  };
  const TempDir dir;
  ConvertOptions options;
  options.use_ema = true;
  const auto bytes = [](const Conversion& conversion, std::string_view name) {
    const Tensor* found = conversion.result.weights().Find(name)->tensor();
    Result<std::string> read = found->Read();
    return read.ok() ? *read : std::string();
  };
  for (const bool norms_decay : {true, false}) {
    SCOPED_TRACE(norms_decay);
    std::vector<ValueRef> ema = {tensor({2, 3}, 11), tensor({3, 2}, 14), tensor({2}, 12), tensor({3}, 13)};
    if (norms_decay) ema = {tensor({2, 3}, 11), tensor({3}, 13), tensor({3, 2}, 14), tensor({2}, 12)};
    const std::string path = dir / (norms_decay ? "decay.ckpt" : "no_decay.ckpt");
    write(path, {group(norms_decay ? 3 : 2), group(norms_decay ? 1 : 2)}, ema);
    ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(path, dir / "x.safetensors", options));
    EXPECT_EQ(bytes(conversion, "model.a.weight"), std::string(24, 11));
    EXPECT_EQ(bytes(conversion, "model.a.bias"), std::string(8, 12));
    EXPECT_EQ(bytes(conversion, "model.norm.weight"), std::string(12, 13));
    EXPECT_EQ(bytes(conversion, "model.b.weight"), std::string(24, 14));
  }
  // Of other shapes, they are nobody's.
  write(dir / "odd.ckpt", {group(3), group(1)}, {tensor({2, 3}, 1), tensor({3}, 1), tensor({2, 2}, 1), tensor({2}, 1)});
  EXPECT_THAT(PlanConversion(dir / "odd.ckpt", dir / "x.safetensors", options),
              StatusIs(ErrorKind::kUnsupported, "optimizer_states.0.ema"));
}

TEST(ConvertTrainingTest, TheModelTypeNamesAModelThatNamesItselfNot) {
  TestValue value;
  const TempDir dir;
  const auto write = [&](const std::string& path, const std::string& target) {
    ValueRef cfg = value.Dict({{"precision", value.Int(32)}});
    if (!target.empty()) cfg = value.Dict({{"target", value.Text(target)}});
    value.Write(path, value.Dict({{"pytorch-lightning_version", value.Text("2.4.0")},
                                  {"state_dict", value.Dict({{"model.w", value.Tensor(DType::kF32, {2}, 1)}})},
                                  {"hyper_parameters", value.Dict({{"cfg", cfg}})}}));
  };
  write(dir / "run.ckpt", "");
  ConvertOptions options;
  options.model_class = "controlnet";
  ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(dir / "run.ckpt", dir / "x.nemo", options));
  EXPECT_EQ(conversion.result.config->Find("target")->AsString(), FindModelClassByName("MegatronControlNet")->target);
  options.model_class = "no_such_type";
  EXPECT_THAT(PlanConversion(dir / "run.ckpt", dir / "x.nemo", options),
              StatusIs(ErrorKind::kInvalidArgument, "known are megatron_clip, stable_diffusion"));
  write(dir / "run.ckpt", kClip);
  options.model_class = "imagen";
  EXPECT_THAT(PlanConversion(dir / "run.ckpt", dir / "x.nemo", options),
              StatusIs(ErrorKind::kInvalidArgument, "expected a MegatronImagen as asked, found a MegatronCLIPModel"));
}

// NeMo 2's folders become NeMo 1's archives and go back: weights, config, tokenizer.
TEST(ConvertNemo2Test, LlamaThereAndBack) {
  const TempDir dir;
  const std::string source = Golden("dist/nemo2_llama/nemo");
  const auto convert = [](const std::string& from, const std::string& to, const std::string& format) {
    ConvertOptions options;
    options.to = format;
    ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(from, to, options));
    ASSERT_THAT(RunConversion(conversion, {}), IsOk());
  };
  convert(source, dir / "x.nemo", "");
  ANEMONE_ASSERT_ASSIGN(const Model model, Model::RestoreFrom({.restore_path = dir / "x.nemo"}));
  EXPECT_EQ(model.class_name(), "MegatronGPTModel");
  EXPECT_EQ(model.cfg().Find("activation")->AsString(), "fast-swiglu");
  EXPECT_EQ(model.cfg().Find("tokenizer.library")->AsString(), "sentencepiece");
  convert(dir / "x.nemo", dir / "back", "nemo2");
  for (const std::string& path : {source, dir / "x.nemo", dir / "back"}) {
    ANEMONE_ASSERT_ASSIGN(const Verification verified, Verify(path, {}));
    EXPECT_THAT(verified.problems, ::testing::IsEmpty()) << path;
  }
  ANEMONE_ASSERT_ASSIGN(const Checkpoint first, OpenSource(source, {}));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, OpenSource(dir / "back", {}));
  EXPECT_EQ(back.config->Find("_target_")->AsString(), first.config->Find("_target_")->AsString());
  for (const auto& [key, value] : back.config->root().Get("config")->map) {
    const ConfigNode* theirs = first.config->root().Get("config")->Get(key);
    ASSERT_NE(theirs, nullptr) << key;
    EXPECT_TRUE(SameConfig(*theirs, value)) << key;
  }
  ASSERT_EQ(first.weights().size(), back.weights().size());
}

// CLIP's towers have other names there, and nothing else.
TEST(ConvertNemo2Test, ClipThereAndBack) {
  const TempDir dir;
  ConvertOptions options;
  options.to = "nemo2";
  ANEMONE_ASSERT_ASSIGN(const Conversion there, PlanConversion(Golden("clip/mcore.nemo"), dir / "folder", options));
  ASSERT_THAT(RunConversion(there, {}), IsOk());
  const std::string keys = testing::ReadFile(dir / "folder/weights/.metadata");
  EXPECT_NE(keys.find("module.vision_model.decoder.layers.self_attention.linear_qkv.weight"), std::string::npos);
  EXPECT_NE(keys.find("module.text_model.head.weight"), std::string::npos);
  EXPECT_EQ(keys.find("vision_encoder"), std::string::npos);
  ANEMONE_ASSERT_ASSIGN(const Conversion back, PlanConversion(dir / "folder", dir / "x.nemo", {}));
  ASSERT_THAT(RunConversion(back, {}), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint first, OpenSource(Golden("clip/mcore.nemo"), {}));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint second, OpenSource(dir / "x.nemo", {}));
  ANEMONE_ASSERT_ASSIGN(const Difference difference, Diff(first, second, {.only_weights = true}));
  EXPECT_TRUE(difference.tensors.empty());
  EXPECT_EQ(difference.tensors_compared, 74u);
}

// A LLaVA's language model, encoder and projector move to where the other generation has them.
TEST(ConvertNemo2Test, LlavaThereAndBack) {
  const TempDir dir;
  // As NeMo's converter wrote it, and one tensor of the tower that it leaves out.
  ANEMONE_ASSERT_ASSIGN(Checkpoint llava, OpenSource(Golden("families/llava.nemo"), {}));
  ANEMONE_ASSERT_ASSIGN(const Tensor tensor, Tensor::FromBytes(DType::kF32, {2}, "12345678"));
  const std::string tower = "model.embedding.word_embeddings.vision_encoder.vision_model.post_layernorm.weight";
  ASSERT_THAT(llava.weights().Add(tower, tensor), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("nemo")->lay_out(llava, {}));
  WriteOut(plan, dir / "src.nemo");
  ConvertOptions options;
  options.to = "nemo2";
  ANEMONE_ASSERT_ASSIGN(const Conversion there, PlanConversion(dir / "src.nemo", dir / "two", options));
  ASSERT_THAT(RunConversion(there, {}), IsOk());
  const std::string keys = testing::ReadFile(dir / "two/weights/.metadata");
  for (const char* key : {"module.language_model.embedding.word_embeddings.weight", "module.vision_projection.0.weight",
                          "module.vision_model.vision_model.post_layernorm.weight",
                          "module.language_model.decoder.layers.self_attention.linear_qkv.weight"}) {
    EXPECT_NE(keys.find(key), std::string::npos) << key;
  }
  ANEMONE_ASSERT_ASSIGN(const Conversion back, PlanConversion(dir / "two", dir / "x.nemo", {}));
  ASSERT_THAT(RunConversion(back, {}), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint again, OpenSource(dir / "x.nemo", {}));
  size_t compared = 0;
  for (const StateDict::Item& item : llava.weights().items()) {
    if (item.tensor() == nullptr) continue;
    const StateDict::Item* other = again.weights().Find(item.name);
    ASSERT_NE(other, nullptr) << item.name;
    EXPECT_TRUE(*other->tensor()->Read() == *item.tensor()->Read()) << item.name;
    ++compared;
  }
  EXPECT_EQ(compared, 20u);
}

// A .ckpt to start from has the keys of a training and nothing of one.
TEST(ConvertTrainingTest, AStartingPointHoldsNoTrainingState) {
  const TempDir dir;
  ConvertOptions options;
  options.to = "ckpt";
  ANEMONE_ASSERT_ASSIGN(const Conversion conversion,
                        PlanConversion(Golden("clip/mcore.nemo"), dir / "x.ckpt", options));
  ASSERT_THAT(RunConversion(conversion, {}), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint start, OpenSource(dir / "x.ckpt", {}));
  EXPECT_FALSE(Summarize(start).has_training_state);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint run, OpenSource(Golden("clip/ckpt_mcore"), {}));
  EXPECT_TRUE(Summarize(run).has_training_state);
}

// What a model class's files look like: names as NeMo's modules have them, dtypes and shapes of every kind.
struct ClassSample {
  const char* class_name;
  std::vector<std::string> names;
  const char* reference = "tokenizer.model";
};
void PrintTo(const ClassSample& sample, std::ostream* out) { *out << sample.class_name; }

class ModelClassRoundTripTest : public ::testing::TestWithParam<ClassSample> {
 protected:
  void SetUp() override {
    TestValue value;
    constexpr DType kDTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kI64};
    std::vector<std::pair<std::string, ValueRef>> entries;
    for (size_t i = 0; i < GetParam().names.size(); ++i) {
      const Shape shape = i % 2 == 0 ? Shape{2, 3, 1, 1} : Shape{5};
      entries.emplace_back(GetParam().names[i], value.Tensor(kDTypes[i % 4], shape, static_cast<char>(i + 1)));
    }
    entries.emplace_back(GetParam().names[0] + "_extra_state", value.None());
    std::filesystem::create_directories(dir_ / "src");
    value.Write(dir_ / "src/model_weights.ckpt", value.Dict(entries));
    const ModelClass* c = FindModelClassByName(GetParam().class_name);
    ASSERT_NE(c, nullptr);
    ANEMONE_ASSERT_ASSIGN(Config config,
                          Config::ParseYaml("precision: bf16\noptim:\n  lr: 1e-5\n  betas: [0.9, 0.95]\n"
                                            "first_stage_config:\n  from_pretrained: ~\n  _target_: x.Y\n",
                                            "sample"));
    ASSERT_THAT(config.Set(GetParam().reference, ConfigNode::String("nemo:00112233445566778899aabbccddeeff_spm.model")),
                IsOk());
    ASSERT_THAT(config.Set("target", ConfigNode::String(std::string(c->target))), IsOk());
    WriteFile(dir_ / "src/model_config.yaml", config.ToYaml());
    WriteFile(dir_ / "src/00112233445566778899aabbccddeeff_spm.model", "sentencepiece");
    WriteFile(dir_ / "src/unmentioned.json", "{}");
    ANEMONE_ASSERT_ASSIGN(const Plan packed, PlanPack(dir_ / "src"));
    WriteOut(packed, dir_ / "x.nemo");
  }
  TempDir dir_;
};

TEST_P(ModelClassRoundTripTest, RestoresAndSavesWhole) {
  ANEMONE_ASSERT_ASSIGN(Model model, Model::RestoreFrom({.restore_path = dir_ / "x.nemo"}));
  EXPECT_EQ(model.class_name(), GetParam().class_name);
  EXPECT_EQ(model.checkpoint().weights().size(), GetParam().names.size() + 1);
  ASSERT_THAT(model.SaveTo(dir_ / "y.nemo"), IsOk());
  EXPECT_EQ(Members(dir_ / "x.nemo"), Members(dir_ / "y.nemo"));
  EXPECT_EQ(Members(dir_ / "y.nemo"), Tree(dir_ / "src"));

  // Every member written anew: the weights' bytes, names, dtypes and order, the config, the artifacts.
  model.mutable_checkpoint();
  ASSERT_THAT(model.SaveTo(dir_ / "z.nemo"), IsOk());
  ExpectSameCheckpoint(dir_ / "x.nemo", dir_ / "z.nemo");
  auto before = Members(dir_ / "x.nemo"), after = Members(dir_ / "z.nemo");
  before.erase("model_weights.ckpt");
  after.erase("model_weights.ckpt");
  EXPECT_EQ(before, after);

  // By its own class's name and no other; the config alone; another config in its place.
  ANEMONE_ASSERT_ASSIGN(const Model config_only,
                        Model::RestoreFrom({.restore_path = dir_ / "x.nemo", .return_config = true}));
  EXPECT_TRUE(SameConfig(config_only.cfg().root(), model.cfg().root()));
  Config other = model.cfg();
  ASSERT_THAT(other.Set("optim.lr", ConfigNode::Float(2)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Model overridden,
                        Model::RestoreFrom({.restore_path = dir_ / "x.nemo", .override_config = other}));
  EXPECT_EQ(overridden.cfg().Find("optim.lr")->AsDouble(), 2);
  EXPECT_THAT(Model::RestoreFrom({.restore_path = dir_ / "x.nemo", .strict = false}), IsOk());
}

TEST_P(ModelClassRoundTripTest, ConvertsAndVerifiesNameByName) {
  ANEMONE_ASSERT_ASSIGN(const Verification verified, Verify(dir_ / "x.nemo", {}));
  EXPECT_THAT(verified.problems, ::testing::IsEmpty());
  ConvertOptions options;
  options.to = "nemo-dir";
  ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(dir_ / "x.nemo", dir_ / "folder", options));
  ASSERT_THAT(RunConversion(conversion, {}), IsOk());
  ExpectSameCheckpoint(dir_ / "x.nemo", dir_ / "folder");
}

INSTANTIATE_TEST_SUITE_P(
    , ModelClassRoundTripTest,
    ::testing::Values(
        ClassSample{"MegatronContentFilteringModel",
                    {"model.vision_encoder.backbone.class_token", "model.concept_model.concepts", "model.mlp.0.weight",
                     "model.mlp.0.bias"}},
        ClassSample{"MegatronDiffusionEngine",
                    {"model.model.diffusion_model.label_emb.0.0.weight", "model.denoiser.sigmas",
                     "model.conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
                     "model.first_stage_model.decoder.conv_out.bias"}},
        ClassSample{"MegatronImagen", {"model.model.unet.time_embed.1.weight", "model.model.unet.text_to_cond.bias"}},
        ClassSample{"DreamFusion", {"nerf.encoder.embeddings", "nerf.sigma_net.net.0.weight", "guidance.betas"}},
        ClassSample{"ModularAudioGPTModel",
                    {"model.embedding.word_embeddings.weight", "perception.encoder.pre_encode.out.bias",
                     "perception.modality_adapter.layers.0.norm_out.weight"}},
        ClassSample{"ModularizedAudioT5Model",
                    {"enc_dec_model.encoder_embedding.word_embeddings.weight", "perception.proj.bias",
                     "perception.encoder.pre_encode.conv.0.weight"}}),
    [](const auto& sample) { return std::string(sample.param.class_name); });

// No class of the table is left out above or among the families' tests.
TEST(ModelClassTest, EachIsRestoredBySomeTest) {
  const std::set<std::string_view> of_families = {"MegatronBertModel",
                                                  "MegatronCLIPModel",
                                                  "MegatronControlNet",
                                                  "MegatronDreamBooth",
                                                  "MegatronGriffinModel",
                                                  "MegatronGPTModel",
                                                  "MegatronGPTSFTModel",
                                                  "MegatronLatentDiffusion",
                                                  "MegatronLatentDiffusionEdit",
                                                  "MegatronT5Model",
                                                  "MegatronVitClassificationModel"};
  size_t sampled = 0;
  for (const ModelClass& c : ModelClasses()) sampled += of_families.contains(c.name) ? 0 : 1;
  EXPECT_EQ(sampled, 7u);
}

// A class from the future, with members, values and a state dict that nobody here understands.
class UnknownModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TestValue value;
    const ValueRef future = value.graph().New(ValueNode::Kind::kObject);
    future->callable = value.graph().New(ValueNode::Kind::kGlobal);
    future->callable->text = "transformer_engine.future State";
    future->items = {value.Bytes(std::string("\x00\xff odd", 6))};
    std::filesystem::create_directories(dir_ / "src/notes");
    value.Write(dir_ / "src/model_weights.ckpt",
                value.Dict({{"net.w", value.Tensor(DType::kF32, {2}, 0x3f)}, {"net._extra_state", future}}));
    WriteFile(dir_ / "src/model_config.yaml",
              "target: somebody.models.FutureModel\nnested:\n  deep:\n  - {a: [1, {b: ~}], c: 1e-5}\n  - ${.0}\n"
              "odd: yes\ntokenizer: nemo:0123_spm.model\n");
    WriteFile(dir_ / "src/0123_spm.model", "sentencepiece");
    WriteFile(dir_ / "src/notes/README", "by hand");
    WriteFile(dir_ / "src/empty.bin", "");
    auto packed = PlanPack(dir_ / "src");
    ASSERT_THAT(packed, IsOk());
    WriteOut(*packed, dir_ / "x.nemo");
  }
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
