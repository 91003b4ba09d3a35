#include "ops/embeddings.h"

#include <string_view>

#include "engine/execute.h"
#include "format/format.h"

namespace anemone {

Status WriteEmbeddings(const std::string& path, const ClipFeatures& images, const ClipFeatures& texts) {
  if (!path.ends_with(".safetensors")) return InvalidArgument("expected a name ending in .safetensors").In(path);
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
  return Execute(plan, path, {.replace = true});
}

}  // namespace anemone
