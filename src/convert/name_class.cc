// NameClass: a training's config names the class by which NeMo restores the model.
//
// Before:  the config is the result's, in NeMo 1's words. Runs where the source's format leaves the class to the
//          training script and the format to write does not.
// After:   the config has `target` and `nemo_version`, as NeMo's models append them
//          [NeMo nemo/core/classes/modelPT.py].
// Notes:   that the class is not known.
#include <fmt/format.h>

#include <vector>

#include "config/nodes.h"
#include "convert/pass.h"
#include "edit/model_class.h"

namespace anemone {
namespace {

Status UnknownModelClass(const std::string& name) {
  std::vector<std::string_view> known;
  for (const ModelClass& model : ModelClasses()) {
    for (const std::string_view type : model.model_types) {
      if (!type.empty()) known.push_back(type);
    }
  }
  return InvalidArgument(fmt::format("expected a model type, found '{}'", name),
                         fmt::format("known are {}, and the classes' own names", fmt::join(known, ", ")));
}

}  // namespace

Status NameClass(Work& work) {
  Checkpoint& result = work.result();
  const bool is_left_to_script = TraitsOf(work.conversion.source).model_class == ModelClassIn::kScript;
  if (!result.config || !is_left_to_script || work.traits().model_class != ModelClassIn::kConfig) return {};
  const ModelClass* model = ModelClassOf(result);
  ConfigNode& root = result.config->root();
  if (const std::string& name = work.options.model_class; !name.empty()) {
    const ModelClass* asked = FindModelClassByName(name);
    if (asked == nullptr) return UnknownModelClass(name);
    if (model != nullptr && model != asked) {
      return InvalidArgument(fmt::format("expected a {} as asked, found a {}", asked->name, model->name),
                             fmt::format("its target is {}", model->target));
    }
    model = asked;
  }
  if (root.Get("target") == nullptr) {
    if (model == nullptr) {
      work.Note("the model's class is not known, and NeMo wants it as `target` in the config");
    } else {
      root["target"] = TextNode(model->target);
    }
  }
  if (root.Get("nemo_version") == nullptr) root["nemo_version"] = ConfigNode::String("2.0.0");
  return {};
}

}  // namespace anemone
