#include "cli/commands.h"

#include "cli/command.h"

namespace anemone::cli {

std::span<const Command> Commands() {
  static constexpr Command kCommands[] = {
      {"inspect", "Say what a checkpoint is",
       "  anemone inspect openai_clip.nemo\n  anemone inspect run.ckpt --tensors --json", DeclareInspect},
      {"convert", "Turn any checkpoint into any other",
       "  anemone convert clip-vit-large-patch14/ openai_clip.nemo --hparams megatron_clip_VIT-L-14.yaml\n"
       "  anemone convert openai_clip.nemo clip-hf --to hf",
       DeclareConvert, true},
      {"reshard", "The same checkpoint for another tensor and pipeline layout",
       "  anemone reshard clip.nemo clip_tp4.nemo --tp 4\n  anemone reshard clip_tp4.nemo clip.nemo --tp 1 --pp 1",
       DeclareReshard, true},
      {"plan", "What a model of a config would weigh in a layout: files, bytes per rank, balance",
       "  anemone plan --family gpt --config model_config.yaml --tp 8 --pp 16 --optimizer --dtype bf16\n"
       "  anemone plan --family clip --preset ViT-H-14 --tp 4 --json",
       DeclarePlan},
      {"infer", "Classify images with a CLIP, on the CPU",
       "  anemone infer openai_clip.nemo --image girl.jpg --text \"a dog\" --text \"a boy\" --text \"a girl\"\n"
       "  anemone infer clip-hf --image pictures --labels labels.txt --json",
       DeclareInfer},
      {"verify", "Read everything and check it", "  anemone verify openai_clip.nemo\n  anemone verify run.ckpt -q",
       DeclareVerify},
      {"diff", "Compare two checkpoints; exit 1 when they differ",
       "  anemone diff a.nemo b.nemo\n  anemone diff clip-hf openai_clip.nemo --canonical", DeclareDiff},
      {"extract", "Unpack a .nemo into a directory",
       "  anemone extract openai_clip.nemo openai_clip\n  anemone extract openai_clip.nemo out --member "
       "model_config.yaml",
       DeclareExtract, true},
      {"pack", "Pack a directory into a .nemo",
       "  anemone pack openai_clip openai_clip.nemo\n  anemone pack dir x.nemo --force", DeclarePack, true},
      {"edit", "Change a .nemo's config or artifacts, not its weights",
       "  anemone edit x.nemo --set optim.lr=1e-4\n  anemone edit x.nemo --artifact tokenizer.model=spm.model",
       DeclareEdit, true},
      {"scan", "List what a file would import, call or write when others load it; exit 1 if anything is not inert",
       "  anemone scan downloaded.nemo\n  anemone scan pytorch_model.bin --json", DeclareScan},
      {"report",
       "One self-contained page to look at: config, parameters, statistics, layout, or two checkpoints' differences",
       "  anemone report openai_clip.nemo -o clip.html --statistics\n  anemone report before.nemo after.nemo -o "
       "changes.html",
       DeclareReport},
      {"average", "Average the weights of several checkpoints",
       "  anemone average step1.nemo step2.nemo step3.nemo mean.nemo\n  anemone average a.ckpt b.ckpt mean.ckpt",
       DeclareAverage, true},
      {"clean", "Remove what runs that died have left in a directory", "  anemone clean\n  anemone clean models --all",
       DeclareClean},
      {"fetch", "Download what a conversion needs into the Hugging Face cache, and print where it lies",
       "  anemone fetch openai/clip-vit-large-patch14\n  anemone fetch laion/CLIP-ViT-B-32-laion2B-s34B-b79K@main",
       DeclareFetch},
      {"nemo", "NeMo's own commands with NeMo's own flags",
       "  anemone nemo convert_clip_hf_to_nemo --input_name_or_path=clip-hf --output_path=x.nemo "
       "--hparams_file=VIT-L-14.yaml\n"
       "  anemone nemo megatron_clip_infer model.restore_from_path=x.nemo image_path=a.jpg texts='[\"a dog\", \"a "
       "girl\"]'",
       DeclareNemo, true},
  };
  return kCommands;
}

}  // namespace anemone::cli
