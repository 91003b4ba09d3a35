#include "cli/nemo/nemo_language.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/lower_case.h"
#include "cli/command.h"
#include "cli/nemo/nemo_script.h"
#include "engine/plan.h"
#include "family/tokenizer/tokenizer_files.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

using To = LanguageScript::To;

constexpr std::string_view kFolders = "--hf_input_path --hf_output_path --cpu-only";
constexpr std::string_view kFoldersAndTokenizers =
    "--hf_input_path --hf_output_path --input_tokenizer --hf_output_tokenizer --cpu-only";

constexpr LanguageScript kScripts[] = {
    {"convert_baichuan2_hf_to_nemo", "Baichuan 2", To::kNemo, "fp32", "--hparams_file"},
    {"convert_baichuan2_nemo_to_hf", "Baichuan 2", To::kTorch, "", kFolders},
    {"convert_bert_hf_to_nemo", "BERT", To::kNemo, "bf16", "--hparams_file --mcore --post_process"},
    {.name = "convert_bert_nemo_to_hf", .model = "BERT", .to = To::kFolder},
    {"convert_chatglm_hf_to_nemo", "ChatGLM", To::kNemo, "fp16", "--hparams_file"},
    {"convert_chatglm_nemo_to_hf", "ChatGLM", To::kTorch, "", kFolders},
    {"convert_falcon_hf_to_nemo", "Falcon", To::kNemo, "bf16", "--hparams_file --cuda"},
    {"convert_falcon_nemo_to_hf", "Falcon", To::kTorch, "", kFolders},
    {"convert_gemma_hf_to_nemo", "Gemma", To::kNemo, "bf16", "--tokenizer_path --hparams_file"},
    {"convert_gemma_nemo_to_hf", "Gemma", To::kTorch, "", kFoldersAndTokenizers},
    {"convert_gemma2_hf_to_nemo", "Gemma 2", To::kNemo, "bf16",
     "--tokenizer_path --hparams_file --run_verification --cpu"},
    {.name = "convert_gpt_nemo_to_mcore",
     .model = "GPT",
     .flags = "--cpu_only --overwrite --ignore_if_missing",
     .dialect = "mcore",
     .has_precision = false},
    {"convert_griffin_hf_to_nemo", "Griffin", To::kNemo, "fp32", "--hparams_file"},
    {.name = "convert_griffin_nemo_to_hf",
     .model = "Griffin",
     .to = To::kFolder,
     .dtype = "fp32",
     .flags = "--hparams_file",
     .source = "--input_path"},
    {"convert_llama_hf_to_nemo", "Llama", To::kNemo, "fp16", "--hparams_file --llama31"},
    {"convert_llama_nemo_to_hf", "Llama", To::kTorch, "", kFoldersAndTokenizers},
    {"convert_llava_hf_to_nemo", "LLaVA", To::kNemo, "bf16",
     "--tokenizer_path --conv_template --hparams_file --skip_verification"},
    {.name = "convert_llava_nemo_to_hf",
     .model = "LLaVA",
     .to = To::kTorch,
     .flags = "--hf_input_path --hf_output_path --skip_verification --cpu_only",
     .has_precision = false,
     .lacks_tower = true},
    {.name = "convert_llava_to_neva",
     .model = "LLaVA",
     .dtype = "fp32",
     .flags = "--conv-template --tokenizer-model --config-file --mm-projector-ckpt-dir --mm-vision-tower --model-type",
     .source = "--in-file",
     .destination = "--out-file"},
    {"convert_mistral_7b_hf_to_nemo", "Mistral", To::kNemo, "bf16", "--low-ram --tmp-dir --add-additional-tokens"},
    {"convert_mistral_7b_nemo_to_hf", "Mistral", To::kFolder, "bf16", "--hf_model_name"},
    {"convert_mixtral_hf_to_nemo", "Mixtral", To::kNemo, "bf16",
     "--low-ram --tmp-dir --tokenizer_type --tokenizer_path"},
    {"convert_mixtral_nemo_to_hf", "Mixtral", To::kFolder, "fp32", "--hf_model_name"},
    {.name = "convert_mpt_hf_to_nemo",
     .model = "MPT",
     .dtype = "bf16",
     .flags = "--hparams_file --cuda",
     .member = "megatron_mpt_7b_base_tp1_pp1.nemo",
     .has_precision = false},
    {"convert_nemotron_nemo_to_hf", "Nemotron", To::kTorch, "", kFolders},
    {"convert_qwen2_hf_to_nemo", "Qwen2", To::kNemo, "fp16", "--hparams_file"},
    {"convert_qwen2_nemo_to_hf", "Qwen2", To::kTorch, "", kFoldersAndTokenizers},
    {"convert_starcoder_hf_to_nemo", "StarCoder", To::kNemo, "bf16", "--hparams_file --cuda",
     "megatron_starcoder_tp1_pp1.nemo"},
    {"convert_starcoder2_hf_to_nemo", "StarCoder 2", To::kNemo, "fp32"},
    {"convert_starcoder2_nemo_to_hf", "StarCoder 2", To::kFolder, "fp32", "--hf_model_name --cpu-only"},
};

struct Language : Script {
  const LanguageScript* row = nullptr;
  std::string precision, folder, tokenizer_folder, conversation, tower_name, mcore = "True", unused;
  std::vector<std::string> ignored_missing;
  bool flag = false;
};

// A flag that several commands have: what it says, and where its value goes.
struct Flag {
  std::string_view name;
  std::string_view help;
  std::string* (*text)(Language&) = nullptr;  // null: accepted, and without effect
  bool* (*flag)(Language&) = nullptr;
  bool is_switch = false;
};
std::string* Tokenizer(Language& script) { return &script.convert.tokenizer; }
constexpr Flag kFlags[] = {
    {"--hparams_file", "NeMo's YAML (default here: derived from config.json)",
     [](Language& script) { return &script.convert.hparams; }},
    {"--tokenizer_path", "A SentencePiece model, or a folder with a tokenizer (default here: the model's own)",
     Tokenizer},
    {"--input_tokenizer", "A folder with a tokenizer (default here: the model's own)", Tokenizer},
    {"--hf_input_path", "A Hugging Face model whose tokenizer to take; its config is not needed", Tokenizer},
    {"--hf_model_name", "A Hugging Face model whose tokenizer to take (default here: the checkpoint's own)", Tokenizer},
    {"--hf_output_path", "The Hugging Face folder to write", [](Language& script) { return &script.folder; }},
    {"--hf_output_tokenizer", "A folder for another copy of the tokenizer",
     [](Language& script) { return &script.tokenizer_folder; }},
    {"--mcore", "True (default): Megatron-core's names; an empty word: the legacy ones",
     [](Language& script) { return &script.mcore; }},
    {.name = "--overwrite",
     .help = "Replace an existing file, as --force does",
     .flag = [](Language& script) { return &script.plan.force; },
     .is_switch = true},
    {"--llama31", "Accepted, without effect: config.json says how positions are scaled"},
    {"--post_process", "Accepted, without effect: pooler and head are converted where the model has them"},
    {"--tokenizer_type", "Accepted, without effect: the files tell"},
    {"--conv_template", "How a conversation is written (default: v1)",
     [](Language& script) { return &script.conversation; }},
    {"--conv-template", "How a conversation is written (default: v1; NeMo's default is llama_2)",
     [](Language& script) { return &script.conversation; }},
    {"--tokenizer-model", "A SentencePiece model (default here: the model's own tokenizer)", Tokenizer},
    {"--config-file", "NeMo's YAML (default here: derived from config.json)",
     [](Language& script) { return &script.convert.hparams; }},
    {"--mm-vision-tower", "The tower that NeMo is to build (default: mm_vision_tower of config.json)",
     [](Language& script) { return &script.tower_name; }},
    {"--mm-projector-ckpt-dir", "A folder with a projector that replaces the model's own",
     [](Language& script) { return &script.convert.tower; }},
    {"--model-type", "Accepted, without effect: config.json says which language model it is"},
    {"--tmp-dir", "Accepted, without effect: nothing is stored on the way"},
    {.name = "--add-additional-tokens",
     .help = "Accepted, without effect: the tokenizer's files are stored as they are",
     .is_switch = true},
    {.name = "--low-ram,--low-mem", .help = "Accepted, without effect: tensors are streamed", .is_switch = true},
    {.name = "--cuda", .help = "Accepted, without effect", .is_switch = true},
    {.name = "--cpu", .help = "Accepted, without effect", .is_switch = true},
    {.name = "--cpu-only", .help = "Accepted, without effect", .is_switch = true},
    {.name = "--cpu_only", .help = "Accepted, without effect", .is_switch = true},
    {.name = "--run_verification", .help = "Accepted, without effect: anemone diff compares", .is_switch = true},
    {.name = "--skip_verification", .help = "Accepted, without effect: anemone diff compares", .is_switch = true},
};

void DeclareFlag(CLI::App& app, Language& script, std::string_view name) {
  if (name == "--ignore_if_missing") {
    app.add_option(
           "--ignore_if_missing", script.ignored_missing,
           "Names that may be missing, between commas; more than NeMo's rotary_pos_emb.inv_freq mean --no-strict")
        ->delimiter(',');
    return;
  }
  const auto* flag = std::find_if(std::begin(kFlags), std::end(kFlags),
                                  [&](const Flag& row) { return row.name.substr(0, row.name.find(',')) == name; });
  const std::string help(flag->help);
  std::string names(flag->name);
  if (name == "--hf_model_name") names += ",--hf-model-name";
  if (flag->is_switch) {
    app.add_flag(names, flag->flag != nullptr ? *flag->flag(script) : script.flag, help);
  } else {
    app.add_option(names, flag->text != nullptr ? *flag->text(script) : script.unused, help);
  }
}

// The tokenizer's files of a Hugging Face folder that is planned, alone.
Plan TokenizerOf(const Plan& folder) {
  Plan plan = folder;
  std::erase_if(plan.files, [](const PlanFile& file) { return TokenizerFileName(file.path).empty(); });
  return plan;
}

Status TellDTypes(Language& script) {
  const LanguageScript& row = *script.row;
  if (!script.precision.empty()) {
    script.convert.dtype = PrecisionDType(script.precision);
    if (script.convert.dtype) return {};
    return InvalidArgument(fmt::format("--precision {}: expected 32, 16 or bf16", script.precision));
  }
  if (!row.dtype.empty()) {
    const std::string_view word = row.dtype == "bf16" ? row.dtype : row.dtype.substr(2);
    Note(fmt::format("dtypes are kept; NeMo's script would convert to {}{}", row.dtype,
                     row.has_precision ? fmt::format(" (--precision {} asks for that)", word) : ""));
  }
  return {};
}

// NeMo's exporters write weights in a torch file, and beside it a complete folder where they are told which.
int RunToHuggingFace(Language& script) {
  script.convert.hparams.clear();  // NeMo's script takes its trainer's settings from there
  if (script.plan.destination.empty() && script.folder.empty())
    return Report(InvalidArgument("expected --output_path or --hf_output_path"));
  if (!script.plan.destination.empty()) {
    ConvertOptions weights = script.convert;
    weights.to = script.row->to == To::kFolder ? "hf" : "pytorch";
    weights.dialect = "hf";
    if (const int exit = RunScript(script.source, weights, script.plan); exit != kDone) return exit;
  }
  if (script.folder.empty()) return kDone;
  script.convert.to = "hf";
  // NeMo's script takes from there what the .nemo lacks.
  if (script.row->lacks_tower) script.convert.tower = script.convert.tokenizer;
  PlanFlags plan = script.plan;
  plan.destination = script.folder;
  std::shared_ptr<const Plan> planned;
  const int exit = RunScript(script.source, script.convert, plan, [&](const Conversion& conversion) {
    planned = conversion.plan;
    return Status();
  });
  std::error_code error;
  if (exit != kDone || script.tokenizer_folder.empty() || fs::equivalent(script.tokenizer_folder, script.folder, error))
    return exit;
  plan.destination = script.tokenizer_folder;
  return plan.Run(TokenizerOf(*planned));
}

int RunLanguage(Language& script) {
  const LanguageScript& row = *script.row;
  if (const Status status = TellDTypes(script); !status.ok()) return Report(status);
  if (row.to != To::kNemo) return RunToHuggingFace(script);
  script.convert.to = "nemo";
  script.convert.dialect = row.dialect;
  if (script.mcore.empty() || script.mcore == "False" || script.mcore == "false") script.convert.dialect = "legacy";
  if (!script.conversation.empty()) {
    for (const char* key : {"data.conv_template", "mm_cfg.llm.model_type"})
      script.convert.set.emplace_back(key, script.conversation);
  }
  if (!script.tower_name.empty())
    script.convert.set.emplace_back("mm_cfg.vision_encoder.from_pretrained", script.tower_name);
  constexpr std::string_view kUsuallyMissing = "rotary_pos_emb.inv_freq";
  script.convert.strict = std::all_of(script.ignored_missing.begin(), script.ignored_missing.end(),
                                      [&](const std::string& name) { return name.empty() || name == kUsuallyMissing; });
  if (!row.member.empty()) script.plan.destination = (fs::path(script.plan.destination) / row.member).string();
  return RunScript(script.source, script.convert, script.plan);
}

// ---- nemo llm ----

// Words as NeMo-Run's command line takes them: KEY=VALUE.
struct Llm : Script {
  std::vector<std::string> words;
  std::string model;
  std::string path, target, overwrite;
  bool yes = false;
};

// How NeMo's names of models begin, and its classes.
struct ModelWord {
  std::string_view begins, model_class;
};
constexpr ModelWord kModelWords[] = {
    {"baichuan2", "Baichuan2"},  {"chatglm", "ChatGLM"},       {"code_llama", "Llama"},   {"codellama", "Llama"},
    {"gemma2", "Gemma2"},        {"gemma3", "Gemma3"},         {"gemma", "Gemma"},        {"gpt", "GPT"},
    {"llava_next", "LlavaNext"}, {"llavanext", "LlavaNext"},   {"llava", "Llava"},        {"llama", "Llama"},
    {"mistral", "Mistral"},      {"mixtral", "Mixtral"},       {"nemotron", "Nemotron"},  {"phi3", "Phi3"},
    {"qwen2", "Qwen2"},          {"starcoder2", "Starcoder2"}, {"starcoder", "Starcoder"}};

Result<std::string_view> ClassOfWord(const std::string& model) {
  const std::string lower = LowerCase(model.substr(model.rfind('.') == std::string::npos ? 0 : model.rfind('.') + 1));
  const auto* found = std::find_if(std::begin(kModelWords), std::end(kModelWords),
                                   [&](const ModelWord& word) { return lower.starts_with(word.begins); });
  if (found != std::end(kModelWords)) return found->model_class;
  std::vector<std::string_view> known;
  known.reserve(std::size(kModelWords));
  for (const ModelWord& word : kModelWords) known.push_back(word.begins);
  return InvalidArgument(fmt::format("model={}: expected one of NeMo's models", model),
                         fmt::format("known are names that begin with {}", fmt::join(known, ", ")));
}

void DeclareLlm(CLI::App& app, Llm& llm, const std::string& help) {
  app.add_option("WORDS", llm.words, help)->type_name("KEY=VALUE");
  app.add_flag("-y,--yes", llm.yes, "Accepted, without effect: nothing is asked");
  app.add_flag("--dryrun", llm.plan.plan_only, "As --plan");
  llm.plan.DeclareShared(app);
  llm.plan.DeclareResume(app);
}

// Sets what each word names. `keys`: all that there are.
Status ReadWords(const Llm& llm, const std::vector<std::pair<std::string_view, std::string*>>& keys) {
  std::vector<std::pair<std::string, std::string>> pairs;
  ANEMONE_TRY(SplitPairs(llm.words, pairs));
  for (const auto& [key, value] : pairs) {
    const auto found =
        std::find_if(keys.begin(), keys.end(), [&, name = key](const auto& row) { return row.first == name; });
    if (found != keys.end()) {
      *found->second = value;
      continue;
    }
    if (key == "executor" || key.starts_with("executor.")) continue;  // where NeMo-Run would run it
    std::vector<std::string_view> known;
    known.reserve(keys.size());
    for (const auto& row : keys) known.push_back(row.first);
    return InvalidArgument(fmt::format("expected KEY= of {}, found {}=", fmt::join(known, ", "), key));
  }
  return {};
}

Result<bool> Truth(const std::string& key, const std::string& word) {
  for (const char* yes : {"true", "True", "1"}) {
    if (word == yes) return true;
  }
  for (const char* no : {"", "false", "False", "0"}) {
    if (word == no) return false;
  }
  return InvalidArgument(fmt::format("{}={}: expected true or false", key, word));
}

// "hf://ORG/NAME", "hf:///folder".
std::string WithoutScheme(const std::string& source) {
  constexpr std::string_view kScheme = "hf://";
  return source.starts_with(kScheme) ? source.substr(kScheme.size()) : source;
}

// The folder in which NeMo stores an import without output_path [nemo/lightning/base.py, io/connector.py, local_path].
std::string NemoCache(const std::string& source) {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
  };
  fs::path models = variable("NEMO_MODELS_CACHE");
  if (models.empty()) {
    const fs::path home = variable("NEMO_HOME");
    models = (home.empty() ? fs::path(variable("HOME")) / ".cache" / "nemo" : home) / "models";
  }
  const fs::path path(source);
  return (models / (path.is_absolute() ? path.lexically_normal().filename() : path)).string();
}

int RunImport(Llm& llm) {
  const Status words = ReadWords(llm, {{"model", &llm.model},
                                       {"source", &llm.source},
                                       {"output_path", &llm.plan.destination},
                                       {"overwrite", &llm.overwrite}});
  if (!words.ok()) return Report(words);
  if (llm.source.empty()) return Report(InvalidArgument("expected source=hf://MODEL"));
  const Result<bool> overwrite = Truth("overwrite", llm.overwrite);
  if (!overwrite.ok()) return Report(overwrite.status());
  llm.plan.force = llm.plan.force || *overwrite;
  llm.source = WithoutScheme(llm.source);
  if (llm.plan.destination.empty()) llm.plan.destination = NemoCache(llm.source);
  std::string_view wanted;
  if (!llm.model.empty()) {
    const Result<std::string_view> model_class = ClassOfWord(llm.model);
    if (!model_class.ok()) return Report(model_class.status());
    wanted = *model_class;
  }
  llm.convert.to = "nemo2";
  return RunScript(llm.source, llm.convert, llm.plan, [&](const Conversion& conversion) -> Status {
    const ConfigNode* target = conversion.result.config ? conversion.result.config->Find("_target_") : nullptr;
    const std::string name = target == nullptr ? "" : target->AsString().value_or("");
    const std::string found = name.substr(name.rfind('.') == std::string::npos ? 0 : name.rfind('.') + 1);
    if (wanted.empty() || found.empty() || found == std::string(wanted) + "Model") return {};
    return InvalidArgument(
        fmt::format("model={}: expected a {}Model, found the weights of a {}", llm.model, wanted, found));
  });
}

int RunExport(Llm& llm) {
  const Status words = ReadWords(llm, {{"path", &llm.path},
                                       {"target", &llm.target},
                                       {"output_path", &llm.plan.destination},
                                       {"overwrite", &llm.overwrite}});
  if (!words.ok()) return Report(words);
  if (llm.path.empty()) return Report(InvalidArgument("expected path=FOLDER"));
  if (llm.target != "hf" && llm.target != "hf-peft")
    return Report(InvalidArgument(fmt::format("target={}: expected hf or hf-peft", llm.target)));
  const Result<bool> overwrite = Truth("overwrite", llm.overwrite);
  if (!overwrite.ok()) return Report(overwrite.status());
  llm.plan.force = llm.plan.force || *overwrite;
  if (llm.plan.destination.empty()) llm.plan.destination = (fs::path(llm.path) / llm.target).string();
  llm.convert.to = llm.target == "hf" ? "hf" : "peft";
  return RunScript(llm.path, llm.convert, llm.plan);
}

}  // namespace

std::span<const LanguageScript> LanguageScripts() { return kScripts; }

std::string SummaryOf(const LanguageScript& script) {
  if (!script.dialect.empty()) return fmt::format("A legacy {}'s .nemo → Megatron-core's names", script.model);
  if (script.to == To::kNemo) return fmt::format("Hugging Face {} → .nemo", script.model);
  return fmt::format("A {}'s .nemo → Hugging Face", script.model);
}

std::function<int()> DeclareLanguageScript(CLI::App& app, const LanguageScript& row) {
  auto script = std::make_shared<Language>();
  script->row = &row;
  const bool is_hf = row.to == To::kNemo && row.dialect.empty();
  app.add_option(std::string(row.source), script->source,
                 is_hf ? "A Hugging Face model: folder or hub id" : "A .nemo, or a folder of an unpacked one")
      ->required();
  const std::string help = !row.member.empty()     ? fmt::format("The folder for {}", row.member)
                           : row.to == To::kNemo   ? "The .nemo to write"
                           : row.to == To::kFolder ? "The Hugging Face folder to write"
                                                   : "The torch file to write: the weights alone";
  DeclareWriting(app, script->plan, std::string(row.destination), /*required=*/row.to != To::kTorch, help);
  if (row.has_precision) {
    app.add_option("--precision", script->precision,
                   row.dtype.empty()
                       ? std::string("Convert to this precision: 32, 16 or bf16 (default: the file's own is kept)")
                       : fmt::format("Convert to this precision: 32, 16 or bf16 (NeMo's default is {}; here the file's "
                                     "own is kept)",
                                     row.dtype));
  }
  for (std::string_view flags = row.flags; !flags.empty();) {
    const std::string_view name = flags.substr(0, flags.find(' '));
    flags.remove_prefix(std::min(name.size() + 1, flags.size()));
    DeclareFlag(app, *script, name);
  }
  return [script] { return RunLanguage(*script); };
}

std::function<int()> DeclareLlmImport(CLI::App& app) {
  auto llm = std::make_shared<Llm>();
  DeclareLlm(app, *llm, "model=llama3_8b source=hf://ORG/NAME output_path=DIR overwrite=true");
  return [llm] { return RunImport(*llm); };
}

std::function<int()> DeclareLlmExport(CLI::App& app) {
  auto llm = std::make_shared<Llm>();
  DeclareLlm(app, *llm, "path=FOLDER target=hf|hf-peft output_path=DIR overwrite=true");
  return [llm] { return RunExport(*llm); };
}

}  // namespace anemone::cli
