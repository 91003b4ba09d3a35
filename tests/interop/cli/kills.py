"""Kills writing commands at random moments: the destination is the old one or the new one, whole, and the next run leaves
nothing behind.

usage: kills.py ANEMONE GOLDEN [KILLS [SEED]]
"""

import hashlib
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

ANEMONE, GOLDEN = (pathlib.Path(word).resolve() for word in sys.argv[1:3])

# What is written to `out`, from one of two sources.
COMMANDS = {
    "convert to a file": "convert {source}.nemo out --to nemo --force",
    "convert to a folder": "convert {source}.nemo out --to hf --force",
    "convert to shards": "convert {source}.nemo out --to hf --max-shard-size 20kB --force",
    "convert to torch_dist": "convert {source}.nemo out --to torch_dist --force",
    "reshard": "reshard {source}.nemo out --to nemo-dir --tp 2 --force",
    "average": "average {source}.nemo {source}.nemo out --to nemo --force",
    "pack": "pack {source} out --force",
    "extract": "extract {source}.nemo out --force",
    "edit": "edit {source}.nemo -o out --set my=1 --force",
    "edit in place": "edit out --set my={source}",
}


def start(folder, command, source):
    return subprocess.Popen([ANEMONE, *command.format(source=source).split()], cwd=folder, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def finish(folder, command, source):
    """Seconds that it took."""
    begin = time.monotonic()
    run = start(folder, command, source)
    said = run.communicate()[1]
    assert run.returncode == 0, (command, said)
    return time.monotonic() - begin


def digest(path):
    """Of a file, or of all names and files of a folder."""
    total = hashlib.sha256()
    for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
        total.update(str(each.relative_to(path)).encode() + b"\0")
        if not each.is_dir():
            total.update(hashlib.sha256(each.read_bytes()).digest())
    return total.hexdigest()


def digest_as_tar(path):
    """Of what is unpacked: an edit in place writes behind the end marker before it replaces that."""
    total = hashlib.sha256()
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member).read() if member.isfile() else b""
            total.update(member.name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()


def begin(folder, command, source):
    """What a run finds: for an edit in place the source itself, else what the run before has written."""
    if command == COMMANDS["edit in place"]:
        shutil.copyfile(folder / f"{source}.nemo", folder / "out")


def digest_for(command):
    return digest_as_tar if command == COMMANDS["edit in place"] else digest


def prepare(folder, command):
    """(digest of the output from each source, seconds of a run)"""
    seconds, digests = [], {}
    for source in ("a", "b", "a", "b"):
        begin(folder, command, source)
        seconds.append(finish(folder, command, source))
        found = digest_for(command)(folder / "out")
        assert digests.setdefault(source, found) == found, (command, "the same command writes other bytes")
    assert digests["a"] != digests["b"], command
    return digests, max(seconds)


def main():
    kills, seed = (int(word) for word in (sys.argv[3:] + ["40", "1"][len(sys.argv) - 3:]))
    chance = random.Random(seed)
    counts = dict.fromkeys(("kills", "ended before", "old", "new", "torn", "leftovers"), 0)
    with tempfile.TemporaryDirectory() as name:
        sources = pathlib.Path(name)
        for source, dtype in (("a", "fp32"), ("b", "bf16")):
            subprocess.run([ANEMONE, "convert", "-q", GOLDEN / "clip/mcore.nemo", f"{source}.nemo", "--dtype", dtype],
                           cwd=sources, check=True)
            subprocess.run([ANEMONE, "extract", "-q", f"{source}.nemo", source], cwd=sources, check=True)
        here = {path.name for path in sources.iterdir()}
        for i, (what, command) in enumerate(COMMANDS.items()):
            digests, seconds = prepare(sources, command)
            source, goal = "a", kills * (i + 1) // len(COMMANDS)
            while counts["kills"] < goal:
                begin(sources, command, source)
                before = digest_for(command)(sources / "out")
                run = start(sources, command, source)
                time.sleep(chance.uniform(0, seconds * 1.1))
                run.kill()
                run.communicate()
                counts["kills" if run.returncode < 0 else "ended before"] += 1
                out = sources / "out"
                found = digest_for(command)(out) if out.exists() else None
                state = {digests[source]: "new", before: "old"}.get(found, "torn")
                counts[state] += run.returncode < 0
                begin(sources, command, source)
                seconds = finish(sources, command, source)
                left = {path.name for path in sources.iterdir()} - here - {"out"}
                counts["leftovers"] += len(left)
                if state == "torn" or left or digest_for(command)(out) != digests[source]:
                    sys.exit(f"{what}: {state}, left: {sorted(left)}, {counts}")
                source = "b" if source == "a" else "a"
            shutil.rmtree(out) if out.is_dir() else out.unlink()
    print(counts)


main()
