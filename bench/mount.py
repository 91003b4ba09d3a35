#!/usr/bin/env python3
"""Measures reading through `anemone mount` against converting to memory, in one run.

  bench/mount.py --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint \\
      --work DIR [--model ViT-L-14] [--source DIR] [--cold] [--rounds 5] [--json FILE]

DIR has room for twice the model, /dev/shm for once. --source: a Hugging Face folder, instead of making one; what begins with a .nemo
is then left out. Sources are warm, or with --cold not in the page cache. First byte: from opening a file of the mount; in brackets
from starting the program.
"""

import os
import subprocess
import time

import measure

MEMORY = "/dev/shm"


def read_through(path):
    buffer = bytearray(1 << 20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def mounted(args, source, view, words):
    """(seconds to the first byte, the same from the start of the program, seconds to read all, peak resident KiB)"""
    start = time.perf_counter()
    process = subprocess.Popen([args.anemone, "mount", "-f", "-q", source, view, *words])
    while not os.listdir(view):
        time.sleep(0.001)
    largest = max((os.path.join(view, name) for name in os.listdir(view)), key=os.path.getsize)

    def first():
        with open(largest, "rb", buffering=0) as file:
            file.read(1)

    opened = seconds(first)
    result = opened, time.perf_counter() - start, seconds(lambda: read_through(largest)), peak_kib(process.pid)
    subprocess.run([args.anemone, "unmount", view], check=True)
    process.wait()
    return result


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--model", default="ViT-L-14")
    parser.add_argument("--source")
    parser.add_argument("--cold", action="store_true")
    args = parser.parse_args()
    with measure.folder(args.work) as work, measure.folder(MEMORY) as memory:
        measured(args, work, memory)


def measured(args, work, memory):
    hf, nemo, view = (os.path.join(work, name) for name in (args.model, "source.nemo", "view"))
    hf = args.source or hf
    os.mkdir(view)
    if not args.source:
        measure.run([args.make_checkpoint, args.model, hf, "--tokenizer", measure.DEMO])
        measure.run([args.anemone, "convert", hf, nemo, "-q"])
    contestants = {
        "Hugging Face to .nemo": (hf, ["--to", "nemo"]),
        "Hugging Face to .nemo, --no-crc32": (hf, ["--to", "nemo", "--no-crc32"]),
        ".nemo to Hugging Face": (nemo, ["--to", "hf"]),
        ".nemo to .nemo in bf16": (nemo, ["--to", "nemo", "--dtype", "bf16"]),
    }
    contestants = {name: given for name, given in contestants.items() if os.path.exists(given[0])}
    begin = measure.cool if args.cold else measure.warm
    figures = {name: {"convert": [], "first": [], "started": [], "mount": [], "peak": []} for name in contestants}
    for _ in range(args.rounds):
        for name, (source, words) in contestants.items():
            weights = os.path.join(hf, "model.safetensors") if source == hf else nemo
            begin(weights)
            out = os.path.join(memory, "out")
            figures[name]["convert"].append(measure.run([args.anemone, "convert", source, out, *words, "-q"])[0])
            measure.run(["rm", "-r", out])
            begin(weights)
            for key, value in zip(("first", "started", "mount", "peak"), mounted(args, source, view, words)):
                figures[name][key].append(value)
    rows = []
    for name, figure in figures.items():
        convert, mount = measure.median(figure["convert"]), measure.median(figure["mount"])
        first, peak = measure.median(figure["first"]) * 1000, max(figure["peak"]) / 1024
        started = measure.median(figure["started"]) * 1000
        rows += [(f"{name}: convert to memory", f"{convert:.2f} s ({measure.spread(figure['convert'])})", "", ""),
                 (f"{name}: read through a mount", f"{mount:.2f} s ({measure.spread(figure['mount'])})", "", ""),
                 ("speed, mount / convert", f"{convert / mount:.2f}×", "≥ 0.5×", measure.within(0.5, convert / mount)),
                 ("first byte", f"{first:.1f} ms ({started:.1f} ms)", "≤ 20 ms", measure.within(first, 20)),
                 ("peak resident memory", f"{peak:.0f} MiB", "≤ 128 MiB", measure.within(peak, 128))]
    print(measure.machine() + "\n")
    measure.table(rows)
    measure.write_json(args.json, {"machine": measure.machine(), "figures": figures})


if __name__ == "__main__":
    main()
