#include "ops/scan.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "anemone/config.h"
#include "container/pickle.h"
#include "container/tar.h"
#include "ops/walk.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxPickleBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxHead = uint64_t{64} << 10;  // looked at where no name says that there is a pickle

// One judgement: a module (exactly, or with everything below it) and optionally one name in it.
struct Rule {
  std::string_view module;
  std::string_view name;  // with a `*` at either end: any beginning or any end
  bool submodules = false;
  Danger danger;
};

// First match wins: the dangerous names of a module stand before its inert rest. Sources of the inert half: what torch,
// Lightning, OmegaConf and NeMo write (docs/formats/pytorch.md); of the dangerous half: the bypass lists published for
// picklescan and fickling.
constexpr Rule kRules[] = {
    {"builtins", "eval", false, Danger::kCalls},
    {"builtins", "exec", false, Danger::kCalls},
    {"builtins", "compile", false, Danger::kCalls},
    {"builtins", "open", false, Danger::kCalls},
    {"builtins", "input", false, Danger::kCalls},
    {"builtins", "breakpoint", false, Danger::kCalls},
    {"builtins", "__import__", false, Danger::kCalls},
    {"builtins", "getattr", false, Danger::kCalls},
    {"builtins", "setattr", false, Danger::kCalls},
    {"builtins", "delattr", false, Danger::kCalls},
    {"builtins", "globals", false, Danger::kCalls},
    {"builtins", "apply", false, Danger::kCalls},
    {"builtins", "map", false, Danger::kCalls},
    {"builtins", "filter", false, Danger::kCalls},
    {"os", "*", true, Danger::kCalls},
    {"posix", "*", false, Danger::kCalls},
    {"nt", "*", false, Danger::kCalls},
    {"sys", "*", false, Danger::kCalls},
    {"subprocess", "*", false, Danger::kCalls},
    {"shutil", "*", false, Danger::kCalls},
    {"socket", "*", true, Danger::kCalls},
    {"pty", "*", false, Danger::kCalls},
    {"commands", "*", false, Danger::kCalls},
    {"importlib", "*", true, Danger::kCalls},
    {"runpy", "*", false, Danger::kCalls},
    {"code", "*", false, Danger::kCalls},
    {"codeop", "*", false, Danger::kCalls},
    {"pdb", "*", false, Danger::kCalls},
    {"bdb", "*", false, Danger::kCalls},
    {"timeit", "*", false, Danger::kCalls},
    {"cProfile", "*", false, Danger::kCalls},
    {"profile", "*", false, Danger::kCalls},
    {"trace", "*", false, Danger::kCalls},
    {"doctest", "*", false, Danger::kCalls},
    {"pip", "*", true, Danger::kCalls},
    {"ensurepip", "*", true, Danger::kCalls},
    {"idlelib", "*", true, Danger::kCalls},
    {"lib2to3", "*", true, Danger::kCalls},
    {"pickle", "*", false, Danger::kCalls},
    {"_pickle", "*", false, Danger::kCalls},
    {"dill", "*", true, Danger::kCalls},
    {"cloudpickle", "*", true, Danger::kCalls},
    {"joblib", "*", true, Danger::kCalls},
    {"marshal", "*", false, Danger::kCalls},
    {"types", "*", false, Danger::kCalls},
    {"operator", "*", false, Danger::kCalls},
    {"_operator", "*", false, Danger::kCalls},
    {"functools", "*", false, Danger::kCalls},
    {"ctypes", "*", true, Danger::kCalls},
    {"_ctypes", "*", false, Danger::kCalls},
    {"http", "*", true, Danger::kCalls},
    {"urllib", "*", true, Danger::kCalls},
    {"urllib2", "*", false, Danger::kCalls},
    {"requests", "*", true, Danger::kCalls},
    {"httplib", "*", false, Danger::kCalls},
    {"aiohttp", "*", true, Danger::kCalls},
    {"webbrowser", "*", false, Danger::kCalls},
    {"asyncio", "*", true, Danger::kCalls},
    {"multiprocessing", "*", true, Danger::kCalls},
    {"threading", "*", false, Danger::kCalls},
    {"signal", "*", false, Danger::kCalls},
    {"tempfile", "*", false, Danger::kCalls},
    {"zipfile", "*", true, Danger::kCalls},
    {"tarfile", "*", false, Danger::kCalls},
    {"io", "open", false, Danger::kCalls},
    {"io", "FileIO", false, Danger::kCalls},
    {"_io", "open", false, Danger::kCalls},
    {"_io", "FileIO", false, Danger::kCalls},
    {"codecs", "open", false, Danger::kCalls},
    {"logging.config", "*", false, Danger::kCalls},
    {"_posixsubprocess", "*", false, Danger::kCalls},
    {"_osx_support", "*", false, Danger::kCalls},
    {"_aix_support", "*", false, Danger::kCalls},
    {"_pyrepl", "*", true, Danger::kCalls},
    {"ast", "*", false, Danger::kCalls},
    {"atexit", "*", false, Danger::kCalls},
    {"concurrent", "*", true, Danger::kCalls},
    {"distutils", "*", true, Danger::kCalls},
    {"setuptools", "*", true, Danger::kCalls},
    {"ftplib", "*", false, Danger::kCalls},
    {"imaplib", "*", false, Danger::kCalls},
    {"nntplib", "*", false, Danger::kCalls},
    {"poplib", "*", false, Danger::kCalls},
    {"smtplib", "*", false, Danger::kCalls},
    {"telnetlib", "*", false, Danger::kCalls},
    {"xmlrpc", "*", true, Danger::kCalls},
    {"ssl", "*", false, Danger::kCalls},
    {"linecache", "*", false, Danger::kCalls},
    {"fileinput", "*", false, Danger::kCalls},
    {"mailcap", "*", false, Danger::kCalls},
    {"pkgutil", "*", false, Danger::kCalls},
    {"pydoc", "*", false, Danger::kCalls},
    {"shelve", "*", false, Danger::kCalls},
    {"site", "*", false, Danger::kCalls},
    {"sqlite3", "*", true, Danger::kCalls},
    {"test", "*", true, Danger::kCalls},
    {"uuid", "*", false, Danger::kCalls},
    {"venv", "*", true, Danger::kCalls},
    {"zipimport", "*", false, Danger::kCalls},
    {"zipapp", "*", false, Danger::kCalls},
    {"gc", "*", false, Danger::kCalls},
    {"inspect", "*", false, Danger::kCalls},
    {"typing", "get_type_hints", false, Danger::kCalls},
    {"typing", "_eval_type", false, Danger::kCalls},
    {"typing", "ForwardRef", false, Danger::kCalls},
    {"collections", "namedtuple", false, Danger::kCalls},
    {"omegaconf._utils", "*", false, Danger::kCalls},
    {"hydra", "*", true, Danger::kCalls},
    {"pandas", "*", true, Danger::kCalls},
    {"tensorflow", "*", true, Danger::kCalls},
    {"tensorboard", "*", true, Danger::kCalls},
    {"nltk", "*", true, Danger::kCalls},
    {"jsonpickle", "*", true, Danger::kCalls},
    {"numpy.testing", "*", true, Danger::kCalls},
    {"numpy.f2py", "*", true, Danger::kCalls},
    {"numpy", "load", false, Danger::kCalls},
    {"numpy", "fromfile", false, Danger::kCalls},
    {"numpy.distutils", "*", true, Danger::kCalls},
    {"torch", "load", false, Danger::kCalls},
    {"torch", "save", false, Danger::kCalls},
    {"torch", "from_file", false, Danger::kCalls},
    {"torch", "compile", false, Danger::kCalls},
    {"torch._jit_internal", "*", false, Danger::kCalls},
    {"torch.ao", "*", true, Danger::kCalls},
    {"torch.onnx", "*", true, Danger::kCalls},
    {"torch.testing", "*", true, Danger::kCalls},
    {"torch.multiprocessing", "*", true, Danger::kCalls},
    {"torch.serialization", "load", false, Danger::kCalls},
    {"torch.hub", "*", false, Danger::kCalls},
    {"torch.jit", "*", true, Danger::kCalls},
    {"torch.utils", "*", true, Danger::kCalls},
    {"torch._inductor", "*", true, Danger::kCalls},
    {"torch._dynamo", "*", true, Danger::kCalls},
    {"torch.fx", "*", true, Danger::kCalls},
    {"torch.package", "*", true, Danger::kCalls},
    {"torch.distributed.rpc", "*", true, Danger::kCalls},
    {"torch.storage", "_load_from_bytes", false, Danger::kCalls},
    {"torch._utils", "_rebuild_tensor", false, Danger::kInert},
    {"torch._utils", "_rebuild_tensor_v2", false, Danger::kInert},
    {"torch._utils", "_rebuild_tensor_v3", false, Danger::kInert},
    {"torch._utils", "_rebuild_parameter", false, Danger::kInert},
    {"torch._utils", "_rebuild_parameter_with_state", false, Danger::kInert},
    {"torch._utils", "_rebuild_device_tensor_from_numpy", false, Danger::kInert},
    {"torch._utils", "_rebuild_device_tensor_from_cpu_tensor", false, Danger::kInert},
    {"torch._utils", "_rebuild_meta_tensor_no_storage", false, Danger::kInert},
    {"torch._tensor", "_rebuild_from_type_v2", false, Danger::kInert},
    {"torch.nn.parameter", "Parameter", false, Danger::kInert},
    {"torch.serialization", "_get_layout", false, Danger::kInert},
    {"torch.storage", "*Storage", false, Danger::kInert},
    {"torch.distributed.checkpoint.metadata", "*", false, Danger::kInert},
    {"torch.distributed.checkpoint.planner", "*Plan", false, Danger::kInert},
    {"torch.distributed.checkpoint.planner", "WriteItem", false, Danger::kInert},
    {"torch.distributed.checkpoint.planner", "WriteItemType", false, Danger::kInert},
    {"torch.distributed.checkpoint.planner", "*WriteData", false, Danger::kInert},
    {"torch.distributed.checkpoint.filesystem", "_StorageInfo", false, Danger::kInert},
    {"torch.distributed.checkpoint.filesystem", "_StoragePrefix", false, Danger::kInert},
    {"torch.distributed._shard.sharded_tensor.metadata", "*", false, Danger::kInert},
    {"torch", "*Storage", false, Danger::kInert},
    {"torch", "*Tensor", false, Danger::kInert},
    {"torch", "Size", false, Danger::kInert},
    {"torch", "device", false, Danger::kInert},
    {"torch", "strided", false, Danger::kInert},
    {"torch", "*_format", false, Danger::kInert},
    {"torch", "bool", false, Danger::kInert},
    {"torch", "double", false, Danger::kInert},
    {"torch", "half", false, Danger::kInert},
    {"torch", "long", false, Danger::kInert},
    {"torch", "float*", false, Danger::kInert},
    {"torch", "bfloat16", false, Danger::kInert},
    {"torch", "int*", false, Danger::kInert},
    {"torch", "uint*", false, Danger::kInert},
    {"torch", "complex*", false, Danger::kInert},
    {"torch", "quint*", false, Danger::kInert},
    {"torch", "qint*", false, Danger::kInert},
    {"torch", "bits*", false, Danger::kInert},
    {"torch.cuda", "*Storage", false, Danger::kInert},
    {"torch.cuda", "*Tensor", false, Danger::kInert},
    {"torch.nn.functional", "*", false, Danger::kInert},  // activations that NeMo 2's configs name
    {"torch.nn.init", "*", false, Danger::kInert},
    {"collections", "*", false, Danger::kInert},
    {"omegaconf", "*", true, Danger::kInert},
    {"typing", "*", false, Danger::kInert},
    {"argparse", "Namespace", false, Danger::kInert},
    {"datetime", "*", false, Danger::kInert},
    {"pathlib", "*", true, Danger::kInert},
    {"_codecs", "encode", false, Danger::kInert},
    {"_io", "BytesIO", false, Danger::kInert},
    {"io", "BytesIO", false, Danger::kInert},
    {"numpy", "dtype", false, Danger::kInert},
    {"numpy", "ndarray", false, Danger::kInert},
    {"numpy.core.multiarray", "scalar", false, Danger::kInert},
    {"numpy.core.multiarray", "_reconstruct", false, Danger::kInert},
    {"numpy._core.multiarray", "scalar", false, Danger::kInert},
    {"numpy._core.multiarray", "_reconstruct", false, Danger::kInert},
    {"copyreg", "_reconstructor", false, Danger::kInert},
    // What a plain value is, or the type of one.
    {"builtins", "dict", false, Danger::kInert},
    {"builtins", "list", false, Danger::kInert},
    {"builtins", "tuple", false, Danger::kInert},
    {"builtins", "set", false, Danger::kInert},
    {"builtins", "frozenset", false, Danger::kInert},
    {"builtins", "int", false, Danger::kInert},
    {"builtins", "float", false, Danger::kInert},
    {"builtins", "complex", false, Danger::kInert},
    {"builtins", "bool", false, Danger::kInert},
    {"builtins", "str", false, Danger::kInert},
    {"builtins", "bytes", false, Danger::kInert},
    {"builtins", "bytearray", false, Danger::kInert},
    {"builtins", "slice", false, Danger::kInert},
    {"builtins", "range", false, Danger::kInert},
    {"builtins", "object", false, Danger::kInert},
    {"builtins", "type", false, Danger::kInert},
    {"builtins", "NoneType", false, Danger::kInert},
    {"builtins", "Ellipsis", false, Danger::kInert},
    // Functions that NeMo 2's configs name: they step, specify layers and activate.
    {"nemo.collections.llm.gpt.model", "*", true, Danger::kInert},
    {"nemo.collections.llm.fn", "*", true, Danger::kInert},
    {"nemo.collections.vlm.llava_next.model", "*", true, Danger::kInert},
    {"nemo.collections.vlm.neva.model", "*", true, Danger::kInert},
    {"nemo.collections.vlm.clip.model", "*", true, Danger::kInert},
    {"nemo.collections.vlm.mllama.model", "*", true, Danger::kInert},
    {"megatron.core.models", "*", true, Danger::kInert},
    {"megatron.core.transformer", "*", true, Danger::kInert},
    {"megatron.core.fusions", "*", true, Danger::kInert},
};

// Frameworks that wrote the checkpoint: loading imports their classes, whose constructors only hold state. Not so their
// functions, which read files and import by name.
constexpr std::string_view kFrameworks[] = {"nemo.",
                                            "megatron.",
                                            "apex.",
                                            "lightning.",
                                            "lightning_fabric.",
                                            "pytorch_lightning.",
                                            "transformer_engine.",
                                            "torch.optim.",
                                            "fiddle."};

bool IsClassName(std::string_view name) {
  while (name.starts_with('_')) name.remove_prefix(1);
  return !name.empty() && name[0] >= 'A' && name[0] <= 'Z';
}

bool Named(std::string_view pattern, std::string_view name) {
  if (pattern.starts_with('*')) return name.ends_with(pattern.substr(1));
  if (pattern.ends_with('*')) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return name == pattern;
}

bool InModule(std::string_view module, const Rule& rule) {
  if (module == rule.module) return true;
  return rule.submodules && module.size() > rule.module.size() && module.starts_with(rule.module) &&
         module[rule.module.size()] == '.';
}

constexpr std::string_view kPickleNames[] = {".pkl", ".pickle", ".metadata", ".ckpt", ".pt", ".pth", ".bin"};

// What a byte string in a pickle may be besides a pickle: a torch file, as Transformer Engine's extra states are.
bool LooksLikeBox(std::string_view bytes) {
  return bytes.starts_with("PK\x03\x04") || (bytes.size() >= 512 && LooksLikeTar(bytes.substr(0, 512)));
}

class Scanner {
 public:
  std::vector<ScanFinding> findings;

  Status Visit(const Leaf& leaf) {
    const Status status = VisitContent(leaf);
    // A damaged member hides nothing that lies behind it.
    return status.ok() || status.kind() == ErrorKind::kIo ? status : Broken(status);
  }

  Status Broken(const Status& problem) {
    if (problem.kind() == ErrorKind::kIo) return problem;
    Add({"", "unsafe or broken box", problem.message(), "", Danger::kUnknown});
    return {};
  }

 private:
  void Add(ScanFinding finding) {
    if (seen_.emplace(finding.file, finding.where, finding.name).second) findings.push_back(std::move(finding));
  }

  Status VisitContent(const Leaf& leaf) {
    const std::string_view path = leaf.path;
    ANEMONE_ASSIGN(const ByteRange start, leaf.content.Sub(0, std::min<uint64_t>(leaf.content.size, kMaxHead)));
    ANEMONE_ASSIGN(const std::string head, start.ReadAll(kMaxHead));
    // Protocols 0 and 1 have no magic: there the name says that something will unpickle it.
    const bool is_named = std::any_of(std::begin(kPickleNames), std::end(kPickleNames),
                                      [&](std::string_view suffix) { return path.ends_with(suffix); });
    if (is_named || LooksLikePickle(head)) return VisitPickles(leaf);
    if (path.ends_with(".yaml") || path.ends_with(".yml")) return VisitYaml(leaf);
    if (path.ends_with("/io.json") || path.ends_with("/config.json")) return VisitJson(leaf);
    if (head.starts_with("\x93NUMPY")) return VisitNumpy(leaf, head);
    return VisitUnnamed(leaf, head);
  }

  // A pickle without a header under a name that says nothing: what begins like one is rarely text.
  Status VisitUnnamed(const Leaf& leaf, std::string_view head) {
    const PickleScan scan = ScanPickles(head);
    const bool calls = std::any_of(scan.globals.begin(), scan.globals.end(),
                                   [](const PickleGlobal& g) { return JudgeGlobal(g.name) == Danger::kCalls; });
    return calls || (scan.status.ok() && !scan.globals.empty()) ? VisitPickles(leaf) : Status();
  }

  // An array of objects is a pickle behind a header [numpy/lib/format.py].
  Status VisitNumpy(const Leaf& leaf, std::string_view head) {
    const size_t end = head.find('\n');
    if (end == std::string_view::npos || head.substr(0, end).find("'descr': '|O'") == std::string_view::npos) return {};
    ANEMONE_ASSIGN(const ByteRange objects, leaf.content.Sub(end + 1, leaf.content.size - end - 1));
    return VisitPickles({leaf.path, objects, std::nullopt});
  }

  Status VisitPickles(const Leaf& leaf) {
    // The legacy torch layout is pickles followed by raw storages: the scan ends where pickles do.
    ANEMONE_ASSIGN(const ByteRange range, leaf.content.Sub(0, std::min(leaf.content.size, kMaxPickleBytes)));
    ANEMONE_ASSIGN(const std::string bytes, range.ReadAll(kMaxPickleBytes));
    const PickleScan scan = ScanPickles(bytes);
    for (const PickleGlobal& global : scan.globals) {
      Add({leaf.path, global.nested ? "nested pickle global" : "pickle global", global.name, "",
           JudgeGlobal(global.name)});
    }
    if (!scan.status.ok()) Add({leaf.path, "unreadable pickle", scan.status.message(), "", Danger::kUnknown});
    VisitBoxesIn(leaf, bytes);
    return {};
  }

  // Boxes and targets in the strings of the pickles that follow one another in `bytes`.
  void VisitBoxesIn(const Leaf& leaf, std::string_view bytes) {
    for (uint64_t consumed = 0; !bytes.empty(); bytes.remove_prefix(consumed)) {
      const Result<Value> value = ReadPickle(bytes, {}, &consumed);
      if (!value.ok() || consumed == 0) return;
      for (const ValueNode& node : value->graph->nodes()) {
        if (const std::vector<ValueRef>* entries = DictEntries(node)) VisitEntries(leaf, *entries);
        if (node.kind != ValueNode::Kind::kBytes && node.kind != ValueNode::Kind::kString) continue;
        if (node.text.find("${oc.env:") != std::string::npos)
          Add({leaf.path, "config resolver", node.text, "", Danger::kUnknown});
        if (!LooksLikeBox(node.text)) continue;
        // Protocol 2 spells bytes as text to be encoded: such text is no box itself, the bytes it stands for are.
        VisitBox({leaf.path + "/bytes", Whole(MemorySource(node.text, "bytes")), {}},
                 node.kind == ValueNode::Kind::kBytes);
      }
    }
  }

  // A pickled config names classes as one in YAML does; OmegaConf wraps its values.
  void VisitEntries(const Leaf& leaf, const std::vector<ValueRef>& entries) {
    for (size_t i = 0; i + 1 < entries.size(); i += 2) {
      if (entries[i]->kind != ValueNode::Kind::kString) continue;
      if (entries[i]->text != "_target_" && entries[i]->text != "target") continue;
      const ValueNode* value = entries[i + 1];
      if (value->kind == ValueNode::Kind::kObject && value->state != nullptr) {
        const ValueNode* wrapped = Lookup(*value->state, "_val");
        if (wrapped != nullptr) value = wrapped;
      }
      if (value->kind != ValueNode::Kind::kString || value->text.find('.') == std::string::npos) continue;
      Add({leaf.path, "config target", value->text, "", JudgeTarget(value->text)});
    }
  }

  void VisitBox(const Leaf& box, bool is_bytes) {
    constexpr int kMaxDepth = 8;
    const auto on_broken = [&](const Status& problem) { return is_bytes ? Broken(problem) : Status(); };
    Status status = LimitExceeded("files inside byte strings are nested more than 8 deep").In(box.path);
    if (depth_ < kMaxDepth) {
      ++depth_;
      status = WalkLeaf(
          box, [this](const Leaf& leaf) { return Visit(leaf); }, on_broken);
      --depth_;
    }
    if (!status.ok()) (void)Broken(status);
  }

  using ParseConfig = Result<Config> (*)(std::string_view text, std::string_view name);
  Result<Config> ReadConfig(const Leaf& leaf, ParseConfig parse) {
    if (leaf.content.size > kMaxConfigBytes) return LimitExceeded("over 16 MiB");
    ANEMONE_ASSIGN(const std::string text, leaf.content.ReadAll(kMaxConfigBytes));
    return parse(text, leaf.path);
  }

  Status VisitYaml(const Leaf& leaf) {
    const Result<Config> config = ReadConfig(leaf, Config::ParseYaml);
    if (!config.ok()) return Unreadable(leaf, config.status());
    for (const ConfigFinding& target : FindTargets(config->root())) {
      Add({leaf.path, "config target", target.text, target.path, JudgeTarget(target.text)});
    }
    for (const ConfigFinding& resolver : FindResolvers(config->root())) {
      const bool reads_environment = resolver.text.find("oc.env") != std::string::npos;
      Add({leaf.path, "config resolver", resolver.text, resolver.path,
           reads_environment ? Danger::kUnknown : Danger::kInert});
    }
    return {};
  }

  Status Unreadable(const Leaf& leaf, const Status& status) {
    if (status.kind() == ErrorKind::kIo) return status;
    Add({leaf.path, "unreadable config", status.message(), "", Danger::kUnknown});
    return {};
  }

  // NeMo 2's io.json and what transformers is told to import.
  Status VisitJson(const Leaf& leaf) {
    const Result<Config> config = ReadConfig(leaf, Config::ParseJson);
    if (!config.ok()) return Unreadable(leaf, config.status());
    if (const ConfigNode* map = config->root().Get("auto_map"); map != nullptr) {
      for (const auto& [name, code] : map->map) {
        Add({leaf.path, "code beside the model", code.ScalarText(), "auto_map." + name, Danger::kUnknown});
      }
    }
    VisitReferences(leaf, config->root());
    return {};
  }

  // {"type": "pyref", "module": …, "name": …} [fiddle/_src/experimental/serialization.py].
  void VisitReferences(const Leaf& leaf, const ConfigNode& node) {
    const ConfigNode* type = node.Get("type");
    const ConfigNode *module = node.Get("module"), *name = node.Get("name");
    if (type != nullptr && type->AsString() == "pyref" && module != nullptr && name != nullptr) {
      const std::string global = module->ScalarText() + " " + name->ScalarText();
      Add({leaf.path, "config target", module->ScalarText() + "." + name->ScalarText(), "", JudgeGlobal(global)});
    }
    for (const auto& [key, child] : node.map) VisitReferences(leaf, child);
    for (const ConfigNode& child : node.list) VisitReferences(leaf, child);
  }

  int depth_ = 0;  // of boxes inside byte strings
  std::set<std::tuple<std::string, std::string, std::string>> seen_;
};

}  // namespace

Danger JudgeGlobal(std::string_view module_and_name) {
  const size_t space = module_and_name.rfind(' ');
  const std::string_view module = module_and_name.substr(0, space);
  const std::string_view name = space == std::string_view::npos ? "" : module_and_name.substr(space + 1);
  // `builtins` names with dots reach attributes of attributes (protocol 4): never plain types.
  if (name.find('.') != std::string_view::npos) return Danger::kCalls;
  for (const Rule& rule : kRules) {
    if (InModule(module, rule) && Named(rule.name, name)) return rule.danger;
  }
  for (const std::string_view framework : kFrameworks) {
    if ((module.starts_with(framework) || module == framework.substr(0, framework.size() - 1)) && IsClassName(name)) {
      return Danger::kInert;
    }
  }
  return Danger::kUnknown;
}

Danger JudgeTarget(std::string_view dotted_name) {
  const size_t dot = dotted_name.rfind('.');
  if (dot == std::string_view::npos) return Danger::kUnknown;
  return JudgeGlobal(std::string(dotted_name.substr(0, dot)) + " " + std::string(dotted_name.substr(dot + 1)));
}

Result<std::vector<ScanFinding>> Scan(const std::string& path) {
  Scanner scanner;
  // A box that does not open is itself a finding: members outside, links, disagreeing headers.
  ANEMONE_TRY(Walk(
      path, [&scanner](const Leaf& leaf) { return scanner.Visit(leaf); },
      [&scanner](const Status& problem) { return scanner.Broken(problem); }));
  return std::move(scanner.findings);
}

}  // namespace anemone
