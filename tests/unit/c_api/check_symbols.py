"""Fails unless libanemone.so shows what src/c_api/libanemone.map lists, include/anemone/c.h declares, and nothing else.

usage: check_symbols.py NM LIBRARY SOURCE_DIR
"""
import pathlib
import re
import subprocess
import sys

nm, library, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
shown = {line.split()[2] for line in subprocess.run([nm, "-D", "--defined-only", library], capture_output=True, text=True,
                                                    check=True).stdout.splitlines() if line.split()[1] != "A"}
# "anemone_open@@ANEMONE_1"; a sanitizer's own names are no part of it
shown = {name for name in shown if not name.startswith(("__asan", "__ubsan", "__sanitizer", "__tsan"))}
listed = {f"{name}@@ANEMONE_1" for name in re.findall(r"^ +(anemone_\w+);", (root / "src/c_api/libanemone.map").read_text(), re.M)}
header = re.sub(r"/\*.*?\*/", "", (root / "include/anemone/c.h").read_text(), flags=re.S)
declared = {f"{name}@@ANEMONE_1" for name in re.findall(r"(?:ANEMONE_API|ANEMONE_CHECKED)[^;(]*?\b(anemone_\w+)\(", header)}
wrong = [f"{name}: shown {name in shown}, listed {name in listed}, declared {name in declared}"
         for name in sorted(shown | listed | declared) if not (name in shown and name in listed and name in declared)]
print("\n".join(wrong) or f"{len(shown)} symbols")
sys.exit(1 if wrong or not shown else 0)
