// Tensors bit for bit as NVIDIA's own connectors make them (tools/make_connector_golden.py): those of Megatron-Bridge
// 067f987 and of NeMo v2.4.0, for shapes that no two axes share.
#include <filesystem>

#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::TempDir;

Digests WithoutPrefix(const Digests& digests) {
  constexpr std::string_view kPrefix = "model.";
  Digests bare;
  for (const auto& [name, digest] : digests)
    bare[name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name] = digest;
  return bare;
}

TEST(Connectors, TensorsAreTheirsAndComeBack) {
  size_t lists = 0;
  for (const auto& model : std::filesystem::directory_iterator(Golden("connectors"))) {
    for (const auto& [format, file] : {std::pair{"megatron-bridge", "bridge.txt"}, {"nemo2", "nemo2.txt"}}) {
      if (!std::filesystem::exists(model.path() / file)) continue;
      SCOPED_TRACE((model.path() / file).string());
      ++lists;
      const TempDir temp;
      const std::string hf = (model.path() / "hf").string(), there = temp / "there", plain = temp / "x.safetensors",
                        back = temp / "back";
      Convert(hf, there, {.to = format});
      Convert(there, plain, {});
      EXPECT_EQ(WithoutPrefix(DigestsOf(plain)), WithoutPrefix(Listed((model.path() / file).string())));
      Convert(there, back, {.to = "hf"});
      EXPECT_EQ(DigestsOf(back), DigestsOf(hf));
    }
  }
  EXPECT_EQ(lists, 26U);
}

}  // namespace
}  // namespace anemone
