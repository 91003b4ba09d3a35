"""Fails when a folder of src/ includes one to its right (docs/design.md, "The house")."""
import pathlib
import re
import sys

ORDER = ["base", "tensor", "config", "engine", "container", "format", "family", "parallel", "clip", "ops", "convert", "cli", "c_api"]
NEVER = {("family", "format"), ("tensor", "config"), ("config", "tensor")}

root = pathlib.Path(sys.argv[1])
wrong = []
seen = 0
for source in sorted((root / "src").rglob("*")):
    if source.suffix not in (".h", ".cc"):
        continue
    folder = source.relative_to(root / "src").parts[0]
    for line, text in enumerate(source.read_text().splitlines(), 1):
        match = re.match(r'#include "([a-z_0-9]+)/', text)
        if not match or match[1] not in ORDER:
            continue
        seen += 1
        if ORDER.index(match[1]) > ORDER.index(folder) or (folder, match[1]) in NEVER:
            wrong.append(f"{source.relative_to(root)}:{line}: {folder} must not include {match[1]}")
print("\n".join(wrong) or f"{seen} includes, all to the left")
sys.exit(1 if wrong or seen == 0 else 0)
