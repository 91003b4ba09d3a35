"""Every call of a run that touches a file fails in turn, in each of the ways of failing_calls.c: the status says that reading or
writing failed, the message names the reason, and the output is the old one or the new one, whole. Standard library only.

usage: faults_test.py PROGRAM GOLDEN
ANEMONE_TEST_ALL_FAULTS=1: each call in each way. Otherwise every third call alone, and some of them in the other ways.
"""

import errno
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from program_case import ProgramCase  # noqa: E402

PROGRAM, GOLDEN = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
ProgramCase.program = PROGRAM
EACH, SOME = (1, 1) if os.environ.get("ANEMONE_TEST_ALL_FAULTS") else (3, 29)

# What is written, and whether something older is there. "e": the copy of an unpacked .nemo.
RUNS = {
    "convert hf out.nemo": ("out.nemo", False),
    "convert hf out.nemo --force": ("out.nemo", True),
    "convert s.nemo out --to hf": ("out", False),
    "convert s.nemo out --to hf --force": ("out", True),
    "convert s.nemo out --to hf --force --resume": ("out", True),
    "edit e.nemo --set my=1": ("e.nemo", True),
    "edit e --set my=1": ("e", True),
    "pack e out.nemo": ("out.nemo", False),
    "extract s.nemo out": ("out", False),
    "convert ranks out.nemo --tp 1": ("out.nemo", False),
    "convert hf out --to torch_dist": ("out", False),
    "average s.nemo s.nemo out.safetensors": ("out.safetensors", False),
    "report s.nemo -o out.html --statistics": ("out.html", False),
    "inspect ranks": (None, False),
    "verify hf": (None, False),
    "diff s.nemo ranks --canonical": (None, False),
    "scan s.nemo": (None, False),
    "--manual man pages": ("pages/anemone.1", False),
}
# The reason, the statuses, how many calls from one that fails to the next, and whether what a run left may stay until the next one.
WAYS = {
    "once": (errno.EIO, (74,), EACH, False),
    "on": (errno.EIO, (74,), SOME, True),
    "room": (errno.ENOSPC, (74,), SOME, False),
    "change": (errno.EROFS, (73, 74), SOME, True),
    "kill": (0, (-9,), SOME, True),
}


def tree(path):
    """Names, modes and contents."""
    paths = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    return {str(p.relative_to(path)): (p.stat().st_mode, p.read_bytes() if p.is_file() else None) for p in paths}


def members(path):
    """What a tar unpacks to. An edit in place that is broken off leaves bytes behind the archive's end."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() if member.isfile() else b"" for member in archive}


class Faults(ProgramCase):
    def setUp(self):
        super().setUp()
        self.preloaded, self.log = self.dir / "failing_calls.so", self.dir / "log"
        source = pathlib.Path(__file__).with_name("failing_calls.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.preloaded, source, "-ldl"], check=True)
        self.place = self.dir / "place"
        self.place.mkdir()
        (self.place / "pages").mkdir()
        shutil.copytree(GOLDEN / "lora" / "llama_all" / "base", self.place / "hf")
        self.quiet("convert", "hf", "s.nemo")
        self.quiet("extract", "s.nemo", "e")
        shutil.copy(self.place / "s.nemo", self.place / "e.nemo")
        self.quiet("reshard", "s.nemo", "ranks", "--to", "nemo-dir", "--tp", "2")
        shutil.copytree(self.place, self.dir / "before")

    def quiet(self, *words):
        subprocess.run([PROGRAM, *words, "-q"], cwd=self.place, check=True, stdout=subprocess.DEVNULL)

    def restore(self, words, older):
        shutil.rmtree(self.place)
        shutil.copytree(self.dir / "before", self.place)
        if older and "--force" in words:
            self.quiet(*[word for word in words if word not in ("--force", "--resume")], "--dtype", "bf16")

    def run_failing(self, words, at, error=0, how="once"):
        self.log.unlink(missing_ok=True)
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "LD_PRELOAD": str(self.preloaded), "FAIL_UNDER": str(self.place), "FAIL_HOW": how,
               "FAIL_AT": str(at), "FAIL_ERROR": str(error), "FAIL_LOG": str(self.log)}
        done = subprocess.run([PROGRAM, *words, "--threads", "1"], cwd=self.place, env=env, capture_output=True, text=True, timeout=60)
        return done, self.log.read_text().strip() if self.log.exists() else ""

    def names(self, words=()):
        return {p.name for p in self.place.iterdir() if "--resume" not in words or p.name[0] != "."}

    def expect(self, command):
        """Its words, its output, what that is before and after, what it prints, and the names that are there then."""
        name, older = RUNS[command]
        words, output = command.split(), self.place / (name or "none")
        self.restore(words, older)
        before = tree(output)
        done, _ = self.run_failing(words, -1)
        self.assertEqual(done.returncode, 0, done.stderr)
        return words, output, before, tree(output), self.plain(done.stdout), self.names()

    def fail_each(self, command, how):
        words, output, before, after, answer, names = self.expect(command)
        name, older = RUNS[command]
        error, statuses, step, may_leave = WAYS[how]
        failed = 0
        for at in range(0, 4000, step):
            if name:
                self.restore(words, older)
            done, call = self.run_failing(words, at, error, how)
            if not call:
                break
            with self.subTest(command, how=how, at=at, call=call, stderr=done.stderr):
                if not may_leave:
                    self.assertLessEqual(self.names(words), names)
                elif left := self.names() - names:
                    failed += 1
                    self.assertTrue(all(re.fullmatch(r"\..+\.anemone-.+", path) for path in left), left)
                    self.assert_goes_on(words, output, after, names)
                    continue
                if done.returncode == 0:
                    self.assertEqual(self.plain(done.stdout), answer)
                    self.assertEqual(tree(output), after)
                    continue
                failed += 1
                self.assertIn(done.returncode, statuses)
                self.assertIn("" if how == "kill" else os.strerror(error), done.stderr)
                found = tree(output)
                if found not in (before, after):
                    self.assertEqual(output.name, "e.nemo")
                    self.assertEqual(members(output), members(self.dir / "before" / "e.nemo"))
                    self.assertIn("hint: its end may be damaged; truncate -s ", done.stderr)
        self.assertGreater(failed, 10 // step, f"{command}: {how}")

    def assert_goes_on(self, words, output, after, names):
        """The next run writes the output, and clears what the last one left."""
        is_written = tree(output) == after
        more = ["--force"] if is_written and words[0] in ("convert", "average", "pack", "extract", "report") else []
        done, _ = self.run_failing([*words, *(word for word in more if word not in words)], -1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(tree(output), after)
        self.assertLessEqual(self.names(), names)

    def test_every_call(self):
        for how in WAYS:
            for command, (name, _) in RUNS.items():
                if name or how not in ("room", "change"):  # what only reads needs no room
                    self.fail_each(command, how)

    def test_calls_that_transfer_a_byte_and_calls_that_are_interrupted(self):
        for command in RUNS:
            words, output, _, after, answer, names = self.expect(command)
            for how in ("short", "interrupt"):
                with self.subTest(command, how=how):
                    self.restore(words, RUNS[command][1])
                    done, _ = self.run_failing(words, 0, 0, how)
                    self.assertEqual((done.returncode, self.plain(done.stdout)), (0, answer), done.stderr)
                    self.assertEqual((tree(output), self.names()), (after, names))

    def plain(self, text):
        return re.sub(r"in [\d.]+ s", "", text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
