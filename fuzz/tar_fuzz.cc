// Reads any bytes as a tar. What is accepted is written again and must read the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../tests/unit/container/render.h"
#include "container/tar.h"
#include "container/tar_layout.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  (void)LooksLikeTar(bytes);
  const Result<std::vector<TarMember>> members = ReadTar(testing::Memory(bytes));
  if (!members.ok()) return 0;
  PlanFile file;
  for (const TarMember& member : *members) {
    if (member.is_directory) {
      if (!AppendTarDirectory(file, member.name).ok()) std::abort();
      continue;
    }
    if (!AppendTarHeader(file, member.name, member.content.size).ok()) std::abort();
    file.Append(member.content);
    PadTarMember(file);
  }
  EndTar(file);
  const Result<std::vector<TarMember>> again = ReadTar(testing::Memory(testing::Render(file)));
  if (!again.ok() || again->size() != members->size()) std::abort();
  for (size_t i = 0; i < members->size(); ++i) {
    const TarMember &a = (*members)[i], &b = (*again)[i];
    if (a.name != b.name || a.is_directory != b.is_directory || a.content.size != b.content.size) std::abort();
    if (testing::Contents(a.content) != testing::Contents(b.content)) std::abort();
  }
  return 0;
}
