// Configs to rows: `FAMILY.yaml` is NeMo's config of a model of that family, planned without weights; `table.yaml` a
// table of the user's for the tensors in `names`, a line "NAME DIM DIM …" each. Either is split over ranks and laid out
// as a .nemo, or refused with a reason.
#include "folder.h"

#include <sstream>

#include "anemone/config.h"
#include "engine/plan.h"
#include "family/user_table.h"
#include "format/format.h"
#include "inspect/hollow.h"
#include "parallel/reshard.h"

namespace {

using namespace anemone;

// Names and shapes, whatever they are, of zeros.
Checkpoint CheckpointOf(const std::string& names) {
  Checkpoint checkpoint;
  Shard& shard = checkpoint.shards.emplace_back();
  std::istringstream lines(names);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    Shape shape;
    words >> name;
    for (uint64_t dim = 0; shape.size() < 5 && words >> dim;) shape.push_back(dim);
    Result<Tensor> zeros = Tensor::Fill(DType::kF16, shape, 0);
    if (zeros.ok()) static_cast<void>(shard.weights.Add(name, *std::move(zeros)));
  }
  return checkpoint;
}

void SplitAndLayOut(const Checkpoint& checkpoint, const TranslateOptions& options, size_t size) {
  Layout layout;
  layout.tp = static_cast<int>(1 + size % 3);
  layout.pp = static_cast<int>(1 + size / 3 % 3);
  const Result<Checkpoint> ranks = SplitShards(checkpoint, layout, options);
  fuzz::Expect(ranks.status());
  if (!ranks.ok()) return;
  const Result<Checkpoint> whole = MergeShards(*ranks, options);
  fuzz::Expect(whole.status());
  const Result<Plan> plan = FindFormat("nemo")->lay_out(*ranks, {});
  fuzz::Expect(plan.status());
  if (plan.ok()) fuzz::Expect(Check(*plan));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<fuzz::File> files = fuzz::FilesOf(data, size);
  if (files.empty()) return 0;
  const fuzz::File* names = fuzz::FindFile(files, "names");
  if (const fuzz::File* table = fuzz::FindFile(files, "table.yaml"); table != nullptr && names != nullptr) {
    const Result<Config> config = Config::ParseYaml(table->content, "table.yaml");
    if (!config.ok()) return 0;
    const Result<std::shared_ptr<const Family>> family = ParseUserTable(*config);
    fuzz::Expect(family.status());
    if (!family.ok()) return 0;
    TranslateOptions options;
    options.family = family->get();
    SplitAndLayOut(CheckpointOf(names->content), options, size);
    return 0;
  }
  const fuzz::FuzzFolder folder(files);
  for (const fuzz::File& file : files) {
    if (!file.name.ends_with(".yaml")) continue;
    HollowOptions options;
    options.family = file.name.substr(0, file.name.size() - 5);
    options.config = folder.path() + "/" + file.name;
    options.optimizer = size % 2 == 1;
    const Result<Hollow> hollow = HollowCheckpoint(options);
    fuzz::Expect(hollow.status());
    if (!hollow.ok()) continue;
    TranslateOptions known;
    known.family = hollow->model.family;
    known.dialect = hollow->model.dialect;
    SplitAndLayOut(hollow->checkpoint, known, size);
  }
  return 0;
}
