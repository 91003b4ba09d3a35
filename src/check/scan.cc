#include "anemone/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

#include "anemone/config.h"
#include "anemone/value.h"
#include "base/cancel.h"
#include "base/little_endian.h"
#include "base/lower_case.h"
#include "base/progress.h"
#include "base/read_at_most.h"
#include "check/scan_json.h"
#include "check/scan_rules.h"
#include "check/walk.h"
#include "container/decompress.h"
#include "container/gzip.h"
#include "container/npy.h"
#include "container/pickle.h"
#include "container/pickle_trace.h"
#include "container/tar.h"
#include "container/zip.h"
#include "source/source.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr int kMaxPickles = 100'000;
constexpr int kMaxNesting = 8;  // byte strings in pickles in byte strings …

// ------------------------------------------------------------------------------------------- what names and heads say

// What software unpickles without looking at the content.
constexpr std::string_view kPickleNames[] = {".pkl", ".pickle", ".metadata", ".ckpt", ".pt",  ".pth", ".bin",
                                             ".p",   ".pk",     ".joblib",   ".dill", ".dat", ".sav"};
constexpr std::string_view kPackedNames[] = {".gz", ".xz", ".lzma", ".bz2", ".z"};
// Containers and programs that scan does not look into [the formats' own pages; file(1)].
struct Magic {
  std::string_view bytes, what;
};
using namespace std::string_view_literals;
constexpr Magic kNotOpened[] = {
    {"7z\xbc\xaf\x27\x1c"sv, "a 7z archive"},
    {"Rar!\x1a\x07"sv, "a rar archive"},
    {"\x28\xb5\x2f\xfd"sv, "a zstd stream"},
    {"\x04\x22\x4d\x18"sv, "an lz4 stream"},
    {"\x02\x21\x4c\x18"sv, "an lz4 stream"},
    {"LZIP"sv, "an lzip stream"},
    {"\x89LZO\0\r\n\x1a\n"sv, "an lzop stream"},
    {"\xff\x06\0\0sNaPpY"sv, "a snappy stream"},
    {"MSCF\0\0\0\0"sv, "a cabinet archive"},
    {"xar!"sv, "a xar archive"},
    {"!<arch>\n"sv, "an ar archive"},
    {"070701"sv, "a cpio archive"},
    {"070702"sv, "a cpio archive"},
    {"070707"sv, "a cpio archive"},
    {"\x89HDF\r\n\x1a\n"sv, "an HDF5 file"},
    {"hsqs"sv, "a squashfs image"},
    {"\x7f"
     "ELF"sv,
     "a native program or library"},
    {"\xcf\xfa\xed\xfe"sv, "a native program or library"},
    {"\xce\xfa\xed\xfe"sv, "a native program or library"},
    {"\xca\xfe\xba\xbe"sv, "a native program or library"},
    {"MZ\x90\0\x03\0\0\0"sv, "a native program or library"},
    {"\0asm\x01\0\0\0"sv, "a WebAssembly program"},
    {"\x1f\x9d\x90"sv, "a stream of compress"},
    {"\xed\xab\xee\xdb"sv, "an rpm package"},
    {"PK\x07\x08"sv, "a part of a zip of several disks"},
};

// The kind of file that `head` begins, if it is one that scan does not look into; nothing where it may be another.
std::string_view NotOpened(std::string_view head) {
  // Frames of any content, which readers of zstd and lz4 skip.
  if (head.size() >= 4 && (head[0] & 0xf0) == 0x50 && head.substr(1, 3) == "\x2a\x4d\x18")
    return "a zstd or lz4 stream";
  for (const Magic& magic : kNotOpened) {
    if (head.starts_with(magic.bytes)) return magic.what;
  }
  return {};
}

// HDF5 begins at any of these places, behind what else the file holds [HDF5 File Format Specification, II.A].
Result<bool> IsHdf5BehindOtherContent(const ByteRange& content) {
  constexpr std::string_view kSignature("\x89HDF\r\n\x1a\n");
  constexpr uint64_t kFirst = 512, kLast = 1 << 20;
  for (uint64_t at = kFirst; at <= kLast && at + kSignature.size() <= content.size; at *= 2) {
    ANEMONE_ASSIGN(const ByteRange part, content.Sub(at, kSignature.size()));
    ANEMONE_ASSIGN(const std::string bytes, part.ReadAll(kSignature.size()));
    if (bytes == kSignature) return true;
  }
  return false;
}

bool EndsWithAny(std::string_view text, std::span<const std::string_view> suffixes) {
  return std::ranges::any_of(suffixes, [&](std::string_view suffix) { return text.ends_with(suffix); });
}

bool IsPickleName(std::string_view path) {
  const std::string lower = LowerCase(path);
  std::string_view name = lower;
  for (const std::string_view packed : kPackedNames) {
    if (name.ends_with(packed)) name.remove_suffix(packed.size());
  }
  return EndsWithAny(name, kPickleNames);
}

// A pickle that is not announced by its name or a header must name something that Python could import.
bool IsPlausible(std::string_view global) {
  return std::ranges::count(global, ' ') == 1 && std::ranges::all_of(global, [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte >= 0x80 || std::isalnum(byte) != 0 || c == '_' || c == '.' || c == ' ';
         });
}

bool LooksLikeArchive(std::string_view head) {
  return LooksLikeZip(head) || LooksLikeGzip(head) || LooksLikeTar(head) || CodecOf(head) != Codec::kNone ||
         !NotOpened(head).empty();
}

// Whether the pickle machine gets anywhere with bytes that begin so: few letters and no name do.
bool MayBePickle(std::string_view head, uint64_t size) {
  if (size < 4) return false;
  if (LooksLikePickle(head)) return true;
  constexpr std::string_view kFirst =
      "(NIJKLMFGSTUVXBCc])}P\x80\x82\x83\x84\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x95\x96\x97";
  if (kFirst.find(head[0]) == kFirst.npos) return false;
  return size > head.size() || head.find_first_of("\n\x82\x83\x84\x93") != head.npos;
}

// ---------------------------------------------------------------------------------------------------------- configs

// The keys under which NeMo and Hydra of every release look for a callable
// [hydra/_internal/instantiate/_instantiate2.py; Hydra 0.11 utils.py: `cls`, `class` or `target` with `params`; NeMo
// core/classes/common.py from_config_dict], and Lightning's command line [jsonargparse: `class_path` with `init_args`].
constexpr std::string_view kTargetKeys[] = {"_target_", "target", "cls", "class", "class_path"};

// "os.system", not "3.14" and not a sentence.
bool IsDotted(std::string_view text) {
  return text.find('.') != text.npos && text.find_first_of(" /:\\") == text.npos &&
         std::isdigit(static_cast<unsigned char>(text[0])) == 0 && !text.starts_with('.') && !text.ends_with('.');
}

class Scanner {
 public:
  explicit Scanner(const ProgressFn& progress = {})
      : done_(std::make_shared<std::atomic<uint64_t>>(0)), is_cancelled_(CancelledBy(progress, "scanning", done_, 0)) {}

  std::vector<ScanFinding> findings;

  Status Run(const Location& place) {
    const CancelScope scope(is_cancelled_);
    return Walk(
        place, [this](const Leaf& leaf) { return Visit(leaf, 0); }, [this](const Status& s) { return Broken(s); },
        &budget_);
  }

  // Everything in bytes that lie in memory, as if they were a file.
  Status RunBytes(const ByteRange& bytes, const std::string& path) {
    budget_.Grant(bytes.size);
    return WalkLeaf(
        {path, bytes, std::nullopt}, 0, [this](const Leaf& leaf) { return Visit(leaf, 0); },
        [this](const Status& s) { return Broken(s); }, &budget_);
  }

 private:
  Status CheckCancelled() const { return is_cancelled_ && is_cancelled_() ? Interrupted() : Status(); }
  // A list of any length would take any memory; what is inert or unknown does not keep what is dangerous out of it.
  void Add(ScanFinding finding) {
    uint64_t& count = counts_.at(static_cast<size_t>(finding.danger));
    if (count > kMaxFindingsListed) return;
    if (count == kMaxFindingsListed) {
      finding = {"", std::string(kNotListed), fmt::format("more than {} findings of this kind", kMaxFindingsListed), "",
                 finding.danger};
    }
    if (!seen_.emplace(finding.file, finding.where, finding.name).second) return;
    ++count;
    findings.push_back(std::move(finding));
  }
  Status Broken(const Status& problem) {
    if (IsReadFailure(problem)) return problem;
    const ErrorKind kind = problem.kind();
    const bool closed =
        kind == ErrorKind::kLimitExceeded || kind == ErrorKind::kUnsupported || kind == ErrorKind::kNotFound;
    Add({"", closed ? "not opened" : "unsafe or broken archive", problem.message(), "", Danger::kUnknown});
    return {};
  }

  // A damaged member hides nothing that is stored behind it.
  Status Visit(const Leaf& leaf, int nesting) {
    const Status status = VisitContent(leaf, nesting);
    return status.ok() ? status : Broken(status.In(leaf.path));
  }

  Status VisitContent(const Leaf& leaf, int nesting) {
    ANEMONE_TRY(CheckCancelled());
    *done_ += leaf.content.size;
    constexpr uint64_t kHead = 512;
    ANEMONE_ASSIGN(const ByteRange start, leaf.content.Sub(0, std::min(leaf.content.size, kHead)));
    ANEMONE_ASSIGN(const std::string head, start.ReadAll(kHead));
    if (head.empty()) return {};
    std::string_view not_opened = NotOpened(head);
    ANEMONE_ASSIGN(const bool is_hdf5, IsHdf5BehindOtherContent(leaf.content));
    if (is_hdf5) not_opened = "an HDF5 file behind other content";
    if (!not_opened.empty()) Add({leaf.path, "not opened", std::string(not_opened), "", Danger::kUnknown});
    const std::string path = LowerCase(leaf.path);
    // Lines of words are YAML and a pickle of protocol 0 at once: the bytes are looked at below as well.
    if (path.ends_with(".yaml") || path.ends_with(".yml")) ANEMONE_TRY(VisitYaml(leaf));
    if (IsJudgedJson(path)) ANEMONE_TRY(VisitJson(leaf, path));
    constexpr std::string_view kDataPickle = "/data.pkl";
    if (leaf.zip && leaf.path.ends_with(kDataPickle)) {
      torch_zip_ = {*leaf.zip, leaf.content, leaf.path.substr(0, leaf.path.size() - kDataPickle.size()) + "/data/"};
    }
    return VisitPickles(leaf, IsPickleName(leaf.path), nesting);
  }

  // --- storages

  // The torch file under way: a zip with a data.pkl, and the members that this names as storages.
  struct TorchZip {
    ByteRange zip, pickle;
    std::string folder;                                  // "x.pt/archive/data/"
    std::optional<std::set<std::string>> storages = {};  // once somebody asks
  };

  // Whoever loads a torch file takes its storages as numbers. A member is one where the data.pkl of the same folder of
  // the same zip says so; a data.pkl that is stored behind it is too late.
  Result<bool> IsStorage(const Leaf& leaf) {
    if (!leaf.zip || !torch_zip_ || !leaf.path.starts_with(torch_zip_->folder)) return false;
    if (leaf.zip->source != torch_zip_->zip.source || leaf.zip->offset != torch_zip_->zip.offset) return false;
    if (!torch_zip_->storages) {
      ANEMONE_ASSIGN(torch_zip_->storages, StoragesOf(torch_zip_->pickle));
    }
    return torch_zip_->storages->contains(leaf.path.substr(torch_zip_->folder.size()));
  }

  // The keys of ("storage", class, key, location, count) [torch/serialization.py, persistent_id]; none of a pickle that
  // is not read to its end.
  static Result<std::set<std::string>> StoragesOf(const ByteRange& pickle) {
    constexpr uint64_t kMaxPickle = uint64_t{64} << 20;
    ANEMONE_ASSIGN(const std::optional<std::string> bytes, ReadAtMost(pickle, kMaxPickle));
    if (!bytes) return std::set<std::string>();
    std::set<std::string> keys;
    ObjectVisitor visitor;
    visitor.object = [&keys](ValueNode& node) -> Result<bool> {
      if (node.kind != ValueNode::Kind::kPersistent) return false;
      const ValueNode& id = *node.items.data()[0];
      const bool is_storage = id.kind == ValueNode::Kind::kTuple && id.items.size() == 5 &&
                              id.items.data()[0]->text == "storage" &&
                              id.items.data()[2]->kind == ValueNode::Kind::kString;
      if (is_storage) keys.insert(id.items.data()[2]->text);
      return false;
    };
    return ReadPickle(*bytes, {}, nullptr, visitor).ok() ? std::move(keys) : std::set<std::string>();
  }

  // --- pickles

  // The pickles that follow one another. Behind the last one may be other data: storages of a legacy torch file.
  Status VisitPickles(const Leaf& leaf, bool is_named, int nesting) {
    PickleVisitor visitor;
    std::vector<ScanFinding> in_pickle;  // found on the way; they count if the bytes turn out to be a pickle
    visitor.keys.assign(std::begin(kTargetKeys), std::end(kTargetKeys));
    visitor.max_values >>= 2 * nesting;  // several traces are under way at once
    visitor.literal = [&](const ByteRange& content, std::string_view head, bool is_text) {
      VisitLiteral(leaf, content, head, is_text, nesting, in_pickle);
    };
    visitor.entry = [&](std::string_view key, const std::string* value) { VisitEntry(leaf, key, value, in_pickle); };
    // Where a pickle may begin, and who reads it. A trace of joblib's has those of the other readers, who go on at
    // different bytes.
    std::vector<std::pair<uint64_t, PickleReader>> starts = {{0, PickleReader::kJoblib}};
    std::set<std::pair<uint64_t, PickleReader>> visited;
    for (int count = 0; !starts.empty();) {
      ANEMONE_TRY(CheckCancelled());
      const auto [at, reader] = starts.back();
      starts.pop_back();
      if (at >= leaf.content.size || visited.contains({at, PickleReader::kJoblib})) continue;
      if (!visited.insert({at, reader}).second) continue;
      in_pickle.clear();
      ANEMONE_ASSIGN(const ByteRange rest, leaf.content.Sub(at, leaf.content.size - at));
      ANEMONE_ASSIGN(const std::vector<uint64_t> array, internal::BehindNpyHeader(rest));
      for (const uint64_t place : array) starts.emplace_back(at + place, reader);
      if (!array.empty() && count++ >= kMaxPickles) return Add(TooManyPickles(leaf)), Status();
      const PickleTrace trace = TracePickle(rest, visitor, reader);
      if (IsReadFailure(trace.status)) return trace.status;
      ANEMONE_ASSIGN(const bool counts, ReportPickle(leaf, rest, trace, at == 0 && is_named, nesting > 0));
      if (!counts) continue;
      for (ScanFinding& finding : in_pickle) Add(std::move(finding));
      for (const PickleTrace& other : trace.others) {
        if (other.status.ok() && other.consumed != trace.consumed)
          starts.emplace_back(at + other.consumed, other.reader);
      }
      if (count++ >= kMaxPickles) {
        Add(TooManyPickles(leaf));
        continue;
      }
      if (trace.status.ok()) starts.emplace_back(at + trace.consumed, reader);
      if (!trace.status.ok()) continue;
      ANEMONE_ASSIGN(const std::vector<uint64_t> behind, BehindNumbers(leaf.path, rest, trace.consumed));
      for (const uint64_t place : behind) starts.emplace_back(at + place, reader);
    }
    return {};
  }

  static ScanFinding TooManyPickles(const Leaf& leaf) {
    return {leaf.path, "not opened", "expected at most 100000 pickles in a row, found more", "", Danger::kUnknown};
  }

  // The places where the next pickle may begin, in a member of torch's tars of before 0.1.10; none in other
  // files. Behind most of them are numbers [torch/serialization.py, _legacy_load, load_tensor].
  static Result<std::vector<uint64_t>> BehindNumbers(std::string_view path, const ByteRange& rest, uint64_t at) {
    const bool is_storages = path.ends_with("/storages");
    if (!is_storages && !path.ends_with("/tensors")) return std::vector<uint64_t>();
    constexpr uint64_t kCount = 8;
    if (rest.size - at < kCount) return std::vector<uint64_t>();
    ANEMONE_ASSIGN(const ByteRange range, rest.Sub(at, kCount));
    ANEMONE_ASSIGN(const std::string bytes, range.ReadAll(kCount));
    std::vector<uint64_t> places;
    const uint64_t count = internal::LittleEndian(std::string_view(bytes).substr(0, is_storages ? 8 : 4));
    // Of a tensor: its number of dimensions, sizes and strides, and its offset. Of a storage: elements of any size.
    for (const uint64_t item : {1, 2, 4, 8, 16}) {
      if (count > rest.size / item) break;
      places.push_back(at + kCount + (is_storages ? count * item : count * 16 + 8));
    }
    return places;
  }

  // Reports what readers make of the bytes that begin `rest`. False where they are no pickle.
  Result<bool> ReportPickle(const Leaf& leaf, const ByteRange& rest, const PickleTrace& trace, bool is_expected,
                            bool is_nested) {
    ANEMONE_ASSIGN(const ByteRange start, rest.Sub(0, std::min<uint64_t>(rest.size, 2)));
    ANEMONE_ASSIGN(const std::string head, start.ReadAll(2));
    // A protocol of the future counts under a pickle's name.
    const bool is_header = LooksLikePickle(head) || (is_expected && head[0] == '\x80' && rest.size > 1 && head[1] < 16);
    if (!Counts(trace, is_expected, is_header)) return false;
    if (NamesNothing(trace)) {
      ANEMONE_ASSIGN(const bool is_storage, IsStorage(leaf));
      if (is_storage) return false;
    }
    Report(leaf, trace, is_nested, is_expected, is_header);
    for (const PickleTrace& other : trace.others) {
      if (IsReadFailure(other.status)) return other.status;
      if (Counts(other, false, false) || !other.oddities.empty()) Report(leaf, other, is_nested, false, false);
    }
    return true;
  }

  // Bytes that no name and no header announces are a pickle when they are one to the end, or call something, or name
  // something dangerous.
  static bool Counts(const PickleTrace& trace, bool is_expected, bool is_header) {
    if (is_expected || trace.status.ok() || trace.status.kind() == ErrorKind::kLimitExceeded) return true;
    if (is_header && !(trace.globals.empty() && trace.oddities.empty())) return true;
    return std::ranges::any_of(trace.globals, [&](const PickleGlobal& global) {
      return IsPlausible(global.name) && (global.called || JudgeGlobal(global.name) == Danger::kDangerous);
    });
  }

  // At most codes of copyreg's registry, which one random byte is.
  static bool NamesNothing(const PickleTrace& trace) {
    return std::ranges::none_of(trace.globals, [](const PickleGlobal& global) { return IsPlausible(global.name); });
  }

  void Report(const Leaf& leaf, const PickleTrace& trace, bool is_nested, bool is_expected, bool is_header) {
    bool reaches = false;
    for (const PickleGlobal& global : trace.globals) {
      if (!is_header && !IsPlausible(global.name)) continue;
      reaches = true;
      const bool is_taken = !trace.has_other_opcodes && LoadsWeightsOnly(global.name);
      Add({leaf.path, is_nested ? "nested pickle global" : "pickle global", global.name, "", JudgeGlobal(global.name),
           is_nested ? std::nullopt : std::optional(is_taken)});
    }
    for (const std::string& oddity : trace.oddities) {
      Add({leaf.path, "unreadable pickle", oddity, "", Danger::kUnknown});
    }
    if (trace.status.ok()) return;
    // What is a pickle by its name or its first bytes alone, breaks and reaches nothing is other data.
    const bool is_cut = trace.status.kind() == ErrorKind::kLimitExceeded;
    if (is_cut || reaches || (is_expected && is_header)) {
      Add({leaf.path, is_cut ? "not opened" : "unreadable pickle", trace.status.message(), "", Danger::kUnknown});
    }
  }

  // A byte string may be a pickle or an archive itself: Transformer Engine's extra states are torch files.
  void VisitLiteral(const Leaf& leaf, const ByteRange& content, std::string_view head, bool is_text, int nesting,
                    std::vector<ScanFinding>& in_pickle) {
    const bool is_value = is_text || head.starts_with("${") || head.find("${oc.env:") != head.npos;
    if (is_value && JudgeResolvers(head) != Danger::kInert)
      in_pickle.push_back({leaf.path, "config resolver", std::string(head.substr(0, 512)), "", Danger::kUnknown});
    std::string latin1;
    // Protocol 2 writes bytes as text in which each byte is a letter.
    const bool is_encoded = is_text && std::ranges::any_of(head.substr(0, 16), [](char c) { return (c & 0x80) != 0; });
    if (is_encoded) {
      latin1 = Latin1(head);
      head = latin1;
    }
    const bool is_archive = LooksLikeArchive(head);
    const bool is_array = head.starts_with("\x93NUMPY");
    if (head.empty() || (!is_archive && !is_array && !MayBePickle(head, content.size))) return;
    if (nesting == kMaxNesting) {
      return Add({leaf.path, "not opened", "byte strings nested more than 8 deep", "", Danger::kUnknown});
    }
    if (!budget_.Spend(content.size)) {
      return Add(
          {leaf.path, "not opened", "expected less in archives inside archives, found too much", "", Danger::kUnknown});
    }
    Leaf inside{leaf.path, content, std::nullopt};
    if (is_encoded) {
      constexpr uint64_t kMaxText = uint64_t{128} << 20;
      Result<std::string> text = content.ReadAll(kMaxText);
      if (!text.ok()) return (void)Broken(text.status().In(leaf.path));
      inside.content = Whole(MemorySource(Latin1(*text), leaf.path));
    }
    if (!is_archive) return (void)VisitBytes(inside, nesting + 1);
    inside.path += "/bytes";
    const Status status = WalkLeaf(
        inside, nesting + 1, [&](const Leaf& member) { return Visit(member, nesting + 1); },
        // Text only looks like an archive when it is none.
        [&](const Status& problem) { return is_text && !is_encoded ? Status() : Broken(problem); }, &budget_);
    if (!status.ok()) (void)Broken(status);
  }
  Status VisitBytes(const Leaf& leaf, int nesting) {
    const Status status = VisitPickles(leaf, /*is_named=*/false, nesting);
    return status.ok() ? status : Broken(status.In(leaf.path));
  }
  // The bytes that text stands for; a letter beyond Latin-1 ends them.
  static std::string Latin1(std::string_view text) {
    std::string bytes;
    for (size_t i = 0; i < text.size(); ++i) {
      const auto lead = static_cast<uint8_t>(text[i]);
      if (lead >= 0x80 && ((lead != 0xc2 && lead != 0xc3) || i + 1 == text.size())) break;
      bytes += lead < 0x80 ? text[i] : static_cast<char>(lead << 6 | (static_cast<uint8_t>(text[++i]) & 0x3f));
    }
    return bytes;
  }

  // A pickled config names classes as one in YAML does.
  static void VisitEntry(const Leaf& leaf, std::string_view key, const std::string* value,
                         std::vector<ScanFinding>& in_pickle) {
    if (value == nullptr) {
      if (key == "_target_" || key.empty()) {
        in_pickle.push_back({leaf.path, "config target", "(a value that is computed)", "", Danger::kUnknown});
      }
      return;
    }
    const bool is_computed = value->find("${") != value->npos && (key == "_target_" || key == "target" || key.empty());
    if (!is_computed && !IsDotted(*value)) return;
    const Danger danger = JudgeTarget(*value);
    if (key.empty() && danger == Danger::kInert) return;
    in_pickle.push_back({leaf.path, "config target", *value, "", danger});
  }

  // --- configs

  static Result<Config> ReadConfig(const Leaf& leaf, bool is_json) {
    if (leaf.content.size > kMaxConfigBytes) return LimitExceeded("expected a config of at most 16 MiB, found more");
    ANEMONE_ASSIGN(std::string text, leaf.content.ReadAll(kMaxConfigBytes));
    // Lightning writes one into hparams.yaml for a tuple.
    constexpr std::string_view kTuple = "!!python/tuple", kList = "!!seq         ";
    for (size_t at = text.find(kTuple); !is_json && at != text.npos; at = text.find(kTuple, at)) {
      text.replace(at, kTuple.size(), kList);
    }
    return is_json ? Config::ParseJson(text, leaf.path) : Config::ParseYaml(text, leaf.path);
  }
  Status Unreadable(const Leaf& leaf, const Status& status) {
    if (IsReadFailure(status)) return status;
    // macOS puts such a file beside another ("._x.yaml"): no reader of YAML or JSON goes past its first byte.
    constexpr std::string_view kAppleDouble("\0\x05\x16\x07", 4);
    const uint64_t size = std::min<uint64_t>(leaf.content.size, kAppleDouble.size());
    ANEMONE_ASSIGN(const ByteRange head, leaf.content.Sub(0, size));
    ANEMONE_ASSIGN(const std::string begin, head.ReadAll(size));
    if (begin == kAppleDouble) return {};
    Add({leaf.path, "unreadable config", status.message(), "", Danger::kUnknown});
    return {};
  }

  Status VisitYaml(const Leaf& leaf) {
    const Result<Config> config = ReadConfig(leaf, /*is_json=*/false);
    if (!config.ok()) return Unreadable(leaf, config.status());
    VisitTargets(leaf, config->root(), "");
    for (const ConfigFinding& resolver : FindResolvers(config->root())) {
      Add({leaf.path, "config resolver", resolver.text, resolver.path, JudgeResolvers(resolver.text)});
    }
    return {};
  }

  // Every key that names a callable. All but `_target_` are also ordinary words: they count with `params` beside them
  // or with a dotted or computed value.
  void VisitTargets(const Leaf& leaf, const ConfigNode& node, const std::string& path) {
    for (const auto& [key, child] : node.map) {
      const std::string where = path.empty() ? key : fmt::format("{}.{}", path, key);
      const bool is_key = std::ranges::find(kTargetKeys, key) != std::end(kTargetKeys);
      const std::string text = is_key ? child.ScalarText() : "";
      if (is_key && !child.is_null() && child.map.empty() && child.list.empty() &&
          (key == "_target_" || IsDotted(text) || text.find("${") != text.npos || node.Get("params") != nullptr)) {
        Add({leaf.path, "config target", text, where, JudgeTarget(text)});
      }
      if (key == "trust_remote_code" && (child.AsBool() == true || child.ScalarText() == "true")) {
        Add({leaf.path, "code beside the model", "trust_remote_code", where, Danger::kUnknown});
      }
      VisitTargets(leaf, child, where);
    }
    for (size_t i = 0; i < node.list.size(); ++i) VisitTargets(leaf, node.list[i], fmt::format("{}[{}]", path, i));
  }

  Status VisitJson(const Leaf& leaf, std::string_view path) {
    const Result<Config> config = ReadConfig(leaf, /*is_json=*/true);
    if (!config.ok()) return Unreadable(leaf, config.status());
    FindCodeInJson(path, config->root(),
                   [&](std::string_view what, const std::string& name, const std::string& where, Danger danger) {
                     Add({leaf.path, std::string(what), name, where, danger});
                   });
    return {};
  }

  const std::shared_ptr<std::atomic<uint64_t>> done_;
  const std::function<bool()> is_cancelled_;
  WalkBudget budget_;
  std::optional<TorchZip> torch_zip_;
  std::set<std::tuple<std::string, std::string, std::string>> seen_;
  std::array<uint64_t, 3> counts_ = {};  // of findings, by danger
};

}  // namespace

Result<std::vector<ScanFinding>> Scan(const std::string& path, const ProgressFn& progress) {
  Scanner scanner(progress);
  ANEMONE_ASSIGN(const Location place, FindSource(path, progress, /*all_files=*/true));
  ANEMONE_TRY(scanner.Run(place));
  return std::move(scanner.findings);
}

Result<std::vector<ScanFinding>> ScanBytes(std::string bytes, const std::string& name) {
  Scanner scanner;
  ANEMONE_TRY(scanner.RunBytes(Whole(MemorySource(std::move(bytes), name)), name));
  return std::move(scanner.findings);
}

}  // namespace anemone
