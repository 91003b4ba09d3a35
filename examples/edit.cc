// Opens a .nemo, lists its tensors, reads one, changes the config, saves, and converts the result to Hugging Face.
// find_package(anemone); target_link_libraries(edit PRIVATE anemone::anemone)
#include <anemone/convert.h>
#include <anemone/model.h>
#include <anemone/save.h>

#include <cstdio>

anemone::Status Run(const std::string& source, const std::string& tuned, const std::string& folder) {
  using namespace anemone;
  ANEMONE_ASSIGN(Model model, Model::RestoreFrom({.restore_path = source}));
  for (const StateDict::Item& item : model.checkpoint().weights().items()) {
    const Tensor* tensor = item.tensor();
    if (tensor == nullptr) continue;
    std::printf("%s %s %s\n", item.name.c_str(), Info(tensor->dtype()).torch.data(), ToString(tensor->shape()).c_str());
  }
  ANEMONE_ASSIGN(const std::string elements, model.checkpoint().weights().items().front().tensor()->Read());
  std::printf("%zu bytes read\n", elements.size());
  ANEMONE_TRY(model.cfg().Set("optim.lr", ConfigNode::Float(3e-4)));
  ANEMONE_TRY(model.SaveTo(tuned));
  ANEMONE_ASSIGN(const Conversion conversion, PlanConversion(tuned, folder, {.to = "hf"}));
  return RunConversion(conversion, {});
}

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  const anemone::Status status = Run(argv[1], argv[2], argv[3]);
  if (!status.ok()) std::fprintf(stderr, "%s\nhint: %s\n", status.message().c_str(), Advice(status.error()).c_str());
  return status.ok() ? 0 : 1;
}
