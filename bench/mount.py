#!/usr/bin/env python3
"""Measures reading through `anemone mount` against converting to memory, in one run.

  bench/mount.py --anemone build/release/anemone --make-checkpoint build/release/tools/make_checkpoint \\
      --work DIR [--model ViT-L-14] [--rounds 5] [--json FILE]

DIR has room for twice the model, /dev/shm for once. Sources are warm. First byte: from opening a file of the mount.
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
    """(seconds to the first byte, seconds to read all, peak resident KiB)"""
    process = subprocess.Popen([args.anemone, "mount", "-f", "-q", source, view, *words])
    while not os.listdir(view):
        time.sleep(0.001)
    largest = max((os.path.join(view, name) for name in os.listdir(view)), key=os.path.getsize)

    def first():
        with open(largest, "rb", buffering=0) as file:
            file.read(1)

    result = seconds(first), seconds(lambda: read_through(largest)), peak_kib(process.pid)
    subprocess.run([args.anemone, "unmount", view], check=True)
    process.wait()
    return result


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--model", default="ViT-L-14")
    args = parser.parse_args()
    with measure.folder(args.work) as work, measure.folder(MEMORY) as memory:
        measured(args, work, memory)


def measured(args, work, memory):
    hf, nemo, view = (os.path.join(work, name) for name in (args.model, "source.nemo", "view"))
    os.mkdir(view)
    measure.run([args.make_checkpoint, args.model, hf, "--tokenizer", measure.DEMO])
    measure.run([args.anemone, "convert", hf, nemo, "-q"])
    contestants = {
        "Hugging Face to .nemo": (hf, ["--to", "nemo"]),
        "Hugging Face to .nemo, --no-crc32": (hf, ["--to", "nemo", "--no-crc32"]),
        ".nemo to Hugging Face": (nemo, ["--to", "hf"]),
        ".nemo to .nemo in bf16": (nemo, ["--to", "nemo", "--dtype", "bf16"]),
    }
    figures = {name: {"convert": [], "first": [], "mount": [], "peak": []} for name in contestants}
    for _ in range(args.rounds):
        for name, (source, words) in contestants.items():
            measure.warm(os.path.join(hf, "model.safetensors") if source == hf else nemo)
            out = os.path.join(memory, "out")
            figures[name]["convert"].append(measure.run([args.anemone, "convert", source, out, *words, "-q"])[0])
            measure.run(["rm", "-r", out])
            for key, value in zip(("first", "mount", "peak"), mounted(args, source, view, words)):
                figures[name][key].append(value)
    rows = []
    for name, figure in figures.items():
        convert, mount = measure.median(figure["convert"]), measure.median(figure["mount"])
        first, peak = measure.median(figure["first"]) * 1000, max(figure["peak"]) / 1024
        rows += [(f"{name}: convert to memory", f"{convert:.2f} s ({measure.spread(figure['convert'])})", "", ""),
                 (f"{name}: read through a mount", f"{mount:.2f} s ({measure.spread(figure['mount'])})", "", ""),
                 ("speed, mount / convert", f"{convert / mount:.2f}×", "≥ 0.5×", measure.within(0.5, convert / mount)),
                 ("first byte", f"{first:.1f} ms", "≤ 20 ms", measure.within(first, 20)),
                 ("peak resident memory", f"{peak:.0f} MiB", "≤ 128 MiB", measure.within(peak, 128))]
    print(measure.machine() + "\n")
    measure.table(rows)
    measure.write_json(args.json, {"machine": measure.machine(), "figures": figures})


if __name__ == "__main__":
    main()
