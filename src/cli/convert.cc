// convert SRC DST and reshard SRC DST: any checkpoint to any other.
#include "anemone/convert.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/explain.h"
#include "cli/forward.h"
#include "cli/plan_flags.h"
#include "convert/option_words.h"
#include "edit/destination.h"
#include "inspect/summary.h"

namespace anemone::cli {
namespace {

template <typename Words>
std::vector<std::string> NamesOf(const Words& words) {
  std::vector<std::string> names;
  for (const auto& word : words) names.emplace_back(word.first);
  return names;
}
// `name` is one of them: OneOf has seen to it.
template <typename Words>
auto ValueOf(const Words& words, const std::string& name) {
  return std::ranges::find(words, name, [](const auto& word) { return word.first; })->second;
}

// torch's names.
const std::map<std::string, std::string> kDTypeAliases = {
    {"float32", "fp32"}, {"float", "fp32"}, {"bfloat16", "bf16"}, {"float16", "fp16"}, {"half", "fp16"}};

struct Options {
  std::string source;
  PlanFlags plan;
  ConvertOptions convert;
  std::string dtype = "keep";
  std::string extra_state = "keep";
  std::string reflink = "auto";
  std::string only = "all";
  std::vector<std::string> set;
  std::vector<std::string> artifacts;
  std::vector<std::string> rename;
  bool check = false;
};

// Decisions that can be false for the data at hand are the library's; this only turns words into options.
Status Parse(Options& options) {
  ConvertOptions& convert = options.convert;
  if (options.dtype != "keep") {
    const auto alias = kDTypeAliases.find(options.dtype);
    convert.dtype = FindDType(&DTypeInfo::name, alias == kDTypeAliases.end() ? options.dtype : alias->second);
    if (!convert.dtype)
      return InvalidArgument(fmt::format("--dtype {}: expected keep, fp32, bf16 or fp16", options.dtype));
  }
  convert.extra_state = ValueOf(kExtraStateWords, options.extra_state);
  convert.reflink = ValueOf(kReflinkWords, options.reflink);
  convert.verify_source = options.plan.verify_source.value_or(false);
  convert.only_weights = options.only == "weights";
  ANEMONE_TRY(SplitEdits(options.set, convert.set, convert.unset));
  ANEMONE_TRY(SplitPairs(options.rename, convert.rename));
  return SplitPairs(options.artifacts, convert.artifacts);
}

// What -v tells: what was found in the source, and what is made of it.
void NoteDecisions(const Conversion& conversion, const Format& format) {
  const auto tell = [](const char* which, const Checkpoint& checkpoint, const Format& stored_as) {
    const Summary summary = Summarize(checkpoint);
    const std::string model = summary.family.empty() ? std::string("unknown family")
                                                     : fmt::format("{}, names of {}", summary.family, summary.dialect);
    Note(fmt::format("{}: {}, {}", which, model, InBrief(checkpoint, stored_as)), 1);
  };
  if (conversion.source.format != nullptr) tell("source", conversion.source, *conversion.source.format);
  tell("result", conversion.result, format);
}

int Run(Options& options) {
  if (const Status status = Parse(options); !status.ok()) return Report(status);
  options.convert.progress = MakeProgress();
  const Result<Conversion> conversion = PlanConversion(options.source, options.plan.destination, options.convert);
  if (const Status all = globals().cluster->Agree(conversion.status()); !all.ok()) return Report(all);
  if (options.convert.explain) {
    PrintPasses(*conversion, options.plan.json);
    return kDone;
  }
  for (const std::string& note : conversion->notes) Note(note);
  if (options.check) {
    const Status status = IsSpeaker() ? CanCheck(*conversion, options.convert).In("--check") : Status();
    if (const Status all = globals().cluster->Follow(status); !all.ok()) return Report(all);
  }
  const Format& format = *FindFormat(conversion->format);
  if (globals().verbosity > 0) NoteDecisions(*conversion, format);
  const int exit = options.plan.Run(*conversion->plan, InBrief(conversion->result, format));
  if (!options.check || options.plan.plan_only || exit != kDone || !IsSpeaker()) return exit;
  ForwardOptions forward;
  forward.threads = static_cast<int>(globals().threads);
  forward.progress = options.convert.progress;
  return PrintCheck(CheckConversion(*conversion, options.convert, forward));
}

void DeclareConversion(CLI::App& app, Options& options) {
  ConvertOptions& convert = options.convert;
  app.add_option("SRC", options.source, "A checkpoint: file, folder or hub id")->required();
  Topic(app, "Output");
  app.add_option("DST", options.plan.destination, "What to write: see the table above")->required();
  Suggest(app.add_option("--to", convert.to, "Format to write (default: by the name of DST)"), WritableFormats());
  options.plan.DeclareShared(app);
  options.plan.DeclareResume(app);
  OneOf(app.add_option("--reflink", options.reflink,
                       "Share blocks with the source where the file system can (default: auto)"),
        NamesOf(kReflinkWords));
  app.add_flag("!--no-crc32", convert.crc32,
               "State no checksum of tensors in torch files, for readers that do not check");
  Topic(app, "Layout");
  app.add_option("--tp", convert.tp, "Tensor-parallel size")->type_name("N");
  app.add_option("--pp", convert.pp, "Pipeline-parallel size")->type_name("N");
  app.add_option("--vp", convert.vp, "Virtual chunks per pipeline stage")->type_name("N");
  app.add_option("--split-rank", convert.split_rank, "Pipeline stages of an encoder-decoder's encoder")->type_name("N");
  app.add_option("--table", convert.table,
                 "YAML file that tells how a model of no known family is split: docs/resharding.md")
      ->type_name("FILE");
  Topic(app, "Weights");
  OneOf(app.add_option("--dtype", options.dtype, "Dtype of floating-point tensors (default: keep)"),
        {"keep", "fp32", "bf16", "fp16", "float32", "float", "bfloat16", "float16", "half"})
      ->type_name("keep|fp32|bf16|fp16");
  app.add_option("--key", convert.key, "Dictionary of a torch file that holds the weights (default: by its content)")
      ->type_name("NAME");
  OneOf(app.add_option("--only", options.only, "Convert the weights alone, or training state too (default: all)"),
        {"weights", "all"});
  OneOf(
      app.add_option("--extra-state", options.extra_state, "Transformer Engine's _extra_state entries (default: keep)"),
      NamesOf(kExtraStateWords));
  for (const auto& [flag, patterns, help] :
       {std::tuple{"--select", &convert.select,
                   "Write only tensors whose names match a pattern, `*` being any characters"},
        std::tuple{"--drop", &convert.drop, "Leave out tensors whose names match a pattern"}}) {
    app.add_option(flag, *patterns, fmt::format("{}; may be repeated", help))
        ->type_name("PATTERN")
        ->allow_extra_args(false);
  }
  app.add_option("--rename", options.rename, "Rename tensors: 'vision_model.*=vision.*'; may be repeated")
      ->type_name("PATTERN=NAME")
      ->allow_extra_args(false);
  Topic(app, "Config and files");
  app.add_option("--set", options.set, "Set a value of the written config; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--unset", convert.unset, "Remove a key of the written config; may be repeated")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--artifact", options.artifacts, "Store FILE and let the config's KEY refer to it; may be repeated")
      ->type_name("KEY=FILE")
      ->allow_extra_args(false);
  Topic(app, "Checks");
  app.add_flag("--strict,!--no-strict", convert.strict, "Missing and unexpected names are errors (default)");
}

}  // namespace

std::function<int()> DeclareConvert(CLI::App& app) {
  auto options = std::make_shared<Options>();
  DeclareConversion(app, *options);
  app.add_flag("--check", options->check,
               "After converting, run both CLIPs on one image and texts; exit 1 where outputs differ");
  Topic(app, "Config and files");
  app.add_option("--hparams", options->convert.hparams,
                 "NeMo's YAML for the result (default: derived), or the config of weights that have none")
      ->type_name("FILE");
  Suggest(app.add_option("--preset", options->convert.preset, "Size by name, for a CLIP without a config"),
          PresetNames());
  app.add_option("--architecture", options->convert.architecture,
                 "From or to hf: the model's class in transformers (default: as the config says)")
      ->type_name("CLASS");
  app.add_option("--vocab-size", options->convert.vocab_size,
                 "To hf: rows of the vocabulary (default: all but those that config or tokenizer prove padding)")
      ->type_name("N");
  app.add_option("--lora", options->convert.lora,
                 "A LoRA to merge into the weights: a PEFT folder, a .nemo or a NeMo 2 folder; may be repeated")
      ->type_name("PATH")
      ->allow_extra_args(false);
  app.add_option(
         "--base", options->convert.base,
         "For a LoRA alone: the model that it adapts; from PEFT to NeMo, which wants its config (default: where "
         "the adapter says)")
      ->type_name("PATH");
  app.add_option("--tower", options->convert.tower,
                 "For a NeVA stored without its image tower: a CLIP, SigLIP or LLaVA that has it (default: where the "
                 "config says)")
      ->type_name("PATH");
  app.add_option("--tokenizer", options->convert.tokenizer,
                 "From or to hf: a folder with a tokenizer, or a SentencePiece model, in place of the source's own")
      ->type_name("PATH");
  app.add_option("--nemo2-version", options->convert.nemo2_version,
                 "With --to nemo2: the NeMo that will read it (default: 2.0.0, or the first with the model)")
      ->type_name("VERSION");
  Topic(app, "Weights");
  Suggest(app.add_option("--dialect", options->convert.dialect, "Names of tensors (default: by the format)"),
          {"mcore", "legacy", "hf", "openclip"});
  app.add_flag("--ema", options->convert.use_ema, "Take the EMA weights that a .ckpt carries or has beside it");
  Topic(app, "Output");
  app.add_option("--max-shard-size", options->convert.max_shard_bytes,
                 "Split hf and safetensors outputs into shards of this size")
      ->transform(CLI::AsSizeValue(true).description(""))
      ->type_name("SIZE");
  app.add_flag("--explain", options->convert.explain,
               "Print the passes of the conversion and what each changes, and stop")
      ->excludes("--plan");
  return [options] { return Run(*options); };
}

std::function<int()> DeclareReshard(CLI::App& app) {
  auto options = std::make_shared<Options>();
  DeclareConversion(app, *options);
  return [options] {
    if (!options->convert.tp && !options->convert.pp && !options->convert.vp) {
      return Report(InvalidArgument("expected --tp, --pp or --vp", "see: anemone reshard --help"));
    }
    return Run(*options);
  };
}

}  // namespace anemone::cli
