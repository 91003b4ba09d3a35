#include "anemone/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "edit/archive.h"
#include "edit/model_class.h"
#include "edit/save.h"
#include "family/family.h"
#include "family/words/nemo2_config.h"
#include "format/format.h"
#include "format/nemo/nemo.h"
#include "source/canonical.h"
#include "source/source.h"

namespace anemone {
namespace {

// NeMo takes the `model` node of an override that is a whole training config [NeMo save_restore_connector.py].
ConfigNode ModelNode(const Config& config) {
  const ConfigNode* model = config.root().Get("model");
  return model != nullptr && model->is_map() ? *model : config.root();
}

bool Has(const ModelClass& model_class, const Family& family) {
  return std::find(model_class.families.begin(), model_class.families.end(), family.name) != model_class.families.end();
}

}  // namespace

const ModelClass* ModelClassOf(const Checkpoint& checkpoint) {
  const ConfigNode* target = checkpoint.config ? checkpoint.config->root().Get("target") : nullptr;
  if (target != nullptr && !target->is_null()) return FindModelClass(target->AsString().value_or(""));
  if (checkpoint.config && IsNemo2Config(checkpoint.config->root())) {
    const Result<ConfigNode> config = ToNemo1Config(checkpoint.config->root());
    return config.ok() ? FindModelClass(config->Get("target")->AsString().value_or("")) : nullptr;
  }
  const Family* family = DetectFamily(checkpoint);
  if (family == nullptr) return nullptr;
  const auto classes = ModelClasses();
  const auto found = std::find_if(classes.begin(), classes.end(), [&](const ModelClass& c) { return Has(c, *family); });
  return found == classes.end() ? nullptr : &*found;
}

const Family* FamilyOf(const Checkpoint& checkpoint, std::string* foreign) {
  const Family* family = DetectFamily(checkpoint, foreign);
  const ModelClass* model_class = family == nullptr ? nullptr : ModelClassOf(checkpoint);
  return model_class == nullptr || Has(*model_class, *family) ? family : nullptr;
}

Result<Model> Model::RestoreFrom(const RestoreOptions& options) {
  Model model;
  Checkpoint& checkpoint = model.checkpoint_;
  if (options.return_config) {
    checkpoint.path = options.restore_path;
    if (!options.override_config) {
      ANEMONE_ASSIGN(checkpoint.config, ReadStoredConfig(options.restore_path));
    }
  } else {
    ANEMONE_ASSIGN(checkpoint, OpenSource(options.restore_path, {}));
    if (!checkpoint.config && !options.override_config) {
      return InvalidArgument("it has no config", "give one as override_config").In(options.restore_path);
    }
  }
  if (checkpoint.config) model.stored_config_ = checkpoint.config->root();
  if (options.override_config) {
    checkpoint.config = Config(ModelNode(*options.override_config));
    checkpoint.config_name = "override_config";
  }
  model.class_ = ModelClassOf(checkpoint);
  // Missing, unexpected and misshapen names, where the class's names are known.
  if (options.strict && !options.return_config && model.class_ != nullptr && FamilyOf(checkpoint) != nullptr) {
    ANEMONE_TRY(Canonical(checkpoint).status().In(options.restore_path));
  }
  return model;
}

Result<Model> Model::RestoreFromAs(std::string_view class_name, const RestoreOptions& options) {
  ANEMONE_ASSIGN(Model model, RestoreFrom(options));
  const ModelClass* called = FindModelClassByName(class_name);
  if (model.class_ != nullptr && model.class_ != called) {
    return InvalidArgument(fmt::format("expected a {}, found a {}", class_name, model.class_->name),
                           "Model::RestoreFrom takes every class")
        .In(options.restore_path);
  }
  model.class_ = called;
  return model;
}

Status Model::SaveTo(const std::string& save_path, const RunOptions& options) const {
  return SaveNemo(checkpoint_, {.is_untouched = is_untouched_, .stored_config = &stored_config_}, save_path, options)
      .status();
}

}  // namespace anemone
