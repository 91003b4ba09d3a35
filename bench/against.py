#!/usr/bin/env python3
"""Two builds of the program in turn: the start of a process, inspect, planning, conversion.

  bench/against.py --old BASE/anemone --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint \\
      --make-sparse build/release/tools/make_sparse_checkpoint --work DIR [--rounds 9] [--json FILE]

The least processor time of the rounds (user and system, all threads) and the least elapsed time: on a machine that others
use, what is least is nearest to what the program needs. A ratio above 1 is a loss.
"""

import os
import subprocess
import sys
import time

import measure
import plan


def cost(argv):
    """(processor seconds, seconds) of a run that succeeds."""
    start = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(argv)}: exit {process.returncode}")
    return usage.ru_utime + usage.ru_stime, elapsed


def cases(args, work):
    clip, nemo = os.path.join(work, "ViT-B-32"), os.path.join(work, "clip.nemo")
    config, ranks, out = os.path.join(work, "gpt.yaml"), os.path.join(work, "ranks"), os.path.join(work, "out")
    measure.run([args.make_checkpoint, "ViT-B-32", clip])
    measure.run([args.old, "convert", clip, nemo, "-q"])
    with open(config, "w") as file:
        file.write(plan.CONFIG)
    measure.run([args.make_sparse, config, ranks, "8", "16"])
    return {
        "a process (`--version`)": ["--version"],
        "`inspect` of a CLIP's `.nemo`": ["inspect", nemo],
        "`inspect --json` of it": ["inspect", nemo, "--json"],
        "`convert --plan`, Hugging Face to `.nemo`": ["convert", clip, out, "--to", "nemo", "--plan", "-q"],
        "`convert`, Hugging Face to `.nemo`": ["convert", clip, out + ".nemo", "--force", "-q"],
        "`convert`, `.nemo` to Hugging Face": ["convert", nemo, out + "-hf", "--to", "hf", "--force", "-q"],
        "`plan` of 340 billion parameters": ["plan", "--family", "gpt", "--config", config, "--tp", "8", "--pp", "16",
                                            "--dtype", "bf16", "--optimizer"],
        "`reshard --plan` of them, TP 8 × PP 16 to TP 4 × PP 8": ["reshard", ranks, out, "--to", "ckpt", "--plan", "-q",
                                                               "--tp", "4", "--pp", "8"],
    }


def main():
    parser = measure.arguments(__doc__, tools=("make-checkpoint", "make-sparse"))
    parser.add_argument("--old", required=True)
    args = parser.parse_args()
    print(measure.machine())
    print("| what | old: processor, elapsed | new | ratio of processor time |\n|---|---|---|---|")
    results = {}
    with measure.folder(args.work) as work:
        for what, words in cases(args, work).items():
            runs = {program: [] for program in (args.old, args.anemone)}
            for _ in range(args.rounds):
                for program, taken in runs.items():
                    taken.append(cost([program, *words]))
            old, new = ([min(column) for column in zip(*taken)] for taken in runs.values())
            results[what] = {"old": old, "new": new}
            ratio = new[0] / old[0]
            print(f"| {what} | {old[0] * 1e3:.1f} ms, {old[1] * 1e3:.1f} ms | {new[0] * 1e3:.1f} ms, {new[1] * 1e3:.1f} ms | {ratio:.2f}× |",
                  flush=True)
    measure.write_json(args.json, results)


if __name__ == "__main__":
    main()
