#include "ops/embeddings.h"

#include <filesystem>
#include <string_view>
#include <system_error>

#include "engine/execute.h"
#include "format/format.h"

namespace anemone {

Status CheckEmbeddingsPath(const std::string& path, bool replace) {
  if (!path.ends_with(".safetensors")) return InvalidArgument("expected a name ending in .safetensors").In(path);
  std::error_code error;
  if (!replace && std::filesystem::exists(path, error)) {
    return Status(ErrorKind::kAlreadyExists, "already exists", "--force replaces it").In(path);
  }
  return {};
}

Status WriteEmbeddings(const std::string& path, const ClipFeatures& images, const ClipFeatures& texts, bool replace) {
  ANEMONE_TRY(CheckEmbeddingsPath(path, replace));
  Checkpoint checkpoint;
  checkpoint.shards.emplace_back();
  for (const auto& [name, features] : {std::pair{"image", &images}, std::pair{"text", &texts}}) {
    if (features->count == 0) continue;
    const std::string bytes(reinterpret_cast<const char*>(features->values.data()),
                            features->values.size() * sizeof(float));
    ANEMONE_ASSIGN(Tensor tensor, Tensor::FromBytes(DType::kF32, {features->count, features->width}, bytes));
    ANEMONE_TRY(checkpoint.weights().Add(name, std::move(tensor)));
  }
  ANEMONE_ASSIGN(const Plan plan, FindFormat("safetensors")->lay_out(checkpoint, {}));
  return Execute(plan, path, {.replace = replace});
}

}  // namespace anemone
