#include "format/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/tree.h"
#include "format/inside.h"
#include "format/lightning/lightning.h"
#include "format/recognise.h"

namespace anemone {

namespace fs = std::filesystem;

// One line a format.
extern const Format kNemo, kNemoDir;
extern const Format kLightning;
extern const Format kPytorch;
extern const Format kSafetensors;
extern const Format kHuggingFace, kOpenClip, kPeft;
extern const Format kTorchDist, kZarr, kNemo2;
extern const Format kDeepSpeed;
extern const Format kMegatron, kMegatronBridge;

namespace {

constexpr size_t kHeadBytes = 1024;

constexpr std::array<const Format*, 14> kFormats = {
    &kNemo, &kNemoDir,   &kLightning, &kPytorch, &kSafetensors, &kHuggingFace, &kOpenClip,
    &kPeft, &kTorchDist, &kZarr,      &kNemo2,   &kDeepSpeed,   &kMegatron,    &kMegatronBridge,
};

// Other words for a format: flavours of what was read, and what people type.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"lightning", "ckpt"}, {"huggingface", "hf"}, {"torchscript", "pytorch"}, {"pt", "pytorch"}, {"bin", "pytorch"},
};

}  // namespace

bool Probe::HasEntry(std::string_view name) const { return std::binary_search(entries.begin(), entries.end(), name); }

Result<Probe> ProbePath(const std::string& path) {
  Probe probe;
  probe.path = path;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    if (error && error != std::errc::no_such_file_or_directory) return ErrnoStatus(error.value(), "opening").In(path);
    return NotFound("no such file or folder").In(path);
  }
  if (fs::is_directory(status)) {
    probe.is_directory = true;
    ANEMONE_ASSIGN(probe.entries, ListDirectory(path));
    return probe;
  }
  ANEMONE_ASSIGN(const ByteSourcePtr source, OpenFile(path));
  probe.size_bytes = source->size_bytes();
  probe.head.resize(std::min<uint64_t>(probe.size_bytes, kHeadBytes));
  ANEMONE_TRY(source->ReadAt(0, std::as_writable_bytes(std::span(probe.head))));
  return probe;
}

std::span<const Format* const> Formats() { return kFormats; }

const Format* FindFormat(std::string_view name) {
  for (const auto& [alias, canonical] : kAliases) {
    if (alias == name) name = canonical;
  }
  for (const Format* format : kFormats) {
    if (format->name == name) return format;
  }
  return nullptr;
}

const FormatTraits& TraitsOf(const Checkpoint& checkpoint) {
  static const FormatTraits none;
  return checkpoint.format != nullptr ? checkpoint.format->traits : none;
}

namespace {

// By its flavour: a torch file may turn out to hold a Lightning checkpoint.
Result<Checkpoint> WithFormat(Result<Checkpoint> opened) {
  if (opened.ok()) opened->format = FindFormat(opened->flavour);
  return opened;
}

}  // namespace

Result<Checkpoint> OpenCheckpoint(const std::string& path, const OpenOptions& options) {
  auto probe = ProbePath(path);
  if (!probe.ok()) {
    // FOLDER/NAME.ckpt may stand for FOLDER/mp_rank_00/NAME.ckpt and its siblings, as in NeMo's own commands.
    const fs::path parent = fs::path(path).parent_path();
    if (probe.status().kind() != ErrorKind::kNotFound || parent.empty()) return probe.status();
    const auto above = ProbePath(parent.string());
    if (!above.ok() || !above->is_directory || !HasRankFolders(*above)) return probe.status();
    return WithFormat(OpenLightningFolder(parent.string(), fs::path(path).filename().string(), options));
  }
  probe->options = options;
  const Format* chosen = nullptr;
  for (const Format* format : kFormats) {
    if (!format->matches(*probe)) continue;
    if (chosen != nullptr) {
      return Corrupt(fmt::format("it could be a {} or a {}", chosen->title, format->title)).In(path);
    }
    chosen = format;
  }
  if (chosen == nullptr) return internal::NotACheckpoint(*probe).In(path);
  Result<Checkpoint> opened = WithFormat(chosen->open(*probe));
  if (opened.ok() && probe->is_directory) ANEMONE_TRY(CheckInside(*opened, path));
  return opened;
}

}  // namespace anemone
