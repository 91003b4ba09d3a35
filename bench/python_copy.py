"""anemone.open beside safetensors.safe_open on the same bytes: how soon each is ready, how long all weights take into numpy.

usage: PYTHONPATH=build/release/python python3 bench/python_copy.py [--gigabytes 1.7] [--repeat 7] [--dir DIR]
Needs numpy and safetensors. The file is in the page cache; each measurement is a process of its own, the two by turns; medians.
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile

import measure

OPENERS = {"safetensors.safe_open": "from safetensors import safe_open as f; open_ = lambda p: f(p, framework='np')",
           "anemone.open": "import anemone; open_ = anemone.open"}
CHILD = """
import json, sys, time, numpy
t0 = time.perf_counter()
{imports}
t1 = time.perf_counter()
with open_(sys.argv[1]) as file:
    names = list(file.keys())
    t2 = time.perf_counter()
    total = sum(file.get_tensor(name).nbytes for name in names)
    t3 = time.perf_counter()
print(json.dumps([t1 - t0, t2 - t1, t3 - t2, total]))
"""


def write_weights(path, total):
    """fp32 tensors of 1024 × 4096, noise, until there are enough."""
    count, size = max(1, round(total / (1024 * 4096 * 4))), 1024 * 4096 * 4
    header = json.dumps({f"layers.{i}.weight": {"dtype": "F32", "shape": [1024, 4096], "data_offsets": [i * size, (i + 1) * size]}
                         for i in range(count)}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        block = os.urandom(size)
        for _ in range(count):
            file.write(block)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.7)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--dir")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        weights, nemo = os.path.join(folder, "x.safetensors"), os.path.join(folder, "x.nemo")
        write_weights(weights, arguments.gigabytes * 1e9)
        cases = [("safetensors.safe_open", weights), ("anemone.open", weights)]
        hparams = os.path.join(folder, "hparams.yaml")
        with open(hparams, "w") as file:
            file.write("name: bench\n")
        measure.run([sys.executable, "-m", "anemone", "convert", weights, nemo, "--hparams", hparams])
        cases.append(("anemone.open", nemo))
        results = {case: [] for case in cases}
        for _ in range(arguments.repeat):
            for name, path in cases:
                measure.warm(path)
                child = subprocess.run([sys.executable, "-c", CHILD.format(imports=OPENERS[name]), path], capture_output=True, check=True)
                results[name, path].append(json.loads(child.stdout))
        base = statistics.median(row[2] for row in results[cases[0]])
        print(f"{'':40}{'import':>10}{'ready':>10}{'to numpy':>10}{'GB/s':>7}{'ratio':>7}")
        for (name, path), rows in results.items():
            imported, ready, copied, total = (statistics.median(column) for column in zip(*rows))
            print(f"{name + ' ' + os.path.basename(path):40}{1e3 * imported:7.1f} ms{1e3 * ready:7.1f} ms{copied:8.2f} s"
                  f"{total / copied / 1e9:7.2f}{copied / base:7.2f}")


if __name__ == "__main__":
    main()
