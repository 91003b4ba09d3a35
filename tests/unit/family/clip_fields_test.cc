// The lists of fields hold together, the page says what they say, and every field does what its list says.
// To write the page's tables anew: ANEMONE_UPDATE_DOCS=1 family_test
#include "family/clip/clip_fields.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "family/clip/clip_config.h"
#include "family/family.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

Config Parse(const std::string& text) {
  auto config = Config::ParseJson(text, "config.json");
  EXPECT_THAT(config, IsOk());
  return *std::move(config);
}

TEST(ClipFields, EachIsListedOnceAndSaysWhy) {
  for (const ClipFieldList& list : ClipFieldLists()) {
    std::set<std::string_view> seen;
    for (const ClipField& field : list.fields) {
      EXPECT_TRUE(seen.insert(field.name).second) << list.file << " " << field.name;
      EXPECT_FALSE(field.why.empty()) << list.file << " " << field.name;
      EXPECT_EQ(field.use == FieldUse::kOnly, !field.allowed.empty()) << list.file << " " << field.name;
      if (field.use != FieldUse::kOnly) continue;
      ANEMONE_ASSERT_ASSIGN(const Config allowed, Config::ParseJson(field.allowed, field.name));
      EXPECT_TRUE(allowed.root().is_list()) << field.name;
    }
  }
}

TEST(ClipFields, AreRefusedIgnoredOrReadAsTheirListSays) {
  for (const ClipFieldList& list : ClipFieldLists()) {
    for (const ClipField& field : list.fields) {
      ConfigNode node = ConfigNode::Map();
      node[field.name] = ConfigNode::String("a value that nobody would allow");
      const Status status = CheckClipFields(node, {&list.section, 1}, "x.", true, nullptr);
      if (field.use == FieldUse::kOnly) {
        EXPECT_THAT(status, StatusIs(ErrorKind::kUnsupported, "x." + std::string(field.name) + ": expected "));
        ANEMONE_ASSERT_ASSIGN(const Config allowed, Config::ParseJson(field.allowed, field.name));
        for (const ConfigNode& value : allowed.root().list) {
          node[field.name] = value;
          EXPECT_THAT(CheckClipFields(node, {&list.section, 1}, "x.", true, nullptr), IsOk()) << field.name;
        }
      } else {
        EXPECT_THAT(status, IsOk());
      }
      node[field.name] = ConfigNode::Null();
      EXPECT_THAT(CheckClipFields(node, {&list.section, 1}, "x.", true, nullptr), IsOk()) << field.name;
    }
  }
}

// A list that calls a field honored and a reader that does not look at it would be two truths.
TEST(ClipFields, OfAModelThatAreHonoredAreReadByTheirRow) {
  // Read by code: which towers there are, and where a tower's fields are; of pictures, the class that decides defaults.
  const std::set<std::string_view> by_code = {
      "text_config",        "vision_config",    "vision_cfg",           "text_cfg",
      "vision_config_dict", "text_config_dict", "image_processor_type", "feature_extractor_type"};
  const std::set<ClipSection> sections = {ClipSection::kHuggingFace,     ClipSection::kHuggingFaceVision,
                                          ClipSection::kHuggingFaceText, ClipSection::kOpenClipModel,
                                          ClipSection::kOpenClipVision,  ClipSection::kOpenClipText};
  for (const ClipFieldList& list : ClipFieldLists()) {
    for (const ClipField& field : list.fields) {
      if (!sections.contains(list.section) || by_code.contains(field.name)) continue;
      const bool is_read = field.codec.read != nullptr || field.pixels.read != nullptr;
      EXPECT_EQ(is_read, field.use == FieldUse::kHonored) << list.path << " " << field.name;
    }
  }
}

// Models of which no size is another one or a default: what a row reads from elsewhere than where it writes to shows.
ClipArchitecture OddModel(bool siglip) {
  ClipArchitecture spec;
  spec.siglip = siglip;
  spec.vision = {5, 96, 6, 200, "gelu_tanh", 1e-4};
  spec.text = {7, 120, 10, 300, "gelu", 1e-3};
  spec.image_height = spec.image_width = 90;
  spec.patch = 15;
  spec.channels = 4;
  spec.class_tokens = siglip ? 0 : 1;
  spec.context = 33;
  spec.projection = 70;
  spec.vocab = 1234;
  return spec;
}

void ExpectSame(const ClipArchitecture& a, const ClipArchitecture& b) {
  EXPECT_EQ(a.siglip, b.siglip);
  for (const auto& [one, other] : {std::pair(&a.vision, &b.vision), std::pair(&a.text, &b.text)}) {
    EXPECT_EQ(one->layers, other->layers);
    EXPECT_EQ(one->width, other->width);
    EXPECT_EQ(one->heads, other->heads);
    EXPECT_EQ(one->ffn, other->ffn);
    EXPECT_EQ(one->activation, other->activation);
    EXPECT_EQ(one->epsilon, other->epsilon);
  }
  EXPECT_EQ(a.image_height, b.image_height);
  EXPECT_EQ(a.image_width, b.image_width);
  EXPECT_EQ(a.patch, b.patch);
  EXPECT_EQ(a.channels, b.channels);
  EXPECT_EQ(a.class_tokens, b.class_tokens);
  EXPECT_EQ(a.context, b.context);
  EXPECT_EQ(a.projection, b.projection);
  EXPECT_EQ(a.eos_token, b.eos_token);
}

TEST(ClipFields, ComeBackAsTheyWereWritten) {
  for (const bool siglip : {false, true}) {
    ClipArchitecture spec = OddModel(siglip);
    for (const NemoClipKind kind : {NemoClipKind::kMcore, NemoClipKind::kLegacy}) {
      SCOPED_TRACE("NeMo");
      ANEMONE_ASSERT_ASSIGN(const ClipArchitecture back, ReadClipArchitecture(NemoConfigFromArchitecture(spec, kind)));
      ExpectSame(back, spec);
    }
    spec.eos_token = siglip ? std::nullopt : std::optional<int64_t>(17);
    ANEMONE_ASSERT_ASSIGN(const Config json, HuggingFaceConfig(spec, DType::kF32));
    ANEMONE_ASSERT_ASSIGN(const ClipArchitecture back, ReadClipArchitecture(json));
    ExpectSame(back, spec);
    EXPECT_EQ(back.vocab, spec.vocab);
    if (siglip) continue;
    spec.channels = 3;  // OpenCLIP has no other
    spec.image_width = 75;
    spec.mean = Rgb{0.1, 0.2, 0.3};
    spec.deviation = Rgb{0.4, 0.5, 0.6};
    spec.tokenizer = "someone/tokenizer";
    ANEMONE_ASSERT_ASSIGN(const Config open, OpenClipConfig(spec));
    ANEMONE_ASSERT_ASSIGN(const ClipArchitecture there, ReadClipArchitecture(open));
    ExpectSame(there, spec);
    EXPECT_EQ(there.vocab, spec.vocab);
    EXPECT_EQ(there.mean, spec.mean);
    EXPECT_EQ(there.deviation, spec.deviation);
    EXPECT_EQ(there.tokenizer, spec.tokenizer);
  }
}

TEST(ClipFields, OfNoListAreErrorsOrNotes) {
  const Config config = Parse(R"({"model_cfg": {"embed_dim": 8, "vision_cfg": {"wavelets": 3}, "text_cfg": {}}})");
  EXPECT_THAT(
      ReadClipArchitecture(config),
      StatusIs(ErrorKind::kUnsupported, "model_cfg.vision_cfg.wavelets: expected a field that is known, found 3"));
  EXPECT_THAT(ReadClipArchitecture(config), StatusIs(ErrorKind::kUnsupported, "strict=false"));
  std::vector<std::string> notes;
  EXPECT_THAT(ReadClipArchitecture(config, false, &notes), IsOk());
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_THAT(notes.front(), HasSubstr("wavelets"));
  for (const char* text :
       {R"({"text_config": {"wavelets": 3}})", R"({"model_type": "clip", "vision_config_dict": {"wavelets": 3}})",
        R"({"model_type": "clip_text_model", "wavelets": 3})",
        R"({"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"wavelets": 3}}})",
        R"({"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}, "wavelets": 3}})",
        R"({"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}},
                               "preprocess_cfg": {"wavelets": 3}})"}) {
    EXPECT_THAT(ReadClipArchitecture(Parse(text)), StatusIs(ErrorKind::kUnsupported, "wavelets")) << text;
  }
  EXPECT_THAT(ReadClipArchitecture(Parse(R"({"model_type": "clip", "wavelets": 3})"), true, &notes), IsOk());
  EXPECT_EQ(notes.size(), 2u);
  EXPECT_THAT(ReadClipArchitecture(Parse(R"({"model_type": "clip", "_commit_hash": "a", "wavelets": null})")), IsOk());
}

TEST(ClipFields, ThatChangeAnOpenClipModelAreRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"text_cfg": {"no_causal_mask": true}})", "text_cfg.no_causal_mask: expected false, found true"},
      {R"({"text_cfg": {"pool_type": "last"}})", "text_cfg.pool_type: expected \"argmax\", \"eos\", found \"last\""},
      {R"({"text_cfg": {"pool_type": "eos"}})", "eos_id: expected a number, found nothing"},
      {R"({"text_cfg": {"proj_type": "none"}})", "proj_type"},
      {R"({"text_cfg": {"proj_bias": true}})", "proj_bias"},
      {R"({"text_cfg": {"embed_cls": true}})", "embed_cls"},
      {R"({"text_cfg": {"tokenizer_kwargs": {"clean": "canonicalize"}}})", "tokenizer_kwargs"},
      {R"({"text_cfg": {"norm_kwargs": {"elementwise_affine": false}}})", "norm_kwargs"},
      {R"({"vision_cfg": {"norm_kwargs": {"eps": "small"}}})", "norm_kwargs"},
      {R"({"vision_cfg": {"act_kwargs": {"alpha": 1}}})", "act_kwargs"},
      {R"({"quick_gelu": true, "vision_cfg": {"act_kwargs": {"approximate": "tanh"}}})", "act_kwargs"},
      {R"({"vision_cfg": {"pool_type": "avg"}})", "vision_cfg.pool_type: expected \"tok\", found \"avg\""},
      {R"({"vision_cfg": {"no_ln_pre": true}})", "no_ln_pre"},
      {R"({"vision_cfg": {"attentional_pool": "parallel"}})", "attentional_pool"},
      {R"({"vision_cfg": {"ls_init_value": 0.0001}})", "ls_init_value"},
      {R"({"vision_cfg": {"qk_norm": true}})", "qk_norm"},
      {R"({"custom_text": true})", "CustomTextCLIP"},
  };
  for (const auto& [edit, words] : cases) {
    Config config = Parse(R"({"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}})");
    const Config edited = Parse(edit);
    for (const auto& [key, value] : edited.root().map) config.root()["model_cfg"][key] = value;
    const auto read = ReadClipArchitecture(config, false);
    ASSERT_FALSE(read.ok()) << edit;
    EXPECT_THAT(read.status().message(), HasSubstr(words)) << edit;
  }
}

// `verify` calls no model broken for what anemone does not compute.
TEST(ClipFields, OfSoundModelsAreUnsupportedAndNotCorrupt) {
  for (const char* text :
       {R"({"model_type": "clip", "text_config": {"hidden_act": "silu"}, "vision_config": {}})",
        R"({"model_cfg": {"embed_dim": 8, "vision_cfg": {"norm_kwargs": {"bias": false}}, "text_cfg": {}}})",
        R"({"model_cfg": {"embed_dim": 8, "quick_gelu": true, "vision_cfg": {"act_kwargs": {"approximate": "tanh"}},
               "text_cfg": {}}})"}) {
    EXPECT_THAT(ReadClipArchitecture(Parse(text), false), StatusIs(ErrorKind::kUnsupported, "expected")) << text;
  }
}

TEST(ClipFields, NameOtherModels) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"model_type": "chinese_clip"})", "chinese_clip"},
      {R"({"model_type": "metaclip_2"})", "metaclip_2"},
      {R"({"model_type": "xclip"})", "xclip"},
      {R"({"model_type": "siglip2"})", "siglip2"},
      {R"({"model_type": "vision-text-dual-encoder"})", "vision-text-dual-encoder"},
      {R"({"model_type": "clip", "architectures": ["EvaCLIPModel"]})", "EvaCLIPModel"},
      {R"({"model_type": "clip", "architectures": ["CLIPForImageClassification"]})", "CLIPForImageClassification"},
      {R"({"model_type": "clip", "architectures": ["CLIPModel"]})", ""},
      {R"({"model_type": "clip", "architectures": null})", ""},
      {R"({"model_type": "siglip", "architectures": ["SiglipModel"]})", ""},
      {R"({})", ""},
  };
  for (const auto& [text, name] : cases) EXPECT_EQ(ForeignClipModel(Parse(text).root()), name) << text;
}

TEST(ClipFields, EpsilonsActivationsAndPoolingComeBack) {
  const Config config = Parse(R"({"model_cfg": {"embed_dim": 8,
      "vision_cfg": {"norm_kwargs": {"eps": 0.001}, "act_kwargs": {"approximate": "tanh"}},
      "text_cfg": {"norm_kwargs": {"eps": 1e-06}, "vocab_size": 100, "pool_type": "eos", "eos_id": 7,
                   "hf_tokenizer_name": "facebook/xlm-v-base"}}})");
  ANEMONE_ASSERT_ASSIGN(ClipArchitecture spec, ReadClipArchitecture(config));
  EXPECT_EQ(spec.vision.epsilon, 1e-3);
  EXPECT_EQ(spec.text.epsilon, 1e-6);
  EXPECT_EQ(spec.vision.activation, "gelu_tanh");
  EXPECT_EQ(spec.text.activation, "gelu");
  EXPECT_EQ(spec.eos_token, 7);
  EXPECT_EQ(spec.tokenizer, "facebook/xlm-v-base");
  ANEMONE_ASSERT_ASSIGN(const Config open, OpenClipConfig(spec));
  ANEMONE_ASSERT_ASSIGN(const ClipArchitecture again, ReadClipArchitecture(open));
  EXPECT_EQ(again.vision.epsilon, 1e-3);
  EXPECT_EQ(again.text.epsilon, 1e-6);
  EXPECT_EQ(again.vision.activation, "gelu_tanh");
  EXPECT_EQ(again.text.activation, "gelu");
  EXPECT_EQ(again.eos_token, 7);
  EXPECT_EQ(again.tokenizer, "facebook/xlm-v-base");
  ANEMONE_ASSERT_ASSIGN(const Config hugging_face, HuggingFaceConfig(spec, DType::kF32));
  ANEMONE_ASSERT_ASSIGN(const ClipArchitecture there, ReadClipArchitecture(hugging_face));
  EXPECT_EQ(there.eos_token, 7);
  // Where Hugging Face reads 2, it means the largest id.
  spec.eos_token = 2;
  EXPECT_THAT(HuggingFaceConfig(spec, DType::kF32), StatusIs(ErrorKind::kUnsupported, "eos_id"));
}

TEST(ClipFieldsPage, HoldsTheLists) {
  constexpr std::string_view kBegin = "<!-- tables: begin -->\n", kEnd = "<!-- tables: end -->";
  const std::string path = std::string(ANEMONE_SOURCE_DIR) + "/docs/families/clip-fields.md";
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  std::stringstream stream;
  stream << file.rdbuf();
  std::string page = stream.str();
  const size_t begin = page.find(kBegin), end = page.find(kEnd);
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos) << path;
  const std::string tables = DescribeClipFields();
  if (std::getenv("ANEMONE_UPDATE_DOCS") != nullptr) {
    page.replace(begin + kBegin.size(), end - begin - kBegin.size(), tables);
    std::ofstream(path) << page;
  } else {
    EXPECT_EQ(page.substr(begin + kBegin.size(), end - begin - kBegin.size()), tables) << path;
  }
}

}  // namespace
}  // namespace anemone
