// nemo SCRIPT …: NeMo v2.0.0's own commands with NeMo's own flags [NVIDIA/NeMo v2.0.0: scripts/checkpoint_converters,
// examples/nlp/language_modeling/megatron_change_num_partitions.py].
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>

#include "anemone/convert.h"
#include "anemone/model.h"
#include "base/tree.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/declare.h"
#include "cli/describe.h"
#include "cli/nemo/nemo_clip.h"
#include "cli/nemo/nemo_hydra.h"
#include "cli/nemo/nemo_language.h"
#include "cli/nemo/nemo_megatron.h"
#include "cli/nemo/nemo_script.h"
#include "source/text_file.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

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
  const Result<PathKind> distributed = KindOf((fs::path(source) / "metadata.json").string());
  if (!distributed.ok()) return Report(distributed.status());
  if (*distributed != PathKind::kNothing) {
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
  constexpr std::string_view kInOneStep = "convert_llama_hf_to_nemo does both steps at once, without loading the model";
  constexpr std::string_view kLora = "anemone convert LORA OUT --to peft, or OUT.nemo --base MODEL, converts LoRAs";
  constexpr std::pair<std::string_view, std::string_view> kOthers[] = {
      {"convert_gemma_jax_to_nemo", kOriginals},
      {"convert_gemma_pyt_to_nemo", kOriginals},
      {"convert_hf_to_canonical", kLora},
      {"convert_nemo_to_canonical", kLora},
      {"convert_llama_hf_to_nemo_load", kInOneStep},
      {"convert_llama_hf_to_nemo_save_dict", kInOneStep},
      {"convert_mamba2_pyt_to_nemo",
       "NeMo 1's Mamba is not written; anemone convert FOLDER OUT --to nemo2 makes NeMo 2's of state-spaces' "
       "pytorch_model.bin and config.json"},
      {"convert_stablediffusion_hf_to_nemo",
       "anemone convert FOLDER OUT.nemo converts all parts of a folder of diffusers at once"}};
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
