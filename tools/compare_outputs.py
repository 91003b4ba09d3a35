#!/usr/bin/env python3
"""What two builds of the program write for the same commands, byte for byte: a change that keeps behavior keeps these.

usage: compare_outputs.py OLD NEW GOLDEN [--only REGEX]
    OLD, NEW: two anemone programs; GOLDEN: a folder that the golden checkpoints are unpacked in (tests/golden/unpack).

Each checkpoint below is converted to every format that it can become, resharded, averaged and edited. Both programs run
in the same folder, one after the other: a config may hold a path. Printed: each command whose exit status or output differs, with the
first files that do; then the counts. Exit status 1 where any differs."""
import argparse
import hashlib
import itertools
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CLIP = ["clip/mcore.nemo", "clip/legacy.nemo", "clip/mcore_bf16_O2.nemo", "clip/mcore_tp2.nemo", "clip_pp/legacy_tp2pp2.nemo", "clip/hf",
        "clip/ckpt_mcore", "siglip/siglip_32.nemo", "siglip/hf_siglip"]
LANGUAGE = ["gpt/A.nemo", "gpt/AL_tp2.nemo", "gpt/C.nemo", "gpt/Z.nemo", "gpt_gqa_tp2/gqa_tp2.nemo", "t5/t5.nemo", "t5/t5_tp2pp2.nemo",
            "gpt_vp", "gpt_fused_adam_dist", "gpt_mcore_dist_optim", "dist/torch_dist_small", "dist/nemo2_llama/nemo"]
TARGETS = ["nemo", "nemo-dir", "ckpt", "torch_dist", "nemo2", "hf", "safetensors", "bin", "openclip"]
LAYOUTS = [(1, 1), (2, 1), (1, 2), (2, 2)]


def commands(golden):
    families = sorted(str(p.relative_to(golden)) for p in golden.glob("families/*/*.nemo")) or sorted(
        str(p.relative_to(golden)) for p in golden.glob("families/*.nemo"))
    folders = sorted(str(p.relative_to(golden)) for p in golden.glob("families/*/hf"))
    sources = [s for s in CLIP + LANGUAGE + families + folders if (golden / s).exists()]
    for source, to in itertools.product(sources, TARGETS):
        yield ["convert", source, "out", "--to", to]
    for source, (tp, pp) in itertools.product(sources, LAYOUTS):
        if source.endswith(".nemo"):
            yield ["reshard", source, "out.nemo", "--tp", str(tp), "--pp", str(pp)]
    yield ["convert", "clip/mcore.nemo", "out.nemo", "--dtype", "bf16"]
    yield ["convert", "clip/hf", "out.nemo", "--dialect", "legacy"]
    yield ["average", "clip/mcore.nemo", "clip_pp/mcore.nemo", "-o", "out.nemo"]
    yield ["edit", "clip/mcore.nemo", "-o", "out.nemo", "--set", "precision=32"]


def run(program, command, folder):
    """Exit status and, by path, the digest of each file that the command wrote: all whose names begin with "out"."""
    status = subprocess.run([program, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    files = {}
    for written in folder.glob("out*"):
        for path in sorted(written.rglob("*")) if written.is_dir() else [written]:
            if path.is_file():
                files[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.rmtree(written) if written.is_dir() else written.unlink()
    return status, files


def compare(programs, golden, only):
    total = refused = differ = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for entry in golden.iterdir():
            (folder / entry.name).symlink_to(entry)
        for command in commands(golden):
            words = " ".join(command)
            if not re.search(only, words):
                continue
            total += 1
            (old_status, old), (new_status, new) = (run(program, command, folder) for program in programs)
            refused += old_status != 0 and new_status != 0
            if old_status != new_status:
                what = f"exit status {old_status}, now {new_status}"
            else:
                what = ", ".join(name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name))
            if what:
                differ += 1
                print(f"{words}: {what[:200]}", flush=True)
    print(f"{total} commands: {total - differ} as before ({refused} refused by both), {differ} differ")
    return 1 if differ or total == 0 else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("golden", type=pathlib.Path)
    parser.add_argument("--only", default="", help="commands in which this is found")
    args = parser.parse_args()
    programs = [str(pathlib.Path(p).resolve()) for p in (args.old, args.new)]
    return compare(programs, args.golden.resolve(), args.only)


if __name__ == "__main__":
    sys.exit(main())
