#include "infer/embeddings.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/lower_case.h"
#include "container/npy.h"
#include "edit/replace.h"
#include "engine/execute.h"
#include "format/format.h"

namespace anemone {

namespace {

// What WriteEmbeddings writes, or a file of that name that is neither a checkpoint nor a page.
bool IsEmbeddings(const std::string& path, std::string_view head) {
  if (head.starts_with("\x93NUMPY")) return true;
  const Result<Checkpoint> opened = OpenCheckpoint(path);
  if (!opened.ok()) return !head.starts_with("<");
  return opened->shards.size() == 1 && std::ranges::all_of(opened->weights().items(), [](const StateDict::Item& item) {
           return item.name == "image" || item.name == "text";
         });
}

}  // namespace

Status CheckEmbeddingsPath(const std::string& path, bool replace) {
  if (!EndsWith(path, ".safetensors") && !EndsWith(path, ".npy")) {
    return InvalidArgument("expected a name ending in .safetensors or .npy").In(path);
  }
  return CheckReplacesOwn(path, replace, "a file of embeddings", IsEmbeddings);
}

namespace {

std::string BytesOf(const ClipFeatures& features) {
  return {reinterpret_cast<const char*>(features.values.data()), features.values.size() * sizeof(float)};
}

Result<Plan> LayOutNpy(const ClipFeatures& features) {
  Plan plan;
  PlanFile& file = plan.files.emplace_back();
  ANEMONE_ASSIGN(std::string header, NpyHeader(DType::kF32, {features.count, features.width}));
  file.Append(std::move(header));
  file.Append(BytesOf(features));
  return plan;
}

}  // namespace

Status WriteEmbeddings(const std::string& path, const ClipFeatures& images, const ClipFeatures& texts, bool replace) {
  ANEMONE_TRY(CheckEmbeddingsPath(path, replace));
  if (EndsWith(path, ".npy")) {
    ANEMONE_ASSIGN(const Plan plan, LayOutNpy(images.count > 0 ? images : texts));
    return Execute(plan, path, {.replace = replace});
  }
  Checkpoint checkpoint;
  checkpoint.shards.emplace_back();
  for (const auto& [name, features] : {std::pair{"image", &images}, std::pair{"text", &texts}}) {
    if (features->count == 0) continue;
    ANEMONE_ASSIGN(Tensor tensor,
                   Tensor::FromBytes(DType::kF32, {features->count, features->width}, BytesOf(*features)));
    ANEMONE_TRY(checkpoint.weights().Add(name, std::move(tensor)));
  }
  ANEMONE_ASSIGN(const Plan plan, FindFormat("safetensors")->lay_out(checkpoint, {}));
  return Execute(plan, path, {.replace = replace});
}

}  // namespace anemone
