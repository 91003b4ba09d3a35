#include "anemone/check.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>

#include "check/scan_rules.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/container/streams.h"
#include "unit/container/tar_blocks.h"
#include "unit/container/zip_records.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

std::string WriteFile(const std::string& name, const std::string& bytes) {
  static const testing::TempDir dir;
  const std::string path = dir / name;
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
  EXPECT_EQ(JudgeGlobal("os system"), Danger::kDangerous);
  EXPECT_EQ(JudgeGlobal("builtins eval"), Danger::kDangerous);
  EXPECT_EQ(JudgeGlobal("builtins dict"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("builtins dict.__init__.__globals__"), Danger::kDangerous);
  EXPECT_EQ(JudgeGlobal("torch.hub load"), Danger::kDangerous);
  EXPECT_EQ(JudgeGlobal("torch.utils._config_module ConfigModule.load_config"), Danger::kDangerous);
  EXPECT_EQ(JudgeGlobal("numpy.testing._private.utils runstring"), Danger::kDangerous);
  EXPECT_EQ(JudgeGlobal("osprey thing"), Danger::kUnknown);
  EXPECT_EQ(JudgeGlobal("somebody.package Class"), Danger::kUnknown);
}

TEST(ScanTest, SaysWhatWeightsOnlyLoadingTakes) {
  for (const char* name : {"torch._utils _rebuild_tensor_v2", "collections OrderedDict", "torch BFloat16Storage",
                           "__builtin__ set", "torch float8_e4m3fn"})
    EXPECT_TRUE(LoadsWeightsOnly(name)) << name;
  for (const char* name : {"_io BytesIO", "numpy dtype", "omegaconf.dictconfig DictConfig", "os system", "torch", ""})
    EXPECT_FALSE(LoadsWeightsOnly(name)) << name;
  // The opcodes of protocol 4, whatever the names.
  const std::string protocol2 = WriteFile("protocol2.pkl",
                                          "\x80\x02"
                                          "ccollections\nOrderedDict\n)R.");
  const std::string protocol4 = WriteFile("protocol4.pkl", std::string("\x80\x04\x8c\x0b"
                                                                       "collections\x8c\x0b"
                                                                       "OrderedDict\x93)R.",
                                                                       32));
  for (const auto& [path, takes] : {std::pair{protocol2, true}, {protocol4, false}}) {
    ANEMONE_ASSERT_ASSIGN(const std::vector<ScanFinding> findings, Scan(path));
    ASSERT_EQ(findings.size(), 1U) << path;
    EXPECT_EQ(findings[0].name, "collections OrderedDict");
    EXPECT_EQ(findings[0].weights_only, takes) << path;
  }
}

TEST(ScanTest, AFileThatChangesIsNotInert) {
  const std::string path = WriteFile("changes.txt", "harmless");
  const auto changed = [&path](std::string_view, uint64_t, uint64_t) {
    std::ofstream(path, std::ios::binary) << "other bytes";
    return true;
  };
  ANEMONE_ASSERT_ASSIGN(const std::vector<ScanFinding> findings, Scan(path, changed));
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].what, "not opened");
  EXPECT_THAT(findings[0].name, ::testing::HasSubstr("changes.txt: changed while it was read"));
}

TEST(ScanTest, IsFollowedAndStopped) {
  uint64_t seen = 0;
  const ProgressFn follow = [&](std::string_view stage, uint64_t done, uint64_t) {
    EXPECT_EQ(stage, "scanning");
    seen = done;
    return true;
  };
  EXPECT_THAT(Scan(testing::Golden("clip/mcore.nemo"), follow), IsOk());
  const ProgressFn stop = [](std::string_view, uint64_t, uint64_t) { return false; };
  EXPECT_THAT(Scan(testing::Golden("clip/mcore.nemo"), stop), StatusIs(ErrorKind::kInterrupted, "interrupted"));
}

// The functions that the advisories on picklescan and fickling name, each once found to pass as harmless
// [GitHub advisories GHSA of picklescan 0.0.21 … 1.0.4, fickling 0.1.4 … 0.1.7].
TEST(ScanTest, KnownGadgetsAreDangerous) {
  for (const char* global : {"pip main",
                             "pip._internal.cli.main main",
                             "builtins __import__",
                             "builtins getattr",
                             "asyncio.unix_events _UnixSubprocessTransport._start",
                             "bdb Bdb.run",
                             "bdb Bdb",
                             "cProfile run",
                             "cProfile runctx",
                             "profile run",
                             "trace Trace.runctx",
                             "timeit timeit",
                             "doctest debug_script",
                             "code InteractiveInterpreter.runcode",
                             "ensurepip _run_pip",
                             "idlelib.autocomplete AutoComplete.get_entity",
                             "idlelib.pyshell ModifiedInterpreter.runcode",
                             "idlelib.run Executive.runcode",
                             "idlelib.debugobj ObjectTreeItem.SetText",
                             "lib2to3.pgen2.grammar Grammar.loads",
                             "lib2to3.pgen2.pgen ParserGenerator.make_label",
                             "logging.config listen",
                             "_operator attrgetter",
                             "operator methodcaller",
                             "operator itemgetter",
                             "functools partial",
                             "functools reduce",
                             "types FunctionType",
                             "types CodeType",
                             "marshal loads",
                             "pty spawn",
                             "runpy _run_code",
                             "ctypes CDLL",
                             "multiprocessing.util spawnv_passfds",
                             "webbrowser open",
                             "distutils.file_util write_file",
                             "shutil rmtree",
                             "io FileIO",
                             "_io FileIO",
                             "linecache getlines",
                             "urllib.request urlopen",
                             "http.client HTTPSConnection",
                             "ssl get_server_certificate",
                             "socket create_connection",
                             "smtplib SMTP",
                             "imaplib IMAP4_stream",
                             "ftplib FTP",
                             "telnetlib Telnet",
                             "pydoc pipepager",
                             "pydoc locate",
                             "pkgutil resolve_name",
                             "uuid _get_command_stdout",
                             "_osx_support _read_output",
                             "_aix_support _read_cmd_output",
                             "_pyrepl.pager pipe_pager",
                             "_posixsubprocess fork_exec",
                             "test.support.script_helper assert_python_ok",
                             "venv create",
                             "sqlite3 connect",
                             "pandas eval",
                             "numpy.f2py.crackfortran getlincoef",
                             "numpy.f2py.crackfortran _eval_length",
                             "numpy.f2py.crackfortran param_eval",
                             "numpy.f2py.crackfortran myeval",
                             "numpy.f2py.diagnose run_command",
                             "numpy.testing._private.utils runstring",
                             "numpy load",
                             "torch load",
                             "torch.storage _load_from_bytes",
                             "torch._dynamo.guards GuardBuilder.get",
                             "torch._inductor.codecache compile_file",
                             "torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression",
                             "torch.jit.unsupported_tensor_ops execWrapper",
                             "torch.utils._config_module load_config",
                             "torch.utils.bottleneck.__main__ run_cprofile",
                             "torch.utils.bottleneck.__main__ run_autograd_prof",
                             "torch.utils.collect_env run",
                             "torch.utils.data.datapipes.utils.decoder basichandlers",
                             "torch.hub load",
                             "dill loads",
                             "joblib load",
                             "pickle loads",
                             "shelve open",
                             "hydra.utils instantiate",
                             "hydra._internal.utils _locate",
                             "omegaconf._utils _get_class"}) {
    EXPECT_EQ(JudgeGlobal(global), Danger::kDangerous) << global;
  }
  // Not on any list, and so not inert either.
  for (const char* global :
       {"logging FileHandler", "builtins vars", "builtins memoryview", "nemo.utils.model_utils import_class_by_path",
        "lightning_fabric.utilities.cloud_io _load", "torch set_default_dtype", "copyreg add_extension"}) {
    EXPECT_EQ(JudgeGlobal(global), Danger::kUnknown) << global;
  }
}

TEST(ScanTest, NamesADangerousPickle) {
  const std::string path = WriteFile("evil.pkl", std::string("\x80\x02"
                                                             "cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
                                                             24));
  auto findings = Scan(path);
  ASSERT_THAT(findings, IsOk());
  ASSERT_EQ(findings->size(), 1u);
  EXPECT_EQ(findings->front().danger, Danger::kDangerous);
}

TEST(ScanTest, NamesTargetsInConfigs) {
  const std::string path = WriteFile(
      "model_config.yaml", "optim:\n  _target_: os.system\ntarget: nemo.collections.x.Model\nhome: ${oc.env:HOME}\n");
  auto findings = Scan(path);
  ASSERT_THAT(findings, IsOk());
  ASSERT_EQ(findings->size(), 3u);
  EXPECT_EQ(Worst(*findings), Danger::kDangerous);
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

// A .npy file's header.
std::string Numpy(const std::string& header) {
  return B("\x93NUMPY\x01\0") + static_cast<char>(header.size() + 1) + '\0' + header + "\n";
}

// GLOBAL of a class of OmegaConf's, NEWOBJ, and a state in which `_val` is a text.
std::string Node(const std::string& text) {
  return "comegaconf.nodes\nAnyNode\n)\x81q\x09}X" + B("\4\0\0\0_val") + "X" + static_cast<char>(text.size()) +
         B("\0\0\0") + text + "sb";
}

// A member of torch's tars of before 0.1.10: two pickles with numbers behind each, and `behind`.
std::string OldTorchTar(const std::string& member, const std::string& behind) {
  const std::string key = "(U\x01" + std::string("0U\3cpuctorch\nFloatStorage\nt.");
  const std::string numbers =
      B("\2\0\0\0\0\0\0\0") + (member == "storages" ? std::string(8, 'x') : std::string(40, 'x'));
  return testing::TarFile({testing::TarBlock({.name = member, .content = "K\2." + key + numbers + behind}, '0'),
                           testing::TarBlock({.name = "pickle", .content = "N."}, '0')});
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
  const auto pickled = [](const std::string& dict) { return B("\x80\x03}") + dict + "s."; };
  const auto unicode = [](const std::string& word) {
    std::string length;
    for (int i = 0; i < 4; ++i) length += static_cast<char>(word.size() >> (8 * i));
    return "X" + length + word;
  };
  const std::string legacy = B("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
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
  constexpr Danger kDangerous = Danger::kDangerous, kUnknown = Danger::kUnknown;
  return {
      {"GLOBAL", "x.pkl", call, kDangerous, "os system"},
      {"protocol 0 text", "x.pkl", text, kDangerous, "os system"},
      {"protocol 0 text as weights", "model_weights.ckpt", text, kDangerous, "os system"},
      {"INST", "x.pkl", "(S'id'\nios\nsystem\n.", kDangerous, "os system"},
      {"INST without arguments", "x.pkl", "(ipty\nspawn\n.", kDangerous, "pty spawn"},
      {"OBJ with an unlisted class", "x.pkl", "(cpty\nspawn\nS'id'\no.", kDangerous, "pty spawn"},
      {"NEWOBJ", "x.pkl",
       B("\x80\x02"
         "cbdb\nBdb\n)\x81."),
       kDangerous, "bdb Bdb"},
      {"NEWOBJ_EX", "x.pkl",
       B("\x80\x04\x8c\x03"
         "bdb\x8c\x03"
         "Bdb\x93)}\x92."),
       kDangerous, "bdb Bdb"},
      {"a call hidden by BUILD", "x.pkl",
       B("\x80\x02"
         "cos\nsystem\n(S'id'\ntR}b."),
       kDangerous, "os system"},
      {"a call popped to a mark", "x.pkl", B("\x80\x02(cos\nsystem\n(S'id'\ntR1N."), kDangerous, "os system"},
      {"a memo written twice", "x.pkl",
       B("\x80\x02"
         "ccollections\nOrderedDict\nq\x00"
         "0cos\nsystem\nq\x00"
         "0h\x00(S'id'\ntR."),
       kDangerous, "os system"},
      {"a memo index beyond all", "x.pkl",
       B("\x80\x02Nr\xff\xff\xff\xff"
         "cos\nsystem\n(S'id'\ntR."),
       kDangerous, "os system"},  // Python keeps any index, if it has the memory
      {"the name of Python 2", "x.pkl",
       B("\x80\x02"
         "c__builtin__\neval\n(S'1'\ntR."),
       kDangerous, "builtins eval"},
      {"the module of Python 2", "x.pkl", "ccommands\ngetoutput\n(S'id'\ntR.", kDangerous, "subprocess getoutput"},
      {"STACK_GLOBAL of SHORT_BINSTRING", "x.pkl", B("\x80\x04U\x02osU\x06system\x93."), kDangerous, "os system"},
      {"STACK_GLOBAL of UNICODE", "x.pkl", B("\x80\x04Vos\nVsystem\n\x93."), kDangerous, "os system"},
      {"STACK_GLOBAL of BINUNICODE8", "x.pkl", B("\x80\x04\x8d\x02\0\0\0\0\0\0\0os\x8d\x06\0\0\0\0\0\0\0system\x93."),
       kDangerous, "os system"},
      {"STACK_GLOBAL by DUP", "x.pkl",
       B("\x80\x04\x8c\x03"
         "pty2\x93."),
       kDangerous, "pty pty"},
      {"STACK_GLOBAL of what is no string", "x.pkl", B("\x80\x04K\x01K\x02\x93."), kUnknown, ""},
      {"opcodes that scanners lack", "x.pkl", "}F1.0\ncos\nsystem\n(S'id'\ntR.", kDangerous, "os system"},
      {"a frame that lies", "x.pkl", B("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f\x8c\x02os\x8c\x06system\x93."),
       kUnknown, ""},
      {"an unknown opcode first", "x.pkl", B("\x80\x02\xfe") + text, kUnknown, ""},
      {"a protocol of the future", "x.pkl", B("\x80\x09") + text, kUnknown, ""},
      {"marks without end", "x.pkl", "\x80\x02" + std::string(100000, '('), kUnknown, ""},
      {"tuples without end", "x.pkl", "\x80\x02)" + std::string(100000, '\x85') + "cos\nsystem\n\x86.", kDangerous,
       "os system"},
      {"a list that holds itself", "x.pkl",
       B("\x80\x02]q\0h\0a"
         "cos\nsystem\n\x86."),
       kDangerous, "os system"},
      {"bytes of a huge count", "x.pkl",
       B("\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"
         "A."),
       kUnknown, ""},
      {"LONG4 of a huge count", "x.pkl",
       B("\x80\x02\x8b\xff\xff\xff\x7f"
         "A."),
       kUnknown, ""},
      {"7z instead of zip", "x.pt", B("7z\xbc\xaf\x27\x1c"), kUnknown, ""},
      {"a pickle without a telling name", "model/weights.config", text, kDangerous, "os system"},
      {"a headed pickle without a telling name", "model/vocab.txt", call, kDangerous, "os system"},
      {"a second pickle of protocol 0", "x.pkl", B("\x80\x02N.") + text, kDangerous, "os system"},
      {"legacy torch file, protocol 0 inside", "x.pt", legacy + text, kDangerous, "os system"},
      {"legacy torch file in bytes", "x.pkl", nested(legacy + text), kDangerous, "os system"},
      {"an array of objects", "x.npy",
       B("\x93NUMPY\x01\0\x46\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }         \n") + call, kDangerous,
       "os system"},
      {"_target_ in a pickled config", "x.ckpt", pickled(unicode("_target_") + unicode("os.system")), kDangerous,
       "os.system"},
      {"_target_ wrapped by OmegaConf", "x.ckpt",
       pickled(unicode("_target_") + "comegaconf.nodes\nAnyNode\n)\x81}" + unicode("_val") + unicode("os.system") +
               "sb"),
       kDangerous, "os.system"},
      {"environment in a pickled config", "x.ckpt", pickled(unicode("a") + unicode("${oc.env:SECRET}")), kUnknown,
       "oc.env"},
      {"zip: a wrong CRC", "x.pt",
       testing::ZipFile({{.name = "archive/data.pkl", .content = call, .crc_of = "other"}}, {}), kDangerous,
       "os system"},
      {"zip: marked as encrypted", "x.pt",
       testing::ZipFile({{.name = "archive/data.pkl", .content = call, .flags = 0x0801}}, {}), kUnknown, "encrypted"},
      {"zip: two sizes", "x.pt", testing::ZipFile({{.name = "archive/data.pkl", .content = call, .local_size = 3}}, {}),
       kUnknown, "data.pkl"},
      {"zip: two methods", "x.pt",
       testing::ZipFile({{.name = "archive/data.pkl", .content = call, .local_method = 8}}, {}), kUnknown, "data.pkl"},
      {"zip: one name twice", "x.pt",
       testing::ZipFile({{.name = "archive/data.pkl", .content = "N."}, {.name = "archive/data.pkl", .content = call}},
                        {}),
       kUnknown, "data.pkl"},
      {"zip: a pickle under another extension", "x.pt",
       testing::ZipFile(
           {{.name = "archive/data.pkl", .content = "N."}, {.name = "archive/extra.config", .content = text}}, {}),
       kDangerous, "os system"},
      {"zip behind a pickle", "x.pkl", B("\x80\x02N.") + zip, kUnknown, "zip behind"},
      {"tar that is a zip too", "x.nemo",
       testing::TarFile({testing::TarBlock({.name = B("PK\x03\x04") + "x", .content = "x"}, '0')}), kUnknown, "zip"},
      {"tar: one name twice", "x.nemo",
       testing::TarFile({testing::TarBlock({.name = "a.yaml", .content = "a: 1\n"}, '0'),
                         testing::TarBlock({.name = "./a.yaml", .content = "_target_: os.system\n"}, '0')}),
       kUnknown, "os.system"},
      {"tar: an absolute name", "x.nemo", tar("/etc/cron.d/x", "x", '0', ""), kUnknown, "etc"},
      {"tar: a device", "x.nemo", tar("dev", "", '3', ""), kUnknown, "dev"},
      {"tar: a pipe", "x.nemo", tar("pipe", "", '6', ""), kUnknown, "pipe"},
      {"NeMo 2: a class to build", "context/io.json",
       "{\"objects\": {\"a\": {\"type\": {\"type\": \"pyref\", \"module\": \"os\", \"name\": \"system\"}}}}",
       kDangerous, "os.system"},
      {"transformers: code beside the model", "hf/config.json", "{\"auto_map\": {\"AutoModel\": \"modeling_x.Evil\"}}",
       kUnknown, "modeling_x.Evil"},
      {"OBJ", "x.pkl", "(cos\nsystem\nS'id'\no.", kDangerous, "os system"},
      {"STACK_GLOBAL", "x.pkl", B("\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."), kDangerous, "os system"},
      {"STACK_GLOBAL by memo", "x.pkl",
       B("\x80\x04\x8c\x02os\x94"
         "0\x8c\x06system\x94"
         "0h\x00h\x01\x93\x8c\x02id\x85R."),
       kDangerous, "os system"},
      {"STACK_GLOBAL dotted", "x.pkl",
       B("\x80\x04\x8c\x08"
         "builtins\x8c\x0d"
         "dict.__init__\x93."),
       kDangerous, "dict.__init__"},
      {"a second PROTO", "x.pkl", B("\x80\x02\x80\x04") + text, kDangerous, "os system"},
      {"thrown away again", "x.pkl",
       B("\x80\x02"
         "cos\nsystem\n0N."),
       kDangerous, "os system"},
      {"called, then cut", "x.pkl",
       B("\x80\x02"
         "cos\nsystem\nX\x02\x00\x00\x00id\x85R\xff"),
       kDangerous, "os system"},
      {"a second pickle", "x.pkl", B("\x80\x02N.") + call, kDangerous, "os system"},
      {"nested pickle", "x.pkl", nested(call), kDangerous, "os system"},
      {"nested text pickle, loads named", "x.pkl",
       "\x80\x03"
       "c_pickle\nloads\n" +
           PickledBytes(text) + "\x85R.",
       kDangerous, "_pickle loads"},
      {"nested twice", "x.pkl", nested(nested(call)), kDangerous, "os system"},
      {"EXT1", "x.pkl", B("\x80\x02\x82\x01."), kUnknown, ""},
      {"huge count", "x.pkl", B("\x80\x02X\xff\xff\xff\x7f."), kUnknown, ""},
      {"memo miss", "x.pkl", B("\x80\x02h\x09."), kUnknown, ""},
      {"BytesIO with a pickle", "x.pkl", bytes_io(call), kDangerous, "os system"},
      {"BytesIO with a zip", "x.pkl", bytes_io(zip), kDangerous, "os system"},
      {"BytesIO with a zip, in a zip, in a tar", "x.nemo",
       tar("model_weights.ckpt", testing::ZipFile({{.name = "archive/data.pkl", .content = bytes_io(zip)}}, {}), '0',
           ""),
       kDangerous, "os system"},
      {"legacy torch file", "x.pt",
       B("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.") + call, kDangerous, "os system"},
      {"zip: two names for one member", "x.pt",
       testing::ZipFile({{.name = "archive/data.pkl", .content = call, .local_name = "archive/evil.pkl"}}, {}),
       kUnknown, "data.pkl"},
      {"zip: traversal", "x.pt", testing::ZipFile({{.name = "../../evil.pkl", .content = call}}, {}), kUnknown,
       "evil.pkl"},
      {"tar: traversal", "x.nemo", tar("../../evil", "x", '0', ""), kUnknown, "evil"},
      {"tar: symlink", "x.nemo", tar("model_weights.ckpt", "", '2', "/etc/passwd"), kUnknown, "model_weights.ckpt"},
      {"tar: hard link", "x.nemo", tar("model_weights.ckpt", "", '1', "/etc/passwd"), kUnknown, "model_weights.ckpt"},
      {"YAML aliases that explode", "model_config.yaml", bomb, kUnknown, ""},
      {"_target_", "model_config.yaml", "optim:\n  _target_: os.system\n", kDangerous, "os.system"},
      {"_target_ in a list", "model_config.yaml", "a:\n- b:\n    _target_: builtins.eval\n", kDangerous,
       "builtins.eval"},
      {"python tag", "model_config.yaml", "a: !!python/object/apply:os.system [id]\n", kUnknown, ""},
      {"STACK_GLOBAL through a module's attribute", "x.pkl",
       B("\x80\x04\x8c\x07"
         "pathlib\x8c\x09"
         "os.system\x93\x8c\x02id\x85R."),
       kDangerous, "pathlib os.system"},
      {"_target_ through a module's attribute", "model_config.yaml", "_target_: torch.nn.functional.torch.os.system\n",
       kDangerous, "torch.os.system"},
      {"_target_: a class that a framework imports", "model_config.yaml",
       "_target_: nemo.collections.asr.models.ctc_models.Path\n", kUnknown, "ctc_models.Path"},
      {"cls with params", "model_config.yaml", "cls: os.system\nparams:\n  command: id\n", kDangerous, "os.system"},
      {"class with params", "model_config.yaml", "a:\n  class: os.system\n  params: {command: id}\n", kDangerous,
       "os.system"},
      {"a custom resolver", "model_config.yaml", "a: ${eval:'1'}\n", kUnknown, "eval"},
      {"a resolver inside another", "model_config.yaml", "a: ${multiply:2,${oc.env:X}}\n", kUnknown, "oc.env"},
      {"code beside the model, asked for", "model_config.yaml", "tokenizer:\n  trust_remote_code: true\n", kUnknown,
       "trust_remote_code"},
      {"code beside the model, asked for as Python spells it", "model_config.yaml", "trust_remote_code: True\n",
       kUnknown, "trust_remote_code"},
      {"a class path of Lightning's command line", "config.yaml", "model:\n  class_path: os.system\n", kDangerous,
       "os.system"},
      {"an argument beyond its frame", "x.pkl",
       B("\x80\x05N(\x95\x02\0\0\0\0\0\0\0"
         "B\x07\x01\0\0") +
           std::string(263, 'N') + "1.",
       kUnknown, "leaves its frame"},
      {"padding before protocol 0", "model.joblib", "S'" + std::string(70000, 'a') + "'\n0" + text, kDangerous,
       "os system"},
      {"padding under any name", "notes.txt", "S'" + std::string(70000, 'a') + "'\n0" + text, kDangerous, "os system"},
      {"an unknown call, then cut", "m.joblib", "cmypkg.sub\nrun\n)R\xff\xff", kUnknown, "mypkg.sub run"},
      {"several pickles without a header", "data", "I1\n.I2\n.]." + text, kDangerous, "os system"},
      {"npy: objects", "x.npy", Numpy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + call, kDangerous,
       "os system"},
      {"npy: other quotes", "x.npy", Numpy("{\"descr\": \"O\", \"fortran_order\": False, \"shape\": (1,), }") + call,
       kDangerous, "os system"},
      {"npy: a field of objects", "x.npy",
       Numpy("{'descr': [('x', '<f4'), ('o', '|O')], 'fortran_order': False, 'shape': (1,), }") + text, kDangerous,
       "os system"},
      {"7z", "x.7z", B("7z\xbc\xaf\x27\x1c\0\x04"), kUnknown, "a 7z archive"},
      {"zstd behind a frame that is skipped", "x.pkl", B("\x5a\x2a\x4d\x18\1\0\0\0a\x28\xb5\x2f\xfd"), kUnknown,
       "zstd"},
      {"HDF5 behind other content", "x.bin", std::string(2048, '\0') + "\x89HDF\r\n\x1a\n", kUnknown, "HDF5"},
      {"a program of Windows", "x.bin", B("MZ\x90\0\3\0\0\0"), kUnknown, "native"},
      {"zstd in a tar", "x.nemo", tar("model_weights.ckpt", B("\x28\xb5\x2f\xfd\x04\0"), '0', ""), kUnknown, "zstd"},
      {"an encrypted member beside a plain one", "x.zip",
       testing::ZipFile({{.name = "secret", .content = "x", .flags = 1}, {.name = "a.pkl", .content = call}}, {}),
       kDangerous, "os system"},
      {"a link beside a pickle", "x.tar",
       testing::TarFile({testing::TarBlock({.name = "l", .content = "", .link = "/etc/passwd"}, '2'),
                         testing::TarBlock({.name = "a.pkl", .content = call}, '0')}),
       kDangerous, "os system"},
      {"gzip in a tar", "x.nemo",
       tar("sub.nemo", testing::Gzipped(tar("model_config.yaml", "_target_: os.system\n", '0', "")), '0', ""),
       kDangerous, "os.system"},
      {"zlib", "x.pkl", testing::Zlibbed(call), kDangerous, "os system"},
      {"zlib, cut behind the call", "x.joblib", testing::Zlibbed(call + std::string(99999, 'x')).substr(0, 60),
       kDangerous, "os system"},
      {"bzip2 in a zip", "x.zip", testing::ZipFile({{.name = "a.joblib", .content = testing::Bzipped(call)}}, {}),
       kDangerous, "os system"},
      {"xz in zlib", "x", testing::Zlibbed(testing::Xzed(call)), kDangerous, "os system"},
      {"a pickle in bytes written as text, and cut", "x.pkl",
       B("\x80\x02X\x16\0\0\0\xc2\x80\x02"
         "cos\nsystem\n)Rxxxxx."),
       kDangerous, "os system"},
      {"a state set on a class", "x.pkl", "ccollections\nOrderedDict\n}b.", kUnknown, "a state set on a class"},
      {"environment", "model_config.yaml", "a: ${oc.env:SECRET}\n", kUnknown, "oc.env"},
      {"a zero byte in an integer", "x", B("I1\0x\n0") + text, kDangerous, "os system"},
      {"a zero byte in a long", "x", B("L1\0x\n0") + text, kDangerous, "os system"},
      {"a zero byte in a float", "x", B("F1.0\0x\n0") + text, kDangerous, "os system"},
      {"a zero byte in a memo index", "x", B("Np0\0x\ng0\0y\n00") + text, kDangerous, "os system"},
      {"a memo index beyond 64 bits", "x", "Np99999999999999999999\n0" + text, kUnknown, "memo index"},
      {"a frame beyond the end", "x", B("\x95\xff\0\0\0\0\0\0\0") + text, kDangerous, "os system"},
      {"memo index -0", "x", "Np-0\ng-0\n00" + text, kDangerous, "os system"},
      {"_target_ by interpolation in a pickled config", "x.ckpt", pickled(unicode("_target_") + unicode("${a}")),
       kUnknown, "${a}"},
      {"_target_ in part by interpolation", "x.ckpt", pickled(unicode("_target_") + unicode("${oc.select:a}.system")),
       kUnknown, "${oc.select:a}.system"},
      {"a config made of a text", "model_config.yaml", "a: ${oc.create:${b}}\nb: '{_target_: os.system}'\n", kUnknown,
       "oc.create"},
      {"a resolver behind other text, pickled", "x.ckpt",
       pickled(unicode("a") + unicode("see " + std::string(200, 'x') + "${eval:1}")), kUnknown, "${eval:1}"},
      {"_target_ in a tuple that dict takes", "x.ckpt", "(" + unicode("_target_") + unicode("os.system") + "t.",
       kDangerous, "os.system"},
      {"_target_ in a list that dict takes", "x.ckpt", "]" + unicode("_target_") + "a" + unicode("os.system") + "a.",
       kDangerous, "os.system"},
      {"_target_ in a set that dict takes", "x.ckpt",
       B("\x80\4\x8f(") + unicode("os.system") + unicode("_target_") + "\x90.", kDangerous, "os.system"},
      {"_target_ made by str", "x.ckpt",
       B("\x80\3}cbuiltins\nstr\nC\x08_target_U\5ascii\x86R") + unicode("os.system") + "s.", kDangerous, "os.system"},
      {"_target_ as a text of NumPy", "x.ckpt",
       B("\x80\3}cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\2\0\0\0U8K\0K\1\x87RC\x20") + std::string(32, 'x') +
           "\x86R" + unicode("os.system") + "s.",
       kDangerous, "os.system"},
      {"a value of a config set twice", "x.ckpt",
       B("\x80\2}") + unicode("_target_") + Node("torch.nn.Linear") + "sh\x09}" + unicode("_val") +
           unicode("os.system") + "sb0.",
       kUnknown, "set twice"},
      {"npy: a second array", "x.npy",
       Numpy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }") + "xxxx" + Numpy("{'descr': '|O', }") + call,
       kDangerous, "os system"},
      {"npy: a second array behind a structure", "x.npy",
       Numpy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }") + "xxxx" +
           Numpy("{'descr': '|O', }") + call,
       kDangerous, "os system"},
      {"npy: a second array behind objects", "x.npy",
       Numpy("{'descr': '|O', }") + "N." + Numpy("{'descr': '|O', }") + call, kDangerous, "os system"},
      {"npy: a pickle behind an array", "x.npy",
       Numpy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }") + "xxxx" + text, kDangerous, "os system"},
      {"old torch tar: behind a storage", "x.pt", OldTorchTar("storages", text), kDangerous, "os system"},
      {"old torch tar: behind a tensor", "x.pt", OldTorchTar("tensors", text), kDangerous, "os system"},
      {"an expression of an exported program", "archive/models/model.json", "{\"a\": [{\"expr_str\": \"open('x')\"}]}",
       kDangerous, "open('x')"},
      {"an expression evaluated twice", "archive/models/model.json", "{\"expr_str\": \"S('open')('x', 'w')\"}",
       kDangerous, "S('open')"},
      {"transformers: code beside a part of the model", "processor_config.json",
       "{\"image_processor\": {\"auto_map\": {\"AutoImageProcessor\": \"x.Evil\"}}}", kUnknown, "x.Evil"},
      {"transformers: a kernel on the hub", "config.json", "{\"_attn_implementation\": \"somebody/kernel\"}", kUnknown,
       "somebody/kernel"},
      {"sentence-transformers: a module", "modules.json", "[{\"type\": \"os.system\"}]", kDangerous, "os.system"},
      {"sentence-transformers: an activation", "2_Dense/config.json", "{\"activation_function\": \"evil.Act\"}",
       kUnknown, "evil.Act"},
      {"diffusers: a library", "model_index.json", "{\"unet\": [\"evil.x\", \"Unet\"]}", kUnknown, "evil.x"},
      {"diffusers: code beside the model", "model_index.json", "{\"_class_name\": [\"pipeline\", \"Evil\"]}", kUnknown,
       "pipeline.Evil"},
      {"Keras: code in a layer", "config.json", "{\"config\": {\"layers\": [{\"class_name\": \"Lambda\"}]}}", kUnknown,
       "Lambda"},
      {"Keras: a function of another module", "config.json", "{\"module\": \"os\", \"class_name\": \"system\"}",
       kDangerous, "os.system"},
  };
}

TEST(ScanTest, EveryAttackIsReported) {
  for (const Attack& attack : Attacks()) {
    SCOPED_TRACE(attack.technique);
    const testing::TempDir dir;
    const std::filesystem::path path(dir / attack.file);
    std::filesystem::create_directories(path.parent_path());
    testing::WriteFile(path.string(), attack.bytes);
    auto findings = Scan(path.string());
    ASSERT_THAT(findings, IsOk());
    std::string seen;
    for (const ScanFinding& f : *findings) seen += f.what + ": " + f.name + " (" + f.file + ")\n";
    EXPECT_TRUE(std::any_of(findings->begin(), findings->end(), [&](const ScanFinding& f) {
      return f.danger >= attack.danger && f.name.find(attack.name) != std::string::npos;
    })) << seen;
  }
}

// One broken file hides no other.
TEST(ScanTest, GoesOnBehindABrokenBox) {
  const testing::TempDir dir;
  testing::WriteFile(dir / "a.pt", testing::ZipFile({{.name = "../evil.pkl", .content = "N."}}, {}));
  testing::WriteFile(dir / "b.pkl", "cos\nsystem\n(S'id'\ntR.");
  ANEMONE_ASSERT_ASSIGN(const auto findings, Scan(dir.path()));
  EXPECT_EQ(Worst(findings), Danger::kDangerous);
  EXPECT_EQ(findings.size(), 2u);
}

// A damaged archive is named, and its neighbors are read.
TEST(ScanTest, GoesOnBehindADamagedMember) {
  const testing::TempDir dir;
  const std::string deflated = testing::Deflated("N.");
  testing::WriteFile(
      dir / "a.zip",
      testing::ZipFile({{.name = "d.pkl", .content = deflated, .method = 8, .size = 2, .crc_of = "other bytes"}}, {}));
  testing::WriteFile(dir / "z.pkl", "cos\nsystem\n(S'id'\ntR.");
  ANEMONE_ASSERT_ASSIGN(const auto findings, Scan(dir.path()));
  EXPECT_EQ(Worst(findings), Danger::kDangerous);
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_THAT(findings[0].name, ::testing::HasSubstr("a.zip/d.pkl"));
}

// What real files hold in odd ways is no finding.
TEST(ScanTest, HarmlessArchivesAreInert) {
  const std::string end(B("PK\5\6") + std::string(18, '\0'));
  const std::map<std::string, std::string> files = {
      {"empty.zip", end},
      {"twice.zip",
       testing::ZipFile({{.name = "a/"}, {.name = "a/"}, {.name = "a/b", .content = "x"}, {.name = "a/b/"}}, {})},
      {"._model_config.yaml", B("\0\5\x16\7\0\2\0\0Mac OS X        ")},
      {"image.bin", B("\x89PNG\r\n\x1a\n\0\0\0\rIHDR")},
      {"float.npy", Numpy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }") + B("\x80\2\0\0\0\0\0\0")},
      {"two.npy", Numpy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }") + "xxxx" +
                      Numpy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }") + "xxxx"},
      {"hparams.yaml", "betas: !!python/tuple\n- 0.9\n- 0.95\ntarget: 0.5\nclass: large\n"},
      {"archive/models/model.json", "{\"expr_str\": \"Max(1, 2*Symbol('s77', positive=True) + u0) % 8\"}"},
      {"modules.json", "[{\"type\": \"sentence_transformers.models.Pooling\", \"path\": \"1.0\"}]"},
      {"model_index.json",
       "{\"_class_name\": \"X\", \"unet\": [\"diffusers\", \"UNet2DConditionModel\"], \"safety_checker\": "
       "[\"stable_diffusion\", \"Checker\"]}"},
      {"words.pkl", B("\x80\4](X\6\0\0\0targetX\5\0\0\0smallX\5\0\0\0${HOMe.")},
      {"legacy.pt", B("\x80\2N.\x80\2}.") + B("\x80\2\0\0\0\0\0\0") + std::string(640, 'c')},
  };
  for (const auto& [name, bytes] : files) {
    ANEMONE_ASSERT_ASSIGN(const auto findings, ScanBytes(bytes, name));
    EXPECT_TRUE(findings.empty()) << name << ": " << findings.front().name;
  }
}

// Numbers that begin like a code of copyreg's registry are numbers where the torch file says that they are.
TEST(ScanTest, AStorageThatNamesNothingIsNumbers) {
  using Records = std::vector<testing::ZipEntry>;
  using namespace std::string_literals;
  const std::string pickle =
      "\x80\x02(X\x07\0\0\0storagectorch\nByteStorage\nX\x01\0\0\0"s + "0X\x03\0\0\0cpuK\x03tQ."s;
  const std::string code = "\x82\x01.", call = "cos\nsystem\n(S'id'\ntR.";
  const auto worst = [](const Records& records) {
    const auto findings = ScanBytes(testing::ZipFile(records, {}), "x.pt");
    return findings.ok() ? Worst(*findings) : Danger::kDangerous;
  };
  const testing::ZipEntry torch = {.name = "x/data.pkl", .content = pickle};
  const testing::ZipEntry storage = {.name = "x/data/0", .content = code};
  EXPECT_EQ(worst({torch, storage}), Danger::kInert);
  EXPECT_EQ(worst({torch, {.name = "x/data/0", .content = call}}), Danger::kDangerous);
  EXPECT_EQ(worst({torch,
                   {.name = "x/data/0",
                    .content = "\x80\x02"
                               "cfoo\nbar\n."}}),
            Danger::kUnknown);
  // No storage: another key, another folder, a pickle that comes behind or names none, a name that comes twice.
  EXPECT_EQ(worst({torch, {.name = "x/data/1", .content = code}}), Danger::kUnknown);
  EXPECT_EQ(worst({torch, {.name = "y/data/0", .content = code}}), Danger::kUnknown);
  EXPECT_EQ(worst({torch, {.name = "x/data/0.pkl", .content = code}}), Danger::kUnknown);
  EXPECT_EQ(worst({storage, torch}), Danger::kUnknown);
  EXPECT_EQ(worst({{.name = "x/data.pkl", .content = "X\x01" + std::string(3, '\0') + "0."}, storage}),
            Danger::kUnknown);
  EXPECT_EQ(worst({torch, storage, storage}), Danger::kUnknown);
  // Another zip of the same name, and files that lie so in a folder.
  const auto member = [](const Records& records) {
    return testing::TarBlock({.name = "x.pt", .content = testing::ZipFile(records, {})}, '0');
  };
  ANEMONE_ASSERT_ASSIGN(const auto in_tar,
                        ScanBytes(testing::TarFile({member({torch, storage}), member({storage})}), "x.tar"));
  EXPECT_EQ(Worst(in_tar), Danger::kUnknown);
  const testing::TempDir dir;
  std::filesystem::create_directories(dir / "x/data");
  testing::WriteFile(dir / "x/data.pkl", pickle);
  testing::WriteFile(dir / "x/data/0", code);
  ANEMONE_ASSERT_ASSIGN(const auto in_folder, Scan(dir.path()));
  EXPECT_EQ(Worst(in_folder), Danger::kUnknown);
}

// Archives in byte strings in pickles in archives: eight of each in each would be 8^8 pickles.
TEST(ScanTest, WorkIsBounded) {
  std::string inner = "\x80\3N.";
  for (int depth = 0; depth < 7; ++depth) {
    const std::string zip = testing::ZipFile(
        {{.name = "a", .content = testing::Deflated(inner), .method = 8, .size = inner.size(), .crc_of = inner}}, {});
    inner = "\x80\3";
    for (int i = 0; i < 8; ++i) inner += PickledBytes(zip) + "0";
    inner += "N.";
  }
  const auto start = std::chrono::steady_clock::now();
  ANEMONE_ASSERT_ASSIGN(const auto findings, ScanBytes(inner, "x.pkl"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));  // a few, without sanitizers
  EXPECT_EQ(Worst(findings), Danger::kUnknown);
}

// A stream that holds too much is not opened, and not inert.
TEST(ScanTest, BombsAreNotOpened) {
  const std::string zeros(80 << 20, '\0');
  for (const std::string& bomb : {testing::Zlibbed(zeros), testing::Bzipped(zeros)}) {
    ANEMONE_ASSERT_ASSIGN(const auto findings, ScanBytes(bomb, "x.joblib"));
    ASSERT_FALSE(findings.empty());
    EXPECT_EQ(findings.front().what, "not opened");
  }
}

// Two bytes of zlib's in front of others: a few come out before the rest proves damaged, and the file's name says
// nothing of those. A pickle's first bytes do.
TEST(ScanTest, WhatABrokenStreamGivesIsNoPickleByName) {
  const std::string rest(99999, 'x'), code = "\x83\x34\x12";
  const auto cut = [&](const std::string& begin) { return testing::Zlibbed(begin + rest).substr(0, 60); };
  ANEMONE_ASSERT_ASSIGN(const auto noise, ScanBytes(cut(code), "x.bin"));
  EXPECT_TRUE(noise.empty()) << noise.front().name;
  std::string damaged = cut(code);
  damaged.back() ^= 0x55;
  ANEMONE_ASSERT_ASSIGN(const auto damage, ScanBytes(damaged + rest, "x.bin"));
  EXPECT_TRUE(damage.empty()) << damage.front().name;
  ANEMONE_ASSERT_ASSIGN(const auto pickle, ScanBytes(cut("\x80\x02" + code), "x.bin"));
  EXPECT_EQ(Worst(pickle), Danger::kUnknown);
}

// 120,000 unknown names do not keep a dangerous one behind them out of the list, nor do inert ones make a file unsafe.
TEST(ScanTest, AListThatEndsSaysSo) {
  std::string many;
  for (int i = 0; i < 120'000; ++i) many += "cmodule" + std::to_string(i) + "\nname\n0" + (i % 60'000 == 0 ? "N." : "");
  ANEMONE_ASSERT_ASSIGN(const auto findings, ScanBytes("\x80\x02" + many + "cos\nsystem\n.", "x.pkl"));
  EXPECT_EQ(findings.size(), 100'002);
  EXPECT_EQ(findings[100'000].what, kNotListed);
  EXPECT_EQ(findings[100'000].danger, Danger::kUnknown);
  EXPECT_EQ(findings[100'001].name, "os system");
  EXPECT_EQ(findings[100'001].danger, Danger::kDangerous);

  std::string config;
  for (int i = 0; i < 100'005; ++i) config += "- _target_: torch.nn.Linear\n";
  ANEMONE_ASSERT_ASSIGN(const auto plain, ScanBytes(config, "x.yaml"));
  EXPECT_EQ(plain.size(), 100'001);
  EXPECT_EQ(plain.back().what, kNotListed);
  EXPECT_EQ(Worst(plain), Danger::kInert);
}

// Text that happens to begin with opcodes is not a pickle.
TEST(ScanTest, TextIsNoPickle) {
  const testing::TempDir dir;
  testing::WriteFile(dir / "merges.txt", "#version: 0.2\ni n\nt h\n");
  testing::WriteFile(dir / "words", "cat\ndog\n(a tree).\n");
  testing::WriteFile(dir / "vocab.json", "{\"a\": 1}");
  ANEMONE_ASSERT_ASSIGN(const auto findings, Scan(dir.path()));
  EXPECT_TRUE(findings.empty()) << findings.front().name;
}

TEST(ScanTest, NeMo2FoldersAreInert) {
  ANEMONE_ASSERT_ASSIGN(const auto findings, Scan(testing::Golden("dist/nemo2_llama/nemo")));
  for (const ScanFinding& f : findings) EXPECT_EQ(f.danger, Danger::kInert) << f.file << ": " << f.name;
}

TEST(ScanTest, MissingFileIsAnError) { EXPECT_THAT(Scan("/nowhere"), StatusIs(ErrorKind::kNotFound, "/nowhere")); }

}  // namespace
}  // namespace anemone
