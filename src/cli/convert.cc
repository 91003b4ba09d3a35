// convert SRC DST and reshard SRC DST: any checkpoint to any other.
#include "anemone/convert.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <map>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/explain.h"
#include "cli/forward.h"
#include "cli/plan_flags.h"

namespace anemone::cli {
namespace {

const std::map<std::string, ExtraState> kExtraStates = {
    {"keep", ExtraState::kKeep}, {"drop", ExtraState::kDrop}, {"require", ExtraState::kRequire}};

// torch's names.
const std::map<std::string, std::string> kDTypeAliases = {
    {"float32", "fp32"}, {"float", "fp32"}, {"bfloat16", "bf16"}, {"float16", "fp16"}, {"half", "fp16"}};

struct Options {
  std::string source;
  PlanFlags plan;
  ConvertOptions convert;
  std::string dtype = "keep";
  std::string extra_state = "keep";
  std::string only = "all";
  std::vector<std::string> set;
  std::vector<std::string> artifacts;
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
  convert.extra_state = kExtraStates.at(options.extra_state);
  convert.only_weights = options.only == "weights";
  ANEMONE_TRY(SplitEdits(options.set, convert.set, convert.unset));
  return SplitPairs(options.artifacts, convert.artifacts);
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
  const int exit = options.plan.Run(*conversion->plan);
  if (!options.check || options.plan.plan_only || exit != kDone || !IsSpeaker()) return exit;
  ForwardOptions forward;
  forward.threads = static_cast<int>(globals().threads);
  forward.progress = options.convert.progress;
  return PrintCheck(CheckConversion(*conversion, options.convert, forward));
}

void DeclareLayout(CLI::App& app, ConvertOptions& convert) {
  app.add_option("--tp", convert.tp, "Tensor-parallel size")->type_name("N");
  app.add_option("--pp", convert.pp, "Pipeline-parallel size")->type_name("N");
  app.add_option("--vp", convert.vp, "Virtual chunks per pipeline stage")->type_name("N");
}

void DeclareConversion(CLI::App& app, Options& options) {
  ConvertOptions& convert = options.convert;
  app.add_option("SRC", options.source, "A checkpoint: file, directory or hub id")->required();
  options.plan.Declare(app, "DST", "What to write; its name says the format, or --to does");
  options.plan.DeclareResume(app);
  DeclareLayout(app, convert);
  app.add_option("--split-rank", convert.split_rank, "How many pipeline stages an encoder-decoder's encoder takes")
      ->type_name("N");
  app.add_option("--table", convert.table, "How a model of no known family is split: YAML, see docs/resharding.md")
      ->type_name("FILE");
  app.add_option("--to", convert.to, "The format to write: nemo, nemo-dir, ckpt, hf, openclip, safetensors …")
      ->type_name("FORMAT");
  app.add_option("--nemo2-version", convert.nemo2_version,
                 "With --to nemo2: the NeMo that is to read it (default: 2.0.0, or the first with the model)")
      ->type_name("VERSION");
  app.add_option("--dtype", options.dtype, "Convert floating tensors (default: keep)")
      ->check(CLI::IsMember({"keep", "fp32", "bf16", "fp16", "float32", "float", "bfloat16", "float16", "half"})
                  .description(""))
      ->type_name("keep|fp32|bf16|fp16");
  app.add_option("--set", options.set, "Set a value of the written config; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--unset", convert.unset, "Remove a key of the written config")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--artifact", options.artifacts, "Store FILE and let the config's KEY refer to it")
      ->type_name("KEY=FILE")
      ->allow_extra_args(false);
  app.add_option("--extra-state", options.extra_state, "Transformer Engine's _extra_state entries")
      ->check(CLI::IsMember({"keep", "drop", "require"}).description(""))
      ->type_name("keep|drop|require");
  app.add_option("--key", convert.key,
                 "Which dictionary of a torch file holds the weights (default: what is in it decides)")
      ->type_name("NAME");
  app.add_option("--only", options.only, "Leave training state behind, or not")
      ->check(CLI::IsMember({"weights", "all"}).description(""))
      ->type_name("weights|all");
  app.add_flag("--strict,!--no-strict", convert.strict, "Missing and unexpected names are errors (default)");
}

}  // namespace

std::function<int()> DeclareConvert(CLI::App& app) {
  auto options = std::make_shared<Options>();
  DeclareConversion(app, *options);
  app.add_option("--hparams", options->convert.hparams,
                 "NeMo's YAML for the result (default: derived), or the config of weights without one")
      ->type_name("FILE");
  app.add_option("--preset", options->convert.preset, "The size by name (ViT-L-14 …), for a CLIP without a config")
      ->type_name("NAME");
  app.add_option("--dialect", options->convert.dialect, "The names to write: mcore, legacy, hf, openclip")
      ->type_name("DIALECT");
  app.add_option("--architecture", options->convert.architecture,
                 "From or to hf: the class of transformers that the model is (default: the config tells)")
      ->type_name("CLASS");
  app.add_option("--vocab-size", options->convert.vocab_size,
                 "To hf: the rows of the vocabulary (default: all but those that config or tokenizer prove padding)")
      ->type_name("N");
  app.add_option("--tokenizer", options->convert.tokenizer,
                 "From or to hf: a folder with a tokenizer, or a SentencePiece model, in place of the source's own")
      ->type_name("PATH");
  app.add_flag("--explain", options->convert.explain,
               "Print the passes of the conversion and what each changes, and stop; --json: as one JSON object")
      ->excludes("--plan");
  app.add_flag("--check", options->check,
               "Run source and result, both CLIPs, on the same picture and texts; exit 1 where they diverge");
  app.add_flag("--ema", options->convert.use_ema, "Take the EMA weights that a .ckpt carries or has beside it");
  app.add_option("--max-shard-size", options->convert.max_shard_bytes,
                 "Split hf and safetensors outputs into shards of this size")
      ->transform(CLI::AsSizeValue(true).description(""))
      ->type_name("SIZE");
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
