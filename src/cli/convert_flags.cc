#include "cli/convert_flags.h"

#include <fmt/format.h>

#include <CLI/Validators.hpp>
#include <algorithm>
#include <map>
#include <tuple>

#include "base/lower_case.h"
#include "base/nearest.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "cli/plan_flags.h"
#include "convert/option_words.h"
#include "edit/destination.h"

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

}  // namespace

void ConvertFlags::DeclareSource(CLI::App& app) {
  app.add_option("SRC", source, "A checkpoint: file, folder or hub id")->required();
}

void ConvertFlags::DeclareFormat(CLI::App& app, const std::string& otherwise) {
  Suggest(app.add_option("--to", convert.to, fmt::format("Format to write (default: {})", otherwise)),
          WritableFormats());
}

void ConvertFlags::DeclareReflink(CLI::App& app) {
  OneOf(app.add_option("--reflink", reflink_, "Share blocks with the source where the file system can (default: auto)"),
        NamesOf(kReflinkWords));
}

void ConvertFlags::DeclareCommon(CLI::App& app) {
  Topic(app, "Output");
  app.add_flag("!--no-crc32", convert.crc32,
               "State no checksum of tensors in torch files, for readers that do not check");
  Topic(app, "Layout");
  app.add_option("--tp", convert.tp, "Tensor-parallel size")->type_name("N");
  app.add_option("--pp", convert.pp, "Pipeline-parallel size")->type_name("N");
  app.add_option("--vp", convert.vp, "Virtual chunks per pipeline stage")->type_name("N");
  app.add_option("--ep", convert.ep, "Expert-parallel size that a distributed checkpoint is for")->type_name("N");
  app.add_option("--split-rank", convert.split_rank, "Pipeline stages of an encoder-decoder's encoder")->type_name("N");
  app.add_option("--table", convert.table,
                 "YAML file that tells how a model of no known family is split: docs/resharding.md")
      ->type_name("FILE");
  Topic(app, "Weights");
  Suggest(app.add_option("--dtype", dtype_, "Dtype of floating-point tensors (default: keep)"),
          {"keep", "fp32", "bf16", "fp16"})
      ->type_name("keep|fp32|bf16|fp16");
  app.add_flag(
      "--dequantize", convert.dequantize,
      "Multiply weights in FP8 by the scales of their blocks, to bf16 (default: a format without scales refuses "
      "them)");
  app.add_option("--key", convert.key, "Dictionary of a torch file that holds the weights (default: by its content)")
      ->type_name("NAME");
  OneOf(app.add_option("--only", only_, "Convert the weights alone, or training state too (default: all)"),
        {"weights", "all"});
  OneOf(app.add_option("--extra-state", extra_state_, "Transformer Engine's _extra_state entries (default: keep)"),
        NamesOf(kExtraStateWords));
  for (const auto& [flag, patterns, help] :
       {std::tuple{"--select", &convert.select,
                   "Write only tensors whose names match a pattern, `*` being any characters"},
        std::tuple{"--drop", &convert.drop, "Leave out tensors whose names match a pattern"}}) {
    app.add_option(flag, *patterns, fmt::format("{}; may be repeated", help))
        ->type_name("PATTERN")
        ->allow_extra_args(false);
  }
  app.add_option("--rename", rename_, "Rename tensors: 'vision_model.*=vision.*'; may be repeated")
      ->type_name("PATTERN=NAME")
      ->allow_extra_args(false);
  Topic(app, "Config and files");
  app.add_option("--set", set_, "Set a value of the written config; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--unset", convert.unset, "Remove a key of the written config; may be repeated")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--artifact", artifacts_, "Store FILE and let the config's KEY refer to it; may be repeated")
      ->type_name("KEY=FILE")
      ->allow_extra_args(false);
  Topic(app, "Checks");
  app.add_flag("--strict,!--no-strict", convert.strict, "Missing and unexpected names are errors (default)");
}

void ConvertFlags::DeclareForeign(CLI::App& app) {
  Topic(app, "Config and files");
  app.add_option("--hparams", convert.hparams,
                 "NeMo's YAML for the result (default: derived), or the config of weights that have none")
      ->type_name("FILE");
  SuggestPresets(app.add_option("--preset", convert.preset, "Size by name, for a CLIP without a config"));
  app.add_option("--architecture", convert.architecture,
                 "From or to hf: the model's class in transformers (default: as the config says)")
      ->type_name("CLASS");
  app.add_option("--vocab-size", convert.vocab_size,
                 "To hf: rows of the vocabulary (default: all but those that config or tokenizer prove padding)")
      ->type_name("N");
  app.add_option("--lora", convert.lora,
                 "A LoRA to merge into the weights: a PEFT folder, a .nemo or a NeMo 2 folder; may be repeated")
      ->type_name("PATH")
      ->allow_extra_args(false);
  app.add_option(
         "--base", convert.base,
         "For a LoRA alone: the model that it adapts; from PEFT to NeMo, which wants its config (default: where "
         "the adapter says)")
      ->type_name("PATH");
  app.add_option("--tower,--with", convert.tower,
                 "For a NeVA that leaves parts out: a CLIP, SigLIP or LLaVA that has its image tower, a GPT its "
                 "language model; "
                 "for any LLaVA another projector; a path or a name of the hub (default: where the config says)")
      ->type_name("PATH");
  app.add_option("--tokenizer", convert.tokenizer,
                 "From or to hf: a folder with a tokenizer, or a SentencePiece model, in place of the source's own")
      ->type_name("PATH");
  app.add_option("--nemo2-version", convert.nemo2_version,
                 "With --to nemo2: the NeMo that will read it (default: 2.0.0, or the first with the model)")
      ->type_name("VERSION");
  Topic(app, "Weights");
  Suggest(app.add_option("--dialect", convert.dialect, "Names of tensors (default: by the format)"),
          {"mcore", "legacy", "hf", "openclip"});
  app.add_flag("--ema", convert.use_ema, "Take the EMA weights that a .ckpt carries or has beside it");
  Topic(app, "Output");
  app.add_option("--max-shard-size", convert.max_shard_bytes,
                 "Split hf and safetensors outputs into shards of this size")
      ->transform(CLI::AsSizeValue(true).description(""))
      ->type_name("SIZE");
}

Status ConvertFlags::Parse() {
  if (LowerCase(dtype_) != "keep") {
    convert.dtype = WeightsDType(dtype_);
    if (!convert.dtype) {
      return WrongOption("dtype", fmt::format("expected keep, fp32, bf16 or fp16, found '{}'", dtype_),
                         DidYouMean(dtype_, std::vector<std::string>{"keep", "fp32", "bf16", "fp16"}));
    }
  }
  convert.extra_state = ValueOf(kExtraStateWords, extra_state_);
  convert.reflink = ValueOf(kReflinkWords, reflink_);
  convert.only_weights = only_ == "weights";
  ANEMONE_TRY(SplitEdits(set_, convert.set, convert.unset));
  ANEMONE_TRY(SplitPairs(rename_, convert.rename, "--rename: ", "PATTERN=NAME"));
  return SplitPairs(artifacts_, convert.artifacts, "--artifact: ", "KEY=FILE");
}

}  // namespace anemone::cli
