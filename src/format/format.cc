#include "format/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/directory.h"
#include "base/read_at_most.h"
#include "format/artifacts.h"
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
extern const Format kDiffusers;
extern const Format kTorchDist, kZarr, kNemo2;
extern const Format kDeepSpeed;
extern const Format kMegatron, kMegatronBridge;

namespace {

constexpr size_t kHeadBytes = 1024;

constexpr const Format* kFormats[] = {
    &kNemo,      &kNemoDir,   &kLightning, &kPytorch, &kSafetensors, &kHuggingFace, &kOpenClip,       &kPeft,
    &kDiffusers, &kTorchDist, &kZarr,      &kNemo2,   &kDeepSpeed,   &kMegatron,    &kMegatronBridge,
};

// Other words for a format: flavours of what was read, and what people type.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"lightning", "ckpt"}, {"huggingface", "hf"}, {"torchscript", "pytorch"}, {"pt", "pytorch"}, {"bin", "pytorch"},
};

}  // namespace

bool Probe::HasEntry(std::string_view name) const { return std::binary_search(entries.begin(), entries.end(), name); }

Result<Probe> ProbePath(const Location& place) {
  Probe probe;
  probe.path = place.string();
  probe.files = place.files();
  ANEMONE_ASSIGN(const bool is_folder, place.IsFolder());
  if (is_folder) {
    probe.is_directory = true;
    ANEMONE_ASSIGN(probe.entries, place.List());
    return probe;
  }
  std::error_code error;
  if (place.files() == nullptr && !fs::exists(fs::status(probe.path, error))) {
    if (error && error != std::errc::no_such_file_or_directory) return CannotOpen(error.value()).In(probe.path);
    if (fs::is_symlink(probe.path, error)) return CannotOpen(probe.path, ENOENT);
    return NotFound("no such file or folder").In(probe.path);
  }
  ANEMONE_ASSIGN(const ByteSourcePtr source, place.Open());
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

Status TakesNoKey(std::string_view key) {
  return InvalidArgument(
      fmt::format("expected a torch file of several dictionaries to take \"{}\" from, found another "
                  "format",
                  key));
}

Result<Checkpoint> OpenCheckpoint(const Location& place, const OpenOptions& options) {
  const std::string& path = place.string();
  auto probe = ProbePath(place);
  if (!probe.ok()) {
    // FOLDER/NAME.ckpt may stand for FOLDER/mp_rank_00/NAME.ckpt and its siblings, as in NeMo's own commands.
    const Location parent = place.parent();
    if (probe.status().kind() != ErrorKind::kNotFound || parent.string().empty()) return probe.status();
    const auto above = ProbePath(parent);
    if (IsReadFailure(above.status())) return above.status();
    if (!above.ok() || !above->is_directory || !HasRankFolders(*above)) return probe.status();
    return WithFormat(OpenLightningFolder(parent, place.filename(), options));
  }
  probe->options = options;
  const Format* chosen = nullptr;
  for (const Format* format : kFormats) {
    Result<bool> matches = format->matches(*probe);
    if (!matches.ok()) return matches.status();
    if (!*matches) continue;
    if (chosen != nullptr) {
      return Corrupt(fmt::format("it could be a {} or a {}", chosen->title, format->title)).In(path);
    }
    chosen = format;
  }
  if (chosen == nullptr) return internal::NotACheckpoint(*probe).In(path);
  if (!options.key.empty() && !chosen->traits.has_key) return TakesNoKey(options.key).In(path);
  Result<Checkpoint> opened = WithFormat(chosen->open(*probe));
  if (opened.ok() && probe->is_directory && place.files() == nullptr) {
    ANEMONE_TRY(CheckInside(*opened, path));
    ANEMONE_TRY(CheckFetched(*opened).In(path));
  }
  return opened;
}

}  // namespace anemone
