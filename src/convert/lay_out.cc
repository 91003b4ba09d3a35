// LayOutFiles: the files of the result, to the byte.
//
// Before:  the result is what the format can hold.
// After:   `plan` is set and checked; no two of its files have one name.
// Notes:   none.
#include <fmt/format.h>

#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "convert/pass.h"
#include "edit/destination.h"
#include "engine/plan.h"
#include "engine/share.h"

namespace anemone {
namespace {

// Asked with the first tensor that is worth it; one file system holds a checkpoint's files.
bool CanShareWithSource(const Checkpoint& result, const std::string& destination) {
  std::filesystem::path folder = std::filesystem::path(destination).lexically_normal();
  folder = (folder.has_filename() ? folder : folder.parent_path()).parent_path();
  for (const Shard& shard : result.shards) {
    for (const StateDict::Item& item : shard.weights.items()) {
      const std::vector<Piece> pieces = item.tensor() != nullptr ? Shareable(*item.tensor()) : std::vector<Piece>();
      if (!pieces.empty())
        return CanShareBlocks(pieces.front().range.source->fd(), folder.empty() ? "." : folder.string());
    }
  }
  return false;
}

// JSON and Python have half a surrogate pair, YAML has not.
bool HasHalfPair(std::string_view text) {
  for (size_t at = text.find('\xED'); at != std::string_view::npos; at = text.find('\xED', at + 1)) {
    if (at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) >= 0xA0) return true;
  }
  return false;
}

// The place of such a text; "": none.
std::string FindHalfPair(const ConfigNode& node, const std::string& path) {
  const auto below = [&](std::string_view key) {
    return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
  };
  if (node.kind == ConfigNode::Kind::kString && HasHalfPair(node.text)) return path;
  for (size_t i = 0; i < node.list.size(); ++i) {
    if (std::string found = FindHalfPair(node.list[i], below(std::to_string(i))); !found.empty()) return found;
  }
  for (const auto& [key, value] : node.map) {
    if (HasHalfPair(key)) return below(key);
    if (std::string found = FindHalfPair(value, below(key)); !found.empty()) return found;
  }
  return {};
}

Status CheckTexts(const Work& work) {
  const Checkpoint& result = work.conversion.result;
  const ConfigLanguage language = work.traits().language;
  if (!result.config || language == ConfigLanguage::kHuggingFace || language == ConfigLanguage::kNone) return {};
  const std::string place = FindHalfPair(result.config->root(), "");
  if (place.empty()) return {};
  return Unsupported(place + ": expected text that YAML can hold, found half a surrogate pair")
      .In(result.config_name)
      .Use("unset", place, "leave it out");
}

}  // namespace

Status LayOutFiles(Work& work) {
  ANEMONE_TRY(CheckTexts(work));
  const ConvertOptions& options = work.options;
  work.lay_out.extra_state = options.extra_state;
  work.lay_out.max_shard_bytes = options.max_shard_bytes;
  work.lay_out.has_crc32 = options.crc32;
  work.lay_out.keeps_blocks =
      options.reflink != Reflink::kNever && CanShareWithSource(work.result(), work.conversion.destination);
  if (options.reflink == Reflink::kAlways && !work.lay_out.keeps_blocks) {
    return Unsupported("expected source and output on one file system that shares blocks, found others")
        .Use("reflink", "auto", "copy what cannot be shared");
  }
  ANEMONE_ASSIGN(Plan plan, work.format->lay_out(work.result(), work.lay_out));
  if (options.reflink == Reflink::kNever) plan.sharing = Sharing::kNever;
  if (work.lay_out.keeps_blocks && !options.verify_source) plan.sharing = Sharing::kPlanned;
  ANEMONE_TRY(CheckIsFolder(work.conversion.destination, plan.is_directory));
  ANEMONE_TRY(Check(plan));
  work.conversion.plan = std::make_shared<const Plan>(std::move(plan));
  return {};
}

}  // namespace anemone
