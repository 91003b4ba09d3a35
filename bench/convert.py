#!/usr/bin/env python3
"""Measures `anemone convert` of a Hugging Face CLIP to .nemo against copying it, and against plain torch, in one run.

  bench/convert.py --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint \
      --work DIR [--torch PYTHON] [--model ViT-L-14|ViT-bigG-14|…] [--rounds 5] [--json FILE]

ViT-bigG-14 (10 GB) needs 30 GB in DIR; its targets are 1.0× cp and 96 MiB.

Beside them, what two threads need to write as many bytes past the page cache: the device's limit. All start warm (source in the page cache)
and end durable (fsync). The contestants alternate; the figures are medians.
"""

import os

import measure

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--torch", help="a Python with torch and safetensors")
    parser.add_argument("--tokenizer", default=measure.DEMO)
    parser.add_argument("--model", default="ViT-L-14")
    args = parser.parse_args()
    with measure.folder(args.work) as work:
        measured(args, work)


def measured(args, work):
    source, copy, nemo, torch_nemo, direct = (
        os.path.join(work, n) for n in (args.model, "copy.safetensors", "anemone.nemo", "torch.nemo", "direct"))
    measure.run([args.make_checkpoint, args.model, source, "--tokenizer", args.tokenizer])
    weights = os.path.join(source, "model.safetensors")
    size = os.path.getsize(weights)
    # Room for the source in the cache, both outputs, and torch, which holds all weights and their copies.
    ground = measure.Ground(room=3 * size + (4 << 30 if args.torch else 1 << 30))

    contestants = {"cp": (lambda: measure.copying(weights, copy), copy), "anemone": (lambda: measure.run([args.anemone, "convert", source, nemo, "-q"]), nemo),
                   "device": (lambda: measure.device(direct, size), direct)}
    work_only = []
    if args.torch:
        def by_torch():
            note = os.path.join(work, "seconds")
            with open(note, "w") as file:
                result = measure.run([args.torch, os.path.join(HERE, "torch_convert.py"), source, torch_nemo], stdout=file)
            with open(note) as file:
                work_only.append(float(file.read()))
            return result
        contestants["torch"] = (by_torch, torch_nemo)

    seconds, peaks = {n: [] for n in contestants}, {n: [] for n in contestants}
    for _ in range(args.rounds):
        for name, (contestant, target) in contestants.items():
            if os.path.exists(target):
                os.remove(target)
            measure.warm(weights)
            ground.settle()
            s, peak = contestant()
            seconds[name].append(s)
            peaks[name].append(peak)
            print(f"  {name}: {s:.3f} s, {peak / 1024:.0f} MiB", flush=True)

    inspect = [measure.run([args.anemone, "inspect", nemo])[0] for _ in range(21)]
    nothing = [measure.run([args.anemone, "--version"])[0] for _ in range(21)]

    med = {n: measure.median(s) for n, s in seconds.items()}
    most_time, most_memory = (1.0, 96) if size > 5e9 else (0.8, 64)
    ratio, peak = med["anemone"] / med["cp"], max(peaks["anemone"]) / 1024
    rows = [(f"`cp` of {size / 1e9:.2f} GB, then fsync", f"{med['cp']:.2f} s ({measure.spread(seconds['cp'])})", "", ""),
            (f"`anemone convert {args.model} x.nemo`", f"{med['anemone']:.2f} s ({measure.spread(seconds['anemone'])})", "", ""),
            ("anemone / cp", f"{ratio:.2f}×", f"≤ {most_time}×", measure.within(ratio, most_time)),
            ("two threads that write as many bytes past the page cache", f"{med['device']:.2f} s ({measure.spread(seconds['device'])})", "", ""),
            ("anemone / these two threads", f"{med['anemone'] / med['device']:.2f}×", "≤ 1.05×", measure.within(med["anemone"] / med["device"], 1.05)),
            ("anemone, peak resident memory", f"{peak:.0f} MiB", f"≤ {most_memory} MiB", measure.within(peak, most_memory))]
    if args.torch:
        against = med["anemone"] / med["torch"]
        rows += [("plain torch, the whole process", f"{med['torch']:.2f} s ({measure.spread(seconds['torch'])}), {max(peaks['torch']) / 1024:.0f} MiB", "", ""),
                 ("anemone / torch", f"{against:.3f}×", "≤ 0.1×", measure.within(against, 0.1)),
                 ("anemone / torch without its imports", f"{med['anemone'] / measure.median(work_only):.3f}×", "", "")]
    latency = measure.median(inspect) * 1000
    rows += [(f"`anemone inspect x.nemo` ({os.path.getsize(nemo) / 1e9:.2f} GB), whole process", f"{latency:.1f} ms", "≤ 20 ms", measure.within(latency, 20)),
             ("`anemone --version`, the cost of a process", f"{measure.median(nothing) * 1000:.1f} ms", "", "")]
    print(measure.machine() + "\n")
    measure.table(rows)
    measure.write_json(args.json, {"machine": measure.machine(), "bytes": size, "seconds": seconds, "peak_kib": peaks, "torch_work_seconds": work_only,
                                   "inspect_seconds": inspect})


if __name__ == "__main__":
    main()
