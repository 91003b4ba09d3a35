#!/usr/bin/env python3
"""What scanners say about files that reach code and about harmless ones, and how long they take.

usage: scan.py --anemone ANEMONE [--python PYTHON]

The files are made anew (tests/interop/scan/samples.py needs torch and numpy). PYTHON has any of picklescan, fickling and modelscan
installed; those that are not are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "interop", "scan"))
import samples  # noqa: E402


def run(command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anemone", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", help="also write the table here")
    arguments = parser.parse_args()
    # One file a run: each tool's exit status is its answer.
    tools = {
        "anemone": lambda path: [arguments.anemone, "scan", path],
        "picklescan": lambda path: [arguments.python, "-m", "picklescan", "-p", path],
        "fickling": lambda path: [arguments.python, "-m", "fickling", "--check-safety", path],
        "modelscan": lambda path: [arguments.python, "-m", "modelscan.cli", "-p", path],
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        truth = samples.write(folder)
        for tool, command in tools.items():
            if tool != "anemone" and run([arguments.python, "-c", "import " + tool]).returncode != 0:
                continue
            start = time.monotonic()
            flagged = {path: run(command(path)).returncode != 0 for path in truth}
            seconds = time.monotonic() - start
            rows.append({
                "tool": tool, "seconds": round(seconds, 2),
                "reaching": sum(flagged[path] for path, reaches in truth.items() if reaches),
                "harmless": sum(flagged[path] for path, reaches in truth.items() if not reaches)})
        reaching = sum(truth.values())
    print("%-12s %22s %18s %9s" % ("", "reach code, flagged", "harmless, flagged", "seconds"))
    for row in rows:
        print("%-12s %15d of %3d %11d of %3d %9.2f" % (row["tool"], row["reaching"], reaching, row["harmless"],
                                                      len(truth) - reaching, row["seconds"]))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


main()
