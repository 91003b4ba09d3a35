#include "family/tokenizer/nemo_artifact.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <optional>
#include <span>

#include "base/hasher.h"

namespace anemone {
namespace {

constexpr size_t kDigits = 32;

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
  return hasher.Hex().substr(0, kDigits);
}

}  // namespace

const Artifact* FollowReference(const ConfigNode* value, const std::vector<Artifact>& artifacts) {
  const std::optional<std::string> text = value != nullptr ? value->AsString() : std::nullopt;
  if (!text || !text->starts_with(kNemoReference)) return nullptr;
  const auto found = std::find_if(artifacts.begin(), artifacts.end(), [&](const Artifact& artifact) {
    return artifact.name == text->substr(kNemoReference.size());
  });
  return found == artifacts.end() ? nullptr : &*found;
}

Result<std::string> MemberName(const ByteRange& content, const std::string& name) {
  ANEMONE_ASSIGN(std::string prefix, HexPrefix(content));
  return prefix + "_" + std::filesystem::path(name).filename().string();
}

std::string_view WithoutMemberPrefix(std::string_view name) {
  const bool has_prefix =
      name.size() > kDigits + 1 && name[kDigits] == '_' &&
      std::all_of(name.begin(), name.begin() + kDigits, [](unsigned char c) { return std::isxdigit(c) != 0; });
  return has_prefix ? name.substr(kDigits + 1) : name;
}

}  // namespace anemone
