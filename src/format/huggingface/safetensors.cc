#include "format/huggingface/safetensors.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <span>

#include "config/json_string.h"
#include "container/text.h"
#include "engine/share.h"
#include "format/huggingface/huggingface.h"
#include "format/huggingface/shards.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // [ST-2], as the reference implementation
constexpr size_t kMaxNameBytes = 4096;

uint64_t LittleEndian64(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return value;
}

std::string LittleEndian64(uint64_t value) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

// Where a dtype comes in the file: the reference's enum, written from its end to its start, so that the wider come
// first and every tensor is aligned [safetensors src/tensor.rs, enum Dtype].
constexpr std::array kOrder = {DType::kBool,       DType::kF4E2M1, DType::kF6E2M3, DType::kF6E3M2, DType::kU8,
                               DType::kI8,         DType::kF8E5M2, DType::kF8E4M3, DType::kF8E8M0, DType::kF8E4M3FNUZ,
                               DType::kF8E5M2FNUZ, DType::kI16,    DType::kU16,    DType::kF16,    DType::kBF16,
                               DType::kI32,        DType::kU32,    DType::kF32,    DType::kC64,    DType::kF64,
                               DType::kI64,        DType::kU64};

size_t Order(DType dtype) {
  return static_cast<size_t>(std::find(kOrder.begin(), kOrder.end(), dtype) - kOrder.begin());
}

// A name is a key of a state dict and no path: any text is one, on reading as on writing [ST-9]. It is in UTF-8 as all
// JSON, and `__metadata__` is the header's own.
constexpr std::string_view kMetadata = "__metadata__";

Status CheckName(std::string_view name) {
  if (name.size() > kMaxNameBytes)
    return LimitExceeded(fmt::format("[ST-9] a name of {} bytes, at most {} are read", name.size(), kMaxNameBytes));
  if (name == kMetadata) return Unsupported("[ST-9] safetensors keeps the name __metadata__ for itself");
  if (!internal::IsUtf8(name, false)) return Unsupported("[ST-9] expected a name in UTF-8");
  return {};
}

struct Row {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

Result<uint64_t> Unsigned(simdjson::dom::element element) {
  uint64_t value = 0;
  if (element.get(value) != simdjson::SUCCESS) return Corrupt("[ST-5] expected an unsigned integer");
  return value;
}

Result<Row> ReadRow(std::string_view name, simdjson::dom::element element) {
  Row row;
  row.name = name;
  simdjson::dom::object object;
  if (element.get(object) != simdjson::SUCCESS)
    return Corrupt("[ST-5] expected an object with dtype, shape, data_offsets");
  bool has_dtype = false, has_shape = false, has_offsets = false;
  for (const auto [key, value] : object) {
    if (key == "dtype" && !has_dtype) {
      std::string_view word;
      if (value.get(word) != simdjson::SUCCESS) return Corrupt("[ST-5] expected a string as dtype");
      const auto dtype = word.empty() ? std::nullopt : FindDType(&DTypeInfo::safetensors, word);
      if (!dtype) return Unsupported(fmt::format("[ST-6] unknown dtype \"{}\"", word));
      row.dtype = *dtype;
      has_dtype = true;
    } else if (key == "shape" && !has_shape) {
      simdjson::dom::array sizes;
      if (value.get(sizes) != simdjson::SUCCESS) return Corrupt("[ST-5] expected a list as shape");
      for (const auto size : sizes) {
        ANEMONE_ASSIGN(const uint64_t n, Unsigned(size));
        row.shape.push_back(n);
      }
      has_shape = true;
    } else if (key == "data_offsets" && !has_offsets) {
      simdjson::dom::array offsets;
      if (value.get(offsets) != simdjson::SUCCESS || offsets.size() != 2) {
        return Corrupt("[ST-5] expected two numbers as data_offsets");
      }
      ANEMONE_ASSIGN(row.begin, Unsigned(offsets.at(0).value_unsafe()));
      ANEMONE_ASSIGN(row.end, Unsigned(offsets.at(1).value_unsafe()));
      has_offsets = true;
    } else {
      return Corrupt(fmt::format("[ST-5] unexpected or repeated field \"{}\"", key));
    }
  }
  if (!has_dtype || !has_shape || !has_offsets) return Corrupt("[ST-5] expected dtype, shape and data_offsets");
  return row;
}

Status ReadMetadata(simdjson::dom::element element, std::map<std::string, std::string>* metadata) {
  simdjson::dom::object map;
  if (element.get(map) != simdjson::SUCCESS) return Corrupt("[ST-4] expected one object of strings as __metadata__");
  for (const auto [name, text] : map) {
    std::string_view string;
    if (text.get(string) != simdjson::SUCCESS)
      return Corrupt(fmt::format("[ST-4] expected a string as __metadata__ \"{}\"", name));
    // torch's HuggingFaceStorageWriter(save_distributed=True). That a part is all of its tensor, no file says.
    if (name == "DCP_SHARDING_INFO") {
      return Unsupported("[ST-11] expected whole tensors, found one rank's part of each (DCP_SHARDING_INFO)",
                         "torch.distributed.checkpoint._consolidate_hf_safetensors.consolidate_safetensors_files joins "
                         "the ranks' files");
    }
    if (metadata != nullptr) metadata->insert_or_assign(std::string(name), std::string(string));
  }
  return {};
}

// The tensors that a header tells of, in its order.
Result<std::vector<Row>> ReadRows(std::string header, std::map<std::string, std::string>* metadata) {
  header.reserve(header.size() + simdjson::SIMDJSON_PADDING);
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::object object;
  if (const auto error = parser.parse(header.data(), header.size(), false).get(root); error != simdjson::SUCCESS) {
    if (error == simdjson::MEMALLOC) throw std::bad_alloc();  // it says nothing of the header
    return Corrupt(fmt::format("[ST-3] the header is no JSON: {}", simdjson::error_message(error)));
  }
  if (root.get(object) != simdjson::SUCCESS) return Corrupt("[ST-3] expected a JSON object as header");
  std::vector<Row> rows;
  bool has_metadata = false;
  for (const auto [key, value] : object) {
    if (key == kMetadata) {
      if (has_metadata) return Corrupt("[ST-4] expected one object of strings as __metadata__");
      has_metadata = true;
      if (value.is_null()) continue;  // as none, for the library
      ANEMONE_TRY(ReadMetadata(value, metadata));
      continue;
    }
    ANEMONE_TRY(CheckName(key).In(key.substr(0, 200)));
    auto row = ReadRow(key, value);
    if (!row.ok()) return row.status().In(key);
    rows.push_back(*std::move(row));
  }
  return rows;
}

// REQUIRES: row.begin <= row.end.
Status CheckSize(const Row& row) {
  const auto count = NumElements(row.shape);
  const std::optional<uint64_t> bytes = count ? BytesOfElements(row.dtype, *count) : std::nullopt;
  if (!bytes) {
    return Corrupt(fmt::format("[ST-8] expected whole bytes that 64 bits count, found {} {}", Name(row.dtype),
                               ToString(row.shape)));
  }
  if (row.end - row.begin == *bytes) return {};
  return Corrupt(fmt::format("[ST-8] expected {} bytes for {} {}, found {}", *bytes, ToString(row.shape),
                             Name(row.dtype), row.end - row.begin));
}

Result<Checkpoint> OpenSafetensors(const Probe& probe) {
  Checkpoint checkpoint;
  checkpoint.flavour = "safetensors";
  checkpoint.path = probe.path;
  checkpoint.shards.resize(1);
  ANEMONE_ASSIGN(ByteSourcePtr file, probe.place().Open());
  if (LooksLikeWeightIndex(probe.head)) {
    ANEMONE_ASSIGN(checkpoint.shards[0].weights, ReadIndexedWeights(probe.place(), checkpoint));
  } else {
    auto weights = ReadSafetensors(Whole(file), &checkpoint.metadata);
    if (!weights.ok()) return weights.status().In(probe.path);
    checkpoint.shards[0].weights = *std::move(weights);
  }
  ANEMONE_TRY(AddFolderOf(probe.place(), checkpoint));
  if (checkpoint.config) ANEMONE_TRY(AddTiedNames(checkpoint.metadata, checkpoint.shards[0].weights));
  return checkpoint;
}

Result<Plan> LayOutSafetensorsPlan(const Checkpoint& checkpoint, const LayOutOptions& options) {
  Plan plan;
  std::map<std::string, std::string> metadata = kFormatMetadata;
  // What it had, or was given in memory, comes back.
  if (checkpoint.flavour == "safetensors" || (checkpoint.format == nullptr && !checkpoint.metadata.empty())) {
    metadata = checkpoint.metadata;
  } else if (checkpoint.flavour == "huggingface") {  // torchao's says what its parts of tensors are
    for (const auto& [key, value] : checkpoint.metadata) metadata.insert_or_assign(key, value);
  }
  ANEMONE_TRY(AddSafetensorsFiles(checkpoint, options, "model", metadata, plan));
  plan.is_directory = plan.files.size() > 1;
  if (!plan.is_directory) plan.files[0].path.clear();
  return plan;
}

}  // namespace

Status AddTiedNames(const std::map<std::string, std::string>& metadata, StateDict& state) {
  for (const auto& [name, stored] : metadata) {
    const StateDict::Item* item = state.Find(stored);
    if (item == nullptr || state.Find(name) != nullptr) continue;
    Entry entry = item->entry;  // a copy: adding moves items
    ANEMONE_TRY(state.Add(name, std::move(entry)));
  }
  return {};
}

bool LooksLikeSafetensors(std::string_view head, uint64_t size_bytes) {
  if (head.size() < 9 || head[8] != '{') return false;
  // A header longer than the file still looks like one: the message about a truncated download is better than
  // "unknown".
  return LittleEndian64(head) <= std::max(kMaxHeaderBytes, size_bytes);
}

Result<StateDict> ReadSafetensors(const ByteRange& range, std::map<std::string, std::string>* metadata) {
  if (range.size < 8)
    return Corrupt(fmt::format("[ST-1] expected at least 8 bytes of header length, found {}", range.size));
  ANEMONE_ASSIGN(const ByteRange length_bytes, range.Sub(0, 8));
  ANEMONE_ASSIGN(const std::string length_text, length_bytes.ReadAll(8));
  const uint64_t header_bytes = LittleEndian64(length_text);
  if (header_bytes > kMaxHeaderBytes) {
    return LimitExceeded(fmt::format("[ST-2] header of {} bytes, at most {} are read", header_bytes, kMaxHeaderBytes));
  }
  if (header_bytes > range.size - 8) {
    return Corrupt(fmt::format("[ST-1] expected a header of {} bytes, found {} bytes after its length", header_bytes,
                               range.size - 8),
                   "the file is cut short: download it again");
  }
  ANEMONE_ASSIGN(const ByteRange header_range, range.Sub(8, header_bytes));
  ANEMONE_ASSIGN(std::string header, header_range.ReadAll(kMaxHeaderBytes));
  if (header.empty() || header[0] != '{') return Corrupt("[ST-3] expected the header to begin with '{'");

  ANEMONE_ASSIGN(std::vector<Row> rows, ReadRows(std::move(header), metadata));

  // One loop proves that the tensors tile the buffer: in order of offset, each begins where the last ended, has the
  // bytes its shape asks for, and the last ends where the file does. No overlap, hole or surplus survives it.
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  const uint64_t buffer_bytes = range.size - 8 - header_bytes;
  StateDict state;
  uint64_t position = 0;
  for (Row& row : rows) {
    if (row.begin != position || row.end < row.begin) {
      return Corrupt(fmt::format("[ST-7] expected data_offsets to begin at {}, found [{}, {})", position, row.begin,
                                 row.end))
          .In(row.name);
    }
    ANEMONE_TRY(CheckSize(row).In(row.name));
    if (row.end > buffer_bytes) {
      return Corrupt(fmt::format("[ST-7] expected a file of at least {} bytes, found {}", 8 + header_bytes + row.end,
                                 range.size),
                     "the file is cut short: download it again")
          .In(row.name);
    }
    position = row.end;
    auto tensor =
        Tensor::FromFile(row.dtype, std::move(row.shape), range.source, range.offset + 8 + header_bytes + row.begin);
    if (!tensor.ok()) return tensor.status().In(row.name);
    std::string name = row.name;
    if (const Status status = state.Add(std::move(name), *std::move(tensor)); !status.ok()) return status.In("[ST-10]");
  }
  if (position != buffer_bytes) {
    return Corrupt(
        fmt::format("[ST-7] expected a file of {} bytes, found {}", 8 + header_bytes + position, range.size));
  }
  return state;
}

namespace {

// Where in a block the buffer must begin for most bytes to lie in theirs as they did in their source. Tensors follow
// each other without a gap, so one choice serves them all.
uint64_t BestBlockOffset(const NamedTensors& tensors, uint64_t otherwise) {
  Places places;
  uint64_t position = 0;
  for (const auto& [name, tensor] : tensors) {
    AddPlaces(Shareable(tensor), position, places);
    position += tensor.size_bytes();
  }
  std::erase_if(places, [](const auto& place) { return place.first % 8 != 0; });  // [ST-2]
  return BestPlace(places).value_or(otherwise);
}

}  // namespace

Status LayOutSafetensors(NamedTensors tensors, const std::map<std::string, std::string>& metadata, PlanFile& file,
                         bool keeps_blocks) {
  for (const auto& [name, tensor] : tensors) {
    if (Order(tensor.dtype()) == kOrder.size()) {
      return Unsupported(fmt::format("[ST-6] safetensors has no word for {}", Name(tensor.dtype()))).In(name);
    }
    ANEMONE_TRY(CheckName(name).In(name));
  }
  const auto named = [](const auto& tensor) { return tensor.first; };
  std::ranges::sort(tensors, {}, named);
  if (const auto twice = std::ranges::adjacent_find(tensors, {}, named); twice != tensors.end())
    return InvalidArgument("[ST-10] this name stands twice").In(twice->first);
  std::ranges::sort(tensors, [](const auto& a, const auto& b) {
    const size_t left = Order(a.second.dtype()), right = Order(b.second.dtype());
    return left != right ? left > right : a.first < b.first;
  });
  std::string header = LittleEndian64(0) + "{";  // its length comes last
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (header.back() != '{') header += ',';
      header += internal::JsonString(key) + ':' + internal::JsonString(value);
    }
    header += '}';
  }
  // A string that grew would lie twice in memory.
  constexpr size_t kRowBytes = 128, kNumberBytes = 21;
  size_t expected = header.size();
  for (const auto& [name, tensor] : tensors) expected += name.size() + kRowBytes + kNumberBytes * tensor.shape().size();
  header.reserve(expected);
  uint64_t position = 0;
  for (const auto& [name, tensor] : tensors) {
    uint64_t end = 0;
    if (__builtin_add_overflow(position, tensor.size_bytes(), &end))
      return LimitExceeded("more than 2^64 bytes").In(name);
    if (header.back() != '{') header += ',';
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", internal::JsonString(name),
                          Info(tensor.dtype()).safetensors, fmt::join(tensor.shape(), ","), position, end);
    position = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');  // the buffer starts aligned
  if (keeps_blocks) {
    const uint64_t at = file.size + header.size(), wanted = BestBlockOffset(tensors, at);
    header.resize(header.size() + (wanted - at) % kBlockBytes, ' ');
  }
  const uint64_t header_bytes = header.size() - 8;
  if (header_bytes > kMaxHeaderBytes) return LimitExceeded(fmt::format("[ST-2] a header of {} bytes", header_bytes));
  header.replace(0, 8, LittleEndian64(header_bytes));
  file.Append(std::move(header));
  file.segments.reserve(file.segments.size() + tensors.size());
  for (const auto& [name, tensor] : tensors) file.Append(tensor);
  return {};
}

Result<NamedTensors> PlainTensors(const Checkpoint& checkpoint, const LayOutOptions& options) {
  ANEMONE_TRY(CheckUnsharded(checkpoint));
  NamedTensors tensors;
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    if (const Tensor* tensor = item.tensor()) {
      tensors.emplace_back(item.name, *tensor);
    } else if (item.opaque()->holds_data && options.extra_state != ExtraState::kDrop) {
      return Unsupported("this format cannot hold FP8 scaling state")
          .Use("extra_state", "drop", "leave it out")
          .In(item.name);
    }
  }
  return tensors;
}

Status AddSafetensorsFiles(const Checkpoint& checkpoint, const LayOutOptions& options, std::string_view stem,
                           const std::map<std::string, std::string>& metadata, Plan& plan) {
  ANEMONE_ASSIGN(NamedTensors tensors, PlainTensors(checkpoint, options));
  // Filled in stored order, a new shard begun when the next tensor would not fit [transformers modeling_utils.py].
  std::vector<size_t> ends;
  uint64_t shard_bytes = 0, total_bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t bytes = tensors[i].second.size_bytes();
    if (options.max_shard_bytes != 0 && shard_bytes != 0 && shard_bytes + bytes > options.max_shard_bytes) {
      ends.push_back(i);
      shard_bytes = 0;
    }
    shard_bytes += bytes;
    total_bytes += bytes;
  }
  if (ends.empty()) {
    PlanFile& file = plan.files.emplace_back();
    file.path = fmt::format("{}.safetensors", stem);
    return LayOutSafetensors(std::move(tensors), metadata, file, options.keeps_blocks);
  }
  ends.push_back(tensors.size());
  std::map<std::string_view, size_t> weight_map;  // to a file of the plan
  for (size_t i = 0, begin = 0; i < ends.size(); begin = ends[i++]) {
    PlanFile& file = plan.files.emplace_back();
    file.path = fmt::format("{}-{:05}-of-{:05}.safetensors", stem, i + 1, ends.size());
    const std::span shard = std::span(tensors).subspan(begin, ends[i] - begin);
    for (const auto& [name, tensor] : shard) weight_map.emplace(name, plan.files.size() - 1);
    ANEMONE_TRY(LayOutSafetensors({shard.begin(), shard.end()}, metadata, file, options.keeps_blocks));
  }
  std::string index =
      fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total_bytes);
  bool first = true;
  for (const auto& [name, number] : weight_map) {
    index += fmt::format("{}\n    {}: {}", first ? "" : ",", internal::JsonString(name),
                         internal::JsonString(plan.files[number].path));
    first = false;
  }
  index += "\n  }\n}\n";
  PlanFile& file = plan.files.emplace_back();
  file.path = fmt::format("{}.safetensors.index.json", stem);
  file.Append(std::move(index));
  return {};
}

extern const Format kSafetensors;
const Format kSafetensors = {
    .name = "safetensors",
    .title = "safetensors file",
    .extension = ".safetensors",
    .matches = [](const Probe& probe) -> Result<bool> {
      return !probe.is_directory && (LooksLikeSafetensors(probe.head, probe.size_bytes) ||
                                     (LooksLikeWeightIndex(probe.head) && !IndexNamesTorchFiles(probe.head)));
    },
    .open = OpenSafetensors,
    .lay_out = LayOutSafetensorsPlan,
    .traits = {.keeps_extra_state = false, .has_shards = true},
};

}  // namespace anemone
