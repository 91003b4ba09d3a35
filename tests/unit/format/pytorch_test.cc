#include "format/torch/rank_file.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_write.h"
#include "support.h"

namespace anemone {
namespace {

using testing::Bytes;
using testing::ExpectSameTensors;
using testing::Golden;
using testing::IsOk;
using testing::Numbers;
using testing::Range;
using testing::StatusIs;
using testing::TempDir;
using Kind = ValueNode::Kind;

TEST(Pytorch, ABinOfTransformersHoldsTheSafetensorsTensors) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint bin, OpenCheckpoint(Golden("clip/hf_with_position_ids.bin")));
  EXPECT_EQ(bin.flavour, "pytorch");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint safetensors, OpenCheckpoint(Golden("clip/hf/model.safetensors")));
  StateDict shared;
  for (const auto& item : bin.weights().items()) {
    if (item.name.find("position_ids") == std::string::npos) {
      ASSERT_THAT(shared.Add(item.name, item.entry), IsOk());
    }
  }
  EXPECT_LT(shared.size(), bin.weights().size());
  ExpectSameTensors(safetensors.weights(), shared);
}

// One weight `name` below `keys`, outermost first, beside an epoch.
std::string Nested(std::initializer_list<std::string> keys, const std::string& name) {
  StateDict state;
  EXPECT_THAT(state.Add(name, Numbers(DType::kF32, {1}, "1234")), IsOk());
  const Value weights = FromStateDict(state);
  Value value{std::make_shared<ValueGraph>(), weights.node};
  std::vector<std::string> reversed(keys);
  for (auto key = reversed.rbegin(); key != reversed.rend(); ++key) {
    ValueRef dict = value.graph->New(Kind::kDict), word = value.graph->New(Kind::kString),
             epoch = value.graph->New(Kind::kString), number = value.graph->New(Kind::kInt);
    word->text = *key;
    epoch->text = "epoch";
    dict->items = {epoch, number, word, value.node};
    value.node = dict;
  }
  PlanFile file;
  EXPECT_THAT(LayOutTorchFile(value, "archive", file), IsOk());
  return Bytes(std::move(file));
}

TEST(Pytorch, FindsTheWeightsOfOtherTrainers) {
  for (const char* key : {"state_dict", "model", "model_state_dict", "module"}) {
    ANEMONE_ASSERT_ASSIGN(const RankFile file, ReadRankFile(Range(Nested({key}, "w"))));
    EXPECT_NE(file.shard.weights.Find("w"), nullptr) << key;
    EXPECT_TRUE(file.shard.training.has_value());
    EXPECT_FALSE(file.lightning);
    EXPECT_THAT(file.notes, ::testing::Contains(::testing::HasSubstr(key)));
  }
}

// A torch file of a dict whose values are made by hand.
class Trainer {
 public:
  ValueRef Put(const std::string& key, ValueRef value) {
    ValueRef word = graph_->New(Kind::kString);
    word->text = key;
    root_->items.insert(root_->items.end(), {word, value});
    return value;
  }
  void Number(const std::string& key) { Put(key, graph_->New(Kind::kInt)); }
  void Weight(const std::string& key) { Put(key, TensorNode()); }
  // Of scalars, so named.
  void Dict(const std::string& key, std::initializer_list<const char*> names) {
    ValueRef dict = Put(key, graph_->New(Kind::kDict));
    for (const char* name : names) {
      ValueRef word = graph_->New(Kind::kString);
      word->text = name;
      dict->items.insert(dict->items.end(), {word, TensorNode()});
    }
  }
  ValueRef TensorNode(Shape shape = {}) {
    ValueRef node = graph_->New(Kind::kTensor);
    node->tensor = std::make_unique<Tensor>(Numbers(DType::kF32, shape, shape.empty() ? "1234" : ""));
    return node;
  }
  ValueGraph& graph() { return *graph_; }
  Result<RankFile> Read(std::string_view key = {}) {
    PlanFile file;
    EXPECT_THAT(LayOutTorchFile({graph_, root_}, "archive", file), IsOk());
    return ReadRankFile(Range(Bytes(std::move(file))), {.key = key});
  }

 private:
  std::shared_ptr<ValueGraph> graph_ = std::make_shared<ValueGraph>();
  ValueRef root_ = graph_->New(Kind::kDict);
};

TEST(Pytorch, ALooseTensorMakesNoStateDict) {
  Trainer trainer;
  trainer.Number("epoch");
  trainer.Dict("model_state_dict", {"w", "b"});
  trainer.Dict("optimizer_state_dict", {"step", "exp_avg", "exp_avg_sq"});
  trainer.Weight("loss");
  ANEMONE_ASSERT_ASSIGN(const RankFile file, trainer.Read());
  EXPECT_EQ(file.shard.weights.size(), 2u);
  EXPECT_NE(file.shard.weights.Find("w"), nullptr);
}

TEST(Pytorch, AnOptimizerAloneIsNamed) {
  Trainer optimizer;
  optimizer.Dict("state", {"exp_avg"});
  optimizer.Put("param_groups", optimizer.graph().New(ValueNode::Kind::kList));
  EXPECT_THAT(optimizer.Read(), StatusIs(ErrorKind::kUnsupported, "found an optimizer's state"));
}

// random_states_0.pkl of Accelerate's save_state, rng_state.pth of transformers' Trainer.
TEST(Pytorch, StatesOfRandomNumbersAreNoWeights) {
  Trainer accelerate, transformers;
  accelerate.Number("step");
  accelerate.Number("random_state");
  accelerate.Number("numpy_random_seed");
  accelerate.Weight("torch_manual_seed");
  EXPECT_THAT(accelerate.Read(), StatusIs(ErrorKind::kUnsupported, "found the states of random numbers"));
  transformers.Number("python");
  transformers.Number("numpy");
  transformers.Weight("cpu");
  EXPECT_THAT(transformers.Read(), StatusIs(ErrorKind::kUnsupported, "found the states of random numbers"));
}

// recipe_state.pt of torchtune, *_optim_states.pt of DeepSpeed.
TEST(Pytorch, ATrainersFileWithoutAModelHoldsNoWeights) {
  Trainer trainer;
  trainer.Number("epochs_run");
  trainer.Dict("optimizer", {"w.exp_avg", "w.exp_avg_sq"});
  EXPECT_THAT(trainer.Read(), StatusIs(ErrorKind::kUnsupported, "save beside them: optimizer"));
}

TEST(Pytorch, ASchedulersStateIsNamed) {
  Trainer trainer;
  trainer.Number("last_epoch");
  trainer.Number("_last_lr");
  EXPECT_THAT(trainer.Read(), StatusIs(ErrorKind::kUnsupported, "found a scheduler's state"));
}

TEST(Pytorch, TheOnlyDictionaryOfTensorsIsTheWeights) {
  Trainer trainer;
  trainer.Dict("net", {"w"});
  trainer.Number("acc");
  ANEMONE_ASSERT_ASSIGN(const RankFile file, trainer.Read());
  EXPECT_NE(file.shard.weights.Find("w"), nullptr);
  EXPECT_THAT(file.notes, ::testing::Contains(::testing::HasSubstr("\"net\"")));
}

TEST(Pytorch, SeveralDictionariesAreListed) {
  Trainer trainer;
  trainer.Dict("params_ema", {"w"});
  trainer.Dict("params", {"w"});
  EXPECT_THAT(trainer.Read(),
              StatusIs(ErrorKind::kInvalidArgument,
                       "[TZ-24] expected one dictionary of tensors, found \"params_ema\" (1 tensors), \"params\""));
  ANEMONE_ASSERT_ASSIGN(const RankFile chosen, trainer.Read("params"));
  EXPECT_NE(chosen.shard.weights.Find("w"), nullptr);
  EXPECT_THAT(trainer.Read("weights"), StatusIs(ErrorKind::kInvalidArgument, "expected a dictionary \"weights\""));
  // Parts of one model are no alternatives.
  Trainer parts;
  parts.Dict("encoder", {"w"});
  parts.Dict("decoder", {"v"});
  ANEMONE_ASSERT_ASSIGN(const RankFile both, parts.Read());
  EXPECT_NE(both.shard.weights.Find("encoder.w"), nullptr);
}

TEST(Pytorch, AKeyMayBeANumber) {
  const auto graph = std::make_shared<ValueGraph>();
  const ValueRef root = graph->New(Kind::kDict);
  for (const int number : {0, 1}) {
    ValueRef key = graph->New(Kind::kInt), weights = graph->New(Kind::kDict), name = graph->New(Kind::kString),
             tensor = graph->New(Kind::kTensor);
    key->integer = number;
    name->text = "w";
    tensor->tensor = std::make_unique<Tensor>(Numbers(DType::kF32, {1}, std::string(4, static_cast<char>(number))));
    weights->items = {name, tensor};
    root->items.insert(root->items.end(), {key, weights});
  }
  const auto read = [&](std::string_view key) {
    PlanFile file;
    EXPECT_THAT(LayOutTorchFile({graph, root}, "archive", file), IsOk());
    return ReadRankFile(Range(Bytes(std::move(file))), {.key = key});
  };
  EXPECT_THAT(read(""), StatusIs(ErrorKind::kInvalidArgument, "found \"0\" (1 tensors), \"1\" (1 tensors)"));
  ANEMONE_ASSERT_ASSIGN(const RankFile second, read("1"));
  EXPECT_EQ(*second.shard.weights.Find("w")->tensor()->Read(), std::string(4, 1));
}

TEST(Pytorch, AnotherVersionOfTheWeightsIsNoted) {
  Trainer trainer;
  trainer.Dict("model", {"w"});
  trainer.Dict("model_ema", {"w"});
  trainer.Dict("loss_history", {"train"});
  ANEMONE_ASSERT_ASSIGN(const RankFile file, trainer.Read());
  EXPECT_THAT(file.notes, ::testing::Contains(::testing::HasSubstr("\"model_ema\" (1 tensors) is left out")));
  EXPECT_THAT(file.notes, ::testing::Not(::testing::Contains(::testing::HasSubstr("loss_history"))));
}

// The names of a module that holds two models begin with its attributes' names.
TEST(Pytorch, AKeyMayBeHowNamesBegin) {
  Trainer trainer;
  trainer.Dict("state_dict", {"student.w", "teacher.w", "teacher.b", "teachers"});
  trainer.Number("epoch");
  ANEMONE_ASSERT_ASSIGN(const RankFile file, trainer.Read("teacher"));
  EXPECT_EQ(file.shard.weights.size(), 2u);
  EXPECT_NE(file.shard.weights.Find("b"), nullptr);
  EXPECT_THAT(trainer.Read("te"), StatusIs(ErrorKind::kInvalidArgument, "[TZ-24] expected a dictionary \"te\""));
  trainer.Put("pytorch-lightning_version", trainer.graph().New(ValueNode::Kind::kNone));
  ANEMONE_ASSERT_ASSIGN(const RankFile lightning, trainer.Read("teacher"));
  EXPECT_EQ(lightning.shard.weights.size(), 2u);
}

TEST(Pytorch, PlainValuesAmongTensorsAreNoted) {
  Trainer trainer;
  trainer.Weight("w");
  trainer.Number("height");
  ANEMONE_ASSERT_ASSIGN(const RankFile file, trainer.Read());
  EXPECT_EQ(file.shard.weights.size(), 1u);
  EXPECT_THAT(file.notes, ::testing::Contains(::testing::HasSubstr("height")));
  // A list that holds a tensor is no plain value.
  Trainer list;
  list.Weight("w");
  list.Put("parts", list.graph().New(Kind::kList))->items.push_back(list.TensorNode());
  EXPECT_THAT(list.Read(), StatusIs(ErrorKind::kUnsupported, "[TZ-21]"));
}

TEST(Pytorch, PlaceholdersOfZero3AreRefused) {
  Trainer trainer;
  trainer.Put("a.weight", trainer.TensorNode({0}));
  trainer.Weight("a.bias");
  EXPECT_THAT(trainer.Read(), StatusIs(ErrorKind::kUnsupported, "[TZ-25]"));
}

TEST(Pytorch, AFileOfOneDictionaryIsThatDictionary) {
  Trainer trainer;
  trainer.Dict("weights", {"w", "b"});
  ANEMONE_ASSERT_ASSIGN(const RankFile file, trainer.Read());
  EXPECT_NE(file.shard.weights.Find("w"), nullptr);
  EXPECT_THAT(file.notes, ::testing::Contains(::testing::HasSubstr("all of the file is under \"weights\"")));
  // A trainer's file within.
  Trainer nested;
  ValueRef inner = nested.Put("checkpoint", nested.graph().New(Kind::kDict));
  const auto put = [&](const char* key, ValueRef value) {
    ValueRef name = nested.graph().New(Kind::kString);
    name->text = key;
    inner->items.push_back(name);
    inner->items.push_back(value);
  };
  ValueRef model = nested.graph().New(Kind::kDict), name = nested.graph().New(Kind::kString);
  name->text = "w";
  model->items = {name, nested.TensorNode()};
  put("model", model);
  put("epoch", nested.graph().New(Kind::kInt));
  ANEMONE_ASSERT_ASSIGN(const RankFile both, nested.Read());
  EXPECT_NE(both.shard.weights.Find("w"), nullptr);
  EXPECT_EQ(both.shard.weights.size(), 1u);
}

TEST(Pytorch, FlatParametersOfFsdpAreRefused) {
  for (const char* name : {"_fsdp_wrapped_module._flat_param", "_flat_param", "layers.0.flat_param", "flat_param_0"}) {
    Trainer trainer;
    trainer.Weight(name);
    EXPECT_THAT(trainer.Read(), StatusIs(ErrorKind::kUnsupported, "[TZ-25] expected weights, found FSDP's flat"))
        << name;
  }
  Trainer other;
  other.Weight("flat_param_norm");
  EXPECT_THAT(other.Read(), IsOk());
}

TEST(Pytorch, ReadsAPickledModule) {
  Trainer trainer;
  ValueGraph& graph = trainer.graph();
  const auto text = [&](Kind kind, const char* words) {
    ValueRef node = graph.New(kind);
    node->text = words;
    return node;
  };
  const auto dict = [&](std::vector<ValueRef> items) {
    ValueRef node = graph.New(Kind::kDict);
    node->items = std::move(items);
    return node;
  };
  const auto module = [&](ValueRef parameters, ValueRef buffers, ValueRef modules) {
    ValueRef node = graph.New(Kind::kObject);
    node->callable = text(Kind::kGlobal, "my.models Net");
    node->is_new = true;
    ValueRef unsaved = graph.New(Kind::kSet);
    unsaved->items = {text(Kind::kString, "cache")};
    node->state = dict({text(Kind::kString, "training"), graph.New(Kind::kBool), text(Kind::kString, "_parameters"),
                        parameters, text(Kind::kString, "_buffers"), buffers, text(Kind::kString, "_modules"), modules,
                        text(Kind::kString, "_non_persistent_buffers_set"), unsaved});
    return node;
  };
  ValueRef inner = module(
      dict({text(Kind::kString, "weight"), trainer.TensorNode(), text(Kind::kString, "bias"), graph.New(Kind::kNone)}),
      dict({text(Kind::kString, "mean"), trainer.TensorNode(), text(Kind::kString, "cache"), trainer.TensorNode()}),
      dict({}));
  trainer.Put("model", module(dict({}), dict({}), dict({text(Kind::kString, "layer"), inner})));
  trainer.Number("epoch");
  ANEMONE_ASSERT_ASSIGN(const RankFile file, trainer.Read());
  ASSERT_EQ(file.shard.weights.size(), 2u);
  EXPECT_NE(file.shard.weights.Find("layer.weight"), nullptr);
  EXPECT_NE(file.shard.weights.Find("layer.mean"), nullptr);
}

TEST(Pytorch, StripsDistributedDataParallel) {
  ANEMONE_ASSERT_ASSIGN(const RankFile file, ReadRankFile(Range(Nested({"state_dict"}, "module.visual.proj"))));
  EXPECT_NE(file.shard.weights.Find("visual.proj"), nullptr);
  EXPECT_THAT(file.notes, ::testing::Contains(::testing::HasSubstr("\"module.\"")));
}

TEST(Pytorch, RefusesAFileWithoutTensors) {
  PlanFile file;
  ASSERT_THAT(LayOutTorchFile(FromStateDict({}), "archive", file), IsOk());
  EXPECT_THAT(ReadRankFile(Range(Bytes(std::move(file)))), StatusIs(ErrorKind::kCorrupt, "[TZ-22]"));
}

TEST(Pytorch, WritesAStateDict) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenCheckpoint(Golden("clip/hf/model.safetensors")));
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("pytorch")->lay_out(before, {}));
  TempDir dir;
  testing::Write(plan, dir / "x.bin");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(dir / "x.bin"));
  ExpectSameTensors(before.weights(), after.weights());
}

}  // namespace
}  // namespace anemone
