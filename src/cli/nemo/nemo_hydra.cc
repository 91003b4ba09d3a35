#include "cli/nemo/nemo_hydra.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "cli/command.h"
#include "cli/declare.h"
#include "cli/describe.h"
#include "cli/infer.h"
#include "cli/nemo/nemo_script.h"
#include "config/hydra.h"
#include "source/text_file.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

// The YAML that NeMo's megatron_clip_infer.py is configured by, as far as it says anything here.
constexpr std::string_view kInferConfig =
    "image_path: ???\ntexts: ???\ntrainer: {devices: 1, num_nodes: 1, accelerator: gpu, logger: false, precision: 32}\n"
    "model: {restore_from_path: null, precision: '${trainer.precision}'}\n";

// The words that Hydra reads from a command line: its own flags, and overrides.
struct HydraWords {
  std::string folder, name;  // the config's, in place of the script's own
  std::string show;          // "job": print the config and do nothing
  std::vector<std::string> overrides;
};

Result<Config> Overridden(std::string_view yaml, const std::string& script, const HydraWords& words) {
  const bool is_own = words.folder.empty() && (words.name.empty() || words.name == script);
  if (!is_own && words.folder.empty()) {
    return InvalidArgument(fmt::format("--config-name {}: expected --config-path beside it", words.name));
  }
  ANEMONE_ASSIGN(Config config, is_own ? Config::ParseYaml(yaml, script + ".yaml")
                                       : ReadYaml((fs::path(words.folder) / (words.name + ".yaml")).string()));
  if (config.Find("defaults") != nullptr) {
    return Unsupported("defaults: expected a config in one piece, found a list of parts to compose")
        .In((fs::path(words.folder) / words.name).string() + ".yaml");
  }
  for (const std::string& word : words.overrides) {
    const Result<Override> parsed = ParseOverride(word);
    if (!parsed.ok()) return parsed.status().In(word);
    if (parsed->key.starts_with("hydra.")) continue;  // where Hydra itself logs: it does not run here
    ANEMONE_TRY(ApplyOverride(*parsed, &config).In(word));
  }
  return config;
}

Result<std::string> RequiredText(const Config& config, std::string_view path) {
  ANEMONE_ASSIGN(const ConfigNode node, config.Resolve(path));
  if (!node.is_scalar() || node.is_null() || node.ScalarText() == "???") {
    return InvalidArgument(fmt::format("expected {}=…", path));
  }
  return node.ScalarText();
}

// How a script runs with its config; `hint` goes with what is wrong with that. Answers the exit status.
using RunWithConfig = int (*)(const Config& config, const std::string& hint);

Result<uint64_t> InferFromConfig(const Config& config) {
  InferOptions options;
  ANEMONE_ASSIGN(options.model, RequiredText(config, "model.restore_from_path"));
  ANEMONE_ASSIGN(const std::string image, RequiredText(config, "image_path"));
  options.images = {image};
  ANEMONE_ASSIGN(const ConfigNode texts, config.Resolve("texts"));
  if (!texts.is_list()) return InvalidArgument("expected texts='[\"a dog\", …]'");
  for (const ConfigNode& item : texts.list) options.texts.push_back(item.ScalarText());
  options.nemo = true;
  options.logit_scale = 100.0;  // NeMo's script does not read the checkpoint's own [megatron_clip_infer.py:70]
  return Infer(options);
}

// NeMo's megatron_clip_imagenet_zeroshot.yaml, as far as it says anything here. `labels` and `templates` are additions.
constexpr std::string_view kZeroShotConfig =
    "trainer: {devices: 8, num_nodes: 1, accelerator: gpu, logger: false, precision: bf16}\n"
    "model:\n  restore_from_path: null\n  precision: ${trainer.precision}\n  micro_batch_size: 1000\n"
    "  global_batch_size: 8000\n  data:\n    num_workers: 2\n    imagenet_val: ???\n    labels: null\n"
    "    templates: null\n";

Result<uint64_t> ZeroShotFromConfig(const Config& config) {
  InferOptions options;
  ANEMONE_ASSIGN(options.model, RequiredText(config, "model.restore_from_path"));
  ANEMONE_ASSIGN(options.dataset, RequiredText(config, "model.data.imagenet_val"));
  for (const auto& [path, to] :
       {std::pair{"model.data.labels", &options.labels}, std::pair{"model.data.templates", &options.templates}}) {
    if (config.Find(path) == nullptr) continue;  // a config of the user's own
    ANEMONE_ASSIGN(const ConfigNode node, config.Resolve(path));
    if (!node.is_null()) *to = node.ScalarText();
  }
  options.imagenet = true;
  return Infer(options);
}

// A script that Hydra configures: overrides, and Hydra's own flags.
std::function<int()> DeclareHydra(CLI::App& app, const std::string& help, std::string_view name, std::string_view yaml,
                                  RunWithConfig run) {
  auto words = std::make_shared<HydraWords>();
  app.add_option("OVERRIDES", words->overrides, help)->type_name("");
  app.add_option("--config-path,--config-dir", words->folder, "The folder of another YAML than NeMo's own");
  app.add_option("--config-name", words->name, "That YAML's name, without .yaml")->default_val(std::string(name));
  OneOf(app.add_option("-c,--cfg", words->show, "Print the resolved config, and stop"), {"job"});
  return [words, yaml, run, script = std::string(name),
          hint = fmt::format("see: anemone nemo {} --help", app.get_name())] {
    const Result<Config> config = Overridden(yaml, script, *words);
    if (!config.ok()) return Report(config.status().Hint(hint));
    if (words->show.empty()) return run(*config, hint);
    if (IsSpeaker()) Print(config->ToYaml());
    return static_cast<int>(kDone);
  };
}

// Inference is not divided among processes.
template <Result<uint64_t> (*kInfer)(const Config&)>
int RunInference(const Config& config, const std::string& hint) {
  if (!IsSpeaker()) return kDone;
  const Result<uint64_t> unread = kInfer(config);
  return InferStatus(unread.ok() ? unread : unread.status().Hint(hint));
}

// NeMo's conf/merge_lora_weights.yaml.
constexpr std::string_view kMergeConfig =
    "trainer: {devices: 1, num_nodes: 1, accelerator: gpu, logger: false, precision: 16}\n"
    "tensor_model_parallel_size: -1\npipeline_model_parallel_size: -1\npipeline_model_parallel_split_rank: -1\n"
    "gpt_model_file: null\ncheckpoint_dir: null\ncheckpoint_name: null\nhparams_file: null\nlora_model_path: ???\n"
    "merged_model_path: ???\n";

Result<Script> MergeScript(const Config& config) {
  Script script;
  const bool has_file = RequiredText(config, "gpt_model_file").ok();
  ANEMONE_ASSIGN(script.source, RequiredText(config, has_file ? "gpt_model_file" : "checkpoint_dir"));
  if (!has_file) {
    ANEMONE_ASSIGN(const std::string name, RequiredText(config, "checkpoint_name"));
    script.source = (fs::path(script.source) / name).string();
    if (const auto hparams = RequiredText(config, "hparams_file"); hparams.ok()) script.convert.hparams = *hparams;
  }
  ANEMONE_ASSIGN(std::string lora, RequiredText(config, "lora_model_path"));
  script.convert.lora = {std::move(lora)};
  ANEMONE_ASSIGN(script.plan.destination, RequiredText(config, "merged_model_path"));
  // -1: as the base.
  for (const auto& [path, size] : {std::pair{"tensor_model_parallel_size", &script.convert.tp},
                                   {"pipeline_model_parallel_size", &script.convert.pp}}) {
    const ConfigNode* node = config.Find(path);
    if (const auto number = node == nullptr ? std::nullopt : node->AsInt(); number && *number > 0 && *number < 4096)
      *size = static_cast<int>(*number);
  }
  script.convert.to = "nemo";
  return script;
}

int RunMerge(const Config& config, const std::string& hint) {
  const Result<Script> script = MergeScript(config);
  if (!script.ok()) return Report(script.status().Hint(hint));
  Note("dtypes are kept; NeMo's script would convert to trainer.precision");
  Note("alpha / rank is applied, as in training; NeMo's script leaves it out");
  return RunScript(script->source, script->convert, script->plan);
}

}  // namespace

std::function<int()> DeclareClipInfer(CLI::App& app) {
  return DeclareHydra(app, "Hydra's: model.restore_from_path=x.nemo image_path=a.jpg texts='[\"a dog\", …]'",
                      "megatron_clip_infer", kInferConfig, RunInference<InferFromConfig>);
}

std::function<int()> DeclareZeroShot(CLI::App& app) {
  return DeclareHydra(app,
                      "Hydra's: model.restore_from_path=x.nemo model.data.imagenet_val=DIR; for another data set also "
                      "model.data.labels=FILE model.data.templates=FILE",
                      "megatron_clip_imagenet_zeroshot", kZeroShotConfig, RunInference<ZeroShotFromConfig>);
}

std::function<int()> DeclareMergeLora(CLI::App& app) {
  return DeclareHydra(app, "Hydra's: gpt_model_file=base.nemo lora_model_path=lora.nemo merged_model_path=out.nemo",
                      "merge_lora_weights", kMergeConfig, RunMerge);
}

}  // namespace anemone::cli
