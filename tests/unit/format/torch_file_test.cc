#include "format/torch/torch_file.h"
#include "format/torch/omegaconf.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_write.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "container/pickle.h"
#include "container/zip_layout.h"
#include "format/huggingface/safetensors.h"
#include "support.h"

namespace anemone {
namespace {

using testing::Bytes;
using testing::ExpectSameTensor;
using testing::ExpectSameTensors;
using testing::Golden;
using testing::IsOk;
using testing::Numbers;
using testing::Range;
using testing::ReadFile;
using testing::StatusIs;
using Kind = ValueNode::Kind;

std::string Saved(const StateDict& state) {
  PlanFile file;
  EXPECT_THAT(LayOutTorchFile(FromStateDict(state), "archive", file), IsOk());
  return Bytes(std::move(file));
}

StateDict Small() {
  StateDict state;
  EXPECT_THAT(state.Add("a.weight", Numbers(DType::kF32, {2, 3}, "0123456789abcdefghijklmn")), IsOk());
  EXPECT_THAT(state.Add("a._extra_state", Opaque{}), IsOk());
  EXPECT_THAT(state.Add("scalar", Numbers(DType::kI64, {}, "12345678")), IsOk());
  EXPECT_THAT(state.Add("empty", Numbers(DType::kBF16, {3, 0}, "")), IsOk());
  EXPECT_THAT(state.Add("bool", Numbers(DType::kBool, {2}, std::string("\0\1", 2))), IsOk());
  EXPECT_THAT(state.Add("f8", Numbers(DType::kF8E4M3, {2}, "ab")), IsOk());
  return state;
}

// Every tensor of a value under its dotted path, list items by index.
void Collect(const ValueNode& node, const std::string& path, std::set<const ValueNode*> above,
             std::map<std::string, Tensor>& out) {
  if (!above.insert(&node).second) return;
  const auto at = [&](const std::string& key) { return path.empty() ? key : path + "." + key; };
  if (node.kind == Kind::kTensor) {
    out.emplace(path, *node.tensor);
  } else if (const auto* entries = DictEntries(node)) {
    for (size_t i = 0; i + 1 < entries->size(); i += 2) {
      const ValueNode& key = *(*entries)[i];
      Collect(*(*entries)[i + 1], at(key.kind == Kind::kInt ? std::to_string(key.integer) : key.text), above, out);
    }
  } else if (node.kind == Kind::kList || node.kind == Kind::kTuple) {
    for (size_t i = 0; i < node.items.size(); ++i) Collect(*node.items[i], at(std::to_string(i)), above, out);
  }
}

TEST(TorchFile, ReadsBackWhatItWrites) {
  const StateDict state = Small();
  const std::string bytes = Saved(state);
  EXPECT_TRUE(LooksLikeTorchFile(bytes));
  ANEMONE_ASSERT_ASSIGN(const TorchFile file, ReadTorchFile(Range(bytes)));
  EXPECT_FALSE(file.legacy);
  EXPECT_FALSE(file.torchscript);
  ANEMONE_ASSERT_ASSIGN(const StateDict back, ToStateDict(file.root));
  ExpectSameTensors(state, back);
  ASSERT_EQ(back.size(), state.size());
  for (size_t i = 0; i < state.size(); ++i) EXPECT_EQ(back.items()[i].name, state.items()[i].name);
  EXPECT_EQ(back.Find("a._extra_state")->opaque()->form, Opaque::Form::kNone);
}

TEST(TorchFile, WritesTheSameBytesTwice) { EXPECT_EQ(Saved(Small()), Saved(Small())); }

TEST(TorchFile, TruncationIsNeverReadAsLess) {
  const std::string bytes = Saved(Small());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto file = ReadTorchFile(Range(bytes.substr(0, size)));
    EXPECT_FALSE(file.ok()) << size << " of " << bytes.size();
  }
}

TEST(TorchFile, ByteFlipsNeverCrash) {
  const std::string bytes = Saved(Small());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0xff);
    const auto file = ReadTorchFile(Range(damaged));
    if (file.ok()) (void)ToStateDict(file->root);
  }
}

TEST(TorchFile, LegacyTruncationIsNeverReadAsLess) {
  const std::string bytes = ReadFile(Golden("torch/1.13/views_legacy.pt"));
  ASSERT_GT(bytes.size(), 100u);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ReadTorchFile(Range(bytes.substr(0, size))).ok()) << size << " of " << bytes.size();
  }
}

// Every file of real torch reads to the tensors torch says are in it.
TEST(TorchFile, ReadsWhatTorchWrote) {
  size_t files = 0;
  for (const std::string version : {"torch/1.13", "torch/2.15"}) {
    for (const auto& entry : std::filesystem::directory_iterator(Golden(version))) {
      if (entry.path().extension() != ".pt") continue;
      std::filesystem::path expected = entry.path();
      expected.replace_extension(".safetensors");
      const std::string name = entry.path().string();
      const auto file = ReadTorchFile(Range(ReadFile(name)));
      if (!std::filesystem::exists(expected)) continue;
      ++files;
      ASSERT_TRUE(file.ok()) << name << ": " << file.status().message();
      EXPECT_EQ(file->legacy, name.find("_legacy") != std::string::npos) << name;
      std::map<std::string, Tensor> found;
      Collect(*file->root.node, "", {}, found);
      ANEMONE_ASSERT_ASSIGN(const StateDict tensors, ReadSafetensors(Range(ReadFile(expected.string()))));
      for (const auto& item : tensors.items()) {
        const auto at = found.find(item.name);
        if (at == found.end()) {
          ADD_FAILURE() << name << ": no " << item.name;
          continue;
        }
        ExpectSameTensor(at->second, *item.tensor(), name + ": " + item.name);
      }
      EXPECT_EQ(found.size(), tensors.size()) << name;
    }
  }
  EXPECT_GT(files, 50u);
}

// Damaged and malicious files: refused, or read as inert data that no state dict can be made of.
TEST(TorchFile, RefusesWhatTorchRefuses) {
  struct Case {
    const char* name;
    ErrorKind kind;
    const char* words;
  };
  const Case cases[] = {
      {"truncated", ErrorKind::kCorrupt, ""},
      {"missing_version", ErrorKind::kCorrupt, "[TZ-3]"},
      {"missing_storage", ErrorKind::kCorrupt, "[TZ-14]"},
      {"short_storage", ErrorKind::kCorrupt, "[TZ-14]"},
      {"hostile_os_system", ErrorKind::kUnsupported, "system"},
      {"hostile_eval", ErrorKind::kUnsupported, "eval"},
      {"hostile_storage_out_of_range", ErrorKind::kCorrupt, "[TZ-15]"},
      {"hostile_negative_stride", ErrorKind::kCorrupt, "[TZ-12]"},
      {"hostile_negative_size", ErrorKind::kCorrupt, "[TZ-12]"},
      {"hostile_negative_offset", ErrorKind::kCorrupt, "[TZ-12]"},
      {"hostile_rank_mismatch", ErrorKind::kCorrupt, "[TZ-12]"},
      {"hostile_overflow", ErrorKind::kCorrupt, "[TZ-15]"},
      {"hostile_lying_storage", ErrorKind::kCorrupt, "[TZ-14]"},
      {"hostile_storage_path", ErrorKind::kCorrupt, "[TZ-14]"},
      {"hostile_unknown_storage", ErrorKind::kUnsupported, "[TZ-11]"},
      {"hostile_list_of_2_31", ErrorKind::kCorrupt, ""},
      {"hostile_memo", ErrorKind::kCorrupt, ""},
      {"hostile_stack_underflow", ErrorKind::kCorrupt, ""},
      {"hostile_no_stop", ErrorKind::kCorrupt, ""},
      {"hostile_pickle_alone", ErrorKind::kCorrupt, "[TZ-1]"},
      {"sparse", ErrorKind::kUnsupported,
       "expected a dense tensor, found a sparse one (torch._utils _rebuild_sparse_t"},
      {"quantized", ErrorKind::kUnsupported, "found one of torch.quantization (torch._utils _rebuild_qtensor)"},
      {"meta", ErrorKind::kUnsupported, "[TZ-23]"},
      {"conjugate", ErrorKind::kUnsupported, "[TZ-13]"},
  };
  for (const std::string version : {"torch/1.13/", "torch/2.15/"}) {
    for (const Case& c : cases) {
      // torch 1.13 saves a conjugate without its flag: nothing in the file tells.
      if (version == "torch/1.13/" && c.name == std::string("conjugate")) continue;
      const auto read = [&]() -> Result<StateDict> {
        ANEMONE_ASSIGN(const TorchFile file, ReadTorchFile(Range(ReadFile(Golden(version + c.name + ".pt")))));
        return ToStateDict(file.root);
      };
      EXPECT_THAT(read(), StatusIs(c.kind, c.words)) << version << c.name;
    }
  }
  for (const char* name : {"hostile_deep", "hostile_billion_laughs"}) {  // bounded, whatever the answer
    const auto file = ReadTorchFile(Range(ReadFile(Golden(std::string("torch/2.15/") + name + ".pt"))));
    if (file.ok()) {
      EXPECT_FALSE(ToStateDict(file->root).ok()) << name;
    }
  }
}

std::string Replaced(std::string text, std::string_view from, std::string_view to, bool everywhere = false) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  for (; at != std::string::npos; at = everywhere ? text.find(from, at + to.size()) : std::string::npos)
    text.replace(at, from.size(), to);
  return text;
}

// A torch file with this pickle in it.
std::string WithPickle(std::string pickle) {
  PlanFile file;
  ZipLayout zip(file);
  EXPECT_THAT(zip.Add("archive/data.pkl", std::move(pickle)), IsOk());
  EXPECT_THAT(zip.Add("archive/version", "3\n"), IsOk());
  EXPECT_THAT(zip.Finish(), IsOk());
  return Bytes(std::move(file));
}

// '@' stands for a zero byte.
std::string Nul(std::string text) {
  std::ranges::replace(text, '@', '\0');
  return text;
}

// The pickle of {"w": value}, protocol 2.
std::string PickleOf(const std::string& value) { return Nul("\x80\x02}X\x01@@@w" + value + "s."); }

// A tensor of one element whose storage is what this persistent id names.
std::string TensorOf(const std::string& id) {
  return PickleOf("ctorch._utils\n_rebuild_tensor_v2\n(" + id + "QK@(K\x01t(K\x01t\x89NtR");
}

// torch 1.13 reads the first bytes, torch 2.15 those of a mapped file alone.
TEST(TorchFile, TellsOfARecordThatIsLongerThanItsStorage) {
  const auto longer = [](std::string record) -> std::string {
    PlanFile file;
    ZipLayout zip(file);
    EXPECT_THAT(zip.Add("archive/data.pkl",
                        PickleOf("ctorch._utils\n_rebuild_tensor_v2\n((X\x07@@@storagectorch\nFloatStorage\nX\x01@@@0"
                                 "X\x03@@@cpuK\x01tQK@(K\x01t(K\x01t\x89NtR")),
                IsOk());
    EXPECT_THAT(zip.Add("archive/version", "3\n"), IsOk());
    EXPECT_THAT(zip.Add("archive/data/0", std::move(record)), IsOk());
    EXPECT_THAT(zip.Finish(), IsOk());
    const auto read = ReadTorchFile(Range(Bytes(std::move(file))));
    EXPECT_THAT(read, IsOk());
    return read.ok() ? read->longer_record : "";
  };
  EXPECT_EQ(longer("1234"), "");
  EXPECT_EQ(longer("12345"), "0");
  EXPECT_EQ(longer("12345678"), "0");
}

TEST(TorchFile, NamesTheRuleThatABrokenFileBreaks) {
  const std::string saved = Saved(Small());
  const std::string legacy = ReadFile(Golden("torch/2.15/lightning_legacy.pt"));
  const std::string array =  // what XLA saves: a numpy array of two float32, of which one is there
      "ctorch._utils\n_rebuild_device_tensor_from_numpy\n(cnumpy.core.multiarray\n_reconstruct\n"
      "(cnumpy\nndarray\n(K@tC\x01"
      "btR(K\x01(K\x02tcnumpy\ndtype\n(X\x02@@@f4K@K\x01tR"
      "(K\x03X\x01@@@<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK@tb\x89"
      "C\x04"
      "1234tbctorch\nfloat32\n"
      "X\x03@@@cpu\x89tR";
  // A storage of one element, and a view of it that begins at the sixth.
  const std::string head =
      legacy.substr(0, legacy.find("M\xe9\x03.") + 4) + Nul("\x80\x02}X\x0d@@@little_endian\x88s.");
  const std::string view =
      TensorOf("(X\x07@@@storagectorch\nFloatStorage\nX\x01@@@0X\x03@@@cpuK\x01(X\x01@@@vK\x05K\x01tt");
  const std::pair<std::string, const char*> cases[] = {
      {Replaced(saved, "data.pkl", "date.pkl", true), "[TZ-2]"},
      {Replaced(saved, "little", "litter"), "[TZ-4]"},
      {Replaced(saved, "_rebuild_tensor_v2", "_rebuild_tensor_v9"), "[TZ-5]"},
      {WithPickle(TensorOf("K\x01")), "[TZ-10]"},
      {WithPickle(TensorOf("(X\x05@@@otherK\x01t")), "[TZ-10]"},
      {WithPickle(PickleOf(array)), "[TZ-16]"},
      {WithPickle(PickleOf("ctorch.distributed.tensor\nDTensor\n)R")), "[TZ-23]"},
      {Replaced(legacy, "M\xe9\x03.", "M\xea\x03."), "[TL-1]"},
      {Replaced(legacy, "little_endian", "middle_endian"), "[TL-2]"},
      {legacy.substr(0, legacy.size() - 1), "[TL-3]"},
      {head + view + Nul("\x80\x02]X\x01@@@0a.\x01@@@@@@@1234"), "[TL-4]"},
  };
  for (const auto& [bytes, rule] : cases) {
    const auto read = [&]() -> Result<StateDict> {
      ANEMONE_ASSIGN(const TorchFile file, ReadTorchFile(Range(bytes)));
      return ToStateDict(file.root);
    };
    const Result<StateDict> state = read();
    ASSERT_FALSE(state.ok()) << rule;
    EXPECT_THAT(state.status().message(), ::testing::HasSubstr(rule));
  }
}

TEST(TorchFile, NamesOtherZipsOfTorch) {  // TZ-2
  const std::pair<const char*, const char*> cases[] = {
      {"e/archive_format", "a program of torch.export"},
      {"e/data/aotinductor/model/x.so", "a compiled program of AOTInductor"},
      {"e/.data/extern_modules", "an archive of torch.package"},
      {"e/other", "not one that torch.save wrote"},
  };
  for (const auto& [member, words] : cases) {
    PlanFile file;
    ZipLayout zip(file);
    EXPECT_THAT(zip.Add(member, std::string("pt2")), IsOk());
    EXPECT_THAT(zip.Finish(), IsOk());
    EXPECT_THAT(ReadTorchFile(Range(testing::Bytes(std::move(file)))).status().error().hint,
                ::testing::HasSubstr(words));
  }
}

TEST(TorchFile, ReadsTheTensorsOfATorchScriptArchive) {
  ANEMONE_ASSERT_ASSIGN(const TorchFile file, ReadTorchFile(Range(ReadFile(Golden("torch/2.15/torchscript.pt")))));
  EXPECT_TRUE(file.torchscript);
  ANEMONE_ASSERT_ASSIGN(const StateDict state, ToStateDict(file.root));
  EXPECT_GT(state.size(), 0u);
  for (const auto& item : state.items()) EXPECT_NE(item.tensor(), nullptr) << item.name;
}

TEST(TorchFile, KnowsEmptyExtraStates) {
  ANEMONE_ASSERT_ASSIGN(const TorchFile file, ReadTorchFile(Range(ReadFile(Golden("torch/2.15/extra_state.pt")))));
  ANEMONE_ASSERT_ASSIGN(const StateDict state, ToStateDict(file.root));
  size_t opaque = 0;
  for (const auto& item : state.items()) opaque += item.opaque() != nullptr;
  EXPECT_GT(opaque, 0u);
  // What is not understood is carried: written and read, it is the same.
  ANEMONE_ASSERT_ASSIGN(const TorchFile again, ReadTorchFile(Range(Saved(state))));
  ANEMONE_ASSERT_ASSIGN(const StateDict back, ToStateDict(again.root));
  ExpectSameTensors(state, back);
  for (const auto& item : state.items()) {
    if (item.opaque() == nullptr) continue;
    ASSERT_NE(back.Find(item.name)->opaque(), nullptr) << item.name;
    EXPECT_EQ(back.Find(item.name)->opaque()->form, item.opaque()->form) << item.name;
    EXPECT_EQ(back.Find(item.name)->opaque()->holds_data, item.opaque()->holds_data) << item.name;
  }
}

TEST(TorchFile, ReadsAnOmegaConfConfigWithItsCycles) {
  for (const char* name : {"torch/2.15/lightning.pt", "torch/2.15/lightning_legacy.pt"}) {
    ANEMONE_ASSERT_ASSIGN(const TorchFile file, ReadTorchFile(Range(ReadFile(Golden(name)))));
    const ValueNode* hparams = Lookup(*file.root.node, "hyper_parameters");
    ASSERT_NE(hparams, nullptr);
    ANEMONE_ASSERT_ASSIGN(const ConfigNode cfg, ToConfigNode({file.root.graph, Lookup(*hparams, "cfg")}));
    const Config config(cfg);
    EXPECT_EQ(config.Find("micro_batch_size")->AsInt(), 4);
    EXPECT_EQ(config.Find("lr")->AsDouble(), 1e-5);
    EXPECT_EQ(config.Find("vision.img_w")->AsString(), "${.img_h}");
    EXPECT_EQ(config.Find("text.layers.2")->AsString(), "${vision.patch_dim}");
    EXPECT_TRUE(config.Find("text.nothing")->is_null());
    EXPECT_EQ(config.Find("missing")->AsString(), "???");
    EXPECT_EQ(config.Find("flag")->AsBool(), true);
  }
}

// Arguments of save_hyperparameters(): only an enum's member is its class and its value.
TEST(TorchFile, ReadsHyperparametersAsTheyAre) {
  const struct {
    std::string_view pickle, yaml;
  } cases[] = {
      {"(S'k'\nc__main__\nColor\n(I2\ntRd.", "k: 2\n"},
      {"(S'k'\ncdatetime\ndate\n(C\x04\x07\xe8\x01\x02tRd.", "{}\n"},
      {"(S'k'\ncoperator\nitemgetter\n(I1\ntRd.", "{}\n"},
      {"(S'k'\ncpathlib\nPureWindowsPath\n(S'c:\\\\'\nS'a'\ntRd.", "k: c:\\a\n"},
      {"(S'k'\ncpathlib\nPosixPath\n(S'/'\nS'a'\nS'b'\ntRd.", "k: /a/b\n"},
      {"(S'k'\nL9223372036854775808L\nd.", "k: 9223372036854775808\n"},
      {"(I3\nS'a'\nF1.5\nS'b'\nI01\nS'c'\nS'7'\nS'd'\nd.", "3: a\n1.5: b\ntrue: c\n'7': d\n"},
  };
  for (const auto& [pickle, yaml] : cases) {
    ANEMONE_ASSERT_ASSIGN(const Value value, ReadPickle(pickle));
    std::vector<std::string> left_out;
    ANEMONE_ASSERT_ASSIGN(const ConfigNode config, ToConfigNode(value, &left_out));
    EXPECT_EQ(Config(config).ToYaml(), yaml);
    EXPECT_EQ(left_out.size(), yaml == "{}\n" ? 1u : 0u) << yaml;
  }
}

TEST(TorchFile, OmegaConfKeepsIntegersBeyond64BitsAndKeysThatAreNoTexts) {
  constexpr std::string_view kYaml =
      "0: a\n1.5: b\ntrue: c\n'16': d\nx: 9223372036854775808\n'y': -99999999999999999999999\n";
  ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseYaml(kYaml, "c.yaml"));
  Value value{std::make_shared<ValueGraph>(), nullptr};
  value.node = ToOmegaConf(config.root(), *value.graph);
  ANEMONE_ASSERT_ASSIGN(const std::string pickle, WritePickle(value));
  ANEMONE_ASSERT_ASSIGN(const Value back, ReadPickle(pickle));
  const ValueNode* content = Lookup(*back.node->state, "_content");
  ASSERT_NE(content, nullptr);
  constexpr Kind kKinds[] = {Kind::kInt, Kind::kFloat, Kind::kBool, Kind::kString, Kind::kString, Kind::kString};
  for (size_t i = 0; i < std::size(kKinds); ++i) EXPECT_EQ(content->items[2 * i]->kind, kKinds[i]) << i;
  EXPECT_EQ(Lookup(*Lookup(*content, "x")->state, "_val")->kind, Kind::kBigInt);
  ANEMONE_ASSERT_ASSIGN(const ConfigNode read, ToConfigNode(back));
  EXPECT_EQ(Config(read).ToYaml(), kYaml);
  // In another base, too.
  ANEMONE_ASSERT_ASSIGN(const Config hex, Config::ParseYaml("x: -0xFFFFFFFFFFFFFFFFFFFF\n", "c.yaml"));
  value.node = ToOmegaConf(hex.root(), *value.graph);
  ANEMONE_ASSERT_ASSIGN(const ConfigNode decimal, ToConfigNode(value));
  EXPECT_EQ(Config(decimal).ToYaml(), "x: -1208925819614629174706175\n");
}

// torch before 1.6 states the class of a module with its source, in a persistent id.
TEST(TorchFile, ReadsALegacyModule) {
  const std::string legacy = ReadFile(Golden("torch/2.15/lightning_legacy.pt"));
  const std::string head =
      legacy.substr(0, legacy.find("M\xe9\x03.") + 4) + Nul("\x80\x02}X\x0d@@@little_endian\x88s.");
  const std::string module =
      Nul("\x80\x02(X\x06@@@modulec__main__\nNet\nX\x04@@@n.pyX\x04@@@passtQ)\x81"
          "}(X\x0b@@@_parameters}X\x08@@@_buffers}X\x08@@@_modules}ub.");
  ANEMONE_ASSERT_ASSIGN(const TorchFile file, ReadTorchFile(Range(head + module + Nul("\x80\x02]."))));
  EXPECT_TRUE(file.legacy);
  EXPECT_NE(ModuleState(*file.root.node), nullptr);
}

TEST(TorchFile, StateDictsHaveStringsAndTensorsOnly) {
  Value value{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *value.graph;
  value.node = graph.New(Kind::kDict);
  ValueRef key = graph.New(Kind::kString), leaf = graph.New(Kind::kFloat);
  key->text = "w";
  value.node->items = {key, leaf};
  EXPECT_THAT(ToStateDict(value), StatusIs(ErrorKind::kUnsupported, "w: [TZ-21] expected a tensor, found a float"));
  value.node->items = {leaf, leaf};
  EXPECT_THAT(ToStateDict(value), StatusIs(ErrorKind::kCorrupt, "[TZ-20]"));
  ValueRef loop = graph.New(Kind::kDict);
  loop->items = {key, loop};
  value.node = loop;
  EXPECT_THAT(ToStateDict(value), StatusIs(ErrorKind::kLimitExceeded, "nested"));
  value.node = leaf;
  EXPECT_THAT(ToStateDict(value), StatusIs(ErrorKind::kCorrupt, "[TZ-20]"));
}

}  // namespace
}  // namespace anemone
