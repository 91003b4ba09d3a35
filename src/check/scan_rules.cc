#include "check/scan_rules.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace anemone {
namespace {

// A module and names in it, between blanks. Sorted by module.
struct Names {
  std::string_view module, names;
};

// What checkpoints hold of Python, NumPy, PyTorch, OmegaConf, Fiddle, transformers and DeepSpeed: types of plain data,
// what rebuilds tensors, parts of a model. Each was looked at: with any arguments it only computes.
constexpr Names kPlain[] = {
    {"_codecs", "encode"},
    {"_io", "BytesIO StringIO"},
    {"accelerate.state", "PartialState"},
    {"accelerate.utils.dataclasses", "DeepSpeedPlugin DistributedType"},
    {"argparse", "Namespace"},
    {"builtins",
     "Ellipsis NoneType NotImplementedType bool bytearray bytes complex dict float frozenset int list object "
     "range set slice str tuple type"},
    {"collections", "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque"},
    {"copyreg", "__newobj__ __newobj_ex__ _reconstructor"},
    {"datetime", "date datetime time timedelta timezone"},
    {"decimal", "Decimal"},
    {"deepspeed.runtime.fp16.loss_scaler", "DynamicLossScaler LossScaler"},
    {"deepspeed.runtime.zero.config", "ZeroStageEnum"},
    {"deepspeed.utils.tensor_fragment", "fragment_address"},
    {"fiddle", "Config Partial"},
    {"fiddle._src.config", "BuildableTraverserMetadata Config Partial"},
    {"fiddle._src.partial", "Partial"},
    {"fractions", "Fraction"},
    {"io", "BytesIO StringIO"},
    {"joblib.numpy_pickle", "NumpyArrayWrapper"},  // TracePickle follows what joblib does with it
    {"numpy",
     "array bool bool_ bytes_ complex128 complex64 datetime64 dtype float16 float32 float64 half int16 int32 "
     "int64 int8 intc intp longdouble longlong matrix ndarray object_ str_ timedelta64 uint uint16 uint32 uint64 uint8 "
     "uintc uintp ulonglong void"},
    {"numpy._core.multiarray", "_reconstruct scalar"},
    {"numpy._core.numeric", "_frombuffer"},
    {"numpy.core.multiarray", "_reconstruct scalar"},
    {"numpy.core.numeric", "_frombuffer"},
    {"numpy.dtypes",
     "BoolDType BytesDType Complex128DType Complex64DType DateTime64DType Float16DType Float32DType "
     "Float64DType Int16DType Int32DType Int64DType Int8DType ObjectDType StrDType TimeDelta64DType UInt16DType "
     "UInt32DType UInt64DType UInt8DType VoidDType"},
    {"numpy.ma.core", "MaskedArray _mareconstruct"},
    {"numpy.matrixlib.defmatrix", "matrix"},
    {"numpy.random", "Generator RandomState"},
    {"numpy.random._generator", "Generator"},
    {"numpy.random._mt19937", "MT19937"},
    {"numpy.random._pcg64", "PCG64 PCG64DXSM"},
    {"numpy.random._philox", "Philox"},
    {"numpy.random._pickle", "__bit_generator_ctor __generator_ctor __randomstate_ctor"},
    {"numpy.random._sfc64", "SFC64"},
    {"numpy.random.bit_generator", "SeedSequence __pyx_unpickle_SeedSequence"},
    {"numpy.random.mtrand", "RandomState"},
    {"omegaconf",
     "AnyNode BooleanNode BytesNode DictConfig EnumNode FloatNode IntegerNode ListConfig PathNode SCMode "
     "StringNode UnionNode ValueNode"},
    {"omegaconf.base", "Box ContainerMetadata Metadata Node SCMode UnionNode"},
    {"omegaconf.basecontainer", "BaseContainer"},
    {"omegaconf.dictconfig", "DictConfig"},
    {"omegaconf.listconfig", "ListConfig"},
    {"omegaconf.nodes",
     "AnyNode BooleanNode BytesNode EnumNode FloatNode IntegerNode InterpolationResultNode PathNode StringNode "
     "ValueNode"},
    {"pathlib", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"},
    {"pathlib._local", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"},
    {"signal", "Signals"},
    {"torch",
     "BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor CharStorage CharTensor "
     "ComplexDoubleStorage ComplexFloatStorage DoubleStorage DoubleTensor FloatStorage FloatTensor Generator "
     "HalfStorage HalfTensor IntStorage IntTensor LongStorage LongTensor QInt32Storage QInt8Storage "
     "QUInt2x4Storage QUInt4x2Storage QUInt8Storage ShortStorage ShortTensor Size Tensor TypedStorage "
     "UntypedStorage bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool cdouble cfloat chalf channels_last "
     "channels_last_3d complex128 complex32 complex64 contiguous_format device double dtype finfo float float16 "
     "float32 float4_e2m1fn_x2 float64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
     "half iinfo int int1 int16 int2 int3 int32 int4 int5 int6 int64 int7 int8 jagged layout long memory_format "
     "per_channel_affine per_tensor_affine preserve_format qint32 qint8 quint2x4 quint4x2 quint8 short "
     "sparse_bsc sparse_bsr sparse_coo sparse_csc sparse_csr strided uint1 uint16 uint2 uint3 uint32 uint4 "
     "uint5 uint6 uint64 uint7 uint8"},
    {"torch._C", "_TensorBase _TensorMeta"},
    {"torch._tensor", "_rebuild_from_type_v2"},
    {"torch._utils",
     "_rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy _rebuild_meta_tensor_no_storage "
     "_rebuild_nested_tensor _rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor "
     "_rebuild_sparse_csr_tensor _rebuild_sparse_tensor _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 "
     "_rebuild_wrapper_subclass _rebuild_xla_tensor"},
    {"torch.amp.grad_scaler", "GradScaler OptState"},
    {"torch.cuda",
     "BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor CharStorage CharTensor "
     "ComplexDoubleStorage ComplexFloatStorage DoubleStorage DoubleTensor FloatStorage FloatTensor HalfStorage "
     "HalfTensor IntStorage IntTensor LongStorage LongTensor QInt32Storage QInt8Storage QUInt2x4Storage "
     "QUInt4x2Storage QUInt8Storage ShortStorage ShortTensor"},
    {"torch.cuda.amp.grad_scaler", "GradScaler OptState"},
    {"torch.distributed._shard.metadata", "ShardMetadata"},
    {"torch.distributed._shard.sharded_tensor.metadata", "MEM_FORMAT_ENCODING ShardedTensorMetadata TensorProperties"},
    {"torch.distributed._tensor.api", "DTensor"},
    {"torch.distributed._tensor.placement_types", "DTensorSpec Partial Replicate Shard TensorMeta _Partial"},
    {"torch.distributed.checkpoint.filesystem", "_StorageInfo _StoragePrefix"},
    {"torch.distributed.checkpoint.metadata",
     "BytesStorageMetadata ChunkStorageMetadata Metadata MetadataIndex StorageMeta TensorProperties "
     "TensorStorageMetadata _MEM_FORMAT_ENCODING"},
    {"torch.distributed.checkpoint.planner",
     "BytesIOWriteData LoadItemType LoadPlan ReadItem SavePlan TensorWriteData WriteItem WriteItemType"},
    {"torch.distributed.device_mesh", "DeviceMesh"},
    {"torch.distributed.tensor", "DTensor"},
    {"torch.distributed.tensor._dtensor_spec", "DTensorSpec TensorMeta"},
    {"torch.distributed.tensor.placement_types", "Partial Replicate Shard _StridedShard"},
    {"torch.nn",
     "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d AvgPool1d AvgPool2d BCELoss "
     "BCEWithLogitsLoss BatchNorm1d BatchNorm2d BatchNorm3d Buffer CELU ConstantPad1d Conv1d Conv2d Conv3d "
     "ConvTranspose1d ConvTranspose2d CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss Dropout Dropout1d "
     "Dropout2d ELU Embedding EmbeddingBag Flatten GELU GLU GRU GRUCell GroupNorm Hardswish Hardtanh HuberLoss "
     "Identity InstanceNorm1d InstanceNorm2d KLDivLoss L1Loss LSTM LSTMCell LayerNorm LeakyReLU Linear "
     "LogSigmoid LogSoftmax MSELoss MaxPool1d MaxPool2d Mish Module ModuleDict ModuleList MultiheadAttention "
     "NLLLoss PReLU Parameter ParameterDict ParameterList PixelShuffle RMSNorm RNN ReLU ReLU6 ReflectionPad1d "
     "SELU Sequential SiLU Sigmoid SmoothL1Loss Softmax Softplus Softsign SyncBatchNorm Tanh Transformer "
     "TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer Unflatten Upsample "
     "ZeroPad2d"},
    {"torch.nn.functional",
     "celu elu gelu glu hardswish leaky_relu mish relu relu6 selu sigmoid silu softmax softplus tanh"},
    {"torch.nn.init",
     "constant_ kaiming_normal_ kaiming_uniform_ normal_ ones_ orthogonal_ trunc_normal_ uniform_ "
     "xavier_normal_ xavier_uniform_ zeros_"},
    {"torch.nn.modules.activation",
     "CELU ELU GELU GLU Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish MultiheadAttention PReLU ReLU "
     "ReLU6 SELU SiLU Sigmoid Softmax Softplus Softsign Tanh"},
    {"torch.nn.modules.batchnorm", "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm"},
    {"torch.nn.modules.container", "ModuleDict ModuleList ParameterDict ParameterList Sequential"},
    {"torch.nn.modules.conv", "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d"},
    {"torch.nn.modules.distance", "CosineSimilarity"},
    {"torch.nn.modules.dropout", "Dropout Dropout1d Dropout2d"},
    {"torch.nn.modules.flatten", "Flatten Unflatten"},
    {"torch.nn.modules.instancenorm", "InstanceNorm1d InstanceNorm2d"},
    {"torch.nn.modules.linear", "Identity Linear NonDynamicallyQuantizableLinear"},
    {"torch.nn.modules.loss",
     "BCELoss BCEWithLogitsLoss CosineEmbeddingLoss CrossEntropyLoss HuberLoss KLDivLoss L1Loss MSELoss NLLLoss "
     "SmoothL1Loss"},
    {"torch.nn.modules.module", "Module"},
    {"torch.nn.modules.normalization", "GroupNorm LayerNorm RMSNorm"},
    {"torch.nn.modules.padding", "ConstantPad1d ReflectionPad1d ZeroPad2d"},
    {"torch.nn.modules.pixelshuffle", "PixelShuffle"},
    {"torch.nn.modules.pooling",
     "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d AvgPool1d AvgPool2d MaxPool1d "
     "MaxPool2d"},
    {"torch.nn.modules.rnn", "GRU GRUCell LSTM LSTMCell RNN"},
    {"torch.nn.modules.sparse", "Embedding EmbeddingBag"},
    {"torch.nn.modules.transformer",
     "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer"},
    {"torch.nn.modules.upsampling", "Upsample"},
    {"torch.nn.parameter", "Buffer Parameter UninitializedBuffer UninitializedParameter"},
    {"torch.optim", "ASGD Adadelta Adagrad Adam AdamW Adamax LBFGS NAdam Optimizer RAdam RMSprop Rprop SGD SparseAdam"},
    {"torch.optim.adadelta", "Adadelta"},
    {"torch.optim.adagrad", "Adagrad"},
    {"torch.optim.adam", "Adam"},
    {"torch.optim.adamax", "Adamax"},
    {"torch.optim.adamw", "AdamW"},
    {"torch.optim.asgd", "ASGD"},
    {"torch.optim.lbfgs", "LBFGS"},
    {"torch.optim.lr_scheduler",
     "ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR "
     "LRScheduler LambdaLR LinearLR MultiStepLR MultiplicativeLR OneCycleLR PolynomialLR ReduceLROnPlateau "
     "SequentialLR StepLR _LRScheduler"},
    {"torch.optim.nadam", "NAdam"},
    {"torch.optim.optimizer", "Optimizer"},
    {"torch.optim.radam", "RAdam"},
    {"torch.optim.rmsprop", "RMSprop"},
    {"torch.optim.rprop", "Rprop"},
    {"torch.optim.sgd", "SGD"},
    {"torch.optim.sparseadam", "SparseAdam"},
    {"torch.serialization", "_get_layout"},
    {"torch.storage", "TypedStorage UntypedStorage _LegacyStorage _TypedStorage _UntypedStorage"},
    {"torch.torch_version", "TorchVersion"},
    {"transformers.integrations.deepspeed", "HfDeepSpeedConfig HfTrainerDeepSpeedConfig"},
    {"transformers.trainer_pt_utils", "AcceleratorConfig"},
    {"transformers.trainer_utils",
     "EvaluationStrategy FSDPOption HubStrategy IntervalStrategy SaveStrategy SchedulerType"},
    {"transformers.training_args", "OptimizerNames TrainingArguments"},
    {"transformers.training_args_seq2seq", "Seq2SeqTrainingArguments"},
    {"typing",
     "Any Callable ClassVar Dict FrozenSet Generic Iterable Iterator List Literal Mapping NoReturn Optional "
     "Sequence Set Tuple Type Union"},
    {"uuid", "UUID"},
    {"zoneinfo", "ZoneInfo._unpickle"},
};

// They load a file that is beside theirs: a folder's other files are scanned with it, others are not.
constexpr Names kOtherFiles[] = {
    {"joblib.numpy_pickle", "NDArrayWrapper ZNDArrayWrapper"},
    {"joblib.numpy_pickle_compat", "NDArrayWrapper ZNDArrayWrapper"},
};

// Classes of NeMo, Megatron, Lightning, Transformer Engine and Apex, by every path on which a release defines or
// exports them, and the functions that NeMo 2's configs name: loading such a checkpoint builds the model.
constexpr Names kFrameworks[] = {
#include "check/scan_classes.inc"
};

// A module (exactly, or with everything below it) and a name in it; `*` is every name.
struct Rule {
  std::string_view module, name;
  bool submodules = false;
};

// Known ways to run commands or code, to read or write files, to reach the network: the bypass lists published for
// picklescan and fickling. The list only chooses the word; what is on no list is not inert either.
constexpr Rule kDangerousRules[] = {
    {"builtins", "eval", false},
    {"builtins", "exec", false},
    {"builtins", "compile", false},
    {"builtins", "open", false},
    {"builtins", "input", false},
    {"builtins", "breakpoint", false},
    {"builtins", "__import__", false},
    {"builtins", "getattr", false},
    {"builtins", "setattr", false},
    {"builtins", "delattr", false},
    {"builtins", "globals", false},
    {"builtins", "apply", false},
    {"builtins", "map", false},
    {"builtins", "filter", false},
    {"os", "*", true},
    {"posix", "*", false},
    {"nt", "*", false},
    {"sys", "*", false},
    {"subprocess", "*", false},
    {"shutil", "*", false},
    {"socket", "*", true},
    {"pty", "*", false},
    {"commands", "*", false},
    {"importlib", "*", true},
    {"runpy", "*", false},
    {"code", "*", false},
    {"codeop", "*", false},
    {"pdb", "*", false},
    {"bdb", "*", false},
    {"timeit", "*", false},
    {"cProfile", "*", false},
    {"profile", "*", false},
    {"trace", "*", false},
    {"doctest", "*", false},
    {"pip", "*", true},
    {"ensurepip", "*", true},
    {"idlelib", "*", true},
    {"lib2to3", "*", true},
    {"pickle", "*", false},
    {"_pickle", "*", false},
    {"dill", "*", true},
    {"cloudpickle", "*", true},
    {"joblib", "*", true},
    {"marshal", "*", false},
    {"types", "*", false},
    {"operator", "*", false},
    {"_operator", "*", false},
    {"functools", "*", false},
    {"ctypes", "*", true},
    {"_ctypes", "*", false},
    {"http", "*", true},
    {"urllib", "*", true},
    {"urllib2", "*", false},
    {"requests", "*", true},
    {"httplib", "*", false},
    {"aiohttp", "*", true},
    {"webbrowser", "*", false},
    {"asyncio", "*", true},
    {"multiprocessing", "*", true},
    {"threading", "*", false},
    {"signal", "*", false},
    {"tempfile", "*", false},
    {"zipfile", "*", true},
    {"tarfile", "*", false},
    {"io", "open", false},
    {"io", "FileIO", false},
    {"_io", "open", false},
    {"_io", "FileIO", false},
    {"codecs", "open", false},
    {"logging.config", "*", false},
    {"_posixsubprocess", "*", false},
    {"_osx_support", "*", false},
    {"_aix_support", "*", false},
    {"_pyrepl", "*", true},
    {"ast", "*", false},
    {"atexit", "*", false},
    {"concurrent", "*", true},
    {"distutils", "*", true},
    {"setuptools", "*", true},
    {"ftplib", "*", false},
    {"imaplib", "*", false},
    {"nntplib", "*", false},
    {"poplib", "*", false},
    {"smtplib", "*", false},
    {"telnetlib", "*", false},
    {"xmlrpc", "*", true},
    {"ssl", "*", false},
    {"linecache", "*", false},
    {"fileinput", "*", false},
    {"mailcap", "*", false},
    {"pkgutil", "*", false},
    {"pydoc", "*", false},
    {"shelve", "*", false},
    {"site", "*", false},
    {"sqlite3", "*", true},
    {"test", "*", true},
    {"uuid", "*", false},
    {"venv", "*", true},
    {"zipimport", "*", false},
    {"zipapp", "*", false},
    {"gc", "*", false},
    {"inspect", "*", false},
    {"typing", "get_type_hints", false},
    {"typing", "_eval_type", false},
    {"typing", "ForwardRef", false},
    {"collections", "namedtuple", false},
    {"omegaconf._utils", "*", false},
    {"hydra", "*", true},
    {"pandas", "*", true},
    {"tensorflow", "*", true},
    {"tensorboard", "*", true},
    {"nltk", "*", true},
    {"jsonpickle", "*", true},
    {"numpy.testing", "*", true},
    {"numpy.f2py", "*", true},
    {"numpy", "load", false},
    {"numpy", "fromfile", false},
    {"numpy.distutils", "*", true},
    {"torch", "load", false},
    {"torch", "save", false},
    {"torch", "from_file", false},
    {"torch", "compile", false},
    {"torch._jit_internal", "*", false},
    {"torch.ao", "*", true},
    {"torch.onnx", "*", true},
    {"torch.testing", "*", true},
    {"torch.multiprocessing", "*", true},
    {"torch.serialization", "load", false},
    {"torch.hub", "*", false},
    {"torch.jit", "*", true},
    {"torch.utils", "*", true},
    {"torch._inductor", "*", true},
    {"torch._dynamo", "*", true},
    {"torch.fx", "*", true},
    {"torch.package", "*", true},
    {"torch.distributed.rpc", "*", true},
    {"torch.storage", "_load_from_bytes", false},
};

// What torch.load(weights_only=True) takes, by itself [pytorch torch/_weights_only_unpickler.py, v2.6,
// _get_allowed_globals; Python 2's names are mapped]. Sorted by module.
constexpr Names kWeightsOnly[] = {
    {"__builtin__", "bytearray complex set"},
    {"_codecs", "encode"},
    {"builtins", "bytearray complex set"},
    {"collections", "Counter OrderedDict"},
    {"torch",
     "BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor CharStorage CharTensor "
     "ComplexDoubleStorage ComplexFloatStorage DoubleStorage DoubleTensor FloatStorage FloatTensor HalfStorage "
     "HalfTensor IntStorage IntTensor LongStorage LongTensor QInt32Storage QInt8Storage QUInt2x4Storage "
     "QUInt4x2Storage QUInt8Storage ShortStorage ShortTensor Size Tensor bfloat16 bits16 bits1x8 bits2x4 bits4x2 "
     "bits8 bool complex128 complex32 complex64 device float16 float32 float64 float8_e4m3fn float8_e4m3fnuz "
     "float8_e5m2 float8_e5m2fnuz float4_e2m1fn_x2 float8_e8m0fnu int1 int16 int2 int3 int32 int4 int5 int6 int64 int7 "
     "int8 "
     "per_channel_affine per_channel_affine_float_qparams per_channel_symmetric per_tensor_affine "
     "per_tensor_symmetric qint32 qint8 quint2x4 quint4x2 quint8 uint1 uint16 uint2 uint3 uint32 uint4 uint5 uint6 "
     "uint64 uint7 uint8"},
    {"torch._tensor", "_rebuild_from_type_v2"},
    {"torch._utils",
     "_rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy _rebuild_meta_tensor_no_storage "
     "_rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_tensor "
     "_rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_wrapper_subclass"},
    {"torch.cuda",
     "BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor CharStorage CharTensor "
     "ComplexDoubleStorage ComplexFloatStorage DoubleStorage DoubleTensor FloatStorage FloatTensor HalfStorage "
     "HalfTensor IntStorage IntTensor LongStorage LongTensor ShortStorage ShortTensor"},
    {"torch.nn.parameter", "Parameter"},
    {"torch.serialization", "_get_layout"},
    {"torch.storage", "TypedStorage UntypedStorage"},
};

// Modules that others import: behind any of their attributes they are as dangerous as by themselves
// (pathlib.os.system).
constexpr std::string_view kAnywhere[] = {"builtins", "ctypes", "importlib",  "marshal", "nt",
                                          "os",       "pickle", "posix",      "pty",     "runpy",
                                          "shutil",   "socket", "subprocess", "sys"};

// Resolvers that only compute; what oc.create makes of a text may have a _target_ [omegaconf/resolvers/oc; NeMo
// core/classes/modelPT.py, core/config/hydra_runner.py].
constexpr std::string_view kResolvers[] = {"multiply",       "now",       "oc.decode", "oc.deprecated", "oc.dict.keys",
                                           "oc.dict.values", "oc.select", "sum"};

bool Has(std::string_view names, std::string_view name) {
  for (size_t at = names.find(name); at != names.npos; at = names.find(name, at + 1)) {
    const size_t end = at + name.size();
    if ((at == 0 || names[at - 1] == ' ') && (end == names.size() || names[end] == ' ')) return true;
  }
  return false;
}

template <size_t N>
bool Listed(const Names (&list)[N], std::string_view module, std::string_view name) {
  const auto* found = std::ranges::lower_bound(list, module, {}, &Names::module);
  return found != std::end(list) && found->module == module && Has(found->names, name);
}

bool IsDangerous(std::string_view path) {
  const size_t dot = path.rfind('.');
  if (dot == path.npos) return false;
  const std::string_view module = path.substr(0, dot), name = path.substr(dot + 1);
  return std::ranges::any_of(kDangerousRules, [&](const Rule& rule) {
    const bool below =
        module.size() > rule.module.size() && module.starts_with(rule.module) && module[rule.module.size()] == '.';
    // `builtins.dict.__init__`: an attribute of a type reaches everything.
    const bool inside = module == rule.module || (below && (rule.submodules || rule.module == "builtins"));
    return inside && (rule.name == "*" || rule.name == name);
  });
}

}  // namespace

Danger JudgeTarget(std::string_view path) {
  const size_t dot = path.rfind('.');
  if (dot == path.npos) return Danger::kUnknown;
  const std::string_view module = path.substr(0, dot), name = path.substr(dot + 1);
  if (name.empty() || name.find(' ') != name.npos) return Danger::kUnknown;
  if (Listed(kPlain, module, name) || Listed(kFrameworks, module, name)) return Danger::kInert;
  if (Listed(kOtherFiles, module, name)) return Danger::kUnknown;
  if (IsDangerous(path)) return Danger::kDangerous;
  for (size_t at = path.find('.'); at != path.npos; at = path.find('.', at + 1)) {
    const std::string_view rest = path.substr(at + 1);
    if (std::ranges::find(kAnywhere, rest.substr(0, rest.find('.'))) == std::end(kAnywhere)) continue;
    if (IsDangerous(rest)) return Danger::kDangerous;
  }
  return Danger::kUnknown;
}

Danger JudgeGlobal(std::string_view module_and_name) {
  const size_t space = module_and_name.find(' ');
  if (space == module_and_name.npos) return Danger::kUnknown;
  const std::string_view module = module_and_name.substr(0, space), name = module_and_name.substr(space + 1);
  const Danger danger = JudgeTarget(std::string(module) + "." + std::string(name));
  // An attribute of an attribute: no pickle of a checkpoint has one that is not on the list.
  return danger == Danger::kUnknown && name.find('.') != name.npos ? Danger::kDangerous : danger;
}

bool LoadsWeightsOnly(std::string_view module_and_name) {
  const size_t space = std::min(module_and_name.find(' '), module_and_name.size());
  return Listed(kWeightsOnly, module_and_name.substr(0, space),
                module_and_name.substr(std::min(space + 1, module_and_name.size())));
}

Danger JudgeResolvers(std::string_view value) {
  for (size_t at = value.find("${"); at != value.npos; at = value.find("${", at + 2)) {
    std::string_view rest = value.substr(at + 2);
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    const size_t end = rest.find_first_of(":}${");
    if (end == rest.npos || rest[end] == '}') continue;               // a reference
    if (rest.substr(end).starts_with("${")) return Danger::kUnknown;  // a name that is computed
    if (rest[end] != ':') continue;                                   // no interpolation
    std::string_view name = rest.substr(0, end);
    while (name.ends_with(' ') || name.ends_with('\t')) name.remove_suffix(1);
    if (name.empty()) continue;
    if (std::ranges::find(kResolvers, name) == std::end(kResolvers)) return Danger::kUnknown;
  }
  return Danger::kInert;
}

}  // namespace anemone
