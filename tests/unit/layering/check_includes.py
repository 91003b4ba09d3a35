"""Fails when a folder inside src/format or src/family includes one to its right, or one inside another folder of src/ is
in no such order. Between the folders of src/ the compiler sees to it (cmake/anemone.cmake, DEPENDS).

What lies in src/format and src/family themselves is what their folders share, and the lists of all formats and families."""
import pathlib
import re
import sys

ORDER = {
    "format": ["torch", "dist", "megatron", "lightning", "huggingface", "nemo"],
    "family": ["tokenizer", "megatron", "words", "clip", "gpt", "bert", "t5", "neva", "vit", "diffusion", "mamba", "griffin"],
    "cli": ["nemo"],
}

root = pathlib.Path(sys.argv[1]) / "src"
wrong = []
seen = 0
for source in sorted(root.rglob("*")):
    inner = source.relative_to(root).parts[:-1]
    if source.suffix not in (".h", ".cc") or len(inner) < 2:
        continue
    folder, part = inner
    order = ORDER.get(folder, [])
    if part not in order:
        wrong.append(f"src/{folder}/{part}: has no place in the order of {folder}'s folders")
        continue
    for line, text in enumerate(source.read_text().splitlines(), 1):
        match = re.match(rf'#include "{folder}/([a-z_0-9]+)/', text)
        if match:
            seen += 1
            if order.index(match[1]) > order.index(part):
                wrong.append(f"src/{source.relative_to(root)}:{line}: {folder}/{part} must not include {folder}/{match[1]}")
print("\n".join(wrong) or f"{seen} includes, all to the left")
sys.exit(1 if wrong or seen == 0 else 0)
