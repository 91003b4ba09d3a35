#!/usr/bin/env python3
"""Measures conversions whose output shares blocks with its source, against a copy that shares none, in one run.

  bench/reflink.py --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint \\
      --work DIR [--model ViT-L-14] [--rounds 5] [--json FILE]

DIR lies on a file system that shares blocks (XFS, Btrfs) and has room for four times the model. All start warm and end
durable (fsync); the contestants alternate; the figures are medians. New blocks: free space before and after.
"""

import os
import shutil

import measure


def free_bytes(folder):
    os.sync()
    info = os.statvfs(folder)
    return info.f_bfree * info.f_frsize


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def copying(source, target):
    seconds, peak = measure.run(["cp", "--reflink=never", source, target])
    return seconds + measure.run(["sync", target])[0], peak


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--tokenizer", default=measure.DEMO)
    parser.add_argument("--model", default="ViT-L-14")
    args = parser.parse_args()
    with measure.folder(args.work) as work:
        measured(args, work)


def measured(args, work):
    hf, nemo = os.path.join(work, args.model), os.path.join(work, "source.nemo")
    measure.run([args.make_checkpoint, args.model, hf, "--tokenizer", args.tokenizer])
    measure.run([args.anemone, "convert", hf, nemo, "-q"])
    weights = os.path.join(hf, "model.safetensors")
    out_nemo, out_hf, copy = (os.path.join(work, name) for name in ("out.nemo", "out", "copy"))

    def convert(source, target, *words):
        return lambda: measure.run([args.anemone, "convert", source, target, "-q", *words])

    contestants = {  # name: (what it does, its source, its output, at most so many times cp's time, at most so many new MiB)
        "cp": (lambda: copying(nemo, copy), nemo, copy, None, None),
        ".nemo to .nemo, another config": (convert(nemo, out_nemo, "--set", "optim.lr=0.5"), nemo, out_nemo, 0.02, 8),
        "Hugging Face to .nemo": (convert(hf, out_nemo), weights, out_nemo, 0.3, None),
        "Hugging Face to .nemo, --no-crc32": (convert(hf, out_nemo, "--no-crc32"), weights, out_nemo, 0.1, None),
        ".nemo to Hugging Face": (convert(nemo, out_hf, "--to", "hf"), nemo, out_hf, 0.1, None),
    }
    seconds, blocks = {name: [] for name in contestants}, {name: [] for name in contestants}
    for _ in range(args.rounds):
        for name, (run, source, target, _, _) in contestants.items():
            remove(target)
            measure.warm(source)
            before = free_bytes(work)
            seconds[name].append(run()[0])
            blocks[name].append(before - free_bytes(work))
            remove(target)
    copied = measure.median(seconds["cp"])
    rows = []
    for name, (_, _, _, most_time, most_mib) in contestants.items():
        ratio, new = measure.median(seconds[name]) / copied, measure.median(blocks[name]) / 2 ** 20
        rows.append((name, f"{measure.median(seconds[name]):.3f} s ({measure.spread(seconds[name])}), {new:.1f} MiB of new blocks", "", ""))
        if most_time:
            rows.append((f"{name} / cp", f"{ratio:.3f}×", f"≤ {most_time}×", measure.within(ratio, most_time)))
        if most_mib:
            rows.append((f"{name}, new blocks", f"{new:.1f} MiB", f"≤ {most_mib} MiB", measure.within(new, most_mib)))
    print(measure.machine() + "\n")
    measure.table(rows)
    measure.write_json(args.json, {"machine": measure.machine(), "seconds": seconds, "new_bytes": blocks})


if __name__ == "__main__":
    main()
