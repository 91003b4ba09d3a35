"""Every call of a fetch on the cache fails in turn, in each of the ways of failing_calls.c: each file of the snapshot is whole or
absent, and the next fetch completes it and leaves nothing else. Standard library only.

usage: fetch_faults_test.py ANEMONE
"""

import errno
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "testing"))
from folder_case import FolderCase  # noqa: E402

ANEMONE = pathlib.Path(sys.argv[1]).resolve()
# How a fetch ends after each: what it cannot do without, it says.
EACH = {"once": 3}  # how many calls from one that fails to the next
if os.environ.get("ANEMONE_TEST_ALL_FAULTS"):
    EACH = dict.fromkeys(("once", "on", "room", "change", "kill"), 1)
WAYS = {"once": errno.EIO, "on": errno.EIO, "room": errno.ENOSPC, "change": errno.EROFS, "kill": 0}


def files(folder):
    """Names and contents of what readers of the cache see: not locks, pieces of downloads and links that have no name yet."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and "snapshots" in path.parts and path.suffix != ".tmp"}


class FetchFaults(FolderCase):
    def setUp(self):
        super().setUp()
        self.preloaded, self.log, self.home = (pathlib.Path(self.path(name)) for name in ("failing_calls.so", "calls", "home"))
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.preloaded, HERE.parent / "cli" / "failing_calls.c", "-ldl"], check=True)
        server = subprocess.Popen([sys.executable, HERE / "hub_server.py", self.path("log")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.communicate)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        self.environment |= {"HF_ENDPOINT": server.stdout.readline().split()[0], "HF_HOME": str(self.home), "no_proxy": "127.0.0.1,localhost"}

    def fetch(self, how="once", at=-1, error=0):
        self.log.unlink(missing_ok=True)
        env = {"LD_PRELOAD": str(self.preloaded), "FAIL_UNDER": str(self.home), "FAIL_HOW": how, "FAIL_AT": str(at), "FAIL_ERROR": str(error),
               "FAIL_LOG": str(self.log)}
        done = subprocess.run([ANEMONE, "fetch", "org/sharded"], cwd=self.dir, env=self.environment | env, capture_output=True, text=True, timeout=60)
        return done, self.log.read_text().strip() if self.log.exists() else ""

    def names(self):
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))

    def test_every_call(self):
        done, _ = self.fetch()
        self.assertEqual(done.returncode, 0, done.stderr)
        whole, names, answer = files(self.home), self.names(), done.stdout
        for how, error in WAYS.items():
            failed = 0
            for at in range(0, 2000, EACH.get(how, 11)):
                shutil.rmtree(self.home, ignore_errors=True)
                done, call = self.fetch(how, at, error)
                if not call:
                    break
                with self.subTest(how, at=at, call=call, stderr=done.stderr):
                    left = files(self.home) if self.home.exists() else {}
                    self.assertLessEqual(left.items(), whole.items())
                    if done.returncode == 0:
                        self.assertEqual((done.stdout, left), (answer, whole))
                    else:
                        failed += 1
                        self.assertIn(done.returncode, (-9,) if how == "kill" else (73, 74))
                        self.assertIn("" if how == "kill" else os.strerror(error), done.stderr)
                    again, _ = self.fetch()
                    self.assertEqual((again.returncode, again.stdout, files(self.home)), (0, answer, whole), again.stderr)
                    self.assertEqual(self.names(), names)
            self.assertGreater(failed, 5, how)

    def test_calls_that_transfer_a_byte_and_calls_that_are_interrupted(self):
        self.fetch()
        whole, names = files(self.home), self.names()
        for how in ("short", "interrupt"):
            with self.subTest(how):
                shutil.rmtree(self.home, ignore_errors=True)
                done, _ = self.fetch(how, 0)
                self.assertEqual((done.returncode, files(self.home), self.names()), (0, whole, names), done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
