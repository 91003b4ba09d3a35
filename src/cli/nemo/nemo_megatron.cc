#include "cli/nemo/nemo_megatron.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/nemo/nemo_script.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

// ---- Megatron-Bridge's convert_checkpoints.py and convert.sh ----

struct Bridge : Script {
  std::string model, dtype, export_dtype, revision, executor = "local", unused;
  std::vector<std::string> all_unused;
  int tp = 1;
  bool is_lenient = false, flag = false;
};

Status TakeDType(Bridge& script) {
  const bool is_cast = !script.export_dtype.empty();  // of what is written, behind what the model is read in
  const std::string dtype = is_cast ? script.export_dtype : script.dtype;
  if (dtype.empty()) return {};
  constexpr std::pair<std::string_view, DType> kDTypes[] = {
      {"float32", DType::kF32}, {"float16", DType::kF16}, {"bfloat16", DType::kBF16}};
  const auto* found = std::ranges::find(kDTypes, dtype, [](const auto& row) { return row.first; });
  if (found == std::end(kDTypes)) {
    return InvalidArgument(fmt::format("--{} {}: expected float32, float16 or bfloat16",
                                       is_cast ? "export-weight-dtype" : "torch-dtype", dtype));
  }
  script.convert.dtype = found->second;
  return {};
}

Status TakeBridgeFlags(Bridge& script) {
  if (script.executor != "local") {
    return Unsupported(fmt::format("--executor {}: expected local: no job is submitted", script.executor),
                       "run this command in the job, without --executor");
  }
  return TakeDType(script);
}

// How Megatron-Bridge's launcher runs a conversion, which changes nothing of what is written.
void DeclareLaunching(CLI::App& app, Bridge& script) {
  app.add_option("--executor", script.executor, "local");
  app.add_option("--hf-revision", script.revision, "The revision of a hub's model");
  app.add_flag("--overwrite", script.plan.force, "Replace the destination, as --force");
  app.add_flag("--dry-run,--submission-dry-run", script.plan.plan_only, "Write nothing, as --plan");
  for (const char* name :
       {"--device", "--nodes", "--gpus-per-node,--gpus_per_node", "--mem", "--account", "--partition", "--time",
        "--gres", "--container-image", "--experiment-name", "--distributed-timeout-minutes"})
    app.add_option(name, script.unused, "Accepted, without effect: one process does the work");
  for (const char* name : {"--mount", "--env", "--srun-arg"})
    app.add_option(name, script.all_unused, "Accepted, without effect: one process does the work");
  for (const char* name : {"--exclusive", "--no-gpu-resource-request", "--detach"})
    app.add_flag(name, script.flag, "Accepted, without effect: one process does the work");
  app.add_option("--pp,--pipeline-parallel-size", script.unused, "Accepted: what is written loads at any");
  app.add_option("--ep,--expert-parallel-size", script.unused, "Accepted: what is written loads at any");
  app.add_option("--etp,--expert-tensor-parallel-size", script.unused, "Accepted: what is written loads at any");
}

// A hub's model at its revision.
std::string AtRevision(const std::string& model, const std::string& revision) {
  std::error_code error;
  return revision.empty() || fs::exists(model, error) ? model : fmt::format("{}@{}", model, revision);
}

int RunBridgeExport(Bridge& script) {
  std::error_code error;
  if (fs::is_directory(script.model, error)) {
    script.convert.tokenizer = script.model;
  } else if (!script.model.empty()) {
    Note(
        fmt::format("--hf-model {}: is not looked at, as the checkpoint says what it is; a folder's tokenizer is taken",
                    script.model));
  }
  script.convert.strict = !script.is_lenient;
  script.convert.to = "hf";
  return RunScript(script.source, script.convert, script.plan);
}

// ---- Megatron-LM's tools/checkpoint/convert.py ----

struct Tool : Script {
  std::string model, loader = "megatron", saver = "megatron", type = "hf", transformer, unused;
  int tp = 0, pp = 0, ep = 1;
  bool bf16 = false, fp16 = false, flag = false;
};

bool IsOneOf(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

Status TakeToolFlags(Tool& script) {
  if (script.model != "GPT")
    return Unsupported(fmt::format("--model-type {}: expected GPT, the one that is written", script.model));
  if (!IsOneOf(script.loader, {"megatron", "mcore", "core", "legacy", "llama_mistral", "mixtral_hf"}))
    return Unsupported(fmt::format("--loader {}: expected core, legacy, llama_mistral or mixtral_hf", script.loader));
  if (!IsOneOf(script.saver, {"megatron", "mcore", "core"}))
    return Unsupported(fmt::format("--saver {}: expected core: legacy models are read only", script.saver));
  if (script.type != "hf")
    return Unsupported(fmt::format("--checkpoint-type {}: expected hf", script.type),
                       "Meta's own files: convert the published Hugging Face folder");
  if (script.bf16 && script.fp16) return InvalidArgument("expected --bf16 or --fp16, found both");
  if (script.bf16) script.convert.dtype = DType::kBF16;
  if (script.fp16) script.convert.dtype = DType::kF16;
  if (script.tp > 0) script.convert.tp = script.tp;
  if (script.pp > 1 || script.ep > 1)
    Note("a distributed checkpoint is written, which loads at any pipeline and expert parallel size");
  if (script.transformer == "local") script.convert.set.emplace_back("transformer_engine", "false");
  script.convert.to = "megatron";
  return {};
}

}  // namespace

std::function<int()> DeclareBridgeImport(CLI::App& app) {
  auto script = std::make_shared<Bridge>();
  script->convert.to = "megatron-bridge";
  app.add_option("--hf-model", script->source, "A Hugging Face model: folder or hub id")->required();
  DeclareWriting(app, script->plan, "--megatron-path", /*required=*/true, "The folder to write");
  app.add_option("--torch-dtype", script->dtype,
                 "Convert to float32, float16 or bfloat16 (default: the model's own is kept)");
  app.add_option("--device-map", script->unused, "Accepted, without effect: no device is used");
  app.add_flag("--trust-remote-code", script->flag, "Accepted, without effect: no code is run");
  app.add_flag("--low-memory-save", script->flag, "Accepted, without effect: no more memory is used than with it");
  app.add_option("--tp,--tensor-parallel-size", script->tp, "Tensor ranks to cut for; what is written loads at any");
  DeclareLaunching(app, *script);
  return [script] {
    if (const Status status = TakeBridgeFlags(*script); !status.ok()) return Report(status);
    if (script->tp > 1) script->convert.tp = script->tp;
    return RunScript(AtRevision(script->source, script->revision), script->convert, script->plan);
  };
}

std::function<int()> DeclareBridgeExport(CLI::App& app) {
  auto script = std::make_shared<Bridge>();
  app.add_option(
      "--hf-model", script->model,
      "A Hugging Face folder whose tokenizer to take (default here: the checkpoint's own); its config is not "
      "needed");
  app.add_option("--megatron-path", script->source, "A folder of Megatron-Bridge or Megatron-LM")->required();
  DeclareWriting(app, script->plan, "--hf-path", /*required=*/true, "The Hugging Face folder to write");
  app.add_flag("--not-strict", script->is_lenient, "Missing and unexpected names are no errors, as with --no-strict");
  app.add_flag("--no-progress", script->flag, "Accepted, without effect");
  app.add_option("--torch-dtype", script->dtype,
                 "Convert to float32, float16 or bfloat16 (default: the checkpoint's own is kept)");
  app.add_option("--export-weight-dtype", script->export_dtype, "The same, of the weights that are written");
  app.add_option("--tp,--tensor-parallel-size", script->unused, "Accepted, without effect: all ranks are read");
  app.add_option("--save-every-n-ranks", script->unused, "Accepted, without effect: one process writes");
  for (const char* name : {"--distributed-save", "--no-distributed-save", "--trust-remote-code"})
    app.add_flag(name, script->flag, "Accepted, without effect: one process writes, and no code is run");
  DeclareLaunching(app, *script);
  return [script] {
    if (const Status status = TakeBridgeFlags(*script); !status.ok()) return Report(status);
    return RunBridgeExport(*script);
  };
}

std::function<int()> DeclareBridgeRoundtrip(CLI::App& app) {
  auto script = std::make_shared<Bridge>();
  app.add_option("--hf-model,--hf-model-id", script->model, "A Hugging Face model: folder or hub id");
  app.add_option("--tp,--tensor-parallel-size", script->unused, "Accepted, without effect");
  app.add_flag("--trust-remote-code", script->flag, "Accepted, without effect: no code is run");
  DeclareLaunching(app, *script);
  return [script] {
    return Report(Unsupported("roundtrip: expected import or export",
                              "import, export, and compare by `anemone diff MODEL OUT`: it tells each tensor that "
                              "differs"));
  };
}

std::function<int()> DeclareMegatronTool(CLI::App& app) {
  auto script = std::make_shared<Tool>();
  app.add_option("--model-type", script->model, "GPT")->required();
  app.add_option("--loader", script->loader, "core, legacy: Megatron-LM; llama_mistral, mixtral_hf: Hugging Face");
  app.add_option("--saver", script->saver, "core");
  app.add_option("--load-dir", script->source, "What to read: the content tells what it is")->required();
  DeclareWriting(app, script->plan, "--save-dir", /*required=*/true, "The folder to write");
  app.add_option("--checkpoint-type", script->type, "hf");
  app.add_option("--target-tensor-parallel-size", script->tp, "Tensor ranks to cut for (default: the source's)");
  app.add_option("--target-pipeline-parallel-size", script->pp, "Accepted: what is written loads at any");
  app.add_option("--target-expert-parallel-size", script->ep, "Accepted: what is written loads at any");
  app.add_option("--saver-transformer-impl", script->transformer, "transformer_engine (default) or local");
  app.add_option("--tokenizer-model", script->unused, "Accepted, without effect: the model's own files are taken");
  app.add_flag("--bf16", script->bf16, "Convert to bfloat16 (default: the model's own is kept)");
  app.add_flag("--fp16", script->fp16, "Convert to float16");
  for (const char* name :
       {"--model-size", "--megatron-path", "--loader-transformer-impl", "--max-queue-size", "--true-vocab-size",
        "--vocab-file", "--make-vocab-size-divisible-by", "--position-embedding-type"})
    app.add_option(name, script->unused, "Accepted, without effect: the checkpoint says it");
  app.add_flag("--no-checking", script->flag, "Accepted, without effect: names and shapes are checked");
  return [script] {
    if (const Status status = TakeToolFlags(*script); !status.ok()) return Report(status);
    return RunScript(script->source, script->convert, script->plan);
  };
}

}  // namespace anemone::cli
