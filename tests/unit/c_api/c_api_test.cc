// libanemone.so by its C functions alone.
#include "anemone/c.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

extern "C" anemone_kind anemone_c_header_test(void);

namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kDemo = "models/demo-clip";
constexpr const char* kWeight = "visual_projection.weight";

// The kind, once its message was looked at and freed.
anemone_kind KindOf(anemone_status* status, std::string* message = nullptr, std::string* hint = nullptr) {
  const anemone_kind kind = anemone_status_kind(status);
  if (message != nullptr) *message = anemone_status_message(status);
  if (hint != nullptr) *hint = anemone_status_hint(status);
  anemone_status_free(status);
  return kind;
}

#define ASSERT_DONE(call)                                 \
  do {                                                    \
    std::string said;                                     \
    ASSERT_EQ(KindOf((call), &said), ANEMONE_OK) << said; \
  } while (false)

std::string Taken(char* json) {
  std::string text = json;
  anemone_free(json);
  return text;
}

class CApi : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "c_api_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    anemone_checkpoint_free(checkpoint_);
    std::filesystem::remove_all(folder_);
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  void Open(const std::string& path) {
    anemone_checkpoint_free(checkpoint_);
    checkpoint_ = nullptr;
    ASSERT_DONE(anemone_open(path.c_str(), nullptr, nullptr, &checkpoint_));
  }
  std::string Config(const char* path) {
    char* json = nullptr;
    EXPECT_EQ(KindOf(anemone_config_get(checkpoint_, path, &json)), ANEMONE_OK);
    return json == nullptr ? "" : Taken(json);
  }

  std::string folder_;
  anemone_checkpoint* checkpoint_ = nullptr;
};

TEST_F(CApi, NothingIsFreedInVain) {
  EXPECT_EQ(anemone_c_header_test(), ANEMONE_OK);
  anemone_status_free(nullptr);
  anemone_checkpoint_free(nullptr);
  anemone_tensor_free(nullptr);
  anemone_view_free(nullptr);
  anemone_clip_free(nullptr);
  anemone_progress_free(nullptr);
  anemone_dlpack_free(nullptr);
  anemone_free(nullptr);
  EXPECT_STREQ(anemone_status_message(nullptr), "");
  EXPECT_STREQ(anemone_status_hint(nullptr), "");
  EXPECT_STRNE(anemone_version(), "");
}

TEST_F(CApi, ErrorsSayKindPlaceAndRemedy) {
  std::string message, hint;
  EXPECT_EQ(KindOf(anemone_open(Path("absent").c_str(), nullptr, nullptr, &checkpoint_), &message), ANEMONE_NOT_FOUND);
  EXPECT_THAT(message, HasSubstr("absent"));
  EXPECT_EQ(checkpoint_, nullptr);
  std::ofstream(Path("x.nemo")) << "no archive";
  EXPECT_EQ(KindOf(anemone_open(Path("x.nemo").c_str(), nullptr, nullptr, &checkpoint_), &message), ANEMONE_UNSUPPORTED)
      << message;
  EXPECT_EQ(KindOf(anemone_convert(kDemo, Path("x.nemo").c_str(), nullptr, nullptr, nullptr), &message, &hint),
            ANEMONE_ALREADY_EXISTS);
  EXPECT_THAT(hint, Not(IsEmpty()));
}

TEST_F(CApi, OptionsAreChecked) {
  std::string message;
  const std::string out = Path("x.nemo");
  const std::pair<const char*, const char*> wrong[] = {{"{\"tpp\": 2}", "no such option: 'tpp'"},
                                                       {"{\"tp\": \"2\"}", "tp: expected an integer, found \"2\""},
                                                       {"{\"tp\": 99999999999}", "tp: expected"},
                                                       {"{\"strict\": 1}", "strict: expected true or false, found 1"},
                                                       {"{\"max_shard_bytes\": -1}", "non-negative"},
                                                       {"{\"set\": [1]}", "set: expected an object"},
                                                       {"{\"unset\": [1]}", "unset: expected a list"},
                                                       {"{\"dtype\": \"fp3\"}", "dtype: expected"},
                                                       {"{\"extra_state\": \"x\"}", "keep, drop"},
                                                       {"[]", "options: expected a JSON object"},
                                                       {"{", "options"}};
  for (const auto& [options, expected] : wrong) {
    EXPECT_EQ(KindOf(anemone_convert(kDemo, out.c_str(), options, nullptr, nullptr), &message),
              ANEMONE_INVALID_ARGUMENT)
        << options;
    EXPECT_THAT(message, HasSubstr(expected));
  }
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(CApi, TensorsAreListedReadCutAndMapped) {
  Open(kDemo);
  size_t count = 0;
  ASSERT_DONE(anemone_tensor_count(checkpoint_, &count));
  EXPECT_EQ(count, 110u);
  char* json = nullptr;
  ASSERT_DONE(anemone_tensor_list(checkpoint_, &json));
  EXPECT_THAT(Taken(json), HasSubstr("[\"visual_projection.weight\", \"float16\", [64, 96]]"));
  anemone_tensor* tensor = nullptr;
  ASSERT_DONE(anemone_tensor_at(checkpoint_, count - 1, &tensor));
  EXPECT_STREQ(anemone_tensor_name(tensor), kWeight);
  anemone_tensor_free(tensor);
  EXPECT_EQ(KindOf(anemone_tensor_at(checkpoint_, count, &tensor)), ANEMONE_INVALID_ARGUMENT);
  EXPECT_EQ(KindOf(anemone_tensor_named(checkpoint_, "absent", &tensor)), ANEMONE_NOT_FOUND);

  ASSERT_DONE(anemone_tensor_named(checkpoint_, kWeight, &tensor));
  EXPECT_STREQ(anemone_tensor_dtype(tensor), "float16");
  ASSERT_EQ(anemone_tensor_rank(tensor), 2u);
  const uint64_t rows = anemone_tensor_shape(tensor)[0], columns = anemone_tensor_shape(tensor)[1];
  ASSERT_EQ(anemone_tensor_bytes(tensor), rows * columns * 2);
  std::vector<uint16_t> whole(rows * columns);
  ASSERT_DONE(anemone_tensor_read(tensor, whole.data(), whole.size() * 2));
  EXPECT_EQ(KindOf(anemone_tensor_read(tensor, whole.data(), whole.size())), ANEMONE_INVALID_ARGUMENT);

  anemone_tensor* part = nullptr;
  ASSERT_DONE(anemone_tensor_narrow(tensor, 1, 3, 5, &part));
  ASSERT_EQ(anemone_tensor_bytes(part), rows * 5 * 2);
  std::vector<uint16_t> cut(rows * 5);
  ASSERT_DONE(anemone_tensor_read(part, cut.data(), cut.size() * 2));
  for (uint64_t row = 0; row < rows; ++row) {
    EXPECT_EQ(std::memcmp(&cut[row * 5], &whole[row * columns + 3], 10), 0) << row;
  }
  anemone_tensor* none = nullptr;
  EXPECT_EQ(KindOf(anemone_tensor_narrow(tensor, 2, 0, 1, &none)), ANEMONE_INVALID_ARGUMENT);
  anemone_view* view = nullptr;
  ASSERT_DONE(anemone_tensor_view(tensor, &view));
  anemone_checkpoint_free(checkpoint_);  // tensors and views outlive it
  checkpoint_ = nullptr;
  anemone_tensor_free(tensor);
  ASSERT_EQ(anemone_view_size(view), whole.size() * 2);
  EXPECT_EQ(std::memcmp(anemone_view_data(view), whole.data(), whole.size() * 2), 0);
  anemone_view_free(view);
  EXPECT_EQ(KindOf(anemone_tensor_view(part, &view)), ANEMONE_UNSUPPORTED);
  void* managed = nullptr;
  ASSERT_DONE(anemone_tensor_dlpack(part, 1, &managed));
  anemone_dlpack_free(managed);
  EXPECT_EQ(KindOf(anemone_tensor_dlpack(part, 0, &managed)), ANEMONE_UNSUPPORTED);
  anemone_tensor_free(part);
}

TEST_F(CApi, AChangedConfigIsSavedAndTheRestStays) {
  ASSERT_DONE(anemone_convert(kDemo, Path("x.nemo").c_str(), "{\"set\": {\"optim.lr\": 1e-4}}", nullptr, nullptr));
  Open(Path("x.nemo"));
  EXPECT_EQ(Config("optim.lr"), "1e-4");
  ASSERT_DONE(anemone_config_set(checkpoint_, "optim.lr", "0.5"));
  ASSERT_DONE(anemone_config_set(checkpoint_, "fresh.key", "[1, {\"a\": null}]"));
  ASSERT_DONE(anemone_config_set(checkpoint_, "micro_batch_size", nullptr));
  EXPECT_EQ(KindOf(anemone_config_set(checkpoint_, "optim", "{")), ANEMONE_CORRUPT);
  EXPECT_EQ(KindOf(anemone_config_set(checkpoint_, "", "[]")), ANEMONE_INVALID_ARGUMENT);
  char* result = nullptr;
  ASSERT_DONE(anemone_save(checkpoint_, Path("y.nemo").c_str(), nullptr, nullptr, &result));
  EXPECT_THAT(Taken(result), HasSubstr("\"format\": \"nemo\""));
  Open(Path("y.nemo"));
  EXPECT_EQ(Config("optim.lr"), "0.5");
  EXPECT_EQ(Config("fresh"), "{\"key\": [1, {\"a\": null}]}");
  char* json = nullptr;
  EXPECT_EQ(KindOf(anemone_config_get(checkpoint_, "micro_batch_size", &json)), ANEMONE_NOT_FOUND);
  ASSERT_DONE(anemone_diff(Path("x.nemo").c_str(), Path("y.nemo").c_str(), "{\"only_weights\": true}", nullptr, &json));
  EXPECT_THAT(Taken(json), HasSubstr("\"equal\": true"));
  // Saved in another format, with the change.
  ASSERT_DONE(anemone_config_set(checkpoint_, "optim.lr", "0.25"));
  ASSERT_DONE(anemone_save(checkpoint_, Path("z").c_str(), "{\"to\": \"nemo-dir\"}", nullptr, nullptr));
  Open(Path("z"));
  EXPECT_EQ(Config("optim.lr"), "0.25");
}

TEST_F(CApi, OnesOwnTensorsInAnyFormat) {
  ASSERT_DONE(anemone_create("{\"target\": \"my.own.Model\", \"width\": 3}", &checkpoint_));
  const float values[] = {1, 2, 3, 4, 5, 6};
  const uint64_t shape[] = {2, 3};
  ASSERT_DONE(anemone_add_tensor(checkpoint_, "a.weight", "float32", 2, shape, values, sizeof values));
  ASSERT_DONE(anemone_add_tensor(checkpoint_, "scale", "float32", 0, nullptr, values, 4));
  EXPECT_EQ(KindOf(anemone_add_tensor(checkpoint_, "scale", "float32", 0, nullptr, values, 4)), ANEMONE_CORRUPT);
  EXPECT_EQ(KindOf(anemone_add_tensor(checkpoint_, "b", "float33", 0, nullptr, values, 4)), ANEMONE_INVALID_ARGUMENT);
  EXPECT_EQ(KindOf(anemone_add_tensor(checkpoint_, "b", "float32", 1, shape, values, 4)), ANEMONE_CORRUPT);
  EXPECT_EQ(KindOf(anemone_add_tensor(checkpoint_, "b", "float32", 1, shape, values, 12)), ANEMONE_INVALID_ARGUMENT);
  ASSERT_DONE(anemone_add_artifact(checkpoint_, "notes.txt", "hello", 5));
  ASSERT_DONE(anemone_add_metadata(checkpoint_, "made by", "test"));
  for (const char* name : {"x.nemo", "x.safetensors", "x.pt"}) {
    const std::string path = Path(name);
    std::string why;
    ASSERT_EQ(KindOf(anemone_save(checkpoint_, path.c_str(), nullptr, nullptr, nullptr), &why), ANEMONE_OK)
        << name << why;
    anemone_checkpoint* again = nullptr;
    ASSERT_DONE(anemone_open(path.c_str(), nullptr, nullptr, &again));
    anemone_tensor* tensor = nullptr;
    ASSERT_DONE(anemone_tensor_named(again, "a.weight", &tensor));
    float read[6] = {};
    ASSERT_DONE(anemone_tensor_read(tensor, read, sizeof read));
    EXPECT_EQ(std::memcmp(read, values, sizeof read), 0) << name;
    anemone_tensor_free(tensor);
    anemone_checkpoint_free(again);
  }
  Open(Path("x.nemo"));
  EXPECT_EQ(Config("width"), "3");
  void* data = nullptr;
  size_t size = 0;
  ASSERT_DONE(anemone_artifact_read(checkpoint_, "notes.txt", &data, &size));
  EXPECT_EQ(std::string(static_cast<const char*>(data), size), "hello");
  anemone_free(data);
  EXPECT_EQ(KindOf(anemone_artifact_read(checkpoint_, "absent", &data, &size)), ANEMONE_NOT_FOUND);
  EXPECT_EQ(KindOf(anemone_add_metadata(checkpoint_, "a", "b")), ANEMONE_INVALID_ARGUMENT);  // it was opened
}

TEST_F(CApi, ANemoWithoutAConfigIsRefused) {
  ASSERT_DONE(anemone_create(nullptr, &checkpoint_));
  const float value = 1;
  ASSERT_DONE(anemone_add_tensor(checkpoint_, "scale", "float32", 0, nullptr, &value, sizeof value));
  std::string message;
  EXPECT_EQ(KindOf(anemone_save(checkpoint_, Path("x.nemo").c_str(), nullptr, nullptr, nullptr), &message),
            ANEMONE_UNSUPPORTED)
      << message;
  EXPECT_NE(message.find("a nemo that NeMo restores: expected a model of a known family"), std::string::npos)
      << message;
  EXPECT_FALSE(std::filesystem::exists(Path("x.nemo")));
}

TEST_F(CApi, RanksAreMergedAndSeenApart) {
  ASSERT_DONE(anemone_convert(kDemo, Path("x.nemo").c_str(), "{\"pp\": 2}", nullptr, nullptr));
  Open(Path("x.nemo"));
  char* json = nullptr;
  ASSERT_DONE(anemone_info(checkpoint_, &json));
  EXPECT_THAT(Taken(json), HasSubstr("\"layout\": {\"tp\": 1, \"pp\": 2, \"vp\": 1}, \"parts\": 2"));
  ASSERT_EQ(anemone_part_count(checkpoint_), 2u);
  anemone_checkpoint* part = nullptr;
  int tp = -1, pp = -1;
  ASSERT_DONE(anemone_part(checkpoint_, 1, &tp, &pp, &part));
  EXPECT_EQ(tp, 0);
  EXPECT_EQ(pp, 1);
  size_t whole = 0, own = 0;
  ASSERT_DONE(anemone_tensor_count(checkpoint_, &whole));
  ASSERT_DONE(anemone_tensor_count(part, &own));
  EXPECT_GT(whole, own);
  anemone_checkpoint_free(part);
  EXPECT_EQ(KindOf(anemone_part(checkpoint_, 2, nullptr, nullptr, &part)), ANEMONE_INVALID_ARGUMENT);
  anemone_checkpoint* translated = nullptr;
  ASSERT_DONE(anemone_translate(checkpoint_, "hf", &translated));
  anemone_tensor* tensor = nullptr;
  ASSERT_DONE(anemone_tensor_named(translated, kWeight, &tensor));
  anemone_tensor_free(tensor);
  anemone_checkpoint_free(translated);
}

TEST_F(CApi, TheTrainingStateIsATableOfValues) {
  char* json = nullptr;
  ASSERT_DONE(anemone_open(kDemo, nullptr, nullptr, &checkpoint_));
  ASSERT_DONE(anemone_training(checkpoint_, &json));
  EXPECT_EQ(Taken(json), "null");
  anemone_checkpoint_free(checkpoint_);
  checkpoint_ = nullptr;

  ASSERT_DONE(anemone_convert(kDemo, Path("x.ckpt").c_str(), nullptr, nullptr, nullptr));
  ASSERT_DONE(anemone_open(Path("x.ckpt").c_str(), nullptr, nullptr, &checkpoint_));
  ASSERT_DONE(anemone_training(checkpoint_, &json));
  const std::string table = Taken(json);
  EXPECT_EQ(table.rfind("[{\"dict\"", 0), 0U) << table.substr(0, 80);
  const std::string key = "{\"tensor\": ";
  const size_t at = table.find(key);
  ASSERT_NE(at, std::string::npos) << table.substr(0, 2000);
  const size_t number = std::strtoul(table.c_str() + at + key.size(), nullptr, 10);
  anemone_tensor* tensor = nullptr;
  ASSERT_DONE(anemone_training_tensor(checkpoint_, number, &tensor));
  std::vector<char> bytes(anemone_tensor_bytes(tensor));
  ASSERT_DONE(anemone_tensor_read(tensor, bytes.data(), bytes.size()));
  anemone_tensor_free(tensor);
  for (const size_t wrong : {size_t{0}, SIZE_MAX}) {  // the dictionary; beyond the graph
    EXPECT_EQ(KindOf(anemone_training_tensor(checkpoint_, wrong, &tensor)), ANEMONE_INVALID_ARGUMENT);
  }
}

TEST_F(CApi, ACallIsFollowedAndStopped) {
  int calls = 0;
  const auto count = [](void* context, const char* stage, uint64_t, uint64_t) {
    ++*static_cast<int*>(context);
    return std::strlen(stage) > 0 ? 0 : 1;
  };
  anemone_progress* progress = anemone_progress_new(count, &calls);
  char* json = nullptr;
  ASSERT_DONE(anemone_verify(kDemo, progress, &json));
  EXPECT_THAT(Taken(json), HasSubstr("\"ok\": true"));
  EXPECT_GT(calls, 0);
  char stage[64];
  uint64_t done = 0, total = 0;
  EXPECT_EQ(anemone_progress_read(progress, stage, &done, &total), 1);
  EXPECT_STREQ(stage, "verifying");
  EXPECT_EQ(anemone_progress_read(progress, stage, &done, &total), 0);
  anemone_progress_cancel(progress);
  EXPECT_EQ(KindOf(anemone_verify(kDemo, progress, &json)), ANEMONE_INTERRUPTED);
  anemone_progress_free(progress);
  progress = anemone_progress_new([](void*, const char*, uint64_t, uint64_t) { return 1; }, nullptr);
  EXPECT_EQ(KindOf(anemone_convert(kDemo, Path("x.nemo").c_str(), nullptr, progress, nullptr)), ANEMONE_INTERRUPTED);
  EXPECT_FALSE(std::filesystem::exists(Path("x.nemo")));
  anemone_progress_free(progress);
}

TEST_F(CApi, OneHandleInManyThreads) {
  ASSERT_DONE(anemone_convert(kDemo, Path("x.nemo").c_str(), "{\"pp\": 2}", nullptr, nullptr));
  Open(Path("x.nemo"));
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] {
      size_t count = 0;
      EXPECT_EQ(KindOf(anemone_tensor_count(checkpoint_, &count)), ANEMONE_OK);
      anemone_tensor* tensor = nullptr;
      ASSERT_EQ(KindOf(anemone_tensor_at(checkpoint_, count - 1, &tensor)), ANEMONE_OK);
      std::vector<char> bytes(anemone_tensor_bytes(tensor));
      EXPECT_EQ(KindOf(anemone_tensor_read(tensor, bytes.data(), bytes.size())), ANEMONE_OK);
      anemone_tensor_free(tensor);
    });
  }
}

TEST_F(CApi, DetailsOfAFailure) {
  EXPECT_STREQ(anemone_status_details(nullptr), "{}");
  std::ofstream(Path("x.nemo")) << "mine";
  anemone_status* status = anemone_convert(kDemo, Path("x.nemo").c_str(), nullptr, nullptr, nullptr);
  const std::string details = anemone_status_details(status), hint = anemone_status_hint(status);
  anemone_status_free(status);
  EXPECT_THAT(details, HasSubstr("\"where\": [\"" + Path("x.nemo") + "\"]"));
  EXPECT_THAT(details, HasSubstr(R"({"option": "force", "value": "true", "effect": "replace it"})"));
  EXPECT_THAT(hint, HasSubstr("use force=true to replace it"));
}

TEST_F(CApi, Dtypes) {
  char* json = nullptr;
  ASSERT_DONE(anemone_dtypes(&json));
  const std::string text = Taken(json);
  EXPECT_THAT(text, HasSubstr(R"({"name": "float32", "bits": 32, "numpy": "<f4", "safetensors": "F32"})"));
  EXPECT_THAT(text, HasSubstr(R"({"name": "fp6_e2m3", "bits": 6, "numpy": "", "safetensors": "F6_E2M3"})"));
}

TEST_F(CApi, ACommandsOutput) {
  int exit_status = -1;
  char* output = nullptr;
  const auto run = [&](std::vector<const char*> words, anemone_progress* progress = nullptr) {
    words.insert(words.begin(), "anemone");
    return anemone_command(static_cast<int>(words.size()), words.data(), progress, &exit_status, &output);
  };
  ASSERT_DONE(run({"inspect", kDemo, "--json"}));
  EXPECT_EQ(exit_status, 0);
  EXPECT_THAT(Taken(output), HasSubstr("\"family\": \"clip\""));
  ASSERT_DONE(run({"diff", kDemo, kDemo}));
  EXPECT_EQ(Taken(output), "equal: 110 tensors\n");
  ASSERT_DONE(anemone_convert(kDemo, Path("half").c_str(), R"({"to": "hf", "dtype": "bf16"})", nullptr, nullptr));
  ASSERT_DONE(run({"diff", kDemo, Path("half").c_str(), "--stat"}));
  EXPECT_EQ(exit_status, 1);
  anemone_free(output);
  std::string message, hint;
  EXPECT_EQ(KindOf(run({"inspect", "models/demo-clipp"}), &message, &hint), ANEMONE_NOT_FOUND);
  EXPECT_EQ(hint, "did you mean models/demo-clip?");
  EXPECT_EQ(KindOf(run({"inspct"}), &message), ANEMONE_INVALID_ARGUMENT);
  EXPECT_THAT(message, HasSubstr("expected a command"));
  anemone_progress* progress = anemone_progress_new(nullptr, nullptr);
  anemone_progress_cancel(progress);
  EXPECT_EQ(KindOf(run({"verify", kDemo}, progress)), ANEMONE_INTERRUPTED);
  anemone_progress_free(progress);
  ASSERT_DONE(run({"--version"}));
  EXPECT_THAT(Taken(output), HasSubstr("anemone "));
}

TEST_F(CApi, PicturesOfAFolder) {
  char* json = nullptr;
  ASSERT_DONE(anemone_find_images("models/demo-clip/images", &json));
  EXPECT_THAT(Taken(json), HasSubstr("models/demo-clip/images/bag.jpg"));
  EXPECT_EQ(KindOf(anemone_find_images(folder_.c_str(), &json)), ANEMONE_NOT_FOUND);
}

TEST_F(CApi, ScanAndRestore) {
  char* json = nullptr;
  ASSERT_DONE(anemone_scan(kDemo, nullptr, &json));
  EXPECT_THAT(Taken(json), Not(HasSubstr("\"danger\": \"calls\"")));
  anemone_progress* progress = anemone_progress_new(nullptr, nullptr);
  anemone_progress_cancel(progress);
  EXPECT_EQ(KindOf(anemone_scan(kDemo, progress, &json)), ANEMONE_INTERRUPTED);
  anemone_progress_free(progress);
  ASSERT_DONE(anemone_convert(kDemo, Path("x.nemo").c_str(), nullptr, nullptr, nullptr));
  ASSERT_DONE(anemone_restore(Path("x.nemo").c_str(), "{\"return_config\": true}", &checkpoint_));
  EXPECT_THAT(Config("target"), HasSubstr("MegatronCLIPModel"));
  size_t count = 0;
  EXPECT_EQ(KindOf(anemone_tensor_count(checkpoint_, &count)), ANEMONE_INVALID_ARGUMENT);
  EXPECT_EQ(KindOf(anemone_save(checkpoint_, Path("y.nemo").c_str(), nullptr, nullptr, nullptr)),
            ANEMONE_INVALID_ARGUMENT);
}

TEST_F(CApi, AClipAnswers) {
  Open(kDemo);
  anemone_clip* clip = nullptr;
  ASSERT_DONE(anemone_clip_load(checkpoint_, "{\"threads\": 1}", &clip));
  const uint64_t side = anemone_clip_image_size(clip);
  std::vector<float> pixels(3 * side * side);
  ASSERT_DONE(anemone_clip_pixels_of_file(clip, "models/demo-clip/images/bag.jpg", pixels.data()));
  float* image = nullptr;
  float* texts = nullptr;
  size_t width = 0;
  ASSERT_DONE(anemone_clip_encode_images(clip, pixels.data(), 1, nullptr, &image, &width));
  const char* const words[] = {"a photo of a bag", "a photo of a dress"};
  ASSERT_DONE(anemone_clip_encode_texts(clip, words, 2, nullptr, &texts, &width));
  float answer[2] = {};
  ASSERT_DONE(anemone_clip_probabilities(clip, image, 1, texts, 2, width, nullptr, answer));
  EXPECT_GT(answer[0], answer[1]);
  EXPECT_NEAR(answer[0] + answer[1], 1, 1e-5);
  double scale = 0;
  ASSERT_DONE(anemone_clip_logit_scale(clip, &scale));
  EXPECT_GT(scale, 1);
  anemone_free(image);
  anemone_free(texts);
  anemone_clip_free(clip);
}

TEST_F(CApi, TheProgramIsAFunction) {
  const char* const words[] = {"anemone", "inspect", "absent.nemo"};
  EXPECT_EQ(anemone_main(3, words), 66);
  char* json = nullptr;
  ASSERT_DONE(anemone_nemo_scripts(&json));
  EXPECT_THAT(Taken(json), HasSubstr("megatron_clip_infer"));
  ASSERT_DONE(anemone_model_classes(&json));
  EXPECT_THAT(Taken(json), HasSubstr("MegatronCLIPModel"));
}

}  // namespace
