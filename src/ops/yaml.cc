#include "ops/yaml.h"

#include <cstdint>
#include <utility>

#include "anemone/bytes.h"

namespace anemone {

Result<Config> ReadYaml(const std::string& path) {
  constexpr uint64_t kMaxBytes = uint64_t{16} << 20;
  ANEMONE_ASSIGN(ByteSourcePtr file, OpenFile(path));
  ANEMONE_ASSIGN(const std::string text, Whole(std::move(file)).ReadAll(kMaxBytes));
  return Config::ParseYaml(text, path);
}

}  // namespace anemone
