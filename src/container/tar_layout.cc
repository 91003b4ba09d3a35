#include "container/tar_layout.h"

#include <string>
#include <utility>

#include "base/safe_path.h"
#include "container/tar_format.h"
#include "container/text.h"
#include "engine/share.h"

namespace anemone {
namespace {

using internal::Quoted;
using namespace internal::tar;  // NOLINT(google-build-using-namespace)

constexpr uint64_t kRecord = 20 * kBlock;         // what tar pads archives to
constexpr uint64_t kMaxOctalSize = 077777777777;  // 8 GiB - 1: eleven octal digits

void Set(std::string& block, Field field, std::string_view text) {
  text.copy(block.data() + field.offset, field.width);
}
void SetOctal(std::string& block, Field field, uint64_t value) {
  for (size_t i = field.width - 1; i-- > 0; value >>= 3) block[field.offset + i] = static_cast<char>('0' + (value & 7));
}

std::string Header(std::string_view name, std::string_view prefix, char type, uint32_t mode, uint64_t size) {
  std::string block(kBlock, '\0');
  Set(block, kName, name);
  Set(block, kPrefix, prefix);
  SetOctal(block, kMode, mode);
  SetOctal(block, kSize, size);
  for (const Field field : {kUid, kGid, kMtime, kDevMajor, kDevMinor}) SetOctal(block, field, 0);
  block[kType.offset] = type;
  Set(block, kMagic, kUstar);
  Set(block, kChecksum, "        ");
  uint64_t sum = 0;
  for (const char c : block) sum += static_cast<uint8_t>(c);
  SetOctal(block, {kChecksum.offset, 7}, sum);
  block[kChecksum.offset + 6] = '\0';
  return block;
}

std::string PaxRecord(std::string_view key, std::string_view value) {
  const std::string rest = " " + std::string(key) + "=" + std::string(value) + "\n";
  uint64_t length = rest.size();
  while (rest.size() + std::to_string(length).size() != length) length = rest.size() + std::to_string(length).size();
  return std::to_string(length) + rest;
}

// A record of `length` bytes that says nothing.
std::string PaxComment(uint64_t length) {
  const std::string begin = std::to_string(length) + " comment=";
  return begin + std::string(length - begin.size() - 1, ' ') + "\n";
}

Status AppendHeader(PlanFile& file, const std::string& raw, char type, uint32_t mode, uint64_t size,
                    std::optional<uint64_t> block_offset = {}) {
  if (file.size % kBlock != 0)
    return Internal("a tar header at byte " + std::to_string(file.size) + ", not on a block");
  std::string pax;
  std::string_view name = raw, prefix;
  if (name.size() > kName.width) {
    // ustar may cut a path at a slash: up to 155 bytes before, 100 after.
    const size_t slash = name.find('/', name.size() - kName.width - 1);
    if (slash != std::string_view::npos && slash <= kPrefix.width && slash + 1 < name.size()) {
      prefix = name.substr(0, slash);
      name = name.substr(slash + 1);
    } else {
      pax += PaxRecord("path", raw);
      name = name.substr(0, kName.width);
    }
  }
  if (size > kMaxOctalSize) pax += PaxRecord("size", std::to_string(size));
  if (block_offset) {
    const uint64_t extension = pax.empty() ? 0 : kBlock + pax.size() + Padding(pax.size(), kBlock);
    const uint64_t content_at = file.size + extension + kBlock;
    uint64_t room = (*block_offset + kBlockBytes - content_at % kBlockBytes) % kBlockBytes;
    if (room == kBlock && pax.empty()) room += kBlockBytes;  // a header and what it heads take two
    if (room > 0) pax += PaxComment(pax.empty() ? room - kBlock : room + Padding(pax.size(), kBlock));
  }
  if (!pax.empty()) {
    std::string extension = Header("././@PaxHeader", "", 'x', 0644, pax.size()) + pax;
    extension.append(Padding(extension.size(), kBlock), '\0');
    file.Append(std::move(extension));
  }
  file.Append(Header(name, prefix, type, mode, size > kMaxOctalSize ? 0 : size));
  return {};
}

Status CheckName(std::string_view name) {
  const std::string_view why = UnsafePath(name);
  if (!why.empty())
    return InvalidArgument("expected a safe member name, found " + Quoted(name) + ", which " + std::string(why) +
                           " [TAR-6]");
  if (Normalised(name) != name)
    return InvalidArgument("expected a plain member name, found " + Quoted(name) + " [TAR-6]");
  return {};
}

}  // namespace

Status AppendTarDirectory(PlanFile& file, std::string_view name) {
  if (name.empty()) return AppendHeader(file, "./", '5', 0755, 0);
  ANEMONE_TRY(CheckName(name));
  return AppendHeader(file, "./" + std::string(name) + "/", '5', 0755, 0);
}

Status AppendTarHeader(PlanFile& file, std::string_view name, uint64_t size, std::optional<uint64_t> block_offset) {
  ANEMONE_TRY(CheckName(name));
  if (block_offset && *block_offset % kBlock != 0)
    return Internal("tar content at byte " + std::to_string(*block_offset) + " of a block");
  return AppendHeader(file, "./" + std::string(name), '0', 0644, size, block_offset);
}

void PadTarMember(PlanFile& file) { file.AppendZeros(Padding(file.size, kBlock)); }

void EndTar(PlanFile& file) {
  file.AppendZeros(2 * kBlock);
  file.AppendZeros(Padding(file.size, kRecord));
}

}  // namespace anemone
