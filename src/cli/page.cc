#include "cli/page.h"

#include "anemone/bytes.h"
#include "anemone/version.h"
#include "edit/replace.h"
#include "engine/execute.h"

namespace anemone::cli {
namespace {

std::string Base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) {
      group = group << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    }
    for (size_t i = 0; i < 4; ++i) out += at + i <= bytes.size() ? kDigits[group >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

// Escapes every '<', which JSON has in strings only, so that no string ends the page's script element.
std::string WithoutTags(std::string_view json) {
  std::string text;
  for (const char c : json) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace

Status CheckPagePath(const std::string& path, bool replace) {
  return CheckReplacesOwn(path, replace, "a page", [](const std::string&, std::string_view head) {
    return head.starts_with("<!doctype html>");
  });
}

Status WritePage(std::string_view page, const std::function<Status(JsonStream& map)>& data, const std::string& path,
                 bool replace, const ProgressFn& progress) {
  constexpr std::string_view kPlace = "{{data}}";
  const size_t place = page.find(kPlace);
  Plan plan;
  PlanFile& file = plan.files.emplace_back();
  file.AppendKept(page.substr(0, place));
  JsonStream json([&](std::string_view text) { file.Append(WithoutTags(text)); });
  json.BeginMap();
  ANEMONE_TRY(data(json));
  json.Add("made_by", ConfigNode::String("anemone " + std::string(kVersion)));
  json.End();
  file.AppendKept(page.substr(place + kPlace.size()));
  ANEMONE_TRY(CheckPagePath(path, replace));
  return Execute(plan, path, {.replace = replace, .progress = progress});
}

Result<std::string> PictureUri(const std::string& path) {
  constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
  ANEMONE_ASSIGN(ByteSourcePtr file, OpenFile(path));
  ANEMONE_ASSIGN(const std::string bytes, Whole(std::move(file)).ReadAll(kMaxBytes));
  const char* type = bytes.starts_with("\x89PNG") ? "png" : bytes.starts_with("RIFF") ? "webp" : "jpeg";
  return std::string("data:image/") + type + ";base64," + Base64(bytes);
}

}  // namespace anemone::cli
