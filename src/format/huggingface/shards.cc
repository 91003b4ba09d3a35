#include "format/huggingface/shards.h"

#include <fmt/format.h>

#include <map>
#include <utility>
#include <vector>

#include "base/closed_file.h"
#include "base/for_each.h"
#include "base/listing.h"
#include "base/text_hash.h"
#include "config/weight_map.h"
#include "format/format.h"
#include "format/huggingface/safetensors.h"
#include "format/recognise.h"
#include "format/torch/rank_file.h"
#include "format/torch/torch_file.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;

bool Contains(std::string_view text, std::string_view word) { return text.find(word) != std::string_view::npos; }

}  // namespace

Status CheckUnsharded(const Checkpoint& checkpoint) {
  if (checkpoint.shards.size() == 1 && checkpoint.shards[0].chunks.empty()) return {};
  return InvalidArgument(fmt::format("expected an unsharded checkpoint, found {} ranks", checkpoint.shards.size()));
}

bool LooksLikeWeightIndex(std::string_view head) {
  const size_t first = head.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && head[first] == '{' && Contains(head, "\"weight_map\"");
}

std::string IndexOfShard(std::string_view name) {
  constexpr std::string_view kOf = "-of-", kDigits = "0123456789";
  const size_t of = name.rfind(kOf);
  if (of == std::string_view::npos) return {};
  const size_t dot = name.find_first_not_of(kDigits, of + kOf.size());
  const std::string_view before = name.substr(0, of);
  const size_t dash = before.find_last_not_of(kDigits);
  const bool is_shard = dot != std::string_view::npos && dot > of + kOf.size() && name[dot] == '.' &&
                        dash != std::string_view::npos && dash + 1 < of && before[dash] == '-';
  return is_shard ? fmt::format("{}{}.index.json", name.substr(0, dash), name.substr(dot)) : std::string();
}

bool IndexNamesTorchFiles(std::string_view head) {
  return !Contains(head, ".safetensors\"") && Contains(head, ".bin\"");
}

Result<StateDict> ReadWeightsFile(const Location& place, Checkpoint& checkpoint, std::string_view key,
                                  bool stays_open) {
  const std::string& path = place.string();
  ANEMONE_ASSIGN(const Probe probe, ProbePath(place));
  if (LooksLikeTorchFile(probe.head)) {
    ANEMONE_ASSIGN(ByteSourcePtr source, place.Open(stays_open));
    auto file = ReadRankFile(Whole(std::move(source)), {.key = key});
    if (!file.ok()) return file.status().In(path);
    for (std::string& note : file->notes) checkpoint.notes.push_back(fmt::format("{}: {}", path, note));
    return std::move(file->shard.weights);
  }
  if (LooksLikeSafetensors(probe.head, probe.size_bytes)) {
    if (!key.empty()) return TakesNoKey(key).In(path);
    ANEMONE_ASSIGN(ByteSourcePtr source, place.Open(stays_open));
    auto state = ReadSafetensors(Whole(std::move(source)), &checkpoint.metadata);
    if (!state.ok()) return state.status().In(path);
    ANEMONE_TRY(AddTiedNames(checkpoint.metadata, *state));
    return state;
  }
  return internal::NotACheckpoint(probe).In(path);
}

namespace {

// The weight_map: which file holds a tensor.
struct Index {
  std::map<std::string, size_t> files;  // name → tensors
  internal::TextMap<const std::string*> home;
};

Result<Index> ReadIndex(const Location& place) {
  const std::string& path = place.string();
  ANEMONE_ASSIGN(ByteSourcePtr source, place.Open());
  ANEMONE_ASSIGN(const std::string text, Whole(std::move(source)).ReadAll(kMaxIndexBytes));
  ANEMONE_ASSIGN(const std::vector<WeightPlace> places, ReadWeightMap(text, path));
  Index index;
  for (const auto& [name, file] : places) {
    const auto at = index.files.try_emplace(file).first;
    ++at->second;
    index.home.emplace(name, &at->first);
  }
  std::vector<std::string_view> missing;
  for (const auto& [file, count] : index.files) {
    ANEMONE_ASSIGN(const bool is_there, (place.parent() / file).Exists());
    if (!is_there) missing.push_back(file);
  }
  if (!missing.empty()) {
    return NotFound(fmt::format("[HF-5] the index names files that are not there: {}", Listing(missing)),
                    "download them too")
        .In(path);
  }
  return index;
}

}  // namespace

Result<StateDict> ReadIndexedWeights(const Location& place, Checkpoint& checkpoint, std::string_view key) {
  const std::string& path = place.string();
  const Location folder = place.parent();
  ANEMONE_ASSIGN(const Index index, ReadIndex(place));
  const std::map<std::string, size_t>& files = index.files;
  const auto& home = index.home;
  std::vector<const std::string*> names;
  names.reserve(files.size());
  for (const auto& [file, count] : files) names.push_back(&file);
  // Opened at once, then read in order.
  std::vector<std::pair<StateDict, Checkpoint>> parts(files.size());
  ANEMONE_TRY(ForEach(files.size(), folder.OpensAtOnce(), [&](uint64_t i, unsigned) -> Status {
    ANEMONE_ASSIGN(parts[i].first,
                   ReadWeightsFile(folder / *names[i], parts[i].second, key, files.size() <= kMaxOpenFiles));
    return {};
  }));
  StateDict all;
  size_t unlisted = 0, doubled = 0, next = 0;
  for (const auto& [file, count] : files) {
    const auto [part, said] = std::exchange(parts[next++], {});
    checkpoint.notes.insert(checkpoint.notes.end(), said.notes.begin(), said.notes.end());
    for (const auto& [word, value] : said.metadata) checkpoint.metadata[word] = value;
    size_t found = 0;
    for (const StateDict::Item& item : part.items()) {
      const auto at = home.find(item.name);
      if (at == home.end()) {
        ++unlisted;
      } else if (*at->second == file) {
        ++found;
      } else {
        ++doubled;
        continue;  // the index says it comes from another file
      }
      if (const Status status = all.Add(item.name, item.entry); !status.ok()) return status.In(file);
    }
    if (found == count) continue;
    std::vector<std::string_view> missing;
    for (const auto& [name, owner] : home) {
      if (*owner == file && part.Find(name) == nullptr) missing.push_back(name);
    }
    if (missing.empty()) continue;
    return Corrupt(fmt::format("[HF-6] the index says {} holds \"{}\", it does not", file,
                               *std::ranges::min_element(missing)),
                   "a file of another model or revision: download the index and all files that it names again")
        .In(path);
  }
  if (unlisted != 0) checkpoint.notes.push_back(fmt::format("{}: {} tensors are not in the index", path, unlisted));
  if (doubled != 0) {
    checkpoint.notes.push_back(
        fmt::format("{}: {} tensors lie in several files: those that the index names are read", path, doubled));
  }
  return all;
}

}  // namespace anemone
