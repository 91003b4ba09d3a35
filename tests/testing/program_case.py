"""A test that runs the program in a folder of its own. Standard library only."""

import os
import pathlib
import subprocess
import sys

from folder_case import FolderCase


class ProgramCase(FolderCase):
    program = None  # its path

    def setUp(self):
        super().setUp()
        self.dir = pathlib.Path(self.dir)

    def run_program(self, *words, env=None):
        # No hub, whatever the machine has.
        environment = dict(os.environ, HF_HUB_OFFLINE="1", HF_HOME=str(self.dir / ".hf"), **(env or {}))
        return subprocess.run(
            [self.program, *map(str, words)], cwd=self.dir, env=environment, capture_output=True, text=True, timeout=120)

    def ok(self, *words, **more):
        done = self.run_program(*words, **more)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stderr}")
        return done.stdout

    def peak(self, *words):
        """Bytes that a run had in memory at most. By a process between, as a program's peak begins at that of the process that
        starts it."""
        between = ("import resource, subprocess, sys\n"
                   "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)\n"
                   "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        run = subprocess.run([sys.executable, "-c", between, self.program, *words], cwd=self.dir, stdout=subprocess.PIPE, check=True)
        return int(run.stdout) * 1024

    def fails(self, status, message, *words, **more):
        """The status, a message that has `message` (a regular expression): after any notes, one line and at most one hint."""
        before = sorted(self.dir.rglob("*"))
        done = self.run_program(*words, **more)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("anemone: note: ")]
        self.assertEqual(done.returncode, status, f"{words}: {done.stdout}{done.stderr}")
        self.assertRegex(done.stderr, message)
        self.assertLessEqual(len(lines), 2, done.stderr)
        self.assertTrue(lines[0].startswith("anemone: "), lines[0])
        for line in lines[1:]:
            self.assertTrue(line.startswith("hint: "), line)
        self.assertNotRegex(done.stderr, r"std::|what\(\)|terminate called|Exception|CLI::")
        self.assertEqual(before, sorted(self.dir.rglob("*")), "something was left behind")
        return done.stderr
