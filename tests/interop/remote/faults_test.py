"""Each request to a server fails once, in each way: what a command answers or writes is right or absent.

usage: faults_test.py ANEMONE GOLDEN_DIR
ANEMONE_TEST_ALL_FAULTS=1: each request in each way. Otherwise each in the ways of EVERY, a few in the others.

The Nth request of a run fails, for N from 1 until a run ends before its Nth request: how many a run makes is a matter of threads.
"""

import concurrent.futures
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

from remote_case import ANEMONE, GOLDEN, RemoteCase

RIGHT, UNAVAILABLE, CHANGED = 0, 69, 74
WAYS = {how: status for status, ways in {  # how a command ends after each way to fail (remote_server.py)
    RIGHT: ("reset", "half", "short", "less", "429", "500", "503"),
    UNAVAILABLE: ("302", "400", "416", "nosize", "wrongrange", "badrange", "more", "200", "unversioned"),
    CHANGED: ("tagged", "changed-on"),
}.items() for how in ways}
SLOW = {"body": RIGHT, "500-on": UNAVAILABLE, "reset-on": UNAVAILABLE}  # half a minute of waiting each
HARMLESS_AT_FIRST = ("200", "nosize", "tagged", "changed-on")  # a file's first answer may be all of it, and of any version
HARMLESS_LATER = ("unversioned", )  # If-Range asked for the version
EVERY = ("400", "changed-on")
RUNS_AT_ONCE = 40  # most of them wait
ALL = bool(os.environ.get("ANEMONE_TEST_ALL_FAULTS"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Faults(RemoteCase):
    def setUp(self):
        super().setUp()
        self.serve_two_versions()
        self.hub = self.served / "org" / "model"
        shutil.copytree(self.served / "hf", self.hub)
        self.commands = {  # name: what is run; SRC is the address, ORG/MODEL is on a hub at that address
            "to Hugging Face": ["convert", "SRC/gpt.nemo", "out", "--to", "hf"],
            "to .nemo": ["convert", "SRC/gpt/", "out.nemo"],
            "by threads": ["convert", "SRC/mcore.nemo", "out", "--to", "hf"],
            "inspect": ["inspect", "SRC/gpt.nemo", "--json"],
            "diff": ["diff", self.path("gpt"), "SRC/gpt/"],
            "verify": ["verify", "SRC/gpt.nemo"],
            "extract": ["extract", "SRC/gpt.nemo", "out"],
            "of a hub": ["convert", "org/model", "out.nemo", "--hparams", GOLDEN / "clip" / "hparams.yaml"],
            "infer of a hub": ["infer", "org/model", "--image", GOLDEN / "clip" / "test.jpg", "--text", "a dog", "--text", "a girl"],
        }
        self.expected, self.requests = {}, {}
        for number, name in enumerate(self.commands):
            versions = [self.run_at(name, f"fail-{first}-changed-on-plain{number}") for first in (999999, 1)]
            self.assertEqual(versions[0][0][0], RIGHT, versions[0])
            self.expected[name] = [result for result, _ in versions]
            self.requests[name] = len(self.answers(f"fail-999999-changed-on-plain{number}"))
        self.most_requests = {name: 2 * requests + 80 for name, requests in self.requests.items()}  # a thread asks five times

    def serve_two_versions(self):
        """A GPT as a `.nemo` and as a folder, and of each the version that replaces it: FILE.new."""
        self.run_anemone("convert", GOLDEN / "gpt" / "A.nemo", "gpt", "--to", "hf")
        shutil.copytree(self.path("gpt"), self.served / "gpt")
        shutil.copytree(self.path("gpt"), self.path("new"))
        weights = pathlib.Path(self.path("new/model.safetensors"))
        old = weights.read_bytes()
        weights.write_bytes(old[:-4096] + bytes(byte ^ 1 for byte in old[-4096:]))
        shutil.copy(weights, self.served / "gpt" / "model.safetensors.new")
        for folder, name in (("gpt", "gpt.nemo"), ("new", "gpt.nemo.new")):
            self.run_anemone("convert", folder, "gpt.nemo", "--force")
            os.replace(self.path("gpt.nemo"), self.served / name)

    def run_at(self, name, behaviour):
        """(exit status, what it said, what it left), its messages."""
        address = f"{self.url}/{behaviour}"
        folder = pathlib.Path(self.path(f"run-{behaviour}"))
        folder.mkdir()
        done = subprocess.run([ANEMONE, *(str(word).replace("SRC", address) for word in self.commands[name])], cwd=folder, capture_output=True,
                              text=True, timeout=200, env=self.environment | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"})
        left = contents(folder)
        shutil.rmtree(folder)
        return (done.returncode, re.sub(r" in \d+\.\d s\b", "", done.stdout).replace(address, "SRC"), left), done.stderr

    def log_size(self):
        return os.path.getsize(self.path("log"))

    def answers(self, behaviour, since=0):
        with open(self.path("log")) as log:
            log.seek(since)
            return [line.split(" ", 5)[5].strip() for line in log if f"/{behaviour}/" in line]

    def fail_one(self, name, how, number):
        """Whether the run made the request that was to fail; and what is wrong, or None."""
        behaviour = f"fail-{number}-{how}-{list(self.commands).index(name)}"
        since = self.log_size()
        result, messages = self.run_at(name, behaviour)
        answers = self.answers(behaviour, since)
        fault = next((answer for answer in answers if answer.startswith("fault")), "")
        old, new = self.expected[name]
        status = (WAYS | SLOW)[how]
        if result == old:
            good = not fault or status == RIGHT or "absent" in fault or how in (HARMLESS_AT_FIRST if "first" in fault else HARMLESS_LATER)
        elif result == new:
            good = "first" in fault and how == "changed-on"
        else:
            good = fault and result == (status, "", {}) and status != RIGHT
        problems = [] if good else [f"after '{fault}': exit {result[0]}, {result[1][:300]} {[*result[2]]} {messages}"]
        requests = len(answers) - sum(answer.startswith("fault") for answer in answers)
        if requests > self.most_requests[name]:
            problems.append(f"{requests} requests")
        return bool(fault), problems

    def fail_each(self, name, how, numbers):
        """The problems of all these runs, and of how many the request failed."""
        failed, problems = 0, []
        for number in numbers:
            has_failed, found = self.fail_one(name, how, number)
            problems += [f"{name}, {how}, request {number}: {problem}" for problem in found]
            failed += has_failed
            if not has_failed:
                break
        return failed, problems

    def jobs_of(self, name, how):
        """Which requests fail: all there are, or some at the begin, in the middle and near the end."""
        requests = self.requests[name]
        if how in SLOW:
            return [(name, how, [number]) for number in (range(1, requests + 1) if ALL else [requests // 2])]
        return [(name, how, itertools.count(1) if ALL or how in EVERY else sorted({1, 2, requests // 2, requests - 1}))]

    def test_right_or_absent(self):
        jobs = [job for how in SLOW | WAYS for name in self.commands for job in self.jobs_of(name, how)]
        with concurrent.futures.ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
            results = list(pool.map(lambda job: self.fail_each(*job), jobs))
        print(f"\n{sum(failed for failed, _ in results)} requests failed", file=sys.stderr)
        problems = [problem for _, problems in results for problem in problems]
        self.assertFalse(problems, "\n".join(problems))
        failed = {job[:2] for job, (number, _) in zip(jobs, results) if number > 0}
        self.assertEqual(failed, {(name, how) for name in self.commands for how in SLOW | WAYS})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
