#include "net/object_listing.h"

#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/utf8.h"

namespace anemone::internal {
namespace {

constexpr std::pair<std::string_view, char> kEntities[] = {
    {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};

// What an entity such as "amp" or "#x2F" stands for; false for one that XML does not define.
bool AppendEntity(std::string& text, std::string_view entity) {
  for (const auto& [name, character] : kEntities) {
    if (name != entity) continue;
    text += character;
    return true;
  }
  if (!entity.starts_with('#')) return false;
  entity.remove_prefix(1);
  const bool is_hex = entity.starts_with('x');
  if (is_hex) entity.remove_prefix(1);
  uint32_t code = 0;
  const auto [end, error] = std::from_chars(entity.data(), entity.data() + entity.size(), code, is_hex ? 16 : 10);
  if (error != std::errc() || end != entity.data() + entity.size() || code == 0 || code > 0x10FFFF) return false;
  AppendUtf8(code, text);
  return true;
}

std::optional<std::string> Unescape(std::string_view text) {
  std::string plain;
  while (!text.empty()) {
    const size_t ampersand = text.find('&');
    plain += text.substr(0, ampersand);
    if (ampersand == std::string_view::npos) break;
    const size_t end = text.find(';', ampersand);
    if (end == std::string_view::npos || !AppendEntity(plain, text.substr(ampersand + 1, end - ampersand - 1)))
      return std::nullopt;
    text.remove_prefix(end + 1);
  }
  return plain;
}

// What stands between <NAME> and </NAME>, first of `xml`; `xml` then begins behind it. nullopt where there is none.
std::optional<std::string_view> TakeElement(std::string_view& xml, const std::string& name) {
  const std::string open = "<" + name + ">", close = "</" + name + ">";
  const size_t begin = xml.find(open);
  if (begin == std::string_view::npos) return std::nullopt;
  const size_t end = xml.find(close, begin + open.size());
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view content = xml.substr(begin + open.size(), end - begin - open.size());
  xml.remove_prefix(end + close.size());
  return content;
}

Status NoListing() { return {ErrorKind::kUnavailable, "expected a listing of objects, the server answers otherwise"}; }

}  // namespace

Result<ObjectListing> ParseObjectListing(std::string_view xml) {
  if (xml.find("<ListBucketResult") == std::string_view::npos ||
      !xml.substr(xml.rfind('<')).starts_with("</ListBucketResult>"))
    return NoListing();
  ObjectListing listing;
  std::string_view rest = xml;
  while (std::optional<std::string_view> object = TakeElement(rest, "Contents")) {
    const std::optional<std::string_view> key = TakeElement(*object, "Key");
    std::optional<std::string> plain = key ? Unescape(*key) : std::nullopt;
    if (!plain) return NoListing();
    listing.keys.push_back(*std::move(plain));
  }
  rest = xml;
  const std::optional<std::string_view> truncated = TakeElement(rest, "IsTruncated");
  if (!truncated || *truncated != "true") return listing;
  rest = xml;
  const std::optional<std::string_view> token = TakeElement(rest, "NextContinuationToken");
  std::optional<std::string> next = token ? Unescape(*token) : std::nullopt;
  if (!next || next->empty()) return NoListing();
  listing.next = *std::move(next);
  return listing;
}

}  // namespace anemone::internal
