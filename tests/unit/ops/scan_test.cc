#include "ops/scan.h"

#include <algorithm>
#include <fstream>

#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/container/tar_blocks.h"
#include "unit/container/zip_records.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

std::string WriteFile(const std::string& name, const std::string& bytes) {
  const std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

Danger Worst(const std::vector<ScanFinding>& findings) {
  Danger worst = Danger::kInert;
  for (const ScanFinding& f : findings) worst = std::max(worst, f.danger);
  return worst;
}

TEST(ScanTest, JudgesGlobals) {
  EXPECT_EQ(JudgeGlobal("torch._utils _rebuild_tensor_v2"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("collections OrderedDict"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("torch BFloat16Storage"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("omegaconf.dictconfig DictConfig"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("os system"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("builtins eval"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("builtins dict"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("builtins dict.__init__.__globals__"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("torch.hub load"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("torch.utils._config_module ConfigModule.load_config"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("numpy.testing._private.utils runstring"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("osprey thing"), Danger::kUnknown);
  EXPECT_EQ(JudgeGlobal("somebody.package Class"), Danger::kUnknown);
}

TEST(ScanTest, NamesADangerousPickle) {
  const std::string path = WriteFile("evil.pkl", std::string("\x80\x02"
                                                             "cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
                                                             24));
  auto findings = Scan(path);
  ASSERT_THAT(findings, IsOk());
  ASSERT_EQ(findings->size(), 1u);
  EXPECT_EQ(findings->front().danger, Danger::kCalls);
}

TEST(ScanTest, NamesTargetsInConfigs) {
  const std::string path = WriteFile(
      "model_config.yaml", "optim:\n  _target_: os.system\ntarget: nemo.collections.x.Model\nhome: ${oc.env:HOME}\n");
  auto findings = Scan(path);
  ASSERT_THAT(findings, IsOk());
  ASSERT_EQ(findings->size(), 3u);
  EXPECT_EQ(Worst(*findings), Danger::kCalls);
}

TEST(ScanTest, GoldenNemoFilesAreInert) {
  for (const char* name : {"clip/mcore.nemo", "clip/legacy.nemo", "clip/mcore_tp2.nemo"}) {
    auto findings = Scan(testing::Golden(name));
    ASSERT_THAT(findings, IsOk());
    EXPECT_FALSE(findings->empty()) << name;
    for (const ScanFinding& f : *findings)
      EXPECT_EQ(f.danger, Danger::kInert) << f.file << ": " << f.name << " " << f.where;
  }
}

// A byte string from a literal that may hold NULs.
template <size_t N>
std::string B(const char (&text)[N]) {
  return {text, N - 1};
}

// BINBYTES of protocol 3.
std::string PickledBytes(const std::string& bytes) {
  std::string length;
  for (int i = 0; i < 4; ++i) length += static_cast<char>(bytes.size() >> (8 * i));
  return "B" + length + bytes;
}

// The attack matrix: a way to hide a call, the file that carries it, and what the scan must say. `name` is part of a
// finding at least as bad as `danger`.
struct Attack {
  std::string technique;
  std::string file;
  std::string bytes;
  Danger danger;
  std::string name;
};

std::vector<Attack> Attacks() {
  const std::string call =
      B("\x80\x02"
        "cos\nsystem\nX\x02\x00\x00\x00id\x85R.");
  const std::string text = "cos\nsystem\n(S'id'\ntR.";
  const auto nested = [](const std::string& inner) { return "\x80\x03" + PickledBytes(inner) + "."; };
  const auto bytes_io = [](const std::string& inner) {
    return "\x80\x03"
           "c_io\nBytesIO\n" +
           PickledBytes(inner) + "\x85R.";
  };
  const std::string zip = testing::ZipFile({{.name = "archive/data.pkl", .content = call}}, {});
  const auto tar = [](const std::string& name, const std::string& content, char type, const std::string& link) {
    return testing::TarFile({testing::TarBlock({.name = name, .content = content, .link = link}, type)});
  };
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'k'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i) bomb += std::string(i == 0 ? "*" : ", *") + static_cast<char>(c - 1);
    bomb += "]\n";
  }
  constexpr Danger kCalls = Danger::kCalls, kUnknown = Danger::kUnknown;
  return {
      {"GLOBAL", "x.pkl", call, kCalls, "os system"},
      {"protocol 0 text", "x.pkl", text, kCalls, "os system"},
      {"protocol 0 text as weights", "model_weights.ckpt", text, kCalls, "os system"},
      {"INST", "x.pkl", "(S'id'\nios\nsystem\n.", kUnknown, ""},
      {"OBJ", "x.pkl", "(cos\nsystem\nS'id'\no.", kCalls, "os system"},
      {"STACK_GLOBAL", "x.pkl", B("\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."), kCalls, "os system"},
      {"STACK_GLOBAL by memo", "x.pkl",
       B("\x80\x04\x8c\x02os\x94"
         "0\x8c\x06system\x94"
         "0h\x00h\x01\x93\x8c\x02id\x85R."),
       kCalls, "os system"},
      {"STACK_GLOBAL dotted", "x.pkl",
       B("\x80\x04\x8c\x08builtins\x8c\x0d"
         "dict.__init__\x93."),
       kCalls, "dict.__init__"},
      {"a second PROTO", "x.pkl", B("\x80\x02\x80\x04") + text, kCalls, "os system"},
      {"thrown away again", "x.pkl",
       B("\x80\x02"
         "cos\nsystem\n0N."),
       kCalls, "os system"},
      {"called, then cut", "x.pkl",
       B("\x80\x02"
         "cos\nsystem\nX\x02\x00\x00\x00id\x85R\xff"),
       kCalls, "os system"},
      {"a second pickle", "x.pkl", B("\x80\x02N.") + call, kCalls, "os system"},
      {"nested pickle", "x.pkl", nested(call), kCalls, "os system"},
      {"nested text pickle, loads named", "x.pkl",
       "\x80\x03"
       "c_pickle\nloads\n" +
           PickledBytes(text) + "\x85R.",
       kCalls, "_pickle loads"},
      {"nested twice", "x.pkl", nested(nested(call)), kCalls, "os system"},
      {"EXT1", "x.pkl", B("\x80\x02\x82\x01."), kUnknown, ""},
      {"huge count", "x.pkl", B("\x80\x02X\xff\xff\xff\x7f."), kUnknown, ""},
      {"memo miss", "x.pkl", B("\x80\x02h\x09."), kUnknown, ""},
      {"BytesIO with a pickle", "x.pkl", bytes_io(call), kCalls, "os system"},
      {"BytesIO with a zip", "x.pkl", bytes_io(zip), kCalls, "os system"},
      {"BytesIO with a zip, in a zip, in a tar", "x.nemo",
       tar("model_weights.ckpt", testing::ZipFile({{.name = "archive/data.pkl", .content = bytes_io(zip)}}, {}), '0',
           ""),
       kCalls, "os system"},
      {"legacy torch file", "x.pt",
       B("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.") + call, kCalls, "os system"},
      {"zip: two names for one member", "x.pt",
       testing::ZipFile({{.name = "archive/data.pkl", .content = call, .local_name = "archive/evil.pkl"}}, {}),
       kUnknown, "data.pkl"},
      {"zip: traversal", "x.pt", testing::ZipFile({{.name = "../../evil.pkl", .content = call}}, {}), kUnknown,
       "evil.pkl"},
      {"tar: traversal", "x.nemo", tar("../../evil", "x", '0', ""), kUnknown, "evil"},
      {"tar: symlink", "x.nemo", tar("model_weights.ckpt", "", '2', "/etc/passwd"), kUnknown, "model_weights.ckpt"},
      {"tar: hard link", "x.nemo", tar("model_weights.ckpt", "", '1', "/etc/passwd"), kUnknown, "model_weights.ckpt"},
      {"YAML aliases that explode", "model_config.yaml", bomb, kUnknown, ""},
      {"_target_", "model_config.yaml", "optim:\n  _target_: os.system\n", kCalls, "os.system"},
      {"_target_ in a list", "model_config.yaml", "a:\n- b:\n    _target_: builtins.eval\n", kCalls, "builtins.eval"},
      {"python tag", "model_config.yaml", "a: !!python/object/apply:os.system [id]\n", kUnknown, ""},
      {"environment", "model_config.yaml", "a: ${oc.env:SECRET}\n", kUnknown, "oc.env"},
  };
}

TEST(ScanTest, EveryAttackIsReported) {
  for (const Attack& attack : Attacks()) {
    SCOPED_TRACE(attack.technique);
    const testing::TempDir dir;
    testing::WriteFile(dir / attack.file, attack.bytes);
    auto findings = Scan(dir / attack.file);
    ASSERT_THAT(findings, IsOk());
    std::string seen;
    for (const ScanFinding& f : *findings) seen += f.what + ": " + f.name + " (" + f.file + ")\n";
    EXPECT_TRUE(std::any_of(findings->begin(), findings->end(), [&](const ScanFinding& f) {
      return f.danger >= attack.danger && f.name.find(attack.name) != std::string::npos;
    })) << seen;
  }
}

TEST(ScanTest, MissingFileIsAnError) { EXPECT_THAT(Scan("/nowhere"), StatusIs(ErrorKind::kNotFound, "/nowhere")); }

}  // namespace
}  // namespace anemone
