"""Several processes for one command, as mpirun and torchrun start them: they write what one would have written, a rank that fails or
dies leaves nothing that looks finished, and one message says why.

usage: ranks_test.py PROGRAM GOLDEN [MPIRUN]   under a Python that has torch
"""

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from folder_case import FolderCase  # noqa: E402

PROGRAM, GOLDEN = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
MPIRUN = sys.argv[3:]
CLIP = GOLDEN / "clip"
SERVER = pathlib.Path(__file__).resolve().parents[1] / "remote" / "remote_server.py"
# torch 1.13 loses its defaults of --redirects and --tee under Python 3.11; a rank that is not there restores them.
TORCHRUN = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--redirects=9:1", "--tee=9:1", "--standalone"]

MERGE = ["reshard", CLIP / "ckpt_mcore_tp2", "x.ckpt", "--tp", "1"]  # to a file of 30 MB
# What happens to a rank: it is killed once there is an output, or may not write beyond 16 MiB.
FATAL = '"$@" & until ls -d .x.ckpt.anemone-*/output; do kill -0 $! || exit 1; done; kill -9 $!; wait $!'
LIMITED = 'ulimit -f 32768; exec "$@"'


def tree(path):
    """What is at `path`: a file's bytes, or those of all files below a folder, by name."""
    if path.is_file():
        return path.read_bytes()
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else None for p in sorted(path.rglob("*"))}


def is_running(pid):
    """Whether there is such a process, and not just what mpirun has not asked for yet."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Ranks(FolderCase):
    def setUp(self):
        super().setUp()
        self.dir = pathlib.Path(self.dir)

    def run_words(self, *words):
        return subprocess.run([*map(str, words)], cwd=self.dir, capture_output=True, text=True, timeout=120,
                              env=dict(os.environ, HF_HUB_OFFLINE="1"))

    def ok(self, *words):
        done = self.run_words(*words)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def left(self):
        return sorted(path.name for path in self.dir.iterdir())


class Torchrun(Ranks):
    def test_rank_0_does_the_work(self):
        self.ok(PROGRAM, "reshard", CLIP / "mcore.nemo", "one.nemo", "--tp", "2")
        said = self.ok(*TORCHRUN, "--nproc_per_node=3", "--no_python", PROGRAM, "reshard", CLIP / "mcore.nemo", "many.nemo",
                       "--tp", "2")
        self.assertEqual(said.count("wrote many.nemo"), 1, said)
        self.assertEqual(tree(self.dir / "many.nemo"), tree(self.dir / "one.nemo"))
        self.assertEqual(self.left(), ["many.nemo", "one.nemo"])


@unittest.skipUnless(MPIRUN, "built without MPI")
class Mpi(Ranks):
    def mpirun(self, ranks, *words):
        return [*MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", ranks, *words]

    def test_writes_what_one_would_have_written(self):
        ckpt = CLIP / "ckpt_mcore"
        for counts, words in (((1, 2, 3, 4), ["reshard", CLIP / "mcore.nemo", "{}.nemo", "--tp", "4"]),
                              ((3,), ["reshard", CLIP / "mcore_tp2.nemo", "{}_dir", "--to", "nemo-dir", "--tp", "4"]),
                              ((2, 4), ["reshard", ckpt, "{}_ranks", "--to", "ckpt", "--tp", "2"]),  # with its optimizer
                              ((3,), ["reshard", CLIP / "ckpt_mcore_tp2", "{}.ckpt", "--tp", "1"]),
                              ((2,), ["convert", CLIP / "mcore.nemo", "{}_hf", "--to", "hf"])):
            def name(which):
                return words[2].format(which)

            def command(which):
                return [PROGRAM, *words[:2], name(which), *words[3:]]

            self.ok(*command("one"))
            for ranks in counts:
                said = self.ok(*self.mpirun(ranks, *command(ranks)))
                self.assertEqual(said.count("wrote "), 1, said)
                self.assertTrue(tree(self.dir / name(ranks)) == tree(self.dir / name("one")), f"{ranks} ranks: {words}")
        self.assertEqual([path for path in self.left() if path.startswith(".")], [])

    def test_a_rank_that_fails(self):
        """One rank may not write beyond 16 MiB: it fails, the others stop, nothing is left."""
        done = self.run_words(*self.limited(LIMITED))
        self.assertNotEqual(done.returncode, 0)
        ours = [line for line in done.stderr.splitlines() if line.startswith(("anemone: rank", "hint:"))]
        self.assertEqual(ours, ["anemone: rank 1: x.ckpt: cannot write: File too large"], done.stderr)
        self.assertEqual(self.left(), [])

    def test_a_rank_that_dies(self):
        """The same rank is killed instead: MPI ends the others, and nothing looks finished."""
        done = self.killed()
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.left(), [".x.ckpt.anemone-tmp"])
        self.ok(*self.mpirun(2, PROGRAM, *MERGE))  # and it is in nobody's way
        self.ok(PROGRAM, "verify", "x.ckpt")

    def test_goes_on_with_another_number_of_ranks(self):
        source = self.dir / "source"
        shutil.copytree(CLIP / "ckpt_mcore_tp2", source)
        part = next(source.glob("mp_rank_01/*.ckpt"))
        times = part.stat().st_atime_ns, part.stat().st_mtime_ns
        resume = ["reshard", "source", "x.ckpt", "--tp", "1", "--resume"]
        self.ok(PROGRAM, "reshard", "source", "one.ckpt", "--tp", "1")
        for fail in (self.killed, lambda words: self.run_words(*self.limited(LIMITED, words))):
            done = fail(resume)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(self.left(), [".x.ckpt.anemone-resume", "one.ckpt", "source"])
        self.assertIn("hint: what is written is kept; use --resume to go on from there\n", done.stderr)

        done = self.run_words(PROGRAM, *resume, "--set", "optim.lr=0.5", "--only", "weights")
        self.assertRegex(done.stderr, "x.ckpt: cannot resume what was begun with other options\nhint: rm -r .* frees what was written; use no --resume to write it anew")
        os.utime(part)
        done = self.run_words(*self.mpirun(2, PROGRAM, *resume))
        self.assertRegex(done.stderr, f"x.ckpt: cannot resume what was begun before .*{part.name} changed\nhint: rm -r .* frees what was written; use no --resume to write it anew")
        self.assertEqual(done.returncode, 64)
        os.utime(part, ns=times)
        self.ok(*self.mpirun(4, PROGRAM, *resume))
        self.assertTrue(tree(self.dir / "x.ckpt") == tree(self.dir / "one.ckpt"))
        self.assertEqual(self.left(), ["one.ckpt", "source", "x.ckpt"])

    def killed(self, words=MERGE):
        """Once more where rank 1 has been quicker than the script that kills it."""
        for _ in range(10):
            done = self.run_words(*self.limited(FATAL, words))
            if not (self.dir / "x.ckpt").exists():
                break
            (self.dir / "x.ckpt").unlink()
        return done

    def limited(self, limit, words=MERGE):
        """Rank 1 of 3 fails as the shell script `limit` says."""
        words = [PROGRAM, *words]
        shell = ["sh", "-c", limit, "sh"]
        return [*self.mpirun(1, *words), ":", "-n", 1, *shell, *words, ":", "-n", 1, *words]

    def test_one_message_where_all_fail_alike(self):
        done = self.run_words(*self.mpirun(3, PROGRAM, "reshard", "nowhere.nemo", "x.nemo", "--tp", "2"))
        self.assertEqual(done.returncode, 66, done.stderr)
        self.assertEqual(done.stderr.count("anemone: nowhere.nemo: "), 1, done.stderr)
        done = self.run_words(*self.mpirun(3, PROGRAM, "reshard", CLIP / "mcore.nemo", "x.nemo", "--tp", "5"))
        self.assertEqual((done.returncode, done.stderr.count("anemone: ")), (64, 1), done.stderr)
        self.assertEqual(self.left(), [])

    def test_a_signal_ends_ranks_that_wait_for_a_server(self):
        """As Slurm sends it, to all of them: within half a second, with nothing left behind."""
        log = self.dir / "log"
        server = subprocess.Popen([sys.executable, SERVER, log, CLIP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.communicate)
        url = server.stdout.readline().split()[0]
        noted = ["sh", "-c", 'echo $$ >> "$0"; exec "$@"', "pids", PROGRAM]  # what becomes of the shell is the rank
        numbers = itertools.count()

        def attempt():
            stall = f"stall-3-body-{next(numbers)}/"
            source = f"{url}/{stall}mcore.nemo"
            words = [*self.mpirun(2, *noted), "convert", source, "out", "--to", "hf"]
            run = subprocess.Popen([*map(str, words)], cwd=self.dir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env=dict(os.environ, no_proxy="127.0.0.1"))
            while stall not in "".join(line for line in log.read_text().splitlines() if line.endswith(" stall")):
                self.assertIsNone(run.poll(), "it ended before the server stalled")
                time.sleep(0.01)
            pids = (self.dir / "pids").read_text().split()
            begin = time.monotonic()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # mpirun ends a rank when another has ended
                    os.kill(int(pid), signal.SIGTERM)
            while any(is_running(pid) for pid in pids):
                time.sleep(0.01)
            took = time.monotonic() - begin
            self.assertNotEqual(run.wait(), 0)
            os.remove(self.dir / "pids")
            self.assertEqual(self.left(), ["log"])
            return took

        self.assertEndsAtOnce(attempt)

    def test_other_commands_run_once(self):
        self.assertEqual(self.ok(*self.mpirun(3, PROGRAM, "inspect", CLIP / "mcore.nemo")).count("family"), 1)
        self.assertEqual(self.ok(*self.mpirun(3, PROGRAM, "--version")).count("anemone "), 1)
        self.assertEqual(self.run_words(*self.mpirun(2, PROGRAM, "diff", CLIP / "mcore.nemo", CLIP / "mcore_bf16_O2.nemo",
                                                     "-q")).returncode, 1)

    def test_different_commands_are_on_their_own(self):
        """What Slurm users do: a task a file."""
        script = ["sh", "-c", '"$0" reshard "$1" $OMPI_COMM_WORLD_RANK.nemo --tp 2', PROGRAM, CLIP / "mcore.nemo"]
        self.ok(*self.mpirun(2, *script))
        self.assertEqual(self.left(), ["0.nemo", "1.nemo"])
        self.assertEqual(tree(self.dir / "0.nemo"), tree(self.dir / "1.nemo"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
