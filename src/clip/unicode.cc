#include "clip/unicode.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <utility>

namespace anemone::internal {
namespace {

struct ClassRange {
  uint32_t first;
  uint32_t last;
  CharClass what;
};
struct LowerRange {
  uint32_t first;
  uint32_t last;
  int32_t shift;
};

// Letters and numbers that Unicode 15.1 and 16.0 added; Debian's utf8proc knows 15.0, Hugging Face's tokenizers 16.0
// and, for lower case, 17.0. Found by comparing every code point.
constexpr CharClass kL = CharClass::kLetter;
constexpr CharClass kN = CharClass::kNumber;
constexpr ClassRange kNewerClasses[] = {
    {0x1c89, 0x1c8a, kL},   {0xa7cb, 0xa7cd, kL},   {0xa7da, 0xa7dc, kL},   {0x105c0, 0x105f3, kL},
    {0x10d40, 0x10d49, kN}, {0x10d4a, 0x10d65, kL}, {0x10d6f, 0x10d85, kL}, {0x10ec2, 0x10ec4, kL},
    {0x11380, 0x11389, kL}, {0x1138b, 0x1138b, kL}, {0x1138e, 0x1138e, kL}, {0x11390, 0x113b5, kL},
    {0x113b7, 0x113b7, kL}, {0x113d1, 0x113d1, kL}, {0x113d3, 0x113d3, kL}, {0x116d0, 0x116e3, kN},
    {0x11bc0, 0x11be0, kL}, {0x11bf0, 0x11bf9, kN}, {0x13460, 0x143fa, kL}, {0x16100, 0x1611d, kL},
    {0x16130, 0x16139, kN}, {0x16d40, 0x16d6c, kL}, {0x16d70, 0x16d79, kN}, {0x18cff, 0x18cff, kL},
    {0x1ccf0, 0x1ccf9, kN}, {0x1e5d0, 0x1e5ed, kL}, {0x1e5f0, 0x1e5f0, kL}, {0x1e5f1, 0x1e5fa, kN},
    {0x2ebf0, 0x2ee5d, kL},
};
constexpr LowerRange kNewerLower[] = {
    {0x1c89, 0x1c89, 1},    {0xa7cb, 0xa7cb, -42343}, {0xa7cc, 0xa7cc, 1}, {0xa7ce, 0xa7ce, 1},
    {0xa7d2, 0xa7d2, 1},    {0xa7d4, 0xa7d4, 1},      {0xa7da, 0xa7da, 1}, {0xa7dc, 0xa7dc, -42561},
    {0x10d50, 0x10d65, 32}, {0x16ea0, 0x16eb8, 27},
};

// What NFC leaves as it stands: it is neither taken apart, moved nor joined. U+11A7, which stands before the trailing
// consonants and is none, though utf8proc takes it for one; and the marks and parts of compositions that are newer than
// Unicode 9, the tables of NFC in Hugging Face's tokenizers (0.23), which are followed here. Found by comparing every
// code point, those of Unicode 15 and 16 taken from the standard.
struct CodePoints {
  uint32_t first;
  uint32_t last;
};
constexpr CodePoints kOpaque[] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x11a7, 0x11a7},   {0x1715, 0x1715},   {0x1abf, 0x1ace},
    {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x105c0, 0x105f3}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
    {0x1133b, 0x1133b}, {0x11380, 0x113e2}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11930},
    {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34},
    {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16100, 0x16139}, {0x16d40, 0x16d79}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f},
    {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef},
};

template <typename Range, size_t N>
const Range* FindRange(const Range (&ranges)[N], uint32_t code_point) {
  const Range* found = std::upper_bound(std::begin(ranges), std::end(ranges), code_point,
                                        [](uint32_t value, const Range& range) { return value < range.first; });
  if (found == std::begin(ranges)) return nullptr;
  --found;
  return code_point <= found->last ? found : nullptr;
}

bool IsSpace(uint32_t c) {  // White_Space, as the regular expression engine's \s
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

// NFC of a text without opaque characters, appended.
void AppendNfc(std::span<const uint32_t> text, std::vector<uint32_t>* out) {
  std::vector<utf8proc_int32_t> parts;
  parts.reserve(text.size() + 16);
  for (const uint32_t c : text) {
    utf8proc_int32_t decomposed[32];  // the longest canonical decomposition has 4
    int boundary = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), decomposed, 32,
                                static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &boundary);
    if (count < 0 || count > 32) {
      parts.push_back(static_cast<utf8proc_int32_t>(c));
    } else {
      parts.insert(parts.end(), decomposed, decomposed + count);
    }
  }
  const auto combining = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (size_t i = 0; i < parts.size();) {
    if (combining(parts[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < parts.size() && combining(parts[end]) != 0) ++end;
    std::stable_sort(parts.begin() + static_cast<ptrdiff_t>(i), parts.begin() + static_cast<ptrdiff_t>(end),
                     [&](utf8proc_int32_t a, utf8proc_int32_t b) { return combining(a) < combining(b); });
    i = end;
  }
  const utf8proc_ssize_t length =
      utf8proc_normalize_utf32(parts.data(), static_cast<utf8proc_ssize_t>(parts.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  out->insert(out->end(), parts.begin(), parts.begin() + std::max<utf8proc_ssize_t>(length, 0));
}

}  // namespace

CharClass Classify(uint32_t code_point) {
  if (IsSpace(code_point)) return CharClass::kSpace;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    case UTF8PROC_CATEGORY_CN:
      if (const ClassRange* range = FindRange(kNewerClasses, code_point)) return range->what;
      return CharClass::kOther;
    default:
      return CharClass::kOther;
  }
}

Result<std::vector<uint32_t>> DecodeUtf8(std::string_view text) {
  std::vector<uint32_t> out;
  out.reserve(text.size());
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t code_point = 0;
    const utf8proc_ssize_t length =
        utf8proc_iterate(bytes + i, static_cast<utf8proc_ssize_t>(text.size() - i), &code_point);
    if (length <= 0) {
      return InvalidArgument(fmt::format("expected UTF-8 text, found byte 0x{:02x} at position {}", bytes[i], i));
    }
    out.push_back(static_cast<uint32_t>(code_point));
    i += static_cast<size_t>(length);
  }
  return out;
}

std::vector<uint32_t> ToNfc(std::vector<uint32_t> text) {
  constexpr uint32_t kFirstAffected = 0x300;  // every character below is its own composition, and no mark
  if (std::all_of(text.begin(), text.end(), [](uint32_t c) { return c < kFirstAffected; })) return text;
  std::vector<uint32_t> out;
  out.reserve(text.size());
  const std::span<const uint32_t> all(text);
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin;
    while (end < all.size() && FindRange(kOpaque, all[end]) == nullptr) ++end;
    if (end > begin) AppendNfc(all.subspan(begin, end - begin), &out);
    if (end < all.size()) out.push_back(all[end]);
    begin = end + 1;
  }
  return out;
}

void AppendLower(uint32_t code_point, std::vector<uint32_t>* out) {
  if (code_point == 0x130) {  // the one unconditional lower case of two characters [Unicode SpecialCasing.txt]
    out->insert(out->end(), {0x69, 0x307});
  } else if (const LowerRange* range = FindRange(kNewerLower, code_point)) {
    // A utf8proc that knows these gives the same answer.
    out->push_back(static_cast<uint32_t>(static_cast<int32_t>(code_point) + range->shift));
  } else {
    out->push_back(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point))));
  }
}

}  // namespace anemone::internal
