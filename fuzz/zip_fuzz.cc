// Reads any bytes as a zip. What is accepted is written again, stored, and must read the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../tests/unit/container/render.h"
#include "container/text.h"
#include "container/zip.h"
#include "container/zip_layout.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const Result<ZipArchive> zip =
      ZipArchive::Open(testing::Memory(std::string(reinterpret_cast<const char*>(data), size)));
  if (!zip.ok()) return 0;
  constexpr uint64_t kMost = 1 << 20;
  PlanFile file;
  ZipLayout layout(file);
  size_t kept = 0;
  for (const ZipMember& member : zip->members()) {
    if (zip->Find(member.name) != &member) std::abort();
    // A deflated member may be damaged, and a name need not be UTF-8 to be read.
    const Result<std::string> content = member.content.ReadAll(kMost);
    if (!content.ok() && !member.deflated && member.size <= kMost) std::abort();
    if (!content.ok() || !internal::IsUtf8(member.name, false)) continue;
    if (!layout.Add(std::string(member.name), *content).ok()) std::abort();
    ++kept;
  }
  if (!layout.Finish().ok()) std::abort();
  const Result<ZipArchive> again = ZipArchive::Open(testing::Memory(testing::Render(file)));
  if (!again.ok() || again->members().size() != kept) std::abort();
  for (const ZipMember& member : again->members()) {
    const Result<std::string> content = zip->Find(member.name)->content.ReadAll(kMost);
    if (!content.ok() || *content != testing::Contents(member.content)) std::abort();
  }
  return 0;
}
