#!/usr/bin/env python3
"""Measures `anemone reshard` of a CLIP .nemo from one tensor rank to eight, and back, against copying it.

  bench/reshard.py --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint \\
      --work DIR [--model ViT-bigG-14-text16] [--tp 8] [--rounds 5] [--json FILE] [--mpirun mpirun]

All start warm (source in the page cache) and end durable (fsync). The contestants alternate; the figures are medians.
The model is ViT-bigG/14 (10 GB) with text heads that 8 ranks divide. Limits: 1.0 times the copy, 128 MiB. With --mpirun,
and an anemone that was built with MPI, also one rank against two as mpirun starts them, each on a core of its own: two take no longer than
one. Beside that, without a limit, as they share all cores and as many threads.
"""

import os
import shutil
import sys

import measure

RATIO, KIB = 1.0, 128 << 10


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--model", default="ViT-bigG-14-text16")
    parser.add_argument("--tp", default="8")
    parser.add_argument("--mpirun", help="start ranks by this")
    args = parser.parse_args()
    with measure.folder(args.work) as work:
        return measured(args, work)


def measured(args, work):
    made, one, many = (os.path.join(work, name) for name in ("hf", "one.nemo", "many.nemo"))
    out = os.path.join(work, "out.nemo")
    measure.run([args.make_checkpoint, args.model, made, "--tokenizer", measure.DEMO])
    measure.run([args.anemone, "convert", made, one, "-q"])
    shutil.rmtree(made)
    measure.run([args.anemone, "reshard", one, many, "--tp", args.tp, "-q"])

    contestants = {
        "cp": lambda: measure.copying(one, out),
        f"TP 1 to {args.tp}": lambda: measure.run([args.anemone, "reshard", one, out, "--tp", args.tp, "-q"]),
        f"TP {args.tp} to 1": lambda: measure.run([args.anemone, "reshard", many, out, "--tp", "1", "-q"]),
    }
    def by_ranks(count, *sharing):
        return measure.run([args.mpirun, "--allow-run-as-root", "--oversubscribe", *sharing, "-n", str(count), args.anemone, "reshard", one, out,
                            "--tp", args.tp, "-q", *(["--threads", str(max(1, 2 * os.cpu_count() // count))] if sharing else [])])

    if args.mpirun:
        for count, name in (1, "1 rank"), (2, "2 ranks"):
            contestants[name] = lambda count=count: by_ranks(count)
            contestants[name + " that share"] = lambda count=count: by_ranks(count, "--bind-to", "none")
    ground = measure.Ground(room=2 * os.path.getsize(one) + (1 << 30))
    runs = {name: [] for name in contestants}
    for _ in range(args.rounds):
        for name, run in contestants.items():
            measure.warm(many if name.endswith(" to 1") else one)
            ground.settle()
            runs[name].append(run())
            os.remove(out)
    print(f"{args.model}: {os.path.getsize(one) / 1e9:.1f} GB")
    seconds, peak = measure.against_cp(runs, args.json)
    ours = [name for name in contestants if name.startswith("TP ")]
    slower = args.mpirun and seconds["2 ranks"] > seconds["1 rank"]
    return 1 if slower or any(seconds[n] > RATIO * seconds["cp"] or peak[n] > KIB for n in ours) else 0


sys.exit(main())
