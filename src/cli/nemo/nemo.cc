// nemo SCRIPT …: NeMo v2.0.0's own commands with NeMo's own flags [NVIDIA/NeMo v2.0.0: scripts/checkpoint_converters,
// examples/multimodal, examples/nlp/language_modeling/megatron_change_num_partitions.py].
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>

#include "anemone/convert.h"
#include "anemone/model.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/declare.h"
#include "cli/describe.h"
#include "cli/infer.h"
#include "cli/nemo/nemo_language.h"
#include "cli/nemo/nemo_megatron.h"
#include "cli/nemo/nemo_script.h"
#include "config/hydra.h"
#include "source/text_file.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

// Of --version: a model of transformers.
constexpr const char* kTransformers = "huggingface";

// Flags of NeMo's scripts that say how many processes run them. One process does all ranks' work here.
void DeclareLauncherFlags(CLI::App& app) {
  for (const char* name :
       {"--gpus_per_node", "--num_gpu_per_node", "--local_rank,--local-rank", "--pipeline_model_parallel_split_rank"}) {
    app.add_option_function<std::string>(
        name, [](const std::string&) {}, "Accepted for compatibility; ignored: one process does all ranks' work");
  }
  app.add_flag_function(
      "--bcp", [](int64_t) {}, "Accepted for compatibility; ignored");
}

void DeclareLayout(CLI::App& app, ConvertOptions& convert) {
  app.add_option("--tensor_model_parallel_size", convert.tp, "Tensor-parallel size of the result");
  app.add_option("--pipeline_model_parallel_size", convert.pp, "Pipeline-parallel size of the result");
}

std::function<int()> DeclareClipHf(CLI::App& app) {
  auto script = std::make_shared<Script>();
  script->source = "openai/clip-vit-base-patch32";
  script->convert.to = "nemo";
  script->convert.dialect = "mcore";
  app.add_option("--input_name_or_path", script->source, "A Hugging Face CLIP: directory or hub id");
  app.add_option("--hparams_file", script->convert.hparams, "NeMo's YAML (default here: derived from config.json)");
  DeclareWriting(app, script->plan, "--output_path");
  DeclareLayout(app, script->convert);
  DeclareLauncherFlags(app);
  return [script] { return RunScript(script->source, script->convert, script->plan); };
}

// OpenCLIP's pretrained tags whose weights lie on the hub as models that say their own configuration
// [open_clip src/open_clip/pretrained.py]. OpenAI's are taken from OpenAI's own repositories.
struct PretrainedTag {
  std::string_view arch, tag, repository;
};
constexpr PretrainedTag kPretrainedTags[] = {
    {"ViT-B-32", "openai", "openai/clip-vit-base-patch32"},
    {"ViT-B-16", "openai", "openai/clip-vit-base-patch16"},
    {"ViT-L-14", "openai", "openai/clip-vit-large-patch14"},
    {"ViT-L-14-336", "openai", "openai/clip-vit-large-patch14-336"},
    {"ViT-B-32", "laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"},
    {"ViT-B-32", "datacomp_xl_s13b_b90k", "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"},
    {"ViT-B-16", "laion2b_s34b_b88k", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"},
    {"ViT-B-16", "datacomp_xl_s13b_b90k", "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K"},
    {"ViT-L-14", "laion2b_s32b_b82k", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"},
    {"ViT-L-14", "datacomp_xl_s13b_b90k", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"},
    {"ViT-H-14", "laion2b_s32b_b79k", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"},
    {"ViT-g-14", "laion2b_s12b_b42k", "laion/CLIP-ViT-g-14-laion2B-s12B-b42K"},
    {"ViT-g-14", "laion2b_s34b_b88k", "laion/CLIP-ViT-g-14-laion2B-s34B-b88K"},
    {"ViT-bigG-14", "laion2b_s39b_b160k", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"},
};

std::string RepositoryOf(std::string arch, std::string_view tag) {
  std::replace(arch.begin(), arch.end(), '/', '-');
  if (constexpr std::string_view kQuick = "-quickgelu"; tag == "openai" && arch.ends_with(kQuick)) {
    arch.resize(arch.size() - kQuick.size());
  }
  for (const PretrainedTag& known : kPretrainedTags) {
    if (known.arch == arch && known.tag == tag) return std::string(known.repository);
  }
  return {};
}

std::function<int()> DeclareExternalClip(CLI::App& app) {
  struct External : Script {
    std::string version = kTransformers;
  };
  auto script = std::make_shared<External>();
  script->source = "openai/clip-vit-base-patch32";
  script->convert.to = "nemo";
  script->convert.dialect = "legacy";
  app.add_option("--arch", script->source,
                 "With --version=huggingface a directory or hub id, else an OpenCLIP architecture");
  app.add_option("--version", script->version,
                 "huggingface, the path of an OpenCLIP checkpoint, or OpenCLIP's pretrained tag");
  app.add_option("--hparams_file", script->convert.hparams, "NeMo's YAML (default here: derived from the source)");
  DeclareWriting(app, script->plan, "--nemo_file_path");
  DeclareLayout(app, script->convert);
  DeclareLauncherFlags(app);
  return [script] {
    std::string source = script->source;
    if (script->version != kTransformers) {
      std::error_code error;
      if (fs::exists(script->version, error)) {
        source = script->version;
        script->convert.preset = script->source;
      } else if (source = RepositoryOf(script->source, script->version); source.empty()) {
        return Report(InvalidArgument(
            fmt::format("--arch {} --version {}: expected huggingface, the path of an OpenCLIP checkpoint or one of "
                        "OpenCLIP's tags",
                        script->source, script->version),
            "a model of the hub: anemone convert laion/CLIP-ViT-… out.nemo --dialect legacy"));
      }
    }
    return RunScript(source, script->convert, script->plan);
  };
}

std::function<int()> DeclareSiglipHf(CLI::App& app) {
  struct Siglip : Script {
    std::string precision = "bf16";
    std::string tokenizer;
  };
  auto script = std::make_shared<Siglip>();
  script->convert.to = "nemo";
  script->convert.dialect = "mcore";
  app.add_option("--input_name_or_path", script->source, "A Hugging Face SigLIP: directory or hub id")->required();
  app.add_option("--tokenizer_path", script->tokenizer, "A SentencePiece model to store as tokenizer.model");
  app.add_option("--hparams_file", script->convert.hparams, "NeMo's YAML (default here: derived from config.json)");
  OneOf(app.add_option("--precision", script->precision, "Precision to write (NeMo's default: bf16)"), {"bf16", "32"});
  DeclareWriting(app, script->plan, "--output_path");
  DeclareLauncherFlags(app);
  return [script] {
    script->convert.dtype = PrecisionDType(script->precision);
    if (!script->tokenizer.empty()) script->convert.artifacts = {{"tokenizer.model", script->tokenizer}};
    return RunScript(script->source, script->convert, script->plan);
  };
}

std::function<int()> DeclareCkpt(CLI::App& app) {
  struct Ckpt : Script {
    std::string folder;
    std::string name;
  };
  auto script = std::make_shared<Ckpt>();
  script->convert.to = "nemo";
  app.add_option("--checkpoint_folder", script->folder, "Where the training saved its checkpoints")->required();
  app.add_option("--checkpoint_name", script->name, "Which of them; ranks' folders are found by themselves")
      ->required();
  app.add_option("--hparams_file", script->convert.hparams, "hparams.yaml (default here: the checkpoint's own)");
  app.add_option("--model_type", script->convert.model_class,
                 "megatron_clip, stable_diffusion, controlnet …, for a config that names no target");
  DeclareWriting(app, script->plan, "--nemo_file_path");
  DeclareLayout(app, script->convert);
  DeclareLauncherFlags(app);
  return
      [script] { return RunScript((fs::path(script->folder) / script->name).string(), script->convert, script->plan); };
}

// What NeMo's scripts for language models share: where the training's checkpoint lies and how it was laid out.
struct Megatron : Script {
  std::string folder, name, model_type, unused;
  bool flag = false;
};

void DeclareMegatron(CLI::App& app, Megatron& script, const std::string& destination) {
  app.add_option("--checkpoint_folder", script.folder, "Where the training saved its checkpoints")->required();
  app.add_option("--checkpoint_name", script.name, "Which of them: a .ckpt, ranks' folders or a distributed checkpoint")
      ->required();
  app.add_option("--hparams_file", script.convert.hparams, "hparams.yaml (default here: the checkpoint's own)");
  app.add_option("--model_type", script.model_type, "gpt, sft, t5 …, for a config that names no target");
  app.add_option("--precision", script.unused, "Accepted for compatibility; ignored: dtypes are kept");
  app.add_option("--cluster_type", script.unused, "Accepted for compatibility; ignored");
  DeclareWriting(app, script.plan, destination);
  DeclareLayout(app, script.convert);
  DeclareLauncherFlags(app);
}

int RunMegatron(Megatron& script) {
  const std::string source = (fs::path(script.folder) / script.name).string();
  std::error_code error;
  if (fs::exists(fs::path(source) / "metadata.json", error)) {
    // A distributed checkpoint stays one inside the .nemo: its layout is only what the config says.
    for (auto& [size, key] : {std::pair{&script.convert.tp, "tensor_model_parallel_size"},
                              std::pair{&script.convert.pp, "pipeline_model_parallel_size"}}) {
      if (*size) script.convert.set.emplace_back(key, std::to_string(**size));
      size->reset();
    }
  }
  // NeMo's script forces this one, because trainings often say MegatronGPTModel.
  if (script.model_type == "sft") {
    script.convert.set.emplace_back("target", std::string(FindModelClassByName("sft")->target));
  } else {
    script.convert.model_class = script.model_type;
  }
  return RunScript(source, script.convert, script.plan);
}

std::function<int()> DeclareMegatronCkpt(CLI::App& app) {
  auto script = std::make_shared<Megatron>();
  DeclareMegatron(app, *script, "--nemo_file_path");
  app.add_flag("--no_pack_nemo_file", script->flag, "Write a folder instead of an archive");
  app.add_flag_function(
      "--convert_mlm", [](int64_t) {}, "Accepted, without effect: Megatron-LM's checkpoints are told by their content");
  return [script] {
    script->convert.to = script->flag ? "nemo-dir" : "nemo";
    return RunMegatron(*script);
  };
}

std::function<int()> DeclareZarrToTorchDist(CLI::App& app) {
  auto script = std::make_shared<Megatron>();
  DeclareMegatron(app, *script, "--path_to_save");
  app.add_flag("--save_to_nemo", script->flag, "Write an archive instead of a folder");
  OneOf(app.add_option("--ckpt_format", script->unused, "torch_dist: the one format that is written"), {"torch_dist"});
  return [script] {
    script->convert.to = script->flag ? "nemo" : "nemo-dir";
    script->convert.set.emplace_back("torch_distributed_checkpoint", "true");  // as NeMo's script does
    return RunMegatron(*script);
  };
}

std::function<int()> DeclareNemo1ToNemo2(CLI::App& app) {
  struct Nemo2 : Script {
    std::string tokenizer, library = "sentencepiece", vocab_file, model_name;
  };
  auto script = std::make_shared<Nemo2>();
  script->convert.to = "nemo2";
  app.add_option("--input_path", script->source, "A .nemo, or model_weights/ of an unpacked one")->required();
  app.add_option("--model_id", script->convert.nemo2_model, "meta-llama/Llama-2-7b-hf, nemotron4-15b …")->required();
  app.add_option("--tokenizer_path", script->tokenizer, "A tokenizer's file to store with the model");
  app.add_option("--tokenizer_library", script->library, "sentencepiece (default) or huggingface");
  app.add_option("--tokenizer_vocab_file", script->vocab_file, "A tokenizer's vocabulary to store with the model");
  app.add_option("--tokenizer_model_name", script->model_name, "The tokenizer that the vocabulary is of");
  DeclareWriting(app, script->plan, "--output_path");
  return [script] {
    std::error_code error;
    fs::path source = fs::path(script->source).lexically_normal();
    if (!source.has_filename()) source = source.parent_path();
    if (source.filename() == "model_weights" && fs::exists(source.parent_path() / "model_config.yaml", error))
      source = source.parent_path().empty() ? fs::path(".") : source.parent_path();
    if (!script->tokenizer.empty()) {
      script->convert.artifacts = {{"tokenizer.model", script->tokenizer}};
      script->convert.set.emplace_back("tokenizer.library", script->library);
    }
    if (!script->vocab_file.empty()) {
      script->convert.artifacts.emplace_back("tokenizer.vocab_file", script->vocab_file);
      script->convert.set.emplace_back("tokenizer.library", script->library);
      if (!script->model_name.empty()) script->convert.set.emplace_back("tokenizer.type", script->model_name);
    }
    Note("dtypes are kept; NeMo's script would store bfloat16 (anemone convert --to nemo2 --dtype bf16)");
    return RunScript(source.string(), script->convert, script->plan);
  };
}

std::function<int()> DeclarePartitions(CLI::App& app) {
  struct Partitions : Script {
    std::string extracted;
    std::string checkpoint;
    std::string precision;
    std::string tokenizer, vocab_file;
    int split_rank = 0;
    std::string unused;
    bool flag = false;
  };
  auto script = std::make_shared<Partitions>();
  script->convert.to = "nemo";
  app.add_option("--model_file", script->source, "The source .nemo");
  app.add_option("--model_extracted_dir", script->extracted, "The source, already unpacked");
  app.add_option("--ckpt_name", script->checkpoint,
                 "A training checkpoint in --model_extracted_dir, for virtual pipelines");
  app.add_option("--hparams_file", script->convert.hparams, "hparams.yaml of the training");
  app.add_option("--target_tensor_model_parallel_size", script->convert.tp, "Tensor-parallel size of the result")
      ->required();
  app.add_option("--target_pipeline_model_parallel_size", script->convert.pp, "Pipeline-parallel size of the result")
      ->required();
  app.add_option("--virtual_pipeline_model_parallel_size", script->unused,
                 "Accepted for compatibility; ignored: read from the source");
  app.add_option("--tensor_model_parallel_size", script->unused,
                 "Accepted for compatibility; ignored: read from the source");
  app.add_option("--pipeline_model_parallel_size", script->unused,
                 "Accepted for compatibility; ignored: read from the source");
  app.add_option("--target_pipeline_model_parallel_split_rank", script->split_rank,
                 "How many stages the encoder of an encoder-decoder takes (default: as the config says)");
  app.add_option("--model_class", script->unused, "Accepted for compatibility; ignored: the content tells the model");
  app.add_option("--precision", script->precision,
                 "Convert to this precision (NeMo's default is 16; here the file's own is kept)");
  app.add_option("--tokenizer_model_path", script->tokenizer, "Store this file as tokenizer.model");
  app.add_option("--tokenizer_vocab_file", script->vocab_file, "Store this file as tokenizer.vocab_file");
  app.add_flag("--megatron_legacy,--tp_conversion_only", script->flag, "Accepted for compatibility; ignored");
  DeclareWriting(app, script->plan, "--target_file");
  DeclareLauncherFlags(app);
  return [script] {
    std::string source = script->extracted.empty() ? script->source : script->extracted;
    if (source.empty()) return Report(InvalidArgument("expected --model_file or --model_extracted_dir"));
    if (!script->checkpoint.empty()) source = (fs::path(source) / script->checkpoint).string();
    if (!script->precision.empty()) {
      script->convert.dtype = PrecisionDType(script->precision);
      if (!script->convert.dtype)
        return Report(InvalidArgument(fmt::format("--precision {}: expected 32, 16 or bf16", script->precision)));
    } else {
      Note("dtypes are kept; NeMo's script would convert to fp16 (--precision 16 asks for that)");
    }
    if (script->split_rank > 0) script->convert.split_rank = script->split_rank;
    for (const auto& [key, file] :
         {std::pair{"tokenizer.model", &script->tokenizer}, {"tokenizer.vocab_file", &script->vocab_file}}) {
      if (!file->empty()) script->convert.artifacts.emplace_back(key, *file);
    }
    return RunScript(source, script->convert, script->plan);
  };
}

// The YAML that NeMo's megatron_clip_infer.py is configured by, as far as it says anything here.
constexpr std::string_view kInferConfig =
    "image_path: ???\ntexts: ???\ntrainer: {devices: 1, num_nodes: 1, accelerator: gpu, logger: false, precision: 32}\n"
    "model: {restore_from_path: null, precision: '${trainer.precision}'}\n";

// What Hydra is told: its own flags, and overrides.
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
  return [words, yaml, run, script = std::string(name), hint = fmt::format("see: anemone nemo {} --help", name)] {
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

std::function<int()> DeclareMergeLora(CLI::App& app) {
  return DeclareHydra(app, "Hydra's: gpt_model_file=base.nemo lora_model_path=lora.nemo merged_model_path=out.nemo",
                      "merge_lora_weights", kMergeConfig, RunMerge);
}

std::function<int()> DeclareT5Hf(CLI::App& app) {
  struct T5 : Script {
    std::string unused;
  };
  auto script = std::make_shared<T5>();
  script->convert.to = "nemo";
  app.add_option("--hf_model_name", script->source, "A Hugging Face T5 v1.1: folder or hub id")->required();
  app.add_option("--nemo_state_dict_path", script->unused, "Accepted, without effect: nothing is stored on the way");
  app.add_option("--base_yaml_config", script->unused, "Accepted, without effect: derived from config.json");
  app.add_flag_function(
      "--megatron_amp_O2", [](int64_t) {}, "Accepted, without effect: names are those that NeMo stores");
  DeclareWriting(app, script->plan, "--nemo_file_path");
  return [script] { return RunScript(script->source, script->convert, script->plan); };
}

struct NemoScript {
  const char* name;
  const char* summary;
  std::function<int()> (*declare)(CLI::App& app);
};
constexpr NemoScript kScripts[] = {
    {"convert_clip_hf_to_nemo", "Hugging Face CLIP → .nemo (Megatron-core)", DeclareClipHf},
    {"convert_external_clip_to_nemo", "Hugging Face or OpenCLIP → .nemo (legacy)", DeclareExternalClip},
    {"convert_siglip_hf_to_nemo", "Hugging Face SigLIP → .nemo", DeclareSiglipHf},
    {"convert_ckpt_to_nemo", "A training's .ckpt → .nemo", DeclareCkpt},
    {"megatron_ckpt_to_nemo", "A language model's training checkpoint → .nemo", DeclareMegatronCkpt},
    {"convert_zarr_to_torch_dist", "A zarr checkpoint → .nemo with torch_dist inside", DeclareZarrToTorchDist},
    {"convert_nemo1_to_nemo2", "A GPT's .nemo → a NeMo 2 folder", DeclareNemo1ToNemo2},
    {"hf_t5-v1_1_to_nemo", "Hugging Face T5 v1.1 → .nemo", DeclareT5Hf},
    {"merge", "merge_lora_weights/merge.py: a LoRA's .nemo merged into its base, with Hydra's overrides",
     DeclareMergeLora},
    {"megatron_change_num_partitions", "Another tensor and pipeline layout", DeclarePartitions},
    {"megatron_clip_infer", "CLIP inference, with Hydra's overrides", DeclareClipInfer},
    {"megatron_clip_imagenet_zeroshot", "Zero-shot accuracy on ImageNet's validation folder", DeclareZeroShot},
};

}  // namespace

std::string_view WhyNoNemoScript(std::string_view name) {
  constexpr std::string_view kOriginals =
      "Google's own files of Gemma are not read; convert_gemma_hf_to_nemo takes the same weights as a Hugging Face "
      "folder";
  constexpr std::string_view kNoGriffin = "Griffin is not supported: no layer of its family is known";
  constexpr std::string_view kInOneStep = "convert_llama_hf_to_nemo does both steps at once, without loading the model";
  constexpr std::string_view kLora = "anemone convert LORA OUT --to peft, or OUT.nemo --base MODEL, converts LoRAs";
  constexpr std::pair<std::string_view, std::string_view> kOthers[] = {
      {"convert_gemma_jax_to_nemo", kOriginals},
      {"convert_gemma_pyt_to_nemo", kOriginals},
      {"convert_griffin_hf_to_nemo", kNoGriffin},
      {"convert_griffin_nemo_to_hf", kNoGriffin},
      {"convert_hf_to_canonical", kLora},
      {"convert_nemo_to_canonical", kLora},
      {"convert_llama_hf_to_nemo_load", kInOneStep},
      {"convert_llama_hf_to_nemo_save_dict", kInOneStep},
      {"convert_mamba2_pyt_to_nemo", "Mamba is not supported: no layer of its family is known"},
      {"convert_stablediffusion_hf_to_nemo", "Stable Diffusion is not supported: its parts are known by name alone"}};
  const auto* other = std::ranges::find(kOthers, name, [](const auto& row) { return row.first; });
  return other == std::end(kOthers) ? std::string_view() : other->second;
}

std::vector<std::pair<std::string, std::string>> NemoScripts() {
  std::vector<std::pair<std::string, std::string>> scripts;
  for (const NemoScript& script : kScripts) scripts.emplace_back(script.name, script.summary);
  for (const LanguageScript& script : LanguageScripts()) scripts.emplace_back(script.name, SummaryOf(script));
  return scripts;
}

namespace {

// Flags of several letters behind one dash: Hydra's [hydra _internal/utils.py, get_args_parser] and Megatron-Bridge's
// [v0.6.0 scripts/conversion/arguments.py].
void SpellOutLetters(std::string& word) {
  for (const auto& [letters, name] : {std::pair{"-cp", "--config-path"},
                                      {"-cd", "--config-dir"},
                                      {"-cn", "--config-name"},
                                      {"-tp", "--tp"},
                                      {"-pp", "--pp"},
                                      {"-ep", "--ep"},
                                      {"-etp", "--etp"}}) {
    const std::string_view flag = letters;
    if (word.starts_with(flag) && (word.size() == flag.size() || word[flag.size()] == '=')) {
      word.replace(0, flag.size(), name);
    }
  }
}

}  // namespace

void SpellOutNemo(std::vector<std::string>& words) {
  const auto nemo = std::find(words.begin(), words.end(), "nemo");
  const auto script =
      std::find_if(nemo, words.end(), [](const std::string& word) { return word != "nemo" && !word.starts_with('-'); });
  if (script != words.end() && script->ends_with(".py")) *script = fs::path(*script).stem().string();
  // Megatron-Bridge's converter since 0.6; `convert` is Megatron-LM's.
  if (script != words.end() && fs::path(*script).filename() == "convert.sh") *script = "convert_checkpoints";
  for (auto word = nemo; word != words.end(); ++word) SpellOutLetters(*word);
}

std::function<int()> DeclareNemo(CLI::App& app) {
  auto chosen = std::make_shared<std::function<int()>>();
  app.require_subcommand(1);
  const auto add = [chosen](CLI::App& parent, const std::string& name, const std::string& summary, auto declare) {
    DeclareOnceNamed(*parent.add_subcommand(name, summary), [chosen, declare](CLI::App& sub) {
      sub.final_callback([chosen, run = std::function<int()>(declare(sub))] { *chosen = run; });
    });
  };
  for (const NemoScript& script : kScripts) add(app, script.name, script.summary, script.declare);
  for (const LanguageScript& script : LanguageScripts()) {
    add(app, std::string(script.name), SummaryOf(script),
        [&script](CLI::App& sub) { return DeclareLanguageScript(sub, script); });
  }
  CLI::App* llm = app.add_subcommand("llm", "NeMo 2's commands for language models");
  llm->require_subcommand(1);
  add(*llm, "import", "A Hugging Face model → a NeMo 2 folder", DeclareLlmImport);
  add(*llm, "export", "A NeMo 2 folder → a Hugging Face model", DeclareLlmExport);
  add(app, "convert", "Megatron-LM's tools/checkpoint/convert.py → a Megatron-LM folder", DeclareMegatronTool);
  CLI::App* bridge =
      app.add_subcommand("convert_checkpoints", "Megatron-Bridge's convert_checkpoints.py and convert.sh");
  bridge->require_subcommand(1);
  add(*bridge, "import", "A Hugging Face model → a Megatron-Bridge folder", DeclareBridgeImport);
  add(*bridge, "export", "A Megatron-Bridge or Megatron-LM folder → a Hugging Face model", DeclareBridgeExport);
  add(*bridge, "roundtrip", "Not here: says which commands check a conversion", DeclareBridgeRoundtrip);
  return [chosen] { return *chosen ? (*chosen)() : static_cast<int>(kUsage); };
}

}  // namespace anemone::cli
