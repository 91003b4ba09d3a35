#!/usr/bin/env python3
"""What scanners say about files that reach code and about harmless ones, and how long they take.

usage: scan.py --anemone ANEMONE [--python PYTHON]

The files are made anew (tests/interop/scan/samples.py needs torch and numpy). PYTHON has any of picklescan, fickling, modelscan
and modelaudit installed; those that are not are left out. Each is one process that looks at the files one by one. A file that a
tool fails on counts as flagged, and as not read.
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

# For each tool, Python that answers as the exit status of its own program does: is the file flagged?
FLAGS = {
    "picklescan": "from picklescan.scanner import scan_file_path\n"
                  "def flags(path):\n"
                  "    found = scan_file_path(path)\n"
                  "    if found.scan_err: raise ValueError(path)\n"
                  "    return found.issues_count > 0\n",
    "fickling": "import fickling\nflags = lambda path: not fickling.is_likely_safe(path)\n",
    "modelscan": "from modelscan.modelscan import ModelScan\n"
                 "def flags(path):\n"
                 "    scan = ModelScan()\n"
                 "    scan.scan(path)\n"
                 "    return bool(scan.issues.all_issues)\n",
    "modelaudit": "from modelaudit.core import determine_exit_code, scan_model_directory_or_file\n"
                  "flags = lambda path: determine_exit_code(scan_model_directory_or_file(path)) == 1\n",
}
LOOP = """
import contextlib, io, json, logging, sys
logging.disable(logging.CRITICAL)
said = {}
for path in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            said[path] = bool(flags(path))
        except (Exception, SystemExit):
            said[path] = None
print(json.dumps(said))
"""


def ask_anemone(anemone, paths):
    return {path: subprocess.run([anemone, "scan", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0
            for path in paths}


def ask(python, tool, paths):
    done = subprocess.run([python, "-c", FLAGS[tool] + LOOP], input=json.dumps(paths), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"scan.py: {tool}: {done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anemone", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", help="also write the table here")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        truth = samples.write(folder)
        for tool in ["anemone", *FLAGS]:
            if tool != "anemone" and subprocess.run([arguments.python, "-c", "import " + tool], stderr=subprocess.DEVNULL, check=False).returncode != 0:
                continue
            start = time.monotonic()
            said = ask_anemone(arguments.anemone, list(truth)) if tool == "anemone" else ask(arguments.python, tool, list(truth))
            seconds = time.monotonic() - start
            rows.append({
                "tool": tool, "seconds": round(seconds, 2), "not_read": sum(flagged is None for flagged in said.values()),
                "reaching": sum(said[path] is not False for path, reaches in truth.items() if reaches),
                "harmless": sum(said[path] is not False for path, reaches in truth.items() if not reaches)})
        reaching = sum(truth.values())
    print("%-12s %22s %18s %10s %9s" % ("", "reach code, flagged", "harmless, flagged", "not read", "seconds"))
    for row in rows:
        print("%-12s %15d of %3d %11d of %3d %10d %9.2f" % (row["tool"], row["reaching"], reaching, row["harmless"],
                                                          len(truth) - reaching, row["not_read"], row["seconds"]))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


main()
