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

// One judgement: a module (exactly, or with everything below it) and optionally one name in it.
struct Rule {
  std::string_view module;
  std::string_view name;  // "*": any
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
    {"numpy.testing", "*", true, Danger::kCalls},
    {"numpy.f2py", "*", true, Danger::kCalls},
    {"numpy", "load", false, Danger::kCalls},
    {"numpy", "fromfile", false, Danger::kCalls},
    {"numpy.distutils", "*", true, Danger::kCalls},
    {"torch", "load", false, Danger::kCalls},
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
    {"torch.storage", "*", false, Danger::kInert},
    {"torch.distributed.checkpoint.metadata", "*", false, Danger::kInert},
    {"torch.distributed.checkpoint.filesystem", "_StorageInfo", false, Danger::kInert},
    {"torch.distributed.checkpoint.filesystem", "_StoragePrefix", false, Danger::kInert},
    {"torch.distributed._shard.sharded_tensor.metadata", "*", false, Danger::kInert},
    {"torch", "*", false, Danger::kInert},  // dtypes, storages, Size, device
    {"torch.cuda", "*", false, Danger::kInert},
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
    {"builtins", "*", false, Danger::kInert},  // types: dict, set, bytearray …
};

// Classes of the frameworks that wrote the checkpoint: loading imports them, and their constructors only hold state.
constexpr std::string_view kFrameworks[] = {
    "nemo.",       "megatron.", "apex.", "lightning.", "lightning_fabric.", "pytorch_lightning.", "transformer_engine.",
    "torch.optim."};

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
    const std::string_view path = leaf.path;
    ANEMONE_ASSIGN(const ByteRange start, leaf.content.Sub(0, std::min<uint64_t>(leaf.content.size, 16)));
    ANEMONE_ASSIGN(const std::string head, start.ReadAll(16));
    // Protocols 0 and 1 have no magic: there the name says that something will unpickle it.
    const bool is_named = std::any_of(std::begin(kPickleNames), std::end(kPickleNames),
                                      [&](std::string_view suffix) { return path.ends_with(suffix); });
    if (is_named || LooksLikePickle(head)) return VisitPickles(leaf);
    if (path.ends_with(".yaml") || path.ends_with(".yml")) return VisitConfig(leaf);
    return {};
  }

 private:
  void Add(ScanFinding finding) {
    if (seen_.emplace(finding.file, finding.where, finding.name).second) findings.push_back(std::move(finding));
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

  // Boxes in the byte strings of the pickles that follow one another in `bytes`.
  void VisitBoxesIn(const Leaf& leaf, std::string_view bytes) {
    for (uint64_t consumed = 0; !bytes.empty(); bytes.remove_prefix(consumed)) {
      const Result<Value> value = ReadPickle(bytes, {}, &consumed);
      if (!value.ok() || consumed == 0) return;
      for (const ValueNode& node : value->graph->nodes()) {
        if (node.kind != ValueNode::Kind::kBytes && node.kind != ValueNode::Kind::kString) continue;
        if (LooksLikeBox(node.text)) VisitBox({leaf.path + "/bytes", Whole(MemorySource(node.text, "bytes")), {}});
      }
    }
  }

  void VisitBox(const Leaf& box) {
    constexpr int kMaxDepth = 8;
    Status status = LimitExceeded("files inside byte strings are nested more than 8 deep");
    if (depth_ < kMaxDepth) {
      ++depth_;
      status = WalkLeaf(box, [this](const Leaf& leaf) { return Visit(leaf); });
      --depth_;
    }
    if (!status.ok()) Add({box.path, "unsafe or broken box", status.message(), "", Danger::kUnknown});
  }

  Status VisitConfig(const Leaf& leaf) {
    if (leaf.content.size > kMaxConfigBytes) {
      Add({leaf.path, "unreadable config", "over 16 MiB", "", Danger::kUnknown});
      return {};
    }
    ANEMONE_ASSIGN(const std::string text, leaf.content.ReadAll(kMaxConfigBytes));
    const Result<Config> config = Config::ParseYaml(text, leaf.path);
    if (!config.ok()) {
      Add({leaf.path, "unreadable config", config.status().message(), "", Danger::kUnknown});
      return {};
    }
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
    if (InModule(module, rule) && (rule.name == "*" || rule.name == name)) return rule.danger;
  }
  for (const std::string_view framework : kFrameworks) {
    if (module.starts_with(framework) || module == framework.substr(0, framework.size() - 1)) return Danger::kInert;
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
  const Status status = Walk(path, [&scanner](const Leaf& leaf) { return scanner.Visit(leaf); });
  if (!status.ok()) {
    if (status.kind() == ErrorKind::kNotFound || status.kind() == ErrorKind::kIo) return status;
    // A box that does not open is itself a finding: members outside, links, disagreeing headers.
    scanner.findings.push_back({path, "unsafe or broken box", status.message(), "", Danger::kUnknown});
  }
  return std::move(scanner.findings);
}

}  // namespace anemone
