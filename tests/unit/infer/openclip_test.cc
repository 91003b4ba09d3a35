// OpenAI's TorchScript archives and OpenCLIP's training checkpoints: what they hold, and that it computes what they do.
#include "family/family.h"
#include "format/format.h"
#include "infer/clip_source.h"
#include "source/source.h"
#include "tensor_values.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::ExpectNear;
using testing::Golden;
using testing::Ids;
using testing::IsOk;
using testing::StatusIs;
using testing::Values;

// The features that torch computed, by our encoders.
void ExpectFeatures(const Checkpoint& checkpoint, const ClipLoad& load, const std::string& golden) {
  ANEMONE_ASSERT_ASSIGN(ClipModel model, LoadClip(checkpoint, {}, load));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint expected, OpenCheckpoint(Golden(golden)));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, model.EncodeImages(Values<float>(expected, "pixels")));
  ExpectNear(images.values, Values<float>(expected, "image"));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures texts, model.EncodeTexts(Ids(expected)));
  ExpectNear(texts.values, Values<float>(expected, "text"));
}

TEST(OpenAiArchive, IsReadWithoutAConfigAndComputesTheSame) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint archive, OpenSource(Golden("openclip/openai.pt"), {}));
  EXPECT_EQ(archive.flavour, "torchscript");
  ExpectFeatures(archive, {}, "openclip/openai.safetensors");
  for (const char* dialect : {"hf", "openclip", "mcore", "legacy"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(archive, dialect));
    ExpectFeatures(there, {}, "openclip/openai.safetensors");
    ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(there, "openclip"));
    for (const StateDict::Item& item : archive.weights().items()) {  // bit for bit, mixed dtypes and all
      const StateDict::Item* same = back.weights().Find(item.name);
      if (item.name == "input_resolution" || item.name == "context_length" || item.name == "vocab_size") {
        EXPECT_EQ(same, nullptr);
        continue;
      }
      ASSERT_NE(same, nullptr) << item.name;
      EXPECT_EQ(same->tensor()->dtype(), item.tensor()->dtype());
      EXPECT_EQ(*same->tensor()->Read(), *item.tensor()->Read()) << item.name;
    }
  }
}

TEST(OpenAiArchive, APresetMayOnlyAgree) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint archive, OpenSource(Golden("openclip/openai.pt"), {}));
  TranslateOptions options;
  options.preset = "ViT-B-32";
  EXPECT_THAT(Translate(archive, "mcore", options), StatusIs(ErrorKind::kCorrupt, "12 layers of 768"));
}

TEST(OpenClipTraining, CheckpointIsReadWithItsConfigPassed) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint epoch, OpenSource(Golden("openclip/epoch_3.pt"), {}));
  EXPECT_TRUE(epoch.shards.front().training.has_value());
  EXPECT_THAT(LoadClip(epoch).status(), StatusIs(ErrorKind::kNotFound, "config"));
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(Golden("openclip/epoch_3.json")));
  ANEMONE_ASSERT_ASSIGN(const std::string text, Whole(file).ReadAll(1 << 16));
  ClipLoad load;
  load.hparams = *Config::ParseJson(text, "epoch_3.json");
  ExpectFeatures(epoch, load, "openclip/epoch_3.safetensors");
  TranslateOptions options;
  options.hparams = load.hparams;
  for (const char* dialect : {"hf", "mcore", "legacy"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(epoch, dialect, options));
    ExpectFeatures(there, {}, "openclip/epoch_3.safetensors");
    ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(there, "openclip"));
    ExpectFeatures(back, {}, "openclip/epoch_3.safetensors");
    for (const StateDict::Item& item : back.weights().items()) {
      const StateDict::Item* same = epoch.weights().Find("module." + item.name);
      if (same == nullptr) same = epoch.weights().Find(item.name);
      ASSERT_NE(same, nullptr) << item.name;
      EXPECT_EQ(*same->tensor()->Read(), *item.tensor()->Read()) << item.name;
    }
  }
}

}  // namespace
}  // namespace anemone
