// anemone._anemone: the library and the program for Python. Thin: names, defaults and documentation are in the package.
//
// Threads:  work runs on a thread of its own without the GIL while the calling thread waits, calls `progress` and looks
//           for Ctrl-C, which only Python's main thread can see.
// Errors:   a Status becomes the exception of anemone._errors named after its kind.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "anemone/convert.h"
#include "anemone/model.h"
#include "anemone/version.h"
#include "base/cores.h"
#include "base/for_each.h"
#include "cli/commands.h"
#include "cli/program.h"
#include "clip/image.h"
#include "clip/python_repr.h"
#include "dlpack.h"
#include "engine/plan.h"
#include "family/family.h"
#include "ops/canonical.h"
#include "ops/clip_source.h"
#include "ops/diff.h"
#include "ops/model_class.h"
#include "ops/scan.h"
#include "ops/source.h"
#include "ops/summary.h"
#include "ops/verify.h"
#include "parallel/reshard.h"
#include "tensor/lower.h"

namespace py = pybind11;

namespace anemone::python {
namespace {

// The classes of anemone._errors, in the order of ErrorKind.
constexpr const char* kExceptions[] = {
    "NotFoundError",    "AlreadyExistsError", "CannotCreateError",  "InvalidArgumentError",
    "CorruptError",     "UnsupportedError",   "LimitExceededError", "IoError",
    "UnavailableError", "InterruptedError",   "OutOfMemoryError",   "InternalError"};

std::string AsKeyword(const Remedy& remedy) {
  const std::string& value = remedy.value;
  return remedy.option + "=" + (value == "true" ? "True" : value == "false" ? "False" : value);
}

[[noreturn]] void Throw(const Status& status) {
  const py::object type = py::module_::import("anemone._errors").attr(kExceptions[static_cast<size_t>(status.kind())]);
  const py::object error = type(status.message(), Advice(status.error(), AsKeyword));
  PyErr_SetObject(type.ptr(), error.ptr());
  throw py::error_already_set();
}

template <typename T>
T Take(Result<T> result) {
  if (!result.ok()) Throw(result.status());
  return *std::move(result);
}

void Check(const Status& status) {
  if (!status.ok()) Throw(status);
}

// Runs `work(progress)` on another thread until it is over. An exception of the callback or of a signal handler stops
// the work and is raised once it has ended; a callback that answers False stops it, too.
template <typename Work>
auto Await(const py::object& callback, Work work) {
  using Answer = decltype(work(ProgressFn{}));
  constexpr std::chrono::milliseconds kPeriod(50);
  struct {
    std::mutex mutex;
    std::condition_variable changed;
    bool over = false;
    bool cancelled = false;
    bool news = false;
    std::string stage;
    uint64_t done = 0;
    uint64_t total = 0;
  } shared;
  std::optional<Answer> answer;
  const ProgressFn progress = [&shared](std::string_view stage, uint64_t done, uint64_t total) {
    const std::lock_guard lock(shared.mutex);
    shared.news = true;
    shared.stage = stage;
    shared.done = done;
    shared.total = total;
    return !shared.cancelled;
  };
  std::jthread thread([&] {
    try {
      answer.emplace(work(progress));
    } catch (const std::bad_alloc&) {
      answer.emplace(OutOfMemory());
    } catch (const std::exception& error) {
      answer.emplace(Status(ErrorKind::kInternal, error.what()));
    }
    const std::lock_guard lock(shared.mutex);
    shared.over = true;
    shared.changed.notify_one();
  });
  std::optional<py::error_already_set> raised;
  for (bool over = false; !over;) {
    std::string stage;
    uint64_t done = 0;
    uint64_t total = 0;
    bool news = false;
    {
      const py::gil_scoped_release release;
      std::unique_lock lock(shared.mutex);
      over = shared.changed.wait_for(lock, kPeriod, [&] { return shared.over; });
      news = std::exchange(shared.news, false);
      stage = shared.stage;
      done = shared.done;
      total = shared.total;
    }
    if (raised) continue;
    bool go_on = true;
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (news && !callback.is_none()) {
        const py::object said = callback(stage, done, total);
        go_on = said.is_none() || py::cast<bool>(said);
      }
    } catch (py::error_already_set& error) {
      raised.emplace(std::move(error));
      go_on = false;
    }
    if (!go_on) {
      const std::lock_guard lock(shared.mutex);
      shared.cancelled = true;
    }
  }
  thread.join();
  if (raised) throw std::move(*raised);
  return *std::move(answer);
}

py::tuple ShapeOf(const Tensor& tensor) {
  py::tuple shape(tensor.shape().size());
  for (size_t i = 0; i < tensor.shape().size(); ++i) shape[i] = py::int_(tensor.shape()[i]);
  return shape;
}

// Large tensors by several threads: most of the time goes into the kernel giving out fresh pages.
Status Read(const Tensor& tensor, std::span<std::byte> out) {
  constexpr size_t kPart = size_t{4} << 20;
  const size_t parts = std::clamp<size_t>(out.size() / kPart, 1, std::min(4U, UsableCores()));
  const size_t step = out.size() / parts / 4096 * 4096;
  return ForEach(parts, static_cast<unsigned>(parts), [&](uint64_t part, unsigned) {
    const size_t begin = part * step;
    const size_t end = part + 1 == parts ? out.size() : begin + step;
    return Fill(tensor, begin, out.subspan(begin, end - begin));
  });
}

void ReadInto(const Tensor& tensor, const py::buffer& buffer) {
  const py::buffer_info info = buffer.request(true);
  const auto bytes = static_cast<uint64_t>(info.size * info.itemsize);
  if (bytes != tensor.size_bytes() || !PyBuffer_IsContiguous(info.view(), 'C')) {
    throw py::value_error("expected a contiguous buffer of " + std::to_string(tensor.size_bytes()) + " bytes");
  }
  Status status;
  {
    const py::gil_scoped_release release;
    status = Read(tensor, {static_cast<std::byte*>(info.ptr), static_cast<size_t>(bytes)});
  }
  Check(status);
}

// A tensor's bytes where they lie in their file. The pages are private: what is written to them changes no file.
struct View {
  std::shared_ptr<std::byte> memory;
  uint64_t size = 0;
};

// Errors: Unsupported where the bytes are not one aligned range of a plain file (compressed, cut by ranks, converted
// …).
Result<View> Map(const Tensor& tensor) {
  const std::optional<ByteRange> range = tensor.AsByteRange();
  const int fd = range ? range->source->fd() : -1;
  if (fd < 0 || range->size == 0 || range->offset % SizeBytes(tensor.dtype()) != 0) {
    return Unsupported("expected bytes that lie in one piece in a plain file, found ones that must be read or computed",
                       "copy=True reads them");
  }
  const uint64_t skipped = range->offset % static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const size_t length = skipped + range->size;
  void* base = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd,
                    static_cast<off_t>(range->offset - skipped));
  if (base == MAP_FAILED) return ErrnoStatus(errno, "cannot map").In(range->source->name());
  std::shared_ptr<std::byte> pages(static_cast<std::byte*>(base),
                                   [length](std::byte* dying) { munmap(dying, length); });
  return View{{pages, pages.get() + skipped}, range->size};
}

py::capsule ToDlpack(const Tensor& tensor, bool copy) {
  if (DlpackCode(tensor.dtype()) < 0) {
    throw py::buffer_error("DLPack has no word for " + std::string(Info(tensor.dtype()).torch));
  }
  if (!copy) return DlpackCapsule(MakeDlpack(tensor.dtype(), tensor.shape(), Take(Map(tensor)).memory));
  const std::shared_ptr<std::byte> memory = AllocateMemory(tensor.size_bytes());
  Status status;
  {
    const py::gil_scoped_release release;
    status = Read(tensor, {memory.get(), static_cast<size_t>(tensor.size_bytes())});
  }
  Check(status);
  return DlpackCapsule(MakeDlpack(tensor.dtype(), tensor.shape(), memory));
}

// {name: tensor, or None for an entry that is none}.
py::dict Entries(const StateDict& state) {
  py::dict entries;
  for (const StateDict::Item& item : state.items()) {
    const Tensor* tensor = item.tensor();
    entries[py::str(item.name)] = tensor == nullptr ? py::object(py::none()) : py::cast(*tensor);
  }
  return entries;
}

py::list Shards(const Checkpoint& checkpoint) {
  py::list shards;
  for (const Shard& shard : checkpoint.shards) {
    py::list chunks;
    if (shard.chunks.empty()) chunks.append(Entries(shard.weights));
    for (const StateDict& chunk : shard.chunks) chunks.append(Entries(chunk));
    shards.append(py::make_tuple(shard.tp_rank, shard.pp_rank, chunks));
  }
  return shards;
}

// The checkpoint merged over its ranks and, if asked for, in another dialect; "canonical" is the family's own names.
Result<Checkpoint> InDialect(const Checkpoint& checkpoint, const std::string& dialect) {
  if (dialect == "canonical") return Canonical(checkpoint);
  ANEMONE_ASSIGN(Checkpoint merged, MergeShards(checkpoint));
  if (dialect.empty()) return merged;
  return Translate(merged, dialect);
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

// An option's value; TypeError in Python's words where it is of another type.
template <typename T>
T As(const std::string& name, const py::handle& value, const char* expected) {
  try {
    return py::cast<T>(value);
  } catch (const py::cast_error&) {
    throw py::type_error(name + ": expected " + expected + ", found " +
                         py::cast<std::string>(py::type::of(value).attr("__name__")));
  }
}

Result<ExtraState> ExtraStateOf(const std::string& word) {
  if (word == "keep") return ExtraState::kKeep;
  if (word == "drop") return ExtraState::kDrop;
  if (word == "require") return ExtraState::kRequire;
  return InvalidArgument("extra_state: expected keep, drop or require, found '" + word + "'");
}

Result<DType> DTypeOf(const std::string& word) {
  for (const auto field : {&DTypeInfo::name, &DTypeInfo::torch}) {
    if (const std::optional<DType> dtype = FindDType(field, word)) return *dtype;
  }
  return InvalidArgument("dtype: expected fp32, bf16 or fp16, found '" + word + "'");
}

template <typename T>
using Members = std::pair<const char*, T ConvertOptions::*>;
constexpr Members<std::string> kTexts[] = {{"to", &ConvertOptions::to},
                                           {"hparams", &ConvertOptions::hparams},
                                           {"dialect", &ConvertOptions::dialect},
                                           {"table", &ConvertOptions::table},
                                           {"preset", &ConvertOptions::preset},
                                           {"model_class", &ConvertOptions::model_class},
                                           {"architecture", &ConvertOptions::architecture},
                                           {"tokenizer", &ConvertOptions::tokenizer},
                                           {"model_id", &ConvertOptions::nemo2_model},
                                           {"nemo2_version", &ConvertOptions::nemo2_version}};
constexpr Members<std::optional<int>> kNumbers[] = {{"tp", &ConvertOptions::tp},
                                                    {"pp", &ConvertOptions::pp},
                                                    {"vp", &ConvertOptions::vp},
                                                    {"vocab_size", &ConvertOptions::vocab_size},
                                                    {"split_rank", &ConvertOptions::split_rank}};
constexpr Members<bool> kFlags[] = {{"only_weights", &ConvertOptions::only_weights},
                                    {"use_ema", &ConvertOptions::use_ema},
                                    {"strict", &ConvertOptions::strict}};

Result<ConvertOptions> OptionsOf(const py::dict& words) {
  ConvertOptions options;
  for (const auto& [key, value] : words) {
    const auto name = py::cast<std::string>(key);
    if (value.is_none()) continue;
    const auto set = [&, v = value]<typename T, size_t n>(const Members<T>(&members)[n], const char* expected) {
      const auto* member = std::find_if(members, members + n, [&](const Members<T>& m) { return m.first == name; });
      if (member == members + n) return false;
      options.*member->second = As<T>(name, v, expected);
      return true;
    };
    if (set(kTexts, "a str") || set(kNumbers, "an int") || set(kFlags, "a bool")) continue;
    if (name == "set") {
      options.set = As<Pairs>(name, value, "a dict of config paths");
    } else if (name == "unset") {
      options.unset = As<std::vector<std::string>>(name, value, "a list of config paths");
    } else if (name == "artifacts") {
      options.artifacts = As<Pairs>(name, value, "a dict of config paths to files");
    } else if (name == "max_shard_bytes") {
      options.max_shard_bytes = As<uint64_t>(name, value, "a non-negative int");
    } else if (name == "extra_state") {
      ANEMONE_ASSIGN(options.extra_state, ExtraStateOf(As<std::string>(name, value, "a str")));
    } else if (name == "dtype") {
      ANEMONE_ASSIGN(options.dtype, DTypeOf(As<std::string>(name, value, "a str")));
    } else {
      throw py::type_error("no such option: '" + name + "'");
    }
  }
  return options;
}

py::dict Convert(const std::string& source, const std::string& destination, const py::dict& words, unsigned threads,
                 bool force, const py::object& callback) {
  ConvertOptions options = Take(OptionsOf(words));
  const Conversion conversion = Take(Await(callback, [&](const ProgressFn& progress) -> Result<Conversion> {
    options.progress = progress;
    ANEMONE_ASSIGN(Conversion planned, PlanConversion(source, destination, options));
    RunOptions run;
    run.threads = threads;
    run.force = force;
    run.progress = progress;
    ANEMONE_TRY(RunConversion(planned, run));
    return planned;
  }));
  py::dict result;
  result["destination"] = conversion.destination;
  result["format"] = conversion.format;
  result["bytes_written"] = conversion.plan->bytes_written();
  result["notes"] = conversion.notes;
  return result;
}

constexpr const char* kDifferences[] = {"only in first", "only in second", "shape", "dtype", "values"};

py::dict DiffOf(const std::string& first, const std::string& second, bool canonical, bool only_weights,
                const py::object& callback) {
  const Difference difference = Take(Await(callback, [&](const ProgressFn& progress) -> Result<Difference> {
    ANEMONE_ASSIGN(Checkpoint a, OpenSource(first, progress));
    ANEMONE_ASSIGN(Checkpoint b, OpenSource(second, progress));
    if (canonical) {
      ANEMONE_ASSIGN(a, Canonical(a));
      ANEMONE_ASSIGN(b, Canonical(b));
    }
    return Diff(a, b, {.only_weights = only_weights || canonical, .progress = progress});
  }));
  py::list tensors;
  for (const TensorDifference& d : difference.tensors) {
    py::dict entry;
    entry["name"] = d.name;
    entry["kind"] = kDifferences[static_cast<size_t>(d.kind)];
    entry["first"] = d.first;
    entry["second"] = d.second;
    entry["elements"] = d.elements;
    entry["max_abs"] = d.max_abs;
    tensors.append(entry);
  }
  const auto texts = [](const std::vector<TextDifference>& differences) {
    py::list list;
    for (const TextDifference& d : differences) {
      py::dict entry;
      entry["path"] = d.path;
      entry["first"] = d.first;
      entry["second"] = d.second;
      list.append(entry);
    }
    return list;
  };
  py::dict result;
  result["equal"] = difference.empty();
  result["tensors_compared"] = difference.tensors_compared;
  result["tensors"] = tensors;
  result["config"] = texts(difference.config);
  result["artifacts"] = texts(difference.artifacts);
  return result;
}

py::dict VerifyOf(const std::string& path, const py::object& callback) {
  const Verification found = Take(Await(callback, [&](const ProgressFn& progress) { return Verify(path, progress); }));
  py::dict result;
  result["ok"] = found.problems.empty();
  result["problems"] = found.problems;
  result["tensors"] = found.tensors;
  result["bytes_read"] = found.bytes_read;
  return result;
}

py::list ScanOf(const std::string& path) {
  constexpr const char* kDangers[] = {"inert", "unknown", "calls"};
  py::list findings;
  for (const ScanFinding& f : Take(Await(py::none(), [&](const ProgressFn&) { return Scan(path); }))) {
    py::dict entry;
    entry["file"] = f.file;
    entry["what"] = f.what;
    entry["name"] = f.name;
    entry["where"] = f.where;
    entry["danger"] = kDangers[static_cast<size_t>(f.danger)];
    findings.append(entry);
  }
  return findings;
}

py::tuple Rows(const ClipFeatures& features) {
  const auto* bytes = reinterpret_cast<const char*>(features.values.data());
  return py::make_tuple(features.count, features.width, py::bytearray(bytes, features.values.size() * sizeof(float)));
}

// Floats out of any buffer of them.
std::span<const float> Floats(const py::buffer_info& info) {
  return {static_cast<const float*>(info.ptr), static_cast<size_t>(info.size)};
}

// A CLIP and its words.
struct Clip {
  ClipModel model;
  TextEncoder encode;
  std::shared_ptr<ProgressFn> go_on;  // asked by the model while it encodes
};

// Runs `encode()`, which Ctrl-C stops.
template <typename Encode>
py::tuple Encoded(Clip& clip, Encode encode) {
  return Rows(Take(Await(py::none(), [&](const ProgressFn& progress) -> Result<ClipFeatures> {
    *clip.go_on = progress;
    const std::unique_ptr<ProgressFn, void (*)(ProgressFn*)> reset(clip.go_on.get(), [](ProgressFn* f) { *f = {}; });
    return encode();
  })));
}

py::tuple EncodeImages(Clip& clip, const py::buffer& pixels) {
  const py::buffer_info info = pixels.request();
  return Encoded(clip, [&] { return clip.model.EncodeImages(Floats(info)); });
}

py::tuple EncodeTexts(Clip& clip, const std::vector<std::string>& texts) {
  return Encoded(clip, [&]() -> Result<ClipFeatures> {
    std::vector<std::vector<int32_t>> ids;
    for (const std::string& text : texts) {
      Result<std::vector<int32_t>> encoded = clip.encode(text);
      if (!encoded.ok()) return encoded.status().In("text '" + text + "'");
      ids.push_back(*std::move(encoded));
    }
    return clip.model.EncodeTexts(ids);
  });
}

std::string_view ClassName(const ModelClass* model_class) { return model_class == nullptr ? "" : model_class->name; }

// `now`, but what did not change keeps the text it was read from.
ConfigNode Edited(const ConfigNode& old, ConfigNode now) {
  now.key_kind = old.key_kind;
  if (old.kind != now.kind) return now;
  if (now.is_scalar()) return SameConfig(old, now) ? old : now;
  for (auto& [key, child] : now.map) {
    if (const ConfigNode* before = old.Get(key)) child = Edited(*before, std::move(child));
  }
  for (size_t i = 0; i < std::min(old.list.size(), now.list.size()); ++i) {
    now.list[i] = Edited(old.list[i], std::move(now.list[i]));
  }
  return now;
}

Status SetConfig(Model& model, const std::string& json) {
  ANEMONE_ASSIGN(const Config config, Config::ParseJson(json, "cfg"));
  model.cfg() = Config(Edited(model.cfg().root(), config.root()));
  return {};
}

py::bytearray FloatBytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

py::bytearray PixelsOfFile(const Clip& clip, const std::string& path) {
  return FloatBytes(Take(Await(py::none(), [&](const ProgressFn&) { return LoadPixels(path, clip.model.spec()); })));
}

py::bytearray PixelsOfRgb(const Clip& clip, uint32_t width, uint32_t height, const py::bytes& rgb) {
  const auto bytes = static_cast<std::string_view>(rgb);
  if (bytes.size() != uint64_t{width} * height * 3) throw py::value_error("expected width * height * 3 bytes");
  Image image{width, height, {bytes.begin(), bytes.end()}};
  const ClipPreprocess& preprocess = clip.model.spec().preprocess;
  const Image resized = Take(ResizeAndCrop(image, preprocess));
  std::vector<float> out(resized.rgb.size());
  Normalize(resized, preprocess, out);
  return FloatBytes(out);
}

py::bytearray Probabilities(Clip& clip, const py::buffer& images, const py::buffer& texts,
                            std::optional<double> logit_scale) {
  const auto features = [](const py::buffer& rows) {
    const py::buffer_info info = rows.request();
    const auto values = Floats(info);
    return ClipFeatures{
        static_cast<uint64_t>(info.shape[0]), static_cast<uint64_t>(info.shape[1]), {values.begin(), values.end()}};
  };
  const double scale = logit_scale ? *logit_scale : Take(clip.model.LogitScale());
  const double bias = Take(clip.model.LogitBias());
  return FloatBytes(Take(ClipProbabilities(features(images), features(texts), scale, clip.model.spec().siglip, bias)));
}

int RunMain(const std::vector<std::string>& words) {
  std::vector<std::string> copies = words;
  std::vector<char*> argv;
  for (std::string& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  const py::gil_scoped_release release;
  return cli::RunProgram(static_cast<int>(words.size()), argv.data(), cli::Host::kGuest);
}

}  // namespace
}  // namespace anemone::python

PYBIND11_MODULE(_anemone, m) {
  using namespace anemone;          // NOLINT(google-build-using-namespace)
  using namespace anemone::python;  // NOLINT(google-build-using-namespace)
  m.attr("__version__") = kVersion;

  py::class_<View>(m, "View", py::buffer_protocol()).def_buffer([](View& view) {
    return py::buffer_info(reinterpret_cast<uint8_t*>(view.memory.get()), static_cast<py::ssize_t>(view.size));
  });

  py::class_<Tensor>(m, "Tensor")
      .def_property_readonly("shape", &ShapeOf)
      .def_property_readonly("dtype", [](const Tensor& t) { return std::string(Info(t.dtype()).torch); })
      .def_property_readonly("nbytes", &Tensor::size_bytes)
      .def("read_into", &ReadInto)
      .def("view", [](const Tensor& t) { return Take(Map(t)); })
      .def("dlpack", &ToDlpack)
      .def("narrow", [](const Tensor& t, size_t axis, uint64_t start, uint64_t length) {
        return Take(t.Narrow(axis, start, length));
      });

  py::class_<Checkpoint>(m, "Checkpoint")
      .def_readonly("path", &Checkpoint::path)
      .def_readonly("format", &Checkpoint::flavour)
      .def_property_readonly("metadata",
                             [](const Checkpoint& checkpoint) {
                               std::map<std::string, std::string> words = checkpoint.origin.ToMetadata();
                               words.insert(checkpoint.metadata.begin(), checkpoint.metadata.end());
                               return words;
                             })
      .def_readonly("notes", &Checkpoint::notes)
      .def_property_readonly("layout",
                             [](const Checkpoint& c) { return py::make_tuple(c.layout.tp, c.layout.pp, c.layout.vp); })
      .def_property_readonly(
          "config_json",
          [](const Checkpoint& c) { return c.config ? std::optional(c.config->ToJson(-1)) : std::nullopt; })
      .def_property_readonly("spelling",
                             [](const Checkpoint& c) {
                               const Summary summary = Summarize(c);
                               return py::make_tuple(summary.family, summary.dialect);
                             })
      .def_property_readonly("artifacts",
                             [](const Checkpoint& c) {
                               py::list names;
                               for (const Artifact& artifact : c.artifacts) names.append(py::str(artifact.name));
                               return names;
                             })
      .def("artifact",
           [](const Checkpoint& c, const std::string& name) {
             const Artifact* artifact = c.FindArtifact(name);
             if (artifact == nullptr) throw py::key_error(name);
             return py::bytes(Take(artifact->content.ReadAll(uint64_t{1} << 32)));
           })
      .def("shards", &Shards)
      .def("in_dialect", [](const Checkpoint& c, const std::string& dialect) {
        return Take(Await(py::none(), [&](const ProgressFn&) { return InDialect(c, dialect); }));
      });

  py::class_<Model>(m, "Model")
      .def_property_readonly("checkpoint", [](const Model& model) { return model.checkpoint(); })
      .def_property_readonly("class_name", [](const Model& model) { return ClassName(model.model_class()); })
      .def("set_config", [](Model& model, const std::string& json) { Check(SetConfig(model, json)); })
      .def("save_to",
           [](const Model& model, const std::string& path, bool force, unsigned threads, const py::object& callback) {
             Check(Await(callback, [&](const ProgressFn& progress) {
               return model.SaveTo(path, {.threads = threads, .force = force, .progress = progress});
             }));
           });
  m.def("restore",
        [](const std::string& path, const std::optional<std::string>& config, bool strict, bool return_config) {
          return Take(Await(py::none(), [&](const ProgressFn&) -> Result<Model> {
            RestoreOptions options{.restore_path = path, .strict = strict, .return_config = return_config};
            if (config) {
              ANEMONE_ASSIGN(options.override_config, Config::ParseYaml(*config, "override_config_path"));
            }
            return Model::RestoreFrom(options);
          }));
        });
  m.def("model_class", [](const Checkpoint& checkpoint) { return ClassName(ModelClassOf(checkpoint)); });
  m.def("model_classes", [] {
    py::list classes;
    for (const ModelClass& c : ModelClasses()) classes.append(py::make_tuple(c.name, c.description));
    return classes;
  });

  py::class_<Clip>(m, "Clip")
      .def_property_readonly("image_size", [](const Clip& c) { return c.model.spec().image_size; })
      .def_property_readonly("logit_scale", [](const Clip& c) { return Take(c.model.LogitScale()); })
      .def("pixels_of_file", &PixelsOfFile)
      .def("pixels_of_rgb", &PixelsOfRgb)
      .def("encode_images", &EncodeImages)
      .def("encode_texts", &EncodeTexts)
      .def("probabilities", &Probabilities);

  m.def("open", [](const std::string& path, const py::object& progress) {
    return Take(Await(progress, [&](const ProgressFn& report) { return OpenSource(path, report); }));
  });
  m.def("load_clip", [](const Checkpoint& checkpoint, int threads, bool keep_weights) {
    ClipOptions options;
    options.threads = threads;
    options.keep_weights = keep_weights;
    return Take(Await(py::none(), [&](const ProgressFn&) -> Result<Clip> {
      auto go_on = std::make_shared<ProgressFn>();
      options.cancelled = [go_on] { return *go_on && !(*go_on)("encoding", 0, 0); };
      ANEMONE_ASSIGN(ClipModel model, LoadClip(checkpoint, options));
      ANEMONE_ASSIGN(TextEncoder encode, LoadTokenizer(checkpoint, model.spec()));
      return Clip{std::move(model), std::move(encode), std::move(go_on)};
    }));
  });
  m.def("convert", &Convert);
  m.def("diff", &DiffOf);
  m.def("verify", &VerifyOf);
  m.def("scan", &ScanOf);
  m.def("probability_line", [](const std::vector<std::string>& texts, const std::vector<float>& probabilities) {
    return ProbabilityLine(texts, probabilities);
  });
  m.def("nemo_scripts", &cli::NemoScripts);
  m.def("main", &RunMain);
}
