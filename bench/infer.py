#!/usr/bin/env python3
"""Measures a whole `anemone infer` (a fresh process, files in the page cache) against a transformers script, in one run.

  bench/infer.py --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint --transformers PYTHON \
      --work DIR [--model ViT-L-14] [--rounds 5] [--json FILE]
"""

import json
import os

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["a dog", "a boy", "a photo of a sneaker"]


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--transformers", required=True, help="a Python with torch, transformers, Pillow")
    parser.add_argument("--model", default="ViT-L-14")
    parser.add_argument("--image", default=os.path.join(measure.DEMO, "images", "sneaker.png"))
    args = parser.parse_args()
    with measure.folder(args.work) as work:
        measured(args, work)


def measured(args, work):
    source, nemo = os.path.join(work, args.model), os.path.join(work, "x.nemo")
    measure.run([args.make_checkpoint, args.model, source, "--tokenizer", measure.DEMO])
    measure.run([args.anemone, "convert", source, nemo, "-q"])
    texts = [word for text in TEXTS for word in ("--text", text)]
    infer = lambda model: [args.anemone, "infer", model, "--image", args.image, *texts, "--threads", "2", "--json"]
    contestants = {"anemone, Hugging Face folder": infer(source), "anemone, .nemo": infer(nemo),
                   "transformers": [args.transformers, "-W", "ignore", os.path.join(HERE, "transformers_infer.py"), source, args.image, *TEXTS]}
    measure.warm(os.path.join(source, "model.safetensors"))
    measure.warm(nemo)

    seconds, peaks, answers = {n: [] for n in contestants}, {n: [] for n in contestants}, {}
    quiet = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    for _ in range(args.rounds):
        for name, argv in contestants.items():
            note = os.path.join(work, "out")
            with open(note, "w") as file:
                s, peak = measure.run(argv, quiet, stdout=file)
            with open(note) as file:
                answers[name] = file.read().strip().splitlines()[-1]
            seconds[name].append(s)
            peaks[name].append(peak)
            print(f"  {name}: {s:.2f} s, {peak / 1024:.0f} MiB", flush=True)

    expected = json.loads(answers["transformers"])
    rows = []
    transformers = measure.median(seconds["transformers"])
    for name in contestants:
        got = expected if name == "transformers" else json.loads(answers[name])["probabilities"]
        error = max(abs(a - b) for a, b in zip(got, expected))
        ratio = measure.median(seconds[name]) / transformers
        bound = ("", "") if name == "transformers" else ("≤ 0.25×", measure.within(ratio, 0.25))
        rows.append((f"{name}: {args.model}, one image, {len(TEXTS)} texts",
                     f"{measure.median(seconds[name]):.2f} s ({measure.spread(seconds[name])}), {max(peaks[name]) / 1024:.0f} MiB, {ratio:.2f}×, "
                     f"probabilities within {error:.1e}", *bound))
    print(measure.machine() + "\n")
    measure.table(rows)
    measure.write_json(args.json, {"machine": measure.machine(), "seconds": seconds, "peak_kib": peaks, "answers": answers})


if __name__ == "__main__":
    main()
