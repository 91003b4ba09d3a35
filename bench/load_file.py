#!/usr/bin/env python3
"""anemone.torch.load_file beside safetensors.torch.load_file, from the page cache, in one run.

  PYTHONPATH=build/release/python bench/load_file.py FILE.safetensors [--device cpu|cuda:0] [--rounds 7]

Each round is a process of its own, in turn; the figures are medians. "read" also sums every tensor's bytes, so that what
was only mapped is read.
"""

import argparse
import statistics
import subprocess
import sys

ROUND = """
import sys, time
library, path, device = sys.argv[1:]
import torch
if library == "anemone":
    from anemone.torch import load_file
else:
    from safetensors.torch import load_file
if device != "cpu":
    torch.zeros(1, device=device)
begin = time.perf_counter()
state = load_file(path, device=device)
if device != "cpu":
    torch.cuda.synchronize()
loaded = time.perf_counter()
total = sum(int(tensor.reshape(-1).view(torch.uint8).sum()) for tensor in state.values() if tensor.numel())
print(loaded - begin, time.perf_counter() - begin, total)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with open(args.file, "rb") as file:  # into the page cache
        while file.read(1 << 24):
            pass
    seconds = {"anemone": [], "safetensors": []}
    totals = set()
    for _ in range(args.rounds):
        for library, found in seconds.items():
            words = subprocess.check_output([sys.executable, "-c", ROUND, library, args.file, args.device], text=True).split()
            found.append((float(words[0]), float(words[1])))
            totals.add(words[2])
    if len(totals) != 1:
        sys.exit("the two libraries read different bytes")
    for i, what in enumerate(("load", "read")):
        own, theirs = (statistics.median(pair[i] for pair in seconds[library]) for library in ("anemone", "safetensors"))
        print(f"{what}: anemone {own:.3f} s, safetensors {theirs:.3f} s, ratio {own / theirs:.2f}")


if __name__ == "__main__":
    main()
