#!/usr/bin/env python3
"""Measures a whole `anemone infer` (a fresh process, files in the page cache) against a transformers script, or against what it
cannot do without: reading the weights once, and the encoders alone; in one run.

  bench/infer.py --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint \
      {--transformers PYTHON | --encoder-bench build/release/bench/encoder_bench} --work DIR [--model ViT-L-14] [--rounds 5] [--json FILE]
"""

import json
import os
import subprocess
import threading
import time

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["a dog", "a boy", "a photo of a sneaker"]


def main():
    parser = measure.arguments(__doc__)
    beside = parser.add_mutually_exclusive_group(required=True)
    beside.add_argument("--transformers", help="a Python with torch, transformers, Pillow")
    beside.add_argument("--encoder-bench", help="the program that runs the encoders alone, of ViT-L/14 or ViT-B/32")
    parser.add_argument("--model", default="ViT-L-14")
    parser.add_argument("--image", default=os.path.join(measure.DEMO, "images", "sneaker.png"))
    args = parser.parse_args()
    with measure.folder(args.work) as work:
        (measured if args.transformers else least)(args, work)


def infer(args, model, threads):
    texts = [word for text in TEXTS for word in ("--text", text)]
    return [args.anemone, "infer", model, "--image", args.image, *texts, "--threads", str(threads), "--json"]


def read_weights(path, threads):
    """Seconds to read a safetensors file's tensors into memory that is used again, a MiB at a time; the table of tokens, of which a few
    rows are used, is left out."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin = file.tell()
    parts = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__" and "token_embedding" not in name)
    pieces = [(begin + at, min(1 << 20, last - at)) for first, last in parts for at in range(first, last, 1 << 20)]

    def read(mine):
        memory = memoryview(bytearray(1 << 20))
        for at, size in mine:
            os.preadv(file.fileno(), [memory[:size]], at)

    with open(path, "rb") as file:
        workers = [threading.Thread(target=read, args=(pieces[i::threads],)) for i in range(threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - start


def encoders(args, threads):
    """Seconds for one picture and for three short texts, weights in memory."""
    environment = {**os.environ, "ANEMONE_BENCH_MODEL": args.model, "ANEMONE_BENCH_THREADS": str(threads)}
    command = [args.encoder_bench, "--benchmark_filter=Image/1/|Texts/3/", "--benchmark_format=json", "--benchmark_repetitions=3"]
    runs = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)["benchmarks"]
    return sum(min(run["real_time"] for run in runs if run.get("run_type") == "iteration" and run["name"].startswith(name)) for name in ("Image/1", "Texts/3")) / 1e3


def least(args, work):
    source = os.path.join(work, args.model)
    measure.run([args.make_checkpoint, args.model, source, "--tokenizer", measure.DEMO])
    weights = os.path.join(source, "model.safetensors")
    measure.warm(weights)
    rows, seconds = [], {}
    for threads in (1, 2):
        read, encode, whole = [], [], []
        for _ in range(args.rounds):
            read.append(read_weights(weights, threads))
            encode.append(encoders(args, threads))
            with open(os.path.join(work, "out"), "w") as file:
                whole.append(measure.run(infer(args, source, threads), stdout=file)[0])
            print(f"  {threads} threads: reading {read[-1]:.3f} s, encoders {encode[-1]:.3f} s, infer {whole[-1]:.3f} s", flush=True)
        ratio = min(whole) / (min(read) + min(encode))
        rows.append((f"{args.model}, one image, {len(TEXTS)} texts, threads: {threads}",
                     f"infer {min(whole):.3f} s, reading the weights {min(read):.3f} s, encoders {min(encode):.3f} s: {ratio:.2f}×",
                     "≤ 1.15×", measure.within(ratio, 1.15)))
        seconds[threads] = {"read": read, "encoders": encode, "infer": whole}
    print(measure.machine() + "\n")
    measure.table(rows)
    measure.write_json(args.json, {"machine": measure.machine(), "seconds": seconds})


def measured(args, work):
    source, nemo = os.path.join(work, args.model), os.path.join(work, "x.nemo")
    measure.run([args.make_checkpoint, args.model, source, "--tokenizer", measure.DEMO])
    measure.run([args.anemone, "convert", source, nemo, "-q"])
    contestants = {"anemone, Hugging Face folder": infer(args, source, 2), "anemone, .nemo": infer(args, nemo, 2),
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
