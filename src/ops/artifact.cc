#include "ops/artifact.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>

#include "base/hasher.h"
#include "config/hydra.h"

namespace anemone {
namespace {

constexpr std::string_view kReference = "nemo:";

// NeMo draws a random uuid4; ours comes from the content, so that the same edit gives the same file.
Result<std::string> HexPrefix(const ByteRange& content) {
  Hasher hasher(Hasher::Kind::kSha256);
  if (!hasher.is_available()) return Internal("SHA-256 is not available");
  std::array<std::byte, 65536> buffer{};
  for (uint64_t at = 0; at < content.size;) {
    const auto count = static_cast<size_t>(std::min<uint64_t>(buffer.size(), content.size - at));
    const std::span<std::byte> piece = std::span(buffer).first(count);
    ANEMONE_TRY(content.source->ReadAt(content.offset + at, piece));
    hasher.Add(piece);
    at += count;
  }
  return hasher.Hex().substr(0, 32);
}

}  // namespace

const Artifact* FollowReference(const ConfigNode* value, const std::vector<Artifact>& artifacts) {
  const std::optional<std::string> text = value != nullptr ? value->AsString() : std::nullopt;
  if (!text || !text->starts_with(kReference)) return nullptr;
  const auto found = std::find_if(artifacts.begin(), artifacts.end(), [&](const Artifact& artifact) {
    return artifact.name == text->substr(kReference.size());
  });
  return found == artifacts.end() ? nullptr : &*found;
}

Result<std::string> MemberName(const ByteRange& content, const std::string& name) {
  ANEMONE_ASSIGN(std::string prefix, HexPrefix(content));
  return prefix + "_" + std::filesystem::path(name).filename().string();
}

Status ApplyEdit(const ConfigEdit& edit, Config& config, std::vector<Artifact>& artifacts) {
  for (const auto& [path, value] : edit.set) {
    if (path.starts_with('+') || path.starts_with('~')) {  // Hydra's words for adding and deleting
      Result<Override> change = ParseOverride(std::string(path).append("=").append(value));
      if (!change.ok()) return change.status().In(path);
      ANEMONE_TRY(ApplyOverride(*change, &config).In(path));
      continue;
    }
    Result<ConfigNode> node = ParseOverrideValue(value);
    if (!node.ok()) return node.status().In(path);
    ANEMONE_TRY(config.Set(path, *std::move(node)).In(path));
  }
  for (const std::string& path : edit.unset) ANEMONE_TRY(config.Unset(path));
  for (const auto& [path, file] : edit.artifacts) {
    ANEMONE_ASSIGN(ByteSourcePtr source, OpenFile(file));
    const ByteRange content = Whole(std::move(source));
    const Result<std::string> named = MemberName(content, file);
    if (!named.ok()) return named.status().In(file);
    const std::string& name = *named;
    if (const Artifact* old = FollowReference(config.Find(path), artifacts)) {
      artifacts.erase(artifacts.begin() + (old - artifacts.data()));
    }
    std::erase_if(artifacts, [&](const Artifact& artifact) { return artifact.name == name; });
    artifacts.push_back({name, content});
    ANEMONE_TRY(config.Set(path, ConfigNode::String(std::string(kReference) + name)).In(path));
  }
  return {};
}

}  // namespace anemone
