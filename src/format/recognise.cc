#include "format/recognise.h"
#include "base/listing.h"
#include "base/stand_in.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace anemone::internal {
namespace {

constexpr std::string_view kAccepted =
    "accepted are .nemo (tar or folder), .ckpt, .pt, .bin, .safetensors, and folders in Hugging Face, OpenCLIP, "
    "Lightning or "
    "distributed layout";

struct Signature {
  size_t offset;
  std::string_view bytes;
  ErrorKind kind;
  std::string_view what;
  std::string_view hint;
};

constexpr Signature kSignatures[] = {
    {0, "GGUF", ErrorKind::kUnsupported, "a GGUF file (llama.cpp)", kAccepted},
    {0, "\x89HDF\r\n\x1a\n", ErrorKind::kUnsupported, "an HDF5 file (Keras, TensorFlow)", kAccepted},
    {0, "\x93NUMPY", ErrorKind::kUnsupported, "a numpy array", kAccepted},
    {0, "7z\xbc\xaf\x27\x1c", ErrorKind::kUnsupported, "a 7-Zip archive", "unpack it first"},
    {0, "\x28\xb5\x2f\xfd", ErrorKind::kUnsupported, "a zstd stream", "unpack it first"},
    {0,
     "\xfd"
     "7zXZ",
     ErrorKind::kUnsupported, "an xz stream", "unpack it first"},
    {0, "BZh", ErrorKind::kUnsupported, "a bzip2 stream", "unpack it first"},
    {0, "PYTORCH1", ErrorKind::kUnsupported, "a torch file of the short-lived preview format",
     "save it again with a newer torch"},
    {0, "\x89PNG", ErrorKind::kUnsupported, "a PNG picture", kAccepted},
    {0, "\xff\xd8\xff", ErrorKind::kUnsupported, "a JPEG picture", kAccepted},
};

// Files that a folder with a config.json may have in place of weights, by name, and the way out.
struct Instead {
  std::string_view begin, end, what, hint;
};
constexpr std::string_view kFromFlax =
    "transformers 4 converts it: from_pretrained(FOLDER, from_flax=True).save_pretrained(OUT)";
constexpr std::string_view kFromTf =
    "transformers 4 converts it: from_pretrained(FOLDER, from_tf=True).save_pretrained(OUT)";
constexpr std::string_view kExported = "an export of the model: give the model that it was made of";
constexpr Instead kRankShards = {
    "shard-0", ".safetensors", "parts by rank of torch's HuggingFaceStorageWriter(save_distributed=True)",
    "torch.distributed.checkpoint._consolidate_hf_safetensors.consolidate_safetensors_files joins them"};
constexpr Instead kInstead[] = {
    kRankShards,
    {"model-0", ".safetensors", "shards without model.safetensors.index.json", "download the index too"},
    {"pytorch_model-0", ".bin", "shards without pytorch_model.bin.index.json", "download the index too"},
    {"flax_model", ".msgpack", "Flax's", kFromFlax},
    {"flax_model", ".json", "Flax's", kFromFlax},
    {"tf_model", ".h5", "TensorFlow's", kFromTf},
    {"saved_model", ".pb", "TensorFlow's", kExported},
    {"", ".keras", "Keras's", kExported},
    {"", ".weights.h5", "Keras's", kExported},
    {"qmodel", ".pt", "HQQ's", "load it by hqq, and save the dequantized weights"},
    {"", ".gguf", "llama.cpp's", kExported},
    {"onnx", "", "ONNX", kExported},
    {"", ".onnx", "ONNX", kExported},
    {"openvino_model", "", "OpenVINO's", kExported},
    {"rust_model", ".ot", "rust-bert's", kExported},
    {"", ".mlpackage", "Core ML's", kExported},
    {"", ".incomplete", "a download that did not finish", "download it again"},
    {"", ".part", "a download that did not finish", "download it again"},
    {"", ".crdownload", "a download that did not finish", "download it again"},
};

bool IsNamed(const Instead& instead, std::string_view entry) {
  return entry.starts_with(instead.begin) && entry.ends_with(instead.end);
}

Status NoWeights(const Probe& probe, const std::string& listing) {
  for (const std::string& entry : probe.entries) {
    for (const Instead& instead : kInstead) {
      if (!IsNamed(instead, entry)) continue;
      return Corrupt(
          fmt::format("a folder with config.json but no weights that are read: {} ({})", entry, instead.what),
          std::string(instead.hint));
    }
  }
  return Corrupt(fmt::format("a folder with config.json but no weights: {}", listing),
                 "expected model.safetensors, pytorch_model.bin or an index of them");
}

Status NotADirectoryCheckpoint(const Probe& probe) {
  if (probe.entries.empty()) return Corrupt("an empty folder", std::string(kAccepted));
  const std::string listing = Listing(probe.entries);
  if (probe.HasEntry("config.json")) return NoWeights(probe, listing);
  if (std::ranges::any_of(probe.entries, [](const std::string& entry) { return IsNamed(kRankShards, entry); }))
    return Unsupported(fmt::format("a folder of {}: {}", kRankShards.what, listing), std::string(kRankShards.hint));
  if (probe.HasEntry("consolidated.00.pth")) {
    return Unsupported(
        fmt::format("a folder of Meta's or Mistral's own: {}", listing),
        "transformers' convert_llama_weights_to_hf.py and convert_mistral_weights_to_hf.py make a Hugging "
        "Face folder of it");
  }
  for (const std::string& entry : probe.entries) {
    const auto* found = std::ranges::find_if(kInstead, [&](const Instead& instead) { return IsNamed(instead, entry); });
    if (found != std::end(kInstead))
      return Unsupported(fmt::format("a folder that is no checkpoint: {} ({})", entry, found->what),
                         std::string(found->hint));
  }
  return Unsupported(fmt::format("a folder that is no checkpoint: {}", listing), std::string(kAccepted));
}

// The first line of a plain text, such as the answer of a server; empty for other files.
std::string FirstText(std::string_view head) {
  constexpr size_t kMost = 60;
  const auto is_text = [](char c) { return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t'; };
  const size_t first = head.find_first_not_of(kTextBlanks);
  if (first == std::string_view::npos || !std::ranges::all_of(head, is_text)) return {};
  const std::string_view line = head.substr(first, head.find_first_of("\r\n", first) - first);
  return fmt::format("{}{}", line.substr(0, kMost), line.size() > kMost ? "…" : "");
}

}  // namespace

bool IsOfDistributed(const Probe& probe) {
  const std::string name = probe.place().filename();
  return !probe.is_directory && (name.ends_with(".distcp") || name == ".metadata");
}

Status NotACheckpoint(const Probe& probe) {
  if (probe.is_directory) return NotADirectoryCheckpoint(probe);
  if (probe.size_bytes == 0) return Corrupt("an empty file", std::string(kCutShort));
  if (IsOfDistributed(probe)) return Unsupported("one file of a distributed checkpoint", "give the folder it lies in");
  const std::string_view head = probe.head;
  ANEMONE_TRY(CheckNoStandIn(head));
  for (const Signature& signature : kSignatures) {
    if (head.substr(std::min(signature.offset, head.size()), signature.bytes.size()) == signature.bytes) {
      return {signature.kind, std::string(signature.what), std::string(signature.hint)};
    }
  }
  const size_t first = head.find_first_not_of(kTextBlanks);
  // ONNX is protobuf: field 1 (ir_version, a small varint), then field 2 (producer_name, a string) or another of
  // ModelProto.
  if (head.size() > 4 && head[0] == 0x08 && head[1] > 0 && head[1] < 32 &&
      (head[2] == 0x12 || head[2] == 0x3a || head[2] == 0x42)) {
    return Unsupported("an ONNX model", std::string(kAccepted));
  }
  if (first != std::string_view::npos && (head[first] == '{' || head[first] == '[')) {
    const bool is_named_so = probe.place().filename().ends_with(".json");
    return Corrupt(
        "a JSON text, not a checkpoint",
        is_named_so ? "give the folder it lies in" : "the download fetched something else: download the file itself");
  }
  if (std::all_of(head.begin(), head.end(), [](char c) { return c == 0; })) {
    return Corrupt(fmt::format("a file of {} bytes that begins with zeros", probe.size_bytes),
                   "the copy or download did not finish");
  }
  if (head.size() > 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) {
    return Unsupported("a bare pickle, not a torch file", std::string(kAccepted));
  }
  if (const std::string text = FirstText(head); !text.empty())
    return Unsupported(fmt::format("a text, not a checkpoint: \"{}\"", text), std::string(kAccepted));
  return Unsupported("a file of no known format", std::string(kAccepted));
}

}  // namespace anemone::internal
