#!/usr/bin/env python3
"""Measures conversions whose output shares blocks with its source, against a copy that shares none, in one run.

  bench/reflink.py --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint \\
      --work DIR [--model ViT-L-14] [--rounds 5] [--json FILE]

DIR lies on a file system that shares blocks (XFS, Btrfs) and has room for six times the model. All start warm and end
durable (fsync); the contestants alternate; the figures are medians. New blocks: free space before and after.
"""

import os
import shutil

import measure
import megatron


def free_bytes(folder):
    os.sync()
    info = os.statvfs(folder)
    return info.f_bfree * info.f_frsize


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def copying(source, target, how):
    seconds, peak = measure.run(["cp", "--reflink=" + how, source, target])
    return seconds + measure.run(["sync", target])[0], peak


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--tokenizer", default=measure.DEMO)
    parser.add_argument("--model", default="ViT-L-14")
    parser.add_argument("--gpt-layers", type=int, default=3)
    args = parser.parse_args()
    with measure.folder(args.work) as work:
        measured(args, work)


def sources(args, work):
    """(a Hugging Face folder, its `.nemo` in a file of its own, as NeMo writes it, one that shares its blocks, a GPT's `.nemo`)."""
    hf, nemo, sharing, gpt = (os.path.join(work, name) for name in (args.model, "source.nemo", "sharing.nemo", "gpt.nemo"))
    measure.run([args.make_checkpoint, args.model, hf, "--tokenizer", args.tokenizer])
    measure.run([args.anemone, "convert", hf, nemo, "-q", "--reflink", "never"])
    measure.run([args.anemone, "convert", hf, sharing, "-q", "--reflink", "always"])
    llama = os.path.join(work, "llama")
    megatron.make_hf(llama, args.gpt_layers)
    measure.run([args.anemone, "convert", llama, gpt, "-q", "--reflink", "never"])
    remove(llama)
    return hf, nemo, sharing, gpt


def measured(args, work):
    hf, nemo, sharing, gpt = sources(args, work)
    weights = os.path.join(hf, "model.safetensors")
    out_nemo, out_hf, copy = (os.path.join(work, name) for name in ("out.nemo", "out", "copy"))

    def convert(source, target, *words, command="convert"):
        return lambda: measure.run([args.anemone, command, source, target, "-q", *words])

    def cp(source, how):
        return lambda: copying(source, copy, how)

    contestants = {  # name: (what it does, its source, its output, what its time is compared with, at most so many times that, new MiB)
        "cp": (cp(nemo, "never"), nemo, copy, None, None, None),
        ".nemo to .nemo, another config": (convert(nemo, out_nemo, "--set", "optim.lr=0.5"), nemo, out_nemo, "cp", 0.02, 8),
        "cp --reflink=always of a .nemo that shares its blocks": (cp(sharing, "always"), sharing, copy, None, None, None),
        "that .nemo to .nemo, another config":
            (convert(sharing, out_nemo, "--set", "optim.lr=0.5"), sharing, out_nemo, "cp --reflink=always of a .nemo that shares its blocks", None, 8),
        "Hugging Face to .nemo": (convert(hf, out_nemo), weights, out_nemo, "cp", 0.3, None),
        "Hugging Face to .nemo, --no-crc32": (convert(hf, out_nemo, "--no-crc32"), weights, out_nemo, "cp", 0.1, None),
        "that .nemo to Hugging Face": (convert(sharing, out_hf, "--to", "hf"), sharing, out_hf, "cp", 0.1, None),
        "cp of a GPT": (cp(gpt, "never"), gpt, copy, None, None, None),
        "GPT, TP 1 to 2": (convert(gpt, out_nemo, "--tp", "2", command="reshard"), gpt, out_nemo, "cp of a GPT", 0.3, None),
    }
    seconds, blocks = {name: [] for name in contestants}, {name: [] for name in contestants}
    for _ in range(args.rounds):
        for name, (run, source, target, _, _, _) in contestants.items():
            remove(target)
            measure.warm(source)
            before = free_bytes(work)
            seconds[name].append(run()[0])
            blocks[name].append(before - free_bytes(work))
            remove(target)
    rows = []
    for name, (_, _, _, beside, most_time, most_mib) in contestants.items():
        taken, new = measure.median(seconds[name]), measure.median(blocks[name]) / 2 ** 20
        rows.append((name, f"{taken:.3f} s ({measure.spread(seconds[name])}), {new:.1f} MiB of new blocks", "", ""))
        if beside:
            ratio = taken / measure.median(seconds[beside])
            bound, verdict = (f"≤ {most_time}×", measure.within(ratio, most_time)) if most_time else ("", "")
            rows.append((f"{name} / {beside}", f"{ratio:.3f}×", bound, verdict))
        if most_mib:
            rows.append((f"{name}, new blocks", f"{new:.1f} MiB", f"≤ {most_mib} MiB", measure.within(new, most_mib)))
    print(measure.machine() + "\n")
    measure.table(rows)
    measure.write_json(args.json, {"machine": measure.machine(), "seconds": seconds, "new_bytes": blocks})


if __name__ == "__main__":
    main()
