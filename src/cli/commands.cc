#include "cli/commands.h"

#include "cli/command.h"

namespace anemone::cli {
namespace {

// One table for the help, the man page and the documentation.
#define ANEMONE_DESTINATIONS                                                            \
  "What the destination's name means:\n"                                                \
  "\n"                                                                                  \
  "  x.nemo             a NeMo archive\n"                                               \
  "  x.nemo/            the same, unpacked into a folder (--to nemo-dir)\n"             \
  "  x.ckpt             a Lightning checkpoint; a folder of them for several ranks\n"   \
  "  x.safetensors      a safetensors file\n"                                           \
  "  x.pt x.bin x.pth   a PyTorch file (--to pytorch)\n"                                \
  "  any, with --to     that format; hf, openclip, nemo-dir, nemo2, torch_dist,\n"      \
  "                     megatron and megatron-bridge are folders\n"                     \
  "  any other          an error\n"                                                     \
  "  -                  an error: checkpoints are not written to standard output\n"     \
  "  an empty folder    is filled\n"                                                    \
  "  what exists        is an error; --force replaces a file, or a folder that holds\n" \
  "                     a checkpoint and nothing else"

constexpr Command kCommands[] = {
    {.name = "inspect",
     .summary = "Describe a checkpoint",
     .details = "Prints the format, the model's family and sizes, the parallel layout, the weights by dtype, the "
                "config, the files that travel with the model, and commands that make sense next. It reads headers "
                "only. Several paths give one block each.",
     .examples = "anemone inspect openai_clip.nemo\nanemone inspect run.ckpt --tensors --json",
     .declare = DeclareInspect},
    {.name = "convert",
     .summary = "Convert a checkpoint to another format, naming, dtype or layout",
     .details = "The source is a file, a folder, a model of the Hugging Face hub (org/name@revision) or an address "
                "(https://, hf://, s3://, gs://), which is read in place. Its content decides the format. Dtypes and "
                "values stay as they are unless an option changes them. The output "
                "appears when it is complete; an interrupted run leaves nothing unless --resume is given.\n"
                "\n" ANEMONE_DESTINATIONS,
     .examples = "anemone convert clip-vit-large-patch14/ openai_clip.nemo\n"
                 "anemone convert openai_clip.nemo clip-hf --to hf",
     .declare = DeclareConvert,
     .is_divided = true},
    {.name = "reshard",
     .summary = "Write a checkpoint for another tensor- and pipeline-parallel layout",
     .details = "Everything but the layout stays as it is.\n\n" ANEMONE_DESTINATIONS,
     .examples = "anemone reshard clip.nemo clip_tp4.nemo --tp 4\n"
                 "anemone reshard clip_tp4.nemo clip.nemo --tp 1 --pp 1",
     .declare = DeclareReshard,
     .is_divided = true},
    {.name = "mount",
     .summary = "Show what convert would write as read-only files, computed as they are read",
     .details = "Nothing is converted and no disk is used: transformers, torch and safetensors read the files in DIR "
                "as if they were there. The command returns once they can be read; `anemone unmount DIR` ends it. A "
                "format that is one file shows it by the source's name: DIR/clip.nemo. A source that changes makes "
                "reads fail.\n"
                "\n"
                "Torch files state a checksum before each tensor. It is taken from the source where that has it; else "
                "the tensor is read once more to compute it, which --no-crc32 saves for torch, which does not check. "
                "Damage in the source is not looked for: `anemone verify` does.",
     .examples = "anemone mount llama.nemo view --to hf\n"
                 "anemone mount org/model view --to nemo --tp 8",
     .declare = DeclareMount},
    {.name = "unmount",
     .summary = "End what mount shows in a folder",
     .examples = "anemone unmount view\nanemone unmount models/clip-hf",
     .declare = DeclareUnmount},
    {.name = "plan",
     .summary = "Estimate the files and per-rank sizes of a model for a parallel layout",
     .details = "Needs a config or the name of a size, no weights.",
     .examples = "anemone plan --family gpt --config model_config.yaml --tp 8 --pp 16 --optimizer --dtype bf16\n"
                 "anemone plan --family clip --preset ViT-H-14 --tp 4 --json",
     .declare = DeclarePlan},
    {.name = "infer",
     .summary = "Classify images with a CLIP on the CPU",
     .details = "On a terminal, and with --top, prints a table of the most likely labels of each image; into a pipe "
                "or a file, and with --nemo, the line that NeMo's script prints. An image that cannot be read is a "
                "warning, and the exit status is then 1.",
     .examples = "anemone infer openai_clip.nemo --image girl.jpg --text \"a dog\" \"a boy\" \"a girl\"\n"
                 "anemone infer clip-hf --image *.jpg --labels labels.txt --top 3",
     .declare = DeclareInfer},
    {.name = "verify",
     .summary = "Read everything in a checkpoint and check it",
     .details = "Checks checksums, headers, offsets, and the names and shapes of tensors against the config. Prints "
                "one line a problem; the exit status is 1 where there is any.",
     .examples = "anemone verify openai_clip.nemo\nanemone verify *.ckpt -q",
     .declare = DeclareVerify},
    {.name = "bench",
     .summary = "Measure the disk of a checkpoint and estimate what each way to convert costs on it",
     .details =
         "Reads at most 256 MB from the page cache and as much from the device, and writes at most 256 MB, each for "
         "about two seconds, in the folder of the checkpoint. What it writes has no name and is gone afterwards. "
         "Conversions are planned, so that what can share blocks with the source counts as neither read nor written.",
     .examples = "anemone bench openai_clip.nemo\nanemone bench clip-hf --json",
     .declare = DeclareBench},
    {.name = "diff",
     .summary = "Compare two checkpoints",
     .details = "Compares names, shapes, dtypes, values, config and files. The exit status is 1 where they differ.",
     .examples = "anemone diff a.nemo b.nemo\nanemone diff clip-hf openai_clip.nemo --canonical",
     .declare = DeclareDiff},
    {.name = "cat",
     .summary = "Write one tensor",
     .details = "Writes a .npy file to standard output, and prints a summary on a terminal.",
     .examples = "anemone cat clip.nemo model.logit_scale\nanemone cat clip.nemo model.logit_scale > scale.npy",
     .declare = DeclareCat},
    {.name = "extract",
     .summary = "Unpack a .nemo into a folder",
     .examples = "anemone extract openai_clip.nemo openai_clip\n"
                 "anemone extract openai_clip.nemo out --member model_config.yaml",
     .declare = DeclareExtract,
     .is_divided = true},
    {.name = "pack",
     .summary = "Pack a folder into a .nemo",
     .examples = "anemone pack openai_clip openai_clip.nemo\nanemone pack dir x.nemo --force",
     .declare = DeclarePack,
     .is_divided = true},
    {.name = "edit",
     .summary = "Change the config or the files of a .nemo, not its weights",
     .details = "The archive is changed where it lies, in constant time: the new config is appended and takes the old "
                "one's place at once. An archive that is unpacked or compressed, has hard links, or loses a file is "
                "written anew. "
                "A key that is new is noted, with the nearest existing one.",
     .examples = "anemone edit x.nemo --set optim.lr=1e-4\nanemone edit x.nemo --artifact tokenizer.model=spm.model",
     .declare = DeclareEdit,
     .is_divided = true},
    {.name = "scan",
     .summary = "List what a file would import, call or write when other programs load it",
     .details = "Runs nothing. The exit status is 1 where anything is not on the list of inert names.",
     .examples = "anemone scan downloaded.nemo\nanemone scan pytorch_model.bin --json",
     .declare = DeclareScan},
    {.name = "report",
     .summary = "Write an HTML page about a checkpoint, or about how two differ",
     .details = "The page is one file that needs no network.",
     .examples = "anemone report openai_clip.nemo -o clip.html --statistics\n"
                 "anemone report before.nemo after.nemo -o changes.html",
     .declare = DeclareReport},
    {.name = "average",
     .summary = "Average the weights of several checkpoints",
     .details = "The last path is the destination.\n\n" ANEMONE_DESTINATIONS,
     .examples = "anemone average step1.nemo step2.nemo step3.nemo mean.nemo\n"
                 "anemone average a.ckpt b.ckpt mean.ckpt",
     .declare = DeclareAverage,
     .is_divided = true},
    {.name = "clean",
     .summary = "Remove what killed runs left in a folder",
     .examples = "anemone clean\nanemone clean models --all",
     .declare = DeclareClean},
    {.name = "fetch",
     .summary = "Download the files a conversion needs into the Hugging Face cache, and print their folder",
     .examples = "anemone fetch openai/clip-vit-large-patch14\n"
                 "anemone fetch laion/CLIP-ViT-B-32-laion2B-s34B-b79K@main",
     .declare = DeclareFetch},
    {.name = "nemo",
     .summary = "Run NeMo's own scripts by their names and flags",
     .details = "A script's name may have a folder before it and .py after it, as NeMo's documentation writes it. "
                "Flags that say how many processes run a script are accepted and ignored.",
     .examples = "anemone nemo convert_clip_hf_to_nemo --input_name_or_path=clip-hf --output_path=x.nemo\n"
                 "anemone nemo megatron_clip_infer model.restore_from_path=x.nemo image_path=a.jpg "
                 "texts='[\"a dog\", \"a girl\"]'",
     .declare = DeclareNemo,
     .is_divided = true},
    {.name = "completion",
     .summary = "Print what a shell reads to complete commands, options and their values",
     .details = "`cmake --install` puts the three where shells look; this is for a program that came otherwise.",
     .examples = "anemone completion bash > ~/.local/share/bash-completion/completions/anemone\n"
                 "anemone completion fish > ~/.config/fish/completions/anemone.fish",
     .declare = DeclareCompletion},
    {.name = "version",
     .summary = "Print the version",
     .details = "With -v also what the program was built with and what it found on this machine.",
     .examples = "anemone version\nanemone version -v",
     .declare = DeclareVersion},
};

#undef ANEMONE_DESTINATIONS

}  // namespace

std::span<const Command> Commands() { return kCommands; }

}  // namespace anemone::cli
