// Model: NeMo's own words for a checkpoint: restore_from, save_to, cfg.
//
//   ANEMONE_ASSIGN(auto model, MegatronCLIPModel::RestoreFrom({.restore_path = "clip.nemo"}));
//   ANEMONE_TRY(model.cfg().Set("optim.lr", ConfigNode::Float(3e-4)));
//   ANEMONE_TRY(model.SaveTo("tuned.nemo"));
//
// A model here is its config, weights and artifacts; nothing is instantiated and no class is imported. What was not
// touched is saved as the bytes it was read as, so a class anemone has never heard of loses nothing.
#ifndef ANEMONE_MODEL_H_
#define ANEMONE_MODEL_H_

#if __cplusplus < 202002L
#error "anemone needs C++20: -std=c++20"
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/convert.h"
#include "anemone/status.h"

namespace anemone {

// A model class of NeMo v2.0.0, known by the `target` its configs carry.
struct ModelClass {
  std::string_view name;                             // "MegatronCLIPModel"
  std::string_view target;                           // its Python path
  std::string_view description;                      // "CLIP and SigLIP: …"
  std::array<std::string_view, 2> model_types = {};  // what NeMo's convert_ckpt_to_nemo scripts call it; "": no word
  std::array<std::string_view, 2> families = {};     // anemone's families whose names its weights have; "": none
};
// The multimodal and vision classes, and the language models whose weights anemone converts. Lives as long as the
// program.
std::span<const ModelClass> ModelClasses();
// By `target`; nullptr when it is not in the table.
const ModelClass* FindModelClass(std::string_view target);
// By the class's own name ("MegatronCLIPModel") or a model type ("megatron_clip").
const ModelClass* FindModelClassByName(std::string_view name);

struct RestoreOptions {
  std::string restore_path = {};  // a .nemo, packed or not; any other checkpoint OpenCheckpoint reads
  std::optional<Config> override_config =
      {};                      // replaces the stored one entirely, as in NeMo; its `model` node if it has one
  bool strict = true;          // names and shapes must be those of the model, where its family is known
  bool return_config = false;  // read the config only: the model has no weights and cannot be saved
};

// Ownership: holds the checkpoint, and so its files, open. Threads: const access from any thread.
class Model {
 public:
  // Errors: as OpenCheckpoint; Corrupt with the missing, unexpected and misshapen names when strict.
  static Result<Model> RestoreFrom(const RestoreOptions& options);

  // Writes a .nemo, or its unpacked folder where `save_path` does not end in ".nemo". While checkpoint() was not
  // changed every member but the config is moved as it is; and the config too if it was not changed. Errors:
  // InvalidArgument (no weights were read), Corrupt (the config refers to an artifact that is not there), as
  // RunConversion.
  Status SaveTo(const std::string& save_path, const RunOptions& options = {}) const;

  // Nullptr for a class that is not in the table: a generic model, which restores and saves like any other.
  const ModelClass* model_class() const { return class_; }
  std::string_view class_name() const { return class_ != nullptr ? class_->name : "Model"; }

  Config& cfg() { return *checkpoint_.config; }
  const Config& cfg() const { return *checkpoint_.config; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  // For changing weights and artifacts; SaveTo then writes all of them anew.
  Checkpoint& mutable_checkpoint() {
    is_untouched_ = false;
    return checkpoint_;
  }

 protected:
  // A class called by name: its own files, and those whose target nobody knows (NeMo falls back to the class called).
  static Result<Model> RestoreFromAs(std::string_view class_name, const RestoreOptions& options);

 private:
  Checkpoint checkpoint_;  // always with a config
  ConfigNode stored_config_;
  const ModelClass* class_ = nullptr;
  bool is_untouched_ = true;
};

namespace internal {
template <size_t N>
struct ClassName {
  char text[N] = {};
  constexpr ClassName(const char (&name)[N]) { std::copy_n(name, N, text); }  // NOLINT: meant to convert
};
}  // namespace internal

// A Model whose class was asked for by name. Errors of RestoreFrom besides Model's: InvalidArgument when the file's
// target is another class of the table.
template <internal::ClassName kName>
class ModelOf : public Model {
 public:
  static Result<ModelOf> RestoreFrom(const RestoreOptions& options) {
    Result<Model> model = RestoreFromAs(kName.text, options);
    if (!model.ok()) return model.status();
    return ModelOf(*std::move(model));
  }

 private:
  explicit ModelOf(Model&& model) : Model(std::move(model)) {}
};

using MegatronCLIPModel = ModelOf<"MegatronCLIPModel">;
using MegatronContentFilteringModel = ModelOf<"MegatronContentFilteringModel">;
using MegatronNevaModel = ModelOf<"MegatronNevaModel">;
using MegatronLatentDiffusion = ModelOf<"MegatronLatentDiffusion">;
using MegatronDiffusionEngine = ModelOf<"MegatronDiffusionEngine">;
using MegatronLatentDiffusionEdit = ModelOf<"MegatronLatentDiffusionEdit">;
using MegatronControlNet = ModelOf<"MegatronControlNet">;
using MegatronDreamBooth = ModelOf<"MegatronDreamBooth">;
using MegatronImagen = ModelOf<"MegatronImagen">;
using MegatronVitClassificationModel = ModelOf<"MegatronVitClassificationModel">;

}  // namespace anemone

#endif  // ANEMONE_MODEL_H_
