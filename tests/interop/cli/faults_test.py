"""Every call of a run that touches a file fails in turn: the status says that reading or writing failed, the message names the
reason, and the output is the old one or the new one, whole. Standard library only.

usage: faults_test.py PROGRAM GOLDEN
"""

import errno
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from program_case import ProgramCase  # noqa: E402

PROGRAM, GOLDEN = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
ProgramCase.program = PROGRAM

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
    "inspect ranks": (None, False),
    "verify hf": (None, False),
}


def tree(path):
    """Names, modes and contents."""
    paths = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    return {str(p.relative_to(path)): (p.stat().st_mode, p.read_bytes() if p.is_file() else None) for p in paths}


class Faults(ProgramCase):
    def setUp(self):
        super().setUp()
        self.preloaded, self.log = self.dir / "failing_calls.so", self.dir / "log"
        source = pathlib.Path(__file__).with_name("failing_calls.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.preloaded, source, "-ldl"], check=True)
        self.place = self.dir / "place"
        self.place.mkdir()
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

    def fail(self, words, at, error):
        self.log.unlink(missing_ok=True)
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "LD_PRELOAD": str(self.preloaded), "FAIL_UNDER": str(self.place),
               "FAIL_AT": str(at), "FAIL_ERROR": str(error), "FAIL_LOG": str(self.log)}
        done = subprocess.run([PROGRAM, *words, "--threads", "1"], cwd=self.place, env=env, capture_output=True, text=True, timeout=60)
        return done, self.log.read_text().strip() if self.log.exists() else ""

    def test_every_call(self):
        for command, (name, older) in RUNS.items():
            words = command.split()
            output = self.place / (name or "none")
            self.restore(words, older)
            before = tree(output)
            done, _ = self.fail(words, -1, 0)
            self.assertEqual(done.returncode, 0, done.stderr)
            after, answer, names = tree(output), self.plain(done.stdout), {p.name for p in self.place.iterdir()}
            failed = 0
            for at in range(2000):
                if name:
                    self.restore(words, older)
                done, call = self.fail(words, at, errno.EIO)
                if not call:
                    break
                with self.subTest(command, at=at, call=call, stderr=done.stderr):
                    self.assertLessEqual({p.name for p in self.place.iterdir() if "--resume" not in words or p.name[0] != "."}, names)
                    if done.returncode == 0:
                        self.assertEqual(self.plain(done.stdout), answer)
                        self.assertEqual(tree(output), after)
                        continue
                    failed += 1
                    self.assertEqual(done.returncode, 74)
                    self.assertIn(os.strerror(errno.EIO), done.stderr)
                    self.assertIn(tree(output), (before, after))
            self.assertGreater(failed, 20, command)

    def plain(self, text):
        return re.sub(r"in [\d.]+ s", "", text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
